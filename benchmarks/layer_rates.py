# SPDX-License-Identifier: Apache-2.0
"""What layers over the pixels cost on a folder of images, beside WebP lossless, JPEG XL lossless and AVIF.

    python benchmarks/layer_rates.py FOLDER

Exact pixels (K = 0): mean bits per pixel, and the mean and the worst ratio of bytes to WebP lossless (method 6) and to JPEG XL lossless
(effort 7, where the module pillow_jxl is installed). Qualities 9 to 12: ratio of bytes to AVIF (4:4:4, speed 6) at equal PSNR, read off
AVIF's curve, whose logarithm of bytes is taken as straight between its points.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import jahp_fast

AVIF = (74, 82, 87, 91, 94, 96, 98, 99)
QUALITIES = (9.0, 10.0, 11.0, 12.0)


def saved(image: NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    """A file of Pillow's."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, kind, **options)
    return out.getvalue()


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Over all samples, in dB; 99 of equal ones."""
    error = float(np.square(a.astype(np.float64) - b).mean())
    return 10 * float(np.log10(65025 / error)) if error else 99.0


def ratios(image: NDArray[np.uint8], jxl: bool) -> dict[str, float]:
    """By name; sizes in bits per pixel."""
    pixels = image.shape[0] * image.shape[1]
    codec = jahp_fast.Codec()
    exact = codec.encode(image, lossless=True)
    assert np.array_equal(codec.decode(exact), image)
    found = {"lossless, bpp": 8 * len(exact) / pixels}
    found["lossless / WebP"] = len(exact) / len(saved(image, "WEBP", lossless=True, method=6))
    if jxl:
        found["lossless / JPEG XL"] = len(exact) / len(saved(image, "JXL", lossless=True, effort=7))
    points = []
    for quality in AVIF:
        data = saved(image, "AVIF", quality=quality, subsampling="4:4:4", speed=6)
        points.append((psnr(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), image), float(np.log(len(data)))))
    points.sort()
    for quality in QUALITIES:
        codec = jahp_fast.Codec(quality=quality)
        data = codec.encode(image)
        at = psnr(codec.decode(data), image)
        found |= {f"q {quality:g}, dB": at, f"q {quality:g}, bpp": 8 * len(data) / pixels}
        if points[0][0] <= at <= points[-1][0]:
            found[f"q {quality:g} / AVIF"] = len(data) / float(np.exp(np.interp(at, *map(list, zip(*points, strict=True)))))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    jxl = importlib.util.find_spec("pillow_jxl") is not None
    if jxl:
        importlib.import_module("pillow_jxl")
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    found = {}
    for path in paths:
        found[path.name] = ratios(np.asarray(Image.open(path).convert("RGB")), jxl)
        print(path.name, {key: round(value, 3) for key, value in found[path.name].items()}, flush=True)
    for key in dict.fromkeys(key for one in found.values() for key in one):
        values = [one[key] for one in found.values() if key in one]
        if "/" in key:
            mean, worst, best = (100 * (v - 1) for v in (float(np.exp(np.mean(np.log(values)))), max(values), min(values)))
            print(f"{key}: {mean:+.1f} % (worst {worst:+.1f} %, best {best:+.1f} %, of {len(values)})")
        else:
            print(f"{key}: {float(np.mean(values)):.3f}")


if __name__ == "__main__":
    main()
