# SPDX-License-Identifier: Apache-2.0
"""Backends: given z symbols and a payload, give ŷ. One protocol, a small module each; all give the same integers.

`JAHP_FAST_BACKEND` names the one that "auto" means.
"""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from jahp_fast.arguments import shown
from jahp_fast.entropy.layout import Part, StreamLayout
from jahp_fast.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelFile

Ints = NDArray[np.int32]
_CLASSES = {
    "native": ("jahp_fast.backends.native", "NativeBackend"),
    "reference": ("jahp_fast.backends.reference", "ReferenceBackend"),
    "cuda": ("jahp_fast.backends.cuda", "CudaBackend"),
    "triton": ("jahp_fast.backends.triton", "TritonBackend"),
}
NAMES = tuple(_CLASSES)
ON_DEVICE = ("cuda", "triton")
"""Backends of CUDA devices, in the order in which "auto" prefers them; the objects have the methods of device.DeviceBackend, too."""
LEAST_CAPABILITY = (8, 0)
"""The oldest GPUs that the kernels are compiled for."""


class StartedDecode(Protocol):
    """A payload of whose latents a part can be had by rows, from the top."""

    def rows(self, count: int) -> Ints:
        """The next `count` rows of the part, fewer where it ends: (k, w, M). Raises FormatError."""

    def finish(self) -> int:
        """Waits for the end -> the checksum of all symbols. Raises FormatError."""


class WholeDecode:
    """A StartedDecode that has ended: z and y as Backend.decode gives them."""

    def __init__(self, z: Ints, y: Ints, part: Part) -> None:
        self._z, self._y, self._left = z, y, part.of(y)

    def rows(self, count: int) -> Ints:
        rows, self._left = self._left[:count], self._left[count:]
        return rows

    def finish(self) -> int:
        from jahp_fast import _native

        return _native.symbol_checksum(self._z, self._y)


class Backend(Protocol):
    """The entropy path of one model, safe to share between threads."""

    name: str

    def decode(self, payload: bytes, layout: StreamLayout, threads: int) -> tuple[Ints, Ints, dict[str, float]]:
        """Payload -> z (hz, wz, N), y (h, w, M), channels last, y times 2^frac_bits; and seconds by stage.

        Raises FormatError for a damaged payload.
        """

    def start_rows(self, payload: bytes, layout: StreamLayout, threads: int, part: Part) -> StartedDecode:
        """`decode`, a part of whose y can be had while the rest is decoded where the backend can; else it is done at once."""

    def encode(self, z: Ints, y: Ints, layout: StreamLayout, threads: int) -> tuple[bytes, Ints, int, dict[str, float]]:
        """z and y -> payload, y as the decoder will see it, the lanes (chosen by size if layout.lanes is 0), and seconds by stage.

        Raises UsageError for a symbol beyond 32767.
        """


def resolve(name: str, device: str = "cpu") -> str:
    """The backend that `name` (of Codec's argument) stands for on a device, "cpu" or "cuda:N".

    "auto" is what JAHP_FAST_BACKEND says, else native on the CPU and the first of ON_DEVICE that can run on a GPU. A backend that runs
    on the CPU may be named for a GPU, where the transforms run then.

    Raises:
        UsageError: no such backend, or not on this device. DeviceError: none can run on this GPU; the message says why, and
            what to install.
    """
    source = "backend"
    if not isinstance(name, str):
        raise UsageError(f"backend must be one of {', '.join(NAMES)} and 'auto', not {shown(name)}")
    if name == "auto" and os.environ.get("JAHP_FAST_BACKEND"):
        name, source = os.environ["JAHP_FAST_BACKEND"], "JAHP_FAST_BACKEND"
    if name == "auto":
        return NAMES[0] if device == "cpu" else _preferred(device)
    if name not in NAMES:
        raise UsageError(f"{source} {name!r} is unknown; there are {', '.join(NAMES)}, and 'auto'")
    if name in ON_DEVICE:
        interpreted = name == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
        if device == "cpu" and not interpreted:
            raise UsageError(f"{source} {name!r} needs device='cuda': it does not run on a CPU")
        if reason := _lacking(name, device):
            raise DeviceError(f"{source} {name!r} cannot be used: {reason}")
    return name


def for_batches(asked: str, name: str, device: str) -> str | None:
    """Beside the resolved backend `name`, the one that "auto" may take for batches; see backends.choice. None where there is no choice."""
    return "triton" if asked == "auto" and name == "cuda" and not _lacking("triton", device) else None


def _preferred(device: str) -> str:
    reasons = {name: _lacking(name, device) for name in ON_DEVICE}
    for name, reason in reasons.items():
        if not reason:
            return name
    raise DeviceError(
        f"no backend can run on {device}: " + "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        + ". backend='native' decodes latents on the CPU and runs the transforms there"
    )  # fmt: skip


def _lacking(name: str, device: str) -> str:
    """Why a backend of ON_DEVICE cannot run on the device; "" if it can."""
    if name == "cuda" and find_spec("jahp_fast._cuda") is None:
        return "this build has no CUDA extension; install from source where a CUDA toolkit is installed"
    if name == "triton" and find_spec("triton") is None:
        return "triton is not installed; pip install 'jahp_fast[triton]'"
    if device == "cpu":
        return ""
    if name == "cuda" and not importlib.import_module("jahp_fast._cuda").device_count():
        return "its extension sees no device; the driver may be older than the CUDA that it was built with"
    import torch

    if torch.version.hip is not None:  # an AMD card, which torch calls "cuda" too
        return "" if name == "triton" else "it needs a card of NVIDIA"
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        least, has = (".".join(map(str, c)) for c in (LEAST_CAPABILITY, capability))
        return f"it needs compute capability {least} or newer, and {torch.cuda.get_device_name(device)} has {has}"
    return ""


def load(name: str, model: ModelFile, device: str = "cpu") -> Backend:
    """Builds the backend of that (resolved) name for a model; those of ON_DEVICE on `device`."""
    module, class_name = _CLASSES[name]
    backend: Any = getattr(importlib.import_module(module), class_name)
    return cast(Backend, backend(model, device) if name in ON_DEVICE else backend(model))
