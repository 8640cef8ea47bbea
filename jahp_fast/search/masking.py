# SPDX-License-Identifier: Apache-2.0
"""What errors count for where, as an eye sees them: the weights of `tune="eye"`.

Texture hides errors (masking; Watson, "DCT quantization matrices visually optimized for individual images", 1993), and coarse errors are
seen before fine ones of the same size. So errors e of a picture have a weight w, less in texture, and so have their means m over blocks of
4, 8 and 16 pixels. What is minimised is, summed over all samples and times one number for the picture,

    w e² + COARSE (w m4² + w m8² + w m16²)          w: the mean over the block

The number makes the whole weigh what the squared errors of the nearest integers weigh, so that files keep about their size. The constants
were chosen by SSIMULACRA 2 on held-out photos (docs/lab/038-search-for-the-eye.md).

Sums are integers, or floats that are added, multiplied, divided and rooted one by one: the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.constants import STRIDE
from jahp_fast.transforms.cpu import Pixels
from jahp_fast.transforms.layers import Ints, Shorts

Floats = NDArray[np.float32]

TUNES = ("eye",)
BLOCK = 4
"""Pixels on a side of what has one weight."""
FLAT = 30.0
"""Variance of luma at which the weight has fallen to 0.77, that is 2^-3/8."""
COARSE = 1.5
"""Weight of the squares of each of the three means, against that of the errors themselves."""
FINE = 8
"""Parts of a grey level that sums of weighed errors are counted in."""


class Masking:
    """Of one image, on the grid of its latents.

    Args:
        image: (H, W, 3) uint8.
        h, w: latents, so that 16 h >= H and 16 w >= W.
    """

    def __init__(self, image: Pixels, h: int, w: int) -> None:
        fine = weights(image, h, w)
        self._weights: list[Floats] = [fine, _halved(fine), _halved(_halved(fine))]
        """(4 h, 4 w), (2 h, 2 w) and (h, w), above 0 and at most 1: of blocks of 4, 8 and 16."""
        self._factor = np.float32(1)

    def balance(self, errors: Iterable[Shorts]) -> None:
        """Makes weighed errors weigh as much as these do, (k, 16 w, 3) from top to bottom."""
        plain = 0

        def counted() -> Iterator[Shorts]:
            nonlocal plain
            for rows in errors:
                plain += int(np.square(rows, dtype=np.int32).sum(dtype=np.int64))
                yield rows

        weighed = self.total(counted())
        self._factor *= np.float32(plain / weighed if weighed > 0 else 1.0)

    def total(self, errors: Iterable[Shorts]) -> float:
        """What errors weigh, (k, 16 w, 3) from top to bottom, in squares of grey levels."""
        total = top = 0
        for rows in errors:
            parts = np.rint(self.weighed(rows, top) * np.float32(FINE)).astype(np.int64)
            total += int((parts * rows).sum())
            top += len(rows)
        return total / FINE

    def weighed(self, errors: Shorts, top: int) -> Floats:
        """Half of the gradient of what is minimised by the errors, (k, 16 w, 3) in grey levels, of rows of the grid from `top` on.

        k and top are multiples of 16.
        """
        rows, columns, _ = errors.shape
        coarse: Floats = np.zeros((rows // STRIDE, columns // STRIDE, 3), np.float32)
        for side in (16, 8, 4):
            means = _sums(errors, side).astype(np.float32) / np.float32(side * side)
            if side < STRIDE:
                coarse = coarse.repeat(2, 0).repeat(2, 1)
            coarse += self._of(side, top, rows) * means
        coarse *= np.float32(COARSE)
        blocks = errors.reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK, 3).astype(np.float32)
        blocks *= self._of(BLOCK, top, rows)[:, None, :, None]
        blocks += coarse[:, None, :, None]
        blocks *= self._factor
        return blocks.reshape(rows, columns, 3)

    def _of(self, side: int, top: int, rows: int) -> Floats:
        """Weights of blocks of so many pixels a side, (rows / side, columns, 1)."""
        of_blocks = self._weights[(4, 8, 16).index(side)]
        return of_blocks[top // side : (top + rows) // side, :, None]

    def local(self) -> Floats:
        """(h, w), what squared errors weigh at each position, those of means left aside."""
        local: Floats = self._factor * self._weights[2]
        return local


def heavier(effects: Sequence[Shorts]) -> Floats:
    """How much more than its squares an effect, (16 h, 16 w, 3), weighs where w is 1, by the means of its blocks: at least 1."""
    out = []
    for effect in effects:
        squares, *means = (int(np.square(_sums(effect, side), dtype=np.int64).sum()) for side in (1, 4, 8, 16))
        coarse = sum(mean / side**2 for mean, side in zip(means, (4, 8, 16), strict=True))
        out.append(1 + COARSE * coarse / squares if squares else 1.0)
    return np.array(out, np.float32)


def weights(image: Pixels, h: int, w: int) -> Floats:
    """(4 h, 4 w) of blocks, 1 where the image is flat: by the variance of luma in the 12x12 pixels around each, borders repeated."""
    height, width = image.shape[:2]
    luma = image.astype(np.int32) @ np.array([77, 150, 29], np.int32) >> 8
    luma = np.pad(luma, ((0, STRIDE * h - height), (0, STRIDE * w - width)), "edge")[..., None]
    sums, squares = (_around(_sums(x, BLOCK)[..., 0].astype(np.int64)) for x in (luma, luma * luma))
    count = (3 * BLOCK) ** 2
    variance = (count * squares - sums * sums) / count**2
    fourth = np.sqrt(np.sqrt(1 + variance / FLAT))
    return (1 / (fourth * np.sqrt(fourth))).astype(np.float32)


def _sums(x: NDArray[Any], side: int) -> Ints:
    """(H, W, C) -> (H / side, W / side, C), sums over blocks."""
    h, w, channels = x.shape
    sums: Ints = x.reshape(h // side, side, w // side, side, channels).sum((1, 3), dtype=np.int32)
    return sums


def _halved(x: Floats) -> Floats:
    """Means of 2x2; one sum after the other, since an order would be the machine's."""
    means: Floats = (x[::2, ::2] + x[::2, 1::2]) + (x[1::2, ::2] + x[1::2, 1::2])
    means /= np.float32(4)
    return means


def _around(x: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums over each element and its eight neighbours."""
    rows, columns = x.shape
    around = np.pad(x, 1, "edge")
    return sum((around[r : r + rows, c : c + columns] for r in range(3) for c in range(3)), np.zeros_like(x))
