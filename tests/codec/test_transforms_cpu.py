# SPDX-License-Identifier: Apache-2.0
"""g_a, h_a and g_s without torch: the native nets beside NumPy's, both beside torch's modules; strips, threads and batches."""

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
from jahp_fast.transforms import reference
from jahp_fast.transforms.cpu import NETS_KEPT, CpuTransforms, in_blocks, layers_of, run_by_rows, to_pixels
from jahp_fast.transforms.device import Transforms
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


def quality_of(image, other):
    return 10 * np.log10(255**2 / np.mean((image.astype(float) - other) ** 2))


def same_pixels(ours, theirs, original):
    """At most a grey level apart anywhere, and less than 0.01 dB in PSNR."""
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert abs(quality_of(ours, original) - quality_of(theirs, original)) < 0.01


def whole(blocks):
    return np.concatenate(list(blocks))


@pytest.mark.parametrize(("size", "quality"), [((50, 70), 3.45), ((33, 1), 8), ((1, 17), 1)], ids=str)
def test_numbers_of_torch(model, quality, size):
    """NumPy's and the native ones, from pixels to y and z and back."""
    height, width = size
    image = photo()[100 : 100 + height, 200 : 200 + width]
    theirs = Transforms(model)
    y = theirs.analysis(torch.from_numpy(image.copy()).permute(2, 0, 1)[None], quality)
    integers = y.round().int().permute(0, 2, 3, 1).contiguous()
    pixels = theirs.synthesis(integers, theirs.decoding_row(quality), 0, height, width)[0].permute(1, 2, 0).numpy()
    for native in (False, True):
        ours = CpuTransforms(model, native)
        got = ours.analysis([image], height, width, quality)
        assert got.shape == (-(-height // 16), -(-width // 16), model.config.latents)
        assert np.allclose(got, y[0].permute(1, 2, 0).numpy(), rtol=1e-4, atol=2e-4)
        if model.config.hyper_latents:
            z = theirs.hyper_analysis(y)[0].permute(1, 2, 0).numpy()
            assert np.allclose(ours.hyper_analysis(np.ascontiguousarray(y[0].permute(1, 2, 0).numpy())), z, rtol=1e-4, atol=2e-4)
        same_pixels(whole(ours.synthesis([integers[0].numpy()], height, width, quality, 0)), pixels, image)
        shifted = integers[0].numpy() * 64
        assert np.array_equal(whole(ours.synthesis([shifted], height, width, quality, 6)),
                              whole(ours.synthesis([integers[0].numpy()], height, width, quality, 0)))  # fmt: skip


def test_strips_and_threads_change_nothing(model):
    """Bit for bit, whatever the blocks that rows come in."""
    ours = CpuTransforms(model, True)
    image = photo()[: 9 * 16 + 5, :83]
    height, width = image.shape[:2]
    y = ours.analysis([image], height, width, 5)
    z = ours.hyper_analysis(y) if model.config.hyper_latents else None
    latents = np.rint(y).astype(np.int32)
    pixels = whole(ours.synthesis([latents], height, width, 5, 0))
    for threads, rows in ((1, 1), (2, 3), (3, 16), (4, 17), (2, 64), (8, 1000)):
        assert np.array_equal(ours.analysis(in_blocks(image, rows), height, width, 5, threads), y)
        if z is not None:
            assert np.array_equal(ours.hyper_analysis(y, threads), z)
        assert np.array_equal(whole(ours.synthesis(in_blocks(latents, -(-rows // 8)), height, width, 5, 0, threads)), pixels)


def test_a_part_of_an_image_has_its_pixels():
    """An output depends on the inputs that reach it alone: latents far from the cut are those of the whole image."""
    ours = CpuTransforms(ModelFile(SHIPPED), True)
    image = photo()[:192, :192]
    y, part = (ours.analysis([a], *a.shape[:2], 4) for a in (image, image[:128, :160]))
    assert np.array_equal(part[:5, :7], y[:5, :7])
    assert not np.array_equal(part, y[:8, :10])


@pytest.mark.parametrize("isa", _native.isa_names())
def test_instruction_sets(isa, monkeypatch):
    model, image = ModelFile(SHIPPED), photo()[:80, :112]
    reference = CpuTransforms(model, False)
    y = reference.analysis([image], 80, 112, 6)
    latents = np.rint(y).astype(np.int32)
    pixels = whole(reference.synthesis([latents], 80, 112, 6, 0))
    monkeypatch.setenv("JAHP_FAST_ISA", isa)
    native = CpuTransforms(model, True)
    assert np.allclose(native.analysis([image], 80, 112, 6), y, rtol=1e-4, atol=2e-4)
    same_pixels(whole(native.synthesis([latents], 80, 112, 6, 0)), pixels, image)


def test_batches_are_the_single_images():
    images = [photo()[:70, :90], photo()[50:130, 60:80], photo()[:16, :16], photo()[:96, :64]]
    codec = Codec(threads=2)
    streams = codec.encode_batch(images)
    assert streams == [codec.encode(image) for image in images] == [Codec(threads=1).encode(image) for image in images]
    for got, stream in zip(codec.decode_batch(streams), streams, strict=True):
        assert np.array_equal(got, codec.decode(stream))
        assert np.array_equal(got, Codec(threads=1).decode(stream))


@pytest.mark.parametrize("native", [False, True])
def test_absurd_latents_give_numbers(native):
    ours = CpuTransforms(ModelFile(SHIPPED), native)
    y = np.random.default_rng(0).choice([-(2**31), -32767, 32767, 2**31 - 1], (3, 2, 192)).astype(np.int32)
    pixels = whole(ours.synthesis([y], 48, 32, 1, 0))
    assert pixels.shape == (48, 32, 3)
    assert np.array_equal(whole(ours.synthesis([y], 48, 32, 1, 0)), pixels)


def test_floats_become_pixels():
    x = np.array([[np.nan, np.inf, -np.inf], [-0.1, 1.1, 0.5], [1 / 255, 0.4999 / 255, 254.5001 / 255]], np.float32)
    assert to_pixels(x).tolist() == [[0, 255, 0], [0, 255, 128], [1, 0, 255]]


def test_rows_come_before_the_last_row_went_in():
    """Of an image that is wide enough for strips to pay, the first rows are out long before the last latents are in."""
    ours = CpuTransforms(ModelFile(SHIPPED), True)
    fed = []

    def blocks():
        for row in range(24):
            fed.append(row)
            yield np.ones((1, 480, 192), np.int32)

    first = next(iter(ours.synthesis(blocks(), 24 * 16, 480 * 16, 4, 0, 2)))
    assert len(first) > 0
    assert len(fed) < 16 < BLOCK_ROWS


def test_nets_of_many_qualities_are_bounded(tiny_models):
    """And a net that is made anew, after others, gives the same bits."""
    model = ModelFile(tiny_models["tiny"])
    latents = np.random.default_rng(0).integers(-3, 4, (2, 3, 12)).astype(np.int32)
    for native in (False, True):
        ours = CpuTransforms(model, native)
        first = whole(ours.synthesis([latents], 32, 48, 1, 0))
        for step in range(3 * NETS_KEPT):
            assert not np.array_equal(whole(ours.synthesis([latents], 32, 48, 1.5 + step / 2, 0)), first)
        assert len(ours._g_s) == NETS_KEPT
        assert np.array_equal(whole(ours.synthesis([latents], 32, 48, 1, 0)), first)


def test_layers_are_those_of_the_module():
    model = ModelFile(SHIPPED)
    for net, kinds in (("g_a", ["conv"] * 4), ("g_s", ["deconv"] * 4), ("h_a", ["conv"] * 3)):
        layers = layers_of(model, net)
        assert [layer[0] for layer in layers] == kinds
        assert [layer[3] for layer in layers] == {"g_a": ["gdn"] * 3 + ["none"], "g_s": ["igdn"] * 3 + ["none"],
                                                  "h_a": ["leaky_relu"] * 2 + ["none"]}[net]  # fmt: skip


def test_the_reference_refuses_what_it_cannot_do():
    conv = ("conv", np.ones((2, 3, 3, 3), np.float32), np.zeros(2, np.float32), "tanh", None, None)
    with pytest.raises(UsageError, match="'tanh' is unknown"):
        reference.ReferenceNet([conv]).run(np.ones((4, 4, 3), np.float32))
    stream = reference.ReferenceNet([(*conv[:3], "relu", None, None)]).stream(4, 4)
    assert stream.push(np.ones((3, 4, 3), np.float32)).shape == (0, 4, 2)
    with pytest.raises(UsageError, match="3 rows came, of 4"):
        stream.finish()
    with pytest.raises(UsageError, match="up to row 5; the input has 4 x 4"):
        stream.push(np.ones((2, 4, 3), np.float32))


@pytest.mark.parametrize("native", [False, True])
def test_local_gains_need_the_trace_of_their_layer(native):
    from jahp_fast.transforms.cpu import made_net, made_trace

    rng = np.random.default_rng(0)
    there = made_net([("deconv", rng.normal(0, 1, (9, 8, 5, 5)).astype(np.float32), np.zeros(8, np.float32), "igdn",
                       np.ones((8, 8), np.float32), np.ones(8, np.float32))], native)  # fmt: skip
    half = np.full(8, 0.5, np.float32)
    back = made_net([("conv", rng.normal(0, 1, (8, 3, 5, 5)).astype(np.float32), np.zeros(8, np.float32), "local", half, half)], native)

    def trace_of(height):
        trace = made_trace(native)
        stream = there.stream(height, 5, trace)
        stream.push(np.ones((height, 5, 9), np.float32))
        stream.finish()
        return trace

    def taken_back(trace):
        stream = back.stream(12, 20, trace)
        return np.concatenate([stream.push(np.ones((12, 20, 3), np.float32)), stream.finish()])

    trace = trace_of(3)
    assert taken_back(trace).shape == (6, 10, 8)
    (squares,) = trace.squares()
    assert squares.shape == (6, 10)
    assert (squares > 1).all()  # a root of at least 1, halved, and a half
    for wrong in (None, made_trace(native), trace):  # the last is used up
        with pytest.raises(UsageError, match=r"a local gain.*needs a trace"):
            taken_back(wrong)
    with pytest.raises(UsageError, match="a local gain of"):
        taken_back(trace_of(4))


@pytest.mark.parametrize("height", [1, 63, 64, 65, 200])
def test_a_net_by_rows_is_the_net(tiny_models, height):
    layers = layers_of(ModelFile(tiny_models["tiny"]), "h_a")
    x = np.random.default_rng(height).normal(0, 3, (height, 9, 12)).astype(np.float32)
    for net in (_native.TransformNet(layers), ReferenceNet(layers)):
        assert np.array_equal(run_by_rows(net, x, 2), net.run(x, 2))
