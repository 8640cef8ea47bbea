# SPDX-License-Identifier: Apache-2.0
"""`jahp train`: train one of the five models on a folder of photos, for so many minutes, and go on another day."""

from __future__ import annotations

import argparse
from pathlib import Path

from jahp_fast.train.preload import restart_preloaded
from jahp_fast.train.settings import CLOCKS, KERNELS, METRICS, OPTIMIZERS, PARTS, PRECISIONS, Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `jahp train`."""
    parser.description = (
        "Train a model on the photos below --photos, except those named in held_out.txt. --work receives last.pt (everything "
        "needed to go on; the next run continues from it by itself), average.safetensors (the averaged weights, to export), log.csv, "
        "held_out.csv and rd.png. SIGTERM and Ctrl-C save and end. Under torchrun several processes train one model."
    )
    add = parser.add_argument
    add("--photos", type=Path, nargs="+", required=True, metavar="DIR", help="folders of photos, searched in depth")
    add("--held-out", type=Path, metavar="FILE", help="names of photos never trained on (default: DIR/held_out.txt)")
    add("--work", type=Path, required=True, metavar="DIR", help="working folder; made if missing")
    add("--minutes", type=float, required=True, help="budget; the last measurement comes on top")
    add("--clock", choices=CLOCKS, default="wall", help="minutes of the clock (default), or of this process's CPU time: for comparisons")
    add("--resume", type=Path, metavar="CKPT", help="last.pt, a state dict, or an exported model; for a new --work")
    add("--transforms", type=Path, metavar="FILE", help="a new model takes g_a, g_s, gains and sizes from this checkpoint or model")
    add("--architecture", help="bmshj2018-factorized, ..., mbt2018 (the default)")
    add("--width", type=int, metavar="N", help="channels of the transforms (default 64)")
    add("--latents", type=int, metavar="M", help="channels of the latents (default 192)")
    add("--lambda", type=float, dest="lambda_", metavar="X", help="a model of one trade-off (default: eight, by gains)")
    add("--lambda-row", type=int, metavar="ROW", help="train one row of a variable-rate model, counted from 1")
    add("--metric", choices=METRICS, help="distortion of the loss (default: as the weights were trained for, else mse)")
    add("--only", choices=PARTS, help="train the decoder's transform alone: payloads stay")
    add("--optimizer", choices=OPTIMIZERS, help="default soap")
    add(
        "--lr",
        type=float,
        help="learning rate after warm-up (default 6e-4 for soap, 1e-4 for adam; with larger batches more, by their root)",
    )
    add("--batch", type=int, default=10, help="crops per step (default 10)")
    add("--crop", type=int, default=192, help="side of a crop in pixels (default 192)")
    add("--decay", action="store_true", help="let the learning rate fall to nearly 0: for the last run before export")
    add("--threads", type=int, help="default: torch's choice")
    add("--seed", type=int, help="of a new run (default 0)")
    add("--steps", type=int, help="end after so many steps, if the minutes last")
    add("--device", default="cpu", help="cpu (default) or cuda")
    add("--precision", choices=PRECISIONS, default="auto", help="bfloat16 where the hardware has it (auto), or as named")
    add("--compile", action="store_true", help="torch.compile: minutes at the start, then faster steps; needs a C++ compiler")
    add(
        "--kernels",
        choices=KERNELS,
        default="auto",
        help="on a GPU: Triton's kernels (auto), or torch alone",
    )
    add("--checkpoint-minutes", type=float, default=15.0, metavar="M", help="between checkpoints (default 15)")
    add("--memory", type=float, default=4.0, metavar="GIB", help="for decoded photos (default 4)")
    add("--no-preload", action="store_true", help="keep this process's memory allocator and thread settings")


def run(args: argparse.Namespace) -> int:
    """Train; 0 also where a signal ended it, since everything is saved. Raises JahpError for bad input."""
    fields = {k: v for k, v in vars(args).items() if k in Settings.__dataclass_fields__}
    settings = Settings(**{**fields, "photos": tuple(args.photos), "memory_gib": args.memory})
    if not args.no_preload:
        restart_preloaded()
    from jahp_fast.train.loop import train

    train(settings)
    return 0
