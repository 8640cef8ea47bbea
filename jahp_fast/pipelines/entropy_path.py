# SPDX-License-Identifier: Apache-2.0
"""The exact half of a model in use: payloads to checked integers and back, by the backend that was chosen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from jahp_fast import _native, backends
from jahp_fast.constants import STRIDE
from jahp_fast.entropy import copies
from jahp_fast.entropy.layout import Part, StreamLayout
from jahp_fast.errors import FormatError, UnsupportedImage, UsageError
from jahp_fast.files import container as _container
from jahp_fast.pipelines.contract import CodedSymbols, Ints

if TYPE_CHECKING:
    from jahp_fast.backends import Backend
    from jahp_fast.entropy.model_file import ModelFile

UNCODABLE = "the model's latents for this image cannot be coded"
"""Latents that are out of range are the image's fault, not the caller's."""
CHECKSUM_ERROR = "the checksum of the decoded symbols does not match"


def layout_of(stream: _container.Stream, model: ModelFile) -> StreamLayout:
    """What a file says of its payload. Raises FormatError for a quality that the model does not have, and for a damaged map of copies."""
    config, quality = model.config, stream.quality
    if not config.qualities[0] <= quality <= config.qualities[-1]:
        raise FormatError(f"stream of quality {quality:g}, which its model does not have")
    height, width = -(-stream.height // STRIDE), -(-stream.width // STRIDE)
    maps = b""
    if _container.COPIES in stream.chunks:
        maps = copies.unpack(
            stream.chunks[_container.COPIES], (-(-height // 4), -(-width // 4)) if config.hyper_latents else (0, 0), (height, width)
        )
    least = _container.min_payload_bytes(stream.width, stream.height)
    return StreamLayout(height, width, stream.lanes, stream.skip, least, maps, model.z_row(quality))


class EntropyPath:
    """Safe to share between threads. The backend is made when first needed.

    Args:
        backend: a resolved name.
        device: "cpu" or "cuda:N".
    """

    def __init__(self, file: ModelFile, backend: str, device: str = "cpu") -> None:
        self.file, self.device, self.backend_name = file, device, backend
        self._lock = threading.Lock()
        self._backend: Backend | None = None

    @property
    def backend(self) -> Backend:
        with self._lock:
            if self._backend is None:
                self._backend = backends.load(self.backend_name, self.file, self.device)
            return self._backend

    @cached_property
    def _host(self) -> Backend:
        return backends.load("native", self.file)

    def _backend_for(self, layout: StreamLayout) -> Backend:
        """Kernels of a device do not copy positions."""
        return self._host if layout.copies and self.backend_name in backends.ON_DEVICE else self.backend

    def encode_symbols(self, z: Ints, wanted: Ints, size: tuple[int, int], quality: float, lanes: int, threads: int) -> CodedSymbols:
        """An image's symbols as a file has them; size: width and height; lanes: see Pipeline.

        Raises UnsupportedImage for one beyond 32767.
        """
        least, z_row, skip = _container.min_payload_bytes(*size), self.file.z_row(quality), self.file.skip(quality)
        layout = StreamLayout(wanted.shape[0], wanted.shape[1], lanes, skip, least, z_row=z_row)
        choice = copies.choose(z, wanted)
        if choice is None:
            return self._coded(z, wanted, layout, threads)
        copied = self._coded(z, wanted, replace(layout, copies=choice.maps), threads, choice.packed)
        if choice.sure:
            return copied
        plain = self._coded(z, wanted, layout, threads)
        return copied if len(copied.payload) + choice.bytes < len(plain.payload) else plain

    def may_copy(self, z: Ints, y: Ints) -> bool:
        """Whether so many positions are as a neighbour that a file may copy them."""
        return copies.choose(z, y) is not None

    def _coded(self, z: Ints, wanted: Ints, layout: StreamLayout, threads: int, packed: bytes = b"") -> CodedSymbols:
        try:
            payload, y_hat, lanes, _ = self._backend_for(layout).encode(z, wanted, layout, threads)
        except UsageError as e:
            raise UnsupportedImage(f"{UNCODABLE}: {e}") from None
        return CodedSymbols(payload, lanes, layout.skip, _native.symbol_checksum(z, y_hat), packed, y_hat)

    def layout(self, stream: _container.Stream) -> StreamLayout:
        """See layout_of."""
        return layout_of(stream, self.file)

    def decode_integers(self, stream: _container.Stream, threads: int) -> tuple[Ints, Ints, dict[str, float]]:
        """z and y, channels last, checked, and seconds by stage. Raises FormatError."""
        layout = self.layout(stream)
        z, y, times = self._backend_for(layout).decode(stream.payload, layout, threads)
        check_symbols(z, y, stream)
        return z, y, times

    def decode_integer_rows(self, stream: _container.Stream, layout: StreamLayout, threads: int, part: Part, count: int) -> Iterator[Ints]:
        """A part of y, `count` rows at a time, (k, w, M), while the rest is decoded, where the backend can: then little more than the part
        is held. The last rows of y come when the checksum has been found right; of a part that ends above them, it is checked when no
        more are there.

        Raises FormatError in place of rows.
        """
        decode = self._backend_for(layout).start_rows(stream.payload, layout, threads, part)

        def check() -> None:
            if decode.finish() != stream.checksum:
                raise FormatError(CHECKSUM_ERROR)

        row, end = part.rows
        while row < end:
            rows = decode.rows(count)
            row += len(rows)
            if row == layout.height:
                check()
            yield rows
        if end < layout.height:
            check()


def check_symbols(z: Ints, y: Ints, stream: _container.Stream) -> None:
    """Raises FormatError unless the checksum of the decoded symbols is the stream's."""
    if _native.symbol_checksum(z, y) != stream.checksum:
        raise FormatError(CHECKSUM_ERROR)
