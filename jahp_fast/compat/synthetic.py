# SPDX-License-Identifier: Apache-2.0
"""Pictures to calibrate on where there are no photos: "dead leaves", whose edges and spectra are those of natural images.

Source: Lee, Mumford, Huang, "Occlusion models for natural images" (IJCV 2001): discs of random colours that hide each other, with radii
distributed as 1/r^3. Here also a slope of brightness and some grain, since photos have both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DISCS = 400
RADII = (3.0, 90.0)  # pixels
GRAIN = 4.0  # largest standard deviation, grey levels


def dead_leaves(seed: int, side: int = 256) -> NDArray[np.uint8]:
    """(side, side, 3) uint8; the same picture for a seed wherever NumPy's PCG64 is the same."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:side, :side].astype(np.float32)
    image = np.empty((side, side, 3), np.float32)
    image[:] = rng.uniform(30, 220) + rng.normal(0, 30, 3)
    # A density of 1/r^3 between the radii, by inverting its cumulative.
    a, b = (radius**-2 for radius in RADII)
    for u, x, y in rng.random((DISCS, 3)):
        radius = (a + (b - a) * u) ** -0.5
        top, left = (int(max(0, n * side - radius)) for n in (y, x))
        box = np.s_[top : int(y * side + radius) + 1, left : int(x * side + radius) + 1]
        inside = (row[box] - y * side) ** 2 + (column[box] - x * side) ** 2 <= radius**2
        grey = rng.uniform(0, 255)
        image[box][inside] = grey + rng.normal(0, 30, 3)
    slope = rng.normal(0, 0.25, 2)
    image *= (1 + slope[0] * (row / side - 0.5) + slope[1] * (column / side - 0.5))[:, :, None]
    image += rng.normal(0, rng.uniform(0, GRAIN), image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
