# SPDX-License-Identifier: Apache-2.0
"""Imported checkpoints beside CompressAI 1.2.8 itself, of the same weights: its float `compress`, our file of the imported checkpoint, and
its model after `accelerate`. Size, PSNR, and seconds of both directions.

    python benchmarks/peers/peers_import.py [--env DIR | --make-env] [--steps 600] [--train-photos DIR] [--photo PNG ...]
                                      [--keep DIR]

All four architectures. Without --steps N = M = 192 with random weights, calibrated on the first photo (peers_calibrate.py,
peers_calibrate_priors.py); with it N = 32, M = 48, each trained so long by CompressAI (600: some minutes each). Activations are
calibrated on photos of --train-photos, else on synthetic pictures. Photos to code are cropped to multiples of 64.
With --keep checkpoints are left in a folder, and taken from there instead of making them anew.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import peers_env

import jahp_fast
from jahp_fast import _native
from jahp_fast.compat.checkpoint import understood
from jahp_fast.compat.convert import convert
from jahp_fast.compat.report import report
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import JahpError
from jahp_fast.models.compressible import PREFIX
from jahp_fast.models.state_file import read_state
from jahp_fast.train.data import find_photos, load_photo

HERE = Path(__file__).resolve().parent
PHOTO = HERE.parents[1] / "examples" / "photo.png"
ARCHITECTURES = ("bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean", "mbt2018")
HEADER = 44  # bytes of a .jahp file that CompressAI's strings have no counterpart of
LIMIT = 0.005
"""Largest excess of the payloads over CompressAI's strings that is accepted, states of more lanes than one left out."""
STATE = 4  # bytes a lane
CALIBRATE = 16  # photos


def link_package(folder: Path) -> None:
    """The parts of this jahp_fast, wherever they were installed, as one package in `folder`: the peers' environment has none."""
    package = folder / "jahp_fast"
    package.mkdir()
    for part in {path for place in jahp_fast.__path__ for path in Path(place).iterdir()}:
        if part.name not in ("__pycache__", "kernels") and not (package / part.name).exists():
            (package / part.name).symlink_to(part)
    if not (package / Path(_native.__file__).name).exists():
        (package / Path(_native.__file__).name).symlink_to(_native.__file__)


def theirs(python: Path, package: Path, arguments: list[str]) -> list[dict[str, Any]]:
    """The worker's lines. Raises PeersError with the end of what it said when it fails."""
    command = [str(python), "-B", str(HERE / "peers_import_worker.py"), *arguments]
    environment = peers_env.worker_environment(threads=2)
    environment["PYTHONPATH"] += os.pathsep + str(package)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise peers_env.PeersError(f"the worker failed:\n{done.stderr.strip()[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(a.astype(float) - b).mean()))


def compare(architecture: str, args: argparse.Namespace, folder: Path) -> bool:
    """Prints the rows of one model; whether every photo is within the limit."""
    n, m = (32, 48) if args.steps else (192, 192)
    checkpoint = (args.keep or folder) / f"{architecture}-{args.steps}.pth.tar"
    training = ["--steps", str(args.steps), "--train-photos", str(args.train_photos)] if args.steps else []
    files = find_photos([args.train_photos]).train[:CALIBRATE] if args.train_photos else []
    rows = theirs(args.env_python, folder, ["--architecture", architecture, "--n", str(n), "--m", str(m), *training,
                                            "--checkpoint", str(checkpoint), *map(str, args.photo),
                                            *(["--calibrate", *map(str, files)] if files else [])])  # fmt: skip
    photos = [load_photo(p) for p in args.photo]
    read = understood(read_state(checkpoint))
    converted = convert(read, [load_photo(p) for p in files])
    out = folder / f"{architecture}.safetensors"
    converted.save(out)
    print(f"{architecture}, N = {n}, M = {m}, " + (f"{args.steps} steps" if args.steps else "calibrated random weights"))
    print(f"  {converted.kept}")
    codec = jahp_fast.Codec(architecture, models=[out])
    sound = True
    for row, photo in zip(rows, photos, strict=True):
        image = np.ascontiguousarray(photo[: photo.shape[0] // 64 * 64, : photo.shape[1] // 64 * 64])
        start = time.perf_counter()
        data = codec.encode(image)
        decoded = codec.decode(data)
        seconds = time.perf_counter() - start
        lanes = jahp_fast.info(data).lanes
        peer, accelerated = row["plain"], row["accelerated"]
        print(f"  {row['photo']}: CompressAI {peer['bytes']} bytes, {peer['psnr']:.3f} dB, {peer['seconds']:.2f} s")
        for name, size, states, quality, time_taken in (
            ("our file", len(data) - HEADER, lanes, psnr(decoded, image), seconds),
            ("accelerated", accelerated["bytes"] - PREFIX.size, 1 << accelerated["log_lanes"], accelerated["psnr"], accelerated["seconds"]),
        ):
            excess = (size - STATE * (states - 1)) / peer["bytes"] - 1
            sound = sound and excess < LIMIT
            print(f"    {name} {size} bytes with {STATE * states} of states ({100 * (size / peer['bytes'] - 1):+.2f} %; with one state "
                  f"{100 * excess:+.2f} %), {quality:.3f} dB, {time_taken:.2f} s")  # fmt: skip
    print("  " + report(read, converted, ModelFile(out), photos).text().replace("\n", "\n  "), flush=True)
    return sound


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--env", type=Path, default=peers_env.DEFAULT_ENV)
    parser.add_argument("--make-env", action="store_true")
    parser.add_argument("--steps", type=int, default=0, help="of training for each model")
    parser.add_argument("--train-photos", type=Path, help="to train and to calibrate on (default: synthetic pictures)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where checkpoints stay, and are looked for")
    parser.add_argument("--photo", type=Path, action="append", help="to code (default: examples/photo.png); may be repeated")
    parser.add_argument("--only", choices=ARCHITECTURES, action="append")
    args = parser.parse_args(argv)
    args.photo = args.photo or [PHOTO]
    try:
        if args.steps and not args.train_photos:
            raise peers_env.PeersError("--steps needs --train-photos")
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
        if args.make_env:
            peers_env.make_env(args.env)
        elif not peers_env.is_made(args.env):
            raise peers_env.PeersError(f"there is no environment in {args.env}; --make-env makes one (about a minute, 1.3 GB)")
        args.env_python = peers_env.env_python(args.env)
        with tempfile.TemporaryDirectory() as folder:
            link_package(Path(folder))
            sound = [compare(architecture, args, Path(folder)) for architecture in args.only or ARCHITECTURES]
        if not all(sound):
            raise peers_env.PeersError(f"a payload is more than {100 * LIMIT:g} % larger than CompressAI's strings")
    except JahpError as error:
        print(f"peers_import.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
