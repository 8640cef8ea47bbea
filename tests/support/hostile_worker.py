# SPDX-License-Identifier: Apache-2.0
"""Decodes mutated streams in a process of its own, so that a crash or a hang is seen as one (see test_hostile.py).

    python hostile_worker.py MODELS_DIR SEED START STOP PROGRESS_FILE

Mutant i of a seed is the same on every run. Prints one JSON object: what came of the mutants and every broken promise. The index
in work stands in PROGRESS_FILE; a decode that takes over 5 s ends the process with a traceback.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import resource
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from builders import SHIPPED, photo, random_latents, with_crc

from jahp_fast import Codec, JahpError, _native
from jahp_fast.backends.native import NativeBackend
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.files import container

SECONDS = 5
MEGABYTES = 200
HEADER = struct.Struct("<4sBBBB8sIIHHIIII")
FIELDS = ("magic", "version", "mode", "log_lanes", "skip", "model", "width", "height", "quality", "reserved", "payload_bytes",
          "chunk_bytes", "checksum", "crc")  # fmt: skip
LIES = {
    "version": (0, 2, 3, 255), "mode": (0, 1, 2, 255), "log_lanes": (0, 1, 2, 3, 4, 5, 6, 7, 255), "skip": (0, 1, 2, 3, 63, 255),
    "width": (0, 1, 15, 16, 17, 63, 64, 65, 128, 1000, 65535, 2**20, 2**31, 2**32 - 1),
    "height": (0, 1, 15, 16, 17, 63, 64, 65, 128, 1000, 65535, 2**20, 2**31, 2**32 - 1),
    "quality": (0, 19, 20, 21, 80, 159, 160, 161, 65535), "reserved": (1, 65535),
    "payload_bytes": (0, 1, 7, 8, 100, 2**31, 2**32 - 1), "chunk_bytes": (0, 1, 8, 100, 2**31, 2**32 - 1),
    "checksum": (0, 1, 2**32 - 1),
}  # fmt: skip
KINDS = (
    "truncated", "flipped", "extended", "spliced", "garbage", "crc field", "crc field", "crc field", "crc size", "crc payload",
    "crc payload", "crc truncated", "crc counts", "crc states", "crc chunks", "crc spliced", "crc filled", "all latents",
)  # fmt: skip


@dataclass
class Valid:
    """A good stream and what it decodes to."""

    data: bytes
    pixels: np.ndarray
    latents: bytes  # of z and y together
    model: ModelFile


class Parts:
    """A stream taken apart, to be put together with lies in it."""

    def __init__(self, data: bytes) -> None:
        self.fields = dict(zip(FIELDS, HEADER.unpack_from(data), strict=True))
        end = 44 + self.fields["payload_bytes"]
        self.payload, self.chunks = bytearray(data[44:end]), bytearray(data[end:])

    def join(self, honest_lengths: bool = True) -> bytes:
        if honest_lengths:
            self.fields |= {"payload_bytes": len(self.payload), "chunk_bytes": len(self.chunks)}
        return with_crc(HEADER.pack(*self.fields.values()) + self.payload + self.chunks)


def flatten(latents):
    return (b"" if latents.z is None else latents.z.tobytes()) + latents.y.tobytes()


def skipping(valid: Valid, codec: Codec) -> bytes:
    """The stream's latents once more, with skipped symbols and 64 lanes."""
    s = container.unpack(valid.data)
    latents = codec.decode_latents(valid.data)
    z, y = (np.ascontiguousarray(a.transpose(1, 2, 0)) for a in (latents.z, latents.y))
    payload, seen, lanes, _ = NativeBackend(valid.model).encode(z, y, StreamLayout(*y.shape[:2], 64, 40), 1)
    checksum = _native.symbol_checksum(z, seen)
    return container.pack(container.Stream(s.width, s.height, s.mode, s.quality, s.model, lanes, 40, checksum, payload, s.chunks))


