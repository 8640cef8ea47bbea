# SPDX-License-Identifier: Apache-2.0
"""Pixels are those of the decoder that was written from docs/reference/format.md alone (tests/independent)."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import format_short_examples as short
import independent
import numpy as np
import pytest
from builders import SHIPPED, photo
from independent.pixels import Synthesis

from jahp_fast import Codec
from jahp_fast.entropy.model_file import ModelFile, save_model
from jahp_fast.errors import ModelError
from jahp_fast.transforms.cpu import CpuTransforms

GOLDEN = Path(__file__).parents[1] / "golden"
ENTRIES = json.loads((GOLDEN / "golden.json").read_text())


def decoded(data, path):
    stream, model = independent.parse(data), independent.Model(path)
    return independent.samples(stream, model, independent.decode(stream, model)[1])


@pytest.mark.parametrize("quality", [1, 2.55, 8])
def test_shipped(quality):
    """Also between qualities, where gains and the last layers lie between two; sides that are no multiples of 16."""
    image = np.ascontiguousarray(photo()[200:297, 310:393])
    for picture in (image, image[:, :, 1].copy()):
        data = Codec(quality=quality).encode(picture)
        exact = decoded(data, SHIPPED)
        assert exact.shape == picture.shape
        assert np.array_equal(Codec().decode(data), exact)
        assert np.array_equal(Codec(backend="reference").decode(data), exact)
        assert np.mean(np.abs(exact - picture)) < 20  # it is the picture


def test_every_tiny_model(tiny_models, photo_crop):
    """Both forms, with z and without, one quality and several."""
    forms = set()
    for name, path in tiny_models.items():
        codec = Codec(name, quality=3.4, models=[path])
        data = codec.encode(photo_crop[:40, :60])
        assert np.array_equal(codec.decode(data), decoded(data, path)), name
        forms.add(ModelFile(path).config.form)
    assert forms == {"A", "B"}


def test_every_quality_of_a_model(tiny_models):
    """All 141, of a model with layers of its own for each row."""
    path, y = tiny_models["tiny"], np.random.default_rng(1).integers(-5, 6, (2, 1, 12)).astype(np.int32)
    transforms, model, seen = CpuTransforms(ModelFile(path), True), independent.Model(path), set()
    for code in range(20, 161):
        pixels = np.concatenate(list(transforms.synthesis([y], 32, 16, code / 20)))
        assert np.array_equal(pixels, np.clip(Synthesis(model, code).run(y)[0], 0, 255)), code
        seen.add(pixels.tobytes())
    assert len(seen) > 130


def test_a_tensor_of_another_hash_is_refused(tmp_path):
    """When pixels are wanted; latents do without."""
    path = tmp_path / "model.safetensors"
    data = bytearray(short.transforms_model(tmp_path).path.read_bytes())
    bias = np.array([-3000], "<i4").tobytes()  # of g_s.2
    at = data.rindex(bias)
    data[at : at + 4] = np.array([-3001], "<i4").tobytes()
    path.write_bytes(data)
    model, y = independent.Model(path), np.zeros((1, 1, 2), np.int32)
    with pytest.raises(independent.Refused, match=r"transform.g_s.2.bias: the manifest has another hash"):
        Synthesis(model, 80).run(y)
    with pytest.raises(ModelError, match=r"transform.g_s.2.bias does not match the manifest"):
        list(CpuTransforms(ModelFile(path), True).synthesis([y], 16, 16, 4))


@pytest.mark.parametrize("name", sorted(name for name, entry in ENTRIES.items() if "pixels" in entry))
def test_golden_pictures(name):
    pixels = decoded((GOLDEN / f"{name}.jahp").read_bytes(), GOLDEN / f"{ENTRIES[name]['model']}.safetensors")
    assert hashlib.sha256(pixels.astype(np.uint8).tobytes()).hexdigest() == ENTRIES[name]["pixels"]


CHANGES = {
    "a missing tensor": ("g_s.2.bias", None, "is missing"),
    "another shape": ("g_s.3.beta", np.ones(2, np.int32), r"has the shape \(2,\); \(1\) is needed"),
    "one row of two": ("g_s.4.bias", np.zeros(1, np.int32), r"has the shape \(1,\); \(2, 1\) is needed"),
    "another type": ("g_s.0.bias", np.zeros(1, np.int16), "has the type int16; int32 is needed"),
    "a shift that is too large": ("g_s.2.shift", np.full(1, 30, np.uint8), "has a shift that is not 0 to 29"),
    "too few bits for pixels": ("g_s.6.shift", np.full(3, 7, np.uint8), "has a shift that is not 8 to 29"),
    "a gain that is too large": ("inv_gain", np.full((2, 2), 61440, np.int32), "has a logarithm that is not -192512 to 61439"),
    "a norm of 0": ("g_s.1.beta", np.zeros(1, np.int32), "gamma or beta is out of range"),
    "a negative gamma": ("g_s.1.gamma", np.full((1, 1), -1, np.int16), "gamma or beta is out of range"),
    "a norm of 32 bits": ("g_s.5.gamma", np.full((1, 1), 32767, np.int16), "their norm could leave 31 bits"),
    "a gain too few": ("inv_gain", np.ones((1, 2), np.int32), r"has the shape \(1, 2\); \(2, 2\) is needed"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_tensors_that_break_a_rule(tmp_path, what):
    """For the package and for the page's decoder."""
    name, value, words = CHANGES[what]
    whole, tensors = short.transforms_model(tmp_path), short.transform_tensors()
    if what == "a norm of 32 bits":
        tensors["g_s.5.beta"] = np.full(1, 2**31 - 1, np.int32)
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    path, y = tmp_path / "bad.safetensors", np.ones((1, 1, 2), np.int32)
    save_model(path, whole.config, whole.entropy, tensors, {})
    for native in (False, True):
        with pytest.raises(ModelError, match=words):
            list(CpuTransforms(ModelFile(path), native).synthesis([y], 16, 16, 4))
    with pytest.raises(independent.Refused):
        Synthesis(independent.Model(path), 80).run(y)


def test_a_model_whose_rows_and_qualities_disagree(tmp_path):
    """Layers of two rows, of a model with one quality."""
    whole = short.transforms_model(tmp_path)
    path = tmp_path / "bad.safetensors"
    save_model(path, replace(whole.config, qualities=(4.0,)), whole.entropy, short.transform_tensors(), {})
    with pytest.raises(ModelError, match=r"transform.inv_gain has the shape|transform.g_s.4.weight has the shape"):
        list(CpuTransforms(ModelFile(path), True).synthesis([np.ones((1, 1, 2), np.int32)], 16, 16, 4))
    with pytest.raises(independent.Refused):
        Synthesis(independent.Model(path), 80).run(np.ones((1, 1, 2), np.int32))
