# SPDX-License-Identifier: Apache-2.0
"""Transforms in torch and as `_native.TransformNet` takes them, for tests and benchmarks."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn

from jahp_fast.models import registry
from jahp_fast.models.layers import GDN

Layer = tuple[str, np.ndarray, np.ndarray, str, np.ndarray | None, np.ndarray | None]


def as_layers(net: nn.Sequential) -> list[Layer]:
    """What TransformNet takes, of a Sequential of convolutions with or without an activation behind each."""
    layers: list[Layer] = []
    modules = [*net, nn.Identity()]
    for module, after in itertools.pairwise(modules):
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            continue
        kind = "deconv" if isinstance(module, nn.ConvTranspose2d) else f"conv_s{module.stride[0]}"
        activation, gamma, beta = "none", None, None
        if isinstance(after, GDN):
            activation = "igdn" if after.inverse else "gdn"
            beta, gamma = (v.detach().float().numpy() for v in after.values())
        elif isinstance(after, nn.ReLU):
            activation = "relu"
        elif isinstance(after, nn.LeakyReLU):
            activation = "leaky_relu"
        assert module.bias is not None
        weight, bias = (np.ascontiguousarray(v.detach().float().numpy()) for v in (module.weight, module.bias))
        layers.append((kind, weight, bias, activation, gamma, beta))
    return layers


def random_net(name: str, architecture: str, N: int, M: int) -> nn.Sequential:
    torch.manual_seed(N + M)
    net = getattr(registry.build(architecture, N, M, rows=1), name)
    for module in net:
        if isinstance(module, GDN):  # one that does something, across channels too
            module.gamma.data += 0.1 * torch.rand_like(module.gamma)
            module.beta.data += torch.rand_like(module.beta)
    return net.eval()


def rows(x: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(x[0].permute(1, 2, 0).numpy())
