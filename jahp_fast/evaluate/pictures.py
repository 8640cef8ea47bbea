# SPDX-License-Identifier: Apache-2.0
"""BD-rates picture by picture: what a mean curve hides, the pictures that lose and those that cannot be compared.

A mean curve is ruled by the pictures that take most bits. Here every picture counts the same.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields

from jahp_fast.evaluate.curves import METRICS, compare, measured, value_of
from jahp_fast.evaluate.files import printable
from jahp_fast.evaluate.results import Row

NAMED = 5
"""So many pictures without a figure are named in a table; pictures.csv names all of them."""


@dataclass(frozen=True)
class PictureRate:
    """BD-rate of `model` against `codec` on one picture's own curves, in per cent, over qualities from `low` to `high`.

    The three are nan where there is none; `reason` says why then, and is empty otherwise.
    """

    picture: str
    codec: str
    metric: str
    bd_rate: float
    model: str
    low: float
    high: float
    reason: str


PICTURE_COLUMNS = tuple(f.name for f in fields(PictureRate))


def _lossless(rows: Sequence[Row], codec: str, metric: str) -> str:
    """Words for a picture that the other codec gives back as it was: that is no point of a curve, and no draw either."""
    count = sum(row.codec == codec and value_of(row, metric) == math.inf for row in rows)
    return f"; {codec} loses nothing of it at {count} of its settings" if count else ""


@dataclass(frozen=True)
class Spread:
    """The PictureRates of one model against one codec by one metric, ascending: the best first; and those without a figure."""

    model: str
    codec: str
    metric: str
    rates: tuple[PictureRate, ...]
    without: tuple[PictureRate, ...]

    @property
    def mean(self) -> float:
        """Arithmetic, in per cent; nan without a picture."""
        return statistics.fmean(r.bd_rate for r in self.rates) if self.rates else math.nan

    @property
    def median(self) -> float:
        """In per cent; nan without a picture."""
        return statistics.median(r.bd_rate for r in self.rates) if self.rates else math.nan


def picture_rates(
    rows: Sequence[Row], ours: Sequence[str], codecs: Sequence[str], metrics: Sequence[str] | None = None
) -> list[PictureRate]:
    """One for each model of `ours`, each other codec, each metric that was measured (or is given) and each picture."""
    pictures: dict[str, list[Row]] = {}
    for row in rows:
        pictures.setdefault(row.image, []).append(row)
    found = []
    for metric in measured(rows) if metrics is None else metrics:
        for model in ours:
            for codec in (codec for codec in codecs if codec != model):
                for picture, own in pictures.items():
                    rate = compare(own, codec, model, metric).rate
                    values = (math.nan, model, math.nan, math.nan, rate + _lossless(own, codec, metric)) if isinstance(rate, str) else (
                        rate.percent, model, rate.low, rate.high, "")  # fmt: skip
                    found.append(PictureRate(picture, codec, metric, *values))
    return found


def spreads(rates: Sequence[PictureRate]) -> list[Spread]:
    """One for each model, codec and metric, in order of first appearance."""
    groups: dict[tuple[str, str, str], list[PictureRate]] = {}
    for rate in rates:
        groups.setdefault((rate.model, rate.codec, rate.metric), []).append(rate)
    return [
        Spread(*names, tuple(sorted((r for r in group if not r.reason), key=lambda r: r.bd_rate)), tuple(r for r in group if r.reason))
        for names, group in groups.items()
    ]


SPREAD_TITLES = ("against", "metric", "pictures", "mean", "median", "best", "worst", "not compared")


def spread_rows(rates: Sequence[PictureRate], model: str) -> list[list[str]]:
    """Of one model a row for each codec and metric, under SPREAD_TITLES."""
    out = []
    for s in spreads([rate for rate in rates if rate.model == model]):
        figures = ["-"] * 4
        if s.rates:
            best, worst = s.rates[0], s.rates[-1]
            figures = [f"{s.mean:+.1f} %", f"{s.median:+.1f} %", *(f"{r.bd_rate:+.1f} % ({r.picture})" for r in (best, worst))]
        out.append([s.codec, METRICS[s.metric][0], str(len(s.rates)), *figures, _named(s.without)])
    return out


def _named(without: Sequence[PictureRate]) -> str:
    if not without:
        return "0"
    more = f" and {len(without) - NAMED} more" if len(without) > NAMED else ""
    return f"{len(without)}: {', '.join(r.picture for r in without[:NAMED])}{more}"


def image_rows(rows: Sequence[Row], name: str, others: Sequence[str]) -> list[list[str]]:
    """A row for each image: the BD-rate of `name` against each other codec on that image alone, by PSNR, in per cent."""
    found: dict[str, dict[str, PictureRate]] = {}
    for rate in picture_rates(rows, [name], others, ["psnr"]):
        found.setdefault(rate.picture, {})[rate.codec] = rate
    return [[image, *("-" if own[o].reason else f"{own[o].bd_rate:+.1f} %" for o in others)] for image, own in found.items()]


def summary(rates: Sequence[PictureRate], model: str) -> str:
    """One line: of each codec mean, median, best and worst by PSNR, and of how many pictures."""
    parts = []
    for s in spreads([rate for rate in rates if (rate.model, rate.metric) == (model, "psnr")]):
        count = f"{len(s.rates)} of {len(s.rates) + len(s.without)}"
        range_ = f"{s.median:+.1f}; {s.rates[0].bd_rate:+.1f} to {s.rates[-1].bd_rate:+.1f}; " if s.rates else ""
        parts.append(f"{s.codec} {f'{s.mean:+.1f} %' if s.rates else '-'} ({range_}{count})")
    return printable(f"{model} by PSNR, mean (median; best to worst; pictures): {', '.join(parts)}") if parts else ""
