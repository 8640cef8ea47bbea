# SPDX-License-Identifier: Apache-2.0
"""Transforms in torch, for benchmarks."""

from __future__ import annotations

import torch
from torch import nn

from jahp_fast.models import registry
from jahp_fast.models.layers import GDN


def random_net(name: str, architecture: str, N: int, M: int) -> nn.Sequential:
    torch.manual_seed(N + M)
    net = getattr(registry.build(architecture, N, M, rows=1), name)
    for module in net:
        if isinstance(module, GDN):  # one that does something, across channels too
            module.gamma.data += 0.1 * torch.rand_like(module.gamma)
            module.beta.data += torch.rand_like(module.beta)
    return net.eval()
