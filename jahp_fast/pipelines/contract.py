# SPDX-License-Identifier: Apache-2.0
"""What a codec asks of a model in use on one device: one protocol, which `cpu` and `device` fulfil.

Pixels and latents stay where their pipeline has them, behind `Opened` and `Analysed`, until they are symbols or pixels on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from jahp_fast.files.container import Stream
from jahp_fast.files.image import Rows
from jahp_fast.files.view import View
from jahp_fast.system.devices import Clock

if TYPE_CHECKING:
    import torch

    from jahp_fast.entropy.model_file import ModelFile

T = TypeVar("T")
Ints = NDArray[np.int32]
Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Symbols = tuple[Ints, Ints]
"""z (hz, wz, N) and y (h, w, M), channels last, y times 2^frac_bits: as Backend.encode takes them. z is (0, 0, 0) without a hyperprior."""


class CodedSymbols(NamedTuple):
    """skip: the threshold. copies: data of the chunk that says which positions are copied, empty if none is. y: what decoders get."""

    payload: bytes
    lanes: int
    skip: int
    checksum: int
    copies: bytes
    y: Ints


class Analysed(Protocol):
    """An image behind g_a and h_a at one quality."""

    def round_latents(self) -> Symbols:
        """The nearest integers, halves up. One beyond 32767 is refused when it is coded."""

    def latents(self) -> tuple[Floats, Floats | None]:
        """y (h, w, M) and z (hz, wz, N) or None, not rounded."""


class Opened(Protocol):
    """An image where its pipeline wants it."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""

    def analyse(self, quality: float, threads: int, clock: Clock) -> Analysed:
        """g_a and h_a at a quality; laps g_a and h_a."""

    def analyse_once(self, threads: int) -> Callable[[float], Analysed]:
        """g_a once, for several qualities."""

    def pixels(self) -> Pixels:
        """(H, W, 3)."""


class Pipeline(Protocol):
    """Safe to share between threads. What it needs is made when first needed."""

    file: ModelFile
    backend_name: str

    def guard(self, what: str) -> AbstractContextManager[object]:
        """Inside, the device is the current one, and memory of it that runs out is a DeviceError that says `what` was being done."""

    def warm(self) -> None:
        """Makes what all streams and images need."""

    # Encoding

    def open(self, rows: Rows) -> Opened:
        """Brings an image there."""

    def encode_batch(self, images: Sequence[Opened], quality: float, threads: int, code: Callable[[int, Symbols, int], T]) -> list[T]:
        """code(number, symbols, threads) of each image, several at a time; an error says which."""

    def may_copy(self, z: Ints, y: Ints) -> bool:
        """Whether so many positions are as a neighbour that a file may copy them."""

    def encode_symbols(self, z: Ints, wanted: Ints, size: tuple[int, int], quality: float, lanes: int, threads: int) -> CodedSymbols:
        """An image's symbols as a file has them; lanes: 0 for as many as the payload's length suggests.

        Raises UnsupportedImage for one beyond 32767.
        """

    def pixels_of(self, y: Ints, view: View, quality: float, threads: int) -> Pixels:
        """(H, W, 3), what a file's y becomes, without decoding that file; view: of the whole picture, a deep one on a CPU alone."""

    # Decoding

    def decode_integers(self, stream: Stream, threads: int) -> tuple[Ints, Ints, dict[str, float]]:
        """z and y, channels last, checked, and seconds by stage. Raises FormatError."""

    def decode_batch(
        self,
        streams: Sequence[Stream],
        views: Sequence[View],
        threads: int,
        finish: Callable[[int, Pixels], T],
        labels: Sequence[int] | None,
    ) -> list[T]:
        """finish(number, (H, W, 3)) of the view of each stream of this model, several at a time; `labels` are their numbers in errors.

        Raises FormatError.
        """

    def decode_tensor(self, stream: Stream, view: View, threads: int) -> torch.Tensor:
        """(3, H, W) of the view, on the device. Raises FormatError, and MissingExtra where torch is not installed."""

    def decode_rows(self, stream: Stream, view: View, threads: int) -> Iterator[Pixels]:
        """(k, W, 3) of the view, from top to bottom. Raises FormatError in place of a block."""

    def decode_timed(self, stream: Stream, threads: int, clock: Clock) -> tuple[Pixels, dict[str, float]]:
        """(H, W, 3), and seconds of the parts of `latents`; laps latents and g_s."""
