# SPDX-License-Identifier: Apache-2.0
"""Triton kernels (jahp_fast.kernels): for GPUs that Triton compiles for, or on a CPU, slowly, in Triton's interpreter.

Images of one call share their launches, whatever their sizes: one that opens the payloads and decodes z, three of `h_s`, one of the
hyperprior's half of the first 1x1 layer, one for all steps of the wavefront. The host waits for nothing and reads nothing back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jahp_fast.backends import Ints, WholeDecode
from jahp_fast.backends.coding import SymbolCoder
from jahp_fast.backends.device import DeviceResult, check, refuse_copies
from jahp_fast.backends.native import NativeBackend
from jahp_fast.entropy.layout import LANE_COUNTS, Part, StreamLayout
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import UsageError, first_line

if TYPE_CHECKING:
    import torch

_OLDEST = (8, 0)
"""Compute capability from which on Triton multiplies int8 by tensor cores."""


def _device(name: str) -> torch.device:
    """Raises UsageError where Triton cannot run on that device."""
    import torch

    try:
        import triton
    except ImportError:
        raise UsageError("the backend 'triton' needs the package triton: pip install 'jahp_fast[triton]'") from None
    from jahp_fast.kernels.requantise import requantise_kernel

    try:
        device = torch.device(name)
    except RuntimeError as e:
        raise UsageError(f"device {name!r} is unknown: {first_line(e)}") from None
    interpreted = not isinstance(requantise_kernel, triton.JITFunction)
    if device.type == "cpu":
        if interpreted:
            return device
        raise UsageError("the backend 'triton' runs on a GPU; on a CPU only with TRITON_INTERPRET=1 in the environment")
    if device.type != "cuda":
        raise UsageError(f"the backend 'triton' runs on 'cuda' devices (ROCm ones too), not on {name!r}")
    if not torch.cuda.is_available():
        raise UsageError(f"the backend 'triton' finds no device {name!r}: there is no GPU, no driver, or torch was built without them")
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise UsageError(f"there is no device {name!r}: this machine has {torch.cuda.device_count()}")
    capability = torch.cuda.get_device_capability(index)
    if torch.version.hip is None and capability < _OLDEST:
        raise UsageError(f"device {name!r} has compute capability {capability}; the backend 'triton' needs {_OLDEST} or newer")
    return torch.device("cuda", index)


class _Images(NamedTuple):
    """Several images' geometry on the device.

    Attributes:
        layouts: theirs.
        z_sizes: (hz, wz) of each, 0 without hyperprior.
        z_first, y_first: first position of each among those of all, and the total.
        shapes: (4, images, 6) int64 on the device, conv_i8.SHAPE_COLUMNS: of h_s.0, h_s.2, h_s.4 and of layers from y's grid to itself.
        rows: (images, 3) int64: what symbol_rows asks for.
        table: (images, 12) int64: range_decode.TABLE_COLUMNS.
    """

    layouts: Sequence[StreamLayout]
    z_sizes: list[tuple[int, int]]
    z_first: list[int]
    y_first: list[int]
    shapes: torch.Tensor
    rows: torch.Tensor
    table: torch.Tensor

    @property
    def most_z(self) -> int:
        return max(h * w for h, w in self.z_sizes)

    @property
    def most_y(self) -> int:
        return max(layout.height * layout.width for layout in self.layouts)


class TritonBackend:
    """See backends.Backend and backends.device.DeviceBackend."""

    name = "triton"

    def __init__(self, model: ModelFile, device: str = "cuda") -> None:
        """device: "cuda" or "cuda:1"; "cpu" in Triton's interpreter. Raises UsageError where that cannot be, ModelError for a bad model."""
        self.device = _device(device)
        from jahp_fast.kernels.packing import pack_model

        self._file = model
        self._model = pack_model(model.config, model.entropy, self.device)
        import torch

        channels = max(model.config.latents, model.config.hyper_latents)
        self._rows_of_tables = torch.arange(len(model.entropy["tables.low"]), dtype=torch.int32, device=self.device)
        self._no_shifts = torch.zeros(channels, dtype=torch.int32, device=self.device)

    def start(self, payload: torch.Tensor, layout: StreamLayout) -> DeviceResult:
        return self.start_batch([payload], [layout])[0]

    def start_batch(self, payloads: Sequence[torch.Tensor], layouts: Sequence[StreamLayout]) -> list[DeviceResult]:
        import torch

        if len(payloads) != len(layouts):
            raise UsageError(f"there are {len(payloads)} payloads, but {len(layouts)} layouts")
        if not payloads:
            return []
        for payload, layout in zip(payloads, layouts, strict=True):
            self._check(layout)
            if payload.dtype != torch.uint8 or payload.dim() != 1 or payload.device != self.device:
                raise UsageError(f"a payload must be a vector of uint8 on {self.device}")
        with self._current():
            return self._start([payload.contiguous() for payload in payloads], layouts)

    def decode(self, payload: bytes, layout: StreamLayout, threads: int) -> tuple[Ints, Ints, dict[str, float]]:
        import torch

        begin = time.perf_counter()
        result = self.start(torch.from_numpy(np.frombuffer(payload, np.uint8).copy()).to(self.device), layout)
        check(result)
        z, y = result.z.cpu().numpy(), result.y.cpu().numpy()
        return z, y, {"all": time.perf_counter() - begin}

    def start_rows(self, payload: bytes, layout: StreamLayout, threads: int, part: Part) -> WholeDecode:
        return WholeDecode(*self.decode(payload, layout, threads)[:2], part)

    def encode(self, z: Ints, y: Ints, layout: StreamLayout, threads: int) -> tuple[bytes, Ints, int, dict[str, float]]:
        """As the protocol says; byte for byte the native backend's.

        Where no row depends on what was coded before (form A without skip, and all models without context), the device computes the
        rows of all positions at once and the host codes them. Otherwise, and for copied positions, the native backend does it all.
        """
        c = self._model.config
        if layout.copies or (c.context and (c.form == "B" or layout.skip)):
            return self._host.encode(z, y, layout, threads)
        begin = time.perf_counter()
        hz, wz = self._z_size(layout)
        for name, array, shape in (("z", z, (hz, wz, c.hyper_latents)), ("y", y, (layout.height, layout.width, c.latents))):
            if array.shape != shape:
                raise UsageError(f"{name} must have the shape {shape}, not {array.shape}")
        with self._current():
            rows, shifts = self._rows(z, y, layout)
        times = {"rows": time.perf_counter() - begin}
        begin = time.perf_counter()
        payload, seen, lanes = self._coder.code(z, y, rows, shifts, layout)
        return payload, seen, lanes, times | {"coder": time.perf_counter() - begin}

    @cached_property
    def _host(self) -> NativeBackend:
        return NativeBackend(self._file)

    @cached_property
    def _coder(self) -> SymbolCoder:
        return SymbolCoder(self._file)

    @contextmanager
    def _current(self) -> Iterator[None]:
        """The backend's device is the current one; that its memory does not suffice becomes a UsageError."""
        import torch

        try:
            with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
                yield
        except torch.OutOfMemoryError as e:
            raise UsageError(f"{self.device} has too little memory for this: {first_line(e)}") from None

    def _check(self, layout: StreamLayout) -> None:
        if layout.lanes not in LANE_COUNTS:
            raise UsageError(f"lanes must be one of {LANE_COUNTS}, not {layout.lanes}")
        if min(layout.height, layout.width) < 1 or max(layout.height, layout.width) > 1 << 20:
            raise UsageError(f"latents of {layout.height} x {layout.width} cannot be")
        refuse_copies(layout)

    def _z_size(self, layout: StreamLayout) -> tuple[int, int]:
        return (-(-layout.height // 4), -(-layout.width // 4)) if self._model.config.hyper_latents else (0, 0)

    def _images(self, layouts: Sequence[StreamLayout], sizes: Sequence[int]) -> _Images:
        import torch

        z_sizes = [self._z_size(layout) for layout in layouts]
        z_first = list(accumulate((h * w for h, w in z_sizes), initial=0))
        y_first = list(accumulate((layout.height * layout.width for layout in layouts), initial=0))
        begin = list(accumulate(sizes, initial=0))
        numbers: list[int] = []
        for scale in (1, 2):
            for (h, w), at in zip(z_sizes, z_first, strict=False):
                numbers += [h * scale, w * scale, at * scale * scale, 2 * h * scale, 2 * w * scale, 4 * at * scale * scale]
        for layout, (h, w), z_at, at in zip(layouts, z_sizes, z_first, y_first, strict=False):
            numbers += [4 * h, 4 * w, 16 * z_at, layout.height, layout.width, at]
        for layout, at in zip(layouts, y_first, strict=False):
            numbers += [layout.height, layout.width, at] * 2
        for i, layout in enumerate(layouts):
            numbers += [begin[i], sizes[i], layout.lanes, layout.min_bytes, *z_sizes[i], z_first[i]]
            numbers += [layout.height, layout.width, y_first[i], layout.skip, layout.z_row]
        for layout, at in zip(layouts, y_first, strict=False):
            numbers += [layout.height * layout.width, at, layout.skip]
        n = len(layouts)
        # One transfer, out of pinned memory, so that the host does not wait for what is queued before it.
        host = torch.tensor(numbers, dtype=torch.int64, pin_memory=self.device.type == "cuda")
        numbers_there = host.to(self.device, non_blocking=True)
        shapes, table, rows = numbers_there[: 24 * n], numbers_there[24 * n : 36 * n], numbers_there[36 * n :]
        return _Images(layouts, z_sizes, z_first, y_first, shapes.view(4, n, 6), rows.view(n, 3), table.view(n, 12))

    def _activations(self, positions: int, channels: int) -> torch.Tensor:
        import torch

        dtype = torch.int16 if self._model.config.activation_bits == 16 else torch.int8
        return torch.empty(positions, channels, dtype=dtype, device=self.device)

    def _integers(self, *shape: int) -> torch.Tensor:
        import torch

        return torch.empty(*shape, dtype=torch.int32, device=self.device)

    def _start(self, payloads: list[torch.Tensor], layouts: Sequence[StreamLayout]) -> list[DeviceResult]:
        import torch

        from jahp_fast.kernels.context_decode import context_decode, most_positions
        from jahp_fast.kernels.range_decode import range_decode

        model, c = self._model, self._model.config
        images = self._images(layouts, [len(payload) for payload in payloads])
        payload = payloads[0] if len(payloads) == 1 else torch.cat(payloads)
        n, positions, lanes = len(layouts), images.y_first[-1], max(layout.lanes for layout in layouts)
        state = torch.empty(n, 68, dtype=torch.int64, device=self.device)
        status = self._integers(n, 8)
        z, y = self._integers(images.z_first[-1], c.hyper_latents), self._integers(positions, c.latents)
        plane = self._activations(len(z), model.h_s[0].inputs) if model.h_s else None
        coder = (images.table, payload, state)
        skips = any(layout.skip for layout in layouts)
        channels = (c.hyper_latents, c.latents)
        range_decode(
            *coder, z, model.tables, c.prob_bits, channels, lanes, rows=self._rows_of_tables, shifts=self._no_shifts,
            plane=plane, seen=model.z_input, limit=c.activation_limit,
        )  # fmt: skip
        if c.context:
            begin = None if plane is None else self._hyper(plane, images)
            slope = model.context.kernel // 2 + 1
            most = max(most_positions(layout.height, layout.width, slope) for layout in layouts)
            context_decode(*coder, status, y, model, most, lanes, begin, skips)
        else:
            rows, shifts = self._rows_of_tables, self._no_shifts
            if plane is not None:
                rows, shifts = self._symbols(self._features(plane, images), images)
            range_decode(
                *coder, y, model.tables, c.prob_bits, channels, lanes, rows=rows, shifts=shifts, status=status,
                form_b=c.form == "B", mean_bits=c.mean_bits, skips=skips and rows.dim() == 2,
            )  # fmt: skip
        return [
            DeviceResult(
                z[images.z_first[i] : images.z_first[i + 1]].view(*images.z_sizes[i], c.hyper_latents),
                y[images.y_first[i] : images.y_first[i + 1]].view(layout.height, layout.width, c.latents),
                status[i],
            )
            for i, layout in enumerate(layouts)
        ]

    def _features(self, plane: torch.Tensor, images: _Images) -> torch.Tensor:
        """The input of h_s -> what h_s gives at the positions of y: activations, or without context the parameters, int32."""
        from jahp_fast.kernels.conv_i8 import conv_i8

        first, second, third = self._model.h_s
        most = images.most_z
        x = conv_i8(plane, first, self._activations(4 * len(plane), first.outputs), images.shapes[0], most)
        x = conv_i8(x, second, self._activations(16 * len(plane), second.outputs), images.shapes[1], 4 * most)
        size = (images.y_first[-1], third.outputs)
        out = self._activations(*size) if self._model.config.context else self._integers(*size)
        conv_i8(x, third, out, images.shapes[2], images.most_y)
        return out

    def _hyper(self, plane: torch.Tensor, images: _Images) -> torch.Tensor:
        """The input of h_s -> what the sums of the first 1x1 layer begin with, int32."""
        from jahp_fast.kernels.conv_i8 import conv_i8

        layer = self._model.hyper
        features = self._features(plane, images)
        sums = self._integers(len(features), layer.outputs)
        conv_i8(features, layer, sums, images.shapes[3], images.most_y, raw=True)
        return sums

    def _symbols(self, features: torch.Tensor, images: _Images) -> tuple[torch.Tensor, torch.Tensor]:
        from jahp_fast.kernels.symbol_rows import symbol_rows

        c = self._model.config
        rows, shifts = self._integers(len(features), c.latents), self._integers(len(features), c.latents)
        symbol_rows(
            features, self._model.scales, images.rows, images.most_y, mean_bits=c.mean_bits, form_b=c.form == "B", means=c.means,
            rows=rows, shifts=shifts,
        )  # fmt: skip
        return rows, shifts

    def _rows(self, z: Ints, y: Ints, layout: StreamLayout) -> tuple[Ints, Ints]:
        """Rows and shifts (positions, M) of all symbols of y, by row and column."""
        import torch

        from jahp_fast.kernels.conv_i8 import conv_i8
        from jahp_fast.kernels.reveal import reveal

        model, c = self._model, self._model.config
        positions = layout.height * layout.width
        if not c.conditional:
            row = np.broadcast_to(np.arange(c.latents, dtype=np.int32), (positions, c.latents))
            return row, np.zeros_like(row)
        images = self._images([layout], [0])
        begin = features = None
        x: torch.Tensor
        if c.hyper_latents:
            values = torch.from_numpy(np.ascontiguousarray(z)).to(self.device).view(-1, c.hyper_latents)
            plane = reveal(values, model.z_input, self._activations(len(values), model.h_s[0].inputs), c.activation_limit)
            if c.context:
                begin = self._hyper(plane, images)
            else:
                features = self._features(plane, images)
        if c.context:
            values = torch.from_numpy(np.ascontiguousarray(y)).to(self.device).view(positions, c.latents)
            x = reveal(values, model.context_input, self._activations(positions, model.context.inputs), c.activation_limit)
            for layer in (model.context, *model.parameters):
                last = layer is model.parameters[-1]
                out = self._integers(positions, layer.outputs) if last else self._activations(positions, layer.outputs)
                start = begin if layer is model.parameters[0] else None
                x = conv_i8(x, layer, out, images.shapes[3], positions, start=start)
            features = x
        assert features is not None  # a conditional model has z or a context
        rows, shifts = self._symbols(features, images)
        return rows.cpu().numpy(), shifts.cpu().numpy()
