# SPDX-License-Identifier: Apache-2.0
"""What the measurements of peers.py share: worker processes of the peers' environment, and samples of time."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers_env import PeersError, worker_environment

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Load:
    """One network size and the rate its random weights are calibrated to, as trained models of that size have."""

    n: int
    m: int
    bpp: float

    @property
    def name(self) -> str:
        return f"{self.n}_{self.m}"


LOADS = (Load(192, 192, 0.46), Load(192, 320, 0.90))


@dataclass(frozen=True)
class Times:
    """Wall seconds of one way to do it, a sample each; `cpu` the CPU seconds of all threads."""

    wall: list[float]
    cpu: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.wall)

    @property
    def median_cpu(self) -> float:
        return statistics.median(self.cpu)

    def line(self, who: str) -> str:
        spread = f"{min(self.wall):.3f} to {max(self.wall):.3f}"
        return f"  {who:<24} {self.median:>9.3f} {spread:>20} {self.median_cpu:>9.3f} {len(self.wall):>4}"


class Worker:
    """A process of the peers' environment that answers JSON lines; a context manager that ends it.

    Args:
        script: of this folder.
        extra: environment variables beside those of worker_environment.
    """

    def __init__(self, python: Path, threads: int, script: str = "peers_worker.py", extra: Mapping[str, str] | None = None) -> None:
        command = [str(python), "-W", "ignore", str(HERE / script)]
        self._name = script
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**worker_environment(threads), **(extra or {})}
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        # Closing its input ends a worker between requests; one in the middle of a decode is not waited for.
        try:
            self._process.communicate(timeout=5)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """Send one request and wait for its answer. Raises PeersError for a refusal or a worker that died."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps({"op": op, **arguments}) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self._process.wait()
            raise PeersError(f"{self._name} ended during {op!r} with status {status}; its last words are above")
        answer: dict[str, Any] = json.loads(line)
        if not answer.pop("ok"):
            raise PeersError(f"{self._name}: {answer['error']}")
        return answer


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    cpu, start = time.process_time(), time.perf_counter()
    call()
    return time.perf_counter() - start, time.process_time() - cpu


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)
