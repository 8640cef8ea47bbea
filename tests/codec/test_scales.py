# SPDX-License-Identifier: Apache-2.0
"""Small pictures: means of the picture's pixels, or near them by a model's heads; the same by every way to decode."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from builders import SHIPPED, photo
from hypothesis import given, settings
from hypothesis import strategies as st

from jahp_fast import Codec, FormatError, ModelError, UsageError, _native
from jahp_fast.entropy.model_file import ModelFile, read_id, save_views
from jahp_fast.entropy.tensor_file import TensorFile
from jahp_fast.export import heads
from jahp_fast.export.heads import add_heads
from jahp_fast.files import container
from jahp_fast.files.view import View, averaged, averaged_rows
from jahp_fast.pipelines import cpu
from jahp_fast.pipelines.device import DevicePipeline
from jahp_fast.transforms.cpu import CpuTransforms, made_net, run_by_rows
from jahp_fast.transforms.layers import ACTIVATION_LIMIT, SynthesisLayers
from jahp_fast.transforms.reference import ReferenceNet, convolve, transpose_convolve
from jahp_fast.transforms.small import AS_THEY_ARE, CARRY_BITS, SmallPictures, block_sums, coarse_layers, phase_sums

HEIGHT, WIDTH = 117, 139
SCALES = (2, 4, 8, 16)


@pytest.fixture(scope="module")
def headed(tiny_models, tmp_path_factory):
    """A tiny model with heads."""
    path = tmp_path_factory.mktemp("headed") / "tiny.safetensors"
    shutil.copy(tiny_models["tiny"], path)
    add_heads(path, [photo()[i : i + 100, 100 : 100 + 33 * (1 + i)] for i in range(4)])
    return path


@pytest.fixture(scope="module")
def narrow(headed, tmp_path_factory):
    """The same, whose coarse layers have five of their eight channels."""
    path = tmp_path_factory.mktemp("narrow") / "tiny.safetensors"
    shutil.copy(headed, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "TOGETHER", 4)
        add_heads(path, [photo()[:96, :128]])
    assert TensorFile(path).kind("view.8.1.kept") == "U16 [5]"
    return path


@pytest.fixture(scope="module", params=["means", "heads", "narrow"])
def decoded(request, tiny_models, headed, narrow):
    """A codec, a file with alpha, and its decodes by scale."""
    path = {"means": tiny_models["tiny"], "heads": headed, "narrow": narrow}[request.param]
    codec = Codec("tiny", 5.5, threads=1, models=[path])
    alpha = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 1), dtype=np.uint8)
    data = codec.encode(np.dstack([photo()[:HEIGHT, :WIDTH], alpha]))
    return codec, data, {scale: codec.decode(data, scale=scale) for scale in (1, *SCALES)}


def mean_by_hand(picture, scale):
    rows = []
    for top in range(0, picture.shape[0], scale):
        row = []
        for left in range(0, picture.shape[1], scale):
            square = picture[top : top + scale, left : left + scale].astype(int)
            count = square.shape[0] * square.shape[1]
            row.append((square.sum((0, 1)) + count // 2) // count)
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (33, 17), (64, 48)], ids=str)
@pytest.mark.parametrize("scale", [1, *SCALES])
def test_averaged_is_the_mean_of_what_is_there(size, scale):
    picture = np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), dtype=np.uint8)
    for values in (picture, np.full_like(picture, 255)):
        assert np.array_equal(averaged(values, scale), mean_by_hand(values, scale))
        for rows in (1, 3, 16, 50):
            blocks = [values[r : r + rows] for r in range(0, size[0], rows)]
            assert np.array_equal(np.concatenate(list(averaged_rows(blocks, scale))), averaged(values, scale))
    assert np.array_equal(averaged(picture[:, :, 0], scale), averaged(picture, scale)[:, :, 0])


def test_without_heads_pixels_are_means(decoded):
    codec, _, pictures = decoded
    for scale in SCALES:
        assert pictures[scale].shape == (-(-HEIGHT // scale), -(-WIDTH // scale), 4)
        assert np.array_equal(pictures[scale][:, :, 3], averaged(pictures[1][:, :, 3], scale))
        exact = scale not in codec._encoder.transforms.scales
        assert exact == (scale == 2 or "view.4.0.weight" not in codec._encoder.file.names)
        assert np.array_equal(pictures[scale], averaged(pictures[1], scale)) == exact


@st.composite
def regions(draw):
    left, top = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
    return left, top, draw(st.integers(1, WIDTH - left)), draw(st.integers(1, HEIGHT - top))


@settings(max_examples=40, deadline=None)
@given(region=regions(), scale=st.sampled_from(SCALES))
def test_a_region_at_a_scale_is_all_pixels_of_the_small_picture_that_it_touches(decoded, region, scale):
    codec, data, pictures = decoded
    left, top, width, height = region
    wanted = pictures[scale][top // scale : -(-(top + height) // scale), left // scale : -(-(left + width) // scale)]
    assert np.array_equal(codec.decode(data, region=region, scale=scale), wanted)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("region", [None, (37, 50, 70, 41)], ids=str)
def test_every_way_to_decode_takes_scales(decoded, monkeypatch, scale, region):
    codec, data, _ = decoded
    wanted = codec.decode(data, region, scale)
    monkeypatch.setattr(cpu, "OVERLAP_PIXELS", 0)
    assert np.array_equal(np.concatenate(list(codec.decode_rows(data, region, scale))), wanted)
    assert np.array_equal(codec.decode_batch([data, data], region, scale), [wanted, wanted])
    assert np.array_equal(codec.decode_tensor(data, region, scale).permute(1, 2, 0).numpy(), wanted)
    assert np.array_equal(np.asarray(codec.decode_pil(data, region, scale)), wanted)
    models = codec._pipelines.models
    assert np.array_equal(Codec("tiny", backend="reference", models=models).decode(data, region, scale), wanted)
    assert np.array_equal(Codec("tiny", threads=3, models=models).decode(data, region, scale), wanted)
    stream = container.unpack(data)
    pipeline = DevicePipeline(codec._encoder.file, "native")
    (image,) = pipeline.decode([stream], 1, views=[View.of(*stream.size, region, scale)]).settle()
    assert np.array_equal(image.permute(1, 2, 0).numpy(), wanted[:, :, :3])


def test_grey_at_a_scale(headed):
    codec = Codec("tiny", 3, threads=1, models=[headed])
    data = codec.encode(photo()[:50, :70, 0])
    assert codec.decode(data, scale=8).shape == (7, 9)
    assert codec.decode(data, scale=16, region=(17, 0, 1, 50)).shape == (4, 1)


@pytest.mark.parametrize(
    ("scale", "said"), [(3, "2, 4, 8 or 16, not 3"), (0, "not 0"), (32, "not 32"), (2.0, "whole number"), ("4", "whole")]
)
def test_what_is_no_scale_is_refused_in_a_sentence(decoded, scale, said):
    codec, data, _ = decoded
    for decode in (codec.decode, codec.decode_rows, codec.decode_pil, codec.decode_tensor):
        with pytest.raises(UsageError, match=said):
            decode(data, scale=scale)


def test_damage_is_found_at_a_scale(decoded):
    codec, data, _ = decoded
    stream = container.unpack(data)
    for scale in SCALES:
        with pytest.raises(FormatError, match="checksum of the decoded symbols"):
            codec.decode(container.pack(replace(stream, checksum=stream.checksum ^ 1)), scale=scale)
    short = container.pack(replace(stream, chunks={b"ALPH": stream.chunks[b"ALPH"][:-9]}))
    with pytest.raises(FormatError, match="alpha"):
        codec.decode(short, scale=8)


def test_coarse_layers_give_sums_of_squares():
    rng = np.random.default_rng(3)
    x = rng.integers(-8191, 8192, (7, 6, 5)).astype(np.int16)
    weight = rng.integers(-32768, 32768, (5, 4, 5, 5)).astype(np.int16)
    sums = phase_sums(weight)
    fine = transpose_convolve(x, weight).reshape(7, 2, 6, 2, 4).sum((1, 3))
    assert np.array_equal(convolve(x, sums, 1), fine)
    assert np.array_equal(convolve(x[:6], block_sums(sums), 2), convolve(x[:6], sums, 1).reshape(3, 2, 3, 2, 4).sum((1, 3)))


@pytest.mark.parametrize("quality", [1, 4.35, 8])
@pytest.mark.parametrize("scale", AS_THEY_ARE)
@pytest.mark.parametrize("which", ["headed", "narrow"])
def test_heads_add_up(request, which, quality, scale):
    """A picture is what each head makes of its features, rounded to steps of a carried channel, in sum."""
    path = request.getfixturevalue(which)
    model = ModelFile(path)
    chain = SmallPictures(model, SynthesisLayers(model)).at(quality, scale)
    transforms = CpuTransforms(model, True)
    layers = transforms.g_s_layers(quality)
    x = np.random.default_rng(5).integers(-300, 300, (6, 5, 12)).astype(np.int16)
    features = [made_net(layers[: AS_THEY_ARE[scale]], True).run(x)]
    kept = [TensorFile(path).read(f"view.{scale}.{i}.kept").astype(int) for i in range(3 - AS_THEY_ARE[scale])]
    for layer in coarse_layers(layers, scale, kept):
        features.append(made_net([layer], True).run(features[-1]))
    total = np.zeros((*features[0].shape[:2], 3), np.int64)
    for i, (f, layer) in enumerate(zip(features, chain[AS_THEY_ARE[scale] :], strict=True)):
        last = i == len(features) - 1
        sums = convolve(f, layer.weight[-3:, : f.shape[2]], 1) + layer.bias[-3:]
        shift = layer.shift[-3:].astype(np.int64)
        total = (sums + (total << (shift - CARRY_BITS if last else shift)) + (1 << shift >> 1)) >> shift
        if not last:
            total = np.clip(total, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
    assert np.array_equal(made_net(chain, True).run(x), np.clip(total, 0, 255))


@pytest.mark.parametrize("scale", [*AS_THEY_ARE, 16])
@pytest.mark.parametrize("which", ["headed", "narrow", "shipped"])
def test_small_pictures_are_the_same_by_every_instruction_set(request, which, scale):
    """NumPy's and the native ones, with threads and strips, on ordinary and on the largest inputs."""
    model = ModelFile(SHIPPED if which == "shipped" else request.getfixturevalue(which))
    chain = SmallPictures(model, SynthesisLayers(model)).at(5.2, scale)
    rng = np.random.default_rng(scale)
    latents = model.config.latents
    inputs = [rng.integers(-200, 201, (5, 7, latents)), rng.choice([-ACTIVATION_LIMIT, ACTIVATION_LIMIT], (4, 3, latents))]
    for x in (np.ascontiguousarray(i, np.int16) for i in inputs):
        wanted = ReferenceNet(chain).run(x)
        assert wanted.dtype == np.uint8
        for isa in _native.isa_names():
            net = _native.TransformNet(chain, isa)
            for threads in (1, 3):
                assert np.array_equal(net.run(x, threads), wanted), isa
                assert np.array_equal(run_by_rows(net, x, threads), wanted), isa


