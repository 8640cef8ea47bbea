# SPDX-License-Identifier: Apache-2.0
"""The .jahp container: header, payload, metadata chunks, checksums (docs/reference/format.md, "Container").

    offset  size  field
         0     4  magic "JAHP"
         4     1  version, 1
         5     1  mode: 0 RGB, 1 grey
         6     1  log2 of the lanes, 0 to 6
         7     1  skip threshold, 0: none
         8     8  model id
        16     4  width
        20     4  height
        24     2  quality * 20
        26     2  0
        28     4  payload bytes
        32     4  chunk bytes
        36     4  checksum of the decoded symbols
        40     4  CRC-32C of every byte of the file but these four
        44        payload, then chunks: type (4 ASCII letters), u32 length, data

All integers are little-endian. A chunk whose type starts with a capital letter is critical: a decoder that does not know it refuses.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from jahp_fast import _native
from jahp_fast.arguments import file_bytes
from jahp_fast.constants import QUALITY_STEPS, layer_quality
from jahp_fast.errors import FormatError
from jahp_fast.files.deep import ALPHA_REST, DEEP, DEPTHS
from jahp_fast.files.deep_layers import VALUES, layer_bits
from jahp_fast.files.layers import LAYER, Layer

MAGIC = b"JAHP"
VERSION = 1
HEADER_BYTES = 44
PIXELS_PER_BYTE = 16384
"""A stream may claim at most so many pixels a payload byte: decoders can bound their memory by the file's length."""
MAX_SIDE = 1 << 24
"""Pixels a side."""
CICP = b"cicp"
"""What the samples mean, by the four numbers of ITU-T H.273."""
METADATA_CHUNKS = {b"iccp": "icc_profile", b"exif": "exif", b"xmp_": "xmp", CICP: "cicp"}
"""By type, what it is called in the `info` of Pillow's images."""
PIXEL_CHECKSUM = b"pcrc"
COPIES = b"COPY"
"""Which positions of the latents are copied from a neighbour (entropy.copies)."""
NO_MODEL = bytes(8)
"""The model of a file of exact pixels."""
KNOWN_CHUNKS = {b"ALPH", COPIES, LAYER, VALUES, PIXEL_CHECKSUM, DEEP, ALPHA_REST, *METADATA_CHUNKS}
_LENGTHS = {PIXEL_CHECKSUM: 4, DEEP: 1, CICP: 4}
_HEADER = struct.Struct("<4sBBBB8sIIHHIIII")
_MODES: tuple[Literal["RGB", "L"], ...] = ("RGB", "L")
assert _HEADER.size == HEADER_BYTES


@dataclass(frozen=True)
class Stream:
    """A parsed .jahp file.

    Attributes:
        mode: "RGB" or "L" (grey).
        model: the 8-byte model id.
        chunks: type -> data, in file order.
    """

    width: int
    height: int
    mode: Literal["RGB", "L"]
    quality: float
    model: bytes
    lanes: int
    skip: int
    checksum: int
    payload: bytes
    chunks: Mapping[bytes, bytes] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    @property
    def depth(self) -> int:
        """Bits of a sample that the file was made of, 8 to 16."""
        return self.chunks[DEEP][0] if DEEP in self.chunks else 8

    @property
    def layer(self) -> Layer | None:
        """What stands over the pixels of the payload, or in their place; parsed at each call. `unpack` has seen that it is sound."""
        if LAYER not in self.chunks:
            return None
        return Layer.parsed(self.chunks[LAYER], self.height, bits=layer_bits(self.chunks.get(VALUES), self.depth))

    @property
    def asked_quality(self) -> float | None:
        """The quality that the encoder was asked for: with a layer another one than the payload's, and None for exact pixels."""
        layer = self.layer
        if layer is None or layer.kind == "overlay":
            return self.quality
        return None if layer.exact else layer_quality(layer.step)

    @property
    def exact(self) -> Layer | None:
        """The layer, if it holds the pixels by itself: then there are no latents, and no model is named."""
        layer = self.layer
        return layer if layer is not None and layer.exact else None


