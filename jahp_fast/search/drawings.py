# SPDX-License-Identifier: Apache-2.0
"""Drawings without the nets: their pixels by few colours, which are merged where that costs less than it loses.

The nets were trained on photos. They blur text and lines, and take more bytes than exact pixels do. Between these two files, and
between colours that are merged more or less, the loss of the model decides: bits and λ times squared errors (Minnen et al. 2018,
section 2), in whole numbers, so that it decides alike everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jahp_fast import _native
from jahp_fast.constants import trade_off
from jahp_fast.files.layers import Layer, Samples, colours, errors_of

BOUNDS = (2, 4, 8, 12, 16, 24, 31)
"""Largest errors that are tried, one after the other. Pixels change by that much where a neighbour differs by twice as much."""
HOPE = 4
"""A drawing that costs so many times what the nets' file does is not merged further: of those tried, merging saved 60 % at most."""
_UNIT = 1 << 16


@dataclass(frozen=True)
class Drawn:
    """A picture kept by itself.

    Attributes:
        samples: its pixels, (H, W, 1 or 3).
        bound: the largest error of a sample.
        squares: the sum of the squared errors of all samples.
        threads: for the layer.
    """

    samples: Samples
    bound: int
    squares: int
    threads: int

    @cached_property
    def layer(self) -> Layer:
        """Of its pixels: coded once somebody asks, since errors alone may say that it is none to take."""
        return colours(self.samples, self.bound, self.threads)


def drawn(samples: Samples, threads: int) -> Iterator[Drawn]:
    """All pixels exactly, and then with colours merged more and more. Few colours are always smaller here than `exact`'s filter."""
    drawing = Drawn(samples, 0, 0, threads)
    yield drawing
    for bound in BOUNDS:
        merged = _native.merge_colours(samples, bound, 2 * bound)
        if not np.array_equal(merged, drawing.samples):  # else it is the one before, and its layer is there
            drawing = Drawn(merged, *errors_of(samples, merged), threads)
        yield drawing


def cost(quality: float, squares: int, size: int, channels: int) -> int:
    """The loss of a picture of so many bytes and summed squared errors, in 2^-16 bits times the channels."""
    return round(trade_off(quality) * _UNIT) * squares + 8 * size * channels * _UNIT
