# SPDX-License-Identifier: Apache-2.0
"""The table of a model card: our qualities, and what other codecs give at the same rate.

    python tools/figures/card_table.py --report REPORT [--model mbt2018] [--others jpeg420 webp jpeg2000]
        [--figures docs/figures.toml --run kodak --machine zen4 --command "jahp eval KODAK --out REPORT"]
        [--published CSV --dataset kodak --curves bpg_444_x265_ycbcr compressai-mbt2018_mse_cpu]

REPORT is a folder of `jahp eval`. Rates are means of bits a pixel over the images; PSNR and MS-SSIM of the others are interpolated along
the logarithm of the rate between their measured settings. A quality beyond a codec's rates gets a dash. With --figures the means of our
qualities, and the BD-rates against every other codec of the report and the named published curves, become that run's figures in the file.
"""

from __future__ import annotations

import argparse
import datetime
import math
import re
from collections.abc import Sequence
from pathlib import Path

import figures  # a neighbour, not a package
import numpy as np

from jahp_fast.evaluate.curves import METRICS, Published, bd_rate_of, compare, curves, read_published
from jahp_fast.evaluate.results import Mean, Row, means, read_results


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


def card_figures(rows: Sequence[Row], ours: str) -> dict[str, tuple[float, int, str]]:
    """For figures.write: the means of our qualities, and BD-rates against each other codec by each metric that has one."""
    found: dict[str, tuple[float, int, str]] = {}
    for m in (m for m in means(rows) if m.codec == ours):
        named = {"bpp": (m.bpp, 3, "bpp"), "psnr": (m.psnr, 2, "dB"), "ms_ssim": (m.ms_ssim, 4, "")}
        setting = m.setting.removeprefix("q=").replace(".", "_")
        found |= {f"q{setting}_{name}": value for name, value in named.items() if math.isfinite(value[0])}
    for other in dict.fromkeys(row.codec for row in rows if row.codec != ours):
        for metric in METRICS:
            rate = compare(rows, other, ours, metric).rate
            if not isinstance(rate, str):
                found[f"{other}_{metric}"] = (rate.percent, 1, "%")
    return found


def published_figures(
    rows: Sequence[Row], ours: str, published: Sequence[Published], names: Sequence[str]
) -> dict[str, tuple[float, int, str]]:
    """Likewise: BD-rates against curves by their codecs' names."""
    found = {}
    for name in names:
        named = [curve for curve in published if curve.name.split(" (")[0] == name]
        if not named:
            raise SystemExit(f"no published curve is called {name}")
        for curve in named:
            rate = bd_rate_of([p for p in curve.points if math.isfinite(p[1])], curves(rows, [ours], curve.metric)[0][0])
            if not isinstance(rate, str):
                found[f"published_{re.sub('[^a-z0-9]+', '_', name.lower())}_{curve.metric}"] = (rate.percent, 1, "%")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--model", default="mbt2018")
    parser.add_argument("--others", nargs="+", default=["jpeg420", "webp", "jpeg2000"])
    parser.add_argument("--figures", type=Path, metavar="FILE", help="write the run into this file of figures")
    parser.add_argument("--run", default="kodak", help="the run's name there")
    parser.add_argument("--machine", help="the name in docs/lab/machines.md of the machine that made the report")
    parser.add_argument("--command", help="the command that made the report, with folders in capitals")
    parser.add_argument("--published", type=Path, metavar="CSV", help="points that others published")
    parser.add_argument("--dataset", default="kodak", help="of the published points")
    parser.add_argument("--curves", nargs="+", default=["bpg_444_x265_ycbcr", "compressai-mbt2018_mse_cpu"], metavar="CODEC")
    args = parser.parse_args()
    if len({x is None for x in (args.figures, args.machine, args.command)}) > 1:
        parser.error("--figures, --machine and --command go together: a figure says what gave it, and where")
    if args.published is not None and args.figures is None:
        parser.error("--published is for --figures: the table has no published points")
    rows = list(read_results(args.report / "results.csv").values())
    print(*card_table(means(rows), args.model, args.others), sep="\n")
    if args.figures is not None:
        day = datetime.datetime.fromtimestamp((args.report / "results.csv").stat().st_mtime, datetime.UTC).date()
        command = f"{args.command}; python tools/figures/card_table.py --report REPORT --model {args.model}"
        values = card_figures(rows, args.model)
        if args.published is not None:
            command += f" --published CSV --curves {' '.join(args.curves)}"
            values |= published_figures(rows, args.model, read_published(args.published, args.dataset, ["compressai"]), args.curves)
        figures.write(args.figures, args.run, values, command=command, machine=args.machine, date=day)


if __name__ == "__main__":
    main()
