# SPDX-License-Identifier: Apache-2.0
"""Rate-distortion curves out of measured rows, over the images that they have in common; their BD-rates; published curves."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jahp_fast.errors import UsageError
from jahp_fast.evaluate.metrics import BD_MIN_POINTS, BDRate, bd_rate, ms_ssim_db
from jahp_fast.evaluate.results import Mean, Row, means

Points = list[tuple[float, float]]
METRICS = {"psnr": ("PSNR", "dB"), "ms_ssim": ("MS-SSIM", "dB"), "ssimulacra2": ("SSIMULACRA 2", "")}
"""By field: what a metric is called, and its unit (MS-SSIM is compared on its dB scale)."""


def value_of(row: Mean | Row, metric: str) -> float:
    """A metric's value on the scale on which curves are drawn."""
    return ms_ssim_db(row.ms_ssim) if metric == "ms_ssim" else float(getattr(row, metric))


def rate_of(mean: Mean, metric: str) -> float:
    """Bits per pixel, over the images that the metric's mean stands for."""
    return mean.bpp if metric == "psnr" else float(getattr(mean, f"{metric}_bpp"))


def images_of(mean: Mean, metric: str) -> int:
    """How many images the metric's mean stands for."""
    return mean.images if metric == "psnr" else int(getattr(mean, f"{metric}_images"))


def curves(rows: Sequence[Row], codecs: Sequence[str], metric: str) -> tuple[list[Points], int]:
    """Of each codec the finite points (bpp, value) of its mean curve, by rate; and the number of images behind them.

    All points of all the curves are means over the same images: those that have the metric at every setting of every
    one of these codecs. A mean with an image that came back without loss is infinite. Where that leaves a curve fewer
    points than a BD-rate needs, such images are left out, if it has more of them then.
    """
    found = _curves(rows, codecs, metric)
    if (least := min(map(len, found[0]))) >= BD_MIN_POINTS:
        return found
    lossless = {row.image for row in rows if row.codec in codecs and value_of(row, metric) == math.inf}
    others = _curves([row for row in rows if row.image not in lossless], codecs, metric)
    return others if min(map(len, others[0])) > least else found


def _curves(rows: Sequence[Row], codecs: Sequence[str], metric: str) -> tuple[list[Points], int]:
    having: dict[tuple[str, str], set[str]] = {}
    some = [row for row in rows if row.codec in codecs and not math.isnan(value_of(row, metric))]
    for row in some:
        having.setdefault((row.codec, row.setting), set()).add(row.image)
    common = set.intersection(*having.values()) if {codec for codec, _ in having} == set(codecs) else set()
    table = means([row for row in some if row.image in common])
    points = [[(rate_of(m, metric), value_of(m, metric)) for m in table if m.codec == codec] for codec in codecs]
    return [sorted(p for p in curve if math.isfinite(p[1])) for curve in points], len(common)


def measured(rows: Sequence[Row]) -> list[str]:
    """The metrics in which some codec has a curve."""
    codecs = list(dict.fromkeys(row.codec for row in rows))
    return [metric for metric in METRICS if any(curves(rows, [codec], metric)[0][0] for codec in codecs)]


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
            for record in csv.DictReader(file, restval=""):
                metric = _PUBLISHED.get(record["metric"])
                datasets.add(record["dataset"])
                if metric is None or record["dataset"] != dataset or (sources and record["source"] not in sources):
                    continue
                value = float(record["value"])
                value = ms_ssim_db(value) if metric == "ms_ssim" and value <= 1 else value
                curves.setdefault((f"{record['codec']} ({record['source']})", metric), []).append((float(record["bpp"]), value))
    except (OSError, KeyError, ValueError, csv.Error) as error:
        wanted = "dataset, source, codec, metric, bpp, value"
        raise UsageError(f"{path}: not a CSV of published points with the columns {wanted}: {error}") from error
    if dataset not in datasets:
        raise UsageError(f"{path} has no points of {dataset!r} but of {', '.join(sorted(datasets))}: name one with --dataset")
    return [Published(name, metric, tuple(sorted(points))) for (name, metric), points in curves.items()]


@dataclass(frozen=True)
class Comparison:
    """A BD-rate, or a str that says why there is none, and the number of images behind it."""

    rate: BDRate | str
    images: int


def compare(rows: Sequence[Row], anchor: str, tested: str, metric: str) -> Comparison:
    """BD-rate of `tested` against `anchor` by a metric of METRICS, on their `curves` over common images.

    Points that are lossless are left out.
    """
    (first, second), images = curves(rows, [anchor, tested], metric)
    return Comparison(bd_rate_of(first, second), images)


def bd_rate_of(anchor: Points, tested: Points) -> BDRate | str:
    """The BD-rate of two curves, or why there is none.

    Settings that give the same file, as those of a picture that nothing improves any more, are one point.
    """
    anchor, tested = sorted(set(anchor)), sorted(set(tested))
    try:
        return bd_rate([p[0] for p in anchor], [p[1] for p in anchor], [p[0] for p in tested], [p[1] for p in tested])
    except UsageError as error:
        return str(error)
