# SPDX-License-Identifier: Apache-2.0
"""Pixels are within a level of what the formulas of docs/reference/format.md give in float64 (tests/independent):
its section "Tolerance"."""

from dataclasses import replace

import format_short_examples as short
import independent
import numpy as np
import pytest
import torch
from builders import SHIPPED, photo
from independent.pixels import Synthesis

from jahp_fast import Codec
from jahp_fast.entropy.model_file import ModelFile, save_model
from jahp_fast.errors import ModelError
from jahp_fast.files import container
from jahp_fast.transforms.cpu import CpuTransforms
from jahp_fast.transforms.device import Transforms


def decoded(data, path):
    """Y, and the samples in float64."""
    stream, model = independent.parse(data), independent.Model(path)
    y = independent.decode(stream, model)[1]
    return y, independent.samples(stream, model, y)


def furthest(pixels, exact):
    return int(np.abs(pixels.astype(int) - exact).max())


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("quality", [1, 2.55, 8])
def test_shipped(backend, quality):
    """Also between qualities, where gains and the last layers are interpolated; sides that are no multiples of 16."""
    image = np.ascontiguousarray(photo()[200:297, 310:393])
    for picture in (image, image[:, :, 1].copy()):
        codec = Codec(quality=quality, backend=backend)
        data = codec.encode(picture)
        pixels, (_, exact) = codec.decode(data), decoded(data, SHIPPED)
        assert pixels.shape == exact.shape == picture.shape
        assert furthest(pixels, exact) <= 1
        assert np.mean(pixels != exact) < 0.01
        assert np.mean(np.abs(exact - picture)) < 20  # it is the picture


def test_every_tiny_model(tiny_models, photo_crop):
    """Both forms, with z and without, and layers of their own for each row of the gains."""
    forms = set()
    for name, path in tiny_models.items():
        codec = Codec(name, quality=3.4, models=[path])
        data = codec.encode(photo_crop[:40, :60])
        assert furthest(codec.decode(data), decoded(data, path)[1]) <= 1, name
        forms.add(ModelFile(path).config.form)
    assert forms == {"A", "B"}


def test_factors_of_float16_inside():
    """As on GPUs."""
    data = Codec(quality=8).encode(np.ascontiguousarray(photo()[200:264, 310:390]))
    y, exact = decoded(data, SHIPPED)
    half = Transforms(ModelFile(SHIPPED), inner=torch.float16)
    pixels = half.synthesis(torch.from_numpy(y[None].astype(np.int32)), half.decoding_row(8), 0, 64, 80)
    assert furthest(pixels[0].permute(1, 2, 0).numpy(), exact) <= 1


def test_the_page_s_pixel(tmp_path):
    model = independent.Model(short.transforms_model(tmp_path).path)
    found = Synthesis(model, short.QUALITY).run(np.array([[[short.LATENT, 0]]]))
    assert np.allclose(found.transpose(2, 0, 1), short.synthesis()[2], rtol=1e-12, atol=1e-12)


def test_a_float_tensor_of_another_hash_is_refused(tmp_path):
    """When pixels are wanted; latents do without."""
    path = tmp_path / "model.safetensors"
    data = bytearray(short.transforms_model(tmp_path).path.read_bytes())
    bias = np.array([-0.25], np.float16).tobytes()  # of g_s.2
    at = data.rindex(bias)
    data[at : at + 2] = np.array([0.375], np.float16).tobytes()
    path.write_bytes(data)
    model = independent.Model(path)
    with pytest.raises(independent.Refused, match=r"float.g_s.2.bias: the manifest has another hash"):
        Synthesis(model, 4).run(np.zeros((1, 1, 2)))


@pytest.mark.parametrize("what", ["g_s.4 alone", "g_s.6 alone", "both of a single quality"])
def test_layers_by_row_are_there_together(tmp_path, what):
    """Of several qualities, and both; the package on CPUs and in torch, and the page's decoder."""
    whole = short.transforms_model(tmp_path)
    floats, config, rows = dict(short.float_tensors()), whole.config, 2
    if what == "both of a single quality":
        config, rows = replace(config, qualities=(4.0,)), 1
        floats["inv_gain"] = floats["inv_gain"][:1]
    for i in (4, 6):
        if what in (f"g_s.{i} alone", "both of a single quality"):
            for kind in ("weight", "bias"):
                tensor = floats.pop(f"g_s.{i}.{kind}")
                floats |= {f"g_s.{i}.{row}.{kind}": tensor for row in range(rows)}
    path = tmp_path / "bad.safetensors"
    save_model(path, config, whole.entropy, floats, {})
    words = "g_s.4 and g_s.6 must both be there for each of several qualities, or both once"
    with pytest.raises(ModelError, match=words):
        CpuTransforms(ModelFile(path), True).g_s_layers(4)
    with pytest.raises(ModelError, match=words):
        Transforms(ModelFile(path))
    with pytest.raises(independent.Refused, match=r"g_s\.4 and g_s\.6 by row"):
        Synthesis(independent.Model(path), 4)


def test_what_is_no_number_is_black(tmp_path):
    model = independent.Model(short.transforms_model(tmp_path).path)
    stream = independent.parse(container.pack(container.Stream(16, 16, "RGB", 4.0, model.id, 1, 0, 0, bytes(1))))
    with np.errstate(all="ignore"):
        assert not independent.samples(stream, model, np.full((1, 1, 2), np.nan)).any()
