# SPDX-License-Identifier: Apache-2.0
"""Drawings without the nets: their pixels by few colours, which are merged where that costs less than it loses.

The nets were trained on photos. They blur text and lines, and take more bytes than exact pixels do. Between these two files, a third one
with the nets for some of the pixels alone, and colours that are merged more or less, the loss of the model decides: bits and λ times
squared errors (Minnen et al. 2018, section 2), in whole numbers, so that it decides alike everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jahp_fast import _native
from jahp_fast.constants import trade_off
from jahp_fast.files.layers import Layer, Samples, colours, errors_of, overlay, strip_rows

BOUNDS = (2, 4, 8, 12, 16, 24, 31)
"""Largest errors that are tried, one after the other. Pixels change by that much where a neighbour differs by twice as much."""
HOPE = 4
"""A drawing that costs so many times what the nets' file does is not merged further: of those tried, merging saved 60 % at most."""
LEFT = 5
"""Eighths of what the nets' file costs in the holes that they cost there at least, once they get nothing else: less than now where an edge
goes at which they rang, mostly more."""
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


@dataclass(frozen=True)
class Overlaid:
    """A picture the drawn part of which lies over the pixels of its latents.

    Attributes:
        layer: of that part.
        hoped: the loss of that part, and the least that the nets may be expected to add to it.
        samples, holes: the picture, (H, W, 1 or 3), and where the nets' pixels show, (H, W).
    """

    layer: Layer
    hoped: int
    samples: Samples
    holes: Samples

    @property
    def filled(self) -> Samples:
        """What the nets get: a smooth continuation in place of the drawn part."""
        return _native.fill_drawn(self.samples, self.holes)


def drawn(samples: Samples, threads: int) -> Iterator[Drawn]:
    """All pixels exactly, and then with colours merged more and more. Few colours are always smaller here than `exact`'s filter."""
    drawing = Drawn(samples, 0, 0, threads)
    yield drawing
    for bound in BOUNDS:
        merged = _native.merge_colours(samples, bound, 2 * bound)
        if not np.array_equal(merged, drawing.samples):  # else it is the one before, and its layer is there
            drawing = Drawn(merged, *errors_of(samples, merged), threads)
        yield drawing


def overlaid(samples: Samples, coarse: Samples, quality: float, size: int, threads: int) -> Iterator[Overlaid]:
    """With parts laid over, of which none, one or two pay: what costs less so, square by square; and the plain ground, with all that is
    linked to it by pixels of the same colour, so that the nets see none of its edge.

    Args:
        coarse: the picture as it comes back from its latents at this quality, whose file has `size` bytes.
    """
    if not _native.partly_flat(samples):
        return
    chosen = _native.choose_holes(samples, coarse, strip_rows(*samples.shape[:2]), price(quality), size, threads)
    ground = _native.beside_plain(samples, True)
    for holes in (chosen, ground):
        if holes is None or (holes is ground and chosen is not None and np.array_equal(ground, chosen)):
            continue
        best, least = None, 0
        for bound in (0, *BOUNDS) if holes is chosen else (0,):  # a plain ground has no colours to merge
            merged = _native.merge_colours(samples, bound, 2 * bound, holes)
            layer = overlay(merged, holes, threads)
            now = cost(quality, errors_of(samples, merged)[1], len(layer.packed()), samples.shape[2])
            if best is not None and now >= least:
                break
            best, least = layer, now
        assert best is not None
        rest = LEFT * _native.cost_of_holes(samples, coarse, holes, price(quality), size) // 8
        yield Overlaid(best, least + rest, samples, holes)


def plain_ground(samples: Samples, threads: int) -> Layer | None:
    """Of the squares that are of one colour: they are exact for next to no bytes, where nets leave them a shade off. None where there is
    little such ground, or nothing else."""
    holes = _native.beside_plain(samples, False) if _native.partly_flat(samples) else None
    return None if holes is None else overlay(samples, holes, threads)


def price(quality: float) -> int:
    """That of a squared error in `cost`."""
    return round(trade_off(quality) * _UNIT)


def cost(quality: float, squares: int, size: int, channels: int) -> int:
    """The loss of a picture of so many bytes and summed squared errors, in 2^-16 bits times the channels."""
    return price(quality) * squares + 8 * size * channels * _UNIT
