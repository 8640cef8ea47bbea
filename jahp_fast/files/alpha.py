# SPDX-License-Identifier: Apache-2.0
"""Alpha, kept without loss: a layer of one channel (docs/reference/format.md, "Layers"), in a chunk of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import FormatError
from jahp_fast.files import layers
from jahp_fast.files.deep import ALPHA, ALPHA_REST
from jahp_fast.files.view import View, averaged


def pack_alpha(alpha: NDArray[np.uint8]) -> bytes:
    """(H, W) uint8 -> data of an ALPH chunk."""
    return layers.exact(np.ascontiguousarray(alpha)[:, :, None], 0, 1).packed()


def alpha_chunks(alpha: NDArray[Any]) -> dict[bytes, bytes]:
    """Alpha of uint8 or uint16, kept losslessly. The lower 8 bits stand apart, where they do not only repeat the upper ones."""
    if alpha.dtype == np.uint8:
        return {ALPHA: pack_alpha(alpha)}
    upper, lower = (alpha >> 8).astype(np.uint8), (alpha & 255).astype(np.uint8)
    chunks = {ALPHA: pack_alpha(upper)}
    return chunks if np.array_equal(upper, lower) else chunks | {ALPHA_REST: pack_alpha(lower)}


def unpack_alpha(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """The reverse. Allocates height * width bytes, whatever the data claim.

    Raises:
        FormatError: damaged data, or of a kind that is no alpha.
    """
    return AlphaReader(data, height, width).rows(height)


class AlphaReader:
    """`unpack_alpha` by rows. Raises FormatError as that does, at the rows where the damage shows."""

    def __init__(self, data: bytes, height: int, width: int) -> None:
        self._layer = layers.Layer.parsed(data, height, "alpha")
        if not self._layer.exact or self._layer.bound:
            raise FormatError("alpha is not of a kind that keeps every value")
        self._height, self._width, self._strip = height, width, 0
        self._held = np.empty((0, width), np.uint8)

    def rows(self, count: int) -> NDArray[np.uint8]:
        """The next `count` rows, at most as many as there are left: (count, W)."""
        missing = count - len(self._held)
        if missing > 0:
            top = self._strip * self._layer.rows
            strips = -(-missing // self._layer.rows)
            block = np.empty((min(strips * self._layer.rows, self._height - top), self._width, 1), np.uint8)
            self._layer.decode(block, self._strip, 1)
            self._strip += strips
            self._held = np.concatenate([self._held, block[:, :, 0]])
        alpha, self._held = self._held[:count], self._held[count:]
        return alpha


class AlphaView:
    """Alpha of a view: means, where the view has a scale. Raises FormatError as AlphaReader does; `finish` reads what is left to check."""

    _SKIPPED = 64

    def __init__(self, data: bytes, height: int, width: int, view: View) -> None:
        self._reader, self._view, self._left = AlphaReader(data, height, width), view, height
        self._skip(view.top * view.scale)

    def rows(self, count: int) -> NDArray[np.uint8]:
        """The next `count` rows of the view: (count, view.width)."""
        view, taken = self._view, min(count * self._view.scale, self._left)
        self._left -= taken
        full = self._reader.rows(taken)[:, view.left * view.scale : (view.left + view.width) * view.scale]
        return averaged(full, view.scale)

    def finish(self) -> None:
        """Once all rows of the view are there."""
        self._skip(self._left)

    def _skip(self, count: int) -> None:
        self._left -= count
        for left in range(count, 0, -self._SKIPPED):
            self._reader.rows(min(left, self._SKIPPED))
