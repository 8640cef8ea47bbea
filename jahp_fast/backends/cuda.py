# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels: whole images in one launch, decoded or prepared for the range coder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import TYPE_CHECKING, cast

import numpy as np

from jahp_fast.backends import Ints, WholeDecode
from jahp_fast.backends.coding import SymbolCoder
from jahp_fast.backends.device import DeviceResult, check, refuse_copies
from jahp_fast.entropy.layout import LANE_COUNTS, Part, StreamLayout
from jahp_fast.entropy.model_file import ModelFile
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
    """Decodes on a CUDA device of compute capability 8.0 or newer; encodes there but for the range coder, which runs on the host.

    Args:
        model: any.
        device: "cuda" or "cuda:1" and the like.

    Raises:
        UsageError: the extension was not built, or no device can be used.
        ModelError: as the native backend's.
    """

    name = "cuda"

    def __init__(self, model: ModelFile, device: str = "cuda") -> None:
        self._cuda, self._device = self._open(device)
        import torch

        self._blob = self._cuda.pack(model.config.as_native(), dict(model.entropy))
        self._channels = model.config.hyper_latents, model.config.latents
        self._coder = SymbolCoder(model)
        self._model = _aligned(torch.empty(len(self._blob) + _ALIGNMENT, dtype=torch.uint8, device=self._device))[: len(self._blob)]
        self._model.copy_(torch.frombuffer(bytearray(self._blob), dtype=torch.uint8))

    @staticmethod
    def _open(device: str) -> tuple[ModuleType, torch.device]:
        """The extension, and the device for it. Raises UsageError."""
        try:
            from jahp_fast import _cuda
        except ImportError as e:
            raise UsageError(f"backend 'cuda': jahp_fast was built without a CUDA compiler ({e})") from None
        import torch

        target = torch.device(device)
        if target.type != "cuda":
            raise UsageError(f"backend 'cuda' runs on a CUDA device, not on {device!r}")
        major = [d["major"] for d in _cuda.devices()]
        fault = find_fault(major, target.index or 0, _cuda.driver_version(), _cuda.runtime_version())
        if fault is None and not torch.cuda.is_available():
            fault = "torch was installed without CUDA"
        if fault is not None:
            raise UsageError(f"backend 'cuda': {fault}")
        return _cuda, torch.device("cuda", torch.cuda.current_device() if target.index is None else target.index)

    def _current(self) -> AbstractContextManager[object]:
        """Makes the device the current one."""
        import torch

        return cast(AbstractContextManager[object], torch.cuda.device(self._device))

    def _stream(self) -> int:
        """The device's current stream, as the extension takes it."""
        import torch

        return torch.cuda.current_stream(self._device).cuda_stream

    def start(self, payload: torch.Tensor, layout: StreamLayout) -> DeviceResult:
        """payload (n,) uint8 on the device. Queued on the current stream of that device; waits for nothing."""
        return self.start_batch([payload], [layout])[0]

    def start_batch(self, payloads: Sequence[torch.Tensor], layouts: Sequence[StreamLayout]) -> list[DeviceResult]:
        """Several images in as few launches as there can be.

        Raises:
            UsageError: an impossible layout, or a payload that does not lie on the model's device.
        """
        return self._start(payloads, layouts, [{} for _ in payloads])

    def start_sized(self, payload: torch.Tensor, size: torch.Tensor, layout: StreamLayout) -> DeviceResult:
        """As start() of payload[:size], for payload (capacity,) uint8 and size (1,) int32 on the device, where the kernel reads it.

        A size below 0 or beyond the capacity ends in a status. A recording of the call may be replayed with other payloads and sizes.
        """
        import torch

        if size.device != self._device or size.dtype != torch.int32 or tuple(size.shape) != (1,):
            got = f"{tuple(size.shape)} {size.dtype} on {size.device}"
            raise UsageError(f"the size must be a (1,) int32 tensor on {self._device}, not {got}")
        return self._start([payload], [layout], [{"size_ptr": size.data_ptr()}])[0]

    def _start(
        self, payloads: Sequence[torch.Tensor], layouts: Sequence[StreamLayout], more: Sequence[dict[str, int]]
    ) -> list[DeviceResult]:
        import torch

        results, images, kept = [], [], []
        with self._current():
            for payload, layout, others in zip(payloads, layouts, more, strict=True):
                check_payload(payload, self._device, layout)
                hyper, shape = self._shapes(layout)
                z, y = (torch.empty(s, dtype=torch.int32, device=self._device) for s in (hyper, shape))
                image, workspace, status = self._image(z, y, layout)
                kept.append(workspace)  # until its work is queued; the allocator reuses it in stream order
                results.append(DeviceResult(z, y, status))
                image |= {"payload_ptr": payload.data_ptr(), "payload_bytes": payload.numel()}
                images.append(image | {"lanes": layout.lanes, "min_bytes": layout.min_bytes} | others)
            self._cuda.decode(self._blob, self._model.data_ptr(), images, self._stream())
        return results

    def _shapes(self, layout: StreamLayout) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Of z and y."""
        (n, m), h, w = self._channels, layout.height, layout.width
        return ((h + 3) // 4, (w + 3) // 4, n) if n else (0, 0, 0), (h, w, m)

    def _image(self, z: torch.Tensor, y: torch.Tensor, layout: StreamLayout) -> tuple[dict[str, int], torch.Tensor, torch.Tensor]:
        """What decoding and encoding hand over alike; the workspace; the status."""
        import torch

        size = self._cuda.workspace_bytes(self._blob, layout.height, layout.width)
        workspace = torch.empty(size + _ALIGNMENT, dtype=torch.uint8, device=self._device)
        status = torch.zeros(8, dtype=torch.int32, device=self._device)
        pointers = {"workspace": _aligned(workspace), "z": z, "y": y, "status": status}
        image = {f"{name}_ptr": tensor.data_ptr() for name, tensor in pointers.items()}
        return image | {"height": layout.height, "width": layout.width, "skip": layout.skip, "z_row": layout.z_row}, workspace, status

    def decode(self, payload: bytes, layout: StreamLayout, threads: int) -> tuple[Ints, Ints, dict[str, float]]:
        """As Backend.decode; `threads` is of no account."""
        import torch

        start = time.perf_counter()
        result = self.start(torch.from_numpy(np.frombuffer(payload, np.uint8).copy()).to(self._device), layout)
        check(result)
        z, y = result.z.cpu().numpy(), result.y.cpu().numpy()
        return z, y, {"all": time.perf_counter() - start}

    def start_rows(self, payload: bytes, layout: StreamLayout, threads: int, part: Part) -> WholeDecode:
        return WholeDecode(*self.decode(payload, layout, threads)[:2], part)

    def encode(self, z: Ints, y: Ints, layout: StreamLayout, threads: int) -> tuple[bytes, Ints, int, dict[str, float]]:
        """As Backend.encode, byte for byte the native backend's. The networks run on the device, by the wavefront where there is a context,
        so that form B and skipped symbols are coded there too; the range coder runs on the host."""
        start = time.perf_counter()
        refuse_copies(layout)
        for name, array, shape in zip("zy", (z, y), self._shapes(layout), strict=True):
            if array.shape != shape:
                raise UsageError(f"{name} must have the shape {shape}, not {array.shape}")
        rows, shifts = self._rows(z, y, layout)
        times = {"rows": time.perf_counter() - start}
        start = time.perf_counter()
        payload, seen, lanes = self._coder.code(z, y, rows, shifts, layout)
        return payload, seen, lanes, times | {"coder": time.perf_counter() - start}

    def _rows(self, z: Ints, y: Ints, layout: StreamLayout) -> tuple[Ints, Ints]:
        """What SymbolCoder.code takes."""
        import torch

        m = self._channels[1]
        with self._current():
            z_there, y_there = (torch.from_numpy(np.array(a, np.int32)).to(self._device) for a in (z, y))
            image, workspace, _ = self._image(z_there, y_there, layout)
            rows, shifts = (torch.empty(layout.height * layout.width, m, dtype=torch.int32, device=self._device) for _ in range(2))
            image |= {"rows_ptr": rows.data_ptr(), "shifts_ptr": shifts.data_ptr()}
            self._cuda.rows(self._blob, self._model.data_ptr(), [image], self._stream())
            del workspace  # its work is queued
            return rows.cpu().numpy(), shifts.cpu().numpy()


def _aligned(memory: torch.Tensor) -> torch.Tensor:
    """What of a uint8 tensor begins at an address that the kernels take."""
    return memory[-memory.data_ptr() % _ALIGNMENT :]


def check_payload(payload: torch.Tensor, device: torch.device, layout: StreamLayout) -> None:
    """Raises UsageError unless payload is a contiguous (n,) uint8 tensor on `device` and the layout is one for a device."""
    import torch

    if payload.device != device or payload.dtype != torch.uint8 or payload.dim() != 1 or not payload.is_contiguous():
        got = f"{tuple(payload.shape)} {payload.dtype} on {payload.device}"
        raise UsageError(f"the payload must be a contiguous (n,) uint8 tensor on {device}, not {got}")
    if layout.lanes not in LANE_COUNTS:
        raise UsageError(f"lanes must be one of {LANE_COUNTS}, not {layout.lanes}")
    refuse_copies(layout)
