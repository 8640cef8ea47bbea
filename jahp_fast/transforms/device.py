# SPDX-License-Identifier: Apache-2.0
"""g_a, h_a and g_s of an exported model, in torch, for GPUs: the integers of docs/reference/format.md, section 14, to the bit.

Products go through float64 convolutions. Their sums are integers below 2^46, so float64 holds them exactly in any order, and rounding to
an integer takes away what an algorithm that is not a plain sum might leave.

`exact=False` is for speed alone: inner convolutions in float16, channels last, all else in float32, nothing rounded between the layers.
float16 and not bfloat16, because ŷ is rounded after g_a: its 11 bits round activations eight times as finely as bfloat16's 8. Its
smaller range, ±65504, holds: sums are divided by their powers of two with the weights.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jahp_fast.constants import STRIDE
from jahp_fast.files.view import View
from jahp_fast.transforms.cpu import NETS_KEPT
from jahp_fast.transforms.layers import (
    ACTIVATION_LIMIT,
    LATENT_LIMIT,
    LEAKY_LIMIT,
    LEAKY_MUL,
    LEAKY_SHIFT,
    SQUARE_SHIFT,
    SUM_BITS,
    SUM_LIMIT,
    Gain,
    Layer,
    TransformLayers,
)
from jahp_fast.transforms.small import SmallPictures
from jahp_fast.transforms.window import Reach, Window, reaches, window

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelFile


def shifted(x: Tensor, shift: Tensor | int) -> Tensor:
    """x / 2^shift, rounded to the nearest, halves up."""
    one = torch.ones((), dtype=torch.int64, device=x.device)
    return (x + ((one << shift) >> 1)) >> shift


def root(n: Tensor) -> Tensor:
    """The integer nearest to the square root, for n from 1 to 2^31 - 1."""
    r = n.double().sqrt().long()
    return r + (n > r * r + r).long()


def across(channels: Tensor) -> Tensor:
    """(C,) beside (B, C, h, w)."""
    return channels[:, None, None]


class PlacedLayer:
    """One layer on a device.

    Args:
        inner: whether another layer follows, so that float16 may do.
    """

    def __init__(self, layer: Layer, device: torch.device, exact: bool, inner: bool) -> None:
        self._kind, self._stride, self._activation, self._exact = layer.kind, layer.stride, layer.activation, exact
        self._type = torch.float64 if exact else torch.float16 if inner else torch.float32
        self._shift = torch.from_numpy(layer.shift.astype("int64")).to(device)
        self._extras = [torch.from_numpy(part.astype("int64")).to(device) for part in layer.extras]
        self._weight, self._bias = self.prepared(
            *(torch.from_numpy(part.astype("int32")).to(device) for part in (layer.weight, layer.bias))
        )

    def prepared(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Integers as `run` takes them in place of the layer's own."""
        if self._exact:
            return weight.double(), bias.long()
        unit = torch.exp2(-self._shift.float())
        weight = weight.float() * (unit[:, None, None] if self._kind == "deconv" else unit[:, None, None, None])
        return weight.to(self._type).contiguous(memory_format=torch.channels_last), bias.float() * unit

    def run(self, x: Tensor, own: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h', w'); int64 where exact, else float32."""
        weight, bias = own or (self._weight, self._bias)
        x = x.to(self._type)
        if self._kind == "deconv":
            sums = F.conv_transpose2d(x, weight, None, 2, 2, 1)
        else:
            sums = F.conv2d(x, weight, None, self._stride, weight.shape[2] // 2)
        return self._activated(sums.round().long() + across(bias)) if self._exact else self._rough(sums.float() + across(bias))

    def _activated(self, sums: Tensor) -> Tensor:
        shift = across(self._shift)
        sums = sums + ((torch.ones_like(shift) << shift) >> 1)
        half = 1 << (SUM_BITS - 1)
        x = (((sums + half) & (2 * half - 1)) - half) >> shift
        if self._activation in ("gdn", "igdn"):
            gamma, beta, by = self._extras
            x = x.clamp(-SUM_LIMIT, SUM_LIMIT)
            squares = shifted(x * x, SQUARE_SHIFT).double()
            n = F.conv2d(squares, gamma.double()[:, :, None, None]).round().long() + across(beta)
            if self._activation == "igdn":
                return shifted(x * root(n), across(by)).clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
            e = torch.zeros_like(n)
            for _ in range(15):
                e += ((n << (2 * e)) < 2**29).long()
            r = root(n << (2 * e))
            m = torch.div(2**31 + r, 2 * r, rounding_mode="floor")
            return shifted(x * m, across(by) - e).clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        if self._activation in ("relu", "leaky_relu"):
            x = x.clamp(-LEAKY_LIMIT, ACTIVATION_LIMIT)
            below = shifted(x * LEAKY_MUL, LEAKY_SHIFT) if self._activation == "leaky_relu" else torch.zeros_like(x)
            return torch.where(x < 0, below, x)
        return x

    def _rough(self, x: Tensor) -> Tensor:
        if self._activation in ("gdn", "igdn"):
            gamma, beta, by = (part.float() for part in self._extras)
            x = x.clamp(-SUM_LIMIT, SUM_LIMIT)
            n = F.conv2d(x * x * 2.0**-SQUARE_SHIFT, gamma[:, :, None, None], beta)
            x = x * n.sqrt() if self._activation == "igdn" else x * n.rsqrt() * 2.0**30
            return (x * across(torch.exp2(-by))).clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        if self._activation in ("relu", "leaky_relu"):
            x = x.clamp(-LEAKY_LIMIT, ACTIVATION_LIMIT)
            return torch.where(x < 0, x * (LEAKY_MUL * 2.0**-LEAKY_SHIFT if self._activation == "leaky_relu" else 0.0), x)
        return x


class Transforms:
    """The transforms of a model on one device. Safe to share between threads. Nothing here waits for the device.

    Args:
        device: "cpu" or "cuda:N".
        exact: see the module.

    Raises:
        ModelError: a tensor is missing, has the wrong shape or is out of range.
    """

    def __init__(self, model: ModelFile, device: str = "cpu", exact: bool = True) -> None:
        layers, self._config = TransformLayers(model), model.config
        self.device, self._exact = torch.device(device), exact
        self._g_a = self._placed(layers.g_a())
        self._h_a = self._placed(layers.h_a()) if self._config.hyper_latents else []
        g_s = layers.g_s()
        low, self._common = g_s.at(self._config.qualities[0]), len(g_s.common)
        self._reaches = reaches([*g_s.common, *low])
        self._g_s = self._placed([*g_s.common, *low])
        self._small = SmallPictures(model, g_s)
        self._lock = threading.Lock()
        self._small_nets: OrderedDict[tuple[float, int], tuple[list[PlacedLayer], list[Reach]]] = OrderedDict()
        self._shapes = [torch.Size(part.shape) for layer in low for part in (layer.weight, layer.bias)]
        parts = [part for weight, bias in g_s.tails for part in (weight, bias)]
        rows = [torch.from_numpy(part.astype("int32")).flatten(1) for part in parts]
        self._rows = torch.cat(rows, 1).to(self.device) if rows else None
        self._gains = {name: Gain(model, name) for name in ("gain", "inv_gain") + (("h_a.input",) if self._h_a else ())}

    def _placed(self, layers: Sequence[Layer]) -> list[PlacedLayer]:
        return [PlacedLayer(layer, self.device, self._exact, i + 1 < len(layers)) for i, layer in enumerate(layers)]

    def _gain(self, name: str, quality: float) -> Tensor:
        """(2, M) int32: multipliers and shifts."""
        mul, shift = self._gains[name].at(quality)
        return torch.from_numpy(np.stack([mul, shift.astype(np.int32)])).to(self.device)

    def features(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W) uint8, any size, the border repeated to multiples of 16 -> sums of g_a, (B, M, ceil(H/16), ceil(W/16))."""
        with torch.no_grad():
            x = images.double() if self._exact else images.float()
            x = F.pad(x, (0, -x.shape[3] % STRIDE, 0, -x.shape[2] % STRIDE), "replicate")
            return _integers(_run(self._g_a, x))

    def scaled(self, features: Tensor, quality: float) -> Tensor:
        """Features times the gain of a quality: y times 2^LATENT_BITS, int64, not rounded further."""
        return _scaled(features, self._gain("gain", quality), LATENT_LIMIT)

    def analysis(self, images: Tensor, quality: float) -> Tensor:
        """images (B, 3, H, W) uint8, any size, the border repeated to multiples of 16 -> y (B, M, ceil(H/16), ceil(W/16)) int64, times
        2^LATENT_BITS, not rounded further."""
        return self.scaled(self.features(images), quality)

    def hyper_analysis(self, y: Tensor) -> Tensor:
        """y (B, M, h, w), as analysis gives it -> z (B, N, ceil(h/4), ceil(w/4)) int64, times 2^LATENT_BITS, not rounded further."""
        with torch.no_grad():
            sizes = y.abs() if self._config.architecture == "bmshj2018-hyperprior" else y
            x = _scaled(sizes, self._gain("h_a.input", self._config.qualities[0]), ACTIVATION_LIMIT)
            return _integers(_run(self._h_a, x))

    def decoding_row(self, quality: float) -> Tensor:
        """What a quality decides in `synthesis`, in a vector of int32: the inverse gains, weight and bias of each layer of its own."""
        parts = [self._gain("inv_gain", quality).flatten()]
        if self._rows is not None:
            row, t, steps = self._config.between(quality)
            exact = self._rows[row].long() * (steps - t) + self._rows[row + 1].long() * t + steps // 2
            parts.append(torch.div(exact, steps, rounding_mode="floor").int())
        return torch.cat(parts)

    def synthesis(self, y: Tensor, row: Tensor, height: int, width: int, view: View | None = None) -> Tensor:
        """ŷ (B, h, w, M) int32, with the model's fractional bits, and their decoding_row -> a view of the height x width images, by default
        all of them, (B, 3, view.height, view.width) uint8. Only the latents that it depends on are worked on."""
        view = view or View.whole(height, width)
        with torch.no_grad():
            needed = window(self._reaches, view, y.shape[1], y.shape[2])
            latents = self._config.latents
            parts = torch.split(row[2 * latents :], [shape.numel() for shape in self._shapes])
            own = [part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)]
            x = self._entering(y, row[: 2 * latents].reshape(2, latents), needed)
            for i, layer in enumerate(self._g_s):
                k = 2 * (i - self._common)
                x = layer.run(x, layer.prepared(own[k], own[k + 1]) if k >= 0 else None)
            return _pixels(x, needed, view)

    def view(self, y: Tensor, quality: float, height: int, width: int, view: View) -> Tensor:
        """As synthesis, of a view at any scale: at one that the model has no heads for, the mean of its pixels at full size."""
        if view.scale == 1:
            return self.synthesis(y, self.decoding_row(quality), height, width, view)
        with torch.no_grad():
            if view.scale not in self._small.scales:
                return _averaged(self.view(y, quality, height, width, view.at_full_size(height, width)), view.scale)
            layers, read = self._small_net(quality, view.scale)
            needed = window(read, view, y.shape[1], y.shape[2])
            x = self._entering(y, self._gain("inv_gain", quality), needed)
            return _pixels(_run(layers, x), needed, view)

    def _small_net(self, quality: float, scale: int) -> tuple[list[PlacedLayer], list[Reach]]:
        """Of those made last some are kept."""
        with self._lock:
            if (quality, scale) not in self._small_nets:
                layers = self._small.at(quality, scale)
                self._small_nets[quality, scale] = self._placed(layers), reaches(layers)
                if len(self._small_nets) > NETS_KEPT:
                    self._small_nets.popitem(last=False)
            return self._small_nets[quality, scale]

    def _entering(self, y: Tensor, gain: Tensor, needed: Window) -> Tensor:
        """The input of g_s for the latents of a window."""
        part = y[:, slice(*needed.part.rows), slice(*needed.part.columns)]
        x = _scaled(part.permute(0, 3, 1, 2), gain, ACTIVATION_LIMIT)
        return x if self._exact else x.float().contiguous(memory_format=torch.channels_last)


