# SPDX-License-Identifier: Apache-2.0
"""The picture of docs/guide/pictures.md: kinds of pictures, each beside our file of it and WebP's of the same size.

    python tools/figures/kinds_picture.py     # needs the package's extra `synthetic`; writes docs/pictures/kinds.webp

Drawings are of seeds that no training has seen. WebP gets the highest quality whose file is not larger than ours. The picture is
committed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import jahp_fast
from jahp_fast.evaluate import demo
from jahp_fast.evaluate.codecs import pillow_codec
from jahp_fast.evaluate.files import load_rgb
from jahp_fast.train.synthetic import HELD_OUT_SEED, picture

ROOT = Path(__file__).resolve().parents[2]
QUALITY = 3.0
SIZE = (448, 640)
CROP = (264, 144)
"""Width and height of what is shown of each, at its own size."""
GAP, CAPTION = 10, 24
GROUND, INK = "#ffffff", "#1f2328"
DRAWINGS = {"product on white": ("objects", 3), "screen": ("interface", 1), "chart": ("chart", 4), "page with a photo": ("page", 1)}


def pictures() -> dict[str, tuple[NDArray[np.uint8], tuple[int, int]]]:
    """Name -> pixels (H, W, 3), and the left upper corner of the crop."""
    photo = load_rgb(Path(demo.__file__).parent / "demo_photo.png")
    found = {"photo": (photo, (392, 90))}
    for name, (kind, seed) in DRAWINGS.items():
        found[name] = picture(kind, HELD_OUT_SEED + seed, SIZE, (photo,)), (60, 60)
    return found


def compose(rows: Sequence[tuple[str, Sequence[tuple[str, NDArray[np.uint8]]], tuple[int, int]]]) -> Image.Image:
    """rows: a name, variants of (words, pixels), and the crop's corner."""
    columns = len(rows[0][1])
    sheet = Image.new("RGB", (columns * (CROP[0] + GAP) - GAP, len(rows) * (CROP[1] + CAPTION + GAP) - GAP), GROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for r, (name, variants, (left, upper)) in enumerate(rows):
        for c, (words, pixels) in enumerate(variants):
            x, y = c * (CROP[0] + GAP), r * (CROP[1] + CAPTION + GAP)
            draw.text((x, y + 2), words if c else f"{name}, {words}", INK, font)
            crop = pixels[upper : upper + CROP[1], left : left + CROP[0]]
            sheet.paste(Image.fromarray(crop), (x, y + CAPTION))
    return sheet


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw the picture of the guide's page on kinds of pictures.")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures" / "kinds.webp")
    out = parser.parse_args(argv).out
    webp, rows = pillow_codec("webp"), []
    for name, (pixels, corner) in pictures().items():
        data = jahp_fast.encode(pixels, QUALITY)
        other = demo.nearest_not_above(webp, pixels, len(data), 100)[1]
        variants = [("original", pixels), (f"jahp_fast, {len(data):,} bytes", jahp_fast.decode(data))]
        variants.append((f"WebP, {len(other):,} bytes", webp.decode(other)))
        rows.append((name, variants, corner))
        print(name, *(words for words, _ in variants[1:]))
    compose(rows).save(out, quality=70, method=6)
    print(f"{out.name} {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
