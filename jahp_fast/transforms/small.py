# SPDX-License-Identifier: Apache-2.0
"""Pictures at 1/4, 1/8 and 1/16 of their sides, without the layers of g_s that would only make their detail.

g_s runs as it is for the first layers only. Those behind are made coarse: each becomes a convolution that gives the means of its
sums over 2 x 2 outputs, and what follows it works on these. So it misses what varies inside of them. Small linear heads in front of each
stage and behind the last, fitted to the picture's own means (export.heads), add up to red, green and blue; what they have got so far goes
through the next stage in three channels beside those of it that are kept. A picture at 1/16 is the mean of 2 x 2 pixels of that at 1/8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import ModelError
from jahp_fast.transforms.layers import Bytes, Ints, Layer, Shorts, SynthesisLayers, Tensors, mixed

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelFile

Channels = NDArray[np.int64]
AS_THEY_ARE = {4: 2, 8: 1}
"""So many convolutions of g_s run as they are, by the scales that have heads, where a model file has them."""
CARRY_BITS = 4
"""A carried channel has 16 steps a grey level: 14 bits hold four times the range of pixels."""
HEAD_SHIFTS = 8, 14
"""Least and most of a head: a carried channel's weight of 1 has 16 bits."""
COLOURS = 3
_PASS_BETA, _PASS_SHIFT = 1 << 28, 14
"""By which inverse GDN hands a channel on as it is: the root of 2^28 is 2^14."""


def phase_sums(weight: Shorts) -> NDArray[np.int64]:
    """Of a transposed 5x5 convolution of stride 2, (inputs, outputs, 5, 5): the 3x3 convolution that gives the sum of its 2 x 2 outputs
    at each input, (outputs, inputs, 3, 3).

    Output 2 t reads inputs t + 1, t, t - 1 through kernel rows 0, 2, 4, output 2 t + 1 reads t + 1, t through 1, 3.
    """
    w = weight.astype(np.int64)
    rows = np.stack([w[:, :, 4], w[:, :, 2] + w[:, :, 3], w[:, :, 0] + w[:, :, 1]], axis=2)
    both = np.stack([rows[..., 4], rows[..., 2] + rows[..., 3], rows[..., 0] + rows[..., 1]], axis=3)
    return np.ascontiguousarray(both.swapaxes(0, 1))


