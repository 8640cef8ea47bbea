# SPDX-License-Identifier: Apache-2.0
"""From the integers of a model file's transforms back to floats, to train on from: the inverse of export.transforms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.constants import BY_ROW, GDN_PEDESTAL
from jahp_fast.errors import ModelError
from jahp_fast.transforms.layers import LATENT_BITS, LOG_STEPS, SQUARE_SHIFT, Gain, Layer, TransformLayers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jahp_fast.entropy.model_file import ModelFile

Array = NDArray[Any]
Floats = NDArray[np.float64]


class _Units:
    """The units of a net, taken from the front. Raises ModelError where there are too few."""

    def __init__(self, model: ModelFile, train: Mapping[str, Array], net: str) -> None:
        self._name = f"{model.path}: tensor train.{net}.unit"
        self._rest = train.get(f"{net}.unit", np.zeros(0)).astype(np.float64)

    def take(self, channels: int) -> Floats:
        if self._rest.ndim != 1 or len(self._rest) < channels:
            raise ModelError(f"{self._name} is missing, or too short for the net")
        taken, self._rest = self._rest[:channels], self._rest[channels:]
        return taken


def transform_floats(model: ModelFile) -> dict[str, Floats]:
    """The state dict of g_a, h_a, g_s and the gains, to the rounding of the integers. What overflows is left to whoever builds a model.

    Raises:
        ModelError: a tensor is missing, misshapen or out of range.
    """
    layers, train, config = TransformLayers(model), model.train, model.config
    state: dict[str, Floats] = {}
    with np.errstate(all="ignore"):
        unit = _chain(state, "g_a", layers.g_a(), _Units(model, train, "g_a"), np.full(3, 1 / 255))
        state["gain"] = (Gain(model, "gain").logs / LOG_STEPS - LATENT_BITS) * np.log(2) - np.log(unit)
        if config.hyper_latents:
            scale = 2.0 ** (-LATENT_BITS - Gain(model, "h_a.input").logs[0] / LOG_STEPS)
            _chain(state, "h_a", layers.h_a(), _Units(model, train, "h_a"), scale)
        units, g_s = _Units(model, train, "g_s"), layers.g_s()
        scale = units.take(config.latents)
        state["inv_gain"] = (Gain(model, "inv_gain").logs / LOG_STEPS + config.frac_bits) * np.log(2) + np.log(scale)
        _chain(state, "g_s", [*g_s.common, *g_s.at(config.qualities[0])], units, scale, g_s.tails)
    return state


def _chain(
    state: dict[str, Floats], net: str, layers: Sequence[Layer], units: _Units, scale: Floats, tails: Sequence[tuple[Array, Array]] = ()
) -> Floats:
    """Adds a net to the state; returns what a unit of its last sums is worth. scale: of its input. tails: of layers of several rows."""
    by_row = dict(zip(BY_ROW, tails, strict=False))
    unit = scale
    for i, layer in zip(range(0, 2 * len(layers), 2), layers, strict=True):
        name = f"{net}.{i}"
        if layer.activation == "pixels":
            unit = 2.0 ** -layer.shift.astype(np.float64) / 255
        elif layer.activation == "none" and net == "h_a":
            unit = 2.0 ** (-LATENT_BITS - layer.shift.astype(np.float64))
        else:
            unit = units.take(layer.outputs)
        by = _by(unit, scale, layer.kind == "deconv")
        if i in by_row:
            weights, biases = by_row[i]
            for row, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                state |= {f"{name}.{row}.weight": weight * by, f"{name}.{row}.bias": bias * unit}
        else:
            state |= {f"{name}.weight": layer.weight * by, f"{name}.bias": layer.bias * unit}
        scale = unit * 2.0 ** layer.shift.astype(np.float64)
        if layer.activation in ("gdn", "igdn"):
            scale = _divisive(state, f"{net}.{i + 1}", layer, units.take(layer.outputs), scale)
    return unit


def _by(unit: Floats, scale: Floats, deconv: bool) -> Floats:
    """What a layer's integer weights are multiplied by."""
    factor: Floats = unit / scale[:, None] if deconv else unit[:, None] / scale
    return factor[:, :, None, None]


def _divisive(state: dict[str, Floats], name: str, layer: Layer, unit: Floats, scale: Floats) -> Floats:
    """Adds a GDN behind a layer whose outputs are in units of `scale`; returns the scale of its own outputs."""
    gamma, beta, shift = layer.extras
    state[f"{name}.gamma"] = np.sqrt(gamma * unit[:, None] / (scale * scale * 2.0**SQUARE_SHIFT) + GDN_PEDESTAL)
    state[f"{name}.beta"] = np.sqrt(beta * unit + GDN_PEDESTAL)
    down = shift.astype(np.float64)
    out: Floats = scale * np.sqrt(unit) * 2.0**down if layer.activation == "igdn" else scale / np.sqrt(unit) * 2.0 ** (down - 30)
    return out
