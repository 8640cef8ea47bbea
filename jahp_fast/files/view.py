# SPDX-License-Identifier: Apache-2.0
"""What a caller wants to see of a picture: a part of it, and at which scale."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast import arguments
from jahp_fast.errors import UsageError

SCALES = (1, 2, 4, 8, 16)
Bytes = NDArray[np.uint8]
Region = Sequence[int] | NDArray[np.integer[Any]]
"""(left, top, width, height) in pixels."""


@dataclass(frozen=True)
class View:
    """A rectangle of a picture whose sides are divided by a scale, rounded up.

    Attributes:
        scale: one of SCALES.
        top, left, height, width: in pixels of the small picture; at least one, and inside of it.
        deep: whether its samples are uint16, and not uint8.
        partial: whether it is less than the picture itself, so that nothing can be held to a checksum of its pixels.
    """

    scale: int
    top: int
    left: int
    height: int
    width: int
    partial: bool
    deep: bool = False

    @staticmethod
    def whole(height: int, width: int, deep: bool = False) -> View:
        return View(1, 0, 0, height, width, False, deep)

    @staticmethod
    def of(width: int, height: int, region: Any = None, scale: Any = 1, deep: bool = False) -> View:
        """Of a picture of that size. deep: at full size alone.

        Args:
            region: (left, top, width, height) in pixels of the picture at full size; None is all of it. At a scale, all pixels of the
                small picture that it touches.

        Raises UsageError for a scale or a region that there is not.
        """
        by = checked_scale(scale)
        left, top, across, down = (0, 0, width, height) if region is None else _checked(region, width, height)
        first = top // by, left // by
        end = -(-(top + down) // by), -(-(left + across) // by)
        return View(by, *first, end[0] - first[0], end[1] - first[1], by > 1 or (across, down) != (width, height), deep and by == 1)

    def at_full_size(self, height: int, width: int) -> View:
        """The same rectangle of the height x width picture at full size."""
        top, left = self.top * self.scale, self.left * self.scale
        down, across = min(self.height * self.scale, height - top), min(self.width * self.scale, width - left)
        return View(1, top, left, down, across, True)

    def cut_rows(self, blocks: Iterable[Bytes], first: int) -> Iterator[Bytes]:
        """The rectangle out of rows of a whole small picture, from row `first` on, in blocks of (k, W, C). All blocks are taken."""
        for block in blocks:
            part = block[max(self.top - first, 0) : max(self.top + self.height - first, 0), self.left : self.left + self.width]
            first += len(block)
            if len(part):
                yield part


def checked_scale(scale: Any) -> int:
    """Raises UsageError for one that there is not."""
    by = arguments.whole("scale", scale)
    if by not in SCALES:
        raise UsageError(f"scale must be {', '.join(map(str, SCALES[:-1]))} or {SCALES[-1]}, not {by}")
    return by


def _checked(region: Any, width: int, height: int) -> tuple[int, int, int, int]:
    if isinstance(region, (str, bytes)) or not isinstance(region, (Sequence, np.ndarray)) or len(region) != 4:
        raise UsageError(f"region must be (left, top, width, height), not {arguments.shown(region)}")
    left, top, across, down = (arguments.whole(f"region's {n}", v) for n, v in zip(("left", "top", "width", "height"), region, strict=True))
    if across < 1 or down < 1:
        raise UsageError(f"a region of {across} x {down} pixels is empty; its width and height must be at least 1")
    if left < 0 or top < 0 or left + across > width or top + down > height:
        raise UsageError(f"region ({left}, {top}, {across}, {down}) is not inside of the picture's {width} x {height} pixels")
    return left, top, across, down


def averaged(picture: Bytes, scale: int) -> Bytes:
    """Squares of scale x scale samples of (H, W) or (H, W, C), at the right and at the bottom what is left of them, as their mean, halves
    up: (ceil(H / scale), ceil(W / scale)) or the same with C."""
    if scale == 1:
        return picture
    height, width = picture.shape[:2]
    below, beside = -height % scale, -width % scale
    if below or beside:
        picture = np.pad(picture, ((0, below), (0, beside), *((0, 0),) * (picture.ndim - 2)))
    # 256 samples of 255 have 16 bits. Adding whole rows, and then columns, is what NumPy does fast.
    sums = picture[::scale].astype(np.uint16)
    for row in range(1, scale):
        sums += picture[row::scale]
    total = sums[:, ::scale].copy()
    for column in range(1, scale):
        total += sums[:, column::scale]
    counts = np.full(total.shape[:2], scale * scale, np.uint16)
    if below:
        counts[-1] -= below * scale
    if beside:
        counts[:, -1] = counts[:, -1] // scale * (scale - beside)
    counts = counts.reshape(*counts.shape, *(1,) * (picture.ndim - 2))
    means: Bytes = ((total.astype(np.uint32) + counts // 2) // counts).astype(np.uint8)
    return means


def averaged_rows(blocks: Iterable[Bytes], scale: int) -> Iterator[Bytes]:
    """`averaged` of a picture that comes by rows."""
    if scale == 1:
        yield from blocks
        return
    left: Bytes | None = None
    for block in blocks:
        rows = block if left is None else np.concatenate([left, block])
        whole = len(rows) // scale * scale
        if whole:
            yield averaged(rows[:whole], scale)
        left = rows[whole:]
    if left is not None and len(left):
        yield averaged(left, scale)
