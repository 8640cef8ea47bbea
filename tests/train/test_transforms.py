# SPDX-License-Identifier: Apache-2.0
"""g_a, h_a and g_s: the numbers of the models' own modules, batches, qualities, and why float16 on a GPU."""

import numpy as np
import pytest
import torch
from builders import SHIPPED, photo

from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.export.model import dequantise
from jahp_fast.export.state import export_state
from jahp_fast.models import registry
from jahp_fast.transforms.device import Transforms


@pytest.fixture(scope="module")
def shipped():
    return Transforms(ModelFile(SHIPPED))


@pytest.fixture(scope="module")
def images(photo_crop):
    """(2, 3, 50, 70) uint8."""
    return torch.from_numpy(np.stack([photo_crop[:50, :70], photo_crop[40:90, 50:120]])).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def module():
    """The shipped model as a module for training, its weights as the file has them."""
    return registry.from_state_dict(dequantise(SHIPPED)[1])


@pytest.mark.parametrize("quality", [1, 2.5, 8])
def test_numbers_of_the_module(shipped, module, images, quality):
    with torch.no_grad():
        x = torch.nn.functional.pad(images.float() / 255, (0, 10, 0, 14), "replicate")
        q = torch.tensor([quality - 1])
        y = module.analysis(x, q)
        z = module.hyper_analysis(y)
        x_hat = module.synthesis(y.round(), q)
    got = shipped.analysis(images, quality)
    assert got.shape == (2, 192, 4, 5)
    assert torch.allclose(got, y, rtol=1e-4, atol=1e-4)
    assert torch.allclose(shipped.hyper_analysis(y), z, rtol=1e-4, atol=1e-4)
    integers = y.round().int().permute(0, 2, 3, 1).contiguous()
    pixels = shipped.synthesis(integers, shipped.decoding_row(quality), 0, 50, 70)
    want = (x_hat[:, :, :50, :70].clamp(0, 1) * 255).round()
    assert (pixels.float() - want).abs().max() <= 1
    assert (pixels.float() - want).abs().mean() < 0.01
    assert torch.equal(shipped.synthesis(integers * 64, shipped.decoding_row(quality), 6, 50, 70), pixels)


def test_a_quality_has_its_last_layer(tiny_models):
    """The same input of g_s gives other pixels at another quality; between two, the layer is their mixture."""
    tiny = Transforms(ModelFile(tiny_models["tiny"]))
    y = torch.randint(-3, 4, (1, 3, 4, 12), dtype=torch.int32)
    rows = [tiny.decoding_row(quality) for quality in (3, 4, 3.25)]
    assert torch.allclose(rows[2], torch.lerp(rows[0], rows[1], 0.25))
    pixels = []
    for row in rows:
        row[:12] = 0  # the gains
        pixels.append(tiny.synthesis(y, row, 0, 48, 64).int())
    assert (pixels[1] - pixels[0]).abs().max() > 3
    assert (pixels[2] - pixels[0]).abs().max() > 0


def changed(exact, y):
    """Share of symbols that round otherwise, and the largest error of y."""
    return float((exact.round() != y.round()).float().mean()), float((exact - y).abs().max())


def test_float16_disturbs_less_than_bfloat16(shipped):
    """At the highest quality, where y is largest: float16 changes under a symbol in 250, bfloat16 several times as many."""
    image = torch.from_numpy(photo()[192:320, 256:384].copy()).permute(2, 0, 1)[None]
    exact = shipped.analysis(image, 8)
    assert float(exact.abs().max()) > 20
    integers = exact.round().int().permute(0, 2, 3, 1).contiguous()
    gains = shipped.decoding_row(8)
    pixels = shipped.synthesis(integers, gains, 0, 128, 128).int()
    figures = {}
    for inner in (torch.float16, torch.bfloat16):
        rough = Transforms(ModelFile(SHIPPED), inner=inner)
        difference = (rough.synthesis(integers, gains, 0, 128, 128).int() - pixels).abs()
        figures[inner] = (*changed(exact, rough.analysis(image, 8)), float(difference.max()), float(difference.float().mean()))
    half, brain = figures[torch.float16], figures[torch.bfloat16]
    assert half[0] < 1 / 250, figures
    assert half[1] < 1 / 16, figures
    assert half[2] <= 1, figures
    assert half[3] < 0.05, figures
    assert brain[0] > 4 * half[0], figures
    assert brain[1] > 4 * half[1], figures


def test_absurd_latents_give_numbers(shipped):
    """ŷ at the ends of its range overflows float16; pixels come of it, and the next image is not disturbed."""
    rough = Transforms(ModelFile(SHIPPED), inner=torch.float16)
    y = torch.from_numpy(np.random.default_rng(0).choice([-32767, 32767], (1, 2, 2, 192)).astype(np.int32))
    gains = rough.decoding_row(1)
    assert rough.synthesis(y, gains, 0, 32, 32).shape == (1, 3, 32, 32)
    calm = rough.synthesis(torch.zeros_like(y), gains, 0, 32, 32)
    assert (calm.int() - shipped.synthesis(torch.zeros_like(y), gains, 0, 32, 32).int()).abs().max() <= 1


def test_single_quality(tmp_path, photo_crop):
    torch.manual_seed(0)
    model = registry.build("mbt2018-mean", 8, 12, rows=1)
    path = tmp_path / "m.safetensors"
    export_state(model.state_dict(), path, photos=[photo_crop], qualities=[5])
    transforms = Transforms(ModelFile(path))
    assert torch.equal(transforms.decoding_row(5)[:12], model.inv_gain[0].detach())
