# SPDX-License-Identifier: Apache-2.0
"""Compute devices by name, what is said when one is missing, and what becomes of an allocation that fails."""

from __future__ import annotations

import re
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

from jahp_fast.errors import DeviceError, UsageError
from jahp_fast.system.extras import require_torch


def checked(device: Any) -> str:
    """A device's name ("cpu", "cuda", "cuda:N") or torch.device -> "cpu" or "cuda:N"; "cuda" is torch's current device.

    Loads torch for CUDA devices alone.

    Raises:
        UsageError: another device. DeviceError: torch was built without CUDA, no driver or one that is too old, no GPU of that number.
        MissingExtra: torch is not installed.
    """
    torch_device = getattr(sys.modules.get("torch"), "device", None)  # without torch there is no torch.device to be given
    name = device
    if torch_device is not None and isinstance(device, torch_device):
        name = "cpu" if device.type == "cpu" else str(device)
    if isinstance(name, str) and name == "cpu":
        return name
    match = re.fullmatch(r"cuda(?::(\d{1,3}))?", name) if isinstance(name, str) else None
    if match is None:
        raise UsageError(f"device {device!r} is not supported; there are 'cpu', 'cuda' and 'cuda:N'")
    require_torch(f"device {name!r}")
    import torch

    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # says what is wrong, where is_available() only says that something is
        count = torch.cuda.device_count()
    except (AssertionError, RuntimeError) as e:  # torch raises the former where it was built without CUDA
        raise DeviceError(f"device {name!r} cannot be used: {first_line(e)}") from None
    index = torch.cuda.current_device() if match[1] is None else int(match[1])
    if index >= count:
        raise DeviceError(f"device {name!r} does not exist: there {'is' if count == 1 else 'are'} {count}, counted from 0")
    return f"cuda:{index}"


def first_line(error: BaseException) -> str:
    """The first sentence or line of a message, without its full stop."""
    return re.split(r"\.\s|\n", str(error).strip())[0].rstrip(".")


class Guard:
    """Inside, memory of a device that runs out is a DeviceError that says `what` was being done; the device is the current one.

    Args:
        device: "cpu", or "cuda:N", on whose current stream all work inside is queued.
    """

    def __init__(self, device: str, what: str) -> None:
        self._what = what
        self._device: AbstractContextManager[object] = nullcontext()
        if device != "cpu":
            import torch

            self._device = torch.cuda.device(device)

    def __enter__(self) -> None:
        self._device.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        import torch

        self._device.__exit__(kind, error, trace)
        if not isinstance(error, torch.OutOfMemoryError):
            return
        old: BaseException | None = error
        while old is not None:  # their frames would keep the tensors alive that are to be freed
            old.__traceback__ = None
            old = old.__context__
        raise DeviceError(f"{self._what}: not enough memory on the device: {first_line(error)}") from None


class Clock:
    """Seconds between laps. device: what is queued on a GPU is waited for; "cpu" waits for nothing."""

    def __init__(self, device: str) -> None:
        self.laps: dict[str, float] = {}
        self._device = device
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        if self._device != "cpu":
            import torch

            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


def multiprocessors(device: str) -> int:
    """Of a GPU; 1 for the CPU."""
    if device == "cpu":
        return 1
    import torch

    return int(torch.cuda.get_device_properties(device).multi_processor_count)
