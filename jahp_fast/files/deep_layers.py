# SPDX-License-Identifier: Apache-2.0
"""Exact pixels of 9 to 16 bits (docs/reference/format.md, "Few values"): a layer of them, or of places among the values that occur."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jahp_fast import _native
from jahp_fast.errors import FormatError
from jahp_fast.files import layers
from jahp_fast.files.deep import Deep, widened

VALUES = b"VALS"
"""Chunk: which values the samples have, where the layer holds their places among these."""


def count_values(data: bytes, depth: int) -> int:
    """How many the chunk's data speak of. Raises FormatError for too few bytes, and for more values than the depth has."""
    if len(data) < 2:
        raise FormatError(f"the values of the samples take {len(data)} bytes, which is shorter than their number")
    count = int.from_bytes(data[:2], "little") + 1
    if count > 1 << depth:
        raise FormatError(f"samples of {depth} bits cannot have {count} values")
    return count


def bits_of_places(count: int) -> int:
    """Bits of samples that are places among so many values."""
    return max(8, (count - 1).bit_length())


def layer_bits(values: bytes | None, depth: int) -> int:
    """Bits of the samples that a layer codes; values: the chunk's data. Raises FormatError as count_values."""
    return depth if values is None else bits_of_places(count_values(values, depth))


def sparse_values(samples: Deep) -> Deep | None:
    """Values among which all samples are, rising; None where coding places can hardly pay.

    They are those that occur. Where these are more than half, rounded up, of the numbers from the least to the largest in steps of the
    greatest that meets them all, they are these numbers, which are named in fewer bytes; and none with a step of 1.
    """
    values = np.flatnonzero(np.bincount(samples.ravel(), minlength=1 << 16))
    least, largest = int(values[0]), int(values[-1])
    step = max(1, int(np.gcd.reduce(values - least)))
    if 2 * len(values) <= (largest - least) // step + 2:
        return values.astype(np.uint16)
    return np.arange(least, largest + 1, step).astype(np.uint16) if step > 1 else None


@dataclass(frozen=True)
class DeepLayer:
    """A layer of exact pixels of a file of that depth. Decodes to 16 bits, in which 65535 is white.

    Attributes:
        values: what places stand for, rising; None where the layer has the samples themselves.
    """

    layer: layers.Layer
    depth: int
    values: Deep | None
    dtype = np.dtype(np.uint16)

    @staticmethod
    def of(layer: layers.Layer, chunks: Mapping[bytes, bytes], depth: int) -> DeepLayer:
        """Of a file's layer and chunks. Raises FormatError for damaged values."""
        return DeepLayer(layer, depth, _native.unpack_values(chunks[VALUES], depth) if VALUES in chunks else None)

    @property
    def rows(self) -> int:
        """Of a strip."""
        return self.layer.rows

    def chunks(self) -> dict[bytes, bytes]:
        """The data of its chunks, by type."""
        named = {} if self.values is None else {VALUES: _native.pack_values(self.values, self.depth)}
        return {**self.layer.chunks(), **named}

    def decode(self, samples: NDArray[np.uint16], first: int, threads: int) -> None:
        """As Layer.decode. Raises FormatError also for a place that there is not."""
        places = np.empty(samples.shape, self.layer.dtype)
        self.layer.decode(places, first, threads)
        if self.values is None:
            samples[...] = widened(places, self.depth)
            return
        if int(places.max()) >= len(self.values):
            raise FormatError("a sample is none of the values that the file names: the file is damaged")
        samples[...] = widened(self.values[places], self.depth)


def exact(samples: Deep, depth: int, bound: int, threads: int) -> DeepLayer:
    """The layer that keeps each sample of `depth` bits, (H, W, C), to within `bound`; without any error by places, if that is smaller."""
    plain = DeepLayer(layers.exact_deep(samples, depth, bound, threads), depth, None)
    values = None if bound else sparse_values(samples)
    if values is None:
        return plain
    bits = bits_of_places(len(values))
    place_of = np.zeros(int(values[-1]) + 1, np.uint16)
    place_of[values] = np.arange(len(values))
    places = place_of[samples]
    layer = layers.exact(places.astype(np.uint8), 0, threads) if bits == 8 else layers.exact_deep(places, bits, 0, threads)
    return min(plain, DeepLayer(layer, depth, values), key=lambda one: sum(map(len, one.chunks().values())))
