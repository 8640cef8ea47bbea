# SPDX-License-Identifier: Apache-2.0
"""Latents of photos, made once by the transforms of one model at one quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from jahp_fast.constants import STRIDE
from jahp_fast.errors import UsageError
from jahp_fast.models.priors import CompressionModel
from jahp_fast.train.data import PhotoFiles, load_photo

SIDE = 256
"""Pixels a side of the crops whose latents are kept."""
AT_ONCE = 16


@dataclass(frozen=True)
class Cached:
    """Latents (n, M, 16, 16) of one crop of each photo, not rounded, float16, and how many pixels a latent position stands for."""

    train: Tensor
    held_out: Tensor

    @property
    def pixels(self) -> int:
        """Of one crop."""
        return self.train.shape[2] * self.train.shape[3] * STRIDE**2


def centre_crops(paths: Sequence[Path]) -> list[Tensor]:
    """(3, SIDE, SIDE) uint8 out of the middle of each photo that is large enough."""
    crops = []
    for path in paths:
        photo = load_photo(path)
        top, left = ((n - SIDE) // 2 for n in photo.shape[:2])
        if min(top, left) >= 0:
            crops.append(torch.from_numpy(photo[top : top + SIDE, left : left + SIDE].copy()).permute(2, 0, 1))
    return crops


@torch.inference_mode()
def latents_of(model: CompressionModel, crops: Sequence[Tensor], quality: float) -> Tensor:
    """y (n, M, SIDE / 16, SIDE / 16) float16 of crops (3, SIDE, SIDE) uint8, at a quality counted from 1."""
    q = torch.tensor([quality - 1])
    parts = []
    for i in range(0, len(crops), AT_ONCE):
        x = torch.stack(list(crops[i : i + AT_ONCE])).float() / 255
        parts.append(model.analysis(x, q).half())
    return torch.cat(parts)


def cache(model: CompressionModel, files: PhotoFiles, quality: float, at_most: int, say: Callable[[str], None]) -> Cached:
    """Latents of up to `at_most` training photos and of all held-out ones. Raises UsageError where photos of 256 pixels are wanting."""
    model.bf16 = False
    results = []
    for what, paths in (("train", files.train[:at_most]), ("held out", files.held_out)):
        crops = centre_crops(paths)
        if len(crops) < 4:
            raise UsageError(f"{len(crops)} photos ({what}) of {SIDE} pixels a side or more: the study needs at least 4")
        results.append(latents_of(model, crops, quality))
        say(f"latents of {len(crops)} photos ({what})")
    return Cached(*results)
