# SPDX-License-Identifier: Apache-2.0
"""From a float checkpoint to an exported model, and back for training. Transforms: export.transforms.

Post-training quantisation: activations get a range per channel, from calibration photos at all qualities; its scale is folded into the
next layer's weights, which are rounded to int8 with a scale per output. Both scales and the next layer's activation scale end up in one
31-bit multiplier and a shift per output. Nothing of this is needed to decode: the file holds its integers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.entropy.integer_net import PARAMETER_LIMIT, IntegerLayer
from jahp_fast.entropy.model_file import Form, ModelConfig, ModelFile, save_model
from jahp_fast.errors import ModelError, UsageError
from jahp_fast.export.calibration import (
    MEAN_BITS,
    Activation,
    Activations,
    Calibration,
    Floats,
    activation_ranges,
    calibrate,
    context_bits,
)
from jahp_fast.export.chain import Node, nodes_of
from jahp_fast.export.floats import transform_floats
from jahp_fast.export.ranges import transform_ranges
from jahp_fast.export.rounding import Moments, round_weights
from jahp_fast.export.sensitivity import sensitivities
from jahp_fast.export.tables import WIDE, Row, make_row, pack_rows, scale_table
from jahp_fast.export.transforms import NETS, IntegerTransforms

if TYPE_CHECKING:
    import torch

    from jahp_fast.models.priors import CompressionModel

Array = NDArray[Any]

SCALE_BITS = 12
"""Fractional bits of the scales that meet the thresholds: 0.11 is 451, the thresholds are 6 % of that apart or more."""


@dataclass
class _Layer:
    """One float layer on its way to integers. weight: (outputs, inputs, k, k)."""

    name: str
    weight: Floats
    bias: Floats
    slope: float  # of the activation behind it, for negative values; 1: none
    kind: str  # of chain.Node


def multiplier(factor: Floats) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """factor > 0 -> (mul, shift) with mul / 2^shift = factor to 30 bits, 1 <= shift <= 62; fewer bits below 2^-32, 0 below 2^-62."""
    mantissa, exponent = np.frexp(factor)  # factor = mantissa * 2^exponent, mantissa in [0.5, 1)
    mul = np.rint(mantissa * 2.0**31).astype(np.int64)
    shift = 31 - exponent.astype(np.int64)
    over = mul >= 1 << 31
    mul, shift = np.where(over, mul >> 1, mul), np.where(over, shift - 1, shift)
    if np.any(shift < 1):
        raise ModelError("a layer's output scale is too fine for its weights")
    down = np.maximum(shift - 62, 0)
    return (mul >> np.minimum(down, 31)).astype(np.int32), (shift - down).astype(np.int32)


def quantise_layer(
    layer: _Layer, source: Activation, in_limit: int, target: Activation, out_limit: int, seen: Moments | None = None
) -> tuple[IntegerLayer, Floats, NDArray[np.int64]]:
    """Rounds one layer that reads integers of `source` and writes integers of `target`; each weight to the nearest integer, or, where it
    is known what the layer will have `seen`, so that its outputs change least.

    Returns the integer layer, the real value of one unit of its sums, per output, and what of its bias only undoes source's zero points.
    """
    folded = layer.weight * source.scale[None, :, None, None]
    unit = np.maximum(np.abs(folded).max(axis=(1, 2, 3)), 1e-12) / 127
    # A bias that dwarfs its weights must still fit beside them in 31 bits.
    unit = np.maximum(unit, np.abs(layer.bias) / (1 << 29))
    real = folded / unit[:, None, None, None]
    weight, made_up = np.rint(real).astype(np.int8), np.zeros(len(unit))
    if seen is not None:
        weight, made_up = round_weights(real, source.scale, layer.kind, seen)
    undo = -(weight.astype(np.int64).sum(axis=(2, 3)) @ source.zero)
    bias = np.rint(layer.bias / unit + made_up).astype(np.int64) + undo
    if np.abs(bias).max() >= 1 << 31:
        raise ModelError(f"{layer.name}: a bias does not fit 32 bits")
    mul, shift = multiplier(unit / target.scale)
    mul_neg = np.rint(mul * layer.slope).astype(np.int32)
    integer = IntegerLayer(weight, bias.astype(np.int32), mul, mul_neg, shift, target.zero.astype(np.int32), out_limit)
    integer.check_range(layer.name, in_limit)
    return integer, unit, undo


def _float_layer(model: CompressionModel, node: Node) -> _Layer:
    module: Any = model.get_submodule(node.name)
    weight = module.weight.detach().double()
    if node.kind == "masked":
        weight = weight * module.mask
    weight = weight.transpose(0, 1) if node.kind == "transposed" else weight
    return _Layer(node.name, weight.numpy(), module.bias.detach().double().numpy(), node.slope, node.kind)


def _context_input(top: Floats, form: Form, limit: int) -> dict[str, Array]:
    """Powers of two by which ŷ enters the context model: ((ŷ + rounding) >> shift)."""
    shift = (MEAN_BITS if form == "B" else 0) - context_bits(top, form, limit)
    return {
        "context_input.mul": np.ones(len(top), np.int32),
        "context_input.add": (np.int64(1) << shift >> 1).astype(np.int32),
        "context_input.shift": shift.astype(np.int32),
    }


def _parameter_scale(model: CompressionModel, form: Form) -> tuple[Floats, Floats]:
    """Real value of a unit of the last layer's outputs, and what to add to its bias."""
    scale = np.full(model.M, 2.0**-SCALE_BITS)
    if model.architecture == "bmshj2018-hyperprior":
        return scale, np.zeros(model.M)
    # Form A takes the floor of the mean, so that a fraction's cell starts at the fraction; a unit's rounding adds a half.
    floor = -0.5 * 2.0**-MEAN_BITS if form == "A" else 0.0
    return np.concatenate([scale, np.full(model.M, 2.0**-MEAN_BITS)]), np.concatenate([np.zeros(model.M), np.full(model.M, floor)])


