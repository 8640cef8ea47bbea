# SPDX-License-Identifier: Apache-2.0
"""Models whose float tensors hold no numbers, or absurd ones: the first are refused by name, the others give some picture, or an encoder
that says so; never a warning (warnings are errors here), a traceback or a crash."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from jahp_fast import Codec
from jahp_fast.cli import main
from jahp_fast.entropy.model_file import ModelFile, save_model, tensor_line
from jahp_fast.errors import ModelError, UnsupportedImage, UsageError
from jahp_fast.export.model import dequantise
from jahp_fast.files import container
from jahp_fast.pipelines.device import DevicePipeline

NO_NUMBERS = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}
KINDS = ["tiny", "tiny-b16", "tiny-mean", "tiny-factorized"]


def rewritten(source, path, changes):
    """A model file with other tensors, by full name, and a manifest that is true to them: whatever they hold."""
    tensors = load_file(source) | changes
    manifest = "".join(tensor_line(name, tensors[name]) + "\n" for name in sorted(tensors))
    path.write_bytes(save(tensors, {"jahp": "1", "manifest": manifest, "metric": "mse"}))
    return path


def with_value(array, value, at=0):
    """A copy with one number replaced."""
    out = array.copy()
    out.reshape(-1)[at] = value
    return out


def of_model(data, path):
    """The stream, as if the model at `path` had written it: their entropy paths are the same."""
    stream = container.unpack(data)
    return container.pack(container.Stream(**{**stream.__dict__, "model": ModelFile(path).id}))


@pytest.fixture(scope="module")
def picture(photo_crop):
    return photo_crop[:36, :52]


@pytest.fixture(scope="module")
def streams(tiny_models, picture):
    return {name: Codec(name, models=[path]).encode(picture) for name, path in tiny_models.items()}


# What is no number


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_a_tensor_with_what_is_no_number_is_named(tiny_models, tmp_path, value):
    source = tiny_models["tiny"]
    for name, array in load_file(source).items():
        if not name.startswith(("float.", "train.")):
            continue
        path = rewritten(source, tmp_path / "bad.safetensors", {name: with_value(array, NO_NUMBERS[value], array.size // 2)})
        group, rest = name.split(".", 1)
        with pytest.raises(ModelError, match=rf"bad\.safetensors: tensor {name} has a number that is not finite"):
            _ = ModelFile(path).train if group == "train" else ModelFile(path).read_floats(rest)
        with pytest.raises(ModelError, match=name):
            ModelFile(path).verify()
        with pytest.raises(ModelError, match=name):
            dequantise(path) if not rest.startswith("search.") else ModelFile(path).floats


@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_every_finite_number_is_let_in(tmp_path, tiny_models, kind):
    tiny = ModelFile(tiny_models["tiny"])
    edges = np.array([0, -0.0, *(s * e for s in (1, -1) for e in (np.finfo(kind).max, np.finfo(kind).tiny))], kind)
    save_model(tmp_path / "m.safetensors", tiny.config, tiny.entropy, {"edges": edges, "none": edges[:0]}, {})
    assert np.array_equal(ModelFile(tmp_path / "m.safetensors").floats["edges"], edges.astype(np.float32))


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(("name", "direction"), [
    ("g_a.2.weight", "encode"), ("g_a.1.gamma", "encode"), ("gain", "encode"), ("h_a.0.bias", "encode"), ("search.scale.1", "encode"),
    ("search.curvature", "encode"), ("g_s.0.weight", "both"), ("g_s.6.7.bias", "both"), ("g_s.3.beta", "both"), ("inv_gain", "both"),
])  # fmt: skip
def test_codecs_name_it_and_commands_say_one_line(tiny_models, tmp_path, streams, picture, capsys, name, direction, backend):
    array = load_file(tiny_models["tiny"])[f"float.{name}"]
    path = rewritten(tiny_models["tiny"], tmp_path / "bad.safetensors", {f"float.{name}": with_value(array, np.nan, -1)})
    codec, words = Codec("bad", models=[path], backend=backend), rf"bad\.safetensors: tensor float\.{name} has a number that is not finite"
    with pytest.raises(ModelError, match=words):
        codec.encode(picture, effort=1)
    (tmp_path / "photo.jahp").write_bytes(data := of_model(streams["tiny"], path))
    if direction == "encode":
        assert np.array_equal(codec.decode(data), Codec("tiny", models=[tiny_models["tiny"]], backend=backend).decode(streams["tiny"]))
        return
    with pytest.raises(ModelError, match=words):
        codec.decode(data)
    assert main(["decode", str(tmp_path / "photo.jahp"), str(tmp_path / "o.png"), "--model", str(path), "--backend", backend]) == 1
    out, err = capsys.readouterr()
    assert (out, err[:6], err.count("\n"), f"float.{name}" in err) == ("", "jahp: ", 1, True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.safetensors", "photo.jahp"]


def test_torch_names_it_too(tiny_models, tmp_path, streams):
    array = load_file(tiny_models["tiny"])["float.g_s.0.weight"]
    path = rewritten(tiny_models["tiny"], tmp_path / "bad.safetensors", {"float.g_s.0.weight": with_value(array, -np.inf)})
    with pytest.raises(ModelError, match=r"float\.g_s\.0\.weight has a number that is not finite, as float16"):
        DevicePipeline(ModelFile(path), "native").decode([container.unpack(of_model(streams["tiny"], path))], 1).settle()


@pytest.mark.parametrize("value", [88.0, 1e4, -88.0, -3e38])
@pytest.mark.parametrize("name", ["gain", "inv_gain"])
def test_gains_that_have_no_exponential(tiny_models, tmp_path, name, value):
    array = load_file(tiny_models["tiny"])[f"float.{name}"]
    path = rewritten(tiny_models["tiny"], tmp_path / "bad.safetensors", {f"float.{name}": with_value(array, value, 5)})
    with pytest.raises(ModelError, match=rf"tensor float\.{name} has the logarithm of a gain beyond ±87"):
        ModelFile(path).read_floats(name)
    with np.errstate(all="raise"):
        for edge in (87, -87):
            assert 0 < np.exp(np.float32(edge)) * np.exp(np.float32(-edge)) < 2


@pytest.mark.parametrize("group", ["floats", "train"])
def test_none_is_written(tiny_models, tmp_path, group):
    tiny = ModelFile(tiny_models["tiny"])
    groups = {"floats": {}, "train": {}} | {group: {"g_a.0.bias": np.array([1, np.inf], np.float16)}}
    with pytest.raises(ModelError, match=r"g_a\.0\.bias has a number that is not finite, as float16"):
        save_model(tmp_path / "m.safetensors", tiny.config, tiny.entropy, groups["floats"], groups["train"])
    assert not list(tmp_path.iterdir())


# Absurd numbers


def absurd(array, how):
    """A tensor of float32 in which products overflow."""
    shape = array.shape
    if how == "one":
        return with_value(array.astype(np.float32), 1e38, array.size // 3)
    if how == "huge":
        return np.full(shape, 3e38, np.float32)
    if how == "negative":
        return np.full(shape, -3e38, np.float32)
    return np.where(np.indices(shape).sum(0) % 2, np.float32(3e38), np.float32(-3e38))


PARTS = [
    "g_a.0.weight", "g_a.1.beta", "g_a.1.gamma", "g_a.6.bias", "h_a.0.weight", "h_a.4.bias", "g_s.0.weight", "g_s.0.bias",
    "g_s.1.beta", "g_s.1.gamma", "g_s.4.", "g_s.6.", "search.scale.", "search.curvature", "g_a.", "g_s.", "search.", "",
]  # fmt: skip


def absurd_model(source, path, part, how):
    """A model with all tensors whose names begin so made absurd, gains as far as they may be; None if it has none such."""
    changes = {}
    for name, array in load_file(source).items():
        if name in ("float.gain", "float.inv_gain") and not part:
            changes[name] = np.where(absurd(array, how) > 0, np.float32(87), np.float32(-87))
        elif name.startswith(f"float.{part}") and not name.endswith("gain"):
            changes[name] = absurd(array, how)
    return rewritten(source, path, changes) if changes else None


@pytest.mark.parametrize("how", ["one", "huge", "negative", "alternating"])
@pytest.mark.parametrize("part", PARTS)
def test_absurd_numbers_give_pictures_or_a_sentence(tiny_models, tmp_path, streams, picture, part, how):
    for kind in KINDS:
        path = absurd_model(tiny_models[kind], tmp_path / f"{kind}.safetensors", part, how)
        if path is None:
            continue
        data = of_model(streams[kind], path)
        form_a = ModelFile(path).config.form == "A"
        for backend in ("native", "reference"):
            codec = Codec(kind, models=[path], backend=backend, quality=3.45)
            decoded = codec.decode(data)
            assert (decoded.shape, decoded.dtype) == (picture.shape, np.uint8)
            for options in ({}, {"target_bpp": 1.0}, *([{"effort": 1}] if form_a else [])):
                try:
                    assert codec.decode(codec.encode(picture, **options)).shape == picture.shape
                except (UnsupportedImage, UsageError) as e:
                    assert "latent" in str(e) or "bytes are too few for this image" in str(e)  # noqa: PT017
        pipeline = DevicePipeline(ModelFile(path), "native")
        (rgb,) = pipeline.decode([container.unpack(data)], 1).settle()
        assert rgb.shape == (3, *picture.shape[:2])


@pytest.mark.parametrize("part", ["g_s.0.weight", "search.curvature", "h_a.0.weight", ""])
def test_efforts_that_descend(tiny_models, tmp_path, picture, part):
    path = absurd_model(tiny_models["tiny-mean"], tmp_path / "m.safetensors", part, "alternating")
    try:
        assert Codec("m", models=[path]).encode(picture, effort=2)[:4] == b"JAHP"
    except UnsupportedImage as e:
        assert "latent" in str(e)  # noqa: PT017


def test_what_training_needs_may_be_absurd(tiny_models, tmp_path):
    source = tiny_models["tiny"]
    changes = {n: absurd(a, "alternating") for n, a in load_file(source).items() if n.startswith("train.")}
    path = rewritten(source, tmp_path / "m.safetensors", changes)
    assert dequantise(path)[0] == "mbt2018"  # what builds a model of it says which is not finite


def test_latents_beyond_all_bounds_are_the_image_s_fault_in_batches_too(tiny_models, tmp_path, picture):
    path = absurd_model(tiny_models["tiny"], tmp_path / "m.safetensors", "g_a.0.weight", "alternating")
    codec, said = Codec("m", models=[path]), "the model's latents for this image cannot be coded"
    with pytest.raises(UnsupportedImage, match=said):
        codec.encode(picture)
    with pytest.raises(UnsupportedImage, match=f"^image 0: {said}"):
        codec.encode_batch([picture, picture])
