# SPDX-License-Identifier: Apache-2.0
"""The native transforms beside torch's modules in double precision, and their binding. csrc/tests/test_transform_net.cpp has the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_layers import as_layers, random_net, rows

from jahp_fast import ModelError, UsageError, _native

ISAS = _native.isa_names()


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


def test_a_net_in_parts():
    first, second = (as_layers(random_net("g_s", "mbt2018", 9, 13)) for _ in range(2))
    x = np.random.default_rng(0).normal(0, 2, (5, 6, 13)).astype(np.float32)
    for isa in ISAS:
        head = _native.TransformNet(first[:2], isa)
        for tail in (first[2:], second[2:], []):
            assert np.array_equal(head.followed_by(tail).run(x), _native.TransformNet([*first[:2], *tail], isa).run(x))
    with pytest.raises(ModelError, match="13 input channels; the layer before it has 9"):
        head.followed_by([second[0]])
    with pytest.raises(UsageError, match=r"layer 0 must be \(kind"):
        head.followed_by([second[3][:4]])


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
