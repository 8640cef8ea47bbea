# SPDX-License-Identifier: Apache-2.0
"""Which backend of a GPU decodes a batch sooner, out of what was measured of both.

Backend `cuda` gives an image a group of multiprocessors, so that a batch takes several launches, one after the other. `triton` gives it
one, so that a step takes longer and a whole batch as long as its slowest image. Measured is machine h200 of docs/lab/machines.md, with 132
multiprocessors, for models with a context, in docs/lab/018-gpu-backends.md. Other cards, and the coder of `cuda` that has come since,
have not been timed: the choice costs time there where it is wrong, and changes no result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SLOPE = 3
"""Columns that the wavefront's row lies behind the one above it."""
BLOCKS_ALONE, BLOCKS_TOGETHER = 16, 8
"""Of a group of `cuda`, for one image, and for several that share a launch."""


@dataclass(frozen=True)
class StepTimes:
    """Microseconds of a step of the wavefront: in any case, and for each position of the largest step."""

    step: float
    position: float

    def of(self, height: int, width: int) -> float:
        """Milliseconds of an image's latents, (height, width) positions."""
        steps, most = width + SLOPE * (height - 1), min(height, -(-width // SLOPE))
        return steps * (self.step + self.position * most) / 1e3


# From 768x512 (32 x 48 latents) and 1920x1080 (68 x 120), 192/192: 11.0 and 36.2 ms by cuda, 26.4 and 69.5 ms by triton.
CUDA_ALONE, TRITON = StepTimes(54.6, 1.47), StepTimes(167.5, 1.23)
TOGETHER = 25.0 / 11.0
"""A launch of `cuda` for 2 to 16 images took so many times that for one."""


def cuda_ms(sizes: Sequence[tuple[int, int]], multiprocessors: int) -> float:
    """Latents of images of these sizes by `cuda`."""
    if len(sizes) == 1:
        return CUDA_ALONE.of(*sizes[0])
    at_once = max(1, multiprocessors // BLOCKS_TOGETHER)
    launches = [sizes[k : k + at_once] for k in range(0, len(sizes), at_once)]
    return sum(TOGETHER * max(CUDA_ALONE.of(*size) for size in launch) for launch in launches)


def triton_ms(sizes: Sequence[tuple[int, int]], multiprocessors: int) -> float:
    """The same by `triton`."""
    rounds = -(-len(sizes) // max(1, multiprocessors))
    return rounds * max(TRITON.of(*size) for size in sizes)


def faster(sizes: Sequence[tuple[int, int]], multiprocessors: int) -> str:
    """The backend that decodes latents of these sizes, (height, width) each, sooner: "cuda" or "triton"."""
    return "cuda" if cuda_ms(sizes, multiprocessors) <= triton_ms(sizes, multiprocessors) else "triton"
