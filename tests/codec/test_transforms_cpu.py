# SPDX-License-Identifier: Apache-2.0
"""g_a, h_a and g_s in integers: the native nets, NumPy's and torch's give the same; strips, threads and batches change nothing."""

import numpy as np
import pytest
import torch
from builders import ARCHITECTURES, SHIPPED, photo

from jahp_fast import Codec, UsageError, _native
from jahp_fast.constants import BY_ROW
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.export.state import export_state
from jahp_fast.models import registry
from jahp_fast.pipelines.cpu import BLOCK_ROWS
from jahp_fast.transforms.cpu import NETS_KEPT, CpuTransforms, in_blocks, made_net, run_by_rows
from jahp_fast.transforms.device import Transforms
from jahp_fast.transforms.layers import Layer, TransformLayers, fixed
from jahp_fast.transforms.reference import ReferenceNet


@pytest.fixture(scope="module", params=[*ARCHITECTURES, "shipped"])
def model(request, tmp_path_factory, photo_crop):
    """A model file of each architecture with random weights, N = 9 and M = 13; and the shipped one."""
    if request.param == "shipped":
        return ModelFile(SHIPPED)
    torch.manual_seed(3)
    net = registry.build(request.param, 9, 13)
    with torch.no_grad():  # GDN as it comes is diagonal
        for name, tensor in net.named_parameters():
            if name.endswith("gamma"):
                tensor.add_(torch.rand_like(tensor) * 0.1)
        for i in BY_ROW:
            for name, tensor in net.g_s[i].named_parameters():
                tensor.mul_(1 + int(name[0]) / 8)
    path = tmp_path_factory.mktemp("net") / f"{request.param}.safetensors"
    export_state(net.state_dict(), path, photos=[photo_crop])
    return ModelFile(path)


def whole(blocks):
    return np.concatenate(list(blocks))


