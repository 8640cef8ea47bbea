# SPDX-License-Identifier: Apache-2.0
"""Layers of g_a, h_a and g_s in integers (docs/reference/format.md, section 14): what they hold, and how they come out of a model file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jahp_fast.constants import BY_ROW
from jahp_fast.errors import ModelError
from jahp_fast.files.deep import QUARTERS

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelFile

Ints = NDArray[np.int32]
Shorts = NDArray[np.int16]
Bytes = NDArray[np.uint8]
ACTIVATION_LIMIT = 8191
"""Activations between layers are clamped to it: 14 bits, so that four of them still add up in 16."""
SUM_LIMIT = 16383
"""What a layer's sums are clamped to in front of GDN: 15 bits."""
SUM_BITS = 30
"""Sums are taken modulo 2^30."""
SQUARE_SHIFT = 12
"""GDN adds up squares of 28 bits divided by 2^12: 16 bits."""
NORM_LIMIT = 2**31 - 1
LEAKY_MUL, LEAKY_SHIFT = 2621, 18
"""A leaky ReLU's slope of 0.01."""
LEAKY_LIMIT = 100 * ACTIVATION_LIMIT
"""What it takes is clamped to, below 0."""
LATENT_BITS = 8
"""Fractional bits of latents and hyper-latents before they are rounded."""
LATENT_LIMIT = 2**31 - 1
"""What latents are clamped to, with these bits."""
LEAST_GDN_SHIFT = 16
"""Of GDN in g_a, whose quotient is normalised by up to 2^15."""
LOG_BITS, MUL_BITS = 12, 15
"""Gains are logarithms, in steps of 1/4096 of a factor of 2; multipliers have 16 bits, from 2^15 on."""
LOG_STEPS = 1 << LOG_BITS
LEAST_LOG, MOST_LOG = (MUL_BITS - 62) * LOG_STEPS, MUL_BITS * LOG_STEPS - 1
"""For shifts of 1 to 62."""
COARSE = np.rint(2.0 ** (MUL_BITS + np.arange(64) / 64)).astype(np.int64)
FINE = np.rint(2.0 ** (MUL_BITS + np.arange(64) / 4096)).astype(np.int64)
"""Whole and fine steps of the exponential: the integers nearest to 2^(15 + i/64) and 2^(15 + i/4096)."""
MOST_SHIFT = 29
PIXEL_BITS = 8
"""Least shift of g_s's last layer: so many bits of fraction are there for deeper samples."""


class Layer(NamedTuple):
    """A layer, as `_native.TransformNet` takes it too.

    Attributes:
        kind: "conv", weight (outputs, inputs, k, k), zero padding k // 2, stride 2 for k = 5 and else 1; or "deconv", weight
            (inputs, outputs, 5, 5), stride 2, padding 2, output padding 1.
        weight: int16.
        bias: (outputs,) int32.
        shift: (outputs,) uint8, below 30.
        activation: "gdn", "igdn", "relu", "leaky_relu", "local" or "igdn_adjoint", which give int16; "none", int32, or "pixels", uint8, for
            the last layer.
        extras: of GDN gamma (outputs, outputs) int16, beta (outputs,) int32 and shift (outputs,) uint8; of "local" steady int16, varying
            int16, its shift uint8 and the factor's shift uint8, (outputs,) each; of "igdn_adjoint" gamma (outputs, outputs) int16, rows of
            which add up to 65535 at most, and term, direct and cross (outputs,) float32; else empty.
    """

    kind: str
    weight: Shorts
    bias: Ints
    shift: Bytes
    activation: str
    extras: tuple[NDArray[Any], ...] = ()

    @property
    def outputs(self) -> int:
        return len(self.bias)

    @property
    def stride(self) -> int:
        """Of a "conv" layer: 5x5 kernels go two steps at a time."""
        return 2 if self.weight.shape[2] == 5 else 1


