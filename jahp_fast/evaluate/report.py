# SPDX-License-Identifier: Apache-2.0
"""The report of an evaluation: the tables of BD-rates, the plot and report.md."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from jahp_fast.evaluate.curves import METRICS, Comparison, Published, bd_rate_of, compare, curves, images_of, measured
from jahp_fast.evaluate.files import printable
from jahp_fast.evaluate.metrics import ms_ssim_db
from jahp_fast.evaluate.pictures import SPREAD_TITLES, PictureRate, image_rows, spread_rows
from jahp_fast.evaluate.results import Failure, Mean, Row, means

_LEGEND_ROWS = 30


def plot(rows: Sequence[Row], title: str, published: Sequence[Published] = ()) -> bytes | str:
    """A PNG of the mean metrics over bits per pixel, a line a codec, published ones dotted; or why there is none.

    Metrics without a finite figure have no panel.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "matplotlib is not installed (pip install 'jahp_fast[bench]')"
    shown = measured(rows)
    if not shown:
        return "no figure is finite"
    codecs = list(dict.fromkeys(row.codec for row in rows))
    names = codecs + list(dict.fromkeys(curve.name for curve in published))
    columns = -(-len(names) // _LEGEND_ROWS)
    figure = Figure(figsize=(6 * len(shown) + 2.6 * columns, 5), layout="constrained")
    total = len({row.image for row in rows})
    lines: dict[str, Any] = {}
    for axes, metric in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        counts = set()
        (first,), _ = curves(rows, codecs[:1], metric)
        most = 1.25 * first[-1][0] if first else math.inf  # others' rates that ours never reach say nothing
        for i, name in enumerate(names):
            if i < len(codecs):
                style: dict[str, Any] = {"marker": "."}
                (points,), images = curves(rows, [name], metric)
                counts |= {images} if points else set()
            else:
                style = {"linestyle": ":", "linewidth": 1}
                points = [p for curve in published if (curve.name, curve.metric) == (name, metric) for p in curve.points]
            points = sorted(p for p in points if math.isfinite(p[1]) and p[0] <= most)
            if points:
                lines[name] = axes.plot([p[0] for p in points], [p[1] for p in points], color=f"C{i}", **style)[0]
        label, unit = METRICS[metric]
        axes.set(xlabel="bits per pixel, whole file", ylabel=f"{label} of 8-bit RGB{f' ({unit})' if unit else ''}")
        axes.grid(alpha=0.3)
        if counts != {total}:
            axes.set_title(
                f"of {' to '.join(map(str, sorted({min(counts), max(counts)})))} of the {total} images",
                fontsize="small",
            )
    drawn = [name for name in names if name in lines]
    figure.legend([lines[name] for name in drawn], [_label(name) for name in drawn], loc="outside right upper",
                  fontsize="x-small", ncols=columns)  # fmt: skip
    figure.suptitle(_label(title))
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)  # of a name in another script: it is a box then
        figure.savefig(out, format="png", dpi=120)
    return out.getvalue()


