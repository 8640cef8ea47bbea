# SPDX-License-Identifier: Apache-2.0
"""What efforts 2 and 3 do with each latent by itself, in NumPy: the plain version of `_native.Annealing`, to the bit.

Symbols are drawn at random from latents that are not rounded: the integer below or above, the nearer the likelier, and the surer the
later. For these symbols, which are integers as a file has them, the search knows the exact picture, rates and derivatives. From them
follows what the integer above would cost more than the one below, whichever was drawn, and the latent moves against that.

Stochastic Gumbel annealing (Yang, Bamler and Mandt, "Improving inference for neural image compression", NeurIPS 2020, section 3.2) led
here. It relaxes symbols to what lies between integers; drawing them needs no relaxation, so that a decoder's integer transforms serve as
they are, and found the better symbols. The descent is Adam's (Kingma and Ba, ICLR 2015).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jahp_fast.entropy.reference import mix
from jahp_fast.errors import UsageError

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
LIMIT = np.float32(32767)
"""Of latents, as of symbols."""
GOLDEN = 0x9E3779B9
"""2^32 over the golden ratio."""
TINY = np.float32(1e-8)


class Annealing:
    """The latents of one image.

    Args:
        start: (h, w, M), within ±32767.

    Raises:
        UsageError: a latent is beyond that or not a number.
    """

    def __init__(self, start: Floats) -> None:
        if not bool((np.abs(start) <= LIMIT).all()):
            raise UsageError("a latent is beyond 32767 or not a number")
        self._latents: Floats = start.copy()
        self._means, self._squares = np.zeros_like(start), np.zeros_like(start)
        self._below = np.zeros(start.shape, np.int32)
        self._up = np.zeros(start.shape, np.bool_)

    def draw(self, width: float, round: int) -> Ints:
        """Symbols (h, w, M), the integer below or above: above with a probability that rises from 0 to 1 over `width` of a step.

        round: counts the draws. A latent's random numbers go by the golden ratio from one round to the next, from a place of its own
            (that of the symbols' checksum): over a few rounds they fall evenly, and latents follow less noise.
        """
        below = np.floor(self._latents)
        middle = self._latents - below - np.float32(0.5)
        h = mix(np.zeros(below.size, np.uint32)) + np.uint32(round * GOLDEN & 0xFFFFFFFF)
        random = (h >> np.uint32(8)).astype(np.float32).reshape(below.shape)
        self._up = random * np.float32(2**-24) - np.float32(0.5) < middle * (np.float32(1) / np.float32(width))
        self._below = below.astype(np.int32)
        return self._below + self._up

    def below(self) -> Ints:
        """(h, w, M), the integers below the latents that were drawn from last."""
        return self._below

    def move(self, slope: Floats, bits: Floats, curvature: Floats, mean: float, square: float, rate: float, squares: float) -> None:
        """Descends along what the integer above costs more than the one below.

        Args:
            slope: (h, w, M), half of the distortion's gradient at the symbols drawn last, in bits.
            bits: (h, w, M), what the integer above costs more.
            curvature: (M,), of the distortion, in bits.
            mean, square: shares of the past in the gradient's mean and mean square.
            rate: factor of the mean over the root of the mean square.
            squares: factor of the mean square, for what is missing of it at first.
        """
        first, second, one = np.float32(mean), np.float32(square), np.float32(1)
        g: Floats = np.float32(2) * slope + bits + np.where(self._up, -curvature, curvature)
        means: Floats = first * self._means + (one - first) * g
        squared: Floats = second * self._squares + (one - second) * (g * g)
        self._means, self._squares = means, squared
        root: Floats = np.sqrt(np.float32(squares) * squared) + TINY
        moved: Floats = self._latents - np.float32(rate) * means / root
        self._latents = np.where(np.abs(moved) <= LIMIT, moved, self._latents)

    def nearest(self) -> Ints:
        """(h, w, M), the latents rounded, halves to even."""
        return np.rint(self._latents).astype(np.int32)