def _integer_nets(
    model: CompressionModel, form: Form, limit: int, activations: Activations, seen: Mapping[str, Moments]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The tensors `entropy.*` of all layers, and the scales in `train.*` by which they become floats again."""
    entropy: dict[str, Array] = {}
    train: dict[str, Array] = {}
    for node in nodes_of(model.architecture):
        layer = _float_layer(model, node)
        source = Activation.joined([activations[name] for name in node.inputs])
        if node.parameters:
            scale, add = _parameter_scale(model, form)
            layer.bias = layer.bias + add
            integer, unit, undo = quantise_layer(layer, source, limit, Activation.of_scale(scale), PARAMETER_LIMIT, seen.get(node.name))
        else:
            integer, unit, undo = quantise_layer(layer, source, limit, activations[node.name], limit, seen.get(node.name))
        for part in ("weight", "bias", "mul_pos", "mul_neg", "shift", "zero"):
            entropy[f"{node.name}.{part}"] = getattr(integer, part)
        train[f"{node.name}.unit"] = unit.astype(np.float32)
        train[f"{node.name}.in_scale"] = source.scale.astype(np.float32)
        train[f"{node.name}.bias"] = ((integer.bias - undo) * unit).astype(np.float32)
    return entropy, train


@dataclass(frozen=True)
class EntropyTables:
    """What a model file needs besides its integer nets.

    Attributes:
        rows: of z, or of y in the factorised architecture, one a channel; then those of the scales.
        scale: the tensors scale.thresholds, scale.row (counted in `rows`) and scale.drop; empty for the factorised architecture.
        z_offset: (N,) int32 with `z_bits` fractional bits, added to the symbols of z where they enter h_s.
    """

    rows: list[Row]
    scale: dict[str, Array]
    z_offset: NDArray[np.int32]
    z_bits: int = 0


def own_tables(model: CompressionModel, form: Form, prob_bits: int) -> EntropyTables:
    """The tables of a model that was trained here: z and ŷ are rounded as they are."""
    bottleneck: Any = getattr(model, "entropy_bottleneck", None)
    rows = [] if bottleneck is None else factorised_rows(bottleneck, prob_bits)
    z_offset = np.zeros(model.N if hasattr(model, "h_s") else 0, np.int32)
    if model.architecture == "bmshj2018-factorized":
        return EntropyTables(rows, {}, z_offset)
    fractions = form == "A" and model.architecture != "bmshj2018-hyperprior"
    scale, scale_rows = gaussian_scales(len(rows), prob_bits, fractions=fractions, wide=WIDE)
    return EntropyTables(rows + scale_rows, scale, z_offset)


def gaussian_scales(before: int, prob_bits: int, *, fractions: bool, **finer: Any) -> tuple[dict[str, Array], list[Row]]:
    """The tensors scale.* of this package's scales and their rows, which `before` other rows stand in front of.

    finer: `count`, `cells`, `tail` and `wide` of scale_table.
    """
    table = scale_table(MEAN_BITS, prob_bits, fractions=fractions, **finer)
    tensors: dict[str, Array] = {
        "scale.thresholds": np.rint(table.boundaries * 2**SCALE_BITS).astype(np.int32),
        "scale.row": table.row + np.int32(before),
        "scale.drop": table.drop,
    }
    return tensors, table.rows


def factorised_rows(bottleneck: Any, prob_bits: int, reach: int = 1024) -> list[Row]:
    """The rows of a factorised prior (models.layers.EntropyBottleneck), one a channel, at integers up to ± `reach`."""
    import torch

    values = np.arange(-reach, reach + 1)
    with torch.no_grad():
        edges = torch.arange(-reach, reach + 2, dtype=torch.float64) - 0.5
        double = _in_double(bottleneck)
        logits = double.logits(edges.expand(double.quantiles.shape[0], 1, -1))[:, 0]
        low, high = logits[:, :-1], logits[:, 1:]
        sign = torch.where(low + high > 0, -1.0, 1.0)  # never 0: a density symmetric about an integer has its peak there
        p = (torch.sigmoid(sign * high) - torch.sigmoid(sign * low)).abs().numpy()
    return [make_row(values, row, prob_bits) for row in p]


def _in_double(module: Any) -> Any:
    import copy

    return copy.deepcopy(module).double()


def checked_form(model: CompressionModel, form: Form, activation_bits: int, prob_bits: int) -> None:
    """Raises UsageError where these cannot go together."""
    if form not in ("A", "B") or activation_bits not in (8, 16) or prob_bits not in (15, 16):
        raise UsageError("form must be A or B, activation_bits 8 or 16, prob_bits 15 or 16")
    if form == "B" and model.architecture in ("bmshj2018-factorized", "bmshj2018-hyperprior"):
        raise UsageError(f"{model.architecture} predicts no means: it has only form A")


def export_calibrated(
    model: CompressionModel,
    out: str | os.PathLike[str],
    *,
    photos: Sequence[NDArray[np.uint8]],
    form: Form = "A",
    activation_bits: int = 8,
    prob_bits: int = 15,
    qualities: Sequence[float] | None = None,
) -> bytes:
    """As export_model, with activations, transforms, and what a search needs, measured on (H, W, 3) uint8 training photos.

    Args:
        model: in float32, on the CPU, in evaluation mode.
    """
    checked_form(model, form, activation_bits, prob_bits)
    calibration = calibrate(model, photos)
    activations = activation_ranges(model, calibration).activations(model, form, 127 if activation_bits == 8 else 4095)
    return export_model(
        model, out, activations, form=form, activation_bits=activation_bits, prob_bits=prob_bits, qualities=qualities,
        calibration=calibration, photos=photos,
    )  # fmt: skip


def export_model(
    model: CompressionModel,
    out: str | os.PathLike[str],
    activations: Activations,
    *,
    form: Form = "A",
    activation_bits: int = 8,
    prob_bits: int = 15,
    qualities: Sequence[float] | None = None,
    tables: EntropyTables | None = None,
    calibration: Calibration | None = None,
    photos: Sequence[NDArray[np.uint8]] = (),
    extremes: Sequence[NDArray[np.uint8]] = (),
    seen: Mapping[str, Moments] | None = None,
    metric: str = "mse",
    force: bool = False,
) -> bytes:
    """As export_state, for a module and how its activations are to be rounded.

    Args:
        tables: by default own_tables.
        calibration: latents by which an encoder's search is prepared; without them it cannot search.
        photos, extremes: for transform_ranges, (H, W, 3) uint8: what the transforms' integers are scaled by.
        seen: moments of the layers' inputs, by which their weights are rounded; without them each to the nearest integer.
        metric: what the model was trained for, "mse" or "ms-ssim"; written down for encoders.
        force: replace a file that is write-protected, too.

    Raises:
        ModelError: numbers are too large for integers, or not finite.
    """
    checked_form(model, form, activation_bits, prob_bits)
    rows_of_gains = model.gain.shape[0]
    if qualities is None:
        qualities = [4.0] if rows_of_gains == 1 else [float(q) for q in range(1, rows_of_gains + 1)]
    if len(qualities) != rows_of_gains:
        raise UsageError(f"the model has {rows_of_gains} rows of gains, but {len(qualities)} qualities are named")
    limit = 127 if activation_bits == 8 else 4095
    tables = tables or own_tables(model, form, prob_bits)
    entropy, train = _integer_nets(model, form, limit, activations, seen or {})
    bottleneck: Any = getattr(model, "entropy_bottleneck", None)
    if bottleneck is not None:
        train |= {f"entropy_bottleneck.{k}": v.numpy() for k, v in bottleneck.state_dict().items()}
    if hasattr(model, "h_s"):
        entropy["z_offset"] = tables.z_offset
    if hasattr(model, "context_prediction"):
        entropy |= _context_input(limit * activations["y"].scale, form, limit)
    entropy |= tables.scale | pack_rows(tables.rows)
    hyper = len(tables.z_offset)
    names = tuple(qualities)
    config = ModelConfig(model.architecture, model.M, hyper, form, activation_bits, MEAN_BITS, tables.z_bits, prob_bits, names)
    transforms = IntegerTransforms(model, transform_ranges(model, photos, extremes), config)
    search = sensitivities(model, calibration, transforms.units) if calibration is not None and form == "A" else {}
    return save_model(out, config, entropy, transforms.tensors, train | transforms.train, search, metric, force)


def dequantise(path: str | os.PathLike[str]) -> tuple[str, dict[str, torch.Tensor]]:
    """An exported model as (architecture, float state dict with CompressAI's keys and gains), to train on from."""
    import torch

    model = ModelFile(path)
    train = model.train
    state: dict[str, Array] = {**transform_floats(model)}
    for name in sorted({key.rsplit(".", 1)[0] for key in train if key.endswith(".unit")}):
        if name in NETS:
            continue
        unit = train[f"{name}.unit"]
        in_scale = train[f"{name}.in_scale"]
        with np.errstate(all="ignore"):  # what is no number then is refused by whoever builds a model of it
            weight = model.entropy[f"{name}.weight"] * unit[:, None, None, None] / in_scale[None, :, None, None]
        bias = train[f"{name}.bias"]
        last = "entropy_parameters.4" if model.config.context else "h_s.4"
        if name == last and model.config.means and model.config.form == "A":
            bias[model.config.latents :] += 0.5 * 2.0**-model.config.mean_bits  # undo the floor, see parameter_scale
        if name in ("h_s.0", "h_s.2"):
            weight = weight.transpose(1, 0, 2, 3)
        state |= {f"{name}.weight": weight, f"{name}.bias": bias}
    state |= {k: v for k, v in train.items() if k.startswith("entropy_bottleneck.")}
    if model.config.hyper_latents:  # symbols of imported models are counted from a median, float ones from 0
        state["h_a.4.bias"] = state["h_a.4.bias"] + model.entropy["z_offset"] * 2.0**-model.config.z_bits
    with np.errstate(over="ignore"):
        return model.config.architecture, {k: torch.from_numpy(np.ascontiguousarray(v, np.float32)) for k, v in state.items()}
