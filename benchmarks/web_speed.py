# SPDX-License-Identifier: Apache-2.0
"""WebAssembly in Node.js beside native code forced to AVX2, by turns, on one thread each, and the sizes of what a page loads.

    make web && python benchmarks/web_speed.py [--rounds 9]

Every file and every pixel is compared first. Milliseconds are of the CPU, so that other programs count for little, and per
megapixel: median, and the range of the middle half.
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


class Node:
    """The codec in Node.js, which says how long each call took."""

    def __init__(self) -> None:
        command = ["node", ROOT / "benchmarks" / "web_speed.mjs", WEB / "dist" / "jahp.wasm", library.by_name("mbt2018").path]
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


def compare(node: Node, codec: Codec, width: int, height: int, rounds: int, folder: Path) -> None:
    photo = Image.open(ROOT / "examples" / "photo.png").convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    pixels, original, made, back = np.asarray(photo), folder / "original", folder / "made.jahp", folder / "back"
    original.write_bytes(rgba(pixels))
    file = codec.encode(pixels)
    node(encode=str(original), width=width, height=height, to=str(made))
    assert made.read_bytes() == file, "another file"
    node(decode=str(made), to=str(back))
    assert back.read_bytes() == rgba(codec.decode(file)), "other pixels"
    ways = {
        ("encode", "native"): lambda: timed(lambda: codec.encode(pixels)),
        ("encode", "wasm"): lambda: node(encode=str(original), width=width, height=height)["ms"],
        ("decode", "native"): lambda: timed(lambda: codec.decode(file)),
        ("decode", "wasm"): lambda: node(decode=str(made))["ms"],
    }
    times: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            times[way].append(run() / (width * height / 1e6))
    for what in ("encode", "decode"):
        native, wasm = times[what, "native"], times[what, "wasm"]
        ratios = [b / a for a, b in zip(native, wasm, strict=True)]
        print(f"{width}x{height} {what}: wasm {spread(wasm)}, {ISA} {spread(native)} ms per megapixel; ratio {spread(ratios, 2)}")


def spread(values: list[float], digits: int = 0) -> str:
    low, _, high = statistics.quantiles(values, n=4)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def sizes() -> str:
    """Of what a page loads; compressed as a server would."""
    wasm = (WEB / "dist" / "jahp.wasm").read_bytes()
    parts = [path for folder in ("src", "demo") for path in (WEB / folder).iterdir() if path.suffix in (".js", ".css", ".html")]
    page = sum(len(zlib.compress(path.read_bytes(), 9)) for path in parts)
    model = json.loads((WEB / "dist" / "models" / "index.json").read_text())["models"][0]
    decode, encode = (model[part]["bytes"] / 1e6 for part in ("decode", "encode"))
    return (
        f"jahp.wasm: {len(wasm) / 1000:.0f} kB, {len(zlib.compress(wasm, 9)) / 1000:.0f} kB compressed; scripts and page: "
        f"{page / 1000:.0f} kB compressed; model: {decode:.2f} MB to decode, {encode:.2f} MB more to encode"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="of all ways, by turns (default 9)")
    args = parser.parse_args()
    print(sizes())
    node, codec = Node(), Codec(threads=1)
    print(f"to load: codec {node.start['load']:.0f} ms, model {node.start['model']:.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        for width, height in SIZES:
            compare(node, codec, width, height, args.rounds, Path(folder))


if __name__ == "__main__":
    main()
