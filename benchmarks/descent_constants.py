# SPDX-License-Identifier: Apache-2.0
"""What the descent of efforts 2 and 3 saves with other constants of jahp_fast.search.descent, on pieces of held-out photos.

    python benchmarks/descent_constants.py --photos DIR [--side 176] [--qualities 1,3,5,7] ROUNDS,FIRST,LAST,WIDTH,MEAN,SQUARE ...

For each set what is minimised, in percent of the bits of the nearest integers: mean over the photos and qualities, then by quality; and
the same of effort 1 first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jahp_fast import library
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.search import descent
from jahp_fast.search.descent import Schedule, descended
from jahp_fast.search.greedy import Searcher
from jahp_fast.transforms.cpu import CpuTransforms
from jahp_fast.transforms.layers import LATENT_BITS, fixed

NAMES = "rounds", "first", "last", "width", "mean", "square"


class Case(NamedTuple):
    """A piece of a photo at one quality: its latents y, not rounded and rounded, its z, and the bits of both rounded."""

    image: NDArray[np.uint8]
    quality: float
    y: NDArray[np.float32]
    nearest: NDArray[np.int32]
    z: NDArray[np.int32]
    bits: float


def middle(path: Path, side: int) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    top, left = ((size - min(size, side)) // 2 for size in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def case(searcher: Searcher, transforms: CpuTransforms, image: NDArray[np.uint8], quality: float) -> Case:
    y = transforms.analysis([image], *image.shape[:2], quality)
    nearest, z = fixed(y, 0), fixed(transforms.hyper_analysis(y), 0)
    whole, distortion = (searcher.cost(image, (z, nearest), quality, rate, 1) for rate in (1.0, 0.0))
    return Case(image, quality, y.astype(np.float32) / 2**LATENT_BITS, nearest, z, whole - distortion)


def saved(searcher: Searcher, cases: list[Case], search: Callable[[Case], NDArray[np.int32]]) -> list[tuple[float, float]]:
    """By case, its quality and percent of the bits."""
    out = []
    for c in cases:
        before, after = (searcher.cost(c.image, (c.z, y), c.quality, 1.0, 1) for y in (c.nearest, search(c)))
        out.append((c.quality, 100 * (after - before) / c.bits))
    return out


def row(name: str, found: list[tuple[float, float]]) -> str:
    qualities = sorted({quality for quality, _ in found})
    means = [np.mean([percent for q, percent in found if q == quality]) for quality in qualities]
    return f"| {name} | {np.mean(means):+.1f} % |" + "".join(f" {mean:+.1f} |" for mean in means)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar=",".join(name.upper() for name in NAMES))
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="PNG and JPEG files")
    parser.add_argument("--model", type=Path, metavar="FILE", help="default: the shipped mbt2018")
    parser.add_argument("--side", type=int, default=176, help="of the middle of each photo that is taken, in pixels")
    parser.add_argument("--qualities", default="1,3,5,7")
    args = parser.parse_args()
    model = ModelFile(args.model) if args.model else library.by_name("mbt2018", ())
    searcher, transforms = Searcher(model, reference=False), CpuTransforms(model, True)
    paths = sorted(path for path in args.photos.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    qualities = [float(quality) for quality in args.qualities.split(",")]
    cases = [case(searcher, transforms, middle(path, args.side), quality) for quality in qualities for path in paths]
    print("| " + ", ".join(NAMES) + " | saved |" + "".join(f" {quality:g} |" for quality in qualities))
    print("|" + " --- |" * (2 + len(qualities)))
    print(row("effort 1", saved(searcher, cases, lambda c: searcher.stepped(c.image, (c.z, c.nearest), c.quality, 1.0, 1))), flush=True)
    for constants in args.sets:
        rounds, first, last, width, mean, square = (float(value) for value in constants.split(","))
        descent.WIDTHS, descent.MEAN, descent.SQUARE = (1.0, width), mean, square
        schedule = Schedule(int(rounds), first, last)

        def search(c: Case, schedule: Schedule = schedule) -> NDArray[np.int32]:
            return descended(searcher, c.image, (c.y, c.z), c.quality, schedule, 1.0, 1)

        print(row(constants, saved(searcher, cases, search)), flush=True)


if __name__ == "__main__":
    main()
