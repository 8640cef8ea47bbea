# SPDX-License-Identifier: Apache-2.0
"""Probability tables: from float distributions to the integer rows that a model file stores. Used at export only.

A row is a run of values [low, low + size) with cumulative starts, and an escape behind them
(docs/reference/format.md, "Tables"). Values whose probability would fill less than `TAIL` of the smallest frequency
are left to the escape, which costs 16 bits more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SCALE_MIN, SCALE_MAX = 0.11, 256.0  # the field's bounds on a Gaussian's scale (CompressAI, scale table)
TAIL = 0.005  # under a Gaussian 0.08 would do; latents lie far from the mean more often (docs/lab/008-table-precision.md)
WIDE = 0.15  # of gaussian_row: what trained models' latents are distributed like (docs/lab/012-heavy-tails.md)
_ALWAYS = 2  # values this near to the mode are always in the table: predictions that are too sure are then cheap to correct


@dataclass(frozen=True)
class Row:
    """One table row: `starts` (size + 1,) uint16 and the value `low` of its first entry."""

    low: int
    starts: NDArray[np.uint16]

    @property
    def size(self) -> int:
        return len(self.starts) - 1


def quantise_frequencies(p: Floats, prob_bits: int) -> NDArray[np.int64]:
    """Frequencies of at least 1 that sum to 2^prob_bits and cost the fewest bits under p (up to one greedy step).

    Args:
        p: (n,) probabilities, not necessarily normalised, n <= 2^prob_bits.
    """
    total = 1 << prob_bits
    ideal = p / p.sum() * total
    counts: NDArray[np.int64] = np.maximum(1, np.floor(ideal).astype(np.int64))
    while (missing := total - int(counts.sum())) != 0:
        # The gain of one more count, or the price of one fewer, per entry; all of the best are served in one round.
        if missing > 0:
            worth = ideal * np.log2((counts + 1) / counts)
            best = np.argsort(-worth, kind="stable")[:missing]
            counts[best] += 1
        else:
            price = np.where(counts > 1, ideal * np.log2(counts / np.maximum(counts - 1, 1)), np.inf)
            best = np.argsort(price, kind="stable")[: min(-missing, int((counts > 1).sum()))]
            counts[best] -= 1
    return counts


def make_row(values: NDArray[np.int64], p: Floats, prob_bits: int, tail: float = TAIL) -> Row:
    """The row of a distribution given on consecutive `values` that hold practically all of its mass.

    Args:
        values: (n,) consecutive integers. p: (n,) their probabilities, summing to at most 1; the rest goes to the escape.
        tail: least share of the smallest frequency that a value must fill, away from the mode.
    """
    mode = int(np.argmax(p))
    keep = p * (1 << prob_bits) >= tail
    keep[max(0, mode - _ALWAYS) : mode + _ALWAYS + 1] = True
    inside = np.flatnonzero(keep)
    first, last = int(inside[0]), int(inside[-1])
    kept = p[first : last + 1]
    escape = max(1.0 - float(kept.sum()), tail / (1 << prob_bits))
    counts = quantise_frequencies(np.append(kept, escape), prob_bits)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return Row(int(values[first]), starts.astype(np.uint16))


def gaussian_row(mean: float, scale: float, prob_bits: int, tail: float = TAIL, wide: float = 0.0) -> Row:
    """The row of a Gaussian convolved with a unit box (Minnen et al. 2018, section 3), |mean| at most 1.

    Args:
        wide: share of the mass, up to 1/4, that lies as in a Gaussian of twice the variance, the rest as in one of less: together they
            have the variance `scale`^2, and heavier tails than one.
    """
    reach = math.ceil(8 * scale) + 3
    values = np.arange(-reach, reach + 1)
    p = _gaussian_masses(values, mean, scale * narrower(wide))
    if wide:
        p = (1 - wide) * p + wide * _gaussian_masses(values, mean, scale * math.sqrt(2))
    return make_row(values, p, prob_bits, tail)


def narrower(wide: float) -> float:
    """The scale of the rest of a row, beside a share `wide` of twice the variance, relative to that of the whole."""
    return math.sqrt((1 - 2 * wide) / (1 - wide))


def _gaussian_masses(values: NDArray[np.int64], mean: float, scale: float) -> Floats:
    edges = (np.append(values, values[-1] + 1) - 0.5 - mean) / (scale * math.sqrt(2))
    below = np.array([0.5 * math.erfc(-e) for e in edges])
    above = np.array([0.5 * math.erfc(e) for e in edges])
    # On the side where no digits cancel.
    masses: Floats = np.where(edges[:-1] > 0, above[:-1] - above[1:], below[1:] - below[:-1])
    return masses


@dataclass(frozen=True)
class ScaleTable:
    """Rows of a conditional Gaussian for S scales, each with a number of mean fractions that falls as the scale grows.

    Attributes:
        scales: (S,) geometric.
        boundaries: (S - 1,) between them, the geometric means.
        row: (S,) first row of each scale, counted from the first of these rows.
        drop: (S,) how many of the mean's fractional bits the choice of the row leaves out.
        rows: the rows themselves.
    """

    scales: Floats
    boundaries: Floats
    row: NDArray[np.int32]
    drop: NDArray[np.int32]
    rows: list[Row]


def scale_table(
    mean_bits: int, prob_bits: int, *, fractions: bool, count: int = 64, cells: float = 24.0, tail: float = TAIL, wide: float = 0.0
) -> ScaleTable:
    """Builds the rows of all scales.

    A cell of means is [f, f+1) * 2^drop / 2^mean_bits, and its row is that of the cell's centre. Its width is at most
    max(scale, 1/4) * 4 / `cells`: with 24, a mean is off by at most 0.083 scales from a scale of 1/4 on, by 0.14 at the least scale
    (0.11). Over evenly spread means that costs 0.0007 bits a symbol on average over scales up to 28, 0.0016 at the worst of them (3),
    0.0046 for the worst single mean.

    Args:
        fractions: False for form B and for scale-only models: one row a scale, of mean zero.
        count: S.
        tail: see make_row.
        wide: see gaussian_row.
    """
    ratio = (SCALE_MAX / SCALE_MIN) ** (1 / (count - 1))
    scales = SCALE_MIN * ratio ** np.arange(count)
    boundaries = np.sqrt(scales[1:] * scales[:-1])
    first: list[int] = []
    drop: list[int] = []
    rows: list[Row] = []
    for scale in scales:
        width = max(scale, 0.25) * 4 / cells
        bits = min(mean_bits, max(0, math.ceil(-math.log2(width)))) if fractions else 0
        first.append(len(rows))
        drop.append(mean_bits - bits)
        for f in range(1 << bits):
            centre = (f + 0.5) / (1 << bits) if fractions else 0.0
            rows.append(gaussian_row(centre, float(scale), prob_bits, tail, wide))
    return ScaleTable(scales, boundaries, np.array(first, np.int32), np.array(drop, np.int32), rows)


def pack_rows(rows: list[Row]) -> dict[str, NDArray[np.int32] | NDArray[np.uint16]]:
    """The tensors `tables.low`, `tables.size` and `tables.starts` of a model file."""
    return {
        "tables.low": np.array([r.low for r in rows], np.int32),
        "tables.size": np.array([r.size for r in rows], np.int32),
        "tables.starts": np.concatenate([r.starts for r in rows]),
    }
