# SPDX-License-Identifier: Apache-2.0
"""The integer networks of the entropy path in NumPy: the second opinion to csrc/core/integer_net.

Products run as float64 matrix products of integers, which are exact below 2^53; the sums stay below 2^31 (checked at export and at
load). Everything after them is int64. Arrays are channels last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import ModelError

Ints = NDArray[np.int64]
Array = NDArray[Any]

PARAMETER_LIMIT = 1 << 23
"""Clamp of the last layer's outputs: scales and means in fixed point."""


@dataclass(frozen=True)
class IntegerLayer:
    """One layer: weight (outputs, inputs, k, k) int8, and per output bias, mul_pos, mul_neg, shift, zero (docs/reference/format.md)."""

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    mul_pos: NDArray[np.int32]
    mul_neg: NDArray[np.int32]
    shift: NDArray[np.int32]
    zero: NDArray[np.int32]
    out_limit: int

    @staticmethod
    def from_tensors(tensors: Mapping[str, Array], name: str, out_limit: int) -> IntegerLayer:
        try:
            parts = [tensors[f"{name}.{part}"] for part in ("weight", "bias", "mul_pos", "mul_neg", "shift", "zero")]
        except KeyError as e:
            raise ModelError(f"tensor {e.args[0]} is missing") from None
        weight, bias, mul_pos, mul_neg, shift, zero = parts
        return IntegerLayer(weight, bias, mul_pos, mul_neg, shift, zero, out_limit)

    def check_range(self, name: str, in_limit: int) -> None:
        """Raises ModelError if some sum of products could reach 2^31."""
        reach = np.abs(self.weight.astype(np.int64)).sum(axis=(1, 2, 3)) * in_limit + np.abs(self.bias.astype(np.int64))
        if reach.max() >= 1 << 31:
            raise ModelError(f"{name}: output {int(reach.argmax())} could overflow 32 bits")

    def requantise(self, products: NDArray[np.float64]) -> Ints:
        """(..., outputs) sums of products -> clamp(((sum * mul + 2^(shift-1)) >> shift) + zero)."""
        total = products.astype(np.int64) + self.bias
        scaled = total * np.where(total < 0, self.mul_neg, self.mul_pos).astype(np.int64)
        shift = self.shift.astype(np.int64)
        rounded = ((scaled + (np.int64(1) << (shift - 1))) >> shift) + self.zero
        clamped: Ints = np.clip(rounded, -self.out_limit, self.out_limit)
        return clamped

    def dense(self, x: Ints) -> Ints:
        """1x1: (n, inputs) -> (n, outputs)."""
        return self.requantise(x.astype(np.float64) @ self.weight[:, :, 0, 0].T.astype(np.float64))

    def convolve(self, x: Ints) -> Ints:
        """Stride 1, zero padding, same size: (h, w, inputs) -> (h, w, outputs)."""
        h, w, _ = x.shape
        k = self.weight.shape[2]
        padded = np.pad(x, ((k // 2, k // 2), (k // 2, k // 2), (0, 0))).astype(np.float64)
        total = np.zeros((h, w, len(self.bias)))
        for i in range(k):
            for j in range(k):
                total += padded[i : i + h, j : j + w] @ self.weight[:, :, i, j].T.astype(np.float64)
        return self.requantise(total)

    def transposed(self, x: Ints) -> Ints:
        """5x5, stride 2, padding 2, output padding 1: (h, w, inputs) -> (2h, 2w, outputs)."""
        h, w, _ = x.shape
        total = np.zeros((2 * h + 3, 2 * w + 3, len(self.bias)))  # output (r, c) stands at (r + 2, c + 2)
        for i in range(5):
            for j in range(5):
                total[i : i + 2 * h : 2, j : j + 2 * w : 2] += x.astype(np.float64) @ self.weight[:, :, i, j].T.astype(np.float64)
        return self.requantise(total[2 : 2 + 2 * h, 2 : 2 + 2 * w])

    def causal_matrix(self) -> NDArray[np.float64]:
        """(taps * inputs, outputs): the weights above and to the left of the centre, in raster order, inputs inner."""
        outputs, inputs, k, _ = self.weight.shape
        flat = self.weight.reshape(outputs, inputs, k * k)[:, :, : k * k // 2]
        return flat.transpose(2, 1, 0).reshape(-1, outputs).astype(np.float64)
