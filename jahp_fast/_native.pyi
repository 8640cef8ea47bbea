# SPDX-License-Identifier: Apache-2.0
"""C++ core of jahp_fast; not public, see jahp_fast.Codec. Contracts stand in csrc/core/*.hpp."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

_Int32 = NDArray[np.int32]
_Int16 = NDArray[np.int16]
_Float32 = NDArray[np.float32]
_Layer = tuple[str, _Int16, _Int32, NDArray[np.uint8], str, tuple[NDArray[Any], ...]]

def crc32c(data: Buffer, crc: int = 0) -> int: ...
def symbol_checksum(z: _Int32, y: _Int32) -> int: ...
def isa_names() -> list[str]: ...
def peak_macs(isa: str, bits: int, threads: int, seconds: float = 0.1) -> float:
    """Multiply-adds a second that the products' instruction reaches on registers alone; bits: 8 or 16."""

def encode_exact(pixels: NDArray[np.uint8], max_error: int, rows: int, threads: int) -> list[bytes]:
    """(H, W, 1 or 3) -> the data of its strips, of `rows` rows each."""

def decode_exact(strips: list[bytes], pixels: NDArray[np.uint8], max_error: int, rows: int, threads: int) -> None:
    """Into `pixels`. Raises FormatError if one of the strips does not end where its data end."""

def encode_deep(pixels: NDArray[np.uint16], bits: int, max_error: int, rows: int, threads: int) -> list[bytes]:
    """encode_exact of samples below 2^bits, 9 to 16."""

def decode_deep(strips: list[bytes], pixels: NDArray[np.uint16], bits: int, max_error: int, rows: int, threads: int) -> None: ...
def pack_values(values: NDArray[np.uint16], bits: int) -> bytes:
    """Rising values below 2^bits, at least one -> data of a chunk."""

def unpack_values(data: bytes, bits: int) -> NDArray[np.uint16]:
    """The reverse. Raises FormatError for damaged data."""

def count_repeated(pixels: NDArray[np.uint8]) -> int: ...
def is_drawing(repeated: int, height: int, width: int) -> bool: ...
def merge_colours(pixels: NDArray[np.uint8], bound: int, contrast: int, holes: NDArray[np.uint8] | None = ...) -> NDArray[np.uint8]: ...
def encode_colours(pixels: NDArray[np.uint8], rows: int, threads: int) -> list[bytes]: ...
def decode_colours(strips: list[bytes], pixels: NDArray[np.uint8], rows: int, threads: int) -> None: ...
def encode_overlay(pixels: NDArray[np.uint8], holes: NDArray[np.uint8], rows: int, threads: int) -> list[bytes]: ...
def decode_overlay(strips: list[bytes], pixels: NDArray[np.uint8], rows: int, threads: int) -> None: ...
def maybe_drawn(repeated: int, height: int, width: int) -> bool: ...
def partly_flat(pixels: NDArray[np.uint8]) -> bool: ...
def choose_holes(
    pixels: NDArray[np.uint8], coarse: NDArray[np.uint8], rows: int, price: int, bytes: int, threads: int
) -> NDArray[np.uint8] | None: ...
def cost_of_holes(pixels: NDArray[np.uint8], coarse: NDArray[np.uint8], holes: NDArray[np.uint8], price: int, bytes: int) -> int: ...
def beside_plain(pixels: NDArray[np.uint8], linked: bool) -> NDArray[np.uint8] | None: ...
def fill_drawn(pixels: NDArray[np.uint8], holes: NDArray[np.uint8]) -> NDArray[np.uint8]: ...
def encode_residual(pixels: NDArray[np.uint8], coarse: NDArray[np.uint8], step: int, rows: int, threads: int) -> list[bytes]: ...
def decode_residual(strips: list[bytes], pixels: NDArray[np.uint8], step: int, rows: int, threads: int) -> None:
    """Adds to `pixels`, which come in as the coarse ones. Raises FormatError as decode_exact does."""

def encode_deep_residual(pixels: NDArray[np.uint16], coarse: NDArray[np.uint16], step: int, rows: int, threads: int) -> list[bytes]: ...
def decode_deep_residual(strips: list[bytes], pixels: NDArray[np.uint16], step: int, rows: int, threads: int) -> None:
    """As decode_residual, of samples of 16 bits."""

def range_encode(
    tables: CdfTables, lanes: int, lane: _Int32, row: _Int32, value: _Int32, shift: _Int32, min_bytes: int = 0, reference: bool = False
) -> bytes: ...
def range_decode(
    tables: CdfTables,
    lanes: int,
    payload: Buffer,
    lane: _Int32,
    row: _Int32,
    shift: _Int32,
    min_bytes: int = 0,
    reference: bool = False,
    isa: str = "",
) -> _Int32: ...

class CdfTables:
    def __init__(self, prob_bits: int, low: _Int32, size: _Int32, starts: NDArray[np.uint16]) -> None: ...
    @property
    def rows(self) -> int: ...

