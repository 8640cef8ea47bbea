# SPDX-License-Identifier: Apache-2.0
"""The container of docs/reference/format.md: bytes of a .jahp file to its fields. Written from that page alone."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .layers import parse_alpha, parse_layer
from .rules import require

HEADER = struct.Struct("<4sBBBB8sIIHHIIII")


@dataclass(frozen=True)
class StreamFile:
    """Fields of a file that keeps every rule of "Container"; `quality` is 20 times the quality, `alpha` rows of bytes or None."""

    mode: int
    lanes: int
    skip: int
    model: bytes
    width: int
    height: int
    quality: int
    checksum: int
    least: int
    payload: bytes
    chunks: dict[bytes, bytes]
    alpha: bytes | None


def crc32c(data: bytes) -> int:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # noqa: PLW2901
        table.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def parse_chunks(data: bytes) -> dict[bytes, bytes]:
    chunks: dict[bytes, bytes] = {}
    while data:
        require(len(data) >= 8, "a chunk is cut short")
        kind, length = data[:4], int.from_bytes(data[4:8], "little")
        require(all(c == 0x5F or 0x41 <= c <= 0x5A or 0x61 <= c <= 0x7A for c in kind), "a chunk's type is not letters")
        require(len(data) >= 8 + length, "a chunk is cut short")
        require(kind not in chunks, "a chunk is there twice")
        require(kind not in (b"pcrc", b"cicp") or length == 4, "pcrc or cicp does not have 4 bytes")
        require(kind != b"deep" or (length == 1 and 9 <= data[8] <= 16), "deep is not one byte from 9 to 16")
        require(kind in (b"ALPH", b"COPY", b"LAYR", b"VALS") or not 0x41 <= kind[0] <= 0x5A, "a critical chunk is unknown")
        chunks[kind] = data[8 : 8 + length]
        data = data[8 + length :]
    return chunks


def parse(data: bytes, max_pixels: int = 1 << 28) -> StreamFile:
    require(data[:4] == b"JAHP", "not a .jahp file")
    require(len(data) >= HEADER.size, "shorter than the header")
    (_, version, mode, lanes, skip, model, width, height, quality, reserved, payload_bytes, chunk_bytes, checksum, crc) = HEADER.unpack(
        data[: HEADER.size]
    )
    require(version == 1, "unknown version")
    require(len(data) == HEADER.size + payload_bytes + chunk_bytes, "the length is not what the header says")
    require(crc32c(data[:40] + data[44:]) == crc, "the CRC does not match")
    require(mode <= 1 and lanes <= 6 and reserved == 0 and 20 <= quality <= 160, "a field is out of its range")
    require(1 <= width <= 1 << 24 and 1 <= height <= 1 << 24, "a side is out of its range")
    require(width * height <= 16384 * payload_bytes and width * height <= max_pixels, "too many pixels")
    payload = data[HEADER.size : HEADER.size + payload_bytes]
    chunks = parse_chunks(data[HEADER.size + payload_bytes :])
    alpha = parse_alpha(chunks[b"ALPH"], width, height) if b"ALPH" in chunks else None
    least = -(-width * height // 16384)
    stream = StreamFile(mode, 1 << lanes, skip, model, width, height, quality, checksum, least, payload, chunks, alpha)
    parse_layer(stream)
    return stream