def test_heads_leave_the_id_and_all_other_tensors(tiny_models, headed):
    old, new = ModelFile(tiny_models["tiny"]), ModelFile(headed)
    assert new.id == old.id == read_id(headed)
    assert new.manifest == old.manifest
    assert {n for n in new.names if not n.startswith("view.")} == set(old.names)
    for name in old.names:
        assert np.array_equal(TensorFile(headed).read(name), TensorFile(tiny_models["tiny"]).read(name))
    new.verify()
    twice = headed.with_name("twice.safetensors")
    shutil.copy(headed, twice)
    add_heads(twice, [photo()[i : i + 100, 100 : 100 + 33 * (1 + i)] for i in range(4)])
    assert TensorFile(twice).metadata == TensorFile(headed).metadata
    before = twice.read_bytes()
    with pytest.raises(UsageError, match="16 x 16 pixels or more, and there are none"):
        add_heads(twice, [photo()[:100, :15]])
    assert twice.read_bytes() == before


def test_channels_that_there_are_not(headed, tmp_path):
    model = ModelFile(headed)
    data = Codec("tiny", 4, models=[headed]).encode(photo()[:40, :40])
    views = model.read_views("")
    for kept in ([0, 1, 2, 3, 4, 5, 6, 8], [0, 1, 2, 3, 4, 5, 6, 6]):
        path = tmp_path / "tiny.safetensors"
        shutil.copy(headed, path)
        save_views(path, views | {"8.1.kept": np.array(kept, np.uint16)})
        with pytest.raises(ModelError, match=r"tensor view.8.1.kept does not rise, or names a channel that there is not"):
            Codec("tiny", 4, models=[path]).decode(data, scale=16)
    save_views(path, {name: array for name, array in views.items() if name != "4.1.shift"})
    with pytest.raises(ModelError, match=r"tensor view.4.1.shift is missing"):
        Codec("tiny", 4, models=[path]).decode(data, scale=4)


