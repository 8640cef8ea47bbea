# SPDX-License-Identifier: Apache-2.0
"""Imported checkpoints beside CompressAI 1.2.8 itself: its float `compress` and our file, of the same weights, size and PSNR.

    python benchmarks/peers_import.py [--env DIR | --make-env] [--minutes 1.5 --train-photos DIR] [--photo PNG ...]

Without --minutes: mbt2018 at N = M = 192 with random weights, calibrated (peers_calibrate.py). With: all four architectures, N = 32,
M = 48, each trained so long by CompressAI. Photos to code are cropped to multiples of 64; the first one is not calibrated on.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import peers_env

import jahp_fast
from jahp_fast.compat.checkpoint import read_state, understood
from jahp_fast.compat.convert import convert
from jahp_fast.compat.report import report
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import JahpError
from jahp_fast.train.data import find_photos, load_photo

HERE = Path(__file__).resolve().parent
PHOTO = HERE.parent / "examples" / "photo.png"
ARCHITECTURES = ("bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean", "mbt2018")
HEADER = 44  # bytes of a .jahp file that CompressAI's strings have no counterpart of
LIMIT = 0.005
"""Largest excess of the payloads over CompressAI's strings that is accepted, states of more lanes than one left out."""
STATE = 4  # bytes a lane


def theirs(python: Path, arguments: list[str]) -> list[dict[str, Any]]:
    """The worker's lines. Raises PeersError with the end of what it said when it fails."""
    command = [str(python), "-B", str(HERE / "peers_import_worker.py"), *arguments]
    done = subprocess.run(command, env=peers_env.worker_environment(threads=2), capture_output=True, text=True, check=False)
    if done.returncode:
        raise peers_env.PeersError(f"the worker failed:\n{done.stderr.strip()[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(a.astype(float) - b).mean()))


def compare(architecture: str, args: argparse.Namespace, folder: Path) -> bool:
    """Prints the rows of one model; whether every photo is within the limit."""
    n, m = (32, 48) if args.minutes else (192, 192)
    checkpoint = folder / f"{architecture}.pth.tar"
    training = ["--minutes", str(args.minutes), "--train-photos", str(args.train_photos)] if args.minutes else []
    rows = theirs(args.env_python, ["--architecture", architecture, "--n", str(n), "--m", str(m), *training,
                                    "--checkpoint", str(checkpoint), *map(str, args.photo)])  # fmt: skip
    photos = [load_photo(p) for p in args.photo]
    read = understood(read_state(checkpoint))
    calibration = []
    if args.train_photos:
        calibration = [load_photo(p) for p in find_photos([args.train_photos]).train[:16]]
    converted = convert(read, calibration)
    out = folder / f"{architecture}.safetensors"
    converted.save(out, half=not args.float32)
    print(f"{architecture}, N = {n}, M = {m}, " + (f"{rows[0]['steps']} steps" if args.minutes else "calibrated random weights"))
    print(f"  {converted.kept}; {'float32' if args.float32 else 'float16'} transforms")
    codec = jahp_fast.Codec(architecture, models=[out])
    sound = True
    for row, photo in zip(rows, photos, strict=True):
        image = np.ascontiguousarray(photo[: photo.shape[0] // 64 * 64, : photo.shape[1] // 64 * 64])
        data = codec.encode(image)
        payload = len(data) - HEADER
        lanes = jahp_fast.info(data).lanes
        excess = payload / row["bytes"] - 1
        sound = sound and (payload - STATE * (lanes - 1)) / row["bytes"] - 1 < LIMIT
        ours = psnr(codec.decode(data), image)
        print(f"  {row['photo']}: CompressAI {row['bytes']} bytes, {row['psnr']:.3f} dB; "
              f"ours {payload} bytes, {STATE * lanes} of them states ({100 * excess:+.2f} %), {ours:.3f} dB")  # fmt: skip
    print("  " + report(read, converted, ModelFile(out), photos).text().replace("\n", "\n  "), flush=True)
    return sound


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--env", type=Path, default=peers_env.DEFAULT_ENV)
    parser.add_argument("--make-env", action="store_true")
    parser.add_argument("--minutes", type=float, default=0.0, help="of training for each model")
    parser.add_argument("--train-photos", type=Path, help="to train and to calibrate on (default: synthetic pictures)")
    parser.add_argument("--photo", type=Path, action="append", help="to code (default: examples/photo.png); may be repeated")
    parser.add_argument("--only", choices=ARCHITECTURES, action="append")
    parser.add_argument("--float32", action="store_true", help="store the transforms in float32")
    args = parser.parse_args(argv)
    args.photo = args.photo or [PHOTO]
    try:
        if args.minutes and not args.train_photos:
            raise peers_env.PeersError("--minutes needs --train-photos")
        if args.make_env:
            peers_env.make_env(args.env)
        elif not peers_env.is_made(args.env):
            raise peers_env.PeersError(f"there is no environment in {args.env}; --make-env makes one (about a minute, 1.3 GB)")
        args.env_python = peers_env.env_python(args.env)
        with tempfile.TemporaryDirectory() as folder:
            chosen = args.only or (ARCHITECTURES if args.minutes else ("mbt2018",))
            sound = [compare(architecture, args, Path(folder)) for architecture in chosen]
        if not all(sound):
            raise peers_env.PeersError(f"a payload is more than {100 * LIMIT:g} % larger than CompressAI's strings")
    except JahpError as error:
        print(f"peers_import.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
