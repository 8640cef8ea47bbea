# SPDX-License-Identifier: Apache-2.0
"""The table of a model card: our qualities, and what other codecs give at the same rate.

    python benchmarks/card_table.py --report REPORT [--model mbt2018] [--others jpeg420 webp jpeg2000]

REPORT is a folder of `jahp eval`. Rates are means of bits a pixel over the images; PSNR and MS-SSIM of the others are interpolated along
the logarithm of the rate between their measured settings. A quality beyond a codec's rates gets a dash.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jahp_fast.evaluate.results import Mean, means, read_results


def at_rate(curve: Sequence[Mean], ours: Mean) -> str:
    """PSNR and MS-SSIM of a codec's settings at the rate of ours, each over the images that have it."""
    psnr = interpolated([(m.bpp, m.psnr) for m in curve], ours.bpp)
    ms_ssim = interpolated([(m.ms_ssim_bpp, m.ms_ssim) for m in curve], ours.ms_ssim_bpp)
    return "-" if psnr is None else f"{psnr:.2f} dB" if ms_ssim is None else f"{psnr:.2f} dB, {ms_ssim:.4f}"


def interpolated(points: Sequence[tuple[float, float]], bpp: float) -> float | None:
    """Along the logarithm of the rate, through the finite points (bpp, value); None beyond them."""
    points = sorted(p for p in points if math.isfinite(p[1]))
    if not points or not points[0][0] <= bpp <= points[-1][0]:
        return None
    return float(np.interp(math.log(bpp), [math.log(p[0]) for p in points], [p[1] for p in points]))


def card_table(table: Sequence[Mean], ours: str, others: Sequence[str]) -> list[str]:
    """Markdown, a row a quality of ours."""
    lines = [f"| quality | bpp | PSNR dB | MS-SSIM | {' | '.join(others)} |", "| --- " * (4 + len(others)) + "|"]
    for m in (m for m in table if m.codec == ours):
        cells = [at_rate([n for n in table if n.codec == other], m) for other in others]
        lines.append(f"| {m.setting.removeprefix('q=')} | {m.bpp:.3f} | {m.psnr:.2f} | {m.ms_ssim:.4f} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--model", default="mbt2018")
    parser.add_argument("--others", nargs="+", default=["jpeg420", "webp", "jpeg2000"])
    args = parser.parse_args()
    rows = list(read_results(args.report / "results.csv").values())
    print(*card_table(means(rows), args.model, args.others), sep="\n")


if __name__ == "__main__":
    main()
