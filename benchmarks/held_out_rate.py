# SPDX-License-Identifier: Apache-2.0
"""What training runs differ by on held-out photos: the rate at equal PSNR, and the cost, quality by quality.

    python benchmarks/held_out_rate.py REFERENCE_RUN RUN ...
    python benchmarks/held_out_rate.py REFERENCE.safetensors WEIGHTS.safetensors ... --sets FOLDER ... [--shares 0.5,1]

Each is a working folder of `jahp train`, of whose held_out.csv the last measurement counts; or, with --sets, a checkpoint or model file,
which is measured here, as training does, on all pictures below each folder: none of them may have been trained on. Shares are those of
`jahp export --share`: parts of the way to the g_s of each, from a reference that is a model file. The logarithm of the
reference's rate is linear in PSNR between its qualities, and goes on along its last slopes beyond them: figures there say less. The cost
is lambda 255^2 MSE + bpp, with the published lambda of the quality and the MSE that the mean PSNR stands for; "all" is the geometric
mean, which training for MSE descends. Negative: smaller than the reference.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jahp_fast.constants import LAMBDAS
from jahp_fast.errors import JahpError
from jahp_fast.train.report import HELD_OUT_LOG

Curve = dict[int, tuple[float, float]]
"""Bits a pixel and PSNR by quality."""


def last_curve(run: Path) -> Curve:
    """The last measurement of a run."""
    if not (run / HELD_OUT_LOG).is_file():
        raise SystemExit(f"{run} has no {HELD_OUT_LOG}: it is no folder of a training run that has measured")
    with (run / HELD_OUT_LOG).open(encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    return {int(row["quality"]): (float(row["bpp"]), float(row["psnr"])) for row in rows if row["step"] == rows[-1]["step"]}


def measured(weights: Path, files: Sequence[Path], reference: Path | None = None, share: float = 1) -> Curve:
    """By the float model, on the first 256 x 256 pixels of pictures; with a reference after a share of the way from it."""
    import torch

    from jahp_fast.export.finishing import part_way
    from jahp_fast.train import checkpoint
    from jahp_fast.train.data import held_out_crops
    from jahp_fast.train.loss import evaluate

    model = checkpoint.load(weights).average
    if reference is not None:
        part_way(reference, model, share)
    found = evaluate(model, held_out_crops(files), range(model.rows), torch.device("cpu"))
    return {one.quality: (one.bpp, one.psnr) for one in found}


def excess(reference: Curve, bpp: float, psnr: float) -> float:
    """bpp over the reference's at that PSNR, less 1."""
    points = sorted({p: math.log(b) for b, p in sorted(reference.values(), reverse=True)}.items())  # of equal PSNR the fewest bits
    if len(points) < 2:
        raise SystemExit("the reference needs two qualities or more, of different PSNR")
    at = min(max(int(np.searchsorted([p for p, _ in points], psnr)), 1), len(points) - 1)
    (low, low_log), (high, high_log) = points[at - 1], points[at]
    with np.errstate(over="ignore"):  # far beyond a steep end
        return float(np.expm1(math.log(bpp) - low_log - (psnr - low) / (high - low) * (high_log - low_log)))


def cost(quality: int, bpp: float, psnr: float) -> float:
    """lambda 255^2 MSE + bpp."""
    return float(LAMBDAS[quality - 1]) * 255**2 * 10 ** (-psnr / 10) + bpp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--sets", type=Path, nargs="+", metavar="FOLDER", help="of held-out pictures, to measure weights on")
    parser.add_argument("--shares", type=lambda text: [float(part) for part in text.split(",")], metavar="S,...", help="with --sets")
    args = parser.parse_args()
    if args.sets is None:
        if args.shares is not None:
            parser.error("--shares is for --sets")
        table({run.name: last_curve(run) for run in args.runs}, last_curve(args.reference))
    for folder in args.sets or ():
        from jahp_fast.train.data import SUFFIXES

        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not files:
            raise SystemExit(f"there is no picture below {folder}")
        print(f"{folder.name}, pictures: {len(files)}")
        try:
            curves: dict[str, Curve] = {}
            for weights in args.runs:
                name = "/".join(weights.parts[-2:])  # runs call their weights alike
                if args.shares is None:
                    curves[name] = measured(weights, files)
                for share in args.shares or ():
                    curves[f"{name}, {share:g}"] = measured(weights, files, args.reference, share)
            table(curves, measured(args.reference, files))
        except JahpError as e:
            raise SystemExit(str(e)) from None


def table(curves: dict[str, Curve], reference: Curve) -> None:
    """Prints each curve against the reference."""
    print("| run | quality | bpp | dB | rate | cost |", "| --- | --- | --- | --- | --- | --- |", sep="\n")
    for run, curve in curves.items():
        logs = []
        for quality, point in curve.items():
            if quality not in reference:
                raise SystemExit(f"the reference has not been measured at quality {quality}, and {run} has")
            logs.append(math.log(cost(quality, *point) / cost(quality, *reference[quality])))
            rate, more = excess(reference, *point), math.expm1(logs[-1])
            print(f"| {run} | {quality} | {point[0]:.4f} | {point[1]:.3f} | {100 * rate:+.2f} % | {100 * more:+.2f} % |")
        print(f"| {run} | all | | | | {100 * math.expm1(sum(logs) / len(logs)):+.2f} % |")


if __name__ == "__main__":
    main()
