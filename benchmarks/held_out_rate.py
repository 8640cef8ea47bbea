# SPDX-License-Identifier: Apache-2.0
"""What training runs differ by: the rate at equal PSNR on held-out photos, quality by quality.

    python benchmarks/held_out_rate.py REFERENCE_RUN RUN ...

Each is a working folder of `jahp train`, of whose held_out.csv the last measurement counts. The logarithm of the reference's rate is
linear in PSNR between its qualities, and goes on along its last slopes beyond them: figures there say less. Negative: smaller than the
reference.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import numpy as np

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


def excess(reference: Curve, bpp: float, psnr: float) -> float:
    """bpp over the reference's at that PSNR, less 1."""
    points = sorted((p, math.log(b)) for b, p in reference.values())
    if len(points) < 2:
        raise SystemExit("the reference needs two qualities or more")
    at = min(max(int(np.searchsorted([p for p, _ in points], psnr)), 1), len(points) - 1)
    (low, low_log), (high, high_log) = points[at - 1], points[at]
    return bpp / math.exp(low_log + (psnr - low) / (high - low) * (high_log - low_log)) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    args = parser.parse_args()
    reference = last_curve(args.reference)
    print("| run | quality | bpp | dB | rate |", "| --- | --- | --- | --- | --- |", sep="\n")
    for run in args.runs:
        for quality, (bpp, psnr) in last_curve(run).items():
            print(f"| {run.name} | {quality} | {bpp:.4f} | {psnr:.3f} | {100 * excess(reference, bpp, psnr):+.2f} % |")


if __name__ == "__main__":
    main()
