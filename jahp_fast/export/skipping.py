# SPDX-License-Identifier: Apache-2.0
"""A model's skip threshold: below which of its scales an encoder leaves symbols out (docs/lab/031-skipped-symbols.md)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jahp_fast import _native
from jahp_fast.constants import STRIDE
from jahp_fast.entropy.model_file import ModelFile, replace_entropy
from jahp_fast.errors import UsageError
from jahp_fast.export.loss import integer_latents
from jahp_fast.transforms.cpu import CpuTransforms

Pixels = NDArray[np.uint8]

STEP, MOST = 2, 8
"""Of the thresholds that are tried. Higher ones save more on smooth pictures, and cost photos half a decibel."""
_LEAST, _SLOPE = 1e-6, 0.01
"""A mean squared error below counts as this; photos that gain fewer decibels from one quality to the next have no say."""


class Point(NamedTuple):
    """The logarithm of a rate, and the quality at it in dB, but for a constant."""

    rate: float
    db: float


def saving(low: Point, high: Point, found: Point) -> float:
    """The logarithm of the rate against that of the straight line through two points, at equal decibels: below 0 is a saving."""
    return found.rate - (low.rate + (found.db - low.db) / (high.db - low.db) * (high.rate - low.rate))


def choose_skip(path: str | os.PathLike[str], photos: Sequence[Pixels], force: bool = False) -> bytes:
    """Writes a model file anew, with the threshold of the least rate at equal PSNR; returns the new id.

    That is the mean over the qualities, but for the first, of the median over the photos: a few drawings save ten times as much. Between
    two qualities the rate without skipping is taken as linear in decibels. All qualities get one threshold: where it rose, a file of a
    higher quality would be the smaller one. A model of one quality or without scales stays as it is.

    Args:
        path: the model file.
        photos: (H, W, 3) uint8, of 16 x 16 pixels or more.

    Raises:
        ModelError: it is no model file. UsageError: there are no photos.
    """
    model = ModelFile(path)
    qualities = model.config.qualities
    if not model.config.conditional or len(qualities) < 2:
        return model.id
    if not photos:
        raise UsageError("thresholds are chosen on photos, and there are none")
    measure = _measure(model, photos)
    most = min(MOST, len(model.entropy["scale.row"]))
    plain = [measure(quality, 0) for quality in qualities]

    def median(i: int, threshold: int) -> float:
        curves = zip(plain[i - 1], plain[i], measure(qualities[i], threshold), strict=True)
        return float(np.median([saving(*points) for points in curves if points[1].db - points[0].db > _SLOPE] or [0.0]))

    best, least = 0, 0.0
    for threshold in range(STEP, most + 1, STEP):
        saved = sum(median(i, threshold) for i in range(1, len(qualities))) / (len(qualities) - 1)
        if not saved < least:  # the rate falls, and then rises
            break
        best, least = threshold, saved
    return replace_entropy(path, {"scale.skip": np.full(len(qualities), best, np.int32)}, force)


def _measure(model: ModelFile, photos: Sequence[Pixels]) -> Callable[[float, int], list[Point]]:
    native = _native.EntropyModel(model.config.as_native(), model.entropy)
    transforms = CpuTransforms(model, True)
    cropped = [np.ascontiguousarray(p[: p.shape[0] // STRIDE * STRIDE, : p.shape[1] // STRIDE * STRIDE]) for p in photos]

    def measure(quality: float, threshold: int) -> list[Point]:
        found = []
        for photo in cropped:
            z, y = integer_latents(transforms, model, photo, quality)
            payload, seen = native.encode(z, y, lanes=1, skip=threshold, min_bytes=0, threads=1, z_row=model.z_row(quality))[:2]
            h, w = photo.shape[:2]
            decoded = np.concatenate(list(transforms.synthesis([np.ascontiguousarray(seen, np.int32)], h, w, quality)))
            found.append(Point(math.log(len(payload)), -10 * math.log10(max(np.square(photo.astype(np.float64) - decoded).mean(), _LEAST))))
        return found

    return measure