@pytest.mark.parametrize(("size", "quality"), [((50, 70), 3.45), ((33, 1), 8), ((1, 17), 1)], ids=str)
def test_all_are_equal(model, quality, size):
    """NumPy's, the native ones and torch's, from pixels to y and z and back."""
    height, width = size
    image = photo()[100 : 100 + height, 200 : 200 + width]
    theirs = Transforms(model)
    y = theirs.analysis(torch.from_numpy(image.copy()).permute(2, 0, 1)[None], quality)
    latents = fixed(y[0].permute(1, 2, 0).int().numpy(), model.config.frac_bits)
    pixels = theirs.synthesis(torch.from_numpy(latents)[None], theirs.decoding_row(quality), height, width)[0].permute(1, 2, 0).numpy()
    for native in (False, True):
        ours = CpuTransforms(model, native)
        got = ours.analysis([image], height, width, quality)
        assert got.shape == (-(-height // 16), -(-width // 16), model.config.latents)
        assert np.array_equal(got, y[0].permute(1, 2, 0).numpy())
        sums = ours.analysis([image], height, width, None)
        assert np.array_equal(ours.scaled(sums, "gain", quality, 2**31 - 1), got)
        if model.config.hyper_latents:
            assert np.array_equal(ours.hyper_analysis(got), theirs.hyper_analysis(y)[0].permute(1, 2, 0).numpy())
        assert np.array_equal(whole(ours.synthesis([latents], height, width, quality)), pixels)


def test_strips_and_threads_change_nothing(model):
    """Whatever the blocks that rows come in."""
    ours = CpuTransforms(model, True)
    image = photo()[: 9 * 16 + 5, :83]
    height, width = image.shape[:2]
    y = ours.analysis([image], height, width, 5)
    z = ours.hyper_analysis(y) if model.config.hyper_latents else None
    latents = fixed(y, model.config.frac_bits)
    pixels = whole(ours.synthesis([latents], height, width, 5))
    for threads, rows in ((1, 1), (2, 3), (3, 16), (4, 17), (2, 64), (8, 1000)):
        assert np.array_equal(ours.analysis(in_blocks(image, rows), height, width, 5, threads), y)
        if z is not None:
            assert np.array_equal(ours.hyper_analysis(y, threads), z)
        assert np.array_equal(whole(ours.synthesis(in_blocks(latents, -(-rows // 8)), height, width, 5, threads)), pixels)


def test_a_part_of_an_image_has_its_pixels():
    """An output depends on the inputs that reach it alone: latents far from the cut are those of the whole image."""
    ours = CpuTransforms(ModelFile(SHIPPED), True)
    image = photo()[:192, :192]
    y, part = (ours.analysis([a], *a.shape[:2], 4) for a in (image, image[:128, :160]))
    assert np.array_equal(part[:5, :7], y[:5, :7])
    assert not np.array_equal(part, y[:8, :10])


@pytest.mark.parametrize("isa", _native.isa_names())
def test_instruction_sets(isa, monkeypatch):
    """The same bytes and the same pixels, of the shipped model."""
    image = np.ascontiguousarray(photo()[:80, :109])
    data = Codec(quality=6.35, backend="reference").encode(image)
    pixels = Codec(backend="reference").decode(data)
    assert np.mean((pixels.astype(int) - image) ** 2) < 40
    monkeypatch.setenv("JAHP_FAST_ISA", isa)
    assert Codec(quality=6.35).encode(image) == data
    assert np.array_equal(Codec().decode(data), pixels)


def test_batches_are_the_single_images():
    images = [photo()[:70, :90], photo()[50:130, 60:80], photo()[:16, :16], photo()[:96, :64]]
    codec = Codec(threads=2)
    streams = codec.encode_batch(images)
    assert streams == [codec.encode(image) for image in images] == [Codec(threads=1).encode(image) for image in images]
    for got, stream in zip(codec.decode_batch(streams), streams, strict=True):
        assert np.array_equal(got, codec.decode(stream))
        assert np.array_equal(got, Codec(threads=1).decode(stream))


def test_absurd_latents_give_the_same_everywhere():
    model = ModelFile(SHIPPED)
    y = np.random.default_rng(0).choice([-(2**31), -32767, 32767, 2**31 - 1], (3, 2, 192)).astype(np.int32)
    for quality in (1, 8):
        pixels = whole(CpuTransforms(model, False).synthesis([y], 48, 32, quality))
        assert np.array_equal(whole(CpuTransforms(model, True).synthesis([y], 48, 32, quality)), pixels)
        theirs = Transforms(model)
        got = theirs.synthesis(torch.from_numpy(y)[None], theirs.decoding_row(quality), 48, 32)
        assert np.array_equal(got[0].permute(1, 2, 0).numpy(), pixels)


def test_rows_come_before_the_last_row_went_in():
    """Of an image that is wide enough for strips to pay, the first rows are out long before the last latents are in."""
    ours = CpuTransforms(ModelFile(SHIPPED), True)
    fed = []

    def blocks():
        for row in range(24):
            fed.append(row)
            yield np.ones((1, 480, 192), np.int32)

    first = next(iter(ours.synthesis(blocks(), 24 * 16, 480 * 16, 4, 2)))
    assert len(first) > 0
    assert len(fed) < 16 < BLOCK_ROWS


def test_nets_of_many_qualities_are_bounded(tiny_models):
    """And a net that is made anew, after others, gives the same pixels."""
    model = ModelFile(tiny_models["tiny"])
    latents = np.random.default_rng(0).integers(-3, 4, (2, 3, 12)).astype(np.int32)
    for native in (False, True):
        ours = CpuTransforms(model, native)
        first = whole(ours.synthesis([latents], 32, 48, 1))
        for step in range(3 * NETS_KEPT):
            assert not np.array_equal(whole(ours.synthesis([latents], 32, 48, 1.5 + step / 2)), first)
        assert len(ours._g_s) == NETS_KEPT
        assert np.array_equal(whole(ours.synthesis([latents], 32, 48, 1)), first)


def test_layers_are_those_of_the_module():
    layers = TransformLayers(ModelFile(SHIPPED))
    g_s = layers.g_s()
    nets = {"g_a": layers.g_a(), "h_a": layers.h_a(), "g_s": [*g_s.common, *g_s.at(4)]}
    assert {name: [layer.kind for layer in net] for name, net in nets.items()} == {
        "g_a": ["conv"] * 4, "h_a": ["conv"] * 3, "g_s": ["deconv"] * 4,
    }  # fmt: skip
    assert {name: [layer.activation for layer in net] for name, net in nets.items()} == {
        "g_a": ["gdn"] * 3 + ["none"], "h_a": ["leaky_relu"] * 2 + ["none"], "g_s": ["igdn"] * 3 + ["pixels"],
    }  # fmt: skip


def a_layer(kind, shape, activation, extras=(), shift=4):
    weight = np.random.default_rng(sum(shape)).integers(-99, 100, shape).astype(np.int16)
    outputs = shape[1] if kind == "deconv" else shape[0]
    return Layer(kind, weight, np.zeros(outputs, np.int32), np.full(outputs, shift, np.uint8), activation, extras)


def test_the_reference_refuses_what_it_cannot_do():
    with pytest.raises(UsageError, match="'tanh' is unknown"):
        ReferenceNet([a_layer("conv", (2, 3, 3, 3), "tanh")]).run(np.ones((4, 4, 3), np.int16))
    stream = ReferenceNet([a_layer("conv", (2, 3, 3, 3), "relu")]).stream(4, 4)
    assert stream.push(np.ones((3, 4, 3), np.int16)).shape == (0, 4, 2)
    with pytest.raises(UsageError, match="3 rows came, of 4"):
        stream.finish()
    with pytest.raises(UsageError, match="up to row 5; the input has 4 x 4"):
        stream.push(np.ones((2, 4, 3), np.int16))


@pytest.mark.parametrize("native", [False, True])
def test_local_gains_need_the_trace_of_their_layer(native):
    from jahp_fast.transforms.cpu import made_trace

    gdn = (np.full((8, 8), 9, np.int16), np.full(8, 10**6, np.int32), np.full(8, 9, np.uint8))
    there = made_net([a_layer("deconv", (9, 8, 5, 5), "igdn", gdn)], native)
    local = (np.full(8, 4096, np.int16), np.full(8, 16384, np.int16), np.full(8, 12, np.uint8), np.full(8, 13, np.uint8))
    back = made_net([a_layer("conv", (8, 3, 5, 5), "local", local)], native)

    def trace_of(height):
        trace = made_trace(native)
        stream = there.stream(height, 5, trace)
        stream.push(np.ones((height, 5, 9), np.int16))
        stream.finish()
        return trace

    def taken_back(trace):
        stream = back.stream(12, 20, trace)
        return np.concatenate([stream.push(np.ones((12, 20, 3), np.int16)), stream.finish()])

    trace = trace_of(3)
    assert taken_back(trace).shape == (6, 10, 8)
    (squares,) = trace.squares()
    assert squares.shape == (6, 10)
    assert (squares >= 8 * ((4096 + 4000) >> 5) ** 2).all()  # a root of at least 1000, times 4, and a half
    for wrong in (None, made_trace(native), trace):  # the last is used up
        with pytest.raises(UsageError, match=r"a local gain.*needs a trace"):
            taken_back(wrong)
    with pytest.raises(UsageError, match="a local gain of"):
        taken_back(trace_of(4))


@pytest.mark.parametrize("height", [1, 63, 64, 65, 200])
def test_a_net_by_rows_is_the_net(tiny_models, height):
    layers = TransformLayers(ModelFile(tiny_models["tiny"])).h_a()
    x = np.random.default_rng(height).integers(-3000, 3000, (height, 9, 12)).astype(np.int16)
    for net in (_native.TransformNet(layers), ReferenceNet(layers)):
        assert np.array_equal(run_by_rows(net, x, 2), net.run(x, 2))
