# SPDX-License-Identifier: Apache-2.0
"""What a codec gives besides files and images: exact latents, and what a file says of itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jahp_fast import container as _container

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Latents:
    """What the exact part of a decoder gives: equal on every machine, for every backend.

    Attributes:
        y: (M, h, w) int32, ŷ times 2^frac_bits.
        frac_bits: 0 in form A.
        z: (N, h', w') int32, or None where a model has no hyperprior.
    """

    y: NDArray[np.int32]
    frac_bits: int
    z: NDArray[np.int32] | None


@dataclass(frozen=True)
class Info:
    """What a stream says of itself. `chunks` are type -> bytes."""

    width: int
    height: int
    mode: str
    alpha: bool
    quality: float
    model: str
    lanes: int
    skip: int
    bytes: int
    payload_bytes: int
    chunks: dict[str, int]


def info(data: Bytes) -> Info:
    """What a stream says of itself; needs no model. Raises FormatError for a damaged file."""
    s = _container.unpack(data)
    chunks = {kind.decode(): len(content) for kind, content in s.chunks.items()}
    alpha = b"ALPH" in s.chunks
    return Info(s.width, s.height, s.mode, alpha, s.quality, s.model.hex(), s.lanes, s.skip, len(data), len(s.payload), chunks)
