# SPDX-License-Identifier: Apache-2.0
"""g_a, h_a and g_s of an exported model on a CPU, without torch: what surrounds the nets of `_native` or of transforms.reference.

Images go in and come out by rows, so that memory is bounded by an image's width. All is float32. Tensors of a model are finite
numbers, but products of absurd ones may overflow; what comes of that is arbitrary, and goes through without a warning.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from jahp_fast import _native
from jahp_fast.constants import BY_ROW, GDN_BETA_MIN, GDN_PEDESTAL, STRIDE
from jahp_fast.errors import ModelError, UsageError
from jahp_fast.transforms.reference import Layer, ReferenceNet, ReferenceTrace

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelFile

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Ints = NDArray[np.int32]
_Scalar = TypeVar("_Scalar", bound=np.generic)
LATENT_ROWS = 4
"""Rows of latents that g_s takes, and g_a gives, at a time."""
ROWS_AT_ONCE = 64
"""Rows that `run_by_rows` hands over: few enough that Ctrl-C is heard soon."""
NETS_KEPT = 4
"""Synthesis nets of so many qualities stay packed: what is their own takes 2 MB at N = 64, and 1.3 ms to be made again."""


class NetStream(Protocol):
    def push(self, rows: Floats, threads: int = 1) -> Floats: ...
    def finish(self, threads: int = 1) -> Floats: ...


class Trace(Protocol):
    """What _native.GainTrace and ReferenceTrace have in common."""

    def squares(self) -> list[Floats]: ...


class Net(Protocol):
    """What _native.TransformNet and ReferenceNet have in common. A trace belongs to nets of its own kind."""

    def run(self, x: Floats, threads: int = 1) -> Floats: ...
    def stream(self, height: int, width: int, trace: Any = None) -> NetStream: ...
    def followed_by(self, layers: Sequence[Layer]) -> Net: ...


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
        with np.errstate(over="ignore"):
            beta = np.maximum(self.take(f"{name}.beta", channels), low) ** 2 - pedestal
            gamma = np.maximum(self.take(f"{name}.gamma", channels, channels), np.float32(GDN_PEDESTAL**0.5)) ** 2 - pedestal
        return gamma, beta


def row_at(table: Sequence[Floats] | Floats, qualities: Sequence[float], quality: float) -> Floats:
    """Linear between the rows of `table`, one a quality, on both sides of a quality."""
    if len(qualities) == 1:
        return table[0]
    high = min(max(int(np.searchsorted(qualities, quality)), 1), len(qualities) - 1)
    share = np.float32((quality - qualities[high - 1]) / (qualities[high] - qualities[high - 1]))
    with np.errstate(over="ignore", invalid="ignore"):
        row: Floats = table[high - 1] + share * (table[high] - table[high - 1])
    return row


def has_layers_by_row(model: ModelFile) -> bool:
    """Whether the last layers of g_s are there for each row of the gains. Raises ModelError where some are, or for a single row."""
    having = [i for i in BY_ROW if f"float.g_s.{i}.0.weight" in model.names]
    if having and (len(having) < len(BY_ROW) or len(model.config.qualities) == 1):
        names = " and ".join(f"g_s.{i}" for i in BY_ROW)
        raise ModelError(f"{model.path}: {names} must both be there for each of several qualities, or both once")
    return bool(having)


class SynthesisLayers:
    """The layers of g_s at any quality, out of the model file alone. Raises ModelError for a tensor that is missing or misshapen.

    Attributes:
        common: layers that are the same at all qualities: the first two, or all.
    """

    def __init__(self, model: ModelFile) -> None:
        self._qualities = model.config.qualities
        by_row, tensors = has_layers_by_row(model), Tensors(model, "g_s.")
        self._rows = [_layers(tensors, model, "g_s", row) for row in range(len(self._qualities) if by_row else 1)]
        self.common = self._rows[0][: BY_ROW[0] // 2] if by_row else self._rows[0]  # a layer and its GDN are two in the names

    def at(self, quality: float) -> list[Layer]:
        """Those behind the common ones: weights and biases are linear between the rows' qualities."""
        tail: list[Layer] = []
        for layers in list(zip(*self._rows, strict=True))[len(self.common) :]:
            kind, _, _, activation, gamma, beta = layers[0]
            weight = row_at([layer[1] for layer in layers], self._qualities, quality)
            bias = row_at([layer[2] for layer in layers], self._qualities, quality)
            tail.append((kind, weight, bias, activation, gamma, beta))
        return tail


def layers_of(model: ModelFile, net: str) -> list[Layer]:
    """The layers of "g_a" or "h_a", or of "g_s" at the lowest quality. Raises ModelError for a tensor that is missing or misshapen."""
    return _layers(Tensors(model, f"{net}."), model, net, 0)


def _layers(t: Tensors, model: ModelFile, net: str, row: int) -> list[Layer]:
    latents = model.config.latents
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
        name = f"{net}.{2 * i}"
        if synthesis and 2 * i in BY_ROW and has_layers_by_row(model):
            name += f".{row}"
        weight, bias = t.take(f"{name}.weight", *shape, 5, 5), t.take(f"{name}.bias", outputs)
        gamma, beta = t.gdn(f"{net}.{2 * i + 1}", inner) if i < 3 else (None, None)
        activation = "none" if i == 3 else "igdn" if synthesis else "gdn"
        layers.append(("deconv" if synthesis else "conv", weight, bias, activation, gamma, beta))
        inputs = inner
    return layers


