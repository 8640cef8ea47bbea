# SPDX-License-Identifier: Apache-2.0
"""Chains of convolutions in NumPy: the plain version of `_native.TransformNet`, with its interface.

One matrix product a tap, float32, in an order that BLAS chooses. Arrays are (rows, columns, channels).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import UsageError

Floats = NDArray[np.float32]
Layer = tuple[str, Floats, Floats, str, Floats | None, Floats | None]
"""(kind, weight, bias, activation, gamma, beta), as TransformNet takes them; steady and varying in place of the two for "local"."""
LEAKY_SLOPE = 0.01


def stride_of(weight: Floats) -> int:
    """Of a "conv" layer: 5x5 kernels go two steps at a time."""
    return 2 if weight.shape[2] == 5 else 1


def convolve(x: Floats, weight: Floats, stride: int) -> Floats:
    """Zero padding k // 2: x (h, w, inputs), weight (outputs, inputs, k, k) -> (ceil(h / stride), ceil(w / stride), outputs)."""
    h, w, _ = x.shape
    outputs, _, k, _ = weight.shape
    rows, columns = -(-h // stride), -(-w // stride)
    padded = np.pad(x, ((k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    total = np.zeros((rows * columns, outputs), np.float32)
    taps = np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
    for i in range(k):
        for j in range(k):
            seen = padded[i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]
            total += seen.reshape(rows * columns, -1) @ taps[i, j]
    return total.reshape(rows, columns, outputs)


def transpose_convolve(x: Floats, weight: Floats) -> Floats:
    """5x5, stride 2, padding 2, output padding 1: x (h, w, inputs), weight (inputs, outputs, 5, 5) -> (2 h, 2 w, outputs)."""
    h, w, _ = x.shape
    total = np.zeros((2 * h + 3, 2 * w + 3, weight.shape[1]), np.float32)  # output (r, c) stands at (r + 2, c + 2)
    taps = np.ascontiguousarray(weight.transpose(2, 3, 0, 1))
    for i in range(5):
        for j in range(5):
            total[i : i + 2 * h : 2, j : j + 2 * w : 2] += (x.reshape(h * w, -1) @ taps[i, j]).reshape(h, w, -1)
    return total[2 : 2 + 2 * h, 2 : 2 + 2 * w]


class ReferenceTrace:
    """What the inverse GDNs of g_s multiplied by, for its adjoint: the plain version of `_native.GainTrace`."""

    def __init__(self) -> None:
        self._roots: list[Floats] = []
        self._squares: list[Floats] = []

    def keep(self, root: Floats) -> None:
        """The factors of the next inverse GDN, (h, w, C)."""
        self._roots.append(root)

    def local(self, x: Floats, steady: Floats, varying: Floats) -> Floats:
        """x times steady + varying * root, of the last inverse GDN that none was made of. Raises UsageError if it is missing or of
        other sizes."""
        done = len(self._squares)
        if done == len(self._roots) or self._roots[-1 - done].shape != x.shape:
            raise UsageError(f"a local gain of {x.shape} needs a trace of an inverse GDN of that size")
        factor = steady + varying * self._roots[-1 - done]
        self._squares.append(np.square(factor).mean(2))
        return x * factor

    def squares(self) -> list[Floats]:
        """By inverse GDN, in the order of g_s, (h, w): means over the channels of the squares of what the adjoint multiplied by."""
        return self._squares[::-1]


def normalise(x: Floats, gamma: Floats, beta: Floats, inverse: bool, trace: ReferenceTrace | None = None) -> Floats:
    """GDN: x / sqrt(beta + gamma x^2) over channels, or x times the root; gamma (C, C), beta (C,)."""
    root: Floats = np.sqrt(((x * x).reshape(-1, len(beta)) @ gamma.T).reshape(x.shape) + beta)
    if inverse and trace is not None:
        trace.keep(root)
    y: Floats = x * root if inverse else x / root
    return y


def activate(x: Floats, activation: str, gamma: Floats | None, beta: Floats | None, trace: ReferenceTrace | None = None) -> Floats:
    """Raises UsageError for an activation that is none of none, relu, leaky_relu, gdn, igdn and local, or for a local one without a
    trace."""
    if activation in ("gdn", "igdn") and gamma is not None and beta is not None:
        return normalise(x, gamma, beta, activation == "igdn", trace)
    if activation == "local" and gamma is not None and beta is not None:
        if trace is None:
            raise UsageError("a local gain needs a trace")
        return trace.local(x, gamma, beta)
    if activation in ("relu", "leaky_relu"):
        slope = np.float32(LEAKY_SLOPE if activation == "leaky_relu" else 0)
        y: Floats = np.where(x < 0, x * slope, x)
        return y
    if activation == "none":
        return x
    raise UsageError(f"activation {activation!r} is unknown, or lacks gamma and beta")


class ReferenceNet:
    """A chain of layers. Numbers that are not finite go through as they come."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = list(layers)

    def run(self, x: Floats, threads: int = 1, trace: ReferenceTrace | None = None) -> Floats:
        """(h, w, c) -> (H, W, C). `threads` is BLAS's own affair."""
        with np.errstate(all="ignore"):
            for kind, weight, bias, activation, gamma, beta in self._layers:
                product = transpose_convolve(x, weight) if kind == "deconv" else convolve(x, weight, stride_of(weight))
                x = activate(product + bias, activation, gamma, beta, trace)
        return x

    def followed_by(self, layers: Sequence[Layer]) -> ReferenceNet:
        """A net of these layers behind this one's."""
        return ReferenceNet([*self._layers, *layers])

    def size(self, height: int, width: int) -> tuple[int, int, int]:
        """(H, W, C) of the output for an input of that size."""
        channels = 0
        for kind, weight, bias, *_ in self._layers:
            channels = len(bias)
            if kind == "deconv":
                height, width = 2 * height, 2 * width
            else:
                height, width = -(-height // stride_of(weight)), -(-width // stride_of(weight))
        return height, width, channels

    def stream(self, height: int, width: int, trace: ReferenceTrace | None = None) -> ReferenceStream:
        """For an input of that size, to be handed in by rows. trace: inverse GDN writes into it, local gains read it."""
        return ReferenceStream(self, height, width, trace)


class ReferenceStream:
    """Keeps all rows until the last has come: as right as the whole, and as large."""

    def __init__(self, net: ReferenceNet, height: int, width: int, trace: ReferenceTrace | None = None) -> None:
        self._net, self._height, self._width, self._trace = net, height, width, trace
        self._rows: list[Floats] = []
        self._seen = 0

    def push(self, rows: Floats, threads: int = 1) -> Floats:
        """(k, w, c) -> the output rows that became final: none before `finish`. Raises UsageError for more rows than the height."""
        self._seen += len(rows)
        if self._seen > self._height or rows.shape[1] != self._width:
            raise UsageError(f"rows of {rows.shape[1]} columns up to row {self._seen}; the input has {self._height} x {self._width}")
        self._rows.append(rows)
        return np.zeros((0, *self._net.size(self._height, self._width)[1:]), np.float32)

    def finish(self, threads: int = 1) -> Floats:
        """All output rows. Raises UsageError if input rows are missing."""
        if self._seen != self._height:
            raise UsageError(f"{self._seen} rows came, of {self._height}")
        return self._net.run(np.concatenate(self._rows), threads, self._trace)
