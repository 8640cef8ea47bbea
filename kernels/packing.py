# SPDX-License-Identifier: Apache-2.0
"""A model's integer tensors as the Triton kernels read them, packed once when a backend is built.

Channels are padded to multiples of LINE with outputs that are 0 whatever goes in, so that no kernel masks channels. A layer's weights
lie by output, each output's taps one after the other, inputs inner: products run along contiguous bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jahp_fast.entropy.integer_net import PARAMETER_LIMIT
from jahp_fast.entropy.model_file import ModelConfig

Array = NDArray[Any]
Tensors = Mapping[str, Array]

LINE = 64


def padded(channels: int) -> int:
    return -(-channels // LINE) * LINE


@dataclass(frozen=True)
class PackedLayer:
    """One layer of `outputs` x `inputs` channels, both padded.

    Attributes:
        weight: int8, one matrix (outputs, taps * inputs) after the other: one, or for a transposed layer one a phase.
        bias: (outputs,) int32.
        rule: (4, outputs) int32: mul_pos, mul_neg, shift, zero.
        kernel: cells on a side.
        kind: "conv" (all cells), "masked" (the causal ones) or "transposed" (stride 2).
        limit: clamp of the outputs.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    rule: torch.Tensor
    inputs: int
    outputs: int
    kernel: int
    kind: str
    limit: int

    @property
    def taps(self) -> int:
        """Cells that are summed for one output; of a transposed layer over its four phases together."""
        cells = self.kernel * self.kernel
        return cells // 2 if self.kind == "masked" else cells


@dataclass(frozen=True)
class PackedTables:
    """Probability tables.

    Attributes:
        info: (rows, 4) int32: low, size, index of the row's first entry in `lasts`, 0.
        lasts: int16 that stand for uint16, by row: 2^16 - 1, then the last slot of each of its size + 1 entries. So entry k has the
            slots (lasts[k] + 1) mod 2^16 to lasts[k + 1].
        search: halvings that find an entry in the longest row.
    """

    info: torch.Tensor
    lasts: torch.Tensor
    search: int


@dataclass(frozen=True)
class PackedScales:
    """thresholds (max(S - 1, 1),), row (S,), drop (S,) int32; count: S - 1; search: halvings that find a scale index."""

    thresholds: torch.Tensor
    row: torch.Tensor
    drop: torch.Tensor
    count: int
    search: int


@dataclass(frozen=True)
class PackedInput:
    """(channels,) int32 each: a decoded value v enters a network as clamp((v * mul + add) >> shift, limit)."""

    mul: torch.Tensor
    add: torch.Tensor
    shift: torch.Tensor


@dataclass(frozen=True)
class PackedModel:
    """What a model file's entropy path is on a device. Parts that the architecture has not are None or empty.

    `hyper` is the part of the first 1x1 layer that reads `h_s` (it holds the bias, and is never requantised), `parameters` are that
    layer's other part and the two behind it. The layer that gives scales and means has them in two groups, each padded.
    """

    config: ModelConfig
    tables: PackedTables
    scales: PackedScales | None
    z_input: PackedInput | None
    h_s: tuple[PackedLayer, ...]
    context_input: PackedInput | None
    context: PackedLayer | None
    hyper: PackedLayer | None
    parameters: tuple[PackedLayer, ...]

    @property
    def groups(self) -> int:
        """Channels from a symbol's scale to its mean."""
        return padded(self.config.latents)


