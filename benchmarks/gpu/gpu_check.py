# SPDX-License-Identifier: Apache-2.0
"""`make gpu-check`: on a machine with a GPU, is the build sound, do the `gpu` tests pass, and how fast is decoding there.

    python benchmarks/gpu/gpu_check.py [--json FILE] [--markdown FILE] [--budget 340] [--rounds 20] [--device cuda]

It checks the build and the devices, runs `pytest -m gpu`, and times decoding by the backends cuda, triton and native, beside CompressAI's
CUDA path where the peers' environment was made (`make peers`). Figures go to one JSON file and one Markdown table. What the budget of
seconds does not reach is left out by name. Ends with status 1, and one line that says why, without a GPU; and with status 1, after writing
the files, when a test failed or a row's answer was wrong.

Each row is checked before it is timed: latents must be those of the CPU, pixels within 1 of the CPU's (half a level
in the mean for random weights).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jahp_fast.errors import JahpError, UsageError
from jahp_fast.system import devices
from jahp_fast.system.atomic import write_atomically

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "peers")]
from gpu_rows import BACKENDS, Absent, Row, Skip, Workload, peer_row, rows_of, workloads  # noqa: E402  (needs the path above)

JSON_VERSION = 1
LEAST_LEFT = 5.0
"""Seconds that must be left of the budget for a row to be begun."""


@dataclass
class Report:
    """What the JSON file holds. Times are milliseconds of one image; see Row."""

    version: int
    machine: dict[str, Any]
    tests: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    left_out: list[Skip] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failed(self) -> list[str]:
        """What was wrong, a line each."""
        lines = [f"pytest -m gpu ended with status {self.tests['status']}"] if self.tests.get("status") else []
        return lines + [f"{skip.name}: {skip.reason}" for skip in self.left_out if skip.failed]


class Budget:
    """Seconds since it was made, of so many."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock, self._start = seconds, clock, clock()

    @property
    def spent(self) -> float:
        return self._clock() - self._start

    @property
    def left(self) -> float:
        return self._seconds - self.spent


def machine_facts(device: str) -> dict[str, Any]:
    """Versions, what was built, and the devices. `device`: "cuda:N"."""
    import torch

    def package(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    facts: dict[str, Any] = {
        "device": device, "name": torch.cuda.get_device_name(device),
        "capability": ".".join(map(str, torch.cuda.get_device_capability(device))),
        "memory_bytes": torch.cuda.get_device_properties(device).total_memory,
        "torch": torch.__version__, "cuda_of_torch": torch.version.cuda,
        "triton": package("triton"), "jahp_fast": package("jahp_fast"), "python": platform.python_version(),
        "cuda_extension": find_spec("jahp_fast._cuda") is not None, "extension_devices": None, "cores": os.cpu_count(),
    }  # fmt: skip
    if facts["cuda_extension"]:
        from jahp_fast import _cuda

        facts["extension_devices"] = _cuda.devices()
    return facts


def run_tests(timeout: float) -> dict[str, Any]:
    """`pytest -m gpu`: its status and last line; status -1 if it was stopped at the timeout."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "--benchmark-disable", "tests"]
    try:
        done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return {"status": -1, "last_line": f"stopped after {timeout:.0f} s", "output": ""}
    lines = done.stdout.strip().splitlines() or [done.stderr.strip()[-500:]]
    return {"status": done.returncode, "last_line": lines[-1], "output": done.stdout[-8000:] if done.returncode else ""}


def measure(report: Report, jobs: Sequence[tuple[str, Callable[[], Row]]], budget: Budget) -> None:
    """Runs the jobs in order while there is time; rows and what is left out go into the report."""
    for name, job in jobs:
        if budget.left < LEAST_LEFT:
            report.left_out.append(Skip(name, f"the budget was spent ({budget.spent:.0f} s)"))
            continue
        say(f"{name} ...")
        try:
            report.rows.append(job())
        except Absent as e:
            report.left_out.append(Skip(name, str(e)))
        except JahpError as e:
            report.left_out.append(Skip(name, str(e), failed=True))


def markdown(report: Report) -> str:
    """The table, with what was left out below it."""
    m = report.machine
    lines = [
        f"{m['name']} (capability {m['capability']}), torch {m['torch']}, triton {m['triton']}, "
        f"extension `_cuda` {'built' if m['cuda_extension'] else 'not built'}; {report.seconds:.0f} s in all.",
        f"Tests: {report.tests.get('last_line', 'not run')}.",
        "", "| what | model | size | batch | backend | ms an image, wall | on the device | images/s |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in report.rows:
        device = "" if row.device_ms is None else f"{row.device_ms:.3f}"
        lines.append(f"| {row.what} | {row.model} | {row.width}x{row.height} | {row.batch} | {row.backend} | {row.wall_ms:.3f} "
                     f"| {device} | {1e3 / row.wall_ms:.0f} |")  # fmt: skip
    if report.left_out:
        lines += ["", "Left out:", "", *(f"- {skip.name}: {skip.reason}" for skip in report.left_out)]
    return "\n".join(lines) + "\n"


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="gpu_check.py", description="Check and time decoding on a GPU.")
    p.add_argument("--device", default="cuda", help="cuda or cuda:N (default cuda)")
    p.add_argument("--json", type=Path, default=Path("gpu-check.json"), metavar="FILE")
    p.add_argument("--markdown", type=Path, default=Path("gpu-check.md"), metavar="FILE")
    p.add_argument("--budget", type=float, default=340, metavar="SECONDS", help="for all of it (default 340)")
    p.add_argument("--rounds", type=int, default=20, help="of each row, after warming up (default 20)")
    p.add_argument("--no-tests", action="store_true", help="time alone")
    return p


def run(arguments: Sequence[str] | None = None) -> int:
    """Raises JahpError without a GPU or for arguments that mean nothing."""
    args = parser().parse_args(arguments)
    if args.rounds < 1 or args.budget <= 0:
        raise UsageError("--rounds and --budget must be positive")
    for path in (args.json, args.markdown):
        if not path.absolute().parent.is_dir():
            raise UsageError(f"cannot write {path}: no such folder")
    if args.device == "cpu":
        raise UsageError("--device cpu: this checks a GPU")
    budget = Budget(args.budget)
    device = devices.checked(args.device)
    report = Report(JSON_VERSION, machine_facts(device))
    say(f"{report.machine['name']}, capability {report.machine['capability']}")
    if not args.no_tests:
        say("pytest -m gpu ...")
        report.tests = run_tests(budget.left / 2)
        say(report.tests["last_line"])
    with tempfile.TemporaryDirectory() as folder:
        loads = workloads(Path(folder), say)
        measure(report, jobs_of(loads, device, args.rounds, Path(folder)), budget)
    report.seconds = budget.spent
    write_atomically(args.json, (json.dumps(asdict(report), indent=2) + "\n").encode())
    table = markdown(report)
    write_atomically(args.markdown, table.encode())
    print(table)
    for line in report.failed:
        print(f"gpu-check: {line}", file=sys.stderr)
    return 1 if report.failed else 0


def jobs_of(loads: Sequence[Workload], device: str, rounds: int, folder: Path) -> list[tuple[str, Callable[[], Row]]]:
    """Every row, what matters most first."""
    jobs = [job for load in loads for backend in BACKENDS for job in rows_of(load, backend, device, rounds)]
    jobs.append(("CompressAI, cuda, latents of 768x512, 192/192", lambda: peer_row(device, folder)))
    return jobs


def main() -> int:
    try:
        return run()
    except JahpError as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
