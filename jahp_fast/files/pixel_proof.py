# SPDX-License-Identifier: Apache-2.0
"""The checksum of a file's pixels, where it has one (docs/reference/format.md, section 14.8)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jahp_fast import _native
from jahp_fast.errors import FormatError
from jahp_fast.files.container import PIXEL_CHECKSUM, Stream
from jahp_fast.files.image import join
from jahp_fast.files.view import View

PIXEL_ERROR = "the checksum of the pixels does not match: this decoder, or its model, is not the one that the file was made for"


def pixel_checksum(rgb: NDArray[Any], mode: Literal["RGB", "L"], before: int = 0) -> int:
    """CRC-32C of the samples of (k, W, 3) pixels, without alpha, going on from that of the rows before."""
    return samples_checksum(join(rgb, mode, None), before)


def samples_checksum(samples: NDArray[Any], before: int = 0) -> int:
    """The same of samples of uint8, or of uint16, the lower byte of each first."""
    return _native.crc32c(np.ascontiguousarray(samples, samples.dtype.newbyteorder("<")).data.cast("B"), before)


def checksum_bytes(samples: NDArray[Any]) -> bytes:
    """That of all samples as the chunk has it."""
    return samples_checksum(samples).to_bytes(4, "little")


class PixelProof:
    """Takes the rows of a stream's pixels, and judges them with the last.

    Args:
        view: what the pixels are of; a part of a picture is not judged, nor are samples of 16 bits that latents alone give.
        exact: False for pixels that need not be the format's: nothing is judged.
    """

    def __init__(self, stream: Stream, view: View, exact: bool) -> None:
        of_deep = stream.depth > 8 and stream.layer is not None
        wanted = stream.chunks.get(PIXEL_CHECKSUM) if exact and (of_deep or not view.deep) and not view.partial else None
        self._wanted = None if wanted is None else int.from_bytes(wanted, "little")
        self._mode, self._left, self._crc = stream.mode, stream.height, 0

    def take(self, rgb: NDArray[Any]) -> None:
        """The next rows, (k, W, 3). Raises FormatError with the last ones if the checksum does not match."""
        if self._wanted is None:
            return
        self._crc = pixel_checksum(rgb, self._mode, self._crc)
        self._left -= len(rgb)
        if self._left == 0 and self._crc != self._wanted:
            raise FormatError(PIXEL_ERROR)
