# SPDX-License-Identifier: Apache-2.0
"""From a float checkpoint to an exported model, and back for training.

Post-training quantisation: activations get a scale per channel, from calibration photos at all qualities; it is folded into the next
layer's weights, which are rounded to int8 with a scale per output. Both scales and the next layer's activation scale end up in one
31-bit multiplier and a shift per output. Nothing of this is needed to decode: the file holds its integers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.entropy.integer_net import PARAMETER_LIMIT, IntegerLayer
from jahp_fast.entropy.model_file import Form, ModelConfig, ModelFile, save_model
from jahp_fast.entropy.tables import Row, make_row, pack_rows, scale_table
from jahp_fast.errors import ModelError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from jahp_fast.models.priors import CompressionModel

Array = NDArray[Any]
Floats = NDArray[np.float64]

MEAN_BITS = 6
SCALE_BITS = 12
"""Fractional bits of the scales that meet the thresholds: 0.11 is 451, the thresholds are 6 % of that apart or more."""
LEAKY_SLOPE = 0.01
_QUANTILE = 0.9999  # of |activation|, per channel, over all calibration positions: what lies beyond is clamped
_BALANCE = 1.0  # 1: every channel of an activation uses its whole range; 0: all channels have one scale


@dataclass
class _Layer:
    """One float layer on its way to integers. weight: (outputs, inputs, k, k)."""

    name: str
    weight: Floats
    bias: Floats
    slope: float  # of the activation behind it, for negative values; 1: none


def multiplier(factor: Floats) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """factor > 0 -> (mul, shift) with mul / 2^shift = factor to 31 bits, 1 <= shift <= 62; a factor below 2^-32 becomes 0."""
    mantissa, exponent = np.frexp(factor)  # factor = mantissa * 2^exponent, mantissa in [0.5, 1)
    mul = np.rint(mantissa * 2.0**31).astype(np.int64)
    shift = 31 - exponent.astype(np.int64)
    over = mul >= 1 << 31
    mul, shift = np.where(over, mul >> 1, mul), np.where(over, shift - 1, shift)
    if np.any(shift < 1):
        raise ModelError("a layer's output scale is too fine for its weights")
    down = np.maximum(shift - 62, 0)
    return (mul >> np.minimum(down, 31)).astype(np.int32), (shift - down).astype(np.int32)


def quantise_layer(layer: _Layer, in_scale: Floats, in_limit: int, out_scale: Floats, out_limit: int) -> tuple[IntegerLayer, Floats]:
    """Rounds one layer. Real input = integer * in_scale (per input), real output = integer * out_scale (per output).

    Returns the integer layer and the real value of one unit of its sums, per output.
    """
    folded = layer.weight * in_scale[None, :, None, None]
    unit = np.maximum(np.abs(folded).max(axis=(1, 2, 3)), 1e-12) / 127
    # A bias that dwarfs its weights must still fit beside them in 31 bits.
    unit = np.maximum(unit, np.abs(layer.bias) / (1 << 29))
    weight = np.rint(folded / unit[:, None, None, None]).astype(np.int8)
    bias = np.rint(layer.bias / unit).astype(np.int32)
    mul, shift = multiplier(unit / out_scale)
    mul_neg = np.rint(mul * layer.slope).astype(np.int32)
    integer = IntegerLayer(weight, bias, mul, mul_neg, shift, out_limit)
    integer.check_range(layer.name, in_limit)
    return integer, unit


def _float_layer(module: nn.Module, name: str, slope: float) -> _Layer:
    from torch import nn

    weight = module.weight.detach().double().numpy()  # type: ignore[union-attr]
    if isinstance(module, nn.ConvTranspose2d):
        weight = weight.transpose(1, 0, 2, 3)
    bias = module.bias.detach().double().numpy()  # type: ignore[union-attr]
    return _Layer(name, weight, bias, slope)


def _quantile(x: torch.Tensor) -> Floats:
    """(B, C, h, w) or (n, C) -> (C,) the `_QUANTILE` of |x| per channel."""
    flat = (x.transpose(0, 1).reshape(x.shape[1], -1) if x.ndim == 4 else x.T).abs()
    k = max(1, round(flat.shape[1] * _QUANTILE))
    values = flat.kthvalue(k, dim=1).values.double().numpy()
    return values


def _activation_scale(x: list[torch.Tensor], limit: int) -> Floats:
    top = np.max([_quantile(t) for t in x], axis=0)
    top = np.maximum(top, max(float(top.max()), 1e-6) * 1e-3)  # silent channels: the next layer's weights must not vanish
    scale: Floats = top**_BALANCE * float(top.max()) ** (1 - _BALANCE) / limit
    return scale


def _context_input(top: Floats, form: Form, limit: int) -> tuple[dict[str, Array], Floats]:
    """Powers of two by which ŷ enters the context model: ((ŷ + rounding) >> shift), and the real value of a unit."""
    bits = MEAN_BITS if form == "B" else 0
    # As many fractional bits as ŷ has, but no more than leave room for the largest value; negative: integers are halved.
    kept = np.minimum(bits, np.floor(np.log2(limit / np.maximum(top, 1.0)))).astype(np.int64)
    if form == "A":
        kept = np.zeros_like(kept)  # integers as they are; rare values beyond the limit are clamped
    shift = bits - kept
    tensors = {
        "context_input.mul": np.ones(len(top), np.int32),
        "context_input.add": (np.int64(1) << shift >> 1).astype(np.int32),
        "context_input.shift": shift.astype(np.int32),
    }
    return tensors, 2.0 ** -kept.astype(np.float64)


@dataclass
class Calibration:
    """Latents of the calibration photos at every quality row: y (1, M, h, w), not rounded, and z (1, N, h', w') rounded, or None."""

    y: list[torch.Tensor]
    z: list[torch.Tensor | None]


def calibrate(model: CompressionModel, photos: Sequence[NDArray[np.uint8]]) -> Calibration:
    """Runs g_a and h_a on (H, W, 3) photos, each cropped to multiples of 16, at every row of the gains."""
    import torch

    out = Calibration([], [])
    with torch.inference_mode():
        for photo in photos:
            h, w = (n // 16 * 16 for n in photo.shape[:2])
            if h == 0 or w == 0:
                raise UsageError("calibration photos must be 16 x 16 pixels or larger")
            x = torch.from_numpy(photo[:h, :w].copy()).permute(2, 0, 1)[None].float() / 255
            unscaled = model.g_a(x)
            for gain in model.gain:
                y = unscaled * gain.exp()[:, None, None]
                out.y.append(y)
                out.z.append(model.hyper_analysis(y).round() if hasattr(model, "h_a") else None)
    return out


class _Exporter:
    def __init__(self, model: CompressionModel, form: Form, activation_bits: int, calibration: Calibration) -> None:
        self.model, self.form, self.calibration = model, form, calibration
        self.limit = 127 if activation_bits == 8 else 4095
        self.entropy: dict[str, Array] = {}
        self.train: dict[str, Array] = {}

    def layer(self, module: nn.Module, name: str, slope: float, in_scale: Floats, out_scale: Floats, out_limit: int,
              shift_bias: Floats | None = None) -> None:
        layer = _float_layer(module, name, slope)
        if shift_bias is not None:
            layer.bias = layer.bias + shift_bias
        integer, unit = quantise_layer(layer, in_scale, self.limit, out_scale, out_limit)
        for part in ("weight", "bias", "mul_pos", "mul_neg", "shift"):
            self.entropy[f"{name}.{part}"] = getattr(integer, part)
        self.train[f"{name}.unit"] = unit.astype(np.float32)
        self.train[f"{name}.in_scale"] = in_scale.astype(np.float32)

    def parameter_scale(self) -> tuple[Floats, Floats]:
        """Real value of a unit of the last layer's outputs, and what to add to its bias."""
        m = self.model.M
        scale = np.full(m, 2.0**-SCALE_BITS)
        if self.model.architecture == "bmshj2018-hyperprior":
            return scale, np.zeros(m)
        # Form A takes the floor of the mean, so that a fraction's cell starts at the fraction; a unit's rounding adds a half.
        floor = -0.5 * 2.0**-MEAN_BITS if self.form == "A" else 0.0
        return np.concatenate([scale, np.full(m, 2.0**-MEAN_BITS)]), np.concatenate([np.zeros(m), np.full(m, floor)])

    def hyper_synthesis(self) -> tuple[list[torch.Tensor], Floats]:
        """Quantises h_s; returns its float outputs and their scale (with context; else it has given the parameters)."""
        from torch.nn import functional as F

        model: Any = self.model
        joint = hasattr(model, "context_prediction")
        slope = 0.0 if model.architecture == "bmshj2018-hyperprior" else LEAKY_SLOPE
        x = [z for z in self.calibration.z if z is not None]
        in_scale = np.ones(model.N)
        for i in (0, 2, 4):
            x = [model.h_s[i](t) for t in x]
            last = i == 4
            if last and not joint:
                out_scale, shift = self.parameter_scale()
                self.layer(model.h_s[i], f"h_s.{i}", 0.0 if slope == 0.0 else 1.0, in_scale, out_scale, PARAMETER_LIMIT, shift)
                return [], out_scale
            x = x if last else [F.leaky_relu(t, slope) for t in x]
            out_scale = _activation_scale(x, self.limit)
            self.layer(model.h_s[i], f"h_s.{i}", 1.0 if last else slope, in_scale, out_scale, self.limit)
            in_scale = out_scale
        return [t[:, :, : y.shape[2], : y.shape[3]] for t, y in zip(x, self.calibration.y, strict=True)], in_scale

    def context_model(self, hyper: list[torch.Tensor], hyper_scale: Floats) -> None:
        import torch
        from torch.nn import functional as F

        model: Any = self.model
        y_hat = [y.round() for y in self.calibration.y]
        tensors, y_scale = _context_input(np.max([_quantile(y) for y in y_hat], axis=0), self.form, self.limit)
        self.entropy |= tensors
        x = [model.context_prediction(y) for y in y_hat]
        scale = _activation_scale(x, self.limit)
        self.layer(model.context_prediction, "context_prediction", 1.0, y_scale, scale, self.limit)
        if hyper:
            x = [torch.cat(pair, 1) for pair in zip(hyper, x, strict=True)]
            scale = np.concatenate([hyper_scale, scale])
        for i in (0, 2):
            x = [F.leaky_relu(model.entropy_parameters[i](t), LEAKY_SLOPE) for t in x]
            out_scale = _activation_scale(x, self.limit)
            self.layer(model.entropy_parameters[i], f"entropy_parameters.{i}", LEAKY_SLOPE, scale, out_scale, self.limit)
            scale = out_scale
        out_scale, shift = self.parameter_scale()
        self.layer(model.entropy_parameters[4], "entropy_parameters.4", 1.0, scale, out_scale, PARAMETER_LIMIT, shift)

    def run(self, prob_bits: int) -> None:
        import torch

        model: Any = self.model
        rows: list[Row] = []
        with torch.inference_mode():
            if hasattr(model, "entropy_bottleneck"):
                rows = factorised_rows(model.entropy_bottleneck, prob_bits)
                self.train |= {f"entropy_bottleneck.{k}": v.numpy() for k, v in model.entropy_bottleneck.state_dict().items()}
            if hasattr(model, "h_s"):
                self.entropy["z_offset"] = np.zeros(model.N, np.int32)
                hyper, scale = self.hyper_synthesis()
            else:
                hyper, scale = [], np.zeros(0)
            if hasattr(model, "context_prediction"):
                self.context_model(hyper, scale)
        if model.architecture != "bmshj2018-factorized":
            fractions = self.form == "A" and model.architecture != "bmshj2018-hyperprior"
            table = scale_table(MEAN_BITS, prob_bits, fractions=fractions)
            self.entropy |= {
                "scale.thresholds": np.rint(table.boundaries * 2**SCALE_BITS).astype(np.int32),
                "scale.row": table.row + np.int32(len(rows)),
                "scale.drop": table.drop,
            }
            rows += table.rows
        self.entropy |= pack_rows(rows)


