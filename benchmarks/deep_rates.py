# SPDX-License-Identifier: Apache-2.0
"""What pixels of 9 to 16 bits cost: exact ones beside PNG, JPEG-LS, JPEG 2000 and JPEG XL, all without loss; or qualities 8 to 12.

    python benchmarks/deep_rates.py FOLDER [--lossy]

Makes deep pictures of the photos of 8 bits in the folder, by kind:

    linear 16, linear 12, gamma 16, gamma 10: noise of a uniform step is added, light or values are averaged by squares of 2x2, and rounded
    grey 16: green of `linear 16`
    12 in 16: `gamma` of 12 bits, times 16
    8 in 16: the photo itself, times 257
    K = 15: `linear 16`, with an error of at most 15; JPEG-LS has the same bound

Without loss, for each kind: bits per sample, the mean and the worst ratio of bytes to the others', and processor seconds a megasample
of ours.

--lossy, of `gamma 16` and `linear 16`: bits a pixel, PSNR of 16 bits (mean), what the same picture rounded to 8 bits before and after gets
at that quality, and the mean and the worst ratio of bytes to JPEG 2000 of 16 bits at equal PSNR.

It needs imagecodecs (the extra `deep`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jahp_fast import Codec

Deep = NDArray[np.uint16]
BOUND = 15


def halved(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of squares of 2x2 of (H, W, 3)."""
    h, w = a.shape[0] // 2, a.shape[1] // 2
    means: NDArray[np.float64] = a[: 2 * h, : 2 * w].reshape(h, 2, w, 2, 3).mean(axis=(1, 3))
    return means


def light(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """sRGB of 0 to 1 to linear light."""
    return np.where(a <= 0.04045, a / 12.92, ((a + 0.055) / 1.055) ** 2.4)


def kinds(photo: NDArray[np.uint8], seed: int) -> dict[str, tuple[Deep, int]]:
    """By name: a picture and its depth."""
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, photo.shape)
    values = np.clip(photo + noise, 0, 255) / 255
    linear, gamma = halved(light(values)), halved(values)

    def rounded(a: NDArray[np.float64], depth: int) -> Deep:
        return np.ascontiguousarray(np.rint(a * ((1 << depth) - 1)).astype(np.uint16))

    return {
        "linear 16": (rounded(linear, 16), 16),
        "linear 12": (rounded(linear, 12), 12),
        "gamma 16": (rounded(gamma, 16), 16),
        "gamma 10": (rounded(gamma, 10), 10),
        "grey 16": (rounded(linear[:, :, 1], 16), 16),
        "12 in 16": (rounded(gamma, 12) << 4, 16),
        "8 in 16": (photo[: photo.shape[0] // 2, : photo.shape[1] // 2] * np.uint16(257), 16),
        f"K = {BOUND}": (rounded(linear, 16), 16),
    }


def others(image: Deep, depth: int, bound: int) -> dict[str, int]:
    """Bytes by codec; of those without a bound none where there is one."""
    found = {"JPEG-LS": len(imagecodecs.jpegls_encode(image, level=bound))}
    if bound:
        return found
    found["PNG"] = len(imagecodecs.png_encode(image, level=9))
    found["JPEG 2000"] = len(imagecodecs.jpeg2k_encode(image, level=0, reversible=True, codecformat="j2k", bitspersample=depth, mct=True))
    found["JPEG XL"] = len(imagecodecs.jpegxl_encode(image, lossless=True, effort=7, bitspersample=depth))
    return found


def psnr(image: Deep, back: Deep) -> float:
    return float(20 * np.log10(65535) - 10 * np.log10(np.square(back.astype(np.float64) - image).mean()))


def jpeg2000(image: Deep, least: float) -> int:
    """Bytes of the smallest file of that PSNR, between two that bracket it, along a straight line of their logarithms."""
    points = []
    for level in range(int(least) - 6, 100, 1):
        data = imagecodecs.jpeg2k_encode(image, level=level, codecformat="j2k", bitspersample=16, mct=True)
        points.append((psnr(image, imagecodecs.jpeg2k_decode(data)), np.log(len(data))))
        if points[-1][0] >= least:
            break
    assert points[0][0] < least <= points[-1][0], "no two files bracket that PSNR"
    return int(np.exp(np.interp(least, *zip(*points[-2:], strict=True))))


def lossy(paths: Sequence[Path]) -> None:
    for kind in ("gamma 16", "linear 16"):
        images = [kinds(np.asarray(Image.open(path).convert("RGB")), i)[kind][0] for i, path in enumerate(paths)]
        for quality in (8, 9, 10, 11, 12):
            codec, rows = Codec(quality=quality, threads=1), []
            for image in images:
                data = codec.encode(image)
                ours = psnr(image, codec.decode(data))
                narrow = codec.decode(codec.encode(((image.astype(np.uint32) + 128) // 257).astype(np.uint8)))
                rows.append((24 * len(data) / image.size, ours, psnr(image, narrow * np.uint16(257)), len(data) / jpeg2000(image, ours)))
            bpp, deep, plain, _ = np.mean(rows, axis=0)
            ratios = np.array([row[-1] for row in rows])
            said = f"{100 * np.exp(np.log(ratios).mean()) - 100:+.1f} % (worst {100 * ratios.max() - 100:+.1f} %)"
            print(f"{kind}, q {quality}: {bpp:.3f} bpp, {deep:.2f} dB, by 8 bits {plain:.2f} dB; to JPEG 2000 {said}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lossy", action="store_true")
    args = parser.parse_args(arguments)
    paths = sorted(path for path in args.folder.iterdir() if path.suffix in (".png", ".jpg"))
    if args.lossy:
        lossy(paths)
        return
    codec = Codec(threads=1)
    found: dict[str, list[dict[str, float]]] = {}
    for i, path in enumerate(paths):
        for kind, (image, depth) in kinds(np.asarray(Image.open(path).convert("RGB")), i).items():
            bound, started = BOUND if kind.startswith("K") else 0, time.process_time()
            data = codec.encode(image, max_error=bound, depth=depth)
            encoded = time.process_time()
            back = codec.decode(data) >> (16 - depth)
            decoded = time.process_time()
            assert np.abs(back.astype(np.int32) - image).max() <= bound
            row = {name: len(data) / size for name, size in others(image, depth, bound).items()}
            row |= {"bits": 8 * len(data) / image.size, "encode": 1e6 * (encoded - started) / image.size}
            found.setdefault(kind, []).append(row | {"decode": 1e6 * (decoded - encoded) / image.size})
    for kind, rows in found.items():
        said = [f"{kind}: {np.mean([row['bits'] for row in rows]):.3f} bits per sample"]
        for name in ("PNG", "JPEG-LS", "JPEG 2000", "JPEG XL"):
            ratios = np.array([row[name] for row in rows if name in row])
            if len(ratios):
                said.append(f"to {name} {100 * np.exp(np.log(ratios).mean()) - 100:+.1f} % (worst {100 * ratios.max() - 100:+.1f} %)")
        times = [f"{name} {np.median([row[name] for row in rows]):.3f}" for name in ("encode", "decode")]
        print(", ".join(said) + f"; seconds a megasample: {', '.join(times)}", flush=True)


if __name__ == "__main__":
    main()
