# SPDX-License-Identifier: Apache-2.0
"""Makes the streams of `invalid`: files that every decoder refuses, each for one reason. The CRC is right where it is not the reason.

    PYTHONPATH=tests/support python tests/golden/make_invalid.py

invalid.json holds, of each, the golden model that it names, the rule of docs/reference/format.md that it breaks, and
the words with which the backends `native` and `reference` refuse it. What stands there already is never written again.
Nothing but the one rule is broken where that can be: with the check off, such a file decodes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from builders import with_crc

from jahp_fast import Codec, JahpError
from jahp_fast.entropy import copies, reference
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.files import container
from jahp_fast.pipelines.entropy_path import layout_of

HERE = Path(__file__).parent
FOLDER = HERE / "invalid"
Ints = np.ndarray


class Source:
    """A golden stream, opened: `data`, `stream`, its model, layout and latents, and the file of other latents."""

    def __init__(self, name: str) -> None:
        self.data = (HERE / f"{name}.jahp").read_bytes()
        self.stream = container.unpack(self.data)
        self.model_name = json.loads((HERE / "golden.json").read_text())[name]["model"]
        file = ModelFile(HERE / f"{self.model_name}.safetensors")
        self.model, self.layout = reference.ReferenceModel(file), layout_of(self.stream, file)
        self.z, self.y = reference.decode(self.model, self.stream.payload, self.layout)

    def with_payload(self, payload: bytes, **fields: Any) -> bytes:
        return container.pack(replace(self.stream, payload=payload, **fields))

    def encoded(self, z: Ints, y: Ints, layout: StreamLayout | None = None, **fields: Any) -> bytes:
        layout = layout or self.layout
        payload, seen, _ = reference.encode(self.model, z, y, layout)
        checksum = reference.symbol_checksum(z, seen)
        return self.with_payload(payload, checksum=checksum, skip=layout.skip, lanes=layout.lanes, **fields)

    def parameters(self) -> tuple[Ints, Ints, Ints]:
        """Row, mean and scale index of each symbol of y, (h, w, M)."""
        found = [np.zeros(self.y.shape, np.int64) for _ in range(3)]
        steps = reference._Steps(self.model, self.z.astype(np.int64), self.layout)
        for positions, *columns in steps:
            for p, position in enumerate(positions):
                for array, column in zip(found, columns, strict=True):
                    array[position] = column[p]
                steps.reveal(position, self.y[position].astype(np.int64))
        return found[0], found[1], found[2]


@contextmanager
def without_bounds() -> Iterator[None]:
    """The reference encoder without its bound on symbols."""
    with mock.patch.object(reference, "MAX_SYMBOL", 1 << 24):
        yield


def byte(at: int, value: int) -> Callable[[Source], bytes]:
    return lambda s: with_crc(s.data[:at] + bytes([value]) + s.data[at + 1 :])


def needless_escape(s: Source) -> bytes:
    put = reference.RangeEncoder.put
    needless = iter([True])

    def escaping(self: reference.RangeEncoder, channel: int, row: reference.TableRow, value: int, shift: int = 0) -> None:
        if not row.low <= value - shift < row.low + row.size or not next(needless, False):
            put(self, channel, row, value, shift)
            return
        self._escapes.append(value)
        self._symbols.append((channel, row.ends[-2], row.ends[-1] - row.ends[-2]))

    with mock.patch.object(reference.RangeEncoder, "put", escaping):
        return s.encoded(s.z, s.y)


def final_state(s: Source) -> bytes:
    with mock.patch.object(reference, "LANE_START", (1 << 16) + 1):
        return s.encoded(s.z, s.y)


def state_too_low(s: Source) -> bytes:
    at = 4 + 2 * int.from_bytes(s.stream.payload[:4], "little")
    return s.with_payload(s.stream.payload[:at] + struct.pack("<I", 65535) + s.stream.payload[at + 4 :])


def escapes_left(s: Source) -> bytes:
    count = int.from_bytes(s.stream.payload[:4], "little")
    at = 4 + 2 * count
    return s.with_payload(struct.pack("<I", count + 1) + s.stream.payload[4:at] + struct.pack("<h", 300) + s.stream.payload[at:])


def escapes_missing(s: Source) -> bytes:
    count = int.from_bytes(s.stream.payload[:4], "little")
    at = 4 + 2 * count
    return s.with_payload(struct.pack("<I", count - 1) + s.stream.payload[4 : at - 2] + s.stream.payload[at:])


def more_escapes_than_symbols(s: Source) -> bytes:
    count = s.z.size + s.y.size + 1
    return s.with_payload(struct.pack("<I", count) + bytes(2 * count) + s.stream.payload[4:])


def escapes_beyond_payload(s: Source) -> bytes:
    return s.with_payload(struct.pack("<I", 8) + s.stream.payload[4:20])


def minus_32768(s: Source) -> bytes:
    y = s.y.copy()
    y[0, 0, 0] = -32768
    with without_bounds():
        return s.encoded(s.z, y)


def coded_beyond(s: Source) -> bytes:
    """A symbol of the table's first entry, whose mean's whole part takes it beyond 32767."""
    row, mean, _ = s.parameters()
    y, bits = s.y.copy(), s.model.config.mean_bits
    lows = np.array([r.low for r in s.model.rows])
    at = tuple(np.argwhere(np.abs((mean >> bits) + lows[row]) > 32767 + 100)[-1])
    y[at] = (mean[at] >> bits) + lows[row[at]]
    with without_bounds():
        return s.encoded(s.z, y)


def skipped_beyond(s: Source) -> bytes:
    with without_bounds():
        return s.encoded(s.z, s.y, replace(s.layout, skip=255))


def latent_beyond_in_form_b(s: Source) -> bytes:
    _, mean, _ = s.parameters()
    y, bits = s.y.copy(), s.model.config.mean_bits
    at = tuple(np.argwhere(mean > 0)[-1])
    y[at] = (32767 << bits) + mean[at]
    with without_bounds():
        return s.encoded(s.z, y)


def too_many_pixels(s: Source) -> bytes:
    return s.encoded(s.z, s.y, replace(s.layout, min_bytes=0))


def kinds_changed(change: Callable[[np.ndarray, np.ndarray], None]) -> Callable[[Source], bytes]:
    """The file with other kinds in its map of copied positions, of z and of y, its symbols still in order."""

    def make(s: Source) -> bytes:
        kinds = [k.copy() for k in copies.maps(s.layout.copies, s.z, s.y)]
        change(*kinds)
        maps = b"".join(k.tobytes() for k in kinds)
        z = s.z.astype(np.int64)
        with mock.patch.object(copies, "apply", lenient_apply):
            for position in np.ndindex(kinds[0].shape):
                copies.apply(kinds[0], position, z)
            payload, seen, _ = reference.encode(s.model, z.astype(np.int32), s.y, replace(s.layout, copies=maps))
        chunks = {**s.stream.chunks, container.COPIES: copies.pack(maps)}
        return s.with_payload(payload, checksum=reference.symbol_checksum(z.astype(np.int32), seen), chunks=chunks)

    return make


def lenient_apply(kinds: np.ndarray, position: tuple[int, int], latents: np.ndarray) -> bool:
    """copies.apply that knows no bounds: outside of the map there are zeros."""
    row, column = position
    kind = kinds[position]
    if kind:
        outside = (column if kind == 1 else row) == 0
        latents[position] = 0 if outside else latents[row, column - 1] if kind == 1 else latents[row - 1, column]
    return bool(kind)


def kind_of(plane: int, at: tuple[int, int], value: int) -> Callable[[Source], bytes]:
    def change(*kinds: np.ndarray) -> None:
        kinds[plane][at] = value

    return kinds_changed(change)


def long_number(data: bytes) -> bytes:
    """The same numbers, the first with zeros in front."""
    return bytes([data[0] | 128]) + b"\x80" * 4 + b"\0" + data[1:]


def with_copies(change: Callable[[bytes], bytes]) -> Callable[[Source], bytes]:
    """The file with other data in its map of copied positions."""
    return lambda s: container.pack(replace(s.stream, chunks={container.COPIES: change(s.stream.chunks[container.COPIES])}))


CASES: dict[str, tuple[str, str, Callable[[Source], bytes]]] = {
    "magic": ("grey", "the magic", lambda s: with_crc(b"JAHQ" + s.data[4:])),
    "version": ("grey", "the version is 1", byte(4, 2)),
    "short": ("grey", "a file has a header of 44 bytes", lambda s: s.data[:43]),
    "bytes-missing": ("grey", "the length is what the header says", lambda s: s.data[:-1]),
    "bytes-behind": ("grey", "the length is what the header says", lambda s: s.data + b"\0"),
    "crc": ("grey", "the CRC", lambda s: s.data[:40] + bytes([s.data[40] ^ 1]) + s.data[41:]),
    "mode": ("grey", "mode is 0 or 1", byte(5, 2)),
    "lanes": ("grey", "lanes are 0 to 6", byte(6, 7)),
    "reserved-low": ("grey", "reserved is 0", byte(26, 1)),
    "reserved-high": ("grey", "reserved is 0", byte(27, 128)),
    "quality-low": ("grey", "quality is 20 to 160", byte(24, 19)),
    "quality-high": ("grey", "quality is 20 to 160", byte(24, 161)),
    "quality-below-model": ("ties", "quality lies in the range of its model", lambda s: container.pack(replace(s.stream, quality=1.95))),
    "quality-above-model": ("ties", "quality lies in the range of its model", lambda s: container.pack(replace(s.stream, quality=6.55))),
    "no-width": ("grey", "a side is at least 1", lambda s: with_crc(s.data[:16] + bytes(4) + s.data[20:])),
    "wide": ("padded", "a side is at most 2^24", lambda s: with_crc(s.data[:16] + struct.pack("<II", (1 << 24) + 1, 1) + s.data[24:])),
    "pixels-a-byte": ("padded", "at most 16,384 pixels a byte of payload", too_many_pixels),
    "critical-chunk": ("metadata", "an unknown critical chunk", lambda s: with_crc(s.data.replace(b"anci", b"Anci"))),
    "chunk-twice": ("metadata", "no type twice", lambda s: with_crc(s.data.replace(b"anci", b"exif"))),
    "chunk-type": ("metadata", "types are letters and underscores", lambda s: with_crc(s.data.replace(b"anci", b"anc1"))),
    "chunk-cut": ("metadata", "chunks fill the file", lambda s: with_crc(s.data.replace(b"anci\r", b"anci\x0e"))),
    "short-payload": ("lanes-64", "the payload holds E and the states", lambda s: s.with_payload(s.stream.payload[:259])),
    "escapes-of-no-symbols": ("grey", "E is at most the number of symbols", more_escapes_than_symbols),
    "escapes-beyond-payload": ("grey", "the payload holds the escapes", escapes_beyond_payload),
    "state-too-low": ("large", "states are at least 2^16", state_too_low),
    "words-missing": ("large", "words do not end early", lambda s: s.with_payload(s.stream.payload[:-2])),
    "escapes-missing": ("large", "escapes do not end early", escapes_missing),
    "needless-escape": ("large", "no escape of what its row could have coded", needless_escape),
    "escapes-left": ("large", "every escape is used", escapes_left),
    "words-left": ("large", "no byte is left behind the last word", lambda s: s.with_payload(s.stream.payload + b"\1\1")),
    "final-state": ("large", "states end at 2^16", final_state),
    "padding-not-zero": ("padded", "padding is 0", lambda s: s.with_payload(s.stream.payload[:-1] + b"\1")),
    "padding-not-allowed": ("padded", "padding only up to the least payload", lambda s: s.with_payload(s.stream.payload + b"\0")),
    "checksum": ("large", "the checksum of the symbols", lambda s: with_crc(s.data[:36] + bytes([s.data[36] ^ 1]) + s.data[37:])),
    "minus-32768": ("large", "symbols are at least -32767", minus_32768),
    "coded-beyond": ("edge", "symbols are within 32767", coded_beyond),
    "skipped-beyond": ("edge", "skipped symbols are within 32767", skipped_beyond),
    "copy-short": ("copies", "a kind for every position", with_copies(lambda data: data[:-1])),
    "copy-long": ("copies", "a kind for every position, no more", with_copies(lambda data: data + b"\0")),
    "copy-cut": ("copies", "numbers in COPY end", with_copies(lambda data: data + b"\x80")),
    "copy-number": (
        "copies",
        "numbers in COPY have 5 bytes at most",
        with_copies(lambda data: bytes([data[0] | 128]) + b"\x80" * 4 + b"\0" + data[1:]),
    ),
    "copy-left-of-nothing": ("copies", "no copy from the left of the first column", kind_of(1, (3, 0), 1)),
    "copy-above-nothing": ("copies", "no copy from above the first row", kind_of(1, (0, 5), 2)),
    "latent-beyond-in-form-b": ("fraction-b", "Y is within 32767 times 2^B", latent_beyond_in_form_b),
}
"""name -> the golden stream that it is made of, the rule that it breaks, how."""


def words(backend: str, data: bytes) -> str:
    """With which a backend refuses the file."""
    codec = Codec("mbt2018-A-a8-p15", backend=backend, threads=1, models=sorted(HERE.glob("*.safetensors")))
    try:
        codec.decode_latents(data)
    except JahpError as e:
        return str(e)
    raise ValueError("it was not refused")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / "invalid.json"
    entries = json.loads(path.read_text()) if path.exists() else {}
    known = len(entries)
    for name, (source, rule, make) in CASES.items():
        if name not in entries:
            opened = Source(source)
            data = make(opened)
            said = {backend: words(backend, data) for backend in ("native", "reference")}
            (FOLDER / f"{name}.jahp").write_bytes(data)
            entries[name] = {"model": opened.model_name, "rule": rule, "error": "FormatError", **said}
    path.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n")
    print(f"{len(entries)} streams, {len(entries) - known} of them new")


if __name__ == "__main__":
    main()
