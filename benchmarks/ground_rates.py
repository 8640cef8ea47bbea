# SPDX-License-Identifier: Apache-2.0
"""What a plain ground costs, exactly as it was, by how softly a picture ends in it.

    python benchmarks/ground_rates.py FOLDER [--pictures 8] [--side 512] [--edges 0,3,8]

Photos of a folder, each in an ellipse on white; their edges are blurred by so many pixels. With drawings against without: bytes, the
loss that decides (bits and lambda times squared errors), both as means of the ratios' logarithms, and how many pixels of the ground,
which the photo does not reach, come back as they were.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

import jahp_fast
from jahp_fast.constants import trade_off

QUALITIES = (2, 4, 6, 8)
Pixels = NDArray[np.uint8]


def on_white(photo: Image.Image, blur: float) -> tuple[Pixels, NDArray[np.bool_]]:
    """The picture, and where its ground is."""
    width, height = photo.size
    mask = Image.new("L", photo.size)
    ImageDraw.Draw(mask).ellipse((width // 5, height // 5, 4 * width // 5, 4 * height // 5), fill=255)
    share = np.asarray(mask.filter(ImageFilter.GaussianBlur(blur)), float)[:, :, None] / 255
    return np.rint(np.asarray(photo) * share + 255 * (1 - share)).astype(np.uint8), share[:, :, 0] == 0


def measured(picture: Pixels, ground: NDArray[np.bool_], quality: int, drawings: bool) -> tuple[int, float, float]:
    """Bytes, loss, and the share of the ground that comes back."""
    codec = jahp_fast.Codec(quality=quality, drawings=drawings)
    data = codec.encode(picture)
    back = codec.decode(data)
    loss = 8 * len(data) + trade_off(quality) * float(np.square(back.astype(float) - picture).sum()) / 3
    return len(data), loss, float((back == picture).all(2)[ground].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--edges", type=lambda text: [float(edge) for edge in text.split(",")], default=[0.0, 3.0, 8.0])
    args = parser.parse_args()
    files = sorted(path for path in args.folder.glob("*") if path.suffix in (".png", ".jpg", ".webp"))[: args.pictures]
    if not files:
        raise SystemExit(f"there is no picture in {args.folder}")
    photos = [ImageOps.fit(Image.open(path).convert("RGB"), (args.side, args.side * 3 // 4)) for path in files]
    print("| edge | quality | bytes | loss | ground as it was, nets alone | ground as it was |\n|---|---|---|---|---|---|")
    for edge in args.edges:
        for quality in QUALITIES:
            pairs = [[measured(*on_white(photo, edge), quality, drawings) for drawings in (False, True)] for photo in photos]
            bytes_, loss = (100 * math.expm1(float(np.mean([math.log(b[i] / a[i]) for a, b in pairs]))) for i in (0, 1))
            before, after = (100 * float(np.mean([pair[i][2] for pair in pairs])) for i in (0, 1))
            print(f"| {edge:g} | {quality} | {bytes_:+.1f} % | {loss:+.1f} % | {before:.0f} % | {after:.0f} % |", flush=True)


if __name__ == "__main__":
    main()
