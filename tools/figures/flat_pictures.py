# SPDX-License-Identifier: Apache-2.0
"""What pictures of one colour take, and how far their pixels are off: over a cube of colours, by quality.

    python tools/figures/flat_pictures.py [--model mbt2018 ...] [--size 1024] [--steps 5] [--qualities 1 3 5 8]

Prints a Markdown table. Bytes: the median and the most of all colours. Errors: the largest of any sample of any colour, in grey levels;
inside is further than 64 pixels from the border. The last row is what AVIF takes, where Pillow has it (quality 50, effort 6).
"""

from __future__ import annotations

import argparse
import io
import itertools
from pathlib import Path

import numpy as np
from PIL import Image, features

from jahp_fast import Codec

MARGIN = 64


def colours(steps: int) -> list[tuple[int, int, int]]:
    """A grid of steps x steps x steps, corners of the cube included."""
    levels = [round(255 * i / (steps - 1)) for i in range(steps)]
    return list(itertools.product(levels, repeat=3))


def measured(codec: Codec, picture: np.ndarray) -> tuple[int, int, int]:
    """Bytes of the file, largest error inside and anywhere."""
    data = codec.encode(picture)
    error = np.abs(codec.decode(data).astype(np.int16) - picture)
    return len(data), int(error[MARGIN:-MARGIN, MARGIN:-MARGIN].max()), int(error.max())


def avif_bytes(picture: np.ndarray) -> int:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "AVIF", quality=50, speed=6)
    return len(file.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mbt2018")
    parser.add_argument("--models", type=Path, nargs="*", help="model files")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--qualities", type=float, nargs="+", default=[1, 3, 5, 8])
    args = parser.parse_args()
    pictures = [np.full((args.size, args.size, 3), colour, np.uint8) for colour in colours(args.steps)]
    print("| quality | bytes, median | bytes, most | error inside | error at the border |\n| --- | --- | --- | --- | --- |")
    for quality in args.qualities:
        codec = Codec(args.model, quality, models=args.models, drawings=False)
        sizes, inside, anywhere = zip(*(measured(codec, picture) for picture in pictures), strict=True)
        print(f"| {quality:g} | {int(np.median(sizes)):,} | {max(sizes):,} | {max(inside)} | {max(anywhere)} |", flush=True)
    if features.check("avif"):
        sizes = [avif_bytes(picture) for picture in pictures]
        print(f"| AVIF | {int(np.median(sizes)):,} | {max(sizes):,} | | |")


if __name__ == "__main__":
    main()