class Tensors:
    """The integer tensors of a model's transforms, or of its views, each checked for its type and shape when it is taken. Raises
    ModelError."""

    def __init__(self, model: ModelFile, prefix: str, views: bool = False) -> None:
        self._path, self._tensors = model.path, model.read_views(prefix) if views else model.read_transforms(prefix)
        self._group = "view" if views else "transform"

    def take(self, name: str, dtype: type[np.generic], *shape: int | None) -> NDArray[Any]:
        """None in `shape` stands for any size of at least 1."""
        array = self._tensors.get(name)
        fits = array is not None and array.ndim == len(shape)
        if array is None or not fits or any(n < 1 if want is None else n != want for n, want in zip(array.shape, shape, strict=True)):
            has = "is missing" if array is None else f"has the shape {array.shape}"
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise ModelError(f"{self._path}: tensor {self._group}.{name} {has}; ({wanted}) is needed")
        if array.dtype != dtype:
            raise ModelError(f"{self._path}: tensor {self._group}.{name} has the type {array.dtype}; {np.dtype(dtype)} is needed")
        return array

    def shift(self, name: str, channels: int, least: int = 0, most: int = SUM_BITS - 1) -> Bytes:
        shift = self.take(name, np.uint8, channels)
        if shift.min() < least or shift.max() > most:
            raise ModelError(f"{self._path}: tensor {self._group}.{name} has a shift that is not {least} to {most}")
        return shift

    def gdn(self, name: str, channels: int, inverse: bool) -> tuple[NDArray[Any], ...]:
        """gamma, beta and shift. Raises ModelError for norms that could be 0, negative or beyond 31 bits."""
        gamma, beta = self.take(f"{name}.gamma", np.int16, channels, channels), self.take(f"{name}.beta", np.int32, channels)
        if gamma.min() < 0 or beta.min() < 1 or (gamma.astype(np.int64).sum(1) * 65535 + beta).max() > NORM_LIMIT:
            raise ModelError(f"{self._path}: transform.{name}: gamma or beta is out of range, or their norm could leave 31 bits")
        return gamma, beta, self.shift(f"{name}.shift", channels, 1 if inverse else LEAST_GDN_SHIFT, 31)


def fixed(x: Ints, bits: int) -> Ints:
    """Numbers with LATENT_BITS fractional bits, rounded to `bits` of them, halves up."""
    shift = LATENT_BITS - bits
    return x if shift == 0 else (x >> shift) + (x >> (shift - 1) & 1)  # which no number overflows


