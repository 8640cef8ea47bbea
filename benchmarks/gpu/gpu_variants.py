# SPDX-License-Identifier: Apache-2.0
"""What is fastest on this machine: the coder by backend, rules and batch, and a training step eager or compiled. A phase of gpu_train.py.

    python benchmarks/gpu/gpu_variants.py --photos FOLDER --json FILE [--device cuda] [--batch 128] [--crop 192] [--seconds 110]

The file is written anew after each measurement, so that one that is stopped costs no other. `chosen` is the way of training with the
most crops a second, with its options for `jahp train`. Coders' answers are checked against the CPU's before they are timed.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from jahp_fast.errors import JahpError
from jahp_fast.evaluate.bench import resized
from jahp_fast.system.atomic import write_atomically
from jahp_fast.system.console import ProgressLine
from jahp_fast.train.loop import EAGER_STEPS, Trainer
from jahp_fast.train.settings import Settings

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "peers")]
import gpu_rows  # noqa: E402  (needs the path above)

WAYS: dict[str, list[str]] = {"torch": ["--kernels", "torch"], "kernels": [], "torch.compile": ["--compile"]}
"""Of training: a name, and options of `jahp train`. What cannot fail comes first, what takes long comes last."""
STEPS = 10
"""That are timed, behind those that a CUDA graph needs first."""
KERNELS = 12
"""Rows of the profile."""
Found = dict[str, Any]


class Findings:
    """What was measured so far, in a file."""

    def __init__(self, path: Path, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.path, self.clock, self.end = path, clock, clock() + seconds
        self.found: Found = {"tables": {}, "left_out": []}

    def measure(self, table: str, name: str, job: Callable[[], list[dict[str, Any]]]) -> None:
        """Adds the job's rows, or why there are none."""
        if self.clock() > self.end:
            self.found["left_out"].append(f"{name}: no time was left")
        else:
            try:
                rows = job()
                if rows:
                    self.found["tables"].setdefault(table, []).extend(rows)
            except Exception as e:  # whatever kernels, compilers and drivers raise that nobody has seen here: it is written down
                self.found["left_out"].append(f"{name}: {type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}")
        write_atomically(self.path, (json.dumps(self.found, indent=2) + "\n").encode(), force=True)


def training(way: str, settings: Settings, profile: bool, findings: Findings) -> list[dict[str, Any]]:
    """Crops a second in one way of training. With `profile`, what the time of a step goes to as well."""
    trainer = Trainer(settings, ProgressLine(io.StringIO()))

    def wait() -> None:
        if trainer.device.type == "cuda":
            torch.cuda.synchronize(trainer.device)

    first = EAGER_STEPS + 2 if trainer.capturing else 1
    with trainer._on_its_stream():
        if profile:
            trainer.step()
            findings.measure("What the time of an eager step goes to", "profile", lambda: profiled(trainer, wait))
        for _ in range(first):
            trainer.step()
        wait()
        times = []
        for _ in range(STEPS):
            start = time.perf_counter()
            trainer.step()
            wait()
            times.append(time.perf_counter() - start)
            if findings.clock() > findings.end:
                break
    step = statistics.median(times)
    row = {
        "way": way,
        "ms a step": round(1e3 * step, 2),
        "crops a second": round(settings.batch / step, 1),
        "graph": trainer.captured is not None,
    }
    found = findings.found
    if "chosen" not in found or row["crops a second"] > found["chosen"]["crops_per_second"]:
        found["chosen"] = {"name": way, "options": WAYS[way], "crops_per_second": row["crops a second"]}
    return [row]


def profiled(trainer: Trainer, wait: Callable[[], None]) -> list[dict[str, Any]]:
    """The operators that take most of two steps, by their own time on the device."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    on_gpu = trainer.device.type == "cuda"
    if on_gpu:
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile:
        for _ in range(2):
            trainer.step()
        wait()
    rows = profile.key_averages()

    def own(row: Any) -> float:
        return float(row.self_device_time_total if on_gpu else row.self_cpu_time_total) / 1e3

    whole = sum(map(own, rows)) or 1.0
    ordered = sorted(rows, key=own, reverse=True)[:KERNELS]
    return [{"operator": r.key[:70], "ms": round(own(r) / 2, 3), "share": f"{own(r) / whole:.0%}", "calls": r.count // 2} for r in ordered]


def coder(load: gpu_rows.Workload, backend: str, device: str, findings: Findings) -> None:
    """Rows of one backend on one load."""
    for name, job in gpu_rows.rows_of(load, backend, device, rounds=5):
        if "latents" not in name or "encode" in name:
            continue

        def row(job: Callable[[], gpu_rows.Row] = job) -> list[dict[str, Any]]:
            r = job()
            return [
                {
                    "backend": r.backend,
                    "model": r.model,
                    "size": f"{r.width}x{r.height}",
                    "batch": r.batch,
                    "ms an image": round(r.wall_ms, 3),
                }
            ]

        findings.measure("Latents by backend", name, row)


def main(arguments: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="gpu_variants.py", description="Measure ways of coding and of training side by side.")
    p.add_argument("--photos", type=Path, nargs="+", required=True)
    p.add_argument("--json", type=Path, required=True, metavar="FILE")
    p.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--crop", type=int, default=192)
    p.add_argument("--seconds", type=float, default=110.0)
    p.add_argument("--size", default="768x512", help="of the picture that is coded (default 768x512)")
    args = p.parse_args(arguments)
    findings = Findings(args.json, args.seconds)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for k, way in enumerate(WAYS):
                settings = Settings(
                    tuple(args.photos), Path(folder) / f"run{k}", minutes=60.0, device=args.device, batch=args.batch, crop=args.crop,
                    compile="--compile" in WAYS[way], kernels="torch" if "torch" in WAYS[way] else "auto",
                )  # fmt: skip
                findings.measure("Ways of training", way, lambda way=way, s=settings, k=k: training(way, s, k == 1, findings))
                if k == 1:  # what is compiled may take all that is left
                    photo = resized(np.array(Image.open(gpu_rows.PHOTO).convert("RGB")), args.size)
                    for name, for_gpu in (("shipped, defaults", False), ("shipped, for_gpu", True)):
                        if findings.clock() < findings.end:
                            load = gpu_rows.workload(name, gpu_rows.SHIPPED, photo, for_gpu=for_gpu)
                            for backend in gpu_rows.BACKENDS:
                                coder(load, backend, args.device, findings)
    except JahpError as error:
        print(f"gpu-variants: {error}", file=sys.stderr)
        return 1
    return 0 if "chosen" in findings.found else 1


if __name__ == "__main__":
    sys.exit(main())
