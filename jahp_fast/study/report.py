# SPDX-License-Identifier: Apache-2.0
"""What a study leaves behind: runs.csv, a table and a text (study.md), and plots with every seed on them."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from jahp_fast.errors import UsageError
from jahp_fast.study.prior import BASE, FACTORS
from jahp_fast.study.run import Outcome
from jahp_fast.system.atomic import write_atomically

RUNS, TEXT, PLOT = "runs.csv", "study.md", "factors.png"
_COLUMNS = [f.name for f in fields(Outcome)]
_KINDS: dict[str, Callable[[str], Any]] = {"variant": str, "joint": lambda v: v == "True", "seed": int, "steps": int, "parameters": int}
_CLAIMS = (
    ("no context", "joint", "A context model beside the hyperprior saves rate"),
    ("no hyperprior", "joint", "A hyperprior beside the context model saves rate"),
    ("factorised", "no hyperprior", "A context model alone saves rate against fixed distributions"),
    ("factorised", "scale hyperprior", "A hyperprior of scales alone saves rate against fixed distributions"),
    ("scale hyperprior", "no context", "A mean beside the scale saves rate where there is no context"),
    ("no context", "no hyperprior", "The context model alone is better than the hyperprior alone"),
    ("scale only", "joint", "A mean beside the scale saves rate where there is a context"),
    ("context 3x3", "joint", "5x5 saves rate against 3x3"),
    ("joint", "context 7x7", "7x7 saves rate against 5x5"),
    ("Laplacian", "joint", "The Gaussian is better than the Laplacian"),
    ("logistic", "joint", "The Gaussian is better than the logistic distribution"),
    ("joint", "mixture of 3", "Three Gaussians save rate against one"),
)
"""(what is compared with, what is claimed better, the claim)."""


def write_runs(path: Path, outcomes: Sequence[Outcome]) -> None:
    """All runs so far, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([{k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(o).items()} for o in outcomes])
    write_atomically(path, text.getvalue().encode())


