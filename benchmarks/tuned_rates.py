# SPDX-License-Identifier: Apache-2.0
"""What tune="eye" saves over the same effort without it, and over effort 0, at equal SSIMULACRA 2, MS-SSIM and PSNR: real files of photos.

    python benchmarks/tuned_rates.py --photos DIR [DIR ...] [--side 512] [--every 1] [--effort 2] [--qualities 2,3.5,5,7]
        [--constants FLAT,COARSE ...]

For each pair of constants of jahp_fast.search.masking (by default those of the package) the BD-rate in percent, negative where tuned files
are smaller: of the mean curves, then the mean of the photos' own, with the best and the worst. Needs the extra `eval`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jahp_fast import Codec
from jahp_fast.errors import UsageError
from jahp_fast.evaluate.metrics import bd_rate, ms_ssim, ms_ssim_db, psnr
from jahp_fast.search import greedy, masking
from jahp_fast.search.perceived import ssimulacra2

SCORES = "SSIMULACRA 2", "MS-SSIM", "PSNR"
Curves = NDArray[np.float64]
"""(photos, qualities, 4): bits a pixel, and the scores."""


def middle(path: Path, side: int) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    top, left = ((size - min(size, side)) // 2 for size in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def curves(photos: Sequence[NDArray[np.uint8]], qualities: Sequence[float], effort: int, tune: str | None) -> Curves:
    out = []
    for quality in qualities:
        codec = Codec(quality=quality, threads=1)
        for photo in photos:
            data = codec.encode(photo, effort=effort, tune=tune)
            seen = codec.decode(data)
            scores = ssimulacra2(photo, seen), ms_ssim_db(ms_ssim(photo, seen)), psnr(photo, seen)
            out.append([8 * len(data) / (photo.shape[0] * photo.shape[1]), *scores])
    return np.reshape(out, (len(qualities), len(photos), 4)).swapaxes(0, 1)


def saved(anchor: Curves, other: Curves) -> str:
    cells = []
    for score in (1, 2, 3):
        whole = difference(anchor.mean(0), other.mean(0), score)
        each = [value for pair in zip(anchor, other, strict=True) if (value := difference(*pair, score)) is not None]
        over = f" of {len(each)}" if len(each) < len(anchor) else ""
        cells.append(f"{math.nan if whole is None else whole:+.2f}, {np.mean(each):+.2f} ({min(each):+.1f} to {max(each):+.1f}{over})")
    return " | ".join(cells)


def difference(anchor: Curves, other: Curves, score: int) -> float | None:
    """BD-rate; None where a score does not rise with the rate, as in pictures that hardly cost anything."""
    try:
        return bd_rate(list(anchor[:, 0]), list(anchor[:, score]), list(other[:, 0]), list(other[:, score])).percent
    except UsageError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--constants", nargs="+", metavar="FLAT,COARSE", default=[f"{masking.FLAT:g},{masking.COARSE:g}"])
    parser.add_argument("--photos", type=Path, required=True, nargs="+", metavar="DIR")
    parser.add_argument("--side", type=int, default=512, help="of the middle of each photo that is taken, in pixels")
    parser.add_argument("--every", type=int, default=1, help="of the photos, one of so many")
    parser.add_argument("--effort", type=int, default=2)
    parser.add_argument("--qualities", default="2,3.5,5,7")
    args = parser.parse_args()
    paths = [path for folder in args.photos for path in sorted(folder.iterdir()) if path.suffix.lower() in (".png", ".jpg", ".jpeg")]
    photos = [middle(path, args.side) for path in paths[:: args.every]]
    qualities = [float(quality) for quality in args.qualities.split(",")]
    nearest, plain = (curves(photos, qualities, effort, None) for effort in (0, args.effort))
    print("| files | against | " + " | ".join(SCORES) + " |\n|" + " --- |" * (2 + len(SCORES)))
    print(f"| effort {args.effort} | effort 0 | {saved(nearest, plain)} |", flush=True)
    for constants in args.constants:
        masking.FLAT, masking.COARSE = (float(value) for value in constants.split(","))
        greedy._searcher.cache_clear()  # it keeps what channels weigh by the constants of before
        tuned = curves(photos, qualities, args.effort, "eye")
        for name, anchor in ((f"effort {args.effort}", plain), ("effort 0", nearest)):
            print(f"| tuned, {constants} | {name} | {saved(anchor, tuned)} |", flush=True)


if __name__ == "__main__":
    main()
