# SPDX-License-Identifier: Apache-2.0
"""Damaged files, and what csrc/tests/jahp_outcomes.c and its like should say of a file: what the package says."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from builders import with_crc
from numpy.typing import NDArray

from jahp_fast import Codec, JahpError, UnknownModel

GOLDEN = Path(__file__).parents[1] / "golden"
MODELS = sorted(GOLDEN.glob("*.safetensors"))
NAMES_OF = {
    "FormatError": "JAHP_FORMAT_ERROR", "ModelError": "JAHP_MODEL_ERROR", "UnknownModel": "JAHP_UNKNOWN_MODEL",
    "UsageError": "JAHP_USAGE_ERROR",
}  # fmt: skip


def said(error: JahpError) -> str:
    return f"{NAMES_OF[type(error).__name__]} {error}"


def sum_of(pixels: NDArray[np.uint8]) -> str:
    """As the program says it of a picture."""
    flat = pixels.reshape(-1).astype(object)
    return f"ok {pixels.shape[1]} {pixels.shape[0]} {pixels[0, 0].size} {int(sum(flat * np.arange(1, flat.size + 1))) % 2**64}"


def decoded(codec: Codec, data: bytes, region: tuple[int, int, int, int] | None = None, scale: int = 1) -> str:
    """What the program should say of a file; of a model that is not there only how it begins."""
    try:
        return sum_of(codec.decode(data, region, scale, np.uint8 if scale == 1 else None))
    except UnknownModel as e:
        return said(e).split(", which")[0]
    except JahpError as e:
        return said(e)


def held_to(said_of: Sequence[str], wanted: Sequence[str]) -> None:
    for at, (one, two) in enumerate(zip(said_of, wanted, strict=True)):
        assert one.split(", which the decoder does not have")[0] == two, (at, one, two)


def small_files() -> list[bytes]:
    """Golden files of less than 3,000 bytes."""
    return [path.read_bytes() for path in sorted(GOLDEN.rglob("*.jahp")) if path.stat().st_size < 3000]


def damaged_files(count: int) -> Iterator[bytes]:
    """Golden files with bits flipped, bytes changed, cut out, put in and cut off; most with a CRC that is true again."""
    rng = np.random.default_rng(7)
    sources = small_files()
    for number in range(count):
        data = bytearray(sources[number % len(sources)])
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(len(data)))
            kind = int(rng.integers(5))
            if kind == 0:
                data[at] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                data[at] = int(rng.integers(256))
            elif kind == 2:
                del data[at : at + int(rng.integers(1, 9))]
            elif kind == 3:
                data[at:at] = rng.bytes(int(rng.integers(1, 9)))
            else:
                at = int(rng.choice([4, 5, 6, 7, 16, 20, 24, 26, 28, 32, 36]))
                data[at] = int(rng.integers(256))
        if number % 4 and len(data) > 44:
            struct.pack_into("<I", data, 28, min(2**32 - 1, max(0, struct.unpack_from("<I", data, 28)[0] % len(data))))
            struct.pack_into("<I", data, 32, max(0, len(data) - 44 - struct.unpack_from("<I", data, 28)[0]))
        yield with_crc(bytes(data)) if number % 8 and len(data) >= 44 else bytes(data)
