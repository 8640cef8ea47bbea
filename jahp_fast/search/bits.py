# SPDX-License-Identifier: Apache-2.0
"""What symbols cost: the exact rate of any value of a symbol, out of a model file's tables. For encoders; form A alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast import _native
from jahp_fast.entropy.reference import ReferenceModel, symbols_of
from jahp_fast.errors import UnsupportedImage, UsageError
from jahp_fast.pipelines.entropy_path import UNCODABLE

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelFile

Ints = NDArray[np.int32]
_ESCAPE_BITS = 16
BIT_STEPS = 4096


def rounded_bits(prob_bits: int, frequencies: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bits of frequencies out of 2^prob_bits, in steps of 2^-12: the same on every machine, since no logarithm of an integer up to 2^16
    comes near the middle of two steps."""
    bits: NDArray[np.float64] = prob_bits - np.rint(np.log2(frequencies) * BIT_STEPS) / BIT_STEPS
    return bits


class SymbolBits:
    """Rates of a model of form A. Safe to share between threads.

    Args:
        reference: rows by NumPy alone, as the reference backend does it.
    """

    def __init__(self, model: ModelFile, reference: bool) -> None:
        t, self._config = model.entropy, model.config
        self._model: Any = ReferenceModel(model) if reference else _native.EntropyModel(model.config.as_native(), t)
        self._reference = reference
        size = t["tables.size"].astype(np.int64)
        # A row's entries lie between two escapes: values beyond either end are clamped onto one of them.
        first = np.concatenate([[0], np.cumsum(size + 2)[:-1]])
        self._size, self._first, self._low = size.astype(np.int32), first.astype(np.int32), t["tables.low"]
        starts, at = t["tables.starts"].astype(np.int64), 0
        table = np.empty(int((size + 2).sum()), np.float32)
        for n, to in zip(size, first, strict=True):
            ends = np.append(starts[at + 1 : at + n + 1], 1 << model.config.prob_bits)
            bits = rounded_bits(model.config.prob_bits, ends - starts[at : at + n + 1])
            escape = bits[n] + _ESCAPE_BITS
            table[to], table[to + n + 1] = escape, escape
            table[to + 1 : to + n + 1] = bits[:n]
            at += n + 1
        self._bits = table

    def rows(self, z: Ints, y: Ints, threads: int = 1) -> tuple[Ints, Ints]:
        """z (hz, wz, N) and y (h, w, M) -> (h, w, M) each: the row that a symbol is coded with, and by how much the mean shifts it.

        Raises UnsupportedImage for a symbol beyond 32767.
        """
        try:
            if self._reference:
                rows, means = symbols_of(self._model, z, y)
            else:
                rows, means = self._model.symbols(np.ascontiguousarray(z), np.ascontiguousarray(y), threads)
        except UsageError as e:
            raise UnsupportedImage(f"{UNCODABLE}: {e}") from None
        means >>= self._config.mean_bits
        return rows, means

    def above(self, rows: Ints, values: Ints) -> NDArray[np.float32]:
        """(h, w, M), how many bits more the integer above each value takes; by rows of latents, since this holds several copies."""
        more = np.empty(rows.shape, np.float32)
        for row, (one, value) in enumerate(zip(rows, values, strict=True)):
            np.subtract(self.of(one, value + 1), self.of(one, value), out=more[row])
        return more

    def of(self, rows: Ints, values: Ints) -> NDArray[np.float32]:
        """Bits of `values` (symbols less their shifts) under `rows`, any shape; an escape's 16 bits included."""
        place = np.clip(values - self._low[rows], -1, self._size[rows])
        place += self._first[rows]
        place += 1
        bits: NDArray[np.float32] = self._bits[place]
        return bits
