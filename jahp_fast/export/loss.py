# SPDX-License-Identifier: Apache-2.0
"""What integer transforms cost: pixels of a model file beside those of the float model that it was made of, and sizes at equal quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jahp_fast import _native
from jahp_fast.constants import STRIDE
from jahp_fast.transforms.cpu import CpuTransforms
from jahp_fast.transforms.layers import fixed

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelFile
    from jahp_fast.models.priors import CompressionModel

Ints = NDArray[np.int32]
Pixels = NDArray[np.uint8]
SLOPE = 4.0
"""PSNR in dB that e times the bytes buy: 3.1 to 4.5 at the qualities of the shipped model. By it a loss of PSNR becomes one of rate."""
_LEAST_ERROR = 1e-6
"""Of a mean square: a picture without an error has 108 dB."""


@dataclass(frozen=True)
class LossRow:
    """Over all photos at one quality.

    Attributes:
        psnr: mean of the float model's, in dB.
        mean, worst: of integer minus float decoding of the same latents, in dB.
        bytes: (integer - float) / float payloads.
        rate: the same at equal PSNR, by SLOPE, where encoder and decoder are integers.
    """

    quality: float
    psnr: float
    mean: float
    worst: float
    bytes: float
    rate: float


def integer_latents(transforms: CpuTransforms, file: ModelFile, photo: Pixels, quality: float) -> tuple[Ints, Ints]:
    """z (hz, wz, N) and y (h, w, M), y with the file's fractional bits, as its encoder rounds them."""
    y = transforms.analysis([photo], photo.shape[0], photo.shape[1], quality)
    z = transforms.hyper_analysis(y) if file.config.hyper_latents else np.zeros((0, 0, 0), np.int32)
    return fixed(z, 0), fixed(y, file.config.frac_bits)


def transform_losses(model: CompressionModel, file: ModelFile, photos: Sequence[Pixels]) -> list[LossRow]:
    """One row a quality of the model file.

    Args:
        model: the float model that `file` was exported from, in float32, on the CPU, in evaluation mode.
        photos: (H, W, 3) uint8, cropped to multiples of 16 here.
    """
    import torch

    native = _native.EntropyModel(file.config.as_native(), file.entropy)
    transforms, bits = CpuTransforms(file, True), file.config.frac_bits

    def coded(z_row: int, z: Ints, y: Ints) -> tuple[int, Ints]:
        payload, seen = native.encode(z, y, lanes=1, skip=0, min_bytes=0, threads=1, z_row=z_row)[:2]
        return len(payload), np.ascontiguousarray(seen, np.int32)

    rows = []
    for row, quality in enumerate(file.config.qualities):
        q, z_row = torch.tensor([row]), file.z_row(quality)
        found = []
        for whole in photos:
            h, w = (n // STRIDE * STRIDE for n in whole.shape[:2])
            photo = np.ascontiguousarray(whole[:h, :w])

            def psnr(image: Pixels, photo: Pixels = photo) -> float:
                return float(10 * np.log10(255**2 / max(_LEAST_ERROR, np.square(image - photo.astype(np.float64)).mean())))

            def decoded(y: Ints, quality: float = quality, h: int = h, w: int = w) -> Pixels:
                return np.concatenate(list(transforms.synthesis([y], h, w, quality)))

            with torch.inference_mode():
                x = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255
                latents = model.analysis(x, q)
                hyper = model.hyper_analysis(latents).round() if file.config.hyper_latents else latents.new_zeros(1, 0, 0, 0)
                size, y = coded(z_row, *(np.ascontiguousarray(t[0].permute(1, 2, 0).numpy().astype(np.int32))
                                  for t in (hyper, (latents * 2**bits).round())))  # fmt: skip
                image = model.synthesis(torch.from_numpy(y).permute(2, 0, 1)[None] * 2.0**-bits, q)[0].clamp(0, 1) * 255
            floats = psnr(image.round().byte().permute(1, 2, 0).numpy())
            own_size, own = coded(z_row, *integer_latents(transforms, file, photo, quality))
            found.append((floats, psnr(decoded(y)) - floats, own_size / size - 1, psnr(decoded(own)) - floats))
        floats, loss, size, both = np.array(found).T
        rows.append(LossRow(quality, *map(float, (floats.mean(), loss.mean(), loss.min(), size.mean(), (size - both / SLOPE).mean()))))
    return rows


def format_loss_table(rows: Sequence[LossRow]) -> str:
    """Lines of `quality  PSNR  mean  worst  bytes  rate at equal PSNR`."""
    lines = [f"{'quality':>7} {'float dB':>9} {'mean':>8} {'worst':>8} {'bytes':>8} {'at equal PSNR':>14}"]
    lines += [f"{r.quality:7g} {r.psnr:9.2f} {r.mean:+8.4f} {r.worst:+8.4f} {100 * r.bytes:+7.2f}% {100 * r.rate:+13.2f}%" for r in rows]
    return "\n".join(lines)