def factorised_rows(bottleneck: Any, prob_bits: int, reach: int = 1024) -> list[Row]:
    """The rows of a factorised prior (models.layers.EntropyBottleneck), one a channel, at integers up to ± `reach`."""
    import torch

    values = np.arange(-reach, reach + 1)
    with torch.inference_mode():
        edges = torch.arange(-reach, reach + 2, dtype=torch.float64) - 0.5
        double = _in_double(bottleneck)
        logits = double.logits(edges.expand(double.quantiles.shape[0], 1, -1))[:, 0]
        low, high = logits[:, :-1], logits[:, 1:]
        sign = -torch.sign(low + high)
        p = (torch.sigmoid(sign * high) - torch.sigmoid(sign * low)).abs().numpy()
    return [make_row(values, row, prob_bits) for row in p]


def _in_double(module: Any) -> Any:
    import copy

    return copy.deepcopy(module).double()


def export_state(state: dict[str, Any], out: str | os.PathLike[str], *, photos: Sequence[NDArray[np.uint8]], form: Form = "A",
                 activation_bits: int = 8, prob_bits: int = 15, qualities: Sequence[float] | None = None) -> bytes:
    """Turns a float state dict (CompressAI's keys, and gains where a model has them) into a model file.

    Args:
        state: as `torch.load` or safetensors give it; architecture and widths are read off its keys.
        photos: (H, W, 3) uint8 training photos for calibration.
        form, activation_bits, prob_bits: see ModelConfig.
        qualities: what the rows of the gains are called; by default 1, 2 ... for several rows and 4 for one.

    Returns:
        The model's id.

    Raises:
        ModelError: keys are missing or unexpected, or a sum could overflow 32 bits.
        UsageError: no photo, or an option that is not one.
    """
    from jahp_fast.models.registry import from_state_dict

    if form not in ("A", "B") or activation_bits not in (8, 16) or prob_bits not in (15, 16):
        raise UsageError("form must be A or B, activation_bits 8 or 16, prob_bits 15 or 16")
    if not photos:
        raise UsageError("calibration needs at least one photo")
    model = from_state_dict(state).eval()
    if form == "B" and model.architecture in ("bmshj2018-factorized", "bmshj2018-hyperprior"):
        raise UsageError(f"{model.architecture} predicts no means: it has only form A")
    return export_model(model, out, calibrate(model, photos), form=form, activation_bits=activation_bits, prob_bits=prob_bits,
                        qualities=qualities)