def valid_streams(folder: Path) -> tuple[Codec, Codec, list[Valid]]:
    from PIL import Image

    tiny = {p.stem: p for p in sorted(folder.glob("tiny*.safetensors"))}
    models = [*tiny.values(), SHIPPED]
    codec, slow = (Codec("tiny", 4, backend=b, threads=1, models=models) for b in ("native", "reference"))
    crop = photo()[200:296, 300:428]
    alpha = np.random.default_rng(0).integers(0, 4, (40, 33, 1), dtype=np.uint8) * 80
    rich = Image.fromarray(np.dstack([crop[:40, :33], alpha]))
    rich.info |= {"icc_profile": bytes(range(64)), "xmp": b"<x:xmpmeta/>"}
    shots = [
        ("tiny", 1, crop[:37, :50]), ("tiny", 8, crop[:64, :48]), ("tiny", 4, rich), ("tiny", 4, crop[:33, :70, 1]),
        ("tiny", 3, crop[:1, :1]), ("tiny-b16", 6, crop[:50, :64]), ("tiny-b16", 4, rich), ("tiny-mean", 5, crop[:50, :64]),
        ("tiny-factorized", 5, crop[:50, :64]), ("mbt2018", 4, crop[:64, :64]), ("mbt2018", 8, rich),
    ]  # fmt: skip
    streams = [(Codec(name, q, threads=1, models=models, drawings=False).encode(image), name) for name, q, image in shots]
    files = {name: ModelFile(path) for name, path in (*tiny.items(), ("mbt2018", SHIPPED))}
    valid = [Valid(d, codec.decode(d), flatten(codec.decode_latents(d)), files[name]) for d, name in streams]
    for i in (1, 5):
        data = skipping(valid[i], codec)
        valid.append(Valid(data, codec.decode(data), flatten(codec.decode_latents(data)), valid[i].model))
    for v in valid:
        assert flatten(slow.decode_latents(v.data)) == v.latents
    return codec, slow, valid


def flip(rng, data: bytearray, most: int = 8) -> None:
    for _ in range(int(rng.integers(1, most + 1)) if data else 0):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))


