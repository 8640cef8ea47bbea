# SPDX-License-Identifier: Apache-2.0
"""WebAssembly in Node.js beside native code forced to AVX2, by turns, and the sizes of what a page loads.

    make web && python benchmarks/web_speed.py [--rounds 9] [--threads 1,2]

Every file and every pixel is compared first. Of one thread milliseconds are those of the CPU, so that other programs count for little;
threads are timed by the clock, the build with threads beside that without. All are per megapixel: median, and the range of the middle half.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ISA = "avx2"
os.environ["JAHP_FAST_ISA"] = ISA

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from PIL import Image  # noqa: E402

from jahp_fast import Codec, library  # noqa: E402

ROOT = Path(__file__).parents[1]
WEB = ROOT / "web"
SIZES = ((768, 512), (2048, 1365))
ALONE = "without threads"


class Node:
    """The codec in Node.js, which says how long each call took."""

    def __init__(self, module: str = "jahp", threads: int = 1) -> None:
        command = [
            "node",
            ROOT / "benchmarks" / "web_speed.mjs",
            WEB / "dist" / f"{module}.wasm",
            library.by_name("mbt2018").path,
            str(threads),
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.start = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def __call__(self, **job: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return self._answer()


def timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def rgba(pixels: NDArray[np.uint8]) -> bytes:
    return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]).tobytes()


class Photo:
    """The example photo at some size, as pixels, RGBA and a file, in a folder."""

    def __init__(self, width: int, height: int, folder: Path) -> None:
        photo = Image.open(ROOT / "examples" / "photo.png").convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        self.width, self.height, self.pixels = width, height, np.asarray(photo)
        self._original, self._made, self._back = folder / f"{width}", folder / f"{width}.jahp", folder / f"{width}-back"
        self._original.write_bytes(rgba(self.pixels))
        codec = Codec(threads=1)
        self.file = codec.encode(self.pixels)
        self._shown = rgba(codec.decode(self.file))

    def encode(self, node: Node) -> dict[str, float]:
        return node(encode=str(self._original), width=self.width, height=self.height)

    def decode(self, node: Node) -> dict[str, float]:
        return node(decode=str(self._made))

    def check(self, node: Node) -> None:
        node(encode=str(self._original), width=self.width, height=self.height, to=str(self._made))
        assert self._made.read_bytes() == self.file, "another file"
        node(decode=str(self._made), to=str(self._back))
        assert self._back.read_bytes() == self._shown, "other pixels"

    def by_turns(self, ways: dict[tuple[str, str], Callable[[], float]], rounds: int) -> dict[tuple[str, str], list[float]]:
        """Milliseconds per megapixel."""
        times: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, run in ways.items():
                times[way].append(run() / (self.width * self.height / 1e6))
        return times


def compare(node: Node, codec: Codec, photo: Photo, rounds: int) -> None:
    photo.check(node)
    ways: dict[tuple[str, str], Callable[[], float]] = {
        ("encode", "native"): lambda: timed(lambda: codec.encode(photo.pixels)),
        ("encode", "wasm"): lambda: photo.encode(node)["cpu"],
        ("decode", "native"): lambda: timed(lambda: codec.decode(photo.file)),
        ("decode", "wasm"): lambda: photo.decode(node)["cpu"],
    }
    times = photo.by_turns(ways, rounds)
    for what in ("encode", "decode"):
        native, wasm = times[what, "native"], times[what, "wasm"]
        ratios = [b / a for a, b in zip(native, wasm, strict=True)]
        print(
            f"{photo.width}x{photo.height} {what}: wasm {spread(wasm)}, {ISA} {spread(native)} ms per megapixel; ratio {spread(ratios, 2)}"
        )


def clocked(work: Callable[[Node], dict[str, float]], node: Node) -> float:
    return work(node)["clock"]


def compare_threads(nodes: dict[str, Node], photo: Photo, rounds: int) -> None:
    ways: dict[tuple[str, str], Callable[[], float]] = {}
    for name, node in nodes.items():
        photo.check(node)
        ways["encode", name] = partial(clocked, photo.encode, node)
        ways["decode", name] = partial(clocked, photo.decode, node)
    times = photo.by_turns(ways, rounds)
    for what, name in ways:
        ratios = [b / a for a, b in zip(times[what, ALONE], times[what, name], strict=True)]
        print(f"{photo.width}x{photo.height} {what}, {name}: {spread(times[what, name])} ms per megapixel; ratio {spread(ratios, 2)}")


def spread(values: list[float], digits: int = 0) -> str:
    low, _, high = statistics.quantiles(values, n=4)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def sizes() -> str:
    """Of what a page loads; compressed as a server would."""
    modules = {name: (WEB / "dist" / f"{name}.wasm").read_bytes() for name in ("jahp", "jahp-threads")}
    told = "; ".join(
        f"{name}.wasm: {len(wasm) / 1000:.0f} kB, {len(zlib.compress(wasm, 9)) / 1000:.0f} kB compressed" for name, wasm in modules.items()
    )
    parts = [path for folder in ("src", "demo") for path in (WEB / folder).iterdir() if path.suffix in (".js", ".css", ".html")]
    page = sum(len(zlib.compress(path.read_bytes(), 9)) for path in parts)
    model = json.loads((WEB / "dist" / "models" / "index.json").read_text())["models"][0]
    decode, encode = (model[part]["bytes"] / 1e6 for part in ("decode", "encode"))
    return f"{told}; scripts and page: {page / 1000:.0f} kB compressed; model: {decode:.2f} MB to decode, {encode:.2f} MB more to encode"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="of all ways, by turns (default 9)")
    parser.add_argument("--threads", default="1,2", help="of the build with threads, by comma (default 1,2)")
    args = parser.parse_args()
    print(sizes())
    node, codec = Node(), Codec(threads=1)
    print(f"to load: codec {node.start['load']:.0f} ms, model {node.start['model']:.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        photos = [Photo(*size, Path(folder)) for size in SIZES]
        for photo in photos:
            compare(node, codec, photo, args.rounds)
        nodes = {ALONE: node} | {f"{n} threads": Node("jahp-threads", int(n)) for n in args.threads.split(",")}
        for photo in photos:
            compare_threads(nodes, photo, args.rounds)


if __name__ == "__main__":
    main()
