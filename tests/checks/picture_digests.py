# SPDX-License-Identifier: Apache-2.0
"""One picture, one file; one file, one picture: numbered pictures through every way that this machine has, and two digests each.

    PYTHONPATH=tests/support python tests/checks/picture_digests.py [--pictures 1000] [--slow 4] [--model NAME] [--jobs N] [--write]

Pictures are random numbers from their number: sizes of 1 to 96, flats, slopes, noise and edges; colour, grey and alpha; all 141
qualities; one in eight with effort 1. The first way makes the files; the others make them again and decode them. Ways: each instruction
set, 1, 2, 3 and 8 threads, rows, batches; NumPy; torch; and, of the first pictures, the CUDA kernels in their emulator and Triton's in
its interpreter. Ways run side by side, each in a process. Prints one table. The exit status is 1 if a way differs, or if the digests
are not those of picture_digests.golden (for a model that is recorded there, and that many pictures).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jahp_fast import Codec, _native, backends
from jahp_fast.pipelines.shared import shared

GOLDEN = Path(__file__).with_suffix(".golden")
CODES = 221
Pixels = NDArray[np.uint8]


def picture(number: int) -> tuple[Pixels, float, dict[str, int]]:
    """A picture, its quality, and what else its encoder is told: an effort or a bound on errors for some."""
    rng = np.random.Generator(np.random.PCG64(number))
    height, width = (int(n) for n in rng.integers(1, 97, 2))
    rows, columns = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    kind = number % 4
    image = rng.integers(0, 256, (1, 1, 4)) + np.zeros((height, width, 4), np.int64)
    if kind == 1:
        image = image + rows * rng.integers(-5, 6, 4) + columns * rng.integers(-5, 6, 4)
    elif kind == 2:
        image = image + rng.integers(-128, 129, (height, width, 4)) // int(rng.integers(1, 40))
    elif kind == 3:
        image = np.where((rows * int(rng.integers(-9, 10)) + columns * int(rng.integers(-9, 10))) // 64 % 2 == 0, image, 255 - image)
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    shown = (pixels[:, :, :3], pixels[:, :, 0], pixels)[number // 4 % 3]
    quality, options = 1 + (number * 47 % CODES) / 20, {}
    if number % 8 == 3:
        options["max_error"] = number // 8 % 4
    elif number % 8 == 7 and quality <= 8:
        options["effort"] = 3 if number % 400 == 399 else 1 + number // 8 % 2
    return np.ascontiguousarray(shown), quality, options


def in_one(codec: Codec, data: bytes) -> Pixels:
    return codec.decode(data)


def by_rows(codec: Codec, data: bytes) -> Pixels:
    return np.concatenate(list(codec.decode_rows(data)))


def in_a_batch(codec: Codec, data: bytes) -> Pixels:
    first, second = codec.decode_batch([data, data])
    assert np.array_equal(first, second)
    return first


@dataclass(frozen=True)
class Way:
    name: str
    isa: str
    threads: int
    backend: str
    decode: Callable[[Codec, bytes], Pixels]
    count: int


def digests(way: Way, model: str) -> tuple[str, str, float]:
    """Of the files and of the pixels, and the seconds that they took."""
    os.environ["JAHP_FAST_ISA"], start = way.isa, time.monotonic()
    kept, named = backends._CLASSES["triton"], way.backend
    if way.backend == "cuda":  # the emulator in the place of the backend that may run on a CPU
        named, backends._CLASSES["triton"] = "triton", ("emulated_cuda", "EmulatedCuda")
    files, pixels = hashlib.sha256(), hashlib.sha256()
    for number in range(way.count):
        image, quality, options = picture(number)
        codec = Codec(model, quality, backend=named, threads=way.threads)
        data = codec.encode(image, **options)
        shown = way.decode(codec, data)
        files.update(len(data).to_bytes(4, "little") + data)
        pixels.update(np.array(shown.shape, "<u4").tobytes() + shown.tobytes())
    backends._CLASSES["triton"] = kept
    shared.cache_clear()
    return files.hexdigest()[:16], pixels.hexdigest()[:16], time.monotonic() - start


def ways(pictures: int, slow: int) -> list[Way]:
    """The longest first, so that none runs alone at the end; behind them the first pictures by the first way, for those that take few."""
    isas, few = _native.isa_names(), max(slow, pictures // 10)
    best, found = isas[-1], []
    if slow:
        found += [Way("Triton, interpreted", "", 1, "triton", in_one, slow), Way("CUDA, emulated", "", 1, "cuda", in_one, slow)]
    found.append(Way("NumPy", "", 1, "reference", in_one, few))
    found += [Way(f"native {isa}", isa, threads, "native", in_one, pictures) for isa in isas for threads in (1, 2)]
    found += [Way(f"native {best}", best, threads, "native", in_one, pictures) for threads in (3, 8)]
    found += [Way("by rows", best, 2, "native", by_rows, pictures), Way("in batches", best, 2, "native", in_a_batch, pictures)]
    return found + [Way(f"native {best}", best, 2, "native", in_one, n) for n in dict.fromkeys((few, slow)) if 0 < n < pictures]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--slow", type=int, default=4, help="pictures for the emulator and the interpreter, 0: neither (default 4)")
    parser.add_argument("--model", default="mbt2018")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="ways at a time (default: as many as there are cores)")
    parser.add_argument("--write", action="store_true", help="record the digests")
    args = parser.parse_args()
    lines = [line.split() for line in GOLDEN.read_text().splitlines() if not line.startswith("#")] if GOLDEN.exists() else []
    recorded = {(model, count): (files, pixels) for model, count, files, pixels in lines}
    os.environ["TRITON_INTERPRET"] = "1"
    found: dict[int, set[tuple[str, str]]] = {}
    print(f"{'way':22} {'threads':>7} {'pictures':>8}  {'files':16}  {'pixels':16} seconds", flush=True)
    every = ways(args.pictures, args.slow)
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        for way, (files, pixels, seconds) in zip(every, pool.map(digests, every, [args.model] * len(every)), strict=True):
            found.setdefault(way.count, set()).add((files, pixels))
            print(f"{way.name:22} {way.threads:7} {way.count:8}  {files}  {pixels} {seconds:7.1f}", flush=True)
    wrong = {n: results for n, results in found.items() if len(results) != 1}
    if args.write and not wrong:
        recorded[args.model, str(args.pictures)] = next(iter(found[args.pictures]))
        text = "".join(f"{' '.join((*key, *value))}\n" for key, value in sorted(recorded.items()))
        GOLDEN.write_text("# model, pictures, digest of the files, digest of the pixels (tests/checks/picture_digests.py)\n" + text)
    elif (wanted := recorded.get((args.model, str(args.pictures)))) and wanted not in found[args.pictures]:
        wrong[args.pictures] = found[args.pictures] | {wanted}
    print(f"differences: {wrong or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
