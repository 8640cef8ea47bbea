# SPDX-License-Identifier: Apache-2.0
"""Models whose tensors hold no numbers, or absurd ones: the first are refused by name, the others give some picture, or an encoder that
says so; never a warning (warnings are errors here), a traceback or a crash."""

import numpy as np
import pytest
from in_part import one_in
from PIL import Image
from safetensors.numpy import load_file, save

from jahp_fast import Codec
from jahp_fast.cli import main
from jahp_fast.entropy.model_file import ModelFile, save_model, tensor_line
from jahp_fast.errors import ModelError, UnsupportedImage, UsageError
from jahp_fast.export.model import dequantise
from jahp_fast.files import container
from jahp_fast.pipelines.device import DevicePipeline
from jahp_fast.transforms.layers import LEAST_LOG, MOST_LOG

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
    floats = {name: array for name, array in load_file(source).items() if array.dtype.kind == "f"}
    assert {name.split(".")[0] for name in floats} == {"search", "train"}
    for name, array in floats.items():
        path = rewritten(source, tmp_path / "bad.safetensors", {name: with_value(array, NO_NUMBERS[value], array.size // 2)})
        with pytest.raises(ModelError, match=rf"bad\.safetensors: tensor {name} has a number that is not finite"):
            _ = getattr(ModelFile(path), name.split(".")[0])
        with pytest.raises(ModelError, match=name):
            ModelFile(path).verify()
        if name.startswith("train."):
            with pytest.raises(ModelError, match=name):
                dequantise(path)


@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_every_finite_number_is_let_in(tmp_path, tiny_models, kind):
    tiny = ModelFile(tiny_models["tiny"])
    edges = np.array([0, -0.0, *(s * e for s in (1, -1) for e in (np.finfo(kind).max, np.finfo(kind).tiny))], kind)
    save_model(tmp_path / "m.safetensors", tiny.config, tiny.entropy, {}, {"edges": edges, "none": edges[:0]})
    assert np.array_equal(ModelFile(tmp_path / "m.safetensors").train["edges"], edges.astype(np.float32))


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_codecs_name_it_and_commands_say_one_line(tiny_models, tmp_path, streams, picture, capsys, backend):
    name, photo = "search.curvature", tmp_path / "photo.png"
    path = rewritten(
        tiny_models["tiny"], tmp_path / "bad.safetensors", {name: with_value(load_file(tiny_models["tiny"])[name], np.nan, -1)}
    )
    codec = Codec("bad", models=[path], backend=backend)
    with pytest.raises(ModelError, match=rf"bad\.safetensors: tensor {name} has a number that is not finite"):
        codec.encode(picture, effort=1)
    decoded = codec.decode(of_model(streams["tiny"], path))
    assert np.array_equal(decoded, Codec("tiny", models=[tiny_models["tiny"]], backend=backend).decode(streams["tiny"]))
    Image.fromarray(picture).save(photo)
    assert main(["encode", str(photo), str(tmp_path / "o.jahp"), "--effort", "1", "--model", str(path), "--backend", backend]) == 1
    out, err = capsys.readouterr()
    assert (out, err[:6], err.count("\n"), name in err) == ("", "jahp: ", 1, True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.safetensors", "photo.png"]


@pytest.mark.parametrize("value", [MOST_LOG + 1, LEAST_LOG - 1, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("name", ["gain", "inv_gain", "h_a.input"])
def test_gains_beyond_what_a_shift_can_do(tiny_models, tmp_path, streams, picture, name, value):
    array = load_file(tiny_models["tiny"])[f"transform.{name}"]
    path = rewritten(tiny_models["tiny"], tmp_path / "bad.safetensors", {f"transform.{name}": with_value(array, value, 5)})
    with pytest.raises(ModelError, match=rf"tensor transform\.{name} has a logarithm that is not {LEAST_LOG} to {MOST_LOG}"):
        Codec("bad", models=[path]).decode(of_model(streams["tiny"], path)) if name == "inv_gain" else Codec("bad", models=[path]).encode(
            picture
        )


@pytest.mark.parametrize("group", ["train", "search"])
def test_none_is_written(tiny_models, tmp_path, group):
    tiny = ModelFile(tiny_models["tiny"])
    bad = np.array([1, np.inf], np.float16)
    groups = {"train": {"g_a.unit": bad}} if group == "train" else {"train": {}, "search": {"search.curvature": bad}}
    with pytest.raises(ModelError, match=r"(train\.g_a\.unit|search\.curvature) has a number that is not finite, as float16"):
        save_model(tmp_path / "m.safetensors", tiny.config, tiny.entropy, {}, **groups)
    assert not list(tmp_path.iterdir())


# Absurd numbers


def absurd(array, how, low=None, high=None):
    """A tensor of the largest and smallest numbers that are let in."""
    kind = np.finfo if array.dtype.kind == "f" else np.iinfo
    low, high = kind(array.dtype).min if low is None else low, kind(array.dtype).max if high is None else high
    if how == "one":
        return with_value(array, high, array.size // 3)
    up = {"huge": True, "negative": False}.get(how, np.indices(array.shape).sum(0) % 2 == 0)
    return np.where(np.broadcast_to(up, array.shape), high, low).astype(array.dtype)


PARTS = [
    "g_a.0.weight", "g_a.1.beta", "g_a.1.gamma", "g_a.6.bias", "h_a.0.weight", "h_a.4.bias", "g_s.0.weight", "g_s.0.bias",
    "g_s.1.beta", "g_s.1.gamma", "g_s.4.", "g_s.6.", "gain", "inv_gain", "root.", "curvature", "g_a.", "g_s.", "",
]  # fmt: skip


def absurd_model(source, path, part, how):
    """A model with all tensors whose names begin so made absurd, as far as they may be; None if it has none such."""
    changes = {}
    for name, array in load_file(source).items():
        group, rest = name.split(".", 1) if "." in name else (name, "")
        if group not in ("transform", "search") or not rest.startswith(part):
            continue
        if rest.endswith(("gain", "input")):
            changes[name] = absurd(array, how, LEAST_LOG, MOST_LOG)
        elif rest.endswith("gamma"):  # norms are held within 31 bits
            changes[name] = absurd(array * 0, how, 0, 32766 // len(array))
            changes[name.replace("gamma", "beta")] = np.ones(len(array), np.int32)
        elif rest.endswith("beta") and name not in changes:
            room = 2**31 - 1 - 65535 * load_file(source)[name.replace("beta", "gamma")].astype(np.int64).sum(1).max()
            changes[name] = absurd(array, how, 1, room)
        elif not rest.endswith("shift"):
            changes[name] = absurd(array, how)
    return rewritten(source, path, changes) if changes else None


@pytest.mark.parametrize("how", one_in(3, ["huge", "one", "negative", "alternating"]))
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


@pytest.mark.parametrize("how", ["alternating", "huge"])
@pytest.mark.parametrize("part", ["g_s.0.weight", "g_s.1.gamma", "curvature", "root", "h_a.0.weight", ""])
def test_efforts_that_descend(tiny_models, tmp_path, picture, part, how):
    path = absurd_model(tiny_models["tiny-mean"], tmp_path / "m.safetensors", part, how)
    if path is None:
        return
    found = []
    for backend in ("native", "reference"):
        try:
            found.append(Codec("m", models=[path], backend=backend).encode(picture, effort=2))
        except UnsupportedImage as e:
            assert "latent" in str(e)  # noqa: PT017
            found.append(str(e))
    assert found[0] == found[1]


def test_what_training_needs_may_be_absurd(tiny_models, tmp_path):
    source = tiny_models["tiny"]
    changes = {n: absurd(a, "alternating") for n, a in load_file(source).items() if n.startswith("train.")}
    path = rewritten(source, tmp_path / "m.safetensors", changes)
    assert dequantise(path)[0] == "mbt2018"  # what builds a model of it says which is not finite


def test_latents_beyond_all_bounds_are_the_image_s_fault_in_batches_too(tiny_models, tmp_path, picture):
    path = absurd_model(tiny_models["tiny"], tmp_path / "m.safetensors", "gain", "huge")
    codec, said = Codec("m", models=[path]), "the model's latents for this image cannot be coded"
    with pytest.raises(UnsupportedImage, match=said):
        codec.encode(picture)
    with pytest.raises(UnsupportedImage, match=f"^image 0: {said}"):
        codec.encode_batch([picture, picture])
