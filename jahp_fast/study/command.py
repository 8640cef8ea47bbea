# SPDX-License-Identifier: Apache-2.0
"""`jahp study`: compares entropy models, one factor at a time, and writes what came of it."""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from jahp_fast.errors import UsageError
from jahp_fast.files.outputs import apart

if TYPE_CHECKING:
    from torch import Tensor

    from jahp_fast.study.latents import Cached
    from jahp_fast.study.prior import LatentPrior, Variant
    from jahp_fast.study.run import Outcome

JOINT_SHARE = 0.3
"""Of the minutes, for the runs that train the transforms along."""
SETTINGS = "settings.json"
"""In --out: what the runs there have in common."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `jahp study`."""
    parser.description = (
        "Trains entropy models that differ in one factor (context, distribution, hyperprior) on the same latents, for the same number of "
        "steps and several seeds, then the extremes together with their transforms; writes runs.csv, study.md and plots to --out. An "
        "interrupted study goes on where it was, with the same settings; only --seeds may grow."
    )
    parser.add_argument("--photos", type=Path, nargs="+", required=True, metavar="DIR", help="folders of training photos")
    parser.add_argument("--held-out", type=Path, metavar="FILE", help="names of photos to measure on (default: DIR/held_out.txt)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results; made if missing")
    parser.add_argument("--minutes", type=float, required=True, help="wall-clock budget of all runs together")
    parser.add_argument("--model", type=Path, metavar="FILE", help="whose transforms make the latents (default: the shipped mbt2018)")
    parser.add_argument("--quality", type=int, default=4, metavar="Q", help="of the latents, 1 to 8 (default 4)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant (default 3)")
    parser.add_argument(
        "--factors", metavar="NAMES", help="by comma: context, distribution, hyperprior, models; without transforms (default: all)"
    )
    parser.add_argument("--crops", type=int, default=2000, help="training photos, one crop of 256 x 256 each (default 2000)")


def _keep_settings(out: Path, settings: dict[str, object], begun: bool) -> None:
    """Writes them to `out`, or, where a study has runs there, checks that they are theirs. Raises UsageError where they differ."""
    from jahp_fast.system.atomic import write_atomically

    path = out / SETTINGS
    if not begun:
        write_atomically(path, f"{json.dumps(settings, indent=1)}\n".encode())
        return
    try:
        kept = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        kept = None
    if not isinstance(kept, dict):
        raise UsageError(f"{path} does not hold the settings of a study; move it away or choose another --out")
    for name, value in settings.items():
        if kept.get(name) != value:
            raise UsageError(f"{out} holds a study with {name} = {kept.get(name)}, not {value}: go on with that, or choose another --out")


class _Study:
    """The runs that are done, and how long a step of each kind takes here."""

    def __init__(self, args: argparse.Namespace) -> None:
        from jahp_fast import library
        from jahp_fast.study import report
        from jahp_fast.study.prior import FACTORS
        from jahp_fast.train.checkpoint import load
        from jahp_fast.train.data import find_photos

        if not 1 <= args.quality <= 8:
            raise UsageError(f"--quality {args.quality} is outside 1 to 8")
        if args.seeds < 1 or args.crops < 4 or not args.minutes > 0:
            raise UsageError("--seeds must be 1 or more, --crops 4 or more, --minutes positive")
        self.args = args
        self.factors = list(FACTORS) if args.factors is None else list(dict.fromkeys(args.factors.split(",")))
        if unknown := [name for name in self.factors if name not in FACTORS]:
            raise UsageError(f"--factors: {unknown[0]!r} is unknown; there are {', '.join(FACTORS)}")
        self.joint_share = JOINT_SHARE if args.factors is None else 0.0
        files = find_photos(args.photos, args.held_out)
        try:
            args.out.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise UsageError(f"--out {args.out} cannot be used: {e.strerror}") from None
        path = args.model or library.by_name("mbt2018", ()).path
        for name in (SETTINGS, report.RUNS, report.TEXT, report.PLOT):
            apart(args.out / name, [path, args.held_out, *files.train, *files.held_out])
        self.model, self.model_name = load(path).average.eval(), path.name
        if self.model.rows < args.quality:
            raise UsageError(f"{self.model_name} has {self.model.rows} qualities, not {args.quality}")
        self.outcomes: list[Outcome] = report.read_runs(args.out / report.RUNS)
        common: dict[str, object] = {name: getattr(args, name) for name in ("minutes", "quality", "factors", "crops")}
        common["model"] = f"{path.name}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
        _keep_settings(args.out, common, begun=bool(self.outcomes))
        self.files = files

    def done(self, variant: Variant, joint: bool, seed: int) -> bool:
        return any((o.variant, o.joint, o.seed) == (variant.name, joint, seed) for o in self.outcomes)

    def add(self, outcome: Outcome, total: int) -> None:
        from jahp_fast.study import report

        self.outcomes.append(outcome)
        report.write_runs(self.args.out / report.RUNS, self.outcomes)
        loss = f", loss {outcome.loss:.4f}" if outcome.joint else ""
        print(f"{len(self.outcomes)} of {total}: {outcome.variant}, seed {outcome.seed}: {outcome.bpp:.4f} bpp{loss}", flush=True)


