# SPDX-License-Identifier: Apache-2.0
"""What must hold of a model file's integer tensors before any of them is used (docs/reference/format.md, "Model file").

A model file asks here when it is opened, so that every backend refuses the same files with the same words; the C++ core checks again
for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import ModelError

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelConfig

Array = NDArray[Any]

MAX_CHANNELS = 1 << 14
"""Outputs of a layer: twice the scales and means of the widest latents."""
MAX_SCALES = 1 << 16
MAX_ROWS = 1 << 16
MAX_STARTS = 1 << 24
"""Entries of `tables.starts`, 32 MiB."""
_INFINITY = {"float16": 0x7C00, "float32": 0x7F800000}
_KERNELS = {"transposed": (5,), "dense": (1,), "conv": (3,), "masked": range(3, 16, 2)}


class _Tensors:
    """Tensors by name, each checked for type and shape when it is taken."""

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        self._tensors = tensors

    def has(self, name: str) -> bool:
        return name in self._tensors

    def take(self, name: str, dtype: str, *shape: int | None) -> Array:
        """The tensor; None in `shape` stands for any size of at least 1."""
        if name not in self._tensors:
            raise ModelError(f"tensor {name} is missing")
        array = self._tensors[name]
        if array.dtype != np.dtype(dtype):
            raise ModelError(f"tensor {name} must be {dtype}, not {array.dtype}")
        fits = array.ndim == len(shape) and all(n > 0 if want is None else n == want for n, want in zip(array.shape, shape, strict=True))
        if not fits:
            text = ", ".join("any" if n is None else str(n) for n in shape)
            raise ModelError(f"tensor {name} must have the shape ({text}), not {array.shape}")
        return array

    def within(self, name: str, length: int, low: int, high: int) -> Array:
        """A vector of int32 whose values all lie in low..high."""
        array = self.take(name, "int32", length)
        _require(bool(np.all((array >= low) & (array <= high))), f"{name} is out of range: it is not in {low}..{high}")
        return array

    def layer(self, name: str, inputs: int, outputs: int | None, kind: str, in_limit: int) -> int:
        """Checks one layer and returns its number of outputs. kind: "transposed", "conv", "masked" or "dense"."""
        weight = self.take(f"{name}.weight", "int8", outputs, inputs, None, None)
        n, _, kernel, width = (int(size) for size in weight.shape)
        _require(kernel == width and kernel in _KERNELS[kind], f"{name}.weight has an impossible kernel of {kernel} x {width}")
        _require(n <= MAX_CHANNELS, f"{name} has {n} outputs; {MAX_CHANNELS} are the most")
        _require(bool(np.all(weight != -128)), f"{name}: weight of -128")
        bias = self.take(f"{name}.bias", "int32", n)
        for part in ("mul_pos", "mul_neg"):
            _require(bool(np.all(self.take(f"{name}.{part}", "int32", n) >= 0)), f"{name}: multiplier is negative")
        shift, zero = self.take(f"{name}.shift", "int32", n), self.take(f"{name}.zero", "int32", n)
        _require(bool(np.all((shift >= 1) & (shift <= 62))), f"{name}: shift is not in 1..62")
        _require(bool(np.all(np.abs(zero.astype(np.int64)) <= 4095)), f"{name}: zero is not in -4095..4095")
        for cells in _sums(weight, kind):
            reach = np.abs(cells.astype(np.int64)).sum(axis=(1, 2)) * in_limit + np.abs(bias.astype(np.int64))
            _require(int(reach.max()) < 1 << 31, f"{name}: output {int(reach.argmax())} could overflow 32 bits")
        return n


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ModelError(what)


def _sums(weight: Array, kind: str) -> Iterator[Array]:
    """The weights (outputs, inputs, cells) that are ever summed together: all of them, the causal half, or those of a phase."""
    outputs, inputs, kernel, _ = weight.shape
    if kind == "transposed":
        for phase in range(4):
            yield weight[:, :, phase // 2 :: 2, phase % 2 :: 2].reshape(outputs, inputs, -1)
    else:
        cells = kernel * kernel // 2 if kind == "masked" else kernel * kernel
        yield weight.reshape(outputs, inputs, -1)[:, :, :cells]


def check_floats(name: str, array: Array) -> None:
    """Checks the values of a `search.*` or `train.*` tensor, as it is stored (name with that prefix).

    Every one is a finite number.

    Raises:
        ModelError: naming the tensor and what is wrong with it.
    """
    infinity = _INFINITY.get(array.dtype.name)
    if infinity is None or not array.size:
        return
    # By their bits: of both signs, infinities and what is no number are the largest integers. float16 is slow otherwise.
    signed, unsigned = (int(array.view(array.dtype.str.replace("f", kind)).max()) for kind in "iu")
    finite = signed < infinity and unsigned < infinity + (1 << 8 * array.dtype.itemsize - 1)
    _require(finite, f"tensor {name} has a number that is not finite, as {array.dtype.name}")


def check_entropy(config: ModelConfig, tensors: Mapping[str, Array]) -> None:
    """Checks types, shapes and values of all `entropy.*` tensors (names without that prefix).

    Raises:
        ModelError: naming the tensor and what is wrong with it.
    """
    c, t, limit = config, _Tensors(tensors), config.activation_limit
    parameters = 2 * c.latents if c.means else c.latents
    features = 0
    if c.hyper_latents:
        first = t.layer("h_s.0", c.hyper_latents, None, "transposed", limit)
        second = t.layer("h_s.2", first, None, "transposed", limit)
        features = t.layer("h_s.4", second, None if c.context else parameters, "conv", limit)
        t.within("z_offset", c.hyper_latents, -(1 << 20) + 1, (1 << 20) - 1)
    if c.context:
        context = t.layer("context_prediction", c.latents, None, "masked", limit)
        hidden = t.layer("entropy_parameters.0", features + context, None, "dense", limit)
        hidden = t.layer("entropy_parameters.2", hidden, None, "dense", limit)
        t.layer("entropy_parameters.4", hidden, parameters, "dense", limit)
        t.within("context_input.mul", c.latents, -32768, 32768)
        t.take("context_input.add", "int32", c.latents)
        t.within("context_input.shift", c.latents, 0, 31)
    rows = _check_tables(t, c.prob_bits)
    _require(rows >= c.hyper_latents + (0 if c.conditional else c.latents), "there are fewer table rows than channels")
    if c.hyper_latents and t.has("z_rows"):
        t.within("z_rows", len(c.qualities), 0, rows - c.hyper_latents)
    if c.conditional:
        _check_scales(t, c, rows)


def _check_tables(t: _Tensors, prob_bits: int) -> int:
    """Returns the number of rows."""
    size = t.take("tables.size", "int32", None).astype(np.int64)
    _require(len(size) <= MAX_ROWS, f"there are {len(size)} table rows; {MAX_ROWS} are the most")
    low = t.take("tables.low", "int32", len(size)).astype(np.int64)
    for what, array, least, most in (("size", size, 1, 65535), ("low", low, -65535, 65535)):
        for row in np.flatnonzero((array < least) | (array > most))[:1].tolist():
            raise ModelError(f"probability table row {row}: {what} {array[row]} is not in {least}..{most}")
    starts = t.take("tables.starts", "uint16", None).astype(np.int64)
    _require(len(starts) <= MAX_STARTS, f"tables.starts has {len(starts)} entries; {MAX_STARTS} are the most")
    _require(len(starts) == int((size + 1).sum()), "tables.starts has not sum(size + 1) entries")
    first = np.concatenate([[0], np.cumsum(size + 1)[:-1]])
    rises = np.concatenate([[True], np.diff(starts) > 0])
    rises[first] = True
    for what, bad in (
        ("does not start at 0", starts[first] != 0),
        ("starts do not rise", ~np.logical_and.reduceat(rises, first)),
        ("sums to more than 2^prob_bits", starts[first + size] >= 1 << prob_bits),
    ):
        for row in np.flatnonzero(bad)[:1].tolist():
            raise ModelError(f"probability table row {row}: {what}")
    return len(size)


def _check_scales(t: _Tensors, c: ModelConfig, rows: int) -> None:
    row = t.take("scale.row", "int32", None)
    _require(len(row) <= MAX_SCALES, f"there are {len(row)} scales; {MAX_SCALES} are the most")
    drop = t.take("scale.drop", "int32", len(row))
    thresholds = t.take("scale.thresholds", "int32", len(row) - 1)
    _require(bool(np.all(np.diff(thresholds.astype(np.int64)) >= 0)), "scale thresholds do not rise")
    _require(bool(np.all((drop >= 0) & (drop <= c.mean_bits))), "scale drop is not in 0..mean_bits")
    fractions = 1 << (c.mean_bits - drop.astype(np.int64)) if c.form == "A" and c.means else np.ones(len(row), np.int64)
    _require(bool(np.all((row >= 0) & (row <= rows - fractions))), "scale row is outside of the tables")
    if t.has("scale.skip"):
        t.within("scale.skip", len(c.qualities), 0, min(len(row), 255))
