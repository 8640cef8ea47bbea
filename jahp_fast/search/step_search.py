# SPDX-License-Identifier: Apache-2.0
"""Which symbols of an image to change by one, in NumPy: the plain version of `_native.best_steps`, to the bit.

A greedy search: steps disturb each other, those of one position and its neighbours above all, and the best of them leaves less to the
others. So candidates come in the order of what they would earn alone, and each is taken if it still pays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


def best_steps(slope: Floats, curvature: Floats, answer: Floats, down: Floats, up: Floats, interaction: Floats, margin: float) -> Ints:
    """Steps of -1, 0 or 1, (h, w, M). All arguments are in bits.

    A step of d costs curvature * answer + 2 d slope + (down or up), and has to cost less than -margin.

    Args:
        slope: (h, w, M), half of the distortion's gradient.
        curvature: (M,).
        answer: (h, w), a factor of the curvature and of the interaction.
        down, up: (h, w, M), the bits that a step adds.
        interaction: (M, 3, 3, M), what a step up of the first channel adds to the slope of the last, from the row above to the row below
            and from the column before to the column behind.
    """
    least, two = -np.float32(margin), np.float32(2)
    around = np.pad(slope, ((1, 1), (1, 1), (0, 0)))
    curvatures = curvature * answer[..., None]
    steps = np.zeros(slope.shape, np.int32)
    lower, upper = curvatures - two * slope + down, curvatures + two * slope + up
    costs = np.minimum(lower, upper).ravel()
    found = np.flatnonzero(costs < least)
    for place in found[np.argsort(costs[found], kind="stable")]:
        row, column, channel = np.unravel_index(place, slope.shape)
        d = -1 if lower[row, column, channel] <= upper[row, column, channel] else 1
        now = around[row + 1, column + 1, channel]
        bits = (down if d < 0 else up)[row, column, channel]
        if curvatures[row, column, channel] + np.float32(d) * two * now + bits < least:
            steps[row, column, channel] = d
            around[row : row + 3, column : column + 3] += np.float32(d) * answer[row, column] * interaction[channel]
    return steps
