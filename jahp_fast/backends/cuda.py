# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels: whole images in one launch, for models with a context. Encoding is the native backend's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jahp_fast.backends import Ints
from jahp_fast.backends.device import DeviceResult, check
from jahp_fast.backends.native import NativeBackend
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.entropy.reference import LANE_COUNTS, StreamLayout
from jahp_fast.errors import UsageError

if TYPE_CHECKING:
    import torch

LEAST_MAJOR = 8
_ALIGNMENT = 256


def find_fault(major: Sequence[int], index: int, driver: int, runtime: int) -> str | None:
    """Why device `index` cannot be used, or None. major: compute capability of each device; versions as _cuda gives them."""
    if not major:
        if 0 < driver < runtime // 1000 * 1000:
            newest = f"{driver // 1000}.{driver % 1000 // 10}"
            return f"the CUDA driver is too old: it runs CUDA {newest}, and this build needs {runtime // 1000}"
        return "there is no CUDA device" if driver else "there is no CUDA driver"
    if not 0 <= index < len(major):
        return f"there is no CUDA device {index}; there are {len(major)}"
    if major[index] < LEAST_MAJOR:
        return f"CUDA device {index} has compute capability {major[index]}.x; the kernels need {LEAST_MAJOR}.0 or newer"
    return None


class CudaBackend:
    """Decodes mbt2018 and mbt2018-context on a CUDA device of compute capability 8.0 or newer.

    Args:
        model: with a context.
        device: "cuda" or "cuda:1" and the like.

    Raises:
        UsageError: the extension was not built, no device can be used, or the model has no context.
        ModelError: as the native backend's.
    """

    name = "cuda"

    def __init__(self, model: ModelFile, device: str = "cuda") -> None:
        try:
            from jahp_fast import _cuda
        except ImportError as e:
            raise UsageError(f"backend 'cuda': jahp_fast was built without a CUDA compiler ({e})") from None
        import torch

        self._cuda = _cuda
        self._native = NativeBackend(model)
        self._blob = _cuda.pack(model.config.as_native(), dict(model.entropy))
        self._channels = model.config.hyper_latents, model.config.latents
        target = torch.device(device)
        if target.type != "cuda":
            raise UsageError(f"backend 'cuda' runs on a CUDA device, not on {device!r}")
        major = [d["major"] for d in _cuda.devices()]
        fault = find_fault(major, target.index or 0, _cuda.driver_version(), _cuda.runtime_version())
        if fault is None and not torch.cuda.is_available():
            fault = "torch was installed without CUDA"
        if fault is not None:
            raise UsageError(f"backend 'cuda': {fault}")
        self._model = torch.frombuffer(bytearray(self._blob), dtype=torch.uint8).to(target)

    def start(self, payload: torch.Tensor, layout: StreamLayout) -> DeviceResult:
        """payload (n,) uint8 on the device. Queued on the current stream of that device; waits for nothing."""
        return self.start_batch([payload], [layout])[0]

    def start_batch(self, payloads: Sequence[torch.Tensor], layouts: Sequence[StreamLayout]) -> list[DeviceResult]:
        """Several images in as few launches as there can be.

        Raises:
            UsageError: an impossible layout, or a payload that does not lie on the model's device.
        """
        import torch

        device = self._model.device
        n, m = self._channels
        results, images, kept = [], [], []
        with torch.cuda.device(device):
            for payload, layout in zip(payloads, layouts, strict=True):
                check_payload(payload, device, layout)
                h, w = layout.height, layout.width
                hz, wz = ((h + 3) // 4, (w + 3) // 4) if n else (0, 0)
                workspace = torch.empty(self._cuda.workspace_bytes(self._blob, h, w) + _ALIGNMENT, dtype=torch.uint8, device=device)
                z, y = (torch.empty(shape, dtype=torch.int32, device=device) for shape in ((hz, wz, n), (h, w, m)))
                result = DeviceResult(z, y, torch.zeros(8, dtype=torch.int32, device=device))
                kept.append(workspace)  # until its work is queued; the allocator reuses it in stream order
                results.append(result)
                images.append(_image(payload, workspace, result, layout))
            self._cuda.decode(self._blob, self._model.data_ptr(), images, torch.cuda.current_stream(device).cuda_stream)
        return results

    def decode(self, payload: bytes, layout: StreamLayout, threads: int) -> tuple[Ints, Ints, dict[str, float]]:
        """As Backend.decode; `threads` is of no account."""
        import torch

        start = time.perf_counter()
        result = self.start(torch.from_numpy(np.frombuffer(payload, np.uint8).copy()).to(self._model.device), layout)
        check(result)
        z, y = result.z.cpu().numpy(), result.y.cpu().numpy()
        return z, y, {"all": time.perf_counter() - start}

    def encode(self, z: Ints, y: Ints, layout: StreamLayout, threads: int) -> tuple[bytes, Ints, int, dict[str, float]]:
        """As Backend.encode, by the native backend on the CPU."""
        return self._native.encode(z, y, layout, threads)


def check_payload(payload: torch.Tensor, device: torch.device, layout: StreamLayout) -> None:
    """Raises UsageError unless payload is a contiguous (n,) uint8 tensor on `device` and the layout's lanes are possible."""
    import torch

    if payload.device != device or payload.dtype != torch.uint8 or payload.dim() != 1 or not payload.is_contiguous():
        got = f"{tuple(payload.shape)} {payload.dtype} on {payload.device}"
        raise UsageError(f"the payload must be a contiguous (n,) uint8 tensor on {device}, not {got}")
    if layout.lanes not in LANE_COUNTS:
        raise UsageError(f"lanes must be one of {LANE_COUNTS}, not {layout.lanes}")


def _image(payload: torch.Tensor, workspace: torch.Tensor, result: DeviceResult, layout: StreamLayout) -> dict[str, int]:
    return {
        "payload_ptr": payload.data_ptr(),
        "payload_bytes": payload.numel(),
        "workspace_ptr": (workspace.data_ptr() + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT,
        "z_ptr": result.z.data_ptr(),
        "y_ptr": result.y.data_ptr(),
        "status_ptr": result.status.data_ptr(),
        "height": layout.height,
        "width": layout.width,
        "lanes": layout.lanes,
        "skip": layout.skip,
        "min_bytes": layout.min_bytes,
    }
