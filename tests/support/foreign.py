# SPDX-License-Identifier: Apache-2.0
"""State dicts as the releases of CompressAI and common trainers write them, re-created from what is known of them."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import nn

from jahp_fast.models import registry


def tiny(architecture, N=8, M=12, seed=0):
    """A model with one row of gains of 1, latents of a few units, and medians that are not 0."""
    torch.manual_seed(seed)
    model = registry.build(architecture, N, M, rows=1).eval()
    with torch.no_grad():
        model.gain.zero_()
        model.inv_gain.zero_()
        model.g_a[6].weight.mul_(20)
        model.g_s[6].bias += 0.5
        if hasattr(model, "h_a"):
            model.h_a[4].weight.mul_(10)
            model.h_s[4].weight.mul_(3)
            model.h_s[4].bias[:M] += 2
        if hasattr(model, "entropy_parameters"):
            model.entropy_parameters[4].bias[:M] += 2
        if hasattr(model, "entropy_bottleneck"):
            model.entropy_bottleneck.quantiles[:, 0, 1] = torch.linspace(-1.3, 1.4, len(model.entropy_bottleneck.quantiles))
    return model


def state_of(model, tables=False):
    """CompressAI 1.2's state dict of a model."""
    state = {k: v.clone() for k, v in model.state_dict().items() if "gain" not in k}
    for name in [k for k in state if k.endswith((".beta", ".gamma"))]:
        state[f"{name}_reparam.pedestal"] = torch.tensor([2.0**-36])
        state[f"{name}_reparam.lower_bound.bound"] = torch.tensor([2.0**-18])
    for prefix in ("entropy_bottleneck", "gaussian_conditional"):
        if prefix == "gaussian_conditional" and not hasattr(model, "h_s"):
            continue
        if prefix == "entropy_bottleneck" and not hasattr(model, prefix):
            continue
        for name in ("_offset", "_quantized_cdf", "_cdf_length"):
            state[f"{prefix}.{name}"] = torch.tensor([], dtype=torch.int32)
        state[f"{prefix}.likelihood_lower_bound.bound"] = torch.tensor([1e-9])
    if hasattr(model, "h_s"):
        state["gaussian_conditional.scale_table"] = torch.tensor([])
        state["gaussian_conditional.scale_bound"] = torch.tensor([0.11])
        state["gaussian_conditional.lower_bound_scale.bound"] = torch.tensor([0.11])
    if hasattr(model, "entropy_bottleneck"):
        state["entropy_bottleneck.target"] = torch.tensor([-21.4, 0.0, 21.4])
    if tables:
        state |= foreign_tables(model)
    return state


def cumulative(p):
    """(n,) probabilities, the last one the escape's -> n + 1 entries from 0 to 65536, none of probability 0."""
    counts = np.maximum(1, np.floor(p / p.sum() * (65536 - len(p)))).astype(np.int64)
    counts[int(np.argmax(counts))] += 65536 - counts.sum()
    return np.concatenate([[0], np.cumsum(counts)])


def _padded(cumulatives):
    out = np.zeros((len(cumulatives), max(map(len, cumulatives))), np.int32)
    for row, values in zip(out, cumulatives, strict=True):
        row[: len(values)] = values
    return torch.from_numpy(out)


def foreign_tables(model):
    """Tables with CompressAI's conventions: symbols counted from the median, scales rounded up to one of 64."""
    from jahp_fast.export.tables import gaussian_row

    out = {}
    if hasattr(model, "entropy_bottleneck"):
        prior, reach = model.entropy_bottleneck, 20
        medians = prior.medians[:, None, None]
        steps = torch.arange(-reach, reach + 1.0)[None, None]
        with torch.no_grad():
            p = torch.sigmoid(prior.logits(medians + steps + 0.5)) - torch.sigmoid(prior.logits(medians + steps - 0.5))
        cdfs = [cumulative(np.append(row, max(1e-9, 1 - row.sum()))) for row in p[:, 0].double().numpy()]
        out |= {
            "entropy_bottleneck._quantized_cdf": _padded(cdfs),
            "entropy_bottleneck._cdf_length": torch.tensor([len(c) for c in cdfs], dtype=torch.int32),
            "entropy_bottleneck._offset": torch.full((len(cdfs),), -reach, dtype=torch.int32),
        }
    if hasattr(model, "h_s"):
        scales = np.exp(np.linspace(np.log(0.11), np.log(256), 64))
        rows = [gaussian_row(0.0, float(s), 16) for s in scales]
        cdfs = [np.append(row.starts.astype(np.int64), 65536) for row in rows]
        out |= {
            "gaussian_conditional._quantized_cdf": _padded(cdfs),
            "gaussian_conditional._cdf_length": torch.tensor([len(c) for c in cdfs], dtype=torch.int32),
            "gaussian_conditional._offset": torch.tensor([row.low for row in rows], dtype=torch.int32),
            "gaussian_conditional.scale_table": torch.tensor(scales, dtype=torch.float32),
        }
    return out


def _renamed(state, form):
    singular = {"matrices": "matrix", "biases": "bias", "factors": "factor"}

    def name(key):
        return re.sub(r"(matrices|biases|factors)\.(\d)$", lambda m: form.format(one=singular[m[1]], many=m[1], i=m[2]), key)

    return {name(key): value for key, value in state.items()}


NAMINGS = {
    "1.2": lambda s: s,
    "published": lambda s: _renamed(s, "_{one}{i}"),
    "1.1": lambda s: _renamed(s, "_{many}.{i}"),
    "half": lambda s: {k: v.half().float() if v.is_floating_point() else v for k, v in s.items()},
    "DataParallel": lambda s: {f"module.{k}": v for k, v in s.items()},
    "examples/train.py": lambda s: {"epoch": 3, "state_dict": s, "loss": torch.tensor(1.5), "optimizer": {"state": {}}},
    "a trainer": lambda s: {"model_state_dict": {f"module.{k}": v for k, v in _renamed(s, "_{one}{i}").items()}},
    "Lightning": lambda s: {"state_dict": {f"net.{k}": v for k, v in s.items()} | {"criterion.weight": torch.ones(2)}, "epoch": 1},
    "torch.compile": lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
}


class Foreign(nn.Module):
    """A module with the submodules and the state dict that CompressAI's have, and nothing of this package's methods."""

    def __init__(self, model, tables=True):
        super().__init__()
        for name, child in model.named_children():
            setattr(self, name, child)
        self._extra = foreign_tables(model) if tables else {}

    def state_dict(self, *args, **kwargs):
        return {k: v for k, v in super().state_dict(*args, **kwargs).items()} | self._extra


def serial_latents(model, x, z_hat):
    """ŷ (M, h, w) of mbt2018 as CompressAI's encoder makes it: position by position, round(y - mean) + mean, in float."""
    y = model.g_a(x)[0]
    hyper = model.h_s(z_hat)[0]
    weight = model.context_prediction.weight * model.context_prediction.mask
    channels, height, width = y.shape
    padded = y.new_zeros(1, channels, height + 4, width + 4)
    for r in range(height):
        for c in range(width):
            context = nn.functional.conv2d(padded[:, :, r : r + 5, c : c + 5], weight, model.context_prediction.bias)
            mean = model.entropy_parameters(torch.cat([hyper[None, :, r : r + 1, c : c + 1], context], 1))[0, channels:, 0, 0]
            padded[0, :, r + 2, c + 2] = (y[:, r, c] - mean).round() + mean
    return padded[0, :, 2:-2, 2:-2]