def test_damaged_heads_are_refused_when_they_are_needed(headed, tmp_path):
    """And a list of them that is not the file's at once."""
    raw = headed.read_bytes()
    codec = Codec("tiny", 4, models=[headed])
    data = codec.encode(photo()[:40, :40])
    file = TensorFile(headed)
    at = file._begin + file._tensors["view.8.1.weight"][2]
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    damaged = Codec("tiny", 4, models=[path])
    assert np.array_equal(damaged.decode(data), codec.decode(data))
    with pytest.raises(ModelError, match=r"tensor view.8.1.weight does not match the manifest"):
        damaged.decode(data, scale=8)
    path.write_bytes(raw.replace(b'"views"', b'"weivs"'))
    with pytest.raises(ModelError, match="manifest does not list the tensors"):
        ModelFile(path)


@pytest.mark.parametrize("model", ["mbt2018", "mbt2018-ms-ssim"])
def test_shipped_heads_come_near_the_means(model):
    """Nearer than anybody sees; and no colour is cast. docs/lab/028-small-pictures.md has the figures."""
    codec = Codec(model, 4)
    for quality, least in ((1, 36), (4.5, 38), (8, 40)):
        picture = photo()[:256, :384]
        data = Codec(model, quality).encode(picture)
        whole = codec.decode(data)
        for scale in (4, 8, 16):
            error = codec.decode(data, scale=scale).astype(float) - averaged(whole, scale)
            assert 10 * np.log10(255**2 / np.square(error).mean()) > least
            assert np.abs(error.mean((0, 1))).max() < 1
    assert codec._encoder.transforms.scales == (4, 8, 16)
