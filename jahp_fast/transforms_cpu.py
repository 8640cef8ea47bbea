# SPDX-License-Identifier: Apache-2.0
"""g_a, h_a and g_s of an exported model on a CPU, without torch: what surrounds the nets of `_native` or of transforms_ref.

Images go in and come out by rows, so that memory is bounded by an image's width. All is float32.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from jahp_fast import _native
from jahp_fast.constants import GDN_BETA_MIN, GDN_PEDESTAL, STRIDE
from jahp_fast.errors import ModelError, UsageError
from jahp_fast.transforms_ref import Layer, ReferenceNet

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelFile

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Ints = NDArray[np.int32]
_Scalar = TypeVar("_Scalar", bound=np.generic)
LATENT_ROWS = 4
"""Rows of latents that g_s takes, and g_a gives, at a time."""
NETS_KEPT = 16
"""Packed nets, of about 2 MB each at N = 64, M = 192: a thumbnail server's qualities, and no more memory for any number of them."""
ROWS_AT_ONCE = 64
"""Rows that `run_by_rows` hands over: few enough that Ctrl-C is heard soon."""


class NetStream(Protocol):
    def push(self, rows: Floats, threads: int = 1) -> Floats: ...
    def finish(self, threads: int = 1) -> Floats: ...


class Net(Protocol):
    """What _native.TransformNet and ReferenceNet have in common."""

    def run(self, x: Floats, threads: int = 1) -> Floats: ...
    def stream(self, height: int, width: int) -> NetStream: ...


class Tensors:
    """The float tensors of a model, each checked for its shape when it is taken. Raises ModelError."""

    def __init__(self, model: ModelFile, prefix: str) -> None:
        self._path, self._tensors = model.path, model.read_floats(prefix)

    def take(self, name: str, *shape: int | None) -> Floats:
        """None in `shape` stands for any size of at least 1."""
        array = self._tensors.get(name)
        fits = array is not None and array.ndim == len(shape)
        if array is None or not fits or any(n < 1 if want is None else n != want for n, want in zip(array.shape, shape, strict=True)):
            has = "is missing" if array is None else f"has the shape {array.shape}"
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise ModelError(f"{self._path}: tensor float.{name} {has}; ({wanted}) is needed")
        return array

    def gdn(self, name: str, channels: int) -> tuple[Floats, Floats]:
        """(gamma, beta) as they act."""
        low, pedestal = (np.float32(value) for value in ((GDN_BETA_MIN + GDN_PEDESTAL) ** 0.5, GDN_PEDESTAL))
        beta = np.maximum(self.take(f"{name}.beta", channels), low) ** 2 - pedestal
        gamma = np.maximum(self.take(f"{name}.gamma", channels, channels), np.float32(GDN_PEDESTAL**0.5)) ** 2 - pedestal
        return gamma, beta


def row_at(table: Floats, qualities: Sequence[float], quality: float) -> Floats:
    """Linear between the rows of `table` (one a quality, ...) on both sides of a quality."""
    if len(qualities) == 1:
        first: Floats = table[0]
        return first
    high = min(max(int(np.searchsorted(qualities, quality)), 1), len(qualities) - 1)
    share = np.float32((quality - qualities[high - 1]) / (qualities[high] - qualities[high - 1]))
    row: Floats = table[high - 1] + share * (table[high] - table[high - 1])
    return row


class NetLayers:
    """The layers of "g_a", "h_a" or "g_s" at any quality, out of the model file alone.

    Raises ModelError for a tensor that is missing or misshapen.

    Attributes:
        plain: the layers without what a quality does inside of the net.
        by_quality: whether it does anything.
    """

    def __init__(self, model: ModelFile, net: str) -> None:
        self.plain = _layers(model, net)
        self._qualities = model.config.qualities
        self._tables: list[Floats] = []
        if f"float.{net}_gain" in model.names or f"float.{net}_shift" in model.names:
            tensors = Tensors(model, f"{net}_")
            shape = len(self._qualities), len(self.plain) - 1, len(self.plain[0][2])
            self._tables = [tensors.take(f"{net}_{what}", *shape) for what in ("gain", "shift")]
        self.by_quality = bool(self._tables)

    def at(self, quality: float) -> list[Layer]:
        """Gains and shifts of a quality, folded into weights and biases."""
        if not self.by_quality:
            return self.plain
        gains, shifts = (row_at(table, self._qualities, quality) for table in self._tables)
        layers = list(self.plain)
        for i, (gain, shift) in enumerate(zip(np.exp(gains), shifts, strict=True)):
            kind, weight, bias, *rest = layers[i]
            by_output = gain[:, None, None] if kind == "deconv" else gain[:, None, None, None]
            layers[i] = (kind, weight * by_output, bias * gain + shift, *rest)
        return layers


