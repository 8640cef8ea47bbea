# SPDX-License-Identifier: Apache-2.0
"""A model with its backend and its transforms in torch, on one device: symbols of images, and images of streams.

This is the pipeline of GPUs, and of backends of GPUs in an emulator; that of CPUs, without torch, is pipelines.cpu.

With a backend that computes on the device, decoding is queued from the payload's bytes to the pixels and waits for nothing: what the
kernels say of a stream, and the checksum of its symbols, is read at the end, together, in `Decoded.settle`. With another one the latents
are decoded on the CPU, and checked there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from jahp_fast import backends
from jahp_fast.backends import choice
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.errors import FormatError
from jahp_fast.files import container as _container
from jahp_fast.files.view import View
from jahp_fast.pipelines.contract import Floats, Ints, Opened, Pixels, Symbols, T
from jahp_fast.pipelines.cpu import BLOCK_ROWS
from jahp_fast.pipelines.entropy_path import CHECKSUM_ERROR, EntropyPath
from jahp_fast.system.devices import Clock, Guard, multiprocessors
from jahp_fast.system.parallel import each, shared_out
from jahp_fast.transforms.cpu import in_blocks
from jahp_fast.transforms.layers import LATENT_BITS, fixed

if TYPE_CHECKING:
    import torch

    from jahp_fast.backends.device import DeviceBackend, DeviceResult
    from jahp_fast.entropy.model_file import ModelFile
    from jahp_fast.files.image import Rows
    from jahp_fast.pipelines.graphs import GraphCache
    from jahp_fast.transforms.device import Transforms

GROUP_PIXELS = 1 << 22
"""Images of one shape go through a transform together up to so many pixels, to bound its memory."""
_ALIGNMENT = 16


class SizedBackend(Protocol):
    """A device backend whose kernels read a payload's length from the device, so that one graph decodes all payloads of an image shape."""

    def start_sized(self, payload: torch.Tensor, size: torch.Tensor, layout: StreamLayout) -> DeviceResult:
        """As DeviceBackend.start of payload[:size], for payload (capacity,) uint8 and size (1,) int32 on the device."""


@dataclass
class Started:
    """Latents of several streams, queued: y (h, w, M) int32 each, on the device; verdicts (B, 3) int64 there, None if all are checked.

    times: seconds by stage of a single stream, where its backend tells.
    """

    y: list[torch.Tensor]
    verdicts: torch.Tensor | None
    times: dict[str, float]


@dataclass
class Decoded:
    """Images that may still be in the making: rgb (3, H, W) uint8 each, on the device; verdicts as in Started."""

    rgb: list[torch.Tensor]
    verdicts: torch.Tensor | None
    checksums: list[int]

    def settle(self, labels: Sequence[int] | None = None) -> list[torch.Tensor]:
        """Waits; the images. Raises FormatError for a stream that was damaged; `labels`: see parallel.each."""
        from jahp_fast.backends.status import STATUS

        def check(item: tuple[list[int], int]) -> None:
            (code, detail, checksum), wanted = item
            if code:
                raise FormatError(STATUS[code].format(detail=detail))
            if checksum != wanted:
                raise FormatError(CHECKSUM_ERROR)

        if self.verdicts is not None:
            each(check, list(zip(self.verdicts.tolist(), self.checksums, strict=True)), labels=labels)
        return self.rgb


