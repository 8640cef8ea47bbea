# SPDX-License-Identifier: Apache-2.0
"""A run as a process: what it can do here, the signals that end it, and the folder that it has for itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from jahp_fast.errors import UsageError
from jahp_fast.system.cpu import cpu_has_bf16
from jahp_fast.system.file_lock import try_lock


def use_bf16(precision: str, device: torch.device) -> bool:
    """What `precision` means on this machine."""
    if precision == "auto":
        return cpu_has_bf16() if device.type == "cpu" else torch.cuda.is_bf16_supported()
    return precision == "bfloat16"


@contextmanager
def stopping() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT in the list it gives; a second signal acts as it did before."""
    received: list[int] = []
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, _: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for s in before:
        signal.signal(s, handle)
    try:
        yield received
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


@contextmanager
def sole_user(work: Path) -> Iterator[None]:
    """Holds WORK/pid, locked, with this process's number in it. Raises UsageError if another trainer holds it."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        f = (work / "pid").open("a+", encoding="ascii")
    except OSError as e:
        raise UsageError(f"--work {work} cannot be used: {e.strerror}") from None
    with f:
        if not try_lock(f):
            f.seek(0)
            raise UsageError(f"process {f.read().strip() or 'unknown'} is training in {work} already")
        f.truncate(0)
        f.write(f"{os.getpid()}\n")
        f.flush()
        yield