def _layers(model: ModelFile, net: str) -> list[Layer]:
    t, latents = Tensors(model, f"{net}."), model.config.latents
    layers: list[Layer] = []
    if net == "h_a":
        n = model.config.hyper_latents
        between = "relu" if model.config.architecture == "bmshj2018-hyperprior" else "leaky_relu"
        for i, (inputs, kernel, activation) in enumerate(((latents, 3, between), (n, 5, between), (n, 5, "none"))):
            weight, bias = t.take(f"h_a.{2 * i}.weight", n, inputs, kernel, kernel), t.take(f"h_a.{2 * i}.bias", n)
            layers.append(("conv", weight, bias, activation, None, None))
        return layers
    synthesis = net == "g_s"
    inner = t.take(f"{net}.{2}.weight", None, None, 5, 5).shape[0]
    inputs = latents if synthesis else 3
    for i in range(4):
        outputs = inner if i < 3 else 3 if synthesis else latents
        shape = (inputs, outputs) if synthesis else (outputs, inputs)
        weight, bias = t.take(f"{net}.{2 * i}.weight", *shape, 5, 5), t.take(f"{net}.{2 * i}.bias", outputs)
        gamma, beta = t.gdn(f"{net}.{2 * i + 1}", inner) if i < 3 else (None, None)
        activation = "none" if i == 3 else "igdn" if synthesis else "gdn"
        layers.append(("deconv" if synthesis else "conv", weight, bias, activation, gamma, beta))
        inputs = inner
    return layers


def made_net(layers: list[Layer], native: bool, bf16: bool = False) -> Net:
    """A net of the C++ core, by the instructions of JAHP_FAST_ISA, or NumPy's."""
    return _native.TransformNet(layers, os.environ.get("JAHP_FAST_ISA", ""), bf16) if native else ReferenceNet(layers)


