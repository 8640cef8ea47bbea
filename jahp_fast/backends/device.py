# SPDX-License-Identifier: Apache-2.0
"""What backends that compute on a device have beyond the protocol of all: results that stay there, and no waiting.

A kernel cannot raise. It writes what went wrong into `status`, ends early but soundly, and `check` raises when the caller can
afford to wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from jahp_fast.backends.status import STATUS
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.errors import FormatError, UsageError

if TYPE_CHECKING:
    import torch


class DeviceResult(NamedTuple):
    """One image's latents on the device, sound once `status` says so."""

    z: torch.Tensor
    """(hz, wz, N) int32."""
    y: torch.Tensor
    """(h, w, M) int32, times 2^frac_bits."""
    status: torch.Tensor
    """(8,) int32: code of Status, detail, zeros."""


class DeviceBackend(Protocol):
    """The device half; the same object is also a `Backend`."""

    name: str

    def start(self, payload: torch.Tensor, layout: StreamLayout) -> DeviceResult:
        """payload (n,) uint8 on the device. Queued on the current stream of that device; waits for nothing."""

    def start_batch(self, payloads: Sequence[torch.Tensor], layouts: Sequence[StreamLayout]) -> list[DeviceResult]:
        """Several images in as few launches as there can be."""


def refuse_copies(layout: StreamLayout) -> None:
    """Raises UsageError for a layout with copied positions, which no kernel of a device knows: they are the native backend's."""
    if layout.copies:
        raise UsageError("kernels of a device do not copy positions: the native backend decodes and encodes such files")


def check(result: DeviceResult) -> None:
    """Waits for the result. Raises FormatError if its stream was damaged."""
    code, detail = result.status[:2].tolist()
    if code:
        raise FormatError(STATUS[code].format(detail=detail))
