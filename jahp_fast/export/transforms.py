# SPDX-License-Identifier: Apache-2.0
"""g_a, h_a, g_s and the gains as exact integers (docs/reference/format.md, section 14): the tensors `transform.*`, and the units in
`train.*` by which they become floats again (export.floats).

Activations are integers of 14 bits with a scale a channel, from the ranges of export.ranges and room above them. The scales of weights are
free, so every layer's sums come back to activations by shifts alone. They are chosen so that

- weights fit 16 bits, also those of Winograd's minimal filters, which a fast decoder makes of them: combinations of up to nine of them;
- no sum in g_s can leave 32 bits, whatever the file, and sums four times those of photos stay within 30. In g_a and h_a, where rounding
  of weights costs most, sums beyond these are left to wrap: it would take activations that are all at their limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import ModelError
from jahp_fast.export.ranges import Ranges
from jahp_fast.transforms.layers import (
    ACTIVATION_LIMIT,
    LATENT_BITS,
    LEAST_GDN_SHIFT,
    LEAST_LOG,
    LOG_STEPS,
    MOST_LOG,
    NORM_LIMIT,
    PIXEL_BITS,
    SQUARE_SHIFT,
    SUM_BITS,
    SUM_LIMIT,
)

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelConfig
    from jahp_fast.models.priors import CompressionModel

Array = NDArray[Any]
Floats = NDArray[np.float64]

SYNTHESIS_ROOM = {"input": (4.0, 2.5), "sums": (4.0, 2.0), "outputs": (3.0, 2.5)}
ANALYSIS_ROOM = {"sums": (1.3, 1.1), "outputs": (1.2, 1.1)}
"""Of g_s's input, of what is in front of GDN and of what is behind it: how far they may grow beyond photos, and beyond the hardest of
pictures, before they are clamped. In g_s twice was too little for other photos; rounding errors of g_a weigh more, and a clamp in it is
no more than noise in a latent."""
HYPER_ROOM = (2.0, 0.5)
"""Of activations in h_a."""
DECODED_REACH, ENCODED_REACH = 0.999 * 2**31, 2.0**33
"""Of weights times activations at their limits, in g_s and elsewhere."""
WRAP_ROOM = (4.0, 2.5)
"""Of sums before they wrap."""
WEIGHT_LIMIT = 32767 - 16
"""Of weights and of their combinations. What is left is for their rounding, and for that of weights between two rows."""
NETS = ("g_a", "h_a", "g_s")
GAMMA_LIMIT = 4095
SQUARE_LIMIT = 65535
_WINOGRAD = {3: np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]), 2: np.array([[1, 0], [1, 1], [0, 1]])}
"""By taps of an axis: what minimal filters F(2, 3) and F(2, 2) make of weights. A convolution adds both up, so that F(2, 2) counts
twice."""


@dataclass
class _Layer:
    """A convolution on its way to integers.

    Attributes:
        weight: (rows, outputs, inputs, k, k), times the scale of its inputs; one row where all qualities share it.
        bias: (rows, outputs).
        top: (outputs,) real sums that must not wrap.
        transposed: of stride 2; its kernel's cells are summed by phase.
        limit: of its inputs' magnitude.
        filtered: whether Winograd's filters may run it.
    """

    weight: Floats
    bias: Floats
    top: Floats
    transposed: bool = False
    limit: int = ACTIVATION_LIMIT
    filtered: bool = True

    def unit(self) -> Floats:
        """(outputs,) least real value of one unit of the sums."""
        k = self.weight.shape[4]
        phases = [self.weight[..., a::2, b::2] for a in (0, 1) for b in (0, 1)] if k == 5 else [self.weight]
        largest = np.abs(self.weight).max((0, 2, 3, 4))
        for phase in phases if self.filtered and k == 5 else ():
            rows, columns = (_WINOGRAD[n] if self.transposed or n == 3 else 2 * _WINOGRAD[n] for n in phase.shape[3:])
            largest = np.maximum(largest, np.abs(np.einsum("ia,roxab,jb->roxij", rows, phase, columns, optimize=True)).max((0, 2, 3, 4)))
        totals = [np.abs(part).sum((2, 3, 4)) for part in (phases if self.transposed else [self.weight])]
        reach = (np.max(totals, axis=0) * self.limit + np.abs(self.bias)).max(0)
        room = (DECODED_REACH if self.transposed else ENCODED_REACH) - self.limit * self.weight[0, 0].size
        unit: Floats = np.maximum.reduce([largest / WEIGHT_LIMIT, reach / room, self.top / 2 ** (SUM_BITS - 1)])
        return unit

    def integers(self, unit: Floats) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
        """Weights, as a model file has them, and biases, without rows where there is one."""
        weight = np.rint(self.weight / unit[:, None, None, None]).astype(np.int16)
        bias = np.rint(self.bias / unit).astype(np.int32)
        weight = weight.swapaxes(1, 2) if self.transposed else weight
        return (weight, bias) if len(weight) > 1 else (weight[0], bias[0])


def _shift_to(want: Floats, unit: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Shift by which sums of `unit` become activations of scale `want`, or up to 1.4 times that; and the unit, or up to 1.4 times it."""
    shift = np.clip(np.rint(np.log2(want / unit)), 0, SUM_BITS - 1)
    unit = np.maximum(unit, want * np.exp2(-shift))
    return shift.astype(np.int64), unit