def block_sums(weight: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of a 3x3 convolution: the 5x5 one of stride 2 that gives the sum of its outputs in squares of 2 x 2."""
    out = np.zeros((*weight.shape[:2], 5, 5), np.int64)
    for i in (1, 2):
        for j in (1, 2):
            out[:, :, i : i + 3, j : j + 3] += weight
    return out


def rounded(x: NDArray[np.int64], shift: int) -> NDArray[np.int64]:
    return (x + (1 << shift >> 1)) >> shift


def coarse(layer: Layer) -> Layer:
    """The layer's mean over 2 x 2 outputs; what follows it stays as it is."""
    return layer._replace(kind="conv", weight=rounded(phase_sums(layer.weight), 2).astype(np.int16))


def narrowed(layer: Layer, inputs: Channels, outputs: Channels) -> Layer:
    """A coarse layer of some of its channels alone."""
    gamma, beta, after = layer.extras
    return layer._replace(
        weight=np.ascontiguousarray(layer.weight[np.ix_(outputs, inputs)]),
        bias=layer.bias[outputs],
        shift=layer.shift[outputs],
        extras=(np.ascontiguousarray(gamma[np.ix_(outputs, outputs)]), beta[outputs], after[outputs]),
    )


class Head(NamedTuple):
    """What a stage adds to red, green and blue. weight: (3, channels, k, k); shift: (3,)."""

    weight: Shorts
    shift: Bytes


def chained(stages: Sequence[tuple[Layer, Head]], last: Head, bias: Ints) -> list[Layer]:
    """Coarse layers, each with a head of what goes into it, as one chain.

    Args:
        last: the head of what comes out of the last one.
        bias: (3,), of it.
    """
    layers = []
    for i, (layer, head) in enumerate(stages):
        gamma, beta, after = layer.extras
        norms = np.pad(gamma, (0, COLOURS))
        passed = np.full(COLOURS, _PASS_BETA, np.int32), np.full(COLOURS, _PASS_SHIFT, np.uint8)
        layers.append(
            layer._replace(
                weight=np.concatenate([np.pad(layer.weight, ((0, 0), (0, COLOURS if i else 0), (0, 0), (0, 0))), _rows(head, bool(i), 0)]),
                bias=np.append(layer.bias, np.zeros(COLOURS, np.int32)),
                shift=np.append(layer.shift, head.shift),
                extras=(norms, np.append(beta, passed[0]), np.append(after, passed[1])),
            )
        )
    return [*layers, Layer("conv", _rows(last, True, CARRY_BITS), bias, last.shift, "pixels")]


def _rows(head: Head, carries: bool, bits: int) -> Shorts:
    """A head as rows of a layer's weights, and what hands on the carried channels, without so many of their bits."""
    weight = np.pad(head.weight, ((0, 0), (0, COLOURS if carries else 0), (0, 0), (0, 0)))
    if carries:
        middle = weight.shape[2] // 2
        for colour, shift in enumerate(head.shift):
            weight[colour, colour - COLOURS, middle, middle] = 1 << int(shift) - bits
    return weight


def coarse_layers(layers: Sequence[Layer], scale: int, kept: Sequence[Channels] = ()) -> list[Layer]:
    """The coarse ones of g_s's layers: those behind the ones that run as they are, without the last. kept: channels of each; by default
    all."""
    found = [coarse(layer) for layer in layers[AS_THEY_ARE[scale] : -1]]
    inputs: Channels = np.arange(found[0].weight.shape[1])
    for i, outputs in enumerate(kept):
        found[i], inputs = narrowed(found[i], inputs, outputs), outputs
    return found


class SmallPictures:
    """The layers from ŷ to small pictures. Raises ModelError as SynthesisLayers does.

    Attributes:
        scales: those that the model file has heads for.
    """

    def __init__(self, model: ModelFile, synthesis: SynthesisLayers) -> None:
        self._model, self._synthesis = model, synthesis
        self._config = model.config
        headed = [scale for scale in AS_THEY_ARE if f"view.{scale}.0.weight" in model.names]
        self.scales = (*headed, *((16,) if 8 in headed else ()))

    def at(self, quality: float, scale: int) -> list[Layer]:
        """scale: one of `scales`."""
        layers = [*self._synthesis.common, *self._synthesis.at(quality)]
        if scale == 16:
            chain = self.at(quality, 8)
            weight = rounded(block_sums(chain[-1].weight.astype(np.int64)), 2).astype(np.int16)
            return [*chain[:-1], chain[-1]._replace(weight=weight)]
        t, first = Tensors(self._model, f"{scale}.", views=True), AS_THEY_ARE[scale]
        kept = [self._kept(t, f"{scale}.{i}.kept", layer.outputs) for i, layer in enumerate(layers[first:-1])]
        return [*layers[:first], *self._chain(t, coarse_layers(layers, scale, kept), quality, scale)]

    def _kept(self, t: Tensors, name: str, channels: int) -> Channels:
        kept = t.take(name, np.uint16, None).astype(np.int64)
        if kept[-1] >= channels or (np.diff(kept) < 1).any():
            raise ModelError(f"{self._model.path}: tensor view.{name} does not rise, or names a channel that there is not")
        return kept

    def _chain(self, t: Tensors, layers: Sequence[Layer], quality: float, scale: int) -> list[Layer]:
        rows = len(self._config.qualities)
        row, by, steps = self._config.between(quality)

        def of_row(name: str, dtype: type[np.generic], *shape: int) -> NDArray[Any]:
            tensor = t.take(f"{scale}.{name}", dtype, rows, COLOURS, *shape)
            return tensor[0] if rows == 1 else mixed(tensor[row], tensor[row + 1], by, steps)

        channels = [layers[0].weight.shape[1], *(layer.outputs for layer in layers)]
        heads = [
            Head(of_row(f"{i}.weight", np.int16, count, 3, 3), t.shift(f"{scale}.{i}.shift", COLOURS, *HEAD_SHIFTS))
            for i, count in enumerate(channels)
        ]
        return chained(list(zip(layers, heads, strict=False)), heads[-1], of_row("bias", np.int32))