def export_model(model: CompressionModel, out: str | os.PathLike[str], calibration: Calibration, *, form: Form = "A",
                 activation_bits: int = 8, prob_bits: int = 15, qualities: Sequence[float] | None = None) -> bytes:
    """As export_state, for a module and calibration latents at hand."""
    rows = model.gain.shape[0]
    if qualities is None:
        qualities = [4.0] if rows == 1 else [float(q) for q in range(1, rows + 1)]
    if len(qualities) != rows:
        raise UsageError(f"the model has {rows} rows of gains, but {len(qualities)} qualities are named")
    exporter = _Exporter(model, form, activation_bits, calibration)
    exporter.run(prob_bits)
    hyper = model.N if hasattr(model, "h_s") else 0
    config = ModelConfig(model.architecture, model.M, hyper, form, activation_bits, MEAN_BITS, 0, prob_bits, tuple(qualities))
    floats: dict[str, Array] = {}
    for name, tensor in model.state_dict().items():
        if name.split(".")[0] in ("g_a", "g_s", "h_a"):
            floats[name] = tensor.half().numpy()
        elif name in ("gain", "inv_gain"):
            floats[name] = tensor.float().numpy()
    return save_model(out, config, exporter.entropy, floats, exporter.train)


def dequantise(path: str | os.PathLike[str]) -> tuple[str, dict[str, torch.Tensor]]:
    """An exported model as (architecture, float state dict with CompressAI's keys and gains), to train on from."""
    import torch

    model = ModelFile(path)
    state: dict[str, Array] = dict(model.floats)
    for name in sorted({key.rsplit(".", 1)[0] for key in model.train if key.endswith(".unit")}):
        unit = model.train[f"{name}.unit"]
        in_scale = model.train[f"{name}.in_scale"]
        weight = model.entropy[f"{name}.weight"] * unit[:, None, None, None] / in_scale[None, :, None, None]
        bias = model.entropy[f"{name}.bias"] * unit
        last = "entropy_parameters.4" if model.config.context else "h_s.4"
        if name == last and model.config.means and model.config.form == "A":
            bias[model.config.latents :] += 0.5 * 2.0**-model.config.mean_bits  # undo the floor, see parameter_scale
        if name in ("h_s.0", "h_s.2"):
            weight = weight.transpose(1, 0, 2, 3)
        state |= {f"{name}.weight": weight, f"{name}.bias": bias}
    state |= {k: v for k, v in model.train.items() if k.startswith("entropy_bottleneck.")}
    return model.config.architecture, {k: torch.from_numpy(np.ascontiguousarray(v, np.float32)) for k, v in state.items()}
