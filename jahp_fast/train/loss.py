# SPDX-License-Identifier: Apache-2.0
"""The rate-distortion loss, and its figures on photos that are not trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from jahp_fast.errors import UsageError
from jahp_fast.models.layers import Rows, rows_at
from jahp_fast.models.priors import CompressionModel, each, lambda_ladder

MS_SSIM_LAMBDAS = (2.4, 4.58, 8.73, 16.64, 31.73, 60.50, 115.37, 220.0)
"""CompressAI's trade-offs on 1 - MS-SSIM, quality 1 to 8."""


def ladder(metric: str, rows: int) -> Tensor:
    """(rows,) trade-offs of a variable-rate model: on 255^2 * MSE, or on 1 - MS-SSIM."""
    if metric == "mse":
        return lambda_ladder(rows)
    if rows == len(MS_SSIM_LAMBDAS):
        return torch.tensor(MS_SSIM_LAMBDAS)
    if rows == 1:
        return torch.tensor([MS_SSIM_LAMBDAS[3]])
    return torch.logspace(math.log10(MS_SSIM_LAMBDAS[0]), math.log10(MS_SSIM_LAMBDAS[-1]), rows)


def ms_ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """(B,) multi-scale structural similarity of two float32 batches (B, 3, H, W) in [0, 1], differentiable."""
    try:
        import pytorch_msssim
    except ImportError:
        raise UsageError("--metric ms-ssim needs the package pytorch-msssim: pip install pytorch-msssim") from None
    return cast(Tensor, pytorch_msssim.ms_ssim(x_hat, x, data_range=1.0, size_average=False))


@dataclass
class Loss:
    """Means over the batch: the `total` that is descended, and the plain figures for the log."""

    total: Tensor
    """Of the natural logarithm of each image's loss."""
    bpp: Tensor
    mse: Tensor
    """On 8-bit values, 255^2 * MSE."""


class RateDistortion:
    """lambda * 255^2 * MSE + bpp, or lambda * (1 - MS-SSIM) + bpp, each image with the lambda of its row.

    Of these the mean logarithm is descended: a percent counts alike in smooth and in busy images, at low and at high rates.
    """

    def __init__(self, metric: str, lambdas: Tensor) -> None:
        self.metric, self.lambdas = metric, lambdas
        if metric == "ms-ssim":
            ms_ssim(torch.zeros(1, 3, 176, 176), torch.zeros(1, 3, 176, 176))  # a missing package is reported here

    def __call__(self, model: CompressionModel, x: Tensor, q: Rows) -> Loss:
        """x (B, 3, H, W), q (k,) whole, each for B / k neighbours."""
        out = model(x, q)
        mse = (x - out.x_hat).square().mean((1, 2, 3)) * 255**2
        distortion = mse if self.metric == "mse" else 1 - ms_ssim(out.x_hat, x)
        total = (each(rows_at(self.lambdas, q), len(x)) * distortion + out.bpp).log().mean()
        return Loss(total, out.bpp.detach().mean(), mse.detach().mean())


@dataclass(frozen=True)
class HeldOut:
    """Means over the held-out photos at one quality: estimated bits per pixel, PSNR in dB of 8-bit RGB."""

    quality: int
    bpp: float
    psnr: float


@torch.inference_mode()
def evaluate(model: CompressionModel, photos: Sequence[Tensor], rows: Sequence[int], device: torch.device) -> list[HeldOut]:
    """Each photo (3, H, W) at each row of the gains (from 0), in float32. The model comes back in the mode it was in."""
    training, bf16 = model.training, model.bf16
    model.eval()
    model.bf16 = False
    q = torch.tensor(rows, device=device)
    bpp, psnr = torch.zeros(len(rows), dtype=torch.float64), torch.zeros(len(rows), dtype=torch.float64)
    for photo in photos:
        x = photo.to(device)[None].expand(len(rows), -1, -1, -1)
        out = model(x, q)
        mse = ((out.x_hat.clamp(0, 1) * 255).round() / 255 - x).square().mean((1, 2, 3))
        bpp += out.bpp.double().cpu() / len(photos)
        psnr -= 10 * mse.clamp_min(1e-10).log10().double().cpu() / len(photos)
    model.train(training)
    model.bf16 = bf16
    return [HeldOut(row + 1, b, p) for row, b, p in zip(rows, bpp.tolist(), psnr.tolist(), strict=True)]
