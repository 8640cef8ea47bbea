# SPDX-License-Identifier: Apache-2.0
"""Integer arithmetic and networks of docs/reference/format.md. Written from that page alone.

Arrays are int64. Matrix products run in float64 on integers: a product is below 2^20 and every partial sum below 2^31, so they are exact.
"""

from __future__ import annotations

import numpy as np

from .model_file import Model

PARAMETER_LIMIT = 1 << 23


def clamp(a: np.ndarray, limit: int) -> np.ndarray:
    return np.clip(a, -limit, limit)


def product(inputs: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(n, i) integers times (i, o) integers held as float64, exactly."""
    return (inputs.astype(np.float64) @ weight).astype(np.int64)


class Layer:
    """One layer's six tensors; `limit` bounds its outputs."""

    def __init__(self, model: Model, name: str, limit: int) -> None:
        part = {p: model.tensors[f"{name}.{p}"] for p in ("weight", "bias", "mul_pos", "mul_neg", "shift", "zero")}
        self.cells = np.ascontiguousarray(part["weight"].transpose(2, 3, 1, 0), np.float64)  # kernel row, kernel column, input, output
        self.bias, self.limit = part["bias"], limit
        self.mul_pos, self.mul_neg, self.shift, self.zero = part["mul_pos"], part["mul_neg"], part["shift"], part["zero"]
        self.kernel = len(self.cells)

    def outputs(self, sums: np.ndarray) -> np.ndarray:
        """From sums of products without bias, (..., O), to the layer's outputs."""
        total = sums + self.bias
        scaled = total * np.where(total < 0, self.mul_neg, self.mul_pos)
        return clamp(((scaled + (np.int64(1) << (self.shift - 1))) >> self.shift) + self.zero, self.limit)

    def pointwise(self, inputs: np.ndarray) -> np.ndarray:
        return self.outputs(product(inputs, self.cells[0, 0]))

    def convolution(self, inputs: np.ndarray) -> np.ndarray:
        """(h, w, I) to (h, w, O)."""
        h, w, _ = inputs.shape
        c = self.kernel // 2
        padded = np.pad(inputs, ((c, c), (c, c), (0, 0)))
        sums = np.zeros((h * w, len(self.bias)), np.int64)
        for a in range(self.kernel):
            for b in range(self.kernel):
                sums += product(padded[a : a + h, b : b + w].reshape(h * w, -1), self.cells[a, b])
        return self.outputs(sums.reshape(h, w, -1))

    def transposed(self, inputs: np.ndarray) -> np.ndarray:
        """(h, w, I) to (2h, 2w, O): input (i, j) and kernel cell (a, b) add to output (2i + a - 2, 2j + b - 2)."""
        h, w, _ = inputs.shape
        canvas = np.zeros((2 * h + 4, 2 * w + 4, len(self.bias)), np.int64)
        flat = inputs.reshape(h * w, -1)
        for a in range(5):
            for b in range(5):
                canvas[a : a + 2 * h : 2, b : b + 2 * w : 2] += product(flat, self.cells[a, b]).reshape(h, w, -1)
        return self.outputs(canvas[2 : 2 + 2 * h, 2 : 2 + 2 * w])


def hyperprior(model: Model, z: np.ndarray, h: int, w: int) -> np.ndarray:
    """(hz, wz, N) symbols to `hyper`, (h, w, channels)."""
    x = clamp((z << model.config["z_bits"]) + model.tensors["z_offset"], model.limit)
    x = Layer(model, "h_s.2", model.limit).transposed(Layer(model, "h_s.0", model.limit).transposed(x))
    last = Layer(model, "h_s.4", model.limit if model.context else PARAMETER_LIMIT)
    return last.convolution(x)[:h, :w]


class Context:
    """What is seen of ŷ so far, and the parameters that follow from it and from `hyper`."""

    def __init__(self, model: Model, hyper: np.ndarray, h: int, w: int) -> None:
        self.hyper = hyper
        self.limit = model.limit
        self.masked = Layer(model, "context_prediction", model.limit)
        k = self.masked.kernel
        self.reach = k // 2
        self.cells = [(a, b) for a in range(k) for b in range(k) if a * k + b < k * k // 2]
        self.layers = [Layer(model, f"entropy_parameters.{i}", model.limit if i < 4 else PARAMETER_LIMIT) for i in (0, 2, 4)]
        self.seen = np.zeros((h + 2 * self.reach, w + 2 * self.reach, model.M), np.int64)
        self.mul, self.add, self.shift = (model.tensors[f"context_input.{part}"] for part in ("mul", "add", "shift"))

    def parameters(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(n, parameters) of n positions."""
        sums = np.zeros((len(rows), len(self.masked.bias)), np.int64)
        for a, b in self.cells:
            sums += product(self.seen[rows + a, columns + b], self.masked.cells[a, b])
        x = np.concatenate([self.hyper[rows, columns], self.masked.outputs(sums)], axis=1)
        for layer in self.layers:
            x = layer.pointwise(x)
        return x

    def reveal(self, rows: np.ndarray, columns: np.ndarray, y: np.ndarray) -> None:
        self.seen[rows + self.reach, columns + self.reach] = clamp((y * self.mul + self.add) >> self.shift, self.limit)
