# SPDX-License-Identifier: Apache-2.0
"""The loss and its figures on held-out photos, against their formulas."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from jahp_fast.constants import LAMBDAS
from jahp_fast.models.registry import build
from jahp_fast.train.loss import MS_SSIM_LAMBDAS, RateDistortion, evaluate, ladder


def test_loss_is_its_formula():
    torch.manual_seed(0)
    model = build("bmshj2018-factorized", 4, 6).eval()
    x, q = torch.rand(2, 3, 32, 32), torch.tensor([1, 6])
    with torch.no_grad():
        out = model(x, q)
        loss = RateDistortion("mse", ladder("mse", 8))(model, x, q)
    want = 0.0
    for i, row in enumerate(q.tolist()):
        mse = float(((x[i] - out.x_hat[i]) * 255).square().mean())
        want += math.log(LAMBDAS[row] * mse + float(out.bpp[i])) / 2
    assert float(loss.total) == pytest.approx(want, rel=1e-5)


def test_ms_ssim_agrees_with_the_evaluations():
    pytest.importorskip("pytorch_msssim")
    from jahp_fast.evaluate.metrics import ms_ssim as independent
    from jahp_fast.train.loss import ms_ssim

    rng = np.random.default_rng(0)
    a = np.asarray(Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).resize((192, 192)))
    b = np.clip(a + rng.normal(0, 12, a.shape), 0, 255).astype(np.uint8)
    x, y = (torch.from_numpy(v.copy()).permute(2, 0, 1)[None].float() / 255 for v in (a, b))
    assert float(ms_ssim(x, y)) == pytest.approx(independent(a, b), abs=2e-3)
    assert float(ms_ssim(x, x)) == pytest.approx(1.0)
    assert ladder("ms-ssim", 8).tolist() == pytest.approx(MS_SSIM_LAMBDAS)


def test_evaluate_uses_eight_bit_output():
    torch.manual_seed(0)
    model = build("mbt2018-mean", 4, 6, 2)
    photo = torch.rand(3, 32, 48)
    (_, second) = evaluate(model, [photo, photo], [0, 1], torch.device("cpu"))
    assert model.training
    model.eval()
    with torch.no_grad():
        out = model(photo[None], torch.tensor([1]))
    mse = float((out.x_hat.clamp(0, 1).mul(255).round().div(255) - photo).square().mean())
    assert (second.quality, second.bpp) == (2, pytest.approx(float(out.bpp), rel=1e-5))
    assert second.psnr == pytest.approx(-10 * np.log10(mse), abs=1e-4)