def _label(text: str) -> str:
    """A name as text of a plot: no formula, and none of those that the legend leaves out."""
    text = printable(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def bd_rows(rows: Sequence[Row], name: str, others: Sequence[str], published: Sequence[Published] = ()) -> list[list[str]]:
    """A row for each other codec and published curve: its name, and the BD-rate of `name` against it by each metric."""
    metrics, total = measured(rows), len({row.image for row in rows})
    lines = [[other, *(_bd(compare(rows, other, name, metric), metric, total) for metric in metrics)] for other in others]
    for curve in published:
        (mine,), images = curves(rows, [name], curve.metric)
        rate = Comparison(bd_rate_of([p for p in curve.points if math.isfinite(p[1])], mine), images)
        lines.append([curve.name, *(_bd(rate, metric, total) if metric == curve.metric else "" for metric in metrics)])
    return lines


def markdown(
    rows: Sequence[Row],
    *,
    images: str,
    descriptions: Mapping[str, str],
    ours: Sequence[str],
    machine: str,
    plotted: bool,
    missing: Mapping[str, str] | None = None,
    published: Sequence[Published] = (),
    failures: Sequence[Failure] = (),
    rates: Sequence[PictureRate] = (),
) -> str:
    """report.md: what was measured and how, BD-rates of `ours` against every other codec, means, images, errors.

    `rates` are the BD-rates picture by picture.
    """
    lines = ["# Rate and distortion", "", f"{images} {_METHOD} {machine}.", "", "| codec | settings |", "|---|---|"]
    lines += [f"| {cell(name)} | {cell(text)} |" for name, text in descriptions.items()]
    lines += [f"| {cell(name)} | **not measured**: {cell(reason)} |" for name, reason in (missing or {}).items()]
    shown = measured(rows)
    if absent := [METRICS[metric][0] for metric in METRICS if metric not in shown]:
        lines += ["", f"Left out of plot and BD-rates, because no image has a finite figure: {', '.join(absent)}."]
    if plotted:
        lines += ["", "![rate and distortion](plot.png)"]
    for name in ours:
        others = [codec for codec in descriptions if codec != name]
        if others or published:
            names = [METRICS[metric][0] for metric in shown]
            lines += ["", f"## BD-rate of {cell(name)}", "", _BD_METHOD, ""]
            lines += [f"| against | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
            lines += [f"| {' | '.join(map(cell, row))} |" for row in bd_rows(rows, name, others, published)]
        if spread := spread_rows(rates, name):
            lines += ["", "Picture by picture:", "", _PICTURES_METHOD, ""]
            lines += [f"| {' | '.join(SPREAD_TITLES)} |", "|---" * len(SPREAD_TITLES) + "|"]
            lines += [f"| {' | '.join(map(cell, row))} |" for row in spread]
    titles = (
        "codec",
        "setting",
        "images",
        "bytes",
        "bpp",
        "PSNR dB",
        "MS-SSIM",
        "MS-SSIM dB",
        "SSIMULACRA 2",
        "encode s",
        "decode s",
    )
    lines += ["", "## Means", "", _MEAN_METHOD, "", f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    lines += [
        f"| {cell(m.codec)} | {m.setting} | {m.images} | {m.bytes:.0f} | {m.bpp:.4f} | {_figure(m.psnr, 2)} "
        f"| {_figure(m.ms_ssim, 4)}{_of(m, 'ms_ssim')} | {_figure(ms_ssim_db(m.ms_ssim), 2)} "
        f"| {_figure(m.ssimulacra2, 2)}{_of(m, 'ssimulacra2')} | {m.encode_s:.3f} | {m.decode_s:.3f} |"
        for m in means(rows)
    ]
    if rows and ours:
        lines += ["", "## Image by image", "", _IMAGE_METHOD.format(name=cell(ours[0])), ""]
        others = [codec for codec in descriptions if codec != ours[0]]
        lines += [f"| image | {' | '.join(map(cell, others))} |", "|---" * (1 + len(others)) + "|"]
        lines += [f"| {' | '.join(map(cell, row))} |" for row in image_rows(rows, ours[0], others)]
    if failures:
        lines += ["", "## Errors", "", _ERRORS, "", "| image | codec | settings | error |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(map(cell, row))} |" for row in error_rows(failures)]
    return "\n".join(lines) + "\n"


def error_rows(failures: Sequence[Failure]) -> list[list[str]]:
    """Image, codec, settings and error, a row for those that differ in their setting alone."""
    settings: dict[tuple[str, str, str], list[str]] = {}
    for f in failures:
        settings.setdefault((f.image, f.codec, f.error), []).append(f.setting)
    return [[image, codec, " ".join(labels), error] for (image, codec, error), labels in settings.items()]


def _figure(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else "∞" if value == math.inf else f"{value:.{digits}f}"


def _of(mean: Mean, metric: str) -> str:
    """The number of images behind a figure, where it is not that of the row."""
    count = images_of(mean, metric)
    return f" ({count})" if 0 < count < mean.images else ""


def cell(text: str) -> str:
    """A name, of a file perhaps, as text in a cell of a Markdown table: nothing in it ends the cell, or is markup."""
    text = printable(" ".join(text.split()))
    for mark in "&<|`*\\":
        text = text.replace(mark, f"&#{ord(mark)};")
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])|~", lambda mark: f"&#{ord(mark[0])};", text).replace("](", "]&#40;")


_IMAGE_METHOD = """BD-rate of {name} by PSNR against each codec, on each image's own curves; - where there is none."""

_METHOD = """Every file was really written and read back; sizes are whole files. PSNR is of 8-bit RGB (one MSE over the
three channels; the mean of the images' dB). MS-SSIM is the mean of the three channels at five scales, which an image
below 161 pixels does not have; on the dB scale it is -10 log10(1 - MS-SSIM). Times are single runs of wall clock, from
pixels to bytes and from bytes to pixels, on"""

_BD_METHOD = """Mean difference in file size at equal quality, negative where ours is smaller: PCHIP of the log rate on
the mean curves, over the qualities that both codecs reach (in brackets), and over the images that have the metric at
every setting of both (their number in brackets, where it is not all). An image that came back without loss makes a
mean infinite, which is no point; where fewer than four points are left, such images are."""

_PICTURES_METHOD = """The BD-rate of every picture on its own two curves, over the qualities from the higher of their
lowest points to the lower of their highest, and then the mean, the median, the smallest and the largest of these: every
picture counts the same, where in mean curves those rule that take most bits. A picture is not compared where a curve
has fewer than four points, or where the two reach no quality in common; pictures.csv says which, why, and each range."""

_MEAN_METHOD = """Images without a figure are left out of its mean. Where it is not of all the images of its row, their
number is in brackets; - is a mean of none, ∞ one with an image that came back without loss."""

_ERRORS = """These were not measured. They are in no mean; an image that one codec has no figures of is left out of what
compares it."""


def _bd(value: Comparison, metric: str, total: int) -> str:
    rate, unit = value.rate, METRICS[metric][1]
    count = f"; {value.images} of {total} images" if value.images < total else ""
    if isinstance(rate, str):
        return f"{rate} ({count.lstrip('; ')})" if count else rate
    return f"{rate.percent:+.1f} % ({rate.low:.1f} to {rate.high:.1f}{unit and ' ' + unit}{count})"
