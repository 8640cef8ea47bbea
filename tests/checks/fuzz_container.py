# SPDX-License-Identifier: Apache-2.0
"""Mutated files into the parser of the container, fast: tens of thousands a second.

    PYTHONPATH=tests/support:tests python tests/checks/fuzz_container.py [--executions 2000000] [--seed 1]

Golden streams and what has been accepted so far are edited; then most get true lengths and nearly all a true CRC, so that the inside
is reached. Each ends in a FormatError, or is taken and packs to the same bytes again; the decoder that was written from the page alone
takes the same files, with the same fields, alpha included. Prints how many ended in which way; an input that breaks this is printed whole.
"""

from __future__ import annotations

import argparse
import re
import struct
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
from builders import with_crc
from independent import rules, stream_file

from jahp_fast import _native
from jahp_fast.errors import FormatError
from jahp_fast.files import container
from jahp_fast.files.alpha import pack_alpha, unpack_alpha

GOLDEN = Path(__file__).parents[1] / "golden"
LONGEST = 700  # bytes of a seed, for the rate's sake
KEPT = 256  # accepted mutants that are mutated on
MAX_PIXELS = 1 << 13  # the second decoder takes its time for alpha
FIELDS = ((0, 4), (4, 1), (5, 1), (6, 1), (7, 1), (8, 8), (16, 4), (20, 4), (24, 2), (26, 2), (28, 4), (32, 4), (36, 4), (40, 4))
EDGES = (0, 1, 2, 3, 6, 7, 8, 16, 19, 20, 160, 161, 255, 16384, 65535, 1 << 24, (1 << 24) + 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
TYPES = (b"ALPH", b"LAYR", b"VALS", b"deep", b"iccp", b"exif", b"xmp_", b"anci", b"Crit", b"a1bc", b"\xff\xff\xff\xff", b"____", b"ZZZZ")


def seeds() -> list[bytes]:
    """Golden streams that are short, and others with every kind of chunk."""
    out = [data for path in sorted([*GOLDEN.glob("*.jahp"), *GOLDEN.glob("layers/*.jahp")]) if len(data := path.read_bytes()) <= LONGEST]
    chunks = {b"iccp": b"profile", b"exif": b"", b"xmp_": b"<x/>", b"anci": b"?"}
    small = container.Stream(3, 2, "L", 4.0, bytes(8), 2, 0, 0, bytes(20), chunks)
    alpha = replace(small, chunks={b"ALPH": pack_alpha(np.arange(6, dtype=np.uint8).reshape(2, 3))})
    return [*out, container.pack(small), container.pack(replace(small, chunks={})), *[container.pack(alpha)] * 6]


def edit(data: bytearray, random: Random, other: bytes) -> None:
    at = random.randrange(len(data) + 1)
    match random.randrange(9):
        case 0 | 1:
            offset, size = random.choice(FIELDS)
            value = random.choice(EDGES) if random.random() < 0.6 else random.getrandbits(8 * size)
            data[offset : offset + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        case 2 | 3:
            for at_bit in random.choices(range(8 * max(1, len(data))), k=random.randint(1, 3)):
                if at_bit // 8 < len(data):
                    data[at_bit // 8] ^= 1 << at_bit % 8
        case 4:
            data[at:at] = random.randbytes(random.randint(1, 9))
        case 5:
            del data[at : at + random.choice((1, 2, 8, 1000))]
        case 6:
            data[at:] = other[at:]
        case _:
            body = random.randbytes(random.randint(0, 9))
            length = len(body) if random.random() < 0.8 else random.choice(EDGES)
            data += random.choice(TYPES) + struct.pack("<I", length & 0xFFFFFFFF) + body


def mutant(random: Random, corpus: list[bytes]) -> bytes:
    data = bytearray(random.choice(corpus))
    payload_bytes = int.from_bytes(data[28:32], "little")
    for _ in range(random.randint(1, 4)):
        edit(data, random, random.choice(corpus))
    if len(data) < container.HEADER_BYTES:
        return bytes(data)
    if random.random() < 0.85:
        rest = len(data) - container.HEADER_BYTES
        payload_bytes = min(payload_bytes, rest) if random.random() < 0.9 else random.randint(0, rest)
        struct.pack_into("<II", data, 28, payload_bytes, rest - payload_bytes)
    return with_crc(bytes(data)) if random.random() < 0.95 else bytes(data)


class Broken(Exception):
    """A promise that is."""


def require(holds: bool, promise: str) -> None:
    if not holds:
        raise Broken(promise)


def alpha_of(stream: container.Stream) -> bytes | None:
    packed = stream.chunks.get(b"ALPH")
    return None if packed is None else unpack_alpha(packed, stream.height, stream.width).tobytes()


def outcome(data: bytes) -> str:
    """What became of a file: "accepted", or the error's words without numbers. Raises Broken."""
    try:
        second = stream_file.parse(data, MAX_PIXELS)
    except rules.Refused:
        second = None
    try:
        stream = container.unpack(data, MAX_PIXELS)
        require(container.pack(stream) == data, "packs to other bytes")
        alpha = alpha_of(stream)
    except FormatError as error:
        require(second is None, f"the second decoder takes it, this one does not: {error}")
        return re.sub(r"(['\"]).*\1|\d+", "#", str(error))
    if second is None:
        raise Broken("the second decoder does not take it")
    mine = (container._MODES.index(stream.mode), stream.lanes, stream.skip, stream.model, stream.width, stream.height,
            container.quality_code(stream.quality), stream.checksum, stream.payload, dict(stream.chunks), alpha)  # fmt: skip
    theirs = (second.mode, second.lanes, second.skip, second.model, second.width, second.height, second.quality, second.checksum,
              second.payload, second.chunks, second.alpha)  # fmt: skip
    require(mine == theirs, f"{mine} is not {theirs}")
    return "accepted"


def run(executions: int, seed: int = 1) -> Counter[str]:
    """How many inputs ended in which way. The second decoder's CRC, in Python, has tests of its own; here it would take
    nearly all of the time, so that the core's stands in for it.
    """
    outcomes: Counter[str] = Counter()
    good = seeds()
    random = Random(seed)
    kept: list[bytes] = []
    slow, stream_file.crc32c = stream_file.crc32c, _native.crc32c
    try:
        for number in range(executions):
            data = mutant(random, kept if kept and random.random() < 0.3 else good)
            try:
                ended = outcome(data)
            except Broken as error:
                raise Broken(f"seed {seed}, input {number}, {data.hex()}: {error}") from error
            outcomes[ended] += 1
            if ended == "accepted" and len(data) <= LONGEST:
                if len(kept) < KEPT:
                    kept.append(data)
                else:
                    kept[random.randrange(KEPT)] = data
    finally:
        stream_file.crc32c = slow
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutated files into the parser of the container.")
    parser.add_argument("--executions", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for ended, count in run(args.executions, args.seed).most_common():
        print(f"{count:9} {ended}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