class CpuTransforms:
    """The float half of a model. Safe to share between threads. Each net is read when it is first needed, once, and packed for each quality
    that is, where they differ: the NETS_KEPT used last are kept.

    Raises ModelError from its methods if a float tensor is missing or has the wrong shape.

    Args:
        native: nets of the C++ core; otherwise NumPy's.
        bf16: native nets with products of bfloat16, in g_a and g_s. Raises UsageError where they cannot run.
    """

    def __init__(self, model: ModelFile, native: bool, bf16: bool = False) -> None:
        if bf16:
            if not native:
                raise UsageError("bf16 needs the backend native")
            _native.check_bf16(os.environ.get("JAHP_FAST_ISA", ""))
        self._model, self._native, self._bf16 = model, native, bf16
        self._lock = threading.Lock()
        self._layers: dict[str, NetLayers] = {}
        self._nets: OrderedDict[tuple[str, float | None], Net] = OrderedDict()
        self._gains: dict[str, Floats] = {}

    def layers(self, name: str, quality: float) -> list[Layer]:
        """Of "g_a", "h_a" or "g_s", at a quality."""
        with self._lock:
            return self._layers_of(name).at(quality)

    def _layers_of(self, name: str) -> NetLayers:
        if name not in self._layers:
            self._layers[name] = NetLayers(self._model, name)
        return self._layers[name]

    def _net(self, name: str, quality: float) -> Net:
        with self._lock:
            layers = self._layers_of(name)
            key = name, quality if layers.by_quality else None
            if key not in self._nets:
                self._nets[key] = made_net(layers.at(quality), self._native, self._bf16 and name != "h_a")
            self._nets.move_to_end(key)
            net = self._nets[key]
            while len(self._nets) > NETS_KEPT:
                self._nets.popitem(last=False)
            return net

    def gain(self, name: str, quality: float) -> Floats:
        """(M,) factors: geometric between the rows' qualities. name: "gain" or "inv_gain"."""
        q = self._model.config.qualities
        with self._lock:
            if name not in self._gains:
                self._gains[name] = Tensors(self._model, name).take(name, len(q), self._model.config.latents)
            table = self._gains[name]
        gain: Floats = np.exp(row_at(table, q, quality))
        return gain

    def analysis(self, blocks: Iterable[Pixels], height: int, width: int, quality: float, threads: int = 1) -> Floats:
        """An image's rows from top to bottom, in blocks (k, width, 3) uint8 -> y (h, w, M) float32, scaled by the gain, not rounded.

        The border is repeated to multiples of 16: h = ceil(height / 16), w = ceil(width / 16).
        """
        h, w = -(-height // STRIDE), -(-width // STRIDE)
        stream, gain = self._net("g_a", quality).stream(STRIDE * h, STRIDE * w), self.gain("gain", quality)
        y = np.empty((h, w, self._model.config.latents), np.float32)
        seen = done = 0
        for block in blocks:
            seen += len(block)
            below = STRIDE * h - height if seen == height else 0
            padded = np.pad(block, ((0, below), (0, STRIDE * w - width), (0, 0)), "edge") if below or STRIDE * w > width else block
            rows = stream.push(padded.astype(np.float32) / np.float32(255), threads)
            np.multiply(rows, gain, out=y[done : done + len(rows)])
            done += len(rows)
        np.multiply(stream.finish(threads), gain, out=y[done:])
        return y

    def hyper_analysis(self, y: Floats, threads: int = 1) -> Floats:
        """y (h, w, M), as analysis gives it -> z (ceil(h/4), ceil(w/4), N), not rounded. The same net for all qualities."""
        sizes = self._model.config.architecture == "bmshj2018-hyperprior"
        return run_by_rows(self._net("h_a", self._model.config.qualities[0]), np.abs(y) if sizes else y, threads)

    def synthesis(
        self, blocks: Iterable[Ints], height: int, width: int, quality: float, frac_bits: int, threads: int = 1
    ) -> Iterator[Pixels]:
        """Rows of ŷ from top to bottom, in blocks (k, w, M) int32, times 2^frac_bits -> the image's, (k', width, 3) uint8, cropped.

        ŷ of hostile streams may overflow; what comes of it is arbitrary, but a number.
        """
        h, w = -(-height // STRIDE), -(-width // STRIDE)
        stream, gain = self._net("g_s", quality).stream(h, w), self.gain("inv_gain", quality) * np.float32(2.0**-frac_bits)
        left = height
        for block in blocks:
            rows = to_pixels(stream.push(block.astype(np.float32) * gain, threads)[:left, :width])
            left -= len(rows)
            if len(rows):
                yield rows
        rows = to_pixels(stream.finish(threads)[:left, :width])
        if len(rows):
            yield rows


def run_by_rows(net: Net, x: Floats, threads: int = 1) -> Floats:
    """net.run(x, threads), bit for bit, in several calls of the core instead of one."""
    stream = net.stream(*x.shape[:2])
    parts = [stream.push(rows, threads) for rows in in_blocks(x, ROWS_AT_ONCE)]
    return np.concatenate([*parts, stream.finish(threads)])


def to_pixels(x: Floats) -> Pixels:
    """Floats, 0 to 1 inside of the range -> uint8, rounded to nearest; what is not a number becomes 0."""
    scaled = np.fmax(x, np.float32(0))  # fmax and fmin pass over what is not a number
    np.fmin(scaled, np.float32(1), out=scaled)
    scaled *= np.float32(255)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def in_blocks(array: NDArray[_Scalar], rows: int) -> list[NDArray[_Scalar]]:
    """Views of the array, `rows` rows each, the last what is left."""
    return [array[r : r + rows] for r in range(0, len(array), rows)]
