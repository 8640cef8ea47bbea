# SPDX-License-Identifier: Apache-2.0
"""Integer transforms in NumPy: the plain version of `_native.TransformNet`, with its interface, in the words of the format's page
(docs/reference/format.md, section 14).

Arrays are (rows, columns, channels). Products go through float64, in which they and their sums are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import UsageError
from jahp_fast.transforms.layers import (
    ACTIVATION_LIMIT,
    LEAKY_LIMIT,
    LEAKY_MUL,
    LEAKY_SHIFT,
    SQUARE_SHIFT,
    SUM_BITS,
    SUM_LIMIT,
    Bytes,
    Ints,
    Layer,
    Shorts,
)

Wide = NDArray[np.int64]
Values = NDArray[Any]
FACTOR_LIMIT, FACTOR_SQUARE_SHIFT = 32767, 5
"""Of a local gain, of which 8192 is 1: 15 bits; a trace keeps squares of its upper 10."""


def shifted(x: Wide, shift: Bytes | Wide) -> Wide:
    """x / 2^shift, rounded to the nearest, halves up."""
    by = shift.astype(np.int64)
    half: Wide = (np.int64(1) << by) >> 1
    return (x + half) >> by


def wrapped(x: Wide) -> Wide:
    """x modulo 2^30, from -2^29 on."""
    half = np.int64(1) << (SUM_BITS - 1)
    return ((x + half) & (2 * half - 1)) - half


def clamped(x: Wide, limit: int) -> Wide:
    return np.clip(x, -limit, limit)


def scaled(x: Ints, mul: Ints, shift: Bytes, limit: int) -> Values:
    """x * mul / 2^shift by channel, the last axis, rounded and clamped; int16 where the limit lets it be, else int32."""
    return clamped(shifted(x.astype(np.int64) * mul, shift), limit).astype(np.int16 if limit < 1 << 15 else np.int32)


def convolve(x: Values, weight: Shorts, stride: int) -> Wide:
    """Zero padding k // 2: x (h, w, inputs), weight (outputs, inputs, k, k) -> (ceil(h / stride), ceil(w / stride), outputs)."""
    h, w, _ = x.shape
    outputs, _, k, _ = weight.shape
    rows, columns = -(-h // stride), -(-w // stride)
    padded = np.pad(x.astype(np.float64), ((k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    total = np.zeros((rows * columns, outputs))
    taps = np.ascontiguousarray(weight.transpose(2, 3, 1, 0), np.float64)
    for i in range(k):
        for j in range(k):
            seen = padded[i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]
            total += seen.reshape(rows * columns, -1) @ taps[i, j]
    return total.reshape(rows, columns, outputs).astype(np.int64)


def transpose_convolve(x: Values, weight: Shorts) -> Wide:
    """5x5, stride 2, padding 2, output padding 1: x (h, w, inputs), weight (inputs, outputs, 5, 5) -> (2 h, 2 w, outputs)."""
    h, w, _ = x.shape
    total = np.zeros((2 * h + 3, 2 * w + 3, weight.shape[1]))  # output (r, c) stands at (r + 2, c + 2)
    taps = np.ascontiguousarray(weight.transpose(2, 3, 0, 1), np.float64)
    flat = x.reshape(h * w, -1).astype(np.float64)
    for i in range(5):
        for j in range(5):
            total[i : i + 2 * h : 2, j : j + 2 * w : 2] += (flat @ taps[i, j]).reshape(h, w, -1)
    return total[2 : 2 + 2 * h, 2 : 2 + 2 * w].astype(np.int64)


def root(n: Wide) -> Wide:
    """The integer nearest to the square root: r with r² - r < n <= r² + r, for n from 1 to 2^31 - 1."""
    r = np.sqrt(n.astype(np.float64)).astype(np.int64)
    return r + (n > r * r + r)


def norm(x: Wide, gamma: Shorts, beta: Ints) -> Wide:
    """beta + gamma q of the squares q, from 1 to 2^31 - 1."""
    squares = shifted(x * x, np.full(1, SQUARE_SHIFT, np.uint8))
    return (squares.astype(np.float64) @ gamma.T.astype(np.float64)).astype(np.int64) + beta


def divided(x: Wide, n: Wide, shift: Bytes) -> Wide:
    """GDN: x / sqrt(n) times 2^(30 - shift)."""
    e = np.zeros_like(n)
    for _ in range(15):
        e += (n << (2 * e)) < 2**29
    r = root(n << (2 * e))
    return shifted(x * ((2**31 + r) // (2 * r)), shift - e)


class ReferenceTrace:
    """The roots that the inverse GDNs of g_s multiplied by, and what, for its adjoint: the plain version of `_native.GainTrace`."""

    def __init__(self) -> None:
        self._roots: list[Wide] = []
        self._inputs: list[Wide] = []
        self._squares: list[NDArray[np.uint32]] = []
        self._read = 0

    def keep(self, x: Wide, r: Wide) -> None:
        """Of the next inverse GDN, (h, w, C)."""
        self._inputs.append(x)
        self._roots.append(r)

    def _last(self, shape: tuple[int, ...]) -> tuple[Wide, Wide]:
        """What went into the last inverse GDN that was not yet read, and its roots. Raises UsageError if it is missing or of other
        sizes."""
        if self._read == len(self._roots) or self._roots[-1 - self._read].shape != shape:
            raise UsageError(f"a local gain of {shape} needs a trace of an inverse GDN of that size")
        self._read += 1
        return self._inputs[-self._read], self._roots[-self._read]

    def local(self, x: Wide, steady: Shorts, varying: Shorts, shift: Bytes) -> Wide:
        """x times steady + varying * root / 2^shift, of the last inverse GDN that was not yet read. Raises as `_last`."""
        _, roots = self._last(x.shape)
        factor = np.minimum(steady + ((varying * roots) >> shift), FACTOR_LIMIT)
        self._squares.append(np.square(factor >> FACTOR_SQUARE_SHIFT).sum(2).astype(np.uint32))
        return x * factor

    def derived(self, g: Wide, gamma: Shorts, factors: Sequence[NDArray[np.float32]]) -> Wide:
        """The derivative by what went into the last inverse GDN that was not yet read, from that by what came out, in float32 operations
        one by one. factors: (C,) each, term, direct and cross. Raises as `_last`."""
        x, roots = self._last(g.shape)
        term, direct, cross = factors
        inputs, root = x.astype(np.float32), roots.astype(np.float32)
        terms = _held((g * x).astype(np.float32) / root * term, 32767)
        sums = (terms.astype(np.float64) @ gamma.T.astype(np.float64)).astype(np.float32)
        return _held((g * roots).astype(np.float32) * direct + inputs * sums * cross, ACTIVATION_LIMIT)

    def squares(self) -> list[NDArray[np.uint32]]:
        """By inverse GDN, in the order of g_s, (h, w): sums over the channels of the squares of what the adjoint multiplied by, of
        which 2^8 is 1."""
        return self._squares[::-1]


def _held(x: NDArray[np.float32], limit: int) -> Wide:
    """Clamped and truncated; what is not a number becomes -limit."""
    low, high = np.float32(-limit), np.float32(limit)
    above = np.where(x > low, x, low)
    held: Wide = np.where(above < high, above, high).astype(np.int64)
    return held


def activate(sums: Wide, layer: Layer, trace: ReferenceTrace | None = None) -> Values:
    """What a layer makes of its sums, the bias included. Raises UsageError for a local gain without a trace."""
    half = (np.int64(1) << layer.shift.astype(np.int64)) >> 1
    x = wrapped(sums + half) >> layer.shift
    match layer.activation:
        case "gdn" | "igdn":
            gamma, beta, shift = layer.extras
            x = clamped(x, SUM_LIMIT)
            n = norm(x, gamma, beta)
            if layer.activation == "gdn":
                return clamped(divided(x, n, shift), ACTIVATION_LIMIT).astype(np.int16)
            r = root(n)
            if trace is not None:
                trace.keep(x, r)
            return clamped(shifted(x * r, shift), ACTIVATION_LIMIT).astype(np.int16)
        case "local":
            if trace is None:
                raise UsageError("a local gain needs a trace")
            steady, varying, varying_shift, shift = layer.extras
            y = trace.local(clamped(x, SUM_LIMIT), steady.astype(np.int64), varying.astype(np.int64), varying_shift)
            return clamped(shifted(y, shift), ACTIVATION_LIMIT).astype(np.int16)
        case "igdn_adjoint":
            if trace is None:
                raise UsageError("a local gain needs a trace")
            gamma, *factors = layer.extras
            return trace.derived(clamped(x, SUM_LIMIT), gamma, factors).astype(np.int16)
        case "relu" | "leaky_relu":
            x = np.clip(x, -LEAKY_LIMIT, ACTIVATION_LIMIT)
            below = shifted(x * LEAKY_MUL, np.full(1, LEAKY_SHIFT, np.uint8)) if layer.activation == "leaky_relu" else 0
            above: Values = np.where(x < 0, below, x).astype(np.int16)
            return above
        case "none":
            return x.astype(np.int32)
        case "pixels":
            pixels: Bytes = np.clip(x, 0, 255).astype(np.uint8)
            return pixels
    raise UsageError(f"activation {layer.activation!r} is unknown")


class ReferenceNet:
    """A chain of layers."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = list(layers)

    def run(self, x: Shorts, threads: int = 1, trace: ReferenceTrace | None = None) -> Values:
        """(h, w, c), clamped to ACTIVATION_LIMIT -> (H, W, C) of the last layer's type. `threads` is BLAS's own affair."""
        values: Values = np.clip(x, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        for layer in self._layers:
            deconv = layer.kind == "deconv"
            sums = transpose_convolve(values, layer.weight) if deconv else convolve(values, layer.weight, layer.stride)
            values = activate(sums + layer.bias, layer, trace)
        return values

    def followed_by(self, layers: Sequence[Layer]) -> ReferenceNet:
        """A net of these layers behind this one's."""
        return ReferenceNet([*self._layers, *layers])

    def size(self, height: int, width: int) -> tuple[int, int, int]:
        """(H, W, C) of the output for an input of that size."""
        for layer in self._layers:
            if layer.kind == "deconv":
                height, width = 2 * height, 2 * width
            else:
                height, width = -(-height // layer.stride), -(-width // layer.stride)
        return height, width, self._layers[-1].outputs

    def stream(self, height: int, width: int, trace: ReferenceTrace | None = None) -> ReferenceStream:
        """For an input of that size, to be handed in by rows. trace: inverse GDN writes into it, local gains read it."""
        return ReferenceStream(self, height, width, trace)

    @property
    def dtype(self) -> type[np.generic]:
        """Of what comes out."""
        match self._layers[-1].activation:
            case "none":
                return np.int32
            case "pixels":
                return np.uint8
        return np.int16


class ReferenceStream:
    """Keeps all rows until the last has come: as right as the whole, and as large."""

    def __init__(self, net: ReferenceNet, height: int, width: int, trace: ReferenceTrace | None = None) -> None:
        self._net, self._height, self._width, self._trace = net, height, width, trace
        self._rows: list[Shorts] = []
        self._seen = 0

    def push(self, rows: Shorts, threads: int = 1) -> Values:
        """(k, w, c) -> the output rows that became final: none before `finish`. Raises UsageError for more rows than the height."""
        self._seen += len(rows)
        if self._seen > self._height or rows.shape[1] != self._width:
            raise UsageError(f"rows of {rows.shape[1]} columns up to row {self._seen}; the input has {self._height} x {self._width}")
        self._rows.append(rows)
        return np.zeros((0, *self._net.size(self._height, self._width)[1:]), self._net.dtype)

    def finish(self, threads: int = 1) -> Values:
        """All output rows. Raises UsageError if input rows are missing."""
        if self._seen != self._height:
            raise UsageError(f"{self._seen} rows came, of {self._height}")
        return self._net.run(np.concatenate(self._rows), threads, self._trace)
