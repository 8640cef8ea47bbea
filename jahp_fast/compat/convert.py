# SPDX-License-Identifier: Apache-2.0
"""From a CompressAI checkpoint to integers that code what it codes.

CompressAI codes `round(z - median)` and `round(y - mean)` and reconstructs by adding what it took away (form B of
docs/reference/format.md).

Here

- a median of z leaves h_a's last bias, and comes back in fixed point where z enters h_s (`z_offset`), so its tables serve as they are;
- the median of a factorised y leaves g_a's last bias. g_s has to see `q + median`, and a bias cannot stand for it at the borders, where
  g_s pads with zeros. So y gets one channel more, which is always 1, and whose weights in g_s are the medians' sums.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jahp_fast.compat.checkpoint import PROB_BITS, Checkpoint, Quantised
from jahp_fast.compat.synthetic import dead_leaves
from jahp_fast.entropy.model_file import Form
from jahp_fast.export.calibration import Activation, Activations, activation_ranges, calibrate
from jahp_fast.export.model import SCALE_BITS, EntropyTables, export_model, factorised_rows, gaussian_scales
from jahp_fast.export.rounding import Moments, moments
from jahp_fast.export.tables import Row
from jahp_fast.models import registry
from jahp_fast.models.layers import EntropyBottleneck
from jahp_fast.models.priors import CompressionModel

ACTIVATION_BITS = 16
LIMIT = 4095
HEADROOM = 1.5
"""Activations may grow so far beyond the calibration's: of 13 bits, half a one is cheap, and a clamped activation is not."""
SYNTHETIC_HEADROOM = 3.0
"""The same for synthetic pictures, which are less like what will come."""
SYNTHETIC_PICTURES = 8
_MOST_Z_BITS = 8


@dataclass(frozen=True)
class Converted:
    """A checkpoint brought to this package's conventions.

    Attributes:
        model: the float model. Its h_a gives z less its medians.
        medians: (N,) float64, what h_s has to add; empty without z.
        tables, activations, seen, photos: for export_model.
        kept: for the reader, which tables are the checkpoint's own.
    """

    model: CompressionModel
    medians: NDArray[np.float64]
    tables: EntropyTables
    activations: Activations
    seen: Mapping[str, Moments]
    photos: Sequence[NDArray[np.uint8]]
    kept: str

    @property
    def form(self) -> Form:
        return form_of(self.model)

    def save(self, out: str | os.PathLike[str], *, quality: float = 4.0, force: bool = False) -> bytes:
        """Writes a model file, with 16-bit activations, and returns its id. force: see atomic_file."""
        return export_model(
            self.model, out, self.activations, form=self.form, activation_bits=ACTIVATION_BITS, prob_bits=PROB_BITS,
            qualities=[quality], tables=self.tables, seen=self.seen, photos=self.photos, force=force,
        )  # fmt: skip


def form_of(model: CompressionModel) -> Form:
    """CompressAI's: B where means are predicted."""
    return "A" if model.architecture in ("bmshj2018-factorized", "bmshj2018-hyperprior") else "B"


def convert(checkpoint: Checkpoint, photos: Sequence[NDArray[np.uint8]] = ()) -> Converted:
    """Folds the medians, takes or computes the tables, and calibrates the activations.

    Args:
        photos: (H, W, 3) uint8 to calibrate on; without any, synthetic pictures and more headroom.

    Raises ModelError where a sum could overflow 32 bits.
    """
    model = copy.deepcopy(checkpoint.model)
    factorised = model.architecture == "bmshj2018-factorized"
    own: EntropyBottleneck | None = getattr(model, "entropy_bottleneck", None)
    quantised = checkpoint.bottleneck
    rows: list[Row] = []
    if own is not None:
        rows = quantised.rows if quantised is not None else factorised_rows(_shifted(own), PROB_BITS)
    if factorised and np.any(checkpoint.medians):
        model = _with_constant_channel(model)
        rows = [*rows, Row(1, np.array([0, (1 << PROB_BITS) - 1], np.uint16))]  # 1, and an escape that never comes
    medians = np.zeros(0) if factorised else checkpoint.medians
    if len(medians):
        with torch.no_grad():
            cast(Any, model).h_a[4].bias.sub_(torch.from_numpy(medians).float())
    headroom = HEADROOM if photos else SYNTHETIC_HEADROOM
    pictures = photos or [dead_leaves(seed) for seed in range(SYNTHETIC_PICTURES)]
    activations, seen, z_bits = _calibrated(model, medians, pictures, headroom)
    scale, scale_rows = ({}, []) if factorised else _scales(checkpoint.gaussian, len(rows))
    z_offset = np.rint(medians * 2.0**z_bits).astype(np.int32)
    tables = EntropyTables(rows + scale_rows, scale, z_offset, z_bits)
    return Converted(model, medians, tables, activations, seen, pictures, _kept(checkpoint))