def mixed(low: NDArray[Any], high: NDArray[Any], t: int, steps: int) -> NDArray[Any]:
    """Integers t / steps of the way from `low` to `high`, rounded; of their type."""
    exact = low.astype(np.int64) * (steps - t) + high.astype(np.int64) * t + steps // 2
    return (exact // steps).astype(low.dtype)


class TransformLayers:
    """The layers of a model's transforms, out of the file alone. Raises ModelError for a tensor that is missing, misshapen or out of
    range."""

    def __init__(self, model: ModelFile) -> None:
        self._model, self._config = model, model.config

    def g_a(self) -> list[Layer]:
        """From pixels to sums that the gains take."""
        t, latents, inputs = Tensors(self._model, "g_a."), self._config.latents, 3
        inner = t.take("g_a.2.weight", np.int16, None, None, 5, 5).shape[0]
        layers: list[Layer] = []
        for i in (0, 2, 4, 6):
            outputs = latents if i == 6 else inner
            weight, bias = t.take(f"g_a.{i}.weight", np.int16, outputs, inputs, 5, 5), t.take(f"g_a.{i}.bias", np.int32, outputs)
            if i == 6:
                layers.append(Layer("conv", weight, bias, np.zeros(outputs, np.uint8), "none"))
            else:
                shift = t.shift(f"g_a.{i}.shift", outputs)
                layers.append(Layer("conv", weight, bias, shift, "gdn", t.gdn(f"g_a.{i + 1}", outputs, inverse=False)))
            inputs = outputs
        return layers

    def deep_g_a(self) -> list[Layer]:
        """g_a of samples in steps of a quarter, 0 to 1020. Raises ModelError where their sums could leave 29 bits."""
        first, *others = self.g_a()
        weight, bias = QUARTERS * first.weight.astype(np.int64), 4 * first.bias.astype(np.int64)
        ends = [np.abs(part.sum((1, 2, 3)) + bias).max() for part in (weight.clip(min=0), weight.clip(max=0))]
        if max(ends) >= 2**29 or first.shift.max() > MOST_SHIFT - 2:
            raise ModelError(f"{self._model.path}: its g_a takes samples of 8 bits alone: convert the image to uint8 first")
        return [first._replace(bias=4 * first.bias, shift=first.shift + np.uint8(2)), *others]

    def h_a(self) -> list[Layer]:
        t, n, inputs = Tensors(self._model, "h_a."), self._config.hyper_latents, self._config.latents
        between = "relu" if self._config.architecture == "bmshj2018-hyperprior" else "leaky_relu"
        layers: list[Layer] = []
        for i, kernel, activation in ((0, 3, between), (2, 5, between), (4, 5, "none")):
            weight, bias = t.take(f"h_a.{i}.weight", np.int16, n, inputs, kernel, kernel), t.take(f"h_a.{i}.bias", np.int32, n)
            layers.append(Layer("conv", weight, bias, t.shift(f"h_a.{i}.shift", n), activation))
            inputs = n
        return layers

    def g_s(self) -> SynthesisLayers:
        return SynthesisLayers(self._model)


def deep_pixels(last: Layer) -> Layer:
    """g_s's last layer with the bits of fraction of its sums: samples in steps of 1/256."""
    return last._replace(shift=last.shift - np.uint8(PIXEL_BITS), activation="none")


class SynthesisLayers:
    """The layers of g_s at any quality.

    Attributes:
        common: layers that are the same at all qualities: the first two, or all.
        tails: weights and biases of the others, with a row for each of the model's qualities.
    """

    def __init__(self, model: ModelFile) -> None:
        self._config = model.config
        t, inputs = Tensors(model, "g_s."), model.config.latents
        inner = t.take("g_s.2.weight", np.int16, None, None, 5, 5).shape[0]
        rows = len(self._config.qualities)
        layers: list[Layer] = []
        self.tails: list[tuple[NDArray[Any], NDArray[Any]]] = []
        for i in (0, 2, 4, 6):
            outputs, each = (3 if i == 6 else inner), ((rows,) if i in BY_ROW and rows > 1 else ())
            weight = t.take(f"g_s.{i}.weight", np.int16, *each, inputs, outputs, 5, 5)
            bias = t.take(f"g_s.{i}.bias", np.int32, *each, outputs)
            if each:
                self.tails.append((weight, bias))
                weight, bias = weight[0], bias[0]
            shift = t.shift(f"g_s.{i}.shift", outputs, PIXEL_BITS if i == 6 else 0)
            if i == 6:
                layers.append(Layer("deconv", weight, bias, shift, "pixels"))
            else:
                layers.append(Layer("deconv", weight, bias, shift, "igdn", t.gdn(f"g_s.{i + 1}", outputs, inverse=True)))
            inputs = outputs
        self.common, self._own = (layers[: BY_ROW[0] // 2], layers[BY_ROW[0] // 2 :]) if self.tails else (layers, [])

    def at(self, quality: float) -> list[Layer]:
        """Those behind the common ones: weights and biases lie between the rows' (`mixed`)."""
        row, t, steps = self._config.between(quality)
        return [
            layer._replace(weight=mixed(weight[row], weight[row + 1], t, steps), bias=mixed(bias[row], bias[row + 1], t, steps))
            for layer, (weight, bias) in zip(self._own, self.tails, strict=True)
        ]


def multipliers(logs: NDArray[np.int64]) -> tuple[Ints, Bytes]:
    """Of 2^(logs / 4096): a multiplier of 16 bits and a shift, mul / 2^shift."""
    fraction = logs & (LOG_STEPS - 1)
    mul = (COARSE[fraction >> 6] * FINE[fraction & 63] + (1 << (MUL_BITS - 1))) >> MUL_BITS
    return mul.astype(np.int32), (MUL_BITS - (logs >> LOG_BITS)).astype(np.uint8)


class Gain:
    """Factors of latents: x * mul / 2^shift by channel, rounded. name: "gain", "inv_gain", or "h_a.input", which is the same at all
    qualities. Raises ModelError as Tensors does.

    Attributes:
        logs: (rows, M), or (1, M), int32.
    """

    def __init__(self, model: ModelFile, name: str) -> None:
        self._made: dict[float, tuple[Ints, Bytes]] = {}
        self._config, rows = model.config, 1 if name == "h_a.input" else len(model.config.qualities)
        self.logs = Tensors(model, name).take(name, np.int32, rows, model.config.latents)
        if self.logs.min() < LEAST_LOG or self.logs.max() > MOST_LOG:
            raise ModelError(f"{model.path}: tensor transform.{name} has a logarithm that is not {LEAST_LOG} to {MOST_LOG}")

    def at(self, quality: float) -> tuple[Ints, Bytes]:
        """(M,) multipliers and shifts. They are kept: making them takes a tenth of a small picture's time."""
        key = quality if len(self.logs) > 1 else 0.0
        if key not in self._made:
            if len(self.logs) == 1:
                logs = self.logs[0]
            else:
                row, t, steps = self._config.between(quality)
                logs = mixed(self.logs[row], self.logs[row + 1], t, steps)
            self._made[key] = multipliers(logs.astype(np.int64))
        return self._made[key]
