# SPDX-License-Identifier: Apache-2.0
"""`make gpu-train`: one run of so many minutes on a bare machine with a GPU: build, tests, what is fastest there, and then training.

    python benchmarks/gpu/gpu_train.py --photos packed/photos-0.tar --out RESULTS --minutes 10 [--resume FILE] [--device cuda]

It needs Python with torch, and no network. Phases follow each other, each with a limit of its own: a minute, two for the variants, and
at most a fifth of --minutes. One that fails or is stopped is written down, and the others run.

build     the package and its CUDA extension, into this Python
tests     `pytest -m gpu`
variants  the coder by backend, lanes and batch, and a training step in several ways; the fastest way is trained with (gpu_variants.py)
train     `jahp train` for what is left, from --resume or the shipped weights

RESULTS receives summary.json and summary.md, anew after each phase, log.txt, and run.tar.0, run.tar.1 ...: `cat run.tar.* | tar x` gives
the working folder of the run, of which as much is packed as --results-mib allows: curves first, then average.safetensors, then last.pt.
A run goes on from last.pt (--resume), or from average.safetensors with an optimiser that is warmed up anew. `--device cpu` is a rehearsal.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "jahp_fast" / "weights" / "mbt2018.safetensors"
PHASES = ("build", "tests", "variants", "train")
JSON_VERSION = 1
LIMITS = {"build": 60.0, "tests": 60.0, "variants": 120.0}
"""Seconds, and at most a fifth of all. torch.compile, one of the variants, takes most of a minute."""
PACKING = 10.0
"""Seconds kept for packing what training leaves."""
GRACE = 20.0
"""Seconds between a signal to end and the end."""
PACKED = ("held_out.csv", "log.csv", "rd.png", "average.safetensors", "last.pt")
"""Of a run's folder, what matters most first."""


class Fault(Exception):
    """What a user is told in one line. This script cannot use the package's errors: it builds the package."""


@dataclass
class Phase:
    """What came of a phase. status: done, failed, stopped (at its limit) or left out."""

    name: str
    status: str = "left out"
    seconds: float = 0.0
    limit: float = 0.0
    detail: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass
class Summary:
    """summary.json."""

    version: int
    device: str
    minutes: float
    phases: list[Phase] = field(default_factory=list)
    seconds: float = 0.0
    packed: dict[str, int] = field(default_factory=dict)
    """Bytes of each file of run.tar."""
    not_packed: list[str] = field(default_factory=list)


def command_in(limit: float, command: Sequence[str], log: io.BufferedWriter | Any, grace: float = GRACE) -> tuple[str, str, str]:
    """Runs it in a session of its own: (status, last line, all of its standard output). At the limit it gets SIGTERM, later SIGKILL."""
    log.write(f"\n$ {' '.join(command)}\n".encode())
    log.flush()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    status = "done"
    try:
        output, _ = process.communicate(timeout=max(0.0, limit))
    except subprocess.TimeoutExpired:
        status = "stopped"
        output = _end(process, grace)
    finally:
        if process.poll() is None:  # an interrupt of this script
            _end(process, grace)
    if status == "done" and process.returncode:
        status = "failed"
    log.write(output)
    log.flush()
    text = output.decode(errors="replace")
    lines = text.strip().splitlines() or [f"status {process.returncode} and no words"]
    return status, lines[-1].strip()[-300:], text


