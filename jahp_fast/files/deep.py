# SPDX-License-Identifier: Apache-2.0
"""Samples of more than 8 bits (docs/reference/format.md, "Deeper samples"). In memory they always span uint16: 65535 is white."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast import arguments
from jahp_fast.errors import UnsupportedImage, UsageError

DEPTHS = range(9, 17)
"""Bits of a sample that a file may name."""
DEEP, ALPHA, ALPHA_REST = b"deep", b"ALPH", b"alpl"
"""Chunks: the depth; the upper 8 bits of alpha, and the lower ones."""
QUARTERS = 1020
"""White as an encoder's transforms take it, in steps of a quarter of an 8-bit level."""

Deep = NDArray[np.uint16]
_MOST = 65535


def widened(samples: Deep, depth: int) -> Deep:
    """Samples of so many bits, 0 to 2^depth - 1, as 16 bits. Raises UnsupportedImage for larger ones."""
    most = (1 << depth) - 1
    if depth == 16:
        return samples
    largest = int(samples.max())
    if largest > most:
        raise UnsupportedImage(f"a sample of {largest} has more than depth = {depth} bits")
    return ((samples.astype(np.uint32) * _MOST + most // 2) // most).astype(np.uint16)


def quarters(samples: Deep) -> NDArray[np.int16]:
    """As an encoder's transforms take them, 0 to QUARTERS, rounded."""
    return ((samples.astype(np.uint32) * QUARTERS + _MOST // 2) // _MOST).astype(np.int16)


def narrowed(samples: Deep) -> NDArray[np.uint8]:
    """Rounded to 8 bits."""
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def of_bytes(samples: NDArray[np.uint8]) -> Deep:
    """The 16 bits that mean the same."""
    return samples * np.uint16(257)


def of_sums(x: NDArray[np.int32]) -> Deep:
    """What g_s gives in steps of 1/256 of an 8-bit level -> 16 bits."""
    return ((np.clip(x, 0, 255 << 8) * 257 + 128) >> 8).astype(np.uint16)


def checked_depth(depth: Any, deep: bool) -> int:
    """Bits of an image's samples: by default all that its type has. Raises UsageError for a depth that it cannot have.

    Args:
        deep: whether its samples are uint16.
    """
    if depth is None:
        return 16 if deep else 8
    bits = arguments.whole("depth", depth)
    if bits not in (DEPTHS if deep else (8,)):
        possible = f"{DEPTHS[0]} to {DEPTHS[-1]} with pixels of uint16" if deep else "8 with pixels of uint8; deeper ones are uint16"
        raise UsageError(f"depth can be {possible}, not {bits}")
    return bits


def checked_dtype(dtype: Any) -> bool | None:
    """Whether uint16 is asked for; None: as the file says. Raises UsageError for a type that no decoder gives."""
    if dtype is None:
        return None
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = None
    if kind not in (np.uint8, np.uint16):
        raise UsageError(f"dtype must be uint8 or uint16, not {arguments.shown(dtype) if kind is None else kind}")
    return bool(kind == np.uint16)


@dataclass(frozen=True)
class DeepPicture:
    """Samples that Pillow has no mode for, (H, W, 3 or 4) or (H, W) of uint16, and the image as it opened the file, for its metadata."""

    samples: Deep
    image: Any

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.samples.shape[1], self.samples.shape[0]