def _shift_onto(scale: float, unit: Floats, least: int, what: str) -> tuple[NDArray[np.int64], Floats]:
    """Shift by which sums of `unit`, or somewhat more, become activations of just `scale`, and that unit."""
    shift = np.floor(np.log2(scale / unit)).astype(np.int64)
    if shift.min() < least:
        raise ModelError(f"{what} are too large for integers")
    shift = np.minimum(shift, SUM_BITS - 1)
    rounder: Floats = np.exp2(-shift.astype(np.float64)) * scale
    return shift, rounder


def _norms(gamma: Floats, beta: Floats, scale: Floats, out: Floats, inverse: bool) -> tuple[dict[str, Array], Floats, Floats]:
    """GDN of x in units of `scale` to activations of scale `out`, by channel: gamma, beta and shift; the real value of a unit of the norms;
    and the scale of what comes out, which may differ from `out`."""
    squares = gamma * (scale * scale)[None, :] * 2.0**SQUARE_SHIFT
    # Rounding may add a half to each gamma.
    room = NORM_LIMIT - 1 - SQUARE_LIMIT * (len(beta) / 2)
    least = np.maximum((squares.sum(1) * SQUARE_LIMIT + beta) / room, squares.max(1) / GAMMA_LIMIT)
    root = np.sqrt(least)
    if inverse:
        shift = np.clip(np.floor(np.log2(out / (scale * root))), 1, 31)
        unit = np.maximum(out / (scale * 2.0**shift), root)
        out = unit * scale * 2.0**shift
    else:
        shift = np.clip(np.ceil(30 + np.log2(root * out / scale)), LEAST_GDN_SHIFT, 31)
        unit = np.maximum(scale / out * 2.0 ** (shift - 30), root)
        out = scale / unit * 2.0 ** (shift - 30)
    unit = unit * unit
    tensors = {
        "gamma": np.rint(squares / unit[:, None]).astype(np.int16),
        "beta": np.clip(np.rint(beta / unit), 1, NORM_LIMIT).astype(np.int32),
        "shift": shift.astype(np.uint8),
    }
    return tensors, unit, out


def logarithms(factor: Floats, what: str) -> NDArray[np.int32]:
    """log2 of factors, as a model file has it; what is too small for it is the least that there is."""
    with np.errstate(divide="ignore"):
        logs = np.rint(np.log2(factor) * LOG_STEPS)
    if not logs.max() <= MOST_LOG:
        raise ModelError(f"{what} is too large for integers: {float(factor.max()):g}")
    kept: NDArray[np.int32] = np.maximum(logs, LEAST_LOG).astype(np.int32)
    return kept


