# SPDX-License-Identifier: Apache-2.0
"""What an imported model's integers cost: its payload beside the float model's rate, and its pixels beside the float model's.

Latents and pixels are those of the file's integer transforms. The float model is asked on the contexts that the integers had: position by
position it would be CompressAI's slow loop, and within the rounding of a mean (1/128) they are the same contexts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jahp_fast import _native
from jahp_fast.compat.checkpoint import PROB_BITS, Checkpoint
from jahp_fast.compat.convert import Converted
from jahp_fast.constants import STRIDE
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.export.loss import integer_latents
from jahp_fast.export.model import SCALE_BITS
from jahp_fast.models.layers import gaussian_likelihood
from jahp_fast.transforms.cpu import CpuTransforms

ESCAPE_BITS = 16
"""Of a value outside its table, besides the escape symbol (docs/reference/format.md, "Range coder"); larger ones take more."""


@dataclass(frozen=True)
class ImportReport:
    """Sums and extremes over `pictures` pictures.

    Attributes:
        ideal_bytes: minus the logarithms of the float model's likelihoods of y and z, as its training loss counts them.
        float_bytes: the same by the tables that the file has: what the float networks' choice of rows costs. CompressAI's tables round
            scales up to one of 64 and cost about 1 % more than the ideal.
        payload_bytes: real payloads, of one lane.
        worst: largest difference of a sample from the float model's, in grey levels.
        psnr, float_psnr: dB, of 8-bit pixels over all pictures together.
    """

    pictures: int
    ideal_bytes: float
    float_bytes: float
    payload_bytes: int
    worst: int
    psnr: float
    float_psnr: float

    @property
    def excess(self) -> float:
        """(payload - float) / float."""
        return self.payload_bytes / self.float_bytes - 1

    def text(self) -> str:
        return (
            f"{self.pictures} pictures: float networks with these tables {self.float_bytes:.0f} bytes, payload {self.payload_bytes} bytes "
            f"({100 * self.excess:+.2f} %); float likelihoods {self.ideal_bytes:.0f} bytes\n"
            f"x_hat: largest difference {self.worst} grey levels; PSNR {self.psnr:.3f} dB, float model {self.float_psnr:.3f} dB"
        )


def report(checkpoint: Checkpoint, converted: Converted, file: ModelFile, photos: Sequence[NDArray[np.uint8]]) -> ImportReport:
    """Codes the photos, (H, W, 3) uint8 cropped to multiples of 16, with the file that `converted` was saved as."""
    native = _native.EntropyModel(file.config.as_native(), file.entropy)
    transforms, quality = CpuTransforms(file, True), file.config.qualities[0]
    costs = _Costs(converted)
    ideal_bits, float_bits, payload, worst, errors, float_errors, values = 0.0, 0.0, 0, 0, 0.0, 0.0, 0
    with torch.inference_mode():
        for whole in photos:
            h, w = (n // STRIDE * STRIDE for n in whole.shape[:2])
            photo = np.ascontiguousarray(whole[:h, :w])
            pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None]
            z, wanted = integer_latents(transforms, file, photo, quality)
            coded, y_integers = native.encode(z, wanted, lanes=1, skip=0, min_bytes=0, threads=1)[:2]
            q = torch.from_numpy(z).permute(2, 0, 1)[None].float()
            y_hat = torch.from_numpy(y_integers).permute(2, 0, 1)[None] * 2.0**-file.config.frac_bits
            ideal, bits, float_y_hat = _float_model(checkpoint, converted, costs, pixels, q, y_hat)
            float_x_hat = (checkpoint.model.g_s(float_y_hat).clamp(0, 1) * 255).round()
            x_hat = torch.from_numpy(np.concatenate(list(transforms.synthesis([y_integers], h, w, quality)))).permute(2, 0, 1)[None].float()
            ideal_bits, float_bits, payload = ideal_bits + ideal, float_bits + bits, payload + len(coded)
            worst = max(worst, int((x_hat - float_x_hat).abs().max()))
            errors += float((x_hat - pixels).square().sum())
            float_errors += float((float_x_hat - pixels).square().sum())
            values += pixels.numel()
    return ImportReport(len(photos), ideal_bits / 8, float_bits / 8, payload, worst, _psnr(errors / values), _psnr(float_errors / values))


def _psnr(mse: float) -> float:
    return 10 * math.log10(255**2 / mse) if mse else math.inf


class _Costs:
    """Bits of symbols by the rows of the file."""

    def __init__(self, converted: Converted) -> None:
        rows = converted.tables.rows
        scale = converted.tables.scale
        self._reach = max(max(-row.low, row.low + row.size) for row in rows)
        total = 1 << PROB_BITS
        bits = np.empty((len(rows), 2 * self._reach + 1))
        for row, out in zip(rows, bits, strict=True):
            edges = np.append(row.starts.astype(np.int64), total)
            cost = -np.log2(np.diff(edges) / total)
            out[:] = cost[-1] + ESCAPE_BITS
            out[row.low + self._reach : row.low + self._reach + row.size] = cost[:-1]
        self._bits = torch.from_numpy(bits)
        self._thresholds = torch.from_numpy(scale["scale.thresholds"].astype(np.float64)) if scale else torch.empty(0)
        self._first = int(scale["scale.row"][0]) if scale else 0

    def by_channel(self, symbols: Tensor) -> float:
        """Of (1, channels, h, w): row = channel."""
        channels = symbols.shape[1]
        return self._sum(torch.arange(channels)[:, None, None].expand(symbols.shape[1:]), symbols[0])

    def by_scale(self, symbols: Tensor, scale: Tensor) -> float:
        """Of (1, M, h, w), with their predicted standard deviations, not rounded."""
        index = torch.bucketize((scale * 2.0**SCALE_BITS).double().contiguous(), self._thresholds, right=True)
        return self._sum(index[0] + self._first, symbols[0])

    def _sum(self, rows: Tensor, symbols: Tensor) -> float:
        return float(self._bits[rows, symbols.long().clamp(-self._reach, self._reach) + self._reach].sum())


def _float_model(
    checkpoint: Checkpoint, converted: Converted, costs: _Costs, pixels: Tensor, q: Tensor, y_hat: Tensor
) -> tuple[float, float, Tensor]:
    """Ideal bits and bits by the tables of y and z under the float model, as CompressAI rounds, and its ŷ. q: symbols of z."""
    model: Any = checkpoint.model
    y = model.g_a(pixels.float() / 255)
    if model.architecture == "bmshj2018-factorized":
        medians = model.entropy_bottleneck.medians[:, None, None]
        symbols = (y - medians).round()
        return _bits(model.entropy_bottleneck.likelihood(symbols + medians)), costs.by_channel(symbols), symbols + medians
    ideal, bits = 0.0, 0.0
    if model.architecture == "mbt2018-context":
        scale, mean = model.distribution(y_hat)
    else:
        z_hat = q + torch.from_numpy(converted.medians).float()[:, None, None]
        ideal, bits = _bits(model.entropy_bottleneck.likelihood(z_hat)), costs.by_channel(q)
        scale, mean = model.distribution(y_hat, z_hat)
    residual = (y if mean is None else y - mean).round()
    ideal, bits = ideal + _bits(gaussian_likelihood(residual, scale)), bits + costs.by_scale(residual, scale)
    return ideal, bits, residual if mean is None else residual + cast(Tensor, mean)


def _bits(likelihood: Tensor) -> float:
    return float(-likelihood.double().log2().sum())
