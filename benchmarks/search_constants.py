# SPDX-License-Identifier: Apache-2.0
"""What effort 1 saves with other constants of jahp_fast.search.greedy, on real files of held-out training photos.

    python benchmarks/search_constants.py --photos DIR [--model FILE] [--photo-count 8] LOCAL,MARGIN,PRICE ...

For each set the BD-rate of effort 1 over effort 0 (means over the photos at qualities 1 to 8), and bytes at equal PSNR, quality by
quality, along the curve of effort 0.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from held_out_rate import Curve, excess
from numpy.typing import NDArray

from jahp_fast import Codec, library
from jahp_fast.evaluate.metrics import bd_rate, psnr
from jahp_fast.search import greedy
from jahp_fast.train.data import find_photos, load_photo

HEIGHT, WIDTH = 384, 512
NAMES = "LOCAL", "MARGIN", "PRICE"


def curve(model: Path, photos: list[NDArray[np.uint8]], effort: int) -> Curve:
    """Mean bits a pixel and PSNR of real files, by quality."""
    out = {}
    for quality in range(1, 9):
        codec = Codec(model.stem, quality, models=[model])
        files = [codec.encode(photo, effort=effort) for photo in photos]
        bpp = [8 * len(data) / (photo.shape[0] * photo.shape[1]) for data, photo in zip(files, photos, strict=True)]
        decoded = [psnr(photo, codec.decode(data)) for data, photo in zip(files, photos, strict=True)]
        out[quality] = float(np.mean(bpp)), float(np.mean(decoded))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="LOCAL,MARGIN,PRICE")
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", type=Path, metavar="FILE", help="default: the shipped mbt2018")
    parser.add_argument("--photo-count", type=int, default=8)
    args = parser.parse_args()
    model = args.model or library.by_name("mbt2018", ()).path
    held_out = find_photos([args.photos], None).held_out
    photos = [load_photo(path)[:HEIGHT, :WIDTH] for path in held_out[:: math.ceil(len(held_out) / args.photo_count)]]
    nearest = curve(model, photos, 0)
    print("".join(f"| {name.lower()} " for name in NAMES) + "| BD-rate |" + "".join(f" {q} |" for q in nearest))
    print("|" + " --- |" * (len(NAMES) + 1 + len(nearest)), flush=True)
    for constants in args.sets:
        values = [float(value) for value in constants.split(",")]
        for name, value in zip(NAMES, values, strict=True):
            setattr(greedy, name, value)
        greedy._searcher.cache_clear()  # its adjoint was made with the constants of before
        stepped = curve(model, photos, 1)
        saved = bd_rate(*(list(values) for c in (nearest, stepped) for values in zip(*c.values(), strict=True)))
        by_quality = "".join(f" {100 * excess(nearest, *stepped[q]):+.1f} |" for q in nearest)
        print("".join(f"| {value:g} " for value in values) + f"| {saved.percent:+.2f} % |{by_quality}", flush=True)


if __name__ == "__main__":
    main()
