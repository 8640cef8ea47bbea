# SPDX-License-Identifier: Apache-2.0
"""`jahp import-compressai CKPT OUT`: a checkpoint of CompressAI becomes a model file."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from jahp_fast.errors import UsageError
from jahp_fast.files.outputs import checked_file, force_option

SYNTHETIC_MEASURED = 4


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Turns a checkpoint of CompressAI into a model file: its entropy path rounded to integers (form B, 8-bit weights, 16-bit "
        "activations) and its transforms too, its tables kept where it has them. "
        "Architectures: bmshj2018-factorized, bmshj2018-hyperprior, mbt2018-mean, "
        "mbt2018. Says what the integers cost. No code in the checkpoint is run."
    )
    parser.add_argument("checkpoint", metavar="CKPT", help=".pth, .pth.tar, .pt or .safetensors; a trainer's wrapping is seen through")
    parser.add_argument("out", metavar="OUT.safetensors", help="the model file to write")
    parser.add_argument("-q", "--quality", type=float, default=4.0, help="what the model's only trade-off is called, 1 to 8 (default 4)")
    parser.add_argument("--photos", nargs="+", metavar="DIR", help="photos to calibrate and measure on (default: synthetic pictures)")
    parser.add_argument("--calibrate", type=int, default=16, metavar="N", help="photos to calibrate on (default 16)")
    parser.add_argument("--measure", type=int, default=8, metavar="N", help="other photos to measure on (default 8)")
    force_option(parser)


def run(args: argparse.Namespace) -> int:
    from jahp_fast.compat.checkpoint import understood
    from jahp_fast.compat.convert import SYNTHETIC_PICTURES, convert
    from jahp_fast.compat.report import report
    from jahp_fast.compat.synthetic import dead_leaves
    from jahp_fast.entropy.model_file import ModelFile
    from jahp_fast.models.state_file import read_state
    from jahp_fast.train.data import find_photos, load_photo

    if not 1 <= args.quality <= 8:
        raise UsageError(f"quality must be 1 to 8, not {args.quality:g}")
    if args.calibrate < 1 or args.measure < 1:
        raise UsageError("--calibrate and --measure must be at least 1")
    files = list(find_photos([Path(p) for p in args.photos]).train) if args.photos else []
    checked_file(args.out, [args.checkpoint, *files], force=args.force)
    checkpoint = understood(read_state(Path(args.checkpoint)))
    model = checkpoint.model
    if files:
        random.Random(0).shuffle(files)
        calibration = [load_photo(p) for p in files[: args.calibrate]]
        measured = [load_photo(p) for p in files[args.calibrate : args.calibrate + args.measure]] or calibration
    else:
        print("jahp: no --photos: calibrated and measured on synthetic pictures; photos like those to be coded are better", file=sys.stderr)
        calibration = []
        measured = [dead_leaves(SYNTHETIC_PICTURES + i) for i in range(SYNTHETIC_MEASURED)]
    converted = convert(checkpoint, calibration)
    identity = converted.save(args.out, quality=args.quality, force=args.force)
    print(f"{model.architecture}, N = {model.N}, M = {model.M}, form {converted.form}; {converted.kept}")
    print(f"{args.out}: model {identity.hex()}, {Path(args.out).stat().st_size / 1e6:.1f} MB", flush=True)
    print(report(checkpoint, converted, ModelFile(args.out), measured).text())
    return 0