def _kept(checkpoint: Checkpoint) -> str:
    parts = [("factorised prior", checkpoint.bottleneck, checkpoint.medians.size > 0),
             ("Gaussians", checkpoint.gaussian, checkpoint.model.architecture != "bmshj2018-factorized")]  # fmt: skip
    return ", ".join(
        f"{name}: " + ("computed here, the checkpoint has none" if table is None else f"kept verbatim, {len(table.rows)} rows")
        for name, table, needed in parts
        if needed
    )


def _scales(gaussian: Quantised | None, before: int) -> tuple[dict[str, NDArray[Any]], list[Row]]:
    """CompressAI's choice of a row, the first scale that is not below the predicted one, by thresholds; else this package's tables."""
    if gaussian is None or gaussian.scales is None:
        return gaussian_scales(before, PROB_BITS, fractions=False)
    tensors: dict[str, NDArray[Any]] = {
        "scale.thresholds": np.floor(gaussian.scales[:-1] * 2**SCALE_BITS).astype(np.int32) + 1,
        "scale.row": np.arange(len(gaussian.rows), dtype=np.int32) + np.int32(before),
        "scale.drop": np.zeros(len(gaussian.rows), np.int32),
    }
    return tensors, gaussian.rows


def _calibrated(
    model: CompressionModel, medians: NDArray[np.float64], photos: Sequence[NDArray[np.uint8]], headroom: float
) -> tuple[Activations, Mapping[str, Moments], int]:
    """Activations, moments of what each layer reads, and fractional bits of z."""
    calibration = calibrate(model, photos)
    if len(medians):
        offset = torch.from_numpy(medians).float()[:, None, None]
        calibration.z = [None if z is None else z + offset for z in calibration.z]
    ranges = activation_ranges(model, calibration)
    ranges.y = ranges.y * headroom
    activations = ranges.activations(model, form_of(model), LIMIT, dict.fromkeys(ranges.low, headroom))
    top = max((float(z.abs().max()) for z in calibration.z if z is not None), default=1.0)
    z_bits = int(np.clip(np.floor(np.log2(LIMIT / (headroom * top + 1))), 0, _MOST_Z_BITS))
    activations["z"] = Activation.of_scale(np.full(len(medians), 2.0**-z_bits))
    return activations, moments(model, calibration), z_bits


def _shifted(bottleneck: EntropyBottleneck) -> EntropyBottleneck:
    """The factorised prior of x less its median."""
    shifted = copy.deepcopy(bottleneck)
    with torch.no_grad():
        median = shifted.quantiles[:, :, 1:2].clone()
        shifted.biases[0].add_(nn.functional.softplus(shifted.matrices[0]) @ median)
        shifted.quantiles.sub_(median)
    return shifted


def _with_constant_channel(model: CompressionModel) -> CompressionModel:
    """A factorised model whose y is less its medians, and whose last channel is 1 everywhere and adds the medians back in g_s."""
    state = model.state_dict()
    prior = cast(EntropyBottleneck, model.entropy_bottleneck)
    medians = prior.medians
    for name, value in _shifted(prior).state_dict().items():
        state[f"entropy_bottleneck.{name}"] = torch.cat([value, _certain(name, value[:1])])
    weight, bias = state["g_a.6.weight"], state["g_a.6.bias"]
    state["g_a.6.weight"] = torch.cat([weight, torch.zeros_like(weight[:1])])
    state["g_a.6.bias"] = torch.cat([bias - medians, bias.new_ones(1)])
    synthesis = state["g_s.0.weight"]
    state["g_s.0.weight"] = torch.cat([synthesis, (synthesis * medians[:, None, None, None]).sum(0, keepdim=True)])
    for name in ("gain", "inv_gain"):
        state[name] = torch.cat([state[name], state[name].new_zeros(1, 1)], 1)
    return registry.from_state_dict(state)


def _certain(name: str, like: Tensor) -> Tensor:
    """One channel of a factorised prior's parameters: a narrow logistic density about 1."""
    width = 0.02  # leaves 1e-11 outside of 0.5 to 1.5
    if name == "quantiles":
        return like.new_tensor([[[0.5, 1.0, 1.5]]])
    kind, index = name.split(".")
    if kind == "matrices":  # softplus of it averages the layer's inputs
        wanted = (1 / width if index == "0" else 1.0) / like.shape[2]
        return torch.full_like(like, wanted + float(np.log(-np.expm1(-wanted))))
    return torch.full_like(like, -1 / width) if name == "biases.0" else torch.zeros_like(like)
