# SPDX-License-Identifier: Apache-2.0
"""What skipping the symbols of the smallest scales saves, by threshold and quality: bytes at equal PSNR, and rounds of the range coder.

    python benchmarks/skip_rates.py FOLDER [--model mbt2018] [--thresholds 0,2,4,6,8] [--effort 0] [--count 16]

Whole files of 16 lanes. Decibels are of the metric that the model was trained for. The rate is against the curve without skipping, whose
logarithm is taken as linear in decibels between qualities; the first quality's is on that line's continuation and is left out. Rounds:
a position has as many as its coded symbols want, over what it has when all are coded; of channels: when lanes went by channel, so that
only a round in which no lane had anything to do was saved.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jahp_fast import _native, library
from jahp_fast.backends.native import NativeBackend
from jahp_fast.encoding import Prepared
from jahp_fast.evaluate.metrics import ms_ssim
from jahp_fast.export import skipping
from jahp_fast.files import container
from jahp_fast.files.view import View
from jahp_fast.pipelines.cpu import CpuPipeline
from jahp_fast.search import greedy
from jahp_fast.system.devices import Clock

LANES = 16
QUALITIES = range(1, 9)
Point = NDArray[np.float64]
"""Bits a pixel, mean squared error or what MS-SSIM lacks of 1, rounds, rounds of channels, share of symbols that are not the nearest."""


def measure(pipeline: CpuPipeline, pixels: NDArray[np.uint8], quality: float, thresholds: list[int], effort: int) -> list[Point]:
    """A point a threshold, of one picture (H, W, 3)."""
    image = pipeline.open(Prepared.of(pixels, 1 << 28, False).rows)
    analysed = image.analyse(quality, 1, Clock("cpu"))
    z, wanted = analysed.round_latents()
    if effort:
        z, wanted = greedy.improved(pipeline, image, analysed, (z, wanted), quality, effort, 1.0, 1, None)
    model, z_row = NativeBackend(pipeline.file)._model, pipeline.file.z_row(quality)
    scale_row = pipeline.file.entropy["scale.row"]
    height, width = pixels.shape[:2]
    points = []
    for threshold in thresholds:
        least = container.min_payload_bytes(width, height)
        payload, y, _, _ = model.encode(z, wanted, LANES, threshold, least, 1, b"", z_row)
        rows, _ = model.symbols(z, y, 1)
        coded = np.searchsorted(scale_row, rows, "right") - 1 >= threshold
        most = -(-coded.shape[2] // LANES)
        checksum = _native.symbol_checksum(z, y)
        stream = container.Stream(width, height, "RGB", quality, pipeline.file.id, LANES, threshold, checksum, payload, {})
        (shown,) = pipeline.decode_batch([stream], [View.whole(height, width)], 1, lambda _, rgb: rgb.copy(), None)
        padded = np.pad(coded, ((0, 0), (0, 0), (0, -coded.shape[2] % LANES)))
        points.append(np.array([
            8 * len(container.pack(stream)) / (height * width),
            1 - ms_ssim(pixels, shown) if pipeline.file.metric == "ms-ssim" else np.square(shown.astype(float) - pixels).mean(),
            (-(-coded.sum(2) // LANES)).mean() / most,
            padded.reshape(*coded.shape[:2], most, LANES).any(3).mean(),
            (y != wanted).mean(),
        ]))  # fmt: skip
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="mbt2018", help="name, id or file")
    parser.add_argument("--thresholds", default="0,2,4,6,8")
    parser.add_argument("--effort", type=int, default=0)
    parser.add_argument("--count", type=int, default=16, help="pictures, the first by name")
    args = parser.parse_args()
    thresholds = [int(t) for t in args.thresholds.split(",")]
    if thresholds[:1] != [0]:
        raise SystemExit("--thresholds must begin with 0, which the others are compared with")
    paths = sorted(p for p in args.folder.iterdir() if p.suffix in (".png", ".jpg"))[: args.count]
    pipeline = CpuPipeline(library.by_name(args.model), "native")
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    mean = {q: np.mean([measure(pipeline, rgb, float(q), thresholds, args.effort) for rgb in pictures], axis=0) for q in QUALITIES}
    curve = {q: skipping.Point(math.log(m[0][0]), -10 * math.log10(m[0][1])) for q, m in mean.items()}
    print(f"{len(paths)} pictures, effort {args.effort}")
    print("| threshold | quality | rate | dB less | rounds | of channels | changed |\n|---|---|---|---|---|---|---|")
    for i, threshold in enumerate(thresholds[1:], 1):
        for q in QUALITIES[1:]:
            bpp, distortion, rounds, channels, changed = mean[q][i]
            found = skipping.Point(math.log(bpp), -10 * math.log10(distortion))
            rate = skipping.saving(curve[q - 1], curve[q], found)
            shares = f"{rounds:.2f} | {channels:.2f} | {changed:.4f}"
            print(f"| {threshold} | {q} | {100 * math.expm1(rate):+.2f} % | {curve[q].db - found.db:.3f} | {shares} |")


if __name__ == "__main__":
    main()
