# SPDX-License-Identifier: Apache-2.0
"""g_a, h_a and g_s in torch: near the numbers of the models' own modules, batches, qualities, and what float16 does on a GPU."""

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
    assert (got / 256 - y).abs().max() < 0.5
    assert (got / 256 - y).abs().mean() < 0.03
    assert (shipped.hyper_analysis(got) / 256 - z).abs().mean() < 0.01
    integers = y.round().int().permute(0, 2, 3, 1).contiguous()
    pixels = shipped.synthesis(integers, shipped.decoding_row(quality), 50, 70)
    want = (x_hat[:, :, :50, :70].clamp(0, 1) * 255).round()
    assert (pixels.float() - want).abs().max() <= 2
    assert (pixels.float() - want).abs().mean() < 0.15


def test_a_quality_has_its_last_layer(tiny_models):
    """The same input of g_s gives other pixels at another quality; between two, the layer is their mixture."""
    tiny = Transforms(ModelFile(tiny_models["tiny"]))
    y = torch.randint(-3, 4, (1, 3, 4, 12), dtype=torch.int32)
    rows = [tiny.decoding_row(quality) for quality in (3, 4, 3.25)]
    assert torch.equal(rows[2][24:], torch.div(rows[0][24:].long() * 15 + rows[1][24:].long() * 5 + 10, 20, rounding_mode="floor").int())
    pixels = []
    for row in rows:
        row[:24] = rows[0][:24]  # the gains
        pixels.append(tiny.synthesis(y, row, 48, 64).int())
    assert (pixels[1] - pixels[0]).abs().max() > 3
    assert (pixels[2] - pixels[0]).abs().max() > 0


def test_float16_disturbs_little(shipped):
    """At the highest quality, where y is largest: a symbol in 80 changes, and pixels by a level."""
    image = torch.from_numpy(photo()[192:320, 256:384].copy()).permute(2, 0, 1)[None]
    exact, row = shipped.analysis(image, 8), shipped.decoding_row(8)
    assert float(exact.abs().max()) > 20 * 256
    integers = ((exact + 128) >> 8).int().permute(0, 2, 3, 1).contiguous()
    pixels = shipped.synthesis(integers, row, 128, 128).int()
    rough = Transforms(ModelFile(SHIPPED), exact=False)
    difference = (rough.synthesis(integers, row, 128, 128).int() - pixels).abs()
    y = rough.analysis(image, 8)
    figures = [float(n) for n in (((y + 128) >> 8 != (exact + 128) >> 8).float().mean(), (y - exact).abs().max() / 256,
                                  difference.max(), difference.float().mean())]  # fmt: skip
    assert 0 < figures[0] < 1 / 50, figures
    assert figures[1] < 1 / 2, figures
    assert figures[2] <= 2, figures
    assert 0 < figures[3] < 0.15, figures


def test_float16_of_absurd_latents_gives_pixels(shipped):
    """And the next image is not disturbed."""
    rough = Transforms(ModelFile(SHIPPED), exact=False)
    y = torch.from_numpy(np.random.default_rng(0).choice([-32767, 32767], (1, 2, 2, 192)).astype(np.int32))
    row = rough.decoding_row(1)
    assert rough.synthesis(y, row, 32, 32).shape == (1, 3, 32, 32)
    calm = rough.synthesis(torch.zeros_like(y), row, 32, 32)
    assert (calm.int() - shipped.synthesis(torch.zeros_like(y), row, 32, 32).int()).abs().max() <= 2


def test_single_quality(tmp_path, photo_crop):
    torch.manual_seed(0)
    model = registry.build("mbt2018-mean", 8, 12, rows=1)
    path = tmp_path / "m.safetensors"
    export_state(model.state_dict(), path, photos=[photo_crop], qualities=[5])
    transforms = Transforms(ModelFile(path))
    assert len(transforms.decoding_row(5)) == 24  # gains alone
    assert transforms.synthesis(torch.ones(1, 2, 3, 12, dtype=torch.int32), transforms.decoding_row(5), 30, 40).shape == (1, 3, 30, 40)
