# SPDX-License-Identifier: Apache-2.0
"""How near small pictures come to the means of the originals, beside those of whole decodes, by quality.

    python benchmarks/view_quality.py FOLDER [--model NAME] [--qualities 1,4,8]

Prints a line for each scale and quality: PSNR of the means of whole decodes, of small pictures, mean and worst difference, and the largest
mean error of a colour of a picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jahp_fast import Codec
from jahp_fast.files.view import SCALES, averaged


def psnr(error: NDArray[np.float64]) -> float:
    return float(10 * np.log10(255**2 / max(np.square(error).mean(), 1e-9)))


def means(picture: NDArray[np.uint8], scale: int) -> NDArray[np.float64]:
    """Of whole squares, not rounded."""
    height, width = (n // scale for n in picture.shape[:2])
    return picture[: height * scale, : width * scale].reshape(height, scale, width, scale, 3).mean((1, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="mbt2018")
    parser.add_argument("--qualities", default="1,2,3,4,5,6,7,8")
    args = parser.parse_args()
    files = sorted(p for p in args.folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".webp"))
    photos = [np.asarray(Image.open(p).convert("RGB")) for p in files]
    print(f"{args.model}, {len(photos)} pictures\n scale  quality  whole dB  small dB     mean    worst    cast")
    for quality in map(float, args.qualities.split(",")):
        codec = Codec(args.model, quality)
        found: dict[int, list[tuple[float, float, float]]] = {scale: [] for scale in SCALES[1:]}
        for photo in photos:
            data = codec.encode(photo)
            whole = codec.decode(data)
            for scale, rows in found.items():
                wanted = means(photo, scale)
                inside = tuple(slice(n) for n in wanted.shape[:2])
                small = codec.decode(data, scale=scale)[inside] - wanted
                rows.append((psnr(averaged(whole, scale)[inside] - wanted), psnr(small), float(np.abs(small.mean((0, 1))).max())))
        for scale, rows in found.items():
            large, little, cast = np.array(rows).T
            difference = little - large
            print(
                f"{scale:6} {quality:8g} {large.mean():9.2f} {little.mean():9.2f} {difference.mean():+8.2f} {difference.min():+8.2f} "
                f"{cast.max():7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
