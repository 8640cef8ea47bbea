# SPDX-License-Identifier: Apache-2.0
"""Do rate and PSNR rise with every step of quality? Real files of every picture of a folder at all qualities, 0.05 apart.

    python benchmarks/quality_steps.py FOLDER [--model FILE] [--step 0.05] [--csv FILE]

Prints, a line a picture, how often a step made the file smaller or the picture worse, and by how much at most; the exit status is 1 if
any did. PSNR in dB of 8-bit RGB. With --csv a row a picture and quality: image, quality, bytes, psnr.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jahp_fast import Codec
from jahp_fast.evaluate.files import find_images, load_rgb
from jahp_fast.evaluate.metrics import psnr


@dataclass(frozen=True)
class Point:
    quality: float
    bytes: int
    psnr: float


@dataclass(frozen=True)
class Falls:
    """Of a curve: how many steps lower a figure, and the largest fall (bytes: as a share; PSNR: dB)."""

    bytes: int
    most_bytes: float
    psnr: int
    most_psnr: float

    @staticmethod
    def of(points: Sequence[Point]) -> Falls:
        sizes = [max(0.0, 1 - b.bytes / a.bytes) for a, b in itertools.pairwise(points)]
        errors = [max(0.0, a.psnr - b.psnr) for a, b in itertools.pairwise(points)]
        return Falls(sum(s > 0 for s in sizes), max(sizes), sum(e > 0 for e in errors), max(errors))


def curve(model: Path | None, image: NDArray[np.uint8], steps: Sequence[float]) -> list[Point]:
    points = []
    for quality in steps:
        codec = Codec(model.stem, quality, models=[model]) if model else Codec(quality=quality)
        data = codec.encode(image)
        points.append(Point(quality, len(data), psnr(image, codec.decode(data))))
    return points


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, metavar="FILE", help="default: the shipped mbt2018")
    parser.add_argument("--step", type=float, default=0.05)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    steps = [round(float(q), 2) for q in np.arange(1, 8 + args.step / 2, args.step)]
    rows = ["image,quality,bytes,psnr"]
    all_falls = []
    for path in find_images(args.folder):
        points = curve(args.model, load_rgb(path), steps)
        rows += [f"{path.name},{p.quality:g},{p.bytes},{p.psnr:.4f}" for p in points]
        falls = Falls.of(points)
        all_falls.append(falls)
        print(
            f"{path.name}: {points[0].bytes} to {points[-1].bytes} bytes, {points[0].psnr:.2f} to {points[-1].psnr:.2f} dB; "
            f"smaller {falls.bytes} times (at most {100 * falls.most_bytes:.2f} %), worse {falls.psnr} times "
            f"(at most {falls.most_psnr:.3f} dB)",
            flush=True,
        )
    if args.csv:
        args.csv.write_text("\n".join(rows) + "\n")
    wrong = sum(f.bytes + f.psnr for f in all_falls)
    print(f"{len(all_falls)} pictures, {len(steps) - 1} steps each: {wrong} steps the wrong way", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