class DevicePipeline(EntropyPath):
    """Safe to share between threads. Backend and transforms are made when first needed.

    Args:
        backend: a resolved name.
        device: "cpu" or "cuda:N".
        graphs: decode by CUDA graphs, one a shape.
        exact: see transforms.device.
        batches: a resolved name as well, of a backend that decodes batches where it is faster. Both are "cuda" and "triton".
    """

    def __init__(
        self,
        file: ModelFile,
        backend: str,
        device: str = "cpu",
        graphs: bool = False,
        exact: bool = True,
        batches: str | None = None,
    ) -> None:
        super().__init__(file, backend, device)
        self._batches, self._of_batches = batches, cast("DeviceBackend | None", None)
        self._transforms: Transforms | None = None
        self._exact = exact
        self._graphs: GraphCache | None = None
        if graphs:
            from jahp_fast.pipelines.graphs import CudaRecording, GraphCache

            self._graphs = GraphCache(CudaRecording)

    @property
    def transforms(self) -> Transforms:
        with self._lock:
            if self._transforms is None:
                from jahp_fast.transforms.device import Transforms

                self._transforms = Transforms(self.file, self.device, self._exact)
            return self._transforms

    def warm(self) -> None:
        """Makes what is made when first needed."""
        _ = self.transforms, self.backend

    def on_device(self, stream: _container.Stream) -> bool:
        """Whether its latents, too, are decoded on the device: by a backend that is there, whose kernels do not copy positions."""
        return self.backend_name in backends.ON_DEVICE and _container.COPIES not in stream.chunks

    def guard(self, what: str) -> Guard:
        """The device as the current one, and an error of ours where its memory runs out."""
        return Guard(self.device, what)

    # Encoding

    def open(self, rows: Rows) -> OpenedTensor:
        """An image -> (3, H, W) on the device; a tensor that lies there stays there."""
        import torch

        if rows.tensor is not None:
            return OpenedTensor(self, rows.tensor.to(self.device, non_blocking=True))
        pixels = rows.take(0, rows.height)
        tensor = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).permute(2, 0, 1)
        return OpenedTensor(self, tensor if self.device == "cpu" else tensor.pin_memory().to(self.device, non_blocking=True))

    def encode_batch(self, images: Sequence[Opened], quality: float, threads: int, code: Callable[[int, Symbols, int], T]) -> list[T]:
        """The transforms of all images of one shape together; then the symbols of one after the other."""
        import torch

        tensors = [cast(OpenedTensor, image).rgb for image in images]
        analysed: dict[int, AnalysedTensors] = {}
        for group in groups([(image.size[1], image.size[0]) for image in images]):
            y = self.transforms.analysis(torch.stack([tensors[i] for i in group]), quality)
            z = self.transforms.hyper_analysis(y) if self.file.config.hyper_latents else None
            for k, i in enumerate(group):
                analysed[i] = AnalysedTensors(y[k], None if z is None else z[k], self.file.config.frac_bits)
        labels = range(len(images))
        return each(lambda i: code(i, analysed[i].round_latents(), threads), labels, labels=labels)

    def pixels_of(self, y: Ints, view: View, quality: float, threads: int) -> Pixels:
        """(H, W, 3) of a file's y, of a view of the whole picture."""
        import torch

        batch = torch.from_numpy(y)[None].to(self.device)
        return _last(self.transforms.view(batch, quality, view.height, view.width, view)[0])

    # Decoding

    def decode(
        self,
        streams: Sequence[_container.Stream],
        threads: int,
        labels: Sequence[int] | None = None,
        views: Sequence[View] | None = None,
    ) -> Decoded:
        """Decodes streams of this model, or views of them; what is left to wait for and to check, the result's `settle` does. Raises
        FormatError."""
        wanted = views or [View.whole(s.height, s.width) for s in streams]
        if len(streams) == 1 and self._graphs is not None and not wanted[0].partial and self.on_device(streams[0]):
            return self._by_graph(streams[0], self._graphs)
        return self.finish(self.start_latents(streams, threads, labels), streams, wanted)

    def decode_batch(
        self,
        streams: Sequence[_container.Stream],
        views: Sequence[View],
        threads: int,
        finish: Callable[[int, Pixels], T],
        labels: Sequence[int] | None,
    ) -> list[T]:
        """Latents of all streams by as few launches as there can be; like views of images of one shape and quality go through g_s
        together."""
        arrays = [_last(rgb) for rgb in self.decode(streams, threads, labels, views).settle(labels)]
        return each(lambda i: finish(i, arrays[i]), range(len(arrays)), labels=labels)

    def decode_tensor(self, stream: _container.Stream, view: View, threads: int) -> torch.Tensor:
        """(3, H, W), where it lies. Everything is queued, and one wait at the end reads whether the stream was sound."""
        return self.decode([stream], threads, views=[view]).settle()[0]

    def decode_rows(self, stream: _container.Stream, view: View, threads: int) -> Iterator[Pixels]:
        """The view is decoded whole, and handed out in blocks."""
        with self.guard(f"decoding an image of {stream.width} x {stream.height} pixels"):
            image = _last(self.decode_tensor(stream, view, threads))
        yield from in_blocks(image, BLOCK_ROWS)

    def decode_timed(self, stream: _container.Stream, threads: int, clock: Clock) -> tuple[Pixels, dict[str, float]]:
        """(H, W, 3), and seconds of the parts of `latents`; laps latents and g_s."""
        started = self.start_latents([stream], threads)
        clock.lap("latents")
        image = _last(self.finish(started, [stream], [View.whole(stream.height, stream.width)]).settle()[0])
        clock.lap("g_s")
        return image, started.times

    def start_latents(self, streams: Sequence[_container.Stream], threads: int, labels: Sequence[int] | None = None) -> Started:
        """The first half of `decode`. Waits only for latents that are decoded on the CPU."""
        import torch

        there = [i for i, s in enumerate(streams) if self.on_device(s)]
        here = [i for i in range(len(streams)) if i not in there]
        y: list[torch.Tensor] = [torch.empty(0)] * len(streams)
        times: dict[str, float] = {}
        if here:
            workers, share = shared_out(threads, len(here))
            said = None if labels is None else [labels[i] for i in here]
            decoded = each(lambda i: self.decode_integers(streams[i], share)[1:], here, workers, said)
            times = decoded[-1][1]
            for i, (latents, _) in zip(here, decoded, strict=True):
                on_host = torch.from_numpy(latents)
                y[i] = on_host if self.device == "cpu" else on_host.pin_memory().to(self.device, non_blocking=True)
        if not there:
            return Started(y, None, times)
        layouts = each(lambda i: self.layout(streams[i]), there, labels=None if labels is None else [labels[i] for i in there])
        results = self._decoding(layouts).start_batch(self._payloads([streams[i] for i in there]), layouts)
        verdicts = torch.tensor([[0, 0, s.checksum] for s in streams])  # of those that are checked
        verdicts = verdicts.to(self.device)
        for i, result in zip(there, results, strict=True):
            y[i], verdicts[i] = result.y, verdict_of(*result)
        return Started(y, verdicts, times)

    def _decoding(self, layouts: Sequence[StreamLayout]) -> DeviceBackend:
        """The backend that decodes these together."""
        own = cast("DeviceBackend", self.backend)
        if self._batches is None or not self.file.config.context:
            return own
        if choice.faster([(layout.height, layout.width) for layout in layouts], multiprocessors(self.device)) != self._batches:
            return own
        with self._lock:
            if self._of_batches is None:
                self._of_batches = cast("DeviceBackend", backends.load(self._batches, self.file, self.device))
            return self._of_batches

    def finish(self, started: Started, streams: Sequence[_container.Stream], views: Sequence[View]) -> Decoded:
        """The second half of `decode`: g_s, for like views of one shape and quality together."""
        import torch

        out = [torch.empty(0)] * len(streams)
        for group in groups([(s.height, s.width, s.quality, *astuple(view)) for s, view in zip(streams, views, strict=True)]):
            stream, batch = streams[group[0]], torch.stack([started.y[i] for i in group])
            pixels = self.transforms.view(batch, stream.quality, stream.height, stream.width, views[group[0]])
            for k, i in enumerate(group):
                out[i] = pixels[k]
        return Decoded(out, started.verdicts, [s.checksum for s in streams])

    def _payloads(self, streams: Sequence[_container.Stream]) -> list[torch.Tensor]:
        """The payloads on the device, by one copy; each starts where a kernel may read words."""
        import torch

        starts, total = [], 0
        for s in streams:
            starts.append(total)
            total += -(-len(s.payload) // _ALIGNMENT) * _ALIGNMENT
        joined = np.zeros(total, np.uint8)
        for start, s in zip(starts, streams, strict=True):
            joined[start : start + len(s.payload)] = np.frombuffer(s.payload, np.uint8)
        buffer = torch.from_numpy(joined)
        if self.device != "cpu":
            buffer = buffer.pin_memory().to(self.device, non_blocking=True)
        return [buffer[start : start + len(s.payload)] for start, s in zip(starts, streams, strict=True)]

    def _by_graph(self, stream: _container.Stream, cache: GraphCache) -> Decoded:
        """One stream: all of it by one graph if the backend is a SizedBackend, else what comes after its latents."""
        import torch

        layout = self.layout(stream)
        height, width = stream.height, stream.width
        row = self.transforms.decoding_row(stream.quality)
        payload = self._payloads([stream])[0]

        def tail(z: torch.Tensor, y: torch.Tensor, status: torch.Tensor, row: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return self.transforms.synthesis(y[None], row, height, width)[0], verdict_of(z, y, status)

        def whole(payload: torch.Tensor, size: torch.Tensor, row: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tail(*cast(SizedBackend, self.backend).start_sized(payload, size, layout), row)

        if hasattr(self.backend, "start_sized"):
            capacity = 1 << max(12, (len(payload) - 1).bit_length())
            filled = torch.zeros(capacity, dtype=torch.uint8, device=payload.device)
            filled[: len(payload)] = payload
            size = torch.full((1,), len(payload), dtype=torch.int32, device=payload.device)
            rgb, verdict = cache.run((height, width, layout, capacity), whole, filled, size, row)
        else:
            started = cast("DeviceBackend", self.backend).start(payload, layout)
            rgb, verdict = cache.run((height, width), tail, *started, row)
        return Decoded([rgb], verdict[None], [stream.checksum])


@dataclass(frozen=True)
class OpenedTensor:
    """An image on the device: rgb (3, H, W) uint8."""

    pipeline: DevicePipeline
    rgb: torch.Tensor

    @property
    def size(self) -> tuple[int, int]:
        return self.rgb.shape[2], self.rgb.shape[1]

    def analyse(self, quality: float, threads: int, clock: Clock) -> AnalysedTensors:
        y = self.pipeline.transforms.analysis(self.rgb[None], quality)
        clock.lap("g_a")
        analysed = self._behind(y)
        clock.lap("h_a")
        return analysed

    def analyse_once(self, threads: int) -> Callable[[float], AnalysedTensors]:
        features = self.pipeline.transforms.features(self.rgb[None])
        return lambda quality: self._behind(self.pipeline.transforms.scaled(features, quality))

    def _behind(self, y: torch.Tensor) -> AnalysedTensors:
        config = self.pipeline.file.config
        z = self.pipeline.transforms.hyper_analysis(y)[0] if config.hyper_latents else None
        return AnalysedTensors(y[0], z, config.frac_bits)

    def pixels(self) -> Pixels:
        return _last(self.rgb)


@dataclass(frozen=True)
class AnalysedTensors:
    """y (M, h, w) and z (N, hz, wz) or None, times 2^LATENT_BITS, on the device."""

    y: torch.Tensor
    z: torch.Tensor | None
    frac_bits: int

    def round_latents(self) -> Symbols:
        y, z = (None if part is None else _last(part.int()) for part in (self.y, self.z))
        return np.zeros((0, 0, 0), np.int32) if z is None else fixed(z, 0), fixed(cast(Ints, y), self.frac_bits)

    def latents(self) -> tuple[Floats, Floats | None]:
        y, z = (None if part is None else _last(part.float() * 2.0**-LATENT_BITS) for part in (self.y, self.z))
        return cast(Floats, y), z


def _last(x: torch.Tensor) -> NDArray[Any]:
    """(C, h, w) -> (h, w, C) in host memory."""
    array: NDArray[Any] = x.permute(1, 2, 0).contiguous().cpu().numpy()
    return array


def verdict_of(z: torch.Tensor, y: torch.Tensor, status: torch.Tensor) -> torch.Tensor:
    """(3,) int64 on the device: code and detail of a DeviceResult's status, and the checksum of its symbols."""
    import torch

    from jahp_fast.entropy.checksum import symbol_checksums

    return torch.cat([status[:2].long(), symbol_checksums(z[None], y[None])])


def groups(sizes: Sequence[tuple[float, ...]]) -> list[list[int]]:
    """Indices of equal (height, width, ...), in order, at most GROUP_PIXELS together or a single one."""
    open_groups: dict[tuple[float, ...], list[int]] = {}
    out = []
    for i, size in enumerate(sizes):
        group = open_groups.get(size)
        if group is None or (len(group) + 1) * size[0] * size[1] > GROUP_PIXELS:
            group = open_groups[size] = []
            out.append(group)
        group.append(i)
    return out
