# SPDX-License-Identifier: Apache-2.0
"""Drawings without the nets: their pixels by few colours, which are merged where that costs less than it loses.

The nets were trained on photos. They blur text and lines, and take more bytes than exact pixels do. Between these two files, and
between colours that are merged more or less, the loss of the model decides: bits and λ times squared errors (Minnen et al. 2018,
section 2), in whole numbers, so that it decides alike everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jahp_fast import _native
from jahp_fast.constants import trade_off
from jahp_fast.files.layers import Layer, Samples, colours

BOUNDS = (2, 4, 8, 12, 16, 24, 31)
"""Largest errors that are tried, one after the other. Pixels change by that much where a neighbour differs by twice as much."""
HOPE = 4
"""A drawing that costs so many times what the nets' file does is not merged further: of those tried, merging saved 60 % at most."""
_UNIT = 1 << 16


@dataclass(frozen=True)
class Drawn:
    """A picture kept by itself.

    Attributes:
        layer: of its pixels.
        samples: what the layer gives, (H, W, 1 or 3).
        squares: the sum of the squared errors of all samples.
    """

    layer: Layer
    samples: Samples
    squares: int


def drawn(samples: Samples, threads: int) -> Iterator[Drawn]:
    """All pixels exactly, and then with colours merged more and more. Few colours are always smaller here than `exact`'s filter."""
    yield Drawn(colours(samples, 0, threads), samples, 0)
    for bound in BOUNDS:
        merged = _native.merge_colours(samples, bound, 2 * bound)
        errors = np.subtract(samples, merged, dtype=np.int32)
        yield Drawn(colours(merged, int(np.abs(errors).max()), threads), merged, int(np.square(errors).sum(dtype=np.int64)))


def cost(quality: float, squares: int, size: int, channels: int) -> int:
    """The loss of a picture of so many bytes and summed squared errors, in 2^-16 bits times the channels."""
    return round(trade_off(quality) * _UNIT) * squares + 8 * size * channels * _UNIT