def mutate(rng, valid: list[Valid]) -> tuple[str, Valid, bytes]:
    """A kind, the stream it was made from and the mutant. Kinds that begin with "crc" have their CRC repaired, kinds that begin
    with "all" are whole again, symbol checksum and all: only those may decode to other latents."""
    v = valid[int(rng.integers(len(valid)))]
    data = bytearray(v.data)
    kind = KINDS[int(rng.integers(len(KINDS)))]
    p = Parts(v.data)
    if kind == "truncated":
        return kind, v, bytes(data[: int(rng.integers(len(data)))])
    if kind == "flipped":
        flip(rng, data)
        return kind, v, bytes(data)
    if kind == "extended":
        at, n = int(rng.integers(len(data) + 1)), int(rng.integers(1, 40))
        return kind, v, bytes(data[:at] + rng.bytes(n) + data[at:])
    if kind == "spliced":
        other = valid[int(rng.integers(len(valid)))].data
        at = int(rng.integers(28, min(len(data), len(other))))  # behind what tells the streams apart
        return kind, v, bytes(data[:at]) + other[at:]
    if kind == "garbage":
        return kind, v, (b"JAHP\x01" if rng.random() < 0.7 else b"") + rng.bytes(int(rng.integers(200)))
    if kind == "crc field":
        names = [n for n in LIES if n in p.fields]
        for name in rng.choice(names, int(rng.integers(1, 3)), replace=False).tolist():
            p.fields[name] = LIES[name][int(rng.integers(len(LIES[name])))]
        if rng.random() < 0.1:
            p.fields["model"] = valid[int(rng.integers(len(valid)))].model.id if rng.random() < 0.5 else rng.bytes(8)
        return kind, v, p.join(honest_lengths=False)
    if kind == "crc size":  # as many pixels as the payload lets one claim, or any number below
        most = container.PIXELS_PER_BYTE * len(p.payload)
        width = int(2 ** rng.uniform(0, np.log2(most)))
        p.fields |= {"width": width, "height": max(1, int(most // width * rng.choice([1.0, 0.5, rng.random()])))}
    elif kind == "crc payload":
        flip(rng, p.payload)
    elif kind == "crc truncated":
        p.payload = p.payload[: int(rng.integers(len(p.payload)))] + (rng.bytes(int(rng.integers(4))) if rng.random() < 0.3 else b"")
    elif kind == "crc counts":
        count = int(rng.choice([1, 2, 3, 100, 65536, 2**31, 2**32 - 1, int(rng.integers(2**32))]))
        p.payload[:4] = struct.pack("<I", count)
    elif kind == "crc states":
        at = 4 + 4 * int(rng.integers(max(1, (len(p.payload) - 8) // 4)))
        p.payload[at : at + 4] = struct.pack("<I", int(rng.choice([0, 1, 65535, 65536, 2**32 - 1, int(rng.integers(2**32))])))
    elif kind == "crc chunks":
        if p.chunks and rng.random() < 0.7:
            flip(rng, p.chunks, 3)
            p.chunks = p.chunks[: int(rng.integers(1, len(p.chunks) + 1))] if rng.random() < 0.3 else p.chunks
        else:
            name = [b"ALPH", b"iccp", b"exif", b"xmp_", b"Crit", b"anci", rng.bytes(4)][int(rng.integers(7))]
            content = rng.bytes(int(rng.integers(30)))
            p.chunks += name + struct.pack("<I", int(rng.choice([len(content), len(content), 2**32 - 1, 0]))) + content
    elif kind == "crc spliced":
        p.payload = Parts(valid[int(rng.integers(len(valid)))].data).payload
    elif kind == "crc filled":
        start = int(rng.integers(len(p.payload)))
        p.payload[start:] = bytes([int(rng.choice([0, 255, 1]))]) * (len(p.payload) - start)
    else:
        h, w = -(-p.fields["height"] // 16), -(-p.fields["width"] // 16)
        z, y = random_latents(v.model, h, w, int(rng.integers(2**32)), wild=float(rng.choice([0, 0.05, 1])))
        payload, seen, lanes, _ = NativeBackend(v.model).encode(z, y, StreamLayout(h, w, 0, 0), 1)
        p.payload = bytearray(payload)
        p.fields |= {"checksum": _native.symbol_checksum(z, seen), "log_lanes": lanes.bit_length() - 1, "skip": 0}
    return kind, v, p.join()


def try_decode(function, data):
    try:
        return function(data)
    except JahpError as e:
        return f"{type(e).__name__}: {e}"


def judge(kind: str, v: Valid, data: bytes, codec: Codec, slow: Codec | None) -> tuple[str, str | None]:
    """What came of a mutant, and which promise it broke."""
    pixels = try_decode(codec.decode, data)
    if slow is not None:
        both = [try_decode(lambda d, c=c: flatten(c.decode_latents(d)), data) for c in (codec, slow)]
        if isinstance(both[0], str) != isinstance(both[1], str) or (isinstance(both[0], bytes) and both[0] != both[1]):
            return "backends differ", f"native: {both[0][:80]!r}, reference: {both[1][:80]!r}"
    if isinstance(pixels, str):
        if "\n" in pixels or len(pixels) > 1000:
            return "error", f"message is not one short line: {pixels!r}"
        return re.sub(r"'.*'|[0-9a-f]*[0-9][0-9a-f]*", "#", pixels)[:60], None
    if np.array_equal(pixels, v.pixels):
        return "same pixels", None
    if kind.startswith("all"):
        return "other pixels, all forged", None
    if not kind.startswith("crc"):
        return "other pixels", "decoded to other pixels although its checksums were not forged"
    if flatten(codec.decode_latents(data)) != v.latents:
        return "other pixels", "decoded to other latents although the checksum of the symbols was not forged"
    return "same latents, forged header", None


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(folder: str, seed: int, start: int, stop: int, progress: str) -> None:
    import torch

    torch.set_num_threads(1)
    codec, slow, valid = valid_streams(Path(folder))
    faulthandler.dump_traceback_later(SECONDS, exit=True)  # once before the count: its thread needs address space
    faulthandler.cancel_dump_traceback_later()
    before, slowest = peak_megabytes(), 0.0
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEGABYTES * 2**20, resource.RLIM_INFINITY))
    outcomes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    broken = []
    mark = os.open(progress, os.O_WRONLY | os.O_CREAT)
    for index in range(start, stop):
        os.pwrite(mark, b"%12d" % index, 0)
        kind, v, data = mutate(np.random.default_rng([seed, index]), valid)
        began, old_peak = time.perf_counter(), peak_megabytes()
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            outcome, fault = judge(kind, v, data, codec, slow if index % 25 == 0 and kind != "crc size" else None)
        except Exception as e:  # any class but JahpError is what this program is here to find
            outcome, fault = "exception", f"{type(e).__name__}: {e}"
        faulthandler.cancel_dump_traceback_later()
        slowest = max(slowest, time.perf_counter() - began)
        if peak_megabytes() - before > MEGABYTES >= old_peak - before:
            fault = f"took {peak_megabytes() - before:.0f} MB"
        outcomes[outcome] += 1
        kinds[kind] += 1
        if fault is not None and len(broken) < 20:
            broken.append(f"seed {seed} index {index} ({kind}): {fault}")
    print(json.dumps({"outcomes": outcomes, "kinds": kinds, "broken": broken, "slowest_s": slowest,
                      "extra_megabytes": peak_megabytes() - before}))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
