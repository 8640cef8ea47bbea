# SPDX-License-Identifier: Apache-2.0
"""PNG files written row by row (ISO/IEC 15948), for decoders that hand rows out as they come. Pillow writes whole images only.

All rows are filtered by Paeth's predictor, and deflate looks for runs alone (Z_RLE). On decoded photos that makes files about as small as
choosing a filter by row and searching for matches does, in a tenth of the time: what is left of noise after the predictor has no matches
(`pytest benchmarks/bench_png.py`).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.files.container import METADATA_CHUNKS, Stream
from jahp_fast.files.deep import ALPHA
from jahp_fast.files.view import View

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> grey, grey with alpha, RGB, RGBA
_PAETH = 4


class PngWriter:
    """Rows go in from top to bottom, the file's bytes come out by `write`.

    Args:
        write: takes the next bytes of the file.
        channels: 1 to 4: grey, grey with alpha, RGB or RGBA.
        icc, exif, xmp: metadata; EXIF with or without its "Exif" prefix.
        bits: 8 or 16 a channel.
        cicp: 4 bytes, as the chunk cICP has them.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        width: int,
        height: int,
        channels: int,
        icc: bytes | None = None,
        exif: bytes | None = None,
        xmp: bytes | None = None,
        bits: int = 8,
        cicp: bytes | None = None,
    ) -> None:
        self._write, self._left, self._channels = write, height, channels
        self._above = np.zeros((width, channels * bits // 8), np.uint8)
        self._deflate = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
        write(b"\x89PNG\r\n\x1a\n")
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPES[channels], 0, 0, 0))
        if cicp:
            self._chunk(b"cICP", cicp)
        if icc:
            self._chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
        if xmp:
            self._chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
        if exif:
            self._chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))

    @staticmethod
    def of_view(write: Callable[[bytes], object], stream: Stream, view: View, bits: int) -> PngWriter:
        """For a view of a stream, with its metadata."""
        channels = (3 if stream.mode == "RGB" else 1) + (ALPHA in stream.chunks)
        icc, exif, xmp, cicp = (stream.chunks.get(kind) for kind in METADATA_CHUNKS)
        return PngWriter(write, view.width, view.height, channels, icc, exif, xmp, bits, cicp)

    def take(self, block: NDArray[Any]) -> None:
        """The next rows as Codec.decode_rows gives them."""
        self.rows(block[:, :, [0, 3]] if self._channels == 2 else block)

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._write(struct.pack(">I", len(data)) + kind)
        self._write(data)
        self._write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))

    def rows(self, block: NDArray[Any]) -> None:
        """(k, width) or (k, width, channels), uint8 or uint16 by the bits. After the last row of the image the file is complete."""
        block = np.ascontiguousarray(block.astype(block.dtype.newbyteorder(">"), copy=False)).view(np.uint8)
        block = block.reshape(len(block), *self._above.shape)
        filtered = paeth(block, self._above)
        lines = np.empty((len(block), 1 + filtered[0].size), np.uint8)
        lines[:, 0], lines[:, 1:] = _PAETH, filtered.reshape(len(block), -1)
        self._above = block[-1].copy()
        self._left -= len(block)
        data = self._deflate.compress(lines.tobytes())
        if not self._left:
            data += self._deflate.flush()
        if data:
            self._chunk(b"IDAT", data)
        if not self._left:
            self._chunk(b"IEND", b"")


def paeth(block: NDArray[np.uint8], above: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows (k, w, c) minus their predictions, modulo 256; above: (w, c), the row before the first.

    The prediction is that of left, up and upper left which is nearest to left + up - upper left, in this order where two are as near.
    """
    up = np.concatenate([above[None], block[:-1]])
    left, corner = np.zeros_like(block), np.zeros_like(block)
    left[:, 1:], corner[:, 1:] = block[:, :-1], up[:, :-1]
    a, b, c = (x.astype(np.int16) for x in (left, up, corner))
    to_left, to_up = b - c, a - c
    to_corner = np.abs(to_left + to_up)
    np.abs(to_left, out=to_left)
    np.abs(to_up, out=to_up)
    prediction = np.where((to_left <= to_up) & (to_left <= to_corner), left, np.where(to_up <= to_corner, up, corner))
    out: NDArray[np.uint8] = block - prediction
    return out
