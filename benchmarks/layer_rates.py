# SPDX-License-Identifier: Apache-2.0
"""What layers over the pixels cost on a folder of images, beside WebP lossless, JPEG XL lossless and AVIF.

    python benchmarks/layer_rates.py FOLDER [--bases 4,7]

Exact pixels (K = 0): mean bits per pixel, and the mean and the worst ratio of bytes to WebP lossless (method 6) and to JPEG XL lossless
(effort 7, where the module pillow_jxl is installed). Qualities 9 to 12: ratio of bytes to AVIF (4:4:4, speed 6) at equal PSNR, read off
AVIF's curve, whose logarithm of bytes is taken as straight between its points. --bases: these qualities 9 to 12 alone, as the encoder
makes them and over pictures of each of some qualities.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import jahp_fast
from jahp_fast.prepared import Prepared

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


def exact_ratios(image: NDArray[np.uint8], jxl: bool) -> dict[str, float]:
    """By name; sizes in bits per pixel."""
    pixels = image.shape[0] * image.shape[1]
    codec = jahp_fast.Codec()
    exact = codec.encode(image, lossless=True)
    assert np.array_equal(codec.decode(exact), image)
    found = {"lossless, bpp": 8 * len(exact) / pixels}
    found["lossless / WebP"] = len(exact) / len(saved(image, "WEBP", lossless=True, method=6))
    if jxl:
        found["lossless / JPEG XL"] = len(exact) / len(saved(image, "JXL", lossless=True, effort=7))
    return found


def over_base(image: NDArray[np.uint8], quality: float, base: float | None) -> bytes:
    """The file of a quality above 8 over a picture of a base quality; None: that of the encoder."""
    codec = jahp_fast.Codec(quality=quality, drawings=base is None)
    if base is None:
        return codec.encode(image)
    encoding, prepared = codec._encoding(), Prepared.of(image, 1 << 28, False)
    return encoding.finished(prepared, encoding.nearest(prepared, base, 1), 1)


def lossy_ratios(image: NDArray[np.uint8], bases: Sequence[float | None]) -> dict[str, float]:
    """The same of qualities 9 to 12."""
    pixels, found = image.shape[0] * image.shape[1], {}
    points = []
    for quality in AVIF:
        data = saved(image, "AVIF", quality=quality, subsampling="4:4:4", speed=6)
        points.append((psnr(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), image), float(np.log(len(data)))))
    points.sort()
    for quality, base in itertools.product(QUALITIES, bases):
        data = over_base(image, quality, base)
        at, name = psnr(jahp_fast.decode(data), image), f"q {quality:g}" + ("" if base is None else f" over {base:g}")
        found |= {f"{name}, dB": at, f"{name}, bpp": 8 * len(data) / pixels}
        if points[0][0] <= at <= points[-1][0]:
            found[f"{name} / AVIF"] = len(data) / float(np.exp(np.interp(at, *map(list, zip(*points, strict=True)))))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bases", type=lambda text: [float(part) for part in text.split(",")], metavar="Q,...", default=[])
    args = parser.parse_args(arguments)
    jxl = importlib.util.find_spec("pillow_jxl") is not None
    if jxl:
        importlib.import_module("pillow_jxl")
    paths = sorted(path for path in args.folder.iterdir() if path.suffix in (".png", ".jpg"))
    found = {}
    for path in paths:
        image = np.asarray(Image.open(path).convert("RGB"))
        found[path.name] = ({} if args.bases else exact_ratios(image, jxl)) | lossy_ratios(image, [None, *args.bases])
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