def _pixels(x: Tensor, needed: Window, view: View) -> Tensor:
    """What a net made of a window's latents, cropped to the view."""
    part = x[:, :, needed.top : needed.top + view.height, needed.left : needed.left + view.width]
    return _integers(part).clamp(0, 255).to(torch.uint8)


def _averaged(pixels: Tensor, scale: int) -> Tensor:
    """files.view.averaged of (B, C, H, W) uint8."""
    height, width = pixels.shape[2:]
    padded = F.pad(pixels.double(), (0, -width % scale, 0, -height % scale))
    sums = (F.avg_pool2d(padded, scale) * scale**2).round().long()
    rows, columns = (
        torch.clamp(size - scale * torch.arange(-(-size // scale), device=pixels.device), max=scale) for size in (height, width)
    )
    counts = rows[:, None] * columns
    return torch.div(sums + counts // 2, counts, rounding_mode="floor").to(torch.uint8)


def _run(layers: Sequence[PlacedLayer], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer.run(x)
    return x


def _scaled(x: Tensor, gain: Tensor, limit: int) -> Tensor:
    """x (B, M, h, w) by channel."""
    mul, shift = gain.long()
    return shifted(x.long() * across(mul), across(shift)).clamp(-limit, limit)


def _integers(x: Tensor) -> Tensor:
    return x.round().long() if x.is_floating_point() else x
