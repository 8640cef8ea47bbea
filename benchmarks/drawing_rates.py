# SPDX-License-Identifier: Apache-2.0
"""What drawings cost with and without the nets, beside AVIF and WebP.

    python benchmarks/drawing_rates.py [--pictures 4] [--side 512] [--first 2000000] [--photos FOLDER] [FOLDER ...]

Pictures of six kinds from the generator, or with photos of two others, or all of some folders. At each quality of 1 to 8, bytes are
compared with those of the smallest file of AVIF (4:4:4, speed 4) and of WebP (method 6, and lossless) that is no worse by PSNR. Where
AVIF has none that is as good, its best file is taken, and counted. Means are of the ratios' logarithms.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import jahp_fast
from jahp_fast.evaluate.codecs import pillow_codec
from jahp_fast.evaluate.metrics import mse
from jahp_fast.train import synthetic

KINDS = ("text", "interface", "chart", "map", "lineart", "pixelart")
OF_PHOTOS = ("page", "objects")
QUALITIES = tuple(range(1, 9))
STEPS = (5, 15, 25, 35, 45, 52, 60, 68, 75, 82, 88, 92, 96, 100)

Picture = NDArray[np.uint8]
Points = list[tuple[int, float]]
"""Bytes and mean squared error of each file."""


def files_of(picture: Picture, name: str) -> Points:
    """Of a codec of `jahp eval`, at each step."""
    codec = pillow_codec(name)
    files = [codec.encode(picture, step) for step in STEPS]
    return [(len(data), mse(picture, codec.decode(data))) for data in files]


def lossless_webp(picture: Picture) -> tuple[int, float]:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "WEBP", lossless=True, method=6, quality=100)
    return out.tell(), 0.0


def ours(picture: Picture, drawings: bool) -> Points:
    found = []
    for quality in QUALITIES:
        codec = jahp_fast.Codec(quality=quality, drawings=drawings)
        data = codec.encode(picture)
        found.append((len(data), mse(picture, codec.decode(data))))
    return found


def no_worse(points: Points, most: float) -> tuple[int, bool]:
    """Bytes of the smallest file of at most that error, and whether there is one; else of the best."""
    sizes = [size for size, squares in points if squares <= most]
    return (min(sizes), True) if sizes else (min(points, key=lambda p: p[1])[0], False)


def from_folders(folders: Sequence[Path]) -> Iterator[tuple[str, Picture]]:
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.suffix in (".png", ".jpg", ".webp"):
                yield folder.name, np.asarray(Image.open(path).convert("RGB"))


def generated(count: int, first: int, side: int, photos: Sequence[Picture]) -> Iterator[tuple[str, Picture]]:
    for kind in OF_PHOTOS if photos else KINDS:
        for seed in range(first, first + count):
            yield kind, synthetic.picture(kind, seed, (side * 3 // 4, side), photos)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--pictures", type=int, default=4, help="of each kind")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--first", type=int, default=2_000_000, help="the first seed")
    parser.add_argument("--photos", type=Path, help="of which pages and objects are made")
    args = parser.parse_args(arguments)
    photos = [photo for _, photo in from_folders([args.photos])] if args.photos else []
    logs: dict[str, dict[str, list[float]]] = {}
    unreached: dict[str, int] = {}
    for kind, picture in from_folders(args.folders) if args.folders else generated(args.pictures, args.first, args.side, photos):
        avif = files_of(picture, "avif")
        webp = [*files_of(picture, "webp"), lossless_webp(picture)]
        of_kind = logs.setdefault(kind, {})
        for drawings in (False, True):
            for size, squares in ours(picture, drawings):
                for name, points in (("AVIF", avif), ("WebP", webp)):
                    other, reached = no_worse(points, squares)
                    of_kind.setdefault(f"{name}, {'with' if drawings else 'without'}", []).append(math.log(size / other))
                    if drawings and not reached:
                        unreached[kind] = unreached.get(kind, 0) + 1
    columns = ("AVIF, without", "AVIF, with", "WebP, without", "WebP, with")
    print("| kind | " + " | ".join(columns) + " | no AVIF as good |\n|" + "---|" * (len(columns) + 2))
    everything: dict[str, list[float]] = {c: [x for kind in logs.values() for x in kind[c]] for c in columns}
    for kind, found in (*logs.items(), ("all", everything)):
        cells = " | ".join(f"{100 * (math.exp(float(np.mean(found[c]))) - 1):+.1f} %" for c in columns)
        of = len(found[columns[0]])
        print(f"| {kind} | {cells} | {sum(unreached.values()) if kind == 'all' else unreached.get(kind, 0)} of {of} |")


if __name__ == "__main__":
    main()