class EntropyModel:
    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], isa: str = "") -> None: ...
    def decode(
        self,
        payload: Buffer,
        height: int,
        width: int,
        lanes: int,
        skip: int,
        min_bytes: int,
        threads: int,
        copies: bytes = b"",
        z_row: int = 0,
    ) -> tuple[_Int32, _Int32, dict[str, float]]: ...
    def start_decode(
        self,
        payload: Buffer,
        height: int,
        width: int,
        lanes: int,
        skip: int,
        min_bytes: int,
        threads: int,
        copies: bytes,
        z_row: int,
        rows: tuple[int, int],
        columns: tuple[int, int],
    ) -> LatentDecode:
        """decode, in a thread of its own (and `threads` - 1 helpers), that keeps y of these (first, end) alone, to be had by rows."""

    def encode(
        self, z: _Int32, y: _Int32, lanes: int, skip: int, min_bytes: int, threads: int, copies: bytes = b"", z_row: int = 0
    ) -> tuple[bytes, _Int32, int, dict[str, float]]: ...
    def symbols(self, z: _Int32, y: _Int32, threads: int) -> tuple[_Int32, _Int32]: ...

class LatentDecode:
    """A decode that runs. Rows that come before finish() has returned may be of a damaged payload: only its end tells."""

    def rows(self, count: int) -> _Int32:
        """Waits for the next `count` rows, fewer where they end -> (k, width, M); none behind the last.

        Raises:
            FormatError: the payload is damaged.
        """

    def finish(self) -> int:
        """Waits for the end, whatever has not been had -> symbol_checksum(z, y). After it both methods raise UsageError."""

class Annealing:
    """As jahp_fast.search.annealing.Annealing, bit for bit. Raises UsageError also for arrays of other types or sizes."""

    def __init__(self, start: _Float32) -> None: ...
    def draw(self, width: float, round: int) -> _Int32:
        """Raises UsageError for a width that is not positive."""

    def below(self) -> _Int32: ...
    def move(
        self, slope: _Float32, bits: _Float32, curvature: _Float32, mean: float, square: float, rate: float, squares: float
    ) -> None: ...
    def nearest(self) -> _Int32: ...

def best_steps(
    slope: _Float32, curvature: _Float32, answer: _Float32, down: _Float32, up: _Float32, interaction: _Float32, margin: float
) -> _Int32:
    """As jahp_fast.search.step_search.best_steps. Raises UsageError for arrays of other types or sizes."""

def scaled(x: _Int32, mul: _Int32, shift: NDArray[np.uint8], limit: int) -> NDArray[Any]:
    """x (h, w, M) times mul / 2^shift (M,) by channel, rounded, halves up, and clamped to +-limit: int16 if that is below 32768, else
    int32. shift: 1 to 62. Raises UsageError for arrays of other types or sizes, and for values out of these ranges."""

class TransformNet:
    """A chain of convolutions in integers, channels last (docs/reference/format.md, section 14). Immutable, may be shared between threads;
    weights are packed when it is made. As jahp_fast.transforms.reference.ReferenceNet, bit for bit, with every instruction set.
    """

    def __init__(self, layers: Sequence[_Layer], isa: str = "") -> None:
        """Each layer as jahp_fast.transforms.layers.Layer has it: (kind, weight, bias, shift, activation, extras).

        Args:
            layers: kind is "conv" (weight (out, in, k, k), k of 1, 3 or 5, zero padding k // 2, stride 2 if k is 5, else 1) or "deconv"
                (weight (in, out, 5, 5), stride 2, padding 2, output padding 1).
            isa: an instruction set of isa_names(); "" is the best.

        Raises:
            ModelError: tensors contradict each other, or values are out of their ranges.
            UsageError: an unknown name, or an array of another type.
        """

    def followed_by(self, layers: Sequence[_Layer]) -> TransformNet:
        """A net of this one's layers, shared as they are packed, and these behind them. Raises as the constructor."""

    def run(self, x: _Int16, threads: int = 1, trace: GainTrace | None = None) -> NDArray[Any]:
        """x (h, w, c), clamped to +-8191 -> (H, W, C): int16, or what the last layer gives, int32 ("none") or uint8 ("pixels")."""

    def stream(self, height: int, width: int, trace: GainTrace | None = None) -> TransformStream:
        """Raises UsageError for impossible sizes, and for what reads a trace without one of its size that keeps what it needs."""

class GainTrace:
    """What the inverse GDNs of g_s multiplied by, on its way from a stream through g_s to one through its adjoint, which is made after it
    and takes the layers in the opposite order. Of that only what the one has written and the other not yet read is in memory.

    Args:
        inputs: keep what was multiplied too, for the activation "igdn_adjoint".
    """

    def __init__(self, inputs: bool = False) -> None: ...
    def squares(self) -> list[NDArray[np.uint32]]:
        """By inverse GDN, in the order of g_s, (h, w): sums over the channels of the squares of what the adjoint multiplied by, of which
        2^8 is 1."""

class TransformStream:
    """One map of a known size on its way through a net, by strips. Memory grows with the width alone."""

    def push(self, rows: _Int16, threads: int = 1) -> NDArray[Any]:
        """The next rows (k, width, c), clamped to +-8191 -> the output rows that became final, (k', W, C); k' may be 0.

        Raises:
            UsageError: more rows than height, or of another shape; or a trace lacks rows that are needed.
        """

    def finish(self, threads: int = 1) -> NDArray[Any]:
        """What is left, (k', W, C). Raises UsageError if rows are missing."""