def _crops(study: _Study) -> tuple[list[Tensor], list[Tensor]]:
    from jahp_fast.study.latents import centre_crops

    return centre_crops(study.files.train[: study.args.crops]), centre_crops(study.files.held_out)


def _priors(study: _Study, cached: Cached, variants: list[Variant], total: int) -> dict[tuple[str, int], LatentPrior]:
    """Runs all variants and seeds on cached latents; the priors of runs made now, by variant and seed."""
    from jahp_fast.study.run import TRIAL_STEPS, steps_within, train_prior

    args, N = study.args, study.model.N
    known = [o.steps for o in study.outcomes if not o.joint]
    if known:
        steps = known[0]
    else:
        seconds = [train_prior(v, N, cached, 0, TRIAL_STEPS)[1].step_s for v in variants]
        steps = steps_within(args.minutes * 60 * (1 - study.joint_share), seconds * args.seeds)
        print(f"{len(variants)} variants, {args.seeds} seeds, {steps} steps each", flush=True)
    priors = {}
    for seed in range(args.seeds):
        for variant in variants:
            if not study.done(variant, False, seed):
                priors[variant.name, seed], outcome = train_prior(variant, N, cached, seed, steps)
                study.add(outcome, total)
    return priors


def _joint(study: _Study, cached: Cached, extremes: list[Variant], priors: dict[tuple[str, int], LatentPrior], total: int) -> None:
    from jahp_fast.study.run import TRIAL_STEPS, steps_within, train_jointly, train_prior

    args = study.args
    train, held_out = _crops(study)
    steps = next((o.steps for o in study.outcomes if o.joint), 0)
    for seed in range(args.seeds):
        for variant in extremes:
            if study.done(variant, True, seed):
                continue
            if (variant.name, seed) not in priors:  # its run was in an earlier process
                before = next(o.steps for o in study.outcomes if (o.variant, o.joint, o.seed) == (variant.name, False, seed))
                priors[variant.name, seed] = train_prior(variant, study.model.N, cached, seed, before)[0]
            prior = priors[variant.name, seed]
            if not steps:
                trial = train_jointly(study.model, prior, args.quality, train, held_out[:1], seed, TRIAL_STEPS)
                steps = steps_within(args.minutes * 60 * study.joint_share, [trial.step_s] * len(extremes) * args.seeds)
                print(f"with their transforms: {steps} steps each", flush=True)
            study.add(train_jointly(study.model, prior, args.quality, train, held_out, seed, steps), total)


def run(args: argparse.Namespace) -> int:
    """Raises JahpError for bad input."""
    from jahp_fast.study import report
    from jahp_fast.study.latents import cache
    from jahp_fast.study.prior import BASE, variants
    from jahp_fast.study.run import BATCH
    from jahp_fast.system.atomic import write_atomically

    study = _Study(args)
    started = time.strftime("%Y-%m-%d")
    cached = cache(study.model, study.files, args.quality, args.crops, lambda line: print(line, flush=True))
    compared = variants(study.factors)
    extremes = [v for v in compared if v is BASE or not (v.context or v.hyperprior)] if study.joint_share else []
    total = (len(compared) + len(extremes)) * args.seeds
    priors = _priors(study, cached, compared, total)
    _joint(study, cached, extremes, priors, total)
    steps = study.outcomes[0].steps
    heading = (
        f"Made by `jahp study --minutes {args.minutes:g} --quality {args.quality} --seeds {args.seeds}"
        f"{f' --factors {args.factors}' if args.factors else ''}` on {started}. Latents of "
        f"{len(cached.train)} photos, one crop of 256 x 256 pixels each, from the transforms of `{study.model_name}` (N = {study.model.N}, "
        f"M = {study.model.M}) at quality {args.quality}; entropy models from random weights, {steps} steps of {BATCH} crops with SOAP; "
        f"bits per pixel of rounded latents and hyper-latents on {len(cached.held_out)} held-out photos; mean and half of the range "
        f"over the seeds."
    )
    pictures = report.plots(study.outcomes, study.factors)
    for name, data in pictures.items():
        write_atomically(args.out / name, data)
    text = report.document(study.outcomes, heading, bool(pictures), study.factors)
    write_atomically(args.out / report.TEXT, text.encode())
    print(report.table(study.outcomes, study.factors), report.joint_table(study.outcomes), sep="\n")
    print(*report.claims(study.outcomes), sep="\n", flush=True)
    print(f"wrote {args.out / report.TEXT}", flush=True)
    return 0