def _end(process: subprocess.Popen[bytes], grace: float) -> bytes:
    """Ends it and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            return process.communicate(timeout=grace)[0]
        except subprocess.TimeoutExpired:
            continue
    return process.communicate()[0]


def unpacked(photos: Sequence[Path], folder: Path) -> list[Path]:
    """Folders as they are, archives as folders below `folder`. Raises Fault."""
    out = []
    for number, path in enumerate(photos):
        if path.is_dir():
            out.append(path)
            continue
        target = folder / f"photos{number}"
        try:
            with tarfile.open(path, "r:") as archive:
                archive.extractall(target, filter="data")
        except (OSError, tarfile.TarError) as e:
            raise Fault(f"--photos {path} is no folder and no archive of pack_photos.py: {e}") from None
        out.append(target)
    return out


def pack(run: Path, out: Path, most: int, part: int, summary: Summary) -> None:
    """run.tar.N of what `run` has, at most `most` bytes in parts of `part`. Earlier ones go."""
    for old in out.glob("run.tar.*"):
        old.unlink()
    room, whole = most - 4096, io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name in PACKED:
            path = run / name
            if not path.is_file():
                continue
            takes = 1536 + path.stat().st_size
            if takes > room:
                summary.not_packed.append(f"{name} ({path.stat().st_size / 2**20:.1f} MiB)")
                continue
            room -= takes
            archive.add(path, name)
            summary.packed[name] = path.stat().st_size
    data = whole.getvalue()
    if summary.packed:
        for number in range(math.ceil(len(data) / part)):
            (out / f"run.tar.{number}").write_bytes(data[number * part : (number + 1) * part])


def write(summary: Summary, out: Path) -> None:
    for name, text in (("summary.json", json.dumps(asdict(summary), indent=2) + "\n"), ("summary.md", markdown(summary))):
        new = out / f".{name}"
        new.write_text(text, encoding="utf-8")
        new.replace(out / name)


def markdown(summary: Summary) -> str:
    lines = [
        f"Device {summary.device}, {summary.minutes:g} minutes asked for, {summary.seconds:.0f} s taken.", "",
        "| phase | came to | seconds | limit | last words |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for p in summary.phases:
        lines.append(f"| {p.name} | {p.status} | {p.seconds:.0f} | {p.limit:.0f} | {p.detail.replace('|', '/')} |")
    for p in summary.phases:
        for title, rows in p.data.get("tables", {}).items():
            lines += ["", f"{title}:", "", "| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
            lines += ["| " + " | ".join(map(str, row.values())) + " |" for row in rows]
        if "chosen" in p.data:
            lines += ["", f"Trained with: {p.data['chosen']['name']}."]
    if summary.packed or summary.not_packed:
        lines += ["", "Packed: " + ", ".join(f"{n} ({b / 2**20:.1f} MiB)" for n, b in summary.packed.items()) + "."]
    if summary.not_packed:
        lines += [f"Too large to come along: {', '.join(summary.not_packed)}."]
    return "\n".join(lines) + "\n"


class Run:
    """The phases over one clock."""

    def __init__(self, args: argparse.Namespace, clock: Callable[[], float] = time.monotonic) -> None:
        self.args, self.clock, self.began = args, clock, clock()
        self.summary = Summary(JSON_VERSION, args.device, args.minutes)
        self.options = ["--kernels", "torch"]
        """For `jahp train`, until the variants have chosen: what cannot fail."""

    @property
    def left(self) -> float:
        return 60 * self.args.minutes - (self.clock() - self.began)

    def run(self, photos: Sequence[Path], work: Path) -> Summary:
        with (self.args.out / "log.txt").open("wb") as log:
            for name in PHASES:
                phase = Phase(name)
                self.summary.phases.append(phase)
                if name in self.args.skip:
                    phase.detail = "--skip"
                else:
                    start = self.clock()
                    phase.limit = self.left - PACKING if name == "train" else min(LIMITS[name], 12 * self.args.minutes)
                    try:
                        phase.status, phase.detail = getattr(self, f"_{name}")(phase, photos, work, log)
                    except (OSError, ValueError, KeyError) as e:
                        phase.status, phase.detail = "failed", f"{type(e).__name__}: {e}"
                    phase.seconds = self.clock() - start
                print(f"{phase.name}: {phase.status}, {phase.seconds:.0f} s, {phase.detail}", file=sys.stderr, flush=True)
                self.summary.seconds = self.clock() - self.began
                write(self.summary, self.args.out)
        pack(work, self.args.out, round(self.args.results_mib * 2**20), round(self.args.part_mib * 2**20), self.summary)
        self.summary.seconds = self.clock() - self.began
        write(self.summary, self.args.out)
        return self.summary

    def _build(self, phase: Phase, photos: Sequence[Path], work: Path, log: Any) -> tuple[str, str]:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-build-isolation", "--no-deps", "-e", str(ROOT)]
        return command_in(phase.limit, pip, log)[:2]

    def _tests(self, phase: Phase, photos: Sequence[Path], work: Path, log: Any) -> tuple[str, str]:
        pytest = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "--benchmark-disable", *self.args.tests]
        status, last, _ = command_in(phase.limit, pytest, log)
        return status, last

    def _variants(self, phase: Phase, photos: Sequence[Path], work: Path, log: Any) -> tuple[str, str]:
        a, found = self.args, self.args.out / ".variants.json"
        found.unlink(missing_ok=True)
        command = [sys.executable, str(ROOT / "benchmarks" / "gpu" / "gpu_variants.py"), "--json", str(found), "--device", a.device,
                   "--batch", str(a.batch), "--crop", str(a.crop), "--seconds", f"{phase.limit - 2:.1f}",
                   "--photos", *map(str, photos)]  # fmt: skip
        status, last, _ = command_in(phase.limit, command, log)
        if found.is_file():  # each variant is written when it is done: what was measured before an end counts
            phase.data = json.loads(found.read_text(encoding="utf-8"))
            found.unlink()
        if "chosen" in phase.data:
            self.options = list(phase.data["chosen"]["options"])
            return status, f"trained with: {phase.data['chosen']['name']}"
        return status if status != "done" else "failed", last

    def _train(self, phase: Phase, photos: Sequence[Path], work: Path, log: Any) -> tuple[str, str]:
        a = self.args
        minutes = max(0.02, (phase.limit - a.measuring) / 60)
        resume = [] if a.resume is None else ["--resume", str(a.resume)]
        command = [sys.executable, "-m", "jahp_fast", "train", "--photos", *map(str, photos), "--work", str(work),
                   "--minutes", f"{minutes:.3f}",
                   "--device", a.device, "--batch", str(a.batch), "--crop", str(a.crop), "--decay", "--checkpoint-minutes",
                   f"{max(0.2, minutes / 4):.3f}", *resume, *self.options]  # fmt: skip
        status, last, _ = command_in(phase.limit, command, log)
        if (work / "held_out.csv").is_file():
            names, *rows = [line.split(",") for line in (work / "held_out.csv").read_text(encoding="utf-8").splitlines()]
            phase.data["tables"] = {"Held-out photos": [dict(zip(names, row, strict=True)) for row in rows]}
        return status, last


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="gpu_train.py", description="Build, test, choose and train on a machine with a GPU, in so many minutes."
    )
    p.add_argument("--photos", type=Path, nargs="+", required=True, metavar="PATH", help="folders, or archives of pack_photos.py")
    p.add_argument(
        "--out", type=Path, default=Path("gpu-train"), metavar="DIR", help="for the results (default gpu-train); made if missing"
    )
    p.add_argument("--minutes", type=float, default=10.0, help="for all of it (default 10)")
    p.add_argument("--resume", type=Path, default=SHIPPED, metavar="FILE", help="last.pt or weights (default: the shipped mbt2018)")
    p.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal")
    p.add_argument("--batch", type=int, default=128, help="crops a step (default 128)")
    p.add_argument("--crop", type=int, default=192, help="side of a crop (default 192)")
    p.add_argument("--skip", nargs="*", choices=PHASES, default=[], metavar="PHASE", help="phases to leave out")
    p.add_argument("--tests", nargs="*", default=["tests"], metavar="PATH", help="what pytest looks through (default tests)")
    p.add_argument("--measuring", type=float, default=15.0, metavar="SECONDS", help="kept for the last held-out curve (default 15)")
    p.add_argument("--results-mib", type=float, default=58.0, metavar="MIB", help="of run.tar in all (default 58)")
    p.add_argument("--part-mib", type=float, default=15.0, metavar="MIB", help="of each part of it (default 15)")
    return p


def run(arguments: Sequence[str] | None = None) -> int:
    """Raises Fault for arguments that mean nothing."""
    args = parser().parse_args(arguments)
    if not (0 < args.minutes < 1e4 and args.batch > 0 and args.part_mib > 0 and args.results_mib > 0):
        raise Fault("--minutes, --batch, --part-mib and --results-mib must be positive")
    if not args.resume.is_file():
        raise Fault(f"--resume {args.resume}: no such file")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise Fault(f"cannot make the folder {args.out}: {e.strerror}") from None
    args.out, args.resume = args.out.resolve(), args.resume.resolve()
    with tempfile.TemporaryDirectory() as folder:
        photos = [p.resolve() for p in unpacked(args.photos, Path(folder))]
        summary = Run(args).run(photos, Path(folder) / "run")
    print(markdown(summary))
    return 1 if any(p.status in ("failed", "stopped") for p in summary.phases) else 0


def main() -> int:
    try:
        return run()
    except Fault as fault:
        print(f"gpu-train: {fault}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
