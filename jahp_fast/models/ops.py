# SPDX-License-Identifier: Apache-2.0
"""The coder as two operators of torch: jahp_fast::encode_latents and jahp_fast::decode_latents.

As operators they stand in graphs of torch.compile and torch.export as one node, whose shapes are known without running it. On CPU
tensors they call the native backend, on CUDA tensors the device backend that `backends.resolve("auto", device)` names; where there is
none they raise, since a copy to the CPU would be silently slow.

An operator takes tensors, numbers and strings alone, so a model is named by its id, and a `Coder` that is alive answers to it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from jahp_fast import backends
from jahp_fast.backends.device import DeviceBackend, check
from jahp_fast.constants import QUALITY_STEPS, STRIDE
from jahp_fast.entropy.layout import LANE_COUNTS, StreamLayout
from jahp_fast.errors import FormatError, UsageError
from jahp_fast.files.container import min_payload_bytes
from jahp_fast.system.devices import Guard
from jahp_fast.system.parallel import MOST_THREADS, available_cores, each, shared_out

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelFile

_coders: WeakValueDictionary[str, Coder] = WeakValueDictionary()
_coders_lock = threading.Lock()


class Coder:
    """A model file's entropy path for the operators, on whatever devices they meet. Safe to share between threads.

    It never changes, so `coder_of` makes one for each id, copies share it, and a pickle holds the model file's integers.

    Attributes:
        key: the model id in hexadecimal, the operators' argument `model`.
    """

    def __init__(self, file: ModelFile) -> None:
        self.file, self.config, self.key = file, file.config, file.id.hex()
        self._lock = threading.Lock()
        self._backends = {"cpu": backends.load("native", file)}

    def backend(self, device: torch.device) -> backends.Backend:
        """The one for tensors on `device`, made when first asked for. Raises DeviceError where none can run there."""
        name = "cpu" if device.type == "cpu" else str(device)
        with self._lock:
            if name not in self._backends:
                self._backends[name] = backends.load(backends.resolve("auto", name), self.file, name)
            return self._backends[name]

    def sizes(self, height: int, width: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """(hz, wz, N) and (h, w, M) of one image; zeros for z where the model has no hyperprior."""
        hyper = self.config.hyper_latents
        return (-(-height // 4), -(-width // 4), hyper) if hyper else (0, 0, 0), (height, width, self.config.latents)

    def z_row(self, code: int) -> int:
        """The table row of z's first channel at a place among the gains, in twentieths of a row from the first."""
        return self.file.z_row_of((2 * code + QUALITY_STEPS) // (2 * QUALITY_STEPS))

    def __deepcopy__(self, memo: dict[int, Any]) -> Coder:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return coder_of, (self.file,)


def coder_of(file: ModelFile) -> Coder:
    """The coder of a model file, the living one if there is one of that id. Raises ModelError for integers that break a rule."""
    with _coders_lock:
        coder = _coders.get(file.id.hex())
        if coder is None:
            coder = _coders[file.id.hex()] = Coder(file)
        return coder


def _threads() -> int:
    return min(MOST_THREADS, available_cores())


def _coder(key: str) -> Coder:
    coder = _coders.get(key)
    if coder is None:
        raise UsageError(f"no coder of model {key} is alive: call update() of its model first")
    return coder


@torch.library.custom_op("jahp_fast::encode_latents", mutates_args=(), device_types=("cpu", "cuda"))
def encode_latents(z: Tensor, y: Tensor, z_rows: Sequence[int], model: str) -> tuple[Tensor, Tensor, Tensor]:
    """Codes a batch of latents, one payload an image.

    Args:
        z: (B, hz, wz, N) int32, rounded; (B, 0, 0, 0) without hyperprior.
        y: (B, h, w, M) int32, times 2^frac_bits; rounded in form A.
        z_rows: of each image, the table row of z's first channel, `Coder.z_row`.
        model: `Coder.key`.

    Returns:
        payload: (n,) uint8, the images' payloads one after the other, on the CPU.
        sizes: (B, 2) int64, bytes and lanes of each, on the CPU.
        y_hat: as y, what a decoder gets: y itself in form A.

    Raises:
        UsageError: wrong shapes or types, a symbol beyond 32767, or no such coder.
        DeviceError: no backend for this GPU.
    """
    coder = _coder(model)
    _check_latents(coder, z, y)
    if len(z_rows) != len(y):
        raise UsageError(f"there are {len(y)} images, but {len(z_rows)} rows of z")
    backend = coder.backend(y.device)
    arrays = [(a.numpy(), b.numpy(), row) for a, b, row in zip(z.cpu(), y.cpu(), z_rows, strict=True)]
    workers, threads = shared_out(_threads(), len(arrays)) if y.device.type == "cpu" else (1, 1)

    def encode(one: tuple[Any, Any, int]) -> tuple[bytes, Any, int]:
        hyper, wanted, z_row = one
        height, width, _ = wanted.shape
        payload, y_hat, lanes, _ = backend.encode(hyper, wanted, _layout(height, width, 0, z_row), threads)
        return payload, y_hat, lanes

    coded = each(encode, arrays, workers)
    payload = torch.frombuffer(bytearray(b"".join(p for p, _, _ in coded)), dtype=torch.uint8)
    sizes = torch.tensor([(len(p), lanes) for p, _, lanes in coded])
    return payload, sizes, torch.from_numpy(np.stack([y_hat for _, y_hat, _ in coded])).to(y.device)


@torch.library.custom_op("jahp_fast::decode_latents", mutates_args=(), device_types="cpu")
def decode_latents(
    payload: Tensor, sizes: Sequence[int], lanes: Sequence[int], z_rows: Sequence[int], model: str, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Decodes the payloads of a batch of images of one size.

    Args:
        payload: (n,) uint8, one after the other.
        sizes, lanes: bytes and lanes of each, as encode_latents gives them.
        z_rows: as encode_latents took them.
        model: `Coder.key`.
        height, width: of y.

    Returns:
        z (B, hz, wz, N) and y (B, h, w, M) int32, y times 2^frac_bits, on payload's device.

    Raises:
        FormatError: a payload is damaged; the message has the image's number.
        UsageError: sizes that do not add up, or no such coder.
        DeviceError: no backend for this GPU, or not enough memory.
    """
    coder = _coder(model)
    parts, layouts = _split(payload, sizes, lanes, z_rows, height, width)
    data = payload.numpy().tobytes()
    backend = coder.backend(payload.device)
    workers, threads = shared_out(_threads(), len(parts))

    def decode(i: int) -> tuple[Any, Any]:
        return backend.decode(data[parts[i][0] : parts[i][1]], layouts[i], threads)[:2]

    decoded = each(decode, range(len(parts)), workers)
    z, y = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*decoded, strict=True))
    return z, y


def _decode_on_device(
    payload: Tensor, sizes: Sequence[int], lanes: Sequence[int], z_rows: Sequence[int], model: str, height: int, width: int
) -> tuple[Tensor, Tensor]:
    coder = _coder(model)
    parts, layouts = _split(payload, sizes, lanes, z_rows, height, width)
    backend = cast(DeviceBackend, coder.backend(payload.device))
    with Guard("cpu", f"{len(parts)} images of {width} x {height} latents"):  # torch has made the device the current one
        # Copies, since a kernel reads words of 32 bits and a slice may start anywhere.
        results = backend.start_batch([payload[a:b].clone() for a, b in parts], layouts)
        each(check, results)
        return torch.stack([r.z for r in results]), torch.stack([r.y for r in results])


decode_latents.register_kernel("cuda")(_decode_on_device)


@encode_latents.register_fake
def _(z: Tensor, y: Tensor, z_rows: Sequence[int], model: str) -> tuple[Tensor, Tensor, Tensor]:
    size = torch.library.get_ctx().new_dynamic_size()
    payload = torch.empty(size, dtype=torch.uint8, device="cpu")
    return payload, torch.empty((y.shape[0], 2), dtype=torch.int64, device="cpu"), torch.empty_like(y)


@decode_latents.register_fake
def _(
    payload: Tensor, sizes: Sequence[int], lanes: Sequence[int], z_rows: Sequence[int], model: str, height: int, width: int
) -> tuple[Tensor, Tensor]:
    z, y = _coder(model).sizes(height, width)
    return payload.new_empty((len(sizes), *z), dtype=torch.int32), payload.new_empty((len(sizes), *y), dtype=torch.int32)


def _check_latents(coder: Coder, z: Tensor, y: Tensor) -> None:
    if y.ndim != 4 or 0 in y.shape or z.ndim != 4:
        raise UsageError(f"latents must be z (B, hz, wz, N) and y (B, h, w, M), not {tuple(z.shape)} and {tuple(y.shape)}")
    want_z, want_y = coder.sizes(y.shape[1], y.shape[2])
    if (*z.shape[1:], *y.shape[1:]) != (*want_z, *want_y) or z.shape[0] != y.shape[0]:
        raise UsageError(f"z is {tuple(z.shape)} and y {tuple(y.shape)}; this model's are (B, *{want_z}) and (B, *{want_y})")
    if z.dtype != torch.int32 or y.dtype != torch.int32 or z.device != y.device:
        raise UsageError(f"latents must be int32 on one device, not {z.dtype} on {z.device} and {y.dtype} on {y.device}")


def _layout(height: int, width: int, lanes: int, z_row: int) -> StreamLayout:
    return StreamLayout(height, width, lanes, 0, min_payload_bytes(STRIDE * width, STRIDE * height), z_row=z_row)


def _split(
    payload: Tensor, sizes: Sequence[int], lanes: Sequence[int], z_rows: Sequence[int], height: int, width: int
) -> tuple[list[tuple[int, int]], list[StreamLayout]]:
    """(start, end) and layout of each image's payload, with all checked that decides what is allocated."""
    if payload.ndim != 1 or payload.dtype != torch.uint8:
        raise UsageError(f"a payload must be uint8 (n,), not {payload.dtype} {tuple(payload.shape)}")
    if not sizes or not len(sizes) == len(lanes) == len(z_rows) or min(sizes) < 0 or sum(sizes) != payload.shape[0]:
        raise UsageError(f"{len(sizes)} sizes of {sum(sizes)} bytes in all, {len(lanes)} lane counts and {len(z_rows)} rows of z do not go "
                         f"together, or not with a payload of {payload.shape[0]} bytes")  # fmt: skip
    if height < 1 or width < 1:
        raise UsageError(f"latents of {width} x {height} cannot be decoded")
    for i, (size, n) in enumerate(zip(sizes, lanes, strict=True)):
        if n not in LANE_COUNTS:
            raise FormatError(f"image {i}: {n} lanes; there can be 1, 2, 4 ... 64")
        if size < _layout(height, width, n, 0).min_bytes:
            raise FormatError(f"image {i}: a payload of {size} bytes is too short for {width} x {height} latents")
    ends = np.cumsum(sizes).tolist()
    spans = [(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    return spans, [_layout(height, width, n, z_row) for n, z_row in zip(lanes, z_rows, strict=True)]
