# SPDX-License-Identifier: Apache-2.0
"""The native transforms beside torch's modules in double precision, and their binding. csrc/tests/test_transform_net.cpp has the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from jahp_fast import ModelError, UsageError, _native
from jahp_fast.models import registry
from jahp_fast.models.layers import GDN

ISAS = _native.isa_names()
Layer = tuple[str, np.ndarray, np.ndarray, str, np.ndarray | None, np.ndarray | None]


def as_layers(net: nn.Sequential) -> list[Layer]:
    """What TransformNet takes, of a Sequential of convolutions with or without an activation behind each."""
    layers: list[Layer] = []
    modules = [*net, nn.Identity()]
    for module, after in zip(modules, modules[1:], strict=False):
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
        weight, bias = (v.detach().float().numpy() for v in (module.weight, module.bias))
        layers.append((kind, weight, bias, activation, gamma, beta))
    return layers


def random_net(name: str, architecture: str, N: int, M: int) -> nn.Sequential:
    torch.manual_seed(N + M)
    net = getattr(registry.build(architecture, N, M), name)
    for module in net:
        if isinstance(module, GDN):  # one that does something, across channels too
            module.gamma.data += 0.1 * torch.rand_like(module.gamma)
            module.beta.data += torch.rand_like(module.beta)
    return net.eval()


def rows(x: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(x[0].permute(1, 2, 0).numpy())


@pytest.mark.parametrize(("N", "M"), [(32, 48), (5, 9)])
@pytest.mark.parametrize(
    ("name", "architecture", "size"),
    [("g_a", "mbt2018", (53, 83)), ("g_s", "mbt2018", (5, 6)), ("h_a", "mbt2018", (9, 6)), ("h_a", "bmshj2018-hyperprior", (3, 5))],
)
def test_transforms_are_torchs(name, architecture, size, N, M):
    net = random_net(name, architecture, N, M)
    x = torch.rand(1, 3, *size) if name == "g_a" else 4 * torch.randn(1, M, *size)
    with torch.no_grad():
        want = rows(net.double()(x.double()))
    layers = as_layers(net)
    for isa in ISAS:
        native = _native.TransformNet(layers, isa)
        got = native.run(rows(x))
        assert got.shape == want.shape
        assert got.dtype == np.float32
        assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max(), isa
        stream = native.stream(*size)
        strips = [stream.push(rows(x)[first : first + 4], threads=2) for first in range(0, size[0], 4)]
        strips.append(stream.finish())
        assert np.array_equal(np.concatenate(strips), got), isa


def test_what_is_refused():
    weight, bias = np.zeros((8, 4, 5, 5), np.float32), np.zeros(8, np.float32)
    gamma, beta = np.zeros((8, 8), np.float32), np.ones(8, np.float32)
    net = _native.TransformNet([("conv", weight, bias, "gdn", gamma, beta)])
    assert net.run(np.zeros((3, 6, 4), np.float32)).shape == (2, 3, 8)
    for layer, error, what in (
        (("conf", weight, bias, "none", None, None), UsageError, "layer 0: kind conf"),
        (("conv", weight, bias, "tanh", None, None), UsageError, "activation tanh"),
        (("conv", weight, bias, "gdn", None, beta), UsageError, "needs gamma and beta"),
        (("conv", weight.astype(np.float64), bias, "none", None, None), UsageError, "layer 0: weight must be .* of float32"),
        (("conv", weight[..., :3], bias, "none", None, None), UsageError, "C-contiguous"),
        (("conv", weight[..., :3].copy(), bias, "none", None, None), ModelError, "not square"),
        (("conv", weight, bias[:4], "none", None, None), ModelError, "weight and bias differ"),
        (("conv", weight, bias, "gdn", gamma[:4], beta), ModelError, "gamma and beta"),
        (("deconv", weight[:, :, :3, :3].copy(), bias[:4], "none", None, None), ModelError, "kernel of 3"),
    ):
        with pytest.raises(error, match=what):
            _native.TransformNet([layer])
    with pytest.raises(ModelError, match="needs a layer"):
        _native.TransformNet([])
    stream = net.stream(4, 6)
    for bad in (np.zeros((2, 5, 4), np.float32), np.zeros((2, 6, 3), np.float32), np.zeros((5, 6, 4), np.float32), np.zeros((2, 6, 4))):
        with pytest.raises(UsageError):
            stream.push(bad)
    with pytest.raises(UsageError, match="threads"):
        stream.push(np.zeros((1, 6, 4), np.float32), threads=0)
    with pytest.raises(UsageError, match="4 of the 4 rows of the map are missing"):
        stream.finish()
    with pytest.raises(UsageError, match="impossible"):
        net.stream(0, 4)
