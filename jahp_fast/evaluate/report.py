# SPDX-License-Identifier: Apache-2.0
"""Results of an evaluation: rows and their CSV, means over images, BD-rates, the plot and the report.

`results.csv` has a line an image and setting; its last column, `key`, is a hash of everything the line depends on (the
image file's bytes, the codec's description, the setting, the metrics), by which an interrupted run knows which lines still hold.
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
from typing import Any

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
    ssimulacra2: float
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
    ssimulacra2: float
    encode_s: float
    decode_s: float


_FORMATS = {"bpp": ".6f", "psnr": ".4f", "ms_ssim": ".6f", "ssimulacra2": ".3f", "encode_s": ".4f", "decode_s": ".4f"}


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
        text = path.read_text("utf-8", "surrogateescape")
    except OSError as error:
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
                ssimulacra2=float(record["ssimulacra2"]), encode_s=float(record["encode_s"]),
                decode_s=float(record["decode_s"]), key=record["key"],
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
                sum(r.ms_ssim for r in members) / n, sum(r.ssimulacra2 for r in members) / n,
                sum(r.encode_s for r in members) / n, sum(r.decode_s for r in members) / n,
            )
        )  # fmt: skip
    return result


METRICS = {"psnr": ("PSNR", "dB"), "ms_ssim": ("MS-SSIM", "dB"), "ssimulacra2": ("SSIMULACRA 2", "")}
"""By field: what a metric is called, and its unit (MS-SSIM is compared on its dB scale)."""


def value_of(row: Mean | Row, metric: str) -> float:
    """A metric's value on the scale on which curves are drawn."""
    return ms_ssim_db(row.ms_ssim) if metric == "ms_ssim" else float(getattr(row, metric))


def measured(table: Sequence[Mean]) -> list[str]:
    """The metrics that some row has."""
    return [metric for metric in METRICS if any(math.isfinite(value_of(row, metric)) for row in table)]


@dataclass(frozen=True)
class Published:
    """A curve that others published: points (bpp, value) of one codec by one metric of METRICS."""

    name: str
    metric: str
    points: tuple[tuple[float, float], ...]


_PUBLISHED = {"psnr-rgb": "psnr", "ms-ssim-rgb": "ms_ssim"}


def read_published(path: Path, dataset: str, sources: Sequence[str] = ()) -> list[Published]:
    """Curves of a CSV with the columns dataset, source, codec, metric ("psnr-rgb", "ms-ssim-rgb"), bpp and value.

    Other metrics and datasets are passed over.

    Raises UsageError, naming the file, for another one, and for a dataset that is not in it.
    """
    curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
    datasets: set[str] = set()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for record in csv.DictReader(file):
                metric = _PUBLISHED.get(record["metric"])
                datasets.add(record["dataset"])
                if metric is None or record["dataset"] != dataset or (sources and record["source"] not in sources):
                    continue
                value = float(record["value"])
                value = ms_ssim_db(value) if metric == "ms_ssim" and value <= 1 else value
                curves.setdefault((f"{record['codec']} ({record['source']})", metric), []).append((float(record["bpp"]), value))
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        wanted = "dataset, source, codec, metric, bpp, value"
        raise UsageError(f"{path}: not a CSV of published points with the columns {wanted}: {error}") from error
    if dataset not in datasets:
        raise UsageError(f"{path} has no points of {dataset!r} but of {', '.join(sorted(datasets))}: name one with --dataset")
    return [Published(name, metric, tuple(sorted(points))) for (name, metric), points in curves.items()]


def compare(table: Sequence[Mean], anchor: str, tested: str, metric: str) -> BDRate | str:
    """BD-rate of `tested` against `anchor` on the mean curves by a metric of METRICS; a str says why there is none.

    Points that are lossless or undefined (inf or nan) are left out.
    """
    curves = []
    for codec in (anchor, tested):
        points = [(m.bpp, value_of(m, metric)) for m in table if m.codec == codec]
        points = [p for p in points if math.isfinite(p[1])]
        curves.append(([p[0] for p in points], [p[1] for p in points]))
    try:
        return bd_rate(*curves[0], *curves[1])
    except UsageError as error:
        return str(error)


_LEGEND_ROWS = 30


