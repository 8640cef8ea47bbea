# SPDX-License-Identifier: Apache-2.0
"""Efforts 2 and 3: the symbols of one image by a descent along its own rate and distortion.

In each round symbols are drawn (search.annealing), which become surer from round to round. For them the integer transforms give the
picture and the derivative of its error, the tables their rates. What a symbol changes in the rates of later ones is not counted, and z
stays what h_a made it: derivatives of both were worth 0.5 % each. All numbers are integers, or floats that are added, multiplied, divided
and rooted one by one: the same image gives the same symbols on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jahp_fast import _native
from jahp_fast.constants import trade_off
from jahp_fast.errors import UnsupportedImage
from jahp_fast.pipelines.entropy_path import UNCODABLE
from jahp_fast.search.annealing import LIMIT, Annealing

if TYPE_CHECKING:
    from jahp_fast.search.greedy import Searcher
    from jahp_fast.search.masking import Masking
    from jahp_fast.transforms.cpu import Pixels

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Is told how many rounds are done, and of how many."""


class Schedule(NamedTuple):
    """first, last: how far a latent moves in the first and the last round, in quantisation steps; in between the rate falls evenly."""

    rounds: int
    first: float
    last: float


SCHEDULES = {2: Schedule(18, 0.07, 0.03), 3: Schedule(90, 0.03, 0.01)}
WIDTHS = 1.0, 0.15
"""Over which the probability of the integer above rises, in the first and the last round."""
MEAN, SQUARE = 0.5, 0.95
"""Shares of the past in the mean of what a step up costs, and in its mean square."""


def descended(
    searcher: Searcher,
    image: Pixels,
    latents: tuple[Floats, Ints],
    quality: float,
    schedule: Schedule,
    rate: float,
    threads: int,
    progress: Progress | None = None,
    masking: Masking | None = None,
) -> Ints:
    """y (h, w, M), symbols.

    Args:
        latents: y (h, w, M), not rounded, and z (hz, wz, N).
        rate: factor of the bits.
        masking: what errors weigh; None: all the same.

    Raises:
        UnsupportedImage: a latent is beyond all symbols.
    """
    start, z = latents
    if not float(np.abs(start).max()) < LIMIT + 0.5:
        raise UnsupportedImage(f"{UNCODABLE}: a latent is beyond {LIMIT:g} or not a number")
    kind = Annealing if searcher.reference else _native.Annealing
    annealing = kind(np.ascontiguousarray(np.clip(start, -LIMIT, LIMIT), np.float32))
    weight = np.float32(trade_off(quality) * 255**2 / 3)
    curvature, price = weight * searcher.curvature(quality, masking), np.float32(rate)
    half = None if masking is None else np.float32(0.5) * ((masking.local() - np.float32(1))[..., None] * curvature)
    width, narrower = WIDTHS[0], float(np.float32((WIDTHS[1] / WIDTHS[0]) ** (1 / max(1, schedule.rounds - 1))))

    def drawn(symbols: Ints) -> tuple[Floats, Floats]:
        """The slope of the distortion at symbols, and what the integers above cost more; nothing else of their size is kept."""
        rows, values = searcher.bits.rows(z, symbols, threads)
        below = annealing.below()
        np.subtract(below, values, out=values)
        bits = searcher.bits.above(rows, values)
        bits *= price
        del rows, values
        slope = searcher.derivative(image, symbols, quality, threads, masking)
        slope *= weight
        if half is not None:  # what a position's curvature differs by from its channel's
            slope += np.where(symbols > below, -half, half)
        return slope, bits

    mean_left = square_left = 1.0
    for round in range(schedule.rounds):
        mean_left, square_left = mean_left * MEAN, square_left * SQUARE
        pace = schedule.first + (schedule.last - schedule.first) * round / max(1, schedule.rounds - 1)
        slope, bits = drawn(annealing.draw(width, round))
        annealing.move(slope, bits, curvature, MEAN, SQUARE, pace / (1 - mean_left), 1 / (1 - square_left))
        del slope, bits  # before the next ones are made
        width *= narrower
        if progress is not None:
            progress(round + 1, schedule.rounds)
    return annealing.nearest()
