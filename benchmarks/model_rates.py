# SPDX-License-Identifier: Apache-2.0
"""What a model file is worth beside another one, kind by kind: BD-rates of real files, picture by picture.

    python benchmarks/model_rates.py REFERENCE.safetensors MODEL.safetensors FOLDER ... [--qualities 1,3,5,7,8] [--crop 768]

Each folder holds held-out pictures of a kind. Negative: the second model's files are smaller at equal PSNR. Bytes by quality say where.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jahp_fast import Codec
from jahp_fast.evaluate.curves import bd_rate_of

Curve = list[tuple[float, float]]
"""Bits a pixel and PSNR by quality."""


def curve(model: Path, pictures: list[NDArray[np.uint8]], qualities: list[float]) -> list[Curve]:
    """One a picture."""
    curves: list[Curve] = [[] for _ in pictures]
    for quality in qualities:
        codec = Codec(model.stem, quality, models=[model])
        for points, picture in zip(curves, pictures, strict=True):
            data = codec.encode(picture)
            error = np.square(codec.decode(data).astype(np.float64) - picture).mean()
            points.append((8 * len(data) / picture[..., 0].size, float(10 * np.log10(255**2 / max(error, 1e-3)))))
    return curves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--qualities", default="1,3,5,7,8", help="separated by commas")
    parser.add_argument("--crop", type=int, default=768, help="pixels a side, at most")
    args = parser.parse_args()
    qualities = [float(q) for q in args.qualities.split(",")]
    print("| folder | pictures | BD-rate, mean | median | best | worst | " + " | ".join(f"bytes, q {q:g}" for q in qualities) + " |")
    print("|" + " --- |" * (6 + len(qualities)))
    for folder in args.folders:
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".webp"))
        pictures = [np.asarray(Image.open(p).convert("RGB"))[: args.crop, : args.crop] for p in paths]
        old, new = (curve(model, pictures, qualities) for model in (args.reference, args.model))
        found = [bd_rate_of(a, b) for a, b in zip(old, new, strict=True)]
        rates = [f.percent for f in found if not isinstance(f, str)]  # else the curves do not overlap
        sizes = [sum(c[k][0] for c in new) / sum(c[k][0] for c in old) - 1 for k in range(len(qualities))]
        shown = " | ".join(f"{x:+.1f} %" for x in (np.mean(rates), np.median(rates), min(rates), max(rates)))
        print(f"| {folder.name} | {len(pictures)} | {shown} | " + " | ".join(f"{100 * s:+.1f} %" for s in sizes) + " |", flush=True)


if __name__ == "__main__":
    main()
