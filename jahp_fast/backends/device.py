# SPDX-License-Identifier: Apache-2.0
"""What backends that compute on a device have beyond the protocol of all: results that stay there, and no waiting.

A kernel cannot raise. It writes what went wrong into `status`, ends early but soundly, and `check` raises when the caller can
afford to wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.errors import FormatError, UsageError

if TYPE_CHECKING:
    import torch

STATUS = {
    1: "the payload is too short for its lane states",
    2: "the payload claims more escapes than it has symbols, or than it holds",
    3: "the state of lane {detail} is below 2^16",
    4: "the words end before symbol {detail}",
    5: "the escapes end before symbol {detail}",
    6: "symbol {detail} is an escape that its table could have coded",
    7: "symbol {detail} is beyond its range",
    8: "the state of lane {detail} does not end at 2^16",
    9: "escapes are left over",
    10: "bytes are left over behind the last word",
    11: "the payload's size is not within its buffer",
}
"""status[0] -> message, with status[1] as `detail`. 0 stands for a sound stream. Symbols are counted in coding order."""


class DeviceResult(NamedTuple):
    """One image's latents on the device, sound once `status` says so."""

    z: torch.Tensor
    """(hz, wz, N) int32."""
    y: torch.Tensor
    """(h, w, M) int32, times 2^frac_bits."""
    status: torch.Tensor
    """(8,) int32: code of STATUS, detail, zeros."""


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
