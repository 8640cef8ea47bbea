# SPDX-License-Identifier: Apache-2.0
"""What a training run is asked to do, checked as a whole before anything heavy is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from jahp_fast.constants import STRIDE
from jahp_fast.errors import UsageError

METRICS = ("mse", "ms-ssim")
OPTIMIZERS = ("soap", "adam")
PRECISIONS = ("auto", "float32", "bfloat16")
CLOCKS = ("wall", "cpu")
KERNELS = ("auto", "torch")
PARTS = ("g_s",)
"""What can be trained alone. Payloads stay as they are, bit for bit, and only what is made of them changes."""
DEFAULT_LR = {"soap": 6e-4, "adam": 1e-4}
"""At DEFAULT_BATCH crops a step and fewer."""
DEFAULT_BATCH = 10
MS_SSIM_MIN_CROP = 176
"""Five scales of an 11 x 11 window need more than 160 pixels a side; crops are multiples of 16."""


def default_lr(optimizer: str, crops: int) -> float:
    """The learning rate for so many crops a step: beyond DEFAULT_BATCH it grows with their root.

    Malladi et al., "On the SDEs and scaling rules for adaptive gradient algorithms" (NeurIPS 2022): what Adam divides by is noise, whose
    size falls with the root of the batch. SOAP is Adam in other coordinates.
    """
    return DEFAULT_LR[optimizer] * math.sqrt(max(1.0, crops / DEFAULT_BATCH))


@dataclass(frozen=True)
class Settings:
    """One run of the trainer. None means: as the checkpoint has it, else the default named beside the field.

    Raises UsageError where a value, or two values together, mean nothing.
    """

    photos: tuple[Path, ...]
    work: Path
    minutes: float
    resume: Path | None = None
    transforms: Path | None = None
    held_out: Path | None = None
    architecture: str | None = None  # mbt2018
    width: int | None = None  # N, 64
    latents: int | None = None  # M, 192
    lambda_: float | None = None  # eight rows, the published trade-offs
    lambda_row: int | None = None  # all rows, drawn evenly
    metric: str | None = None  # mse
    only: str | None = None  # all parts
    optimizer: str | None = None  # soap
    lr: float | None = None  # 6e-4 for SOAP, 1e-4 for Adam, more for larger batches
    batch: int = DEFAULT_BATCH
    crop: int = 192
    decay: bool = False
    threads: int | None = None  # torch's own choice
    seed: int | None = None  # 0; drawn on from the checkpoint's state otherwise
    steps: int | None = None  # no limit but the minutes
    device: str = "cpu"
    precision: str = "auto"
    compile: bool = False
    kernels: str = "auto"  # on a GPU, those of models.fused where Triton is installed
    clock: str = "wall"
    checkpoint_minutes: float = 15.0
    memory_gib: float = 4.0

    def __post_init__(self) -> None:
        positive = {
            "--minutes": self.minutes,
            "--width": self.width,
            "--latents": self.latents,
            "--lambda": self.lambda_,
            "--lr": self.lr,
            "--batch": self.batch,
            "--threads": self.threads,
            "--steps": self.steps,
            "--checkpoint-minutes": self.checkpoint_minutes,
        }
        for option, value in positive.items():
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UsageError(f"{option} must be a positive number, not {value}")
        if self.memory_gib < 0:
            raise UsageError(f"--memory must not be negative, but is {self.memory_gib}")
        if self.crop < 64 or self.crop % STRIDE:
            raise UsageError(f"--crop must be a multiple of 16, 64 or more, not {self.crop}")
        for option, name, known in (
            ("--metric", self.metric, METRICS),
            ("--only", self.only, PARTS),
            ("--optimizer", self.optimizer, OPTIMIZERS),
            ("--precision", self.precision, PRECISIONS),
            ("--clock", self.clock, CLOCKS),
            ("--kernels", self.kernels, KERNELS),
        ):
            if name is not None and name not in known:
                raise UsageError(f"{option} must be one of {', '.join(known)}, not {name!r}")
        if self.metric == "ms-ssim" and self.crop < MS_SSIM_MIN_CROP:
            raise UsageError(f"MS-SSIM needs --crop {MS_SSIM_MIN_CROP} or more, not {self.crop}")
        if self.lambda_ is not None and self.lambda_row is not None:
            raise UsageError("give --lambda (a model of one trade-off) or --lambda-row (one row of several), not both")
        if self.resume is not None and self.transforms is not None:
            raise UsageError("give --resume (all of a model) or --transforms (g_a, g_s and the gains of one), not both")
        if not self.photos:
            raise UsageError("--photos names no folder")
