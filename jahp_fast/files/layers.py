# SPDX-License-Identifier: Apache-2.0
"""The chunk of a layer over the pixels (docs/reference/format.md, "Layers"): exact pixels, what coarse ones lack, or a part of them.

    offset  size  field
         0     1  kind: 0 exact, 1 residual, 2 exact by few colours, 3 overlay; only 0 and 1 may have more than 8 bits a sample
         1     1  kinds 0 and 2: the largest error K; else 0
         2     2  kind 1: step of the quantiser, in sixteenths; else 0
         4     4  rows of a strip, a multiple of 8; the last strip has what is left
         8        length of each strip, u32; then the strips

Strips know nothing of each other: threads share them, and rows are decoded as they are wanted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from jahp_fast import _native
from jahp_fast.arguments import most_error
from jahp_fast.errors import FormatError
from jahp_fast.files.image import join

LAYER = b"LAYR"
"""Its type."""
Samples = NDArray[np.uint8]
"""(H, W, C), C-contiguous; C is 1 for grey, or 3."""
_Sample = TypeVar("_Sample", np.uint8, np.uint16)
Kind = Literal["exact", "residual", "colours", "overlay"]
LEAST_STEP, MOST_STEP = 16, 4096
MOST_ROWS = 1 << 24
_KINDS: tuple[Kind, ...] = ("exact", "residual", "colours", "overlay")
_HEAD = struct.Struct("<BBHI")
_STRIP_PIXELS = 1 << 17
_MOST_STRIP_PIXELS = 1 << 22
"""Of one colour; decoders hold strips as a whole."""
_FLAT = 0.2
"""Pictures of which a larger share of pixels is as the one to the left are tried by few colours too; photos have less."""
_ERROR_ROWS = 16
_AT_ONCE = 4
"""Strips a thread in one call: between calls Python sees Ctrl-C."""


@dataclass(frozen=True)
class Layer:
    """A parsed chunk. `bound` is the largest error of exact pixels, `step` that of the quantiser; the other one is 0. `bits` are those of
    a sample: 8, of uint8; or more, of uint16, and of a residual then 16."""

    kind: Kind
    bound: int
    step: int
    rows: int
    strips: list[bytes]
    bits: int = 8

    @staticmethod
    def parsed(data: bytes, height: int, what: str = "the layer over the pixels", bits: int = 8) -> Layer:
        """Raises FormatError for a field out of range, and lengths that do not add up; `what` they are of."""
        if len(data) < _HEAD.size:
            raise FormatError(f"{what} has {len(data)} bytes, which is shorter than its head")
        kind, bound, step, rows = _HEAD.unpack_from(data)
        if kind >= len(_KINDS):
            raise FormatError(f"{what} has kind {kind}, which is unknown to this release")
        if kind == 1 and bits > 8:
            bits = 16
        if kind > 1 and bits != 8:
            raise FormatError(f"{what} has kind {kind}, which has samples of 8 bits, and not of {bits}")
        fine = bound <= (0 if kind in (1, 3) else most_error(bits)) and (LEAST_STEP <= step <= MOST_STEP if kind == 1 else step == 0)
        if not fine:
            raise FormatError(f"{what} has an error of {bound} and a step of {step}, which its kind cannot have")
        if not 8 <= rows <= MOST_ROWS or rows % 8:
            raise FormatError(f"{what} has strips of {rows} rows: 8, 16, 24 ... were expected")
        count = -(-height // rows)
        at = _HEAD.size + 4 * count
        if at > len(data):
            raise FormatError(f"{what} has {len(data)} bytes, too few for the lengths of {count} strips")
        lengths = struct.unpack_from(f"<{count}I", data, _HEAD.size)
        if at + sum(lengths) != len(data):
            raise FormatError(f"{what} has {len(data)} bytes, but speaks of {at + sum(lengths)}")
        strips = []
        for length in lengths:
            strips.append(data[at : at + length])
            at += length
        return Layer(_KINDS[kind], bound, step, rows, strips, bits)

    @property
    def exact(self) -> bool:
        """Whether it holds the pixels by itself, and is not laid over those of the latents."""
        return self.kind in ("exact", "colours")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its samples."""
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)

    def packed(self) -> bytes:
        """The chunk's data."""
        head = _HEAD.pack(_KINDS.index(self.kind), self.bound, self.step, self.rows)
        return head + struct.pack(f"<{len(self.strips)}I", *map(len, self.strips)) + b"".join(self.strips)

    def chunks(self) -> dict[bytes, bytes]:
        """The chunk, by its type."""
        return {LAYER: self.packed()}

    def strips_around(self, first: int, end: int, height: int) -> tuple[int, int]:
        """(first, end) of the rows of whole strips that hold such rows of a picture of that height."""
        return first // self.rows * self.rows, min(-(-end // self.rows) * self.rows, height)

    def decode(self, samples: NDArray[Any], first: int, threads: int) -> None:
        """Writes exact pixels, or adds to coarse ones or replaces some, in place: whole strips, the first of them number `first`.

        Raises FormatError where a strip's data do not end where they should.
        """
        at_once = _AT_ONCE * threads
        for begin in range(0, -(-len(samples) // self.rows), at_once):
            part = samples[begin * self.rows : (begin + at_once) * self.rows]
            strips = self.strips[first + begin : first + begin + -(-len(part) // self.rows)]
            if self.bits > 8 and self.kind == "residual":
                _native.decode_deep_residual(strips, part, self.step, self.rows, threads)
            elif self.bits > 8:
                _native.decode_deep(strips, part, self.bits, self.bound, self.rows, threads)
            elif self.kind == "exact":
                _native.decode_exact(strips, part, self.bound, self.rows, threads)
            elif self.kind == "colours":
                _native.decode_colours(strips, part, self.rows, threads)
            elif self.kind == "overlay":
                _native.decode_overlay(strips, part, self.rows, threads)
            else:
                _native.decode_residual(strips, part, self.step, self.rows, threads)


def exact(samples: Samples, bound: int, threads: int) -> Layer:
    """The layer that keeps each sample to within `bound`; by few colours, as they are or merged, where that is smaller."""
    rows = strip_rows(*samples.shape[:2])
    strips = _encoded(len(samples), rows, threads, lambda part: _native.encode_exact(samples[part], bound, rows, threads))
    layers = [Layer("exact", bound, 0, rows, strips)]
    if _flatness(samples) >= _FLAT:
        layers.append(colours(samples, 0, threads))
        if bound:
            merged = _native.merge_colours(samples, bound, 0)
            layers.append(colours(merged, errors_of(samples, merged)[0], threads))
    return min(layers, key=lambda layer: len(layer.packed()))


def colours(samples: Samples, bound: int, threads: int) -> Layer:
    """The layer that keeps these samples by few colours; bound: the most that one differs from the picture's."""
    rows = strip_rows(*samples.shape[:2])
    if one_colour(samples):  # no work to share, and each strip takes 20 bytes
        rows = min(8 * -(-len(samples) // 8), max(8, _MOST_STRIP_PIXELS // samples.shape[1] // 8 * 8))
    strips = _encoded(len(samples), rows, threads, lambda part: _native.encode_colours(samples[part], rows, threads))
    return Layer("colours", bound, 0, rows, strips)


def overlay(samples: Samples, holes: Samples, threads: int) -> Layer:
    """The layer that keeps these samples by few colours where `holes` (H, W) is 0, and elsewhere leaves those of the latents."""
    rows = strip_rows(*samples.shape[:2])
    strips = _encoded(len(samples), rows, threads, lambda part: _native.encode_overlay(samples[part], holes[part], rows, threads))
    return Layer("overlay", 0, 0, rows, strips)


def one_colour(samples: Samples) -> bool:
    """Whether all pixels are the same."""
    return all(bool(np.all(row == samples[0, 0])) for row in samples)


def errors_of(samples: NDArray[_Sample], others: NDArray[_Sample], shift: int = 0) -> tuple[int, int]:
    """The largest error, and the sum of all squared ones; shift: of the others. A few rows at a time, which stay in the cache."""
    largest = squares = 0
    for top in range(0, len(samples), _ERROR_ROWS):
        rows = others[top : top + _ERROR_ROWS] >> shift if shift else others[top : top + _ERROR_ROWS]
        errors = np.subtract(samples[top : top + _ERROR_ROWS], rows, dtype=np.int32)
        largest = max(largest, int(errors.max()), -int(errors.min()))
        squares += int(np.square(errors, dtype=np.int64).sum())
    return largest, squares


def exact_deep(samples: NDArray[np.uint16], bits: int, bound: int, threads: int) -> Layer:
    """The same of samples below 2^bits, 9 to 16, which are not tried by few colours."""
    rows = strip_rows(*samples.shape[:2])
    strips = _encoded(len(samples), rows, threads, lambda part: _native.encode_deep(samples[part], bits, bound, rows, threads))
    return Layer("exact", bound, 0, rows, strips, bits)


def _flatness(samples: Samples) -> float:
    """The share of pixels that are as the one to the left; 1 of a single column."""
    same = np.all(samples[:, 1:] == samples[:, :-1], axis=2)
    return float(same.mean()) if same.size else 1.0


def residual(samples: NDArray[_Sample], coarse: NDArray[_Sample], step: int, threads: int) -> Layer:
    """The layer that makes of `coarse` nearly `samples`, of 8 or 16 bits; step in sixteenths."""
    rows = strip_rows(*samples.shape[:2])
    deep = samples.dtype == np.uint16
    encode: Callable[..., list[bytes]] = _native.encode_deep_residual if deep else _native.encode_residual
    strips = _encoded(len(samples), rows, threads, lambda part: encode(samples[part], coarse[part], step, rows, threads))
    return Layer("residual", 0, step, rows, strips, 16 if deep else 8)


def strip_rows(height: int, width: int) -> int:
    """One strip, or an even number of strips of some 2^17 pixels; less would cost bytes, more would keep threads waiting."""
    strips = max(1, height * width // (2 * _STRIP_PIXELS) * 2)
    return 8 * -(-height // (8 * strips))


def _encoded(height: int, rows: int, threads: int, encode: Callable[[slice], list[bytes]]) -> list[bytes]:
    at_once = _AT_ONCE * threads * rows
    return [strip for begin in range(0, height, at_once) for strip in encode(slice(begin, begin + at_once))]


def samples_of(rgb: NDArray[_Sample], mode: Literal["RGB", "L"]) -> NDArray[_Sample]:
    """What a layer works on, of (H, W, 3) pixels."""
    return np.ascontiguousarray(join(rgb, mode, None)).reshape(*rgb.shape[:2], -1)


def _rgb_of(samples: NDArray[_Sample]) -> NDArray[_Sample]:
    return samples if samples.shape[2] == 3 else np.repeat(samples, 3, axis=2)


class Strips(Protocol):
    """What `exact_rows` needs of a layer."""

    @property
    def rows(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def decode(self, samples: NDArray[Any], first: int, threads: int) -> None: ...


def exact_rows(layer: Strips, rows: tuple[int, int], width: int, mode: Literal["RGB", "L"], threads: int) -> Iterator[NDArray[Any]]:
    """(k, W, 3) from top to bottom. rows: as strips_around gives them. Raises FormatError in place of a block."""
    block = layer.rows * threads
    for begin in range(*rows, block):
        samples = np.empty((min(block, rows[1] - begin), width, 3 if mode == "RGB" else 1), layer.dtype)
        layer.decode(samples, begin // layer.rows, threads)
        yield _rgb_of(samples)


def refined_rows(
    layer: Layer, coarse: Iterable[NDArray[_Sample]], rows: tuple[int, int], mode: Literal["RGB", "L"], threads: int
) -> Iterator[NDArray[_Sample]]:
    """The same of a layer that is laid over coarse (k, W, 3) pixels of these rows, which are read as far as a block of strips needs."""
    block, held = layer.rows * threads, list[NDArray[_Sample]]()
    done, end = rows
    for part in coarse:
        held.append(part)
        waiting = sum(map(len, held))
        whole = waiting if done + waiting == end else waiting // block * block
        if whole == 0:
            continue
        rgb = np.concatenate(held)
        samples = samples_of(rgb[:whole], mode)
        layer.decode(samples, done // layer.rows, threads)
        held, done = [rgb[whole:]] if whole < waiting else [], done + whole
        yield _rgb_of(samples)