def plot(table: Sequence[Mean], title: str, published: Sequence[Published] = ()) -> bytes | None:
    """A PNG of the mean metrics over bits a pixel, a line a codec, published ones dotted; None where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    shown = measured(table)
    codecs = list(dict.fromkeys(m.codec for m in table))
    names = codecs + list(dict.fromkeys(curve.name for curve in published))
    columns = -(-len(names) // _LEGEND_ROWS)
    figure = Figure(figsize=(6 * len(shown) + 2.6 * columns, 5), layout="constrained")
    most = 1.25 * max((row.bpp for row in table if row.codec == codecs[0]), default=1.0)  # others' rates that ours never reach say nothing
    lines: dict[str, Any] = {}
    for axes, metric in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for i, name in enumerate(names):
            if i < len(codecs):
                style: dict[str, Any] = {"marker": "."}
                points = [(m.bpp, value_of(m, metric)) for m in table if m.codec == name]
            else:
                style = {"linestyle": ":", "linewidth": 1}
                points = [p for curve in published if (curve.name, curve.metric) == (name, metric) for p in curve.points]
            points = sorted(p for p in points if math.isfinite(p[1]) and p[0] <= most)
            if points:
                lines[name] = axes.plot([p[0] for p in points], [p[1] for p in points], color=f"C{i}", **style)[0]
        label, unit = METRICS[metric]
        axes.set(xlabel="bits per pixel, whole file", ylabel=f"{label} of 8-bit RGB{f' ({unit})' if unit else ''}")
        axes.grid(alpha=0.3)
    figure.legend(lines.values(), lines.keys(), loc="outside right upper", fontsize="x-small", ncols=columns)
    figure.suptitle(title.replace("$", r"\$"))
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120)
    return out.getvalue()


def bd_rows(table: Sequence[Mean], name: str, others: Sequence[str], published: Sequence[Published] = ()) -> list[list[str]]:
    """A row for each other codec and published curve: its name, and the BD-rate of `name` against it by each metric."""
    metrics = measured(table)
    rows = [[other, *(_bd(compare(table, other, name, metric), metric) for metric in metrics)] for other in others]
    for curve in published:
        mine = [(m.bpp, value_of(m, curve.metric)) for m in table if m.codec == name]
        mine = [p for p in mine if math.isfinite(p[1])]
        try:
            theirs = [p[0] for p in curve.points], [p[1] for p in curve.points]
            rate: BDRate | str = bd_rate(*theirs, [p[0] for p in mine], [p[1] for p in mine])
        except UsageError as error:
            rate = str(error)
        rows.append([curve.name, *(_bd(rate, metric) if metric == curve.metric else "" for metric in metrics)])
    return rows


def markdown(
    table: Sequence[Mean],
    *,
    images: str,
    descriptions: Mapping[str, str],
    ours: Sequence[str],
    machine: str,
    plotted: bool,
    missing: Mapping[str, str] | None = None,
    published: Sequence[Published] = (),
    rows: Sequence[Row] = (),
) -> str:
    """report.md: what was measured and how, BD-rates of each of `ours` against every other codec, the table of means, the images."""
    lines = ["# Rate and distortion", "", f"{images} {_METHOD} {machine}.", "", "| codec | settings |", "|---|---|"]
    lines += [f"| {cell(name)} | {cell(text)} |" for name, text in descriptions.items()]
    lines += [f"| {cell(name)} | **not measured**: {cell(reason)} |" for name, reason in (missing or {}).items()]
    if plotted:
        lines += ["", "![rate and distortion](plot.png)"]
    for name in ours:
        others = [codec for codec in descriptions if codec != name]
        if others or published:
            names = [METRICS[metric][0] for metric in measured(table)]
            lines += ["", f"## BD-rate of {name}", "", _BD_METHOD, ""]
            lines += [f"| against | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
            lines += [f"| {' | '.join(map(cell, row))} |" for row in bd_rows(table, name, others, published)]
    titles = ("codec", "setting", "images", "bytes", "bpp", "PSNR dB", "MS-SSIM", "MS-SSIM dB", "SSIMULACRA 2", "encode s", "decode s")
    lines += ["", "## Means", "", f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    lines += [
        f"| {m.codec} | {m.setting} | {m.images} | {m.bytes:.0f} | {m.bpp:.4f} | {m.psnr:.2f} | {m.ms_ssim:.4f} "
        f"| {ms_ssim_db(m.ms_ssim):.2f} | {m.ssimulacra2:.2f} | {m.encode_s:.3f} | {m.decode_s:.3f} |"
        for m in table
    ]
    if rows and ours:
        lines += ["", "## Image by image", "", _IMAGE_METHOD.format(name=ours[0]), ""]
        others = [codec for codec in descriptions if codec != ours[0]]
        lines += [f"| image | {' | '.join(others)} |", "|---" * (1 + len(others)) + "|"]
        lines += [f"| {' | '.join(map(cell, row))} |" for row in image_rows(rows, ours[0], others)]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """A name, of a file perhaps, as text in a cell of a Markdown table: nothing in it ends the cell, or is markup."""
    text = " ".join(text.split())
    for mark in "&<|`*":
        text = text.replace(mark, f"&#{ord(mark)};")
    return text.replace("](", "]&#40;")


def image_rows(rows: Sequence[Row], name: str, others: Sequence[str]) -> list[list[str]]:
    """A row an image: the BD-rate of `name` against each other codec on that image alone, by PSNR, in per cent."""
    out = []
    for image in dict.fromkeys(row.image for row in rows):
        mine = means([row for row in rows if row.image == image])
        rates = [compare(mine, other, name, "psnr") for other in others]
        out.append([image, *("-" if isinstance(rate, str) else f"{rate.percent:+.1f} %" for rate in rates)])
    return out


_IMAGE_METHOD = """BD-rate of {name} by PSNR against each codec, on each image's own curves; - where they do not overlap."""

_METHOD = """Every file was really written and read back; sizes are whole files. PSNR is of 8-bit RGB (one MSE over the
three channels; the mean of the images' dB). MS-SSIM is the mean of the three channels at five scales, nan where an image is
below 161 pixels; on the dB scale it is -10 log10(1 - MS-SSIM). Times are single runs of wall clock, from pixels to bytes and from
bytes to pixels, on"""

_BD_METHOD = """Mean difference in file size at equal quality, negative where ours is smaller: PCHIP of the log rate on the
mean curves, over the qualities that both codecs reach (in brackets)."""


def _bd(value: BDRate | str, metric: str) -> str:
    unit = METRICS[metric][1]
    return value if isinstance(value, str) else f"{value.percent:+.1f} % ({value.low:.1f} to {value.high:.1f}{unit and ' ' + unit})"


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