def min_payload_bytes(width: int, height: int) -> int:
    """The least payload of an image of that size; the encoder pads with zeros up to it."""
    return -(-width * height // PIXELS_PER_BYTE)


def quality_code(quality: float) -> int:
    """Quality in steps of 0.05, rounded to the nearest."""
    return round(quality * QUALITY_STEPS)


def pack(stream: Stream) -> bytes:
    """The file of a stream."""
    chunks = b"".join(struct.pack("<4sI", kind, len(data)) + data for kind, data in stream.chunks.items())
    header = _HEADER.pack(
        MAGIC, VERSION, _MODES.index(stream.mode), stream.lanes.bit_length() - 1, stream.skip, stream.model, stream.width, stream.height,
        quality_code(stream.quality), 0, len(stream.payload), len(chunks), stream.checksum, 0,
    )  # fmt: skip
    body = stream.payload + chunks
    crc = _native.crc32c(body, _native.crc32c(header[:-4]))
    return header[:-4] + struct.pack("<I", crc) + body


def unpack(data: bytes | bytearray | memoryview, max_pixels: int | None = None) -> Stream:
    """Parses and checks a file. Nothing larger than the file is allocated.

    Args:
        max_pixels: more are refused.

    Raises:
        FormatError: with what is wrong: magic, version, a field out of range, lengths that do not add up, a CRC that does not match, an
            unknown critical chunk, a layer that cannot be, more pixels than the payload's length allows.
        UsageError: `data` are no bytes, but a path or a file.
    """
    data = file_bytes(data)
    if data[:4] != MAGIC:
        raise FormatError("not a .jahp file: it does not start with 'JAHP'")
    if len(data) < HEADER_BYTES:
        raise FormatError(f"file of {len(data)} bytes is shorter than a header")
    fields = _HEADER.unpack_from(data)
    _, version, mode, log_lanes, skip, model, width, height, quality, reserved, payload_bytes, chunk_bytes, checksum, crc = fields
    if version != VERSION:
        raise FormatError(f"version {version} is unknown; this release reads version {VERSION}")
    if HEADER_BYTES + payload_bytes + chunk_bytes != len(data):
        raise FormatError(f"file has {len(data)} bytes, but its header speaks of {HEADER_BYTES + payload_bytes + chunk_bytes}")
    if _native.crc32c(data[HEADER_BYTES:], _native.crc32c(data[: HEADER_BYTES - 4])) != crc:
        raise FormatError("CRC-32C does not match: the file is damaged")
    if mode >= len(_MODES):
        raise FormatError(f"image mode {mode} is unknown")
    if log_lanes > 6:
        raise FormatError(f"2^{log_lanes} lanes are too many")
    if reserved != 0:
        raise FormatError("a reserved field is not zero")
    if not QUALITY_STEPS <= quality <= 8 * QUALITY_STEPS:
        raise FormatError(f"quality code {quality} is not in {QUALITY_STEPS}..{8 * QUALITY_STEPS}")
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise FormatError(f"image of {width} x {height} pixels: sides must be 1 to {MAX_SIDE}")
    if width * height > PIXELS_PER_BYTE * payload_bytes:
        raise FormatError(f"{width} x {height} pixels are too many for {payload_bytes} bytes of payload")
    if max_pixels is not None and width * height > max_pixels:
        raise FormatError(f"{width} x {height} pixels are more than max_pixels = {max_pixels}")
    body = HEADER_BYTES + payload_bytes
    chunks = _parse_chunks(data[body:])
    stream = Stream(
        width,
        height,
        _MODES[mode],
        quality / QUALITY_STEPS,
        model,
        1 << log_lanes,
        skip,
        checksum,
        data[HEADER_BYTES:body],
        chunks,
    )
    if DEEP in chunks and stream.depth not in DEPTHS:
        raise FormatError(f"samples of {stream.depth} bits: chunk 'deep' has {DEPTHS[0]} to {DEPTHS[-1]}")
    if VALUES in chunks and DEEP not in chunks:
        raise FormatError("chunk 'VALS' is there, and chunk 'deep' is not")
    exact = stream.exact
    if VALUES in chunks and (exact is None or exact.bound):
        raise FormatError("chunk 'VALS' is there, and no pixels without any error are")
    blank = model == NO_MODEL and stream.payload == bytes(min_payload_bytes(width, height)) and COPIES not in chunks
    if exact and not blank:
        raise FormatError("a file of exact pixels names a model or has latents, and should have zeros there")
    return stream


def of_exact(size: tuple[int, int], mode: Literal["RGB", "L"], chunks: Mapping[bytes, bytes]) -> Stream:
    """The stream of a layer of exact pixels, which is among `chunks`."""
    return Stream(*size, mode, 1.0, NO_MODEL, 1, 0, 0, bytes(min_payload_bytes(*size)), chunks)


def _parse_chunks(data: bytes) -> dict[bytes, bytes]:
    chunks: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise FormatError("a chunk header is cut short")
        kind, length = struct.unpack_from("<4sI", data, at)
        name = kind.decode("ascii", "backslashreplace")
        if not all(65 <= b <= 90 or 97 <= b <= 122 or b == 95 for b in kind):
            raise FormatError(f"chunk type {name!r} is not made of letters")
        if length > len(data) - at - 8:
            raise FormatError(f"chunk {name!r} claims {length} bytes, more than there are")
        if kind in chunks:
            raise FormatError(f"chunk {name!r} is there twice")
        if kind not in KNOWN_CHUNKS and kind[:1].isupper():
            raise FormatError(f"critical chunk {name!r} is unknown to this release")
        if kind in _LENGTHS and length != _LENGTHS[kind]:
            raise FormatError(f"chunk {name!r} has {length} bytes, not {_LENGTHS[kind]}")
        chunks[kind] = data[at + 8 : at + 8 + length]
        at += 8 + length
    return chunks
