# SPDX-License-Identifier: Apache-2.0
"""Table rows of z by counting: other ones for each of a model's qualities, where training learns one density for all.

Large and smooth photos have other hyper-latents than the crops that training sees (docs/lab/030-tables-of-z.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from jahp_fast.constants import STRIDE
from jahp_fast.entropy.model_file import ModelFile, replace_entropy
from jahp_fast.errors import UsageError
from jahp_fast.export.loss import integer_latents
from jahp_fast.export.tables import Floats, Row, make_row, pack_rows
from jahp_fast.transforms.cpu import CpuTransforms

Pixels = NDArray[np.uint8]

SIDE = 768
"""Photos are cropped to so many pixels a side."""
REACH = 1024
"""Values of z that are counted as themselves, and not as the furthest."""
WEIGHT = 20.0
"""What the learnt density counts for, in positions of z."""
FAR, DECAY = 0.003, 8.0
"""Share of the learnt density that is spread over what it holds impossible, and how far until that falls by e."""


def count_hyper_tables(path: str | os.PathLike[str], photos: Iterable[Pixels], force: bool = False) -> bytes:
    """Writes a model file anew, with z's rows counted on (H, W, 3) uint8 photos at each of its qualities; returns the new id.

    A model without z stays as it is.

    Raises:
        ModelError: it is no model file. UsageError: no photo has 16 x 16 pixels or more; rows of z that were not counted here.
    """
    model = ModelFile(path)
    channels = model.config.hyper_latents
    if channels == 0:
        return model.id
    seen = [np.ascontiguousarray(photo[:SIDE, :SIDE]) for photo in photos if min(photo.shape[:2]) >= STRIDE]
    if not seen:
        raise UsageError(f"tables of z are counted on photos of {STRIDE} x {STRIDE} pixels or more, and there are none")
    transforms = CpuTransforms(model, True)
    rows = _rows(model)
    learnt = [_density(row, model.config.prob_bits) for row in rows[model.z_row_of(0) :][:channels]]
    sets = []
    for quality in model.config.qualities:
        counts = np.zeros((channels, 2 * REACH + 1))
        for photo in seen:
            z = integer_latents(transforms, model, photo, quality)[0].reshape(-1, channels)
            np.add.at(counts, (np.arange(channels), np.clip(z, -REACH, REACH) + REACH), 1)
        values = np.arange(-REACH, REACH + 1)
        mixed = counts + WEIGHT * np.array(learnt)
        sets.append([make_row(values, p / p.sum(), model.config.prob_bits) for p in mixed])
    # The first set in the place of the learnt rows, so that those of the scales stay where they are.
    scales = rows[channels:]
    first = np.arange(len(sets)) * channels + np.where(np.arange(len(sets)) > 0, len(scales), 0)
    packed = pack_rows([*sets[0], *scales, *(row for rows in sets[1:] for row in rows)])
    return replace_entropy(path, packed | {"z_rows": first.astype(np.int32)}, force)


def _rows(model: ModelFile) -> list[Row]:
    """The rows of a model file; of one whose z was counted before, those of its first quality and of the scales."""
    low, size, starts = (model.entropy[f"tables.{name}"] for name in ("low", "size", "starts"))
    ends = np.cumsum(size.astype(np.int64) + 1)
    rows = [Row(int(a), starts[end - n - 1 : end]) for a, n, end in zip(low, size, ends, strict=True)]
    if "z_rows" not in model.entropy:
        return rows
    channels, sets = model.config.hyper_latents, len(model.config.qualities)
    kept = len(rows) - channels * (sets - 1)
    if model.entropy["z_rows"].tolist() != [0, *range(kept, len(rows), channels)]:
        raise UsageError(f"{model.path}: its table rows of z were not counted by jahp export, and stay as they are")
    return rows[:kept]


def _density(row: Row, prob_bits: int) -> Floats:
    """Of the values from -REACH to REACH, summing to 1; none is 0."""
    frequencies = np.diff(row.starts.astype(np.int64))
    values = np.arange(-REACH, REACH + 1)
    density = FAR * np.exp(-np.abs(values) / DECAY) / np.exp(-np.abs(values) / DECAY).sum()
    inside = np.clip(row.low + np.arange(row.size), -REACH, REACH) + REACH
    np.add.at(density, inside, (1 - FAR) * frequencies / (1 << prob_bits))
    return np.asarray(density / density.sum())