def made_net(layers: list[Layer], native: bool, bf16: bool = False) -> Net:
    """A net of the C++ core, by the instructions of JAHP_FAST_ISA, or NumPy's."""
    return _native.TransformNet(layers, os.environ.get("JAHP_FAST_ISA", ""), bf16) if native else ReferenceNet(layers)


def made_trace(native: bool) -> Trace:
    """For one pass through g_s and one through its adjoint."""
    return _native.GainTrace() if native else ReferenceTrace()


class CpuTransforms:
    """The float half of a model. Safe to share between threads. Each net is read and packed when it is first needed, once;
    what g_s has for a quality alone, when that is, and the NETS_KEPT used last are kept.

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
        self._nets: dict[str, Net] = {}
        self._synthesis: SynthesisLayers | None = None
        self._g_s: OrderedDict[float, Net] = OrderedDict()
        self._gains: dict[str, Floats] = {}

    def _net(self, name: str) -> Net:
        with self._lock:
            if name not in self._nets:
                self._nets[name] = made_net(layers_of(self._model, name), self._native, self._bf16 and name != "h_a")
            return self._nets[name]

    def _layers_of_g_s(self) -> SynthesisLayers:
        if self._synthesis is None:
            self._synthesis = SynthesisLayers(self._model)
        return self._synthesis

    def g_s_layers(self, quality: float) -> list[Layer]:
        """All layers of g_s at a quality."""
        with self._lock:
            synthesis = self._layers_of_g_s()
            return [*synthesis.common, *synthesis.at(quality)]

    def _g_s_at(self, quality: float) -> Net:
        with self._lock:
            synthesis = self._layers_of_g_s()
            if "g_s" not in self._nets:
                self._nets["g_s"] = made_net(synthesis.common, self._native, self._bf16)
            common = self._nets["g_s"]
            if quality not in self._g_s:
                tail = synthesis.at(quality)
                if not tail:
                    return common
                self._g_s[quality] = common.followed_by(tail)
            self._g_s.move_to_end(quality)
            if len(self._g_s) > NETS_KEPT:
                self._g_s.popitem(last=False)
            return self._g_s[quality]

    def gain(self, name: str, quality: float) -> Floats:
        """(M,) factors: geometric between the rows' qualities. name: "gain" or "inv_gain"."""
        q = self._model.config.qualities
        with self._lock:
            if name not in self._gains:
                self._gains[name] = Tensors(self._model, name).take(name, len(q), self._model.config.latents)
            table = self._gains[name]
        gain: Floats = np.exp(row_at(table, q, quality))
        return gain

    def scaled(self, features: Floats, quality: float) -> Floats:
        """What g_a gave (h, w, M), times the gain of a quality: the same y as of `analysis` at that quality."""
        return _product(features, self.gain("gain", quality))

    def analysis(self, blocks: Iterable[Pixels], height: int, width: int, quality: float | None, threads: int = 1) -> Floats:
        """An image's rows from top to bottom, in blocks (k, width, 3) uint8 -> y (h, w, M) float32, scaled by the gain, not rounded.

        Without a quality there is no gain: what `scaled` takes.
        The border is repeated to multiples of 16: h = ceil(height / 16), w = ceil(width / 16).
        """
        h, w = -(-height // STRIDE), -(-width // STRIDE)
        stream = self._net("g_a").stream(STRIDE * h, STRIDE * w)
        gain = np.float32(1) if quality is None else self.gain("gain", quality)
        y = np.empty((h, w, self._model.config.latents), np.float32)
        seen = done = 0
        for block in blocks:
            seen += len(block)
            below = STRIDE * h - height if seen == height else 0
            padded = np.pad(block, ((0, below), (0, STRIDE * w - width), (0, 0)), "edge") if below or STRIDE * w > width else block
            rows = stream.push(padded.astype(np.float32) / np.float32(255), threads)
            _product(rows, gain, y[done : done + len(rows)])
            done += len(rows)
        _product(stream.finish(threads), gain, y[done:])
        return y

    def hyper_analysis(self, y: Floats, threads: int = 1) -> Floats:
        """y (h, w, M), as analysis gives it -> z (ceil(h/4), ceil(w/4), N), not rounded."""
        sizes = self._model.config.architecture == "bmshj2018-hyperprior"
        return run_by_rows(self._net("h_a"), np.abs(y) if sizes else y, threads)

    def synthesis(
        self, blocks: Iterable[Ints], height: int, width: int, quality: float, frac_bits: int, threads: int = 1, trace: Trace | None = None
    ) -> Iterator[Pixels]:
        """Rows of ŷ from top to bottom, in blocks (k, w, M) int32, times 2^frac_bits -> the image's, (k', width, 3) uint8, cropped.
        A trace takes what the inverse GDNs multiply by.

        ŷ of hostile streams may overflow; what comes of it is arbitrary, but a number.
        """
        h, w = -(-height // STRIDE), -(-width // STRIDE)
        stream, gain = self._g_s_at(quality).stream(h, w, trace), self.gain("inv_gain", quality) * np.float32(2.0**-frac_bits)
        left = height
        for block in blocks:
            rows = to_pixels(stream.push(_product(block.astype(np.float32), gain), threads)[:left, :width])
            left -= len(rows)
            if len(rows):
                yield rows
        rows = to_pixels(stream.finish(threads)[:left, :width])
        if len(rows):
            yield rows


def _product(x: Floats, factors: Floats | np.float32, out: Floats | None = None) -> Floats:
    """x * factors, into `out` if there is one."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.multiply(x, factors, out=out)


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
