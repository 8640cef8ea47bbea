# SPDX-License-Identifier: Apache-2.0
"""The optimisers, and the names of what they train, by which their state survives a change of parameter order."""

from __future__ import annotations

import torch
from torch import nn

from jahp_fast.train.soap import SOAP

QUANTILE_LR = 1e-3


def trained_names(model: nn.Module) -> list[str]:
    """Names of the parameters that the main optimiser trains, in its order: all but the quantiles of the factorised prior."""
    return [name for name, _ in model.named_parameters() if not name.endswith("quantiles")]


def make_optimizer(kind: str, model: nn.Module, lr: float, half: bool = False) -> torch.optim.Optimizer:
    """SOAP or Adam, over `trained_names`. half: SOAP's large products in bfloat16."""
    parameters = dict(model.named_parameters())
    weights = [parameters[name] for name in trained_names(model)]
    return torch.optim.Adam(weights, lr=lr) if kind == "adam" else SOAP(weights, lr=lr, half=half)


def make_quantile_optimizer(model: nn.Module) -> torch.optim.Optimizer | None:
    """Adam over the quantiles, for the auxiliary loss; None where a model has no factorised prior."""
    quantiles = [p for name, p in model.named_parameters() if name.endswith("quantiles")]
    return torch.optim.Adam(quantiles, lr=QUANTILE_LR) if quantiles else None
