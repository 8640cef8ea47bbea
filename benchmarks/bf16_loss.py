# SPDX-License-Identifier: Apache-2.0
"""What transforms in bfloat16 cost in quality, and what they save in time.

    python benchmarks/bf16_loss.py FOLDER [--names FILE] [--photos 12] [--qualities 1 3 5 8]

FOLDER, or folders in it, holds photos; FILE names those to take, one a line. Prints one line a quality, over all photos: mean PSNR of the
float32 decode of the float32 file, what is lost by decoding it in bfloat16, the largest difference of grey levels and the share of values
that differ; then bytes and PSNR (decoded in float32) of files encoded in bfloat16, against those encoded in float32.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jahp_fast import Codec

Pixels = NDArray[np.uint8]


def psnr(a: Pixels, b: Pixels) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


def row(photos: list[Pixels], quality: float) -> str:
    f32, bf16 = Codec(quality=quality), Codec(quality=quality, bf16=True)
    lost, exact, most, changed, saved, bytes_ = [], [], 0, [], [], []
    for photo in photos:
        data, other = f32.encode(photo), bf16.encode(photo)
        want, got = f32.decode(data), bf16.decode(data)
        exact.append(psnr(photo, want))
        lost.append(exact[-1] - psnr(photo, got))
        difference = np.abs(want.astype(int) - got)
        most = max(most, int(difference.max()))
        changed.append(float((difference > 0).mean()))
        saved.append(exact[-1] - psnr(photo, f32.decode(other)))
        bytes_.append(len(other) / len(data))
    return (
        f"{quality:7g} {np.mean(exact):8.2f} {np.mean(lost):10.4f} {max(lost):10.4f} {most:7d} {np.mean(changed):8.3f}"
        f" {100 * (np.mean(bytes_) - 1):+9.3f} {np.mean(saved):9.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Loss of bfloat16 transforms.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--names", type=Path)
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--qualities", type=float, nargs="+", default=[1, 3, 5, 8])
    args = parser.parse_args()
    names = args.names.read_text().split() if args.names else sorted(p.name for p in args.folder.rglob("*") if p.is_file())
    photos = [np.asarray(Image.open(next(args.folder.rglob(name))).convert("RGB")) for name in names[: args.photos]]
    print("quality  PSNR dB  lost mean   lost max  levels  changed  bytes, %  encoded lost dB")
    for quality in args.qualities:
        print(row(photos, quality), flush=True)


if __name__ == "__main__":
    main()
