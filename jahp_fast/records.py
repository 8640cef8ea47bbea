# SPDX-License-Identifier: Apache-2.0
"""What a codec gives besides files and images: exact latents, and what a file says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from jahp_fast.arguments import file_bytes
from jahp_fast.files import container as _container

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, eq=False)
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
    __hash__: ClassVar[None]  # type: ignore[assignment]  # arrays have none

    def __eq__(self, other: object) -> bool:
        """By all values; the arrays' own comparison is by element."""
        if not isinstance(other, Latents):
            return NotImplemented
        same_z = (self.z is None) == (other.z is None) and (self.z is None or np.array_equal(self.z, cast(Any, other.z)))
        return self.frac_bits == other.frac_bits and np.array_equal(self.y, other.y) and same_z


@dataclass(frozen=True)
class Info:
    """What a stream says of itself.

    Attributes:
        quality: that the encoder was asked for; None for exact pixels.
        model: its id; zeros for exact pixels, which need none.
        chunks: type -> bytes.
        base_quality: above 8, that of the coarse picture.
        depth: bits of a sample, 8 to 16.
        max_error: of exact pixels: no sample differs by more from the encoded image; 0 is lossless.
    """

    width: int
    height: int
    mode: str
    alpha: bool
    quality: float | None
    model: str
    lanes: int
    skip: int
    bytes: int
    payload_bytes: int
    chunks: dict[str, int]
    base_quality: float | None = None
    max_error: int | None = None
    depth: int = 8


def info(data: Bytes) -> Info:
    """What a stream says of itself; needs no model. Raises FormatError for a damaged file, UsageError for a path."""
    data = file_bytes(data)
    s = _container.unpack(data)
    chunks = {kind.decode(): len(content) for kind, content in s.chunks.items()}
    alpha = b"ALPH" in s.chunks
    base = s.quality if s.layer and s.layer.kind == "residual" else None
    return Info(
        s.width, s.height, s.mode, alpha, s.asked_quality, s.model.hex(), s.lanes, s.skip, len(data), len(s.payload), chunks,
        base, s.exact.bound if s.exact else None, s.depth,
    )  # fmt: skip
