# SPDX-License-Identifier: Apache-2.0
"""The model that a run begins with."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import cast

from jahp_fast.errors import UsageError
from jahp_fast.files.outputs import apart
from jahp_fast.models.registry import build
from jahp_fast.system.console import ProgressLine
from jahp_fast.train import checkpoint
from jahp_fast.train.checkpoint import Start, Training
from jahp_fast.train.settings import Settings


def load_start(settings: Settings, screen: ProgressLine) -> Start:
    """WORK/last.pt if there is one, else --resume, else a new model; checked against what the settings say of it."""
    last = settings.work / checkpoint.LAST
    path = last if last.exists() else settings.resume
    if path is None and settings.only is not None:
        raise UsageError(f"--only {settings.only} is for a model that is there: give it with --resume")
    apart(settings.work / checkpoint.AVERAGE, [path, settings.transforms, settings.held_out])
    if path is None and settings.transforms is not None:
        return _with_transforms(settings)
    if path is None:
        rows = 1 if settings.lambda_ is not None else 8
        model = build(settings.architecture or "mbt2018", settings.width or 64, settings.latents or 192, rows)
        return Start(model, copy.deepcopy(model), Training(), "a new model")
    if not path.exists():
        raise UsageError(f"--resume {path}: no such file")
    start = checkpoint.load(path)
    if path == last and settings.resume is not None:
        screen.say(f"{last} exists, and the run continues from it; --resume is for a new working folder")
    for option, asked, has in (
        ("--architecture", settings.architecture, start.model.architecture),
        ("--width", settings.width, start.model.N),
        ("--latents", settings.latents, start.model.M),
    ):
        if asked is not None and asked != has:
            raise UsageError(f"{option} {asked} does not agree with {path}, which has {has}")
    training = start.training
    if path == last and settings.only not in (None, training.only):
        raise UsageError(f"--only {settings.only} is for a new --work, with --resume {path}: this one trains all parts")
    if path != last and settings.only != training.only:  # the optimiser's state is of other parameters
        training.only, training.warm_steps = settings.only, 0
        training.optimizer = training.optimizer_names = training.quantile_optimizer = None
        if settings.only is not None:  # what stays as it is must be what is exported
            start.model.load_state_dict(start.average.state_dict())
    start.what += f" ({path})"
    return start


def _with_transforms(settings: Settings) -> Start:
    """A new model whose g_a, g_s and gains are those of the averaged model in settings.transforms."""
    path = cast(Path, settings.transforms)
    if not path.exists():
        raise UsageError(f"--transforms {path}: no such file")
    given = checkpoint.load(path).average
    for option, asked, has in (("--width", settings.width, given.N), ("--latents", settings.latents, given.M)):
        if asked is not None and asked != has:
            raise UsageError(f"{option} {asked} does not agree with {path}, which has {has}")
    if settings.lambda_ is not None and given.rows != 1:
        raise UsageError(f"--lambda is for a model of one row, and {path} has {given.rows}")
    model = build(settings.architecture or "mbt2018", given.N, given.M, given.rows)
    taken = {k: v for k, v in given.state_dict().items() if k.split(".")[0] in ("g_a", "g_s", "gain", "inv_gain")}
    model.load_state_dict(taken, strict=False)
    return Start(model, copy.deepcopy(model), Training(), f"a new entropy model and the transforms of {path}")