def pack_layer(
    tensors: Tensors, name: str, limit: int, device: torch.device, kind: str = "conv", groups: int = 1, inputs: slice = slice(None)
) -> PackedLayer:
    """groups: equal parts of the outputs that are padded separately. inputs: which inputs, if not all."""
    weight = tensors[f"{name}.weight"][:, inputs]
    outputs, channels, kernel, _ = weight.shape
    group, wide = outputs // groups, padded(channels)
    index = np.concatenate([g * padded(group) + np.arange(group) for g in range(groups)])
    total = groups * padded(group)
    full = np.zeros((total, kernel, kernel, wide), np.int8)
    full[index, :, :, :channels] = weight.transpose(0, 2, 3, 1)
    if kind == "transposed":
        phases = [full[:, r::2, c::2] for r in range(2) for c in range(2)]
    elif kind == "masked":
        phases = [full.reshape(total, -1, wide)[:, : kernel * kernel // 2]]
    else:
        phases = [full]

    def spread(part: str, fill: int) -> Array:
        values = np.full(total, fill, np.int32)
        values[index] = tensors[f"{name}.{part}"]
        return values

    rule = np.stack([spread("mul_pos", 0), spread("mul_neg", 0), spread("shift", 1), spread("zero", 0)])
    return PackedLayer(
        _on(np.concatenate([phase.ravel() for phase in phases]), device),
        _on(spread("bias", 0), device),
        _on(rule, device),
        wide,
        total,
        kernel,
        kind,
        limit,
    )


def pack_tables(tensors: Tensors, prob_bits: int, device: torch.device) -> PackedTables:
    size = tensors["tables.size"].astype(np.int64)
    starts = tensors["tables.starts"].astype(np.int64)
    ends = np.append(starts[1:], 0)
    ends[np.cumsum(size + 1) - 1] = 1 << prob_bits
    first = np.concatenate([[0], np.cumsum(size + 2)[:-1]])
    lasts = np.full(int((size + 2).sum()), 0xFFFF, np.uint16)
    inner = np.ones(len(lasts), bool)
    inner[first] = False
    lasts[inner] = ends - 1
    info = np.stack([tensors["tables.low"].astype(np.int64), size, first, np.zeros_like(size)], axis=1).astype(np.int32)
    return PackedTables(_on(info, device), _on(lasts.view(np.int16), device), int(size.max()).bit_length())


def pack_model(config: ModelConfig, tensors: Tensors, device: torch.device) -> PackedModel:
    """tensors: the `entropy.*` ones, without prefix, that check_entropy has passed."""
    c, limit = config, config.activation_limit
    groups = 2 if c.means else 1
    scales = z_input = context_input = context = hyper = None
    h_s: tuple[PackedLayer, ...] = ()
    parameters: tuple[PackedLayer, ...] = ()
    if c.conditional:
        thresholds = tensors["scale.thresholds"]
        count = len(thresholds)
        some = thresholds if count else np.zeros(1, np.int32)  # so that there is an address
        row, drop = _on(tensors["scale.row"], device), _on(tensors["scale.drop"], device)
        scales = PackedScales(_on(some, device), row, drop, count, count.bit_length())
    if c.hyper_latents:
        add = tensors["z_offset"]
        parts = np.full_like(add, 1 << c.z_bits), add, np.zeros_like(add)
        z_input = PackedInput(*(_on(part, device) for part in parts))
        transposed = [pack_layer(tensors, f"h_s.{i}", limit, device, "transposed") for i in (0, 2)]
        last = (limit, device) if c.context else (PARAMETER_LIMIT, device)
        h_s = (*transposed, pack_layer(tensors, "h_s.4", *last, groups=1 if c.context else groups))
    if c.context:
        context_input = PackedInput(*(_on(tensors[f"context_input.{part}"], device) for part in ("mul", "add", "shift")))
        context = pack_layer(tensors, "context_prediction", limit, device, "masked")
        features = len(tensors["h_s.4.bias"]) if c.hyper_latents else 0
        if features:
            hyper = pack_layer(tensors, "entropy_parameters.0", limit, device, inputs=slice(0, features))
        parameters = (
            pack_layer(tensors, "entropy_parameters.0", limit, device, inputs=slice(features, None)),
            pack_layer(tensors, "entropy_parameters.2", limit, device),
            pack_layer(tensors, "entropy_parameters.4", PARAMETER_LIMIT, device, groups=2),
        )
    tables = pack_tables(tensors, c.prob_bits, device)
    return PackedModel(config, tables, scales, z_input, h_s, context_input, context, hyper, parameters)


def _on(array: Array, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)  # a model file's arrays are read-only