class IntegerTransforms:
    """Those of a model.

    Attributes:
        tensors: `transform.*`, without the prefix.
        units: real values of the integers, (channels,): of g_s's input as "g_s", of a convolution's sums and of a GDN's norms by their
            names.

    Args:
        model: in float32, on the CPU.

    Raises:
        ModelError: a net's numbers are too large for integers.
    """

    def __init__(self, model: CompressionModel, ranges: Ranges, config: ModelConfig) -> None:
        self.tensors: dict[str, Array] = {}
        self.units: dict[str, Floats] = {}
        self._model, self._ranges, self._config = model, ranges, config
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            try:
                self._analysis()
                if config.hyper_latents:
                    self._hyper_analysis()
                self._synthesis()
            except FloatingPointError:
                raise ModelError("the weights or gains of its transforms are too large for integers") from None

    @property
    def train(self) -> dict[str, Array]:
        """`train.*`, without the prefix: the units of each net in one vector, in the order of its layers, without those that its shifts
        tell."""
        told = ("h_a.4", "g_s.6")
        nets = {net: [unit for name, unit in self.units.items() if name.split(".")[0] == net and name not in told] for net in NETS}
        return {f"{net}.unit": np.concatenate(units).astype(np.float32) for net, units in nets.items() if units}

    def _folded(self, name: str, scale: Floats, **more: Any) -> _Layer:
        module: Any = self._model.get_submodule(name)
        transposed = name.startswith("g_s.")
        parts = list(module.children()) or [module]
        weight = np.stack([part.weight.detach().double().numpy() for part in parts])
        weight = weight.swapaxes(1, 2) if transposed else weight
        bias = np.stack([part.bias.detach().double().numpy() for part in parts])
        return _Layer(weight * scale[:, None, None], bias, self._ranges.above(name, *WRAP_ROOM), transposed, **more)

    def _keep(self, name: str, layer: _Layer, unit: Floats, shift: NDArray[np.int64] | None) -> None:
        self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"] = layer.integers(unit)
        if shift is not None:
            self.tensors[f"{name}.shift"] = shift.astype(np.uint8)
        self.units[name] = unit

    def _divisive(self, net: str, i: int, scale: Floats, layer: _Layer) -> Floats:
        """A convolution and the GDN behind it; returns the scale of what that gives."""
        name, norm = f"{net}.{i}", f"{net}.{i + 1}"
        room = SYNTHESIS_ROOM if net == "g_s" else ANALYSIS_ROOM
        shift, unit = _shift_to(self._ranges.above(name, *room["sums"]) / SUM_LIMIT, layer.unit())
        scale = unit * 2.0**shift
        self._keep(name, layer, unit, shift)
        module: Any = self._model.get_submodule(norm)
        beta, gamma = (t.detach().double().numpy() for t in module.values())
        out = self._ranges.above(norm, *room["outputs"]) / ACTIVATION_LIMIT
        tensors, self.units[norm], out = _norms(gamma, beta, scale, out, inverse=net == "g_s")
        self.tensors |= {f"{norm}.{part}": array for part, array in tensors.items()}
        return out

    def _gains(self, name: str, unit: Floats, what: str) -> None:
        """Keeps the factors of a table times those of the integers, (M,)."""
        table = getattr(self._model, name).detach().double().numpy()
        self.tensors[name] = logarithms(np.exp(table) * unit, what)

    def _analysis(self) -> None:
        scale = np.full(3, 1 / 255)
        for i in (0, 2, 4):
            first = {"limit": 255, "filtered": False} if i == 0 else {}
            scale = self._divisive("g_a", i, scale, self._folded(f"g_a.{i}", scale, **first))
        layer = self._folded("g_a.6", scale)
        unit = layer.unit()
        self._keep("g_a.6", layer, unit, None)
        self._gains("gain", unit * 2.0**LATENT_BITS, "the gain of a latent")

    def _hyper_analysis(self) -> None:
        # Finer than the latents' own fraction would say nothing.
        scale = np.maximum(self._ranges.above("h_a", *HYPER_ROOM) / ACTIVATION_LIMIT, 2.0**-LATENT_BITS)
        self.tensors["h_a.input"] = logs = logarithms(2.0**-LATENT_BITS / scale[None], "the scale of h_a's input")
        scale = 2.0 ** (-LATENT_BITS - logs[0] / LOG_STEPS)
        for i in (0, 2):
            layer = self._folded(f"h_a.{i}", scale)
            shift, unit = _shift_to(self._ranges.above(f"h_a.{i + 1}", *HYPER_ROOM) / ACTIVATION_LIMIT, layer.unit())
            scale = unit * 2.0**shift
            self._keep(f"h_a.{i}", layer, unit, shift)
        layer = self._folded("h_a.4", scale)
        shift, unit = _shift_onto(2.0**-LATENT_BITS, layer.unit(), 0, "hyper-latents")
        self._keep("h_a.4", layer, unit, shift)

    def _synthesis(self) -> None:
        # A few symbols of one have their room in a channel that the pictures left silent.
        one = self._model.inv_gain.detach().double().exp().amax(0).numpy()
        scale = np.maximum(self._ranges.above("g_s", *SYNTHESIS_ROOM["input"]), 4 * one) / ACTIVATION_LIMIT
        self.units["g_s"] = scale
        self._gains("inv_gain", 2.0**-self._config.frac_bits / scale, "the inverse gain of a latent")
        for i in (0, 2, 4):
            scale = self._divisive("g_s", i, scale, self._folded(f"g_s.{i}", scale))
        layer = self._folded("g_s.6", scale, filtered=False)
        layer.top = np.maximum(layer.top, WRAP_ROOM[0])  # pictures may be dark, others not
        shift, unit = _shift_onto(1 / 255, layer.unit(), PIXEL_BITS, "the pixels that g_s makes")
        self._keep("g_s.6", layer, unit, shift)
