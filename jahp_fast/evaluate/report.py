# SPDX-License-Identifier: Apache-2.0
"""Results of an evaluation: rows and their CSV, means over images, BD-rates, the plot and the report.

`results.csv` has a line an image and setting; its last column, `key`, is a hash of everything the line depends on (the
image's size and time, the codec's description, the setting), by which an interrupted run knows which lines still hold.
"""

from __future__ import annotations

import csv
import io
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from jahp_fast.errors import UsageError
from jahp_fast.evaluate.metrics import BDRate, bd_rate, ms_ssim_db


@dataclass(frozen=True)
class Row:
    """One image at one setting. `bytes` is the whole file, `bpp` bits a pixel, `psnr` in dB, times in wall-clock seconds."""

    codec: str
    setting: str
    image: str
    bytes: int
    bpp: float
    psnr: float
    ms_ssim: float
    encode_s: float
    decode_s: float
    key: str


@dataclass(frozen=True)
class Mean:
    """Arithmetic means over the images of one codec and setting (`psnr` is the mean of the images' dB)."""

    codec: str
    setting: str
    images: int
    bytes: float
    bpp: float
    psnr: float
    ms_ssim: float
    encode_s: float
    decode_s: float


_FORMATS = {"bpp": ".6f", "psnr": ".4f", "ms_ssim": ".6f", "encode_s": ".4f", "decode_s": ".4f"}


def to_csv(rows: Sequence[Row] | Sequence[Mean], kind: type[Row] | type[Mean]) -> str:
    """A header of the fields' names and a line a row; floats with fixed decimals, nan and inf as those words."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [f.name for f in fields(kind)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = asdict(row)
        writer.writerow({name: format(value, _FORMATS.get(name, ".1f" if isinstance(value, float) else ""))
                         for name, value in values.items()})  # fmt: skip
    return out.getvalue()


def read_results(path: Path) -> dict[str, Row]:
    """Rows of an earlier results.csv by key; empty without the file. UsageError, naming it, when it is some other file."""
    if not path.exists():
        return {}
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as the results of an earlier run: {error}") from error
    reader = csv.DictReader(io.StringIO(text))
    expected = [f.name for f in fields(Row)]
    if reader.fieldnames != expected:
        raise UsageError(f"{path}: not the results of an earlier run (its columns differ); move it away or choose another --out")
    rows = {}
    for record in reader:
        try:
            row = Row(
                codec=record["codec"], setting=record["setting"], image=record["image"], bytes=int(record["bytes"]),
                bpp=float(record["bpp"]), psnr=float(record["psnr"]), ms_ssim=float(record["ms_ssim"]),
                encode_s=float(record["encode_s"]), decode_s=float(record["decode_s"]), key=record["key"],
            )  # fmt: skip
        except (TypeError, ValueError) as error:
            raise UsageError(f"{path}: line {reader.line_num} is damaged; move the file away or choose another --out") from error
        rows[row.key] = row
    return rows


def means(rows: Sequence[Row]) -> list[Mean]:
    """One Mean for each codec and setting, in order of first appearance."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.codec, row.setting), []).append(row)
    result = []
    for (codec, setting), members in groups.items():
        n = len(members)
        result.append(
            Mean(
                codec, setting, n,
                sum(r.bytes for r in members) / n, sum(r.bpp for r in members) / n, sum(r.psnr for r in members) / n,
                sum(r.ms_ssim for r in members) / n, sum(r.encode_s for r in members) / n, sum(r.decode_s for r in members) / n,
            )
        )  # fmt: skip
    return result


def compare(table: Sequence[Mean], anchor: str, tested: str, metric: str) -> BDRate | str:
    """BD-rate of `tested` against `anchor` on the mean curves, metric "psnr" or "ms_ssim" (in dB); a str says why there is none.

    Points that are lossless or undefined (inf or nan) are left out.
    """
    curves = []
    for codec in (anchor, tested):
        points = [(m.bpp, m.psnr if metric == "psnr" else ms_ssim_db(m.ms_ssim)) for m in table if m.codec == codec]
        points = [p for p in points if math.isfinite(p[1])]
        curves.append(([p[0] for p in points], [p[1] for p in points]))
    try:
        return bd_rate(*curves[0], *curves[1])
    except UsageError as error:
        return str(error)


def plot(table: Sequence[Mean], title: str) -> bytes | None:
    """A PNG of mean PSNR and MS-SSIM (dB) over bits a pixel, a line a codec; None where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(12, 5), layout="constrained")
    for axes, label, metric in zip(
        figure.subplots(1, 2), ("PSNR of 8-bit RGB (dB)", "MS-SSIM (dB)"), ("psnr", "ms_ssim"), strict=True
    ):
        for codec in dict.fromkeys(m.codec for m in table):
            points = [(m.bpp, m.psnr if metric == "psnr" else ms_ssim_db(m.ms_ssim)) for m in table if m.codec == codec]
            points = sorted(p for p in points if math.isfinite(p[1]))
            axes.plot([p[0] for p in points], [p[1] for p in points], marker=".", label=codec)
        axes.set(xlabel="bits per pixel, whole file", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120)
    return out.getvalue()


def markdown(
    table: Sequence[Mean], *, images: str, descriptions: Mapping[str, str], ours: Sequence[str], machine: str, plotted: bool
) -> str:
    """report.md: what was measured and how, BD-rates of each of `ours` against every other codec, and the table of means."""
    lines = ["# Rate and distortion", "", f"{images} {_METHOD} {machine}.", "", "| codec | settings |", "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in descriptions.items()]
    if plotted:
        lines += ["", "![rate and distortion](plot.png)"]
    for name in ours:
        others = [codec for codec in descriptions if codec != name]
        if others:
            lines += ["", f"## BD-rate of {name}", "", _BD_METHOD, "", "| against | PSNR | MS-SSIM |", "|---|---|---|"]
        for other in others:
            cells = [_bd(compare(table, other, name, metric)) for metric in ("psnr", "ms_ssim")]
            lines.append(f"| {other} | {cells[0]} | {cells[1]} |")
    titles = ("codec", "setting", "images", "bytes", "bpp", "PSNR dB", "MS-SSIM", "MS-SSIM dB", "encode s", "decode s")
    lines += ["", "## Means", "", f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    lines += [
        f"| {m.codec} | {m.setting} | {m.images} | {m.bytes:.0f} | {m.bpp:.4f} | {m.psnr:.2f} | {m.ms_ssim:.4f} "
        f"| {ms_ssim_db(m.ms_ssim):.2f} | {m.encode_s:.3f} | {m.decode_s:.3f} |"
        for m in table
    ]
    return "\n".join(lines) + "\n"


_METHOD = """Every file was really written and read back; sizes are whole files. PSNR is of 8-bit RGB (one MSE over the
three channels; the mean of the images' dB). MS-SSIM is the mean of the three channels at five scales, nan where an image is
below 161 pixels; on the dB scale it is -10 log10(1 - MS-SSIM). Times are single runs of wall clock, from pixels to bytes and from
bytes to pixels, on"""

_BD_METHOD = """Mean difference in file size at equal quality, negative where ours is smaller: PCHIP of the log rate on the
mean curves, over the qualities that both codecs reach (in brackets)."""


def _bd(value: BDRate | str) -> str:
    return value if isinstance(value, str) else f"{value.percent:+.1f} % ({value.low:.1f} to {value.high:.1f} dB)"


def describe_machine() -> str:
    """Where times were measured: CPU model, cores this process may use, system and Python, as one phrase."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{_cpu_model()}, {cores} cores, {platform.system()}, Python {platform.python_version()}"


def _cpu_model() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
