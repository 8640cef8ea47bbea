# SPDX-License-Identifier: Apache-2.0
"""The pictures of the first page: a part of the demo's photo as it is, and out of files of one size by three codecs.

    python docs/site/pictures.py     # needs the package; writes docs/pictures/*.webp, which are committed, and prints the sizes

JPEG (4:2:0, optimised) and WebP (method 6) get the highest quality whose file is not larger than ours.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

import jahp_fast
from jahp_fast.evaluate import demo

OUT = Path(__file__).resolve().parent.parent / "pictures"
QUALITY = 2.0
PART = (150, 40, 630, 360)  # left, upper, right, lower
SETTINGS = {"JPEG": {"optimize": True, "subsampling": 2}, "WEBP": {"method": 6}}


def largest(image: Image.Image, kind: str, most: int) -> tuple[int, bytes]:
    """Quality and file of at most `most` bytes."""
    for quality in range(95, 0, -1):
        file = io.BytesIO()
        image.save(file, kind, quality=quality, **SETTINGS[kind])
        if len(file.getvalue()) <= most:
            return quality, file.getvalue()
    raise ValueError(f"{kind} has no file of {most} bytes")


def main() -> None:
    photo = Image.open(Path(demo.__file__).parent / "demo_photo.png").convert("RGB")
    data = jahp_fast.encode(photo, quality=QUALITY)
    decoded = {"original": photo, "mbt2018": Image.fromarray(np.asarray(jahp_fast.decode(data)))}
    print(f"mbt2018 q={QUALITY:g} {len(data)} bytes, {8 * len(data) / (photo.width * photo.height):.3f} bpp")
    for kind in SETTINGS:
        quality, file = largest(photo, kind, len(data))
        decoded[kind.lower()] = Image.open(io.BytesIO(file)).convert("RGB")
        print(f"{kind} q={quality} {len(file)} bytes")
    OUT.mkdir(exist_ok=True)
    for name, image in decoded.items():
        image.crop(PART).save(OUT / f"{name}.webp", quality=90, method=6)
        print(f"{name}.webp {(OUT / f'{name}.webp').stat().st_size} bytes")


if __name__ == "__main__":
    main()