def read_runs(path: Path) -> list[Outcome]:
    """Runs of an earlier, interrupted study. Raises UsageError for a file that is something else."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as f:
        reader = csv.DictReader(f)
        if reader.fieldnames != _COLUMNS:
            raise UsageError(f"{path} does not hold the runs of a study; move it away or choose another --out")
        try:
            return [Outcome(**{k: _KINDS.get(k, float)(v) for k, v in row.items()}) for row in reader]
        except (TypeError, ValueError):
            raise UsageError(f"{path}: line {reader.line_num} is damaged; move the file away or choose another --out") from None


def savings(outcomes: Sequence[Outcome], than: str, variant: str, key: str = "bpp") -> list[float]:
    """Percent that `variant` saves against `than`, one value a seed that both have."""
    values = {(o.variant, o.seed): getattr(o, key) for o in outcomes}
    seeds = sorted({o.seed for o in outcomes if (than, o.seed) in values and (variant, o.seed) in values})
    return [100 * (1 - values[variant, s] / values[than, s]) for s in seeds]


def verdict(values: Sequence[float]) -> str:
    """What seeds say of a claim: it holds, it does not, or the seeds do not tell.

    Seeds tell where all agree and the mean is at least twice as far from 0 as the seeds are from each other.
    """
    mean = statistics.fmean(values)
    spread = max(values) - min(values)
    if len(values) > 1 and (min(values) <= 0 <= max(values) or abs(mean) < 2 * spread):
        return "the seeds do not tell"
    return "holds" if mean > 0 else "does not hold"


def spread_of(values: Sequence[float], digits: int) -> str:
    """Mean and half of the range over the seeds."""
    half = (max(values) - min(values)) / 2
    return f"{statistics.fmean(values):.{digits}f} ± {half:.{digits}f}"


def table(outcomes: Sequence[Outcome], factors: Sequence[str]) -> str:
    """Markdown: a row a variant of these factors, the mean and half of the range over its seeds."""
    cached = [o for o in outcomes if not o.joint]
    columns = ("factor", "variant", "bpp", "of it z", "against joint", "training bpp", "parameters, M", "ms a step")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for factor in factors:
        for variant in FACTORS[factor]:
            mine = [o for o in cached if o.variant == variant.name]
            if not mine:
                continue
            saved = savings(cached, BASE.name, variant.name)
            against = f"{-statistics.fmean(saved):+.2f} % ± {(max(saved) - min(saved)) / 2:.2f}" if variant is not BASE and saved else ""
            lines.append(
                f"| {factor} | {variant.name} | {spread_of([o.bpp for o in mine], 4)} | {statistics.fmean([o.z_bpp for o in mine]):.4f} "
                f"| {against} | {statistics.fmean([o.train_bpp for o in mine]):.4f} | {mine[0].parameters / 1e6:.2f} "
                f"| {1000 * statistics.median([o.step_s for o in mine]):.0f} |"
            )
    return "\n".join(lines)


def joint_table(outcomes: Sequence[Outcome]) -> str:
    """Markdown of the runs whose transforms were trained along; empty without any."""
    joint = [o for o in outcomes if o.joint]
    if not joint:
        return ""
    lines = ["| variant | bpp | PSNR, dB | loss | loss against joint |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(o.variant for o in joint):
        mine = [o for o in joint if o.variant == name]
        saved = savings(joint, BASE.name, name, "loss")
        against = f"{-statistics.fmean(saved):+.2f} % ± {(max(saved) - min(saved)) / 2:.2f}" if name != BASE.name and saved else ""
        lines.append(
            f"| {name} | {spread_of([o.bpp for o in mine], 4)} | {spread_of([o.psnr for o in mine], 2)} "
            f"| {spread_of([o.loss for o in mine], 4)} | {against} |"
        )
    return "\n".join(lines)


def claims(outcomes: Sequence[Outcome]) -> list[str]:
    """A sentence for each claim that there are runs for: what was measured, and whether it holds."""
    cached = [o for o in outcomes if not o.joint]
    lines = []
    for than, variant, claim in _CLAIMS:
        if saved := savings(cached, than, variant):
            half = (max(saved) - min(saved)) / 2
            lines.append(f"- {claim}: {verdict(saved)} ({variant} takes {-statistics.fmean(saved):+.2f} % ± {half:.2f} of {than}'s rate).")
    return lines


def plots(outcomes: Sequence[Outcome], factors: Sequence[str]) -> dict[str, bytes]:
    """File names and PNGs: a panel a factor, a point a seed, percent of the joint model's rate; empty without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return {}
    cached = [o for o in outcomes if not o.joint]
    families = [FACTORS[factor] for factor in factors]
    figure = Figure(figsize=(2 + 0.57 * sum(map(len, families)), 3.6), layout="constrained")
    panels = figure.subplots(1, len(factors), sharey=False, squeeze=False, width_ratios=[len(f) for f in families])[0]
    for axes, factor, family in zip(panels, factors, families, strict=True):
        for x, variant in enumerate(family):
            values = [-v for v in savings(cached, BASE.name, variant.name)]
            axes.scatter([x] * len(values), values, s=18, zorder=3)
            if values:
                axes.hlines(statistics.fmean(values), x - 0.25, x + 0.25, color="0.3", linewidth=1)
        axes.set_xticks(range(len(family)), [v.name for v in family], rotation=30, ha="right")
        axes.set_title(factor)
        axes.axhline(0, color="0.7", linewidth=0.8)
        axes.grid(axis="y", alpha=0.3)
        axes.margins(x=0.2)
    panels[0].set_ylabel("rate against the joint model, %")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return {PLOT: buffer.getvalue()}


def document(outcomes: Sequence[Outcome], heading: str, has_plots: bool, factors: Sequence[str]) -> str:
    """study.md, on these factors."""
    parts = ["# What each part of the entropy model is worth", heading]
    if has_plots:
        parts.append(f"![rate of each variant against the joint model, a point a seed]({PLOT})")
    parts += ["## Entropy models alone, on the same latents", table(outcomes, factors)]
    parts += ["## What holds at this scale", "\n".join(claims(outcomes))]
    if joint := joint_table(outcomes):
        parts += ["## The extremes, trained with their transforms", joint]
    finite = [o.step_s for o in outcomes if math.isfinite(o.step_s)]
    parts.append(f"{len(outcomes)} runs, {sum(o.step_s * o.steps for o in outcomes) / 60:.0f} minutes of training." if finite else "")
    return "\n\n".join(p for p in parts if p) + "\n"
