# SPDX-License-Identifier: Apache-2.0
"""Copied positions (docs/reference/format.md, section 11): where all latents of a position are those of a neighbour, one byte says so.

A map is (h, w) uint8: 0, the position is coded; LEFT, it is as the one to its left; ABOVE, as the one above. A layout holds that of z and
then that of y, by row and column; a file holds both as a zlib stream, in its chunk COPY.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import FormatError

LEFT, ABOVE = 1, 2
_CHUNK_BYTES = 8
_LEAST_GAIN = 4, 16
"""What leaving out a position of y and of z saves, in eighths of a byte: what constant areas take where the nets know them well."""

Ints = NDArray[np.int32]
Kinds = NDArray[np.uint8]


def find(latents: Ints) -> Kinds:
    """(h, w, channels) -> the map of all that can be copied, from the left where that and above would do."""
    kinds = np.zeros(latents.shape[:2], np.uint8)
    kinds[1:][(latents[1:] == latents[:-1]).all(axis=2)] = ABOVE
    kinds[:, 1:][(latents[:, 1:] == latents[:, :-1]).all(axis=2)] = LEFT
    return kinds


def choose(z: Ints, y: Ints) -> tuple[bytes, bytes]:
    """z (hz, wz, N) and y (h, w, M) -> maps for a layout, and the chunk's data; both empty where copying does not pay."""
    maps = find(z) if z.size else np.zeros((0, 0), np.uint8), find(y)
    counts = [int(np.count_nonzero(kinds)) for kinds in maps]
    gain = (_LEAST_GAIN[1] * counts[0] + _LEAST_GAIN[0] * counts[1]) // 8
    if gain <= _CHUNK_BYTES:
        return b"", b""
    copies = b"".join(kinds.tobytes() for kinds in maps)
    packed = zlib.compress(copies, 9)
    return (copies, packed) if gain > _CHUNK_BYTES + len(packed) else (b"", b"")


def unpack(data: bytes, *sizes: tuple[int, int]) -> bytes:
    """Data of a chunk COPY -> maps for a layout. sizes: height and width of z, (0, 0) where there is none, and of y.

    Allocates what the sizes say, whatever the data claim. Raises FormatError for damage, another number of positions, and a position that
    is as one which there is not.
    """
    wanted = sum(height * width for height, width in sizes)
    decoder = zlib.decompressobj()
    try:
        copies = decoder.decompress(data, wanted)
        rest = decoder.decompress(decoder.unconsumed_tail, 1)
    except zlib.error as e:
        raise FormatError(f"the map of copied positions is damaged: {e}") from None
    if len(copies) != wanted or rest or not decoder.eof or decoder.unused_data:
        raise FormatError(f"the map of copied positions does not have {wanted} values")
    at = 0
    for height, width in sizes:
        kinds = np.frombuffer(copies, np.uint8, height * width, at).reshape(height, width)
        at += height * width
        if kinds.size and (kinds.max() > ABOVE or (kinds[:, 0] == LEFT).any() or (kinds[0] == ABOVE).any()):
            raise FormatError("a copied position is as one that there is not")
    return copies


def apply(kinds: Kinds, position: tuple[int, int], latents: NDArray[np.int64]) -> bool:
    """Whether the position is copied; if so, latents (h, w, channels) then holds its values."""
    row, column = position
    match kinds[position]:
        case 1:
            latents[position] = latents[row, column - 1]
        case 2:
            latents[position] = latents[row - 1, column]
        case _:
            return False
    return True


def maps(copies: bytes, z: NDArray[np.int64], y: NDArray[np.int64]) -> tuple[Kinds, Kinds]:
    """A layout's copies as the maps of z and y."""
    kinds = np.frombuffer(copies, np.uint8) if copies else np.zeros(z.shape[0] * z.shape[1] + y.shape[0] * y.shape[1], np.uint8)
    hyper = z.shape[0] * z.shape[1]
    return kinds[:hyper].reshape(z.shape[:2]), kinds[hyper:].reshape(y.shape[:2])
