# SPDX-License-Identifier: Apache-2.0
"""Copied positions (docs/reference/format.md, section 11): where all latents of a position are those of a neighbour, one byte says so.

A map is (h, w) uint8: 0, the position is coded; LEFT, it is as the one to its left; ABOVE, as the one above. A layout holds that of z and
then that of y, by row and column; a file holds both as lengths of runs, in its chunk COPY.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import FormatError

LEFT, ABOVE = 1, 2
_CHUNK_BYTES = 8
_LEAST_GAIN = 4, 16
"""What leaving out a position of y and of z saves, in eighths of a byte: what constant areas take where the nets know them well."""

_LEAST_SHARE = 8
"""One position of so many must be a copy for copying to be tried where it may not pay."""

Ints = NDArray[np.int32]
Kinds = NDArray[np.uint8]


def find(latents: Ints) -> Kinds:
    """(h, w, channels) -> the map of all that can be copied, from above where that and the left would do: runs of rows are then one."""
    kinds = np.zeros(latents.shape[:2], np.uint8)
    kinds[:, 1:][(latents[:, 1:] == latents[:, :-1]).all(axis=2)] = LEFT
    kinds[1:][(latents[1:] == latents[:-1]).all(axis=2)] = ABOVE
    return kinds


class Choice(NamedTuple):
    """maps: for a layout; packed: the chunk's data; sure: whether copying pays whatever the nets know, else it is to be tried."""

    maps: bytes
    packed: bytes
    sure: bool

    @property
    def bytes(self) -> int:
        """What the chunk takes in a file."""
        return _CHUNK_BYTES + len(self.packed)


def choose(z: Ints, y: Ints) -> Choice | None:
    """z (hz, wz, N) and y (h, w, M) -> the maps of all that can be copied, or None where there is little: that does not pay."""
    kinds = find(z) if z.size else np.zeros((0, 0), np.uint8), find(y)
    counts = [int(np.count_nonzero(k)) for k in kinds]
    gain = (_LEAST_GAIN[1] * counts[0] + _LEAST_GAIN[0] * counts[1]) // 8
    if gain <= _CHUNK_BYTES and _LEAST_SHARE * counts[1] < kinds[1].size:
        return None
    maps = b"".join(k.tobytes() for k in kinds)
    choice = Choice(maps, pack(maps), False)
    if gain > choice.bytes:
        return choice._replace(sure=True)
    return choice if _LEAST_SHARE * counts[1] >= kinds[1].size else None


def pack(maps: bytes) -> bytes:
    """Maps of a layout -> the chunk's data: of each run of equal kinds 3 (its length - 1) + kind, as LEB128."""
    kinds = np.frombuffer(maps, np.uint8)
    starts = np.append(np.flatnonzero(np.diff(kinds, prepend=255)), len(kinds))
    out = bytearray()
    for start, length in zip(starts[:-1].tolist(), np.diff(starts).tolist(), strict=True):
        value = 3 * (length - 1) + int(kinds[start])
        while value > 127:
            out.append(value & 127 | 128)
            value >>= 7
        out.append(value)
    return bytes(out)


def unpack(data: bytes, *sizes: tuple[int, int]) -> bytes:
    """Data of a chunk COPY -> maps for a layout. sizes: height and width of z, (0, 0) where there is none, and of y.

    Allocates what the sizes say, whatever the data claim. Raises FormatError for another number of positions, a number that does not end,
    and a position that is as one which there is not.
    """
    wanted = sum(height * width for height, width in sizes)
    copies = np.empty(wanted, np.uint8)
    at = value = shift = 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            end = at + value // 3 + 1
            if end > wanted:
                break
            copies[at:end] = value % 3
            at, value, shift = end, 0, 0
        elif shift > 28:
            break
    else:
        if at == wanted and not shift:
            return _checked(copies, sizes)
    raise FormatError(f"the map of copied positions does not have {wanted} values")


def _checked(copies: Kinds, sizes: tuple[tuple[int, int], ...]) -> bytes:
    at = 0
    for height, width in sizes:
        kinds = copies[at : at + height * width].reshape(height, width)
        at += height * width
        if kinds.size and ((kinds[:, 0] == LEFT).any() or (kinds[0] == ABOVE).any()):
            raise FormatError("a copied position is as one that there is not")
    return copies.tobytes()


def apply(kinds: Kinds, position: tuple[int, int], latents: NDArray[np.int64]) -> bool:
    """Whether the position is copied; if so, latents (h, w, channels) then holds its values."""
    row, column = position
    if kinds[position] == 0:
        return False
    latents[position] = latents[row, column - 1] if kinds[position] == LEFT else latents[row - 1, column]
    return True


def maps(copies: bytes, z: NDArray[np.int64], y: NDArray[np.int64]) -> tuple[Kinds, Kinds]:
    """A layout's copies as the maps of z and y."""
    kinds = np.frombuffer(copies, np.uint8) if copies else np.zeros(z.shape[0] * z.shape[1] + y.shape[0] * y.shape[1], np.uint8)
    hyper = z.shape[0] * z.shape[1]
    return kinds[:hyper].reshape(z.shape[:2]), kinds[hyper:].reshape(y.shape[:2])
