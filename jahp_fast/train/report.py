# SPDX-License-Identifier: Apache-2.0
"""What a run shows: a progress line, two CSV files and a picture of its rate-distortion curve."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from jahp_fast.errors import JahpError
from jahp_fast.system.atomic import write_atomically
from jahp_fast.train.loss import HeldOut

LOG, HELD_OUT_LOG, PICTURE = "log.csv", "held_out.csv", "rd.png"
LOG_COLUMNS = ("step", "crops", "minutes", "loss", "bpp", "mse", "lr", "crops_per_second")
HELD_OUT_COLUMNS = ("step", "crops", "minutes", "quality", "bpp", "psnr")


def append_rows(path: Path, columns: Sequence[str], rows: Sequence[Sequence[float | int]]) -> None:
    """Appends rows to a CSV file, under a heading if it is new. Raises JahpError if it cannot."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    try:
        with path.open("a", encoding="utf-8") as f:
            if f.tell() == 0:
                writer.writerow(columns)
            writer.writerows([[f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in rows])
            f.write(text.getvalue())
    except OSError as e:
        raise JahpError(f"cannot write {path}: {e.strerror}") from None


def held_out_rows(step: int, crops: int, minutes: float, results: Sequence[HeldOut]) -> list[list[float | int]]:
    """Rows of held_out.csv."""
    return [[step, crops, minutes, r.quality, r.bpp, r.psnr] for r in results]


def describe(results: Sequence[HeldOut]) -> str:
    """One line of the held-out figures."""
    return "held out: " + ", ".join(f"q{r.quality} {r.bpp:.3f} bpp {r.psnr:.2f} dB" for r in results)


def draw(work: Path) -> str:
    """Draws WORK/rd.png out of WORK/held_out.csv: the first and the last measurement. Returns a line that says what happened."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return f"matplotlib is not installed: no {PICTURE}"
    curves: dict[int, list[tuple[float, float]]] = {}
    with (work / HELD_OUT_LOG).open(encoding="utf-8") as f:
        for row in csv.DictReader(f):
            curves.setdefault(int(row["step"]), []).append((float(row["bpp"]), float(row["psnr"])))
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="estimated bits per pixel", ylabel="PSNR (dB, 8-bit RGB)", title="Held-out photos")
    for step in sorted({min(curves), max(curves)}):
        axes.plot(*zip(*sorted(curves[step]), strict=True), marker="o", label=f"step {step}")
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(work / PICTURE, buffer.getvalue())
    return f"wrote {work / PICTURE}"
