# SPDX-License-Identifier: Apache-2.0
"""The exact half of a model in use: payloads to checked integers and back, by the backend that was chosen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jahp_fast import _native, backends
from jahp_fast.constants import STRIDE
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.errors import FormatError, UnsupportedImage, UsageError
from jahp_fast.files import container as _container
from jahp_fast.pipelines.contract import Ints

if TYPE_CHECKING:
    from jahp_fast.backends import Backend
    from jahp_fast.entropy.model_file import ModelFile

UNCODABLE = "the model's latents for this image cannot be coded"
"""Latents that are out of range are the image's fault, not the caller's."""
CHECKSUM_ERROR = "the checksum of the decoded symbols does not match"


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

    def encode_symbols(self, z: Ints, wanted: Ints, width: int, height: int, threads: int) -> tuple[bytes, int, int]:
        """Payload, lanes and checksum of an image's symbols. Raises UnsupportedImage for one beyond 32767."""
        layout = StreamLayout(wanted.shape[0], wanted.shape[1], 0, 0, _container.min_payload_bytes(width, height))
        try:
            payload, y_hat, lanes, _ = self.backend.encode(z, wanted, layout, threads)
        except UsageError as e:
            raise UnsupportedImage(f"{UNCODABLE}: {e}") from None
        return payload, lanes, _native.symbol_checksum(z, y_hat)

    def layout(self, stream: _container.Stream) -> StreamLayout:
        """The payload's layout. Raises FormatError for a quality that the model does not have."""
        config, quality = self.file.config, stream.quality
        if not config.qualities[0] <= quality <= config.qualities[-1]:
            raise FormatError(f"stream of quality {quality:g}, which its model does not have")
        least = _container.min_payload_bytes(stream.width, stream.height)
        return StreamLayout(-(-stream.height // STRIDE), -(-stream.width // STRIDE), stream.lanes, stream.skip, least)

    def decode_integers(self, stream: _container.Stream, threads: int) -> tuple[Ints, Ints, dict[str, float]]:
        """z and y, channels last, checked, and seconds by stage. Raises FormatError."""
        z, y, times = self.backend.decode(stream.payload, self.layout(stream), threads)
        check_symbols(z, y, stream)
        return z, y, times

    def decode_integer_rows(self, stream: _container.Stream, threads: int) -> Iterator[Ints]:
        """Rows of y, (k, w, M), while later ones are decoded, where the backend can. The last come when the checksum has been found right.

        Raises FormatError in place of rows.
        """
        layout = self.layout(stream)
        decode = self.backend.start_rows(stream.payload, layout, threads)
        row = 0
        while row < layout.height:
            rows = decode.rows(row)
            row += len(rows)
            if row == layout.height:
                z, y, _ = decode.finish()
                check_symbols(z, y, stream)
            yield rows


def check_symbols(z: Ints, y: Ints, stream: _container.Stream) -> None:
    """Raises FormatError unless the checksum of the decoded symbols is the stream's."""
    if _native.symbol_checksum(z, y) != stream.checksum:
        raise FormatError(CHECKSUM_ERROR)
