# SPDX-License-Identifier: Apache-2.0
"""The kernels of training in Triton's interpreter, against autograd of the layers; and how few calls a whole step takes with them.

Tolerances: a millionth of the largest value in float32, a hundredth where factors of a sum are bfloat16 on both sides.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from jahp_fast.kernels import gdn as gdn_kernels
from jahp_fast.kernels import likelihoods
from jahp_fast.models import fused
from jahp_fast.models.layers import GDN, EntropyBottleneck, gaussian_likelihood
from jahp_fast.models.registry import build
from jahp_fast.train.captured import clip
from jahp_fast.train.loss import RateDistortion, ladder
from jahp_fast.train.optimizer import trained_names
from jahp_fast.train.soap import SOAP

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def switch(monkeypatch):
    """Turns the kernels on and off, wherever the tensors lie."""
    return lambda on: monkeypatch.setattr(fused, "wanted", lambda x: on)


def channels_last(*shape):
    return torch.randn(shape, device=DEVICE).contiguous(memory_format=torch.channels_last).requires_grad_()


def assert_as_autograd(switch, run, inputs, tolerance):
    """run() and its gradients, with the kernels and without."""
    results = []
    for on in (True, False):
        switch(on)
        out = run()
        grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(DEVICE)
        results.append([out.detach(), *torch.autograd.grad(out, inputs, grad)])
    assert results[0][0].is_contiguous(memory_format=torch.channels_last)
    for got, want in zip(*results, strict=True):
        assert got.shape == want.shape
        assert got.dtype == want.dtype
        assert float((got - want).abs().max()) <= tolerance * float(want.abs().max())


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize(("channels", "half"), [(5, False), (24, True)])
def test_gdn(switch, inverse, channels, half):
    """Gamma at and below its bound; positions that are no multiple of a block, and several programs."""
    torch.manual_seed(0)
    layer = GDN(channels, inverse).to(DEVICE)
    with torch.no_grad():
        layer.gamma.copy_(torch.rand(channels, channels) * 0.3 - 0.02)
        layer.beta.uniform_(0, 1.2)
    x = channels_last(1, channels, 7, 11)

    def run():
        with torch.autocast(DEVICE, torch.bfloat16, enabled=half):
            return layer(x)

    assert_as_autograd(switch, run, [x, layer.beta, layer.gamma], 1e-2 if half else 2e-6)


def test_gdn_without_triton_is_the_same_formula():
    torch.manual_seed(0)
    x, dy = torch.randn(2, 2, 6, 5, 3).unbind()
    beta, gamma = torch.rand(6) + 0.1, torch.rand(6, 6) * 0.2 - 0.01
    for inverse in (False, True):
        layer = GDN(6, inverse)
        layer.load_state_dict({"beta": beta, "gamma": gamma})
        x.requires_grad_()
        want = [layer(x), *torch.autograd.grad(layer(x), [x, layer.beta, layer.gamma], dy)]
        x.requires_grad_(False)
        got = [gdn_kernels.gdn_reference(x, beta, gamma, inverse, False),
               *gdn_kernels.gdn_backward_reference(x, dy, beta, gamma, inverse, False)]  # fmt: skip
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mean", [True, False])
def test_gaussian(switch, mean):
    """Latents out in the tails, scales at their bound; scale and mean are halves of one tensor, as the models give them."""
    torch.manual_seed(0)
    y = channels_last(2, 7, 3, 5)
    with torch.no_grad():
        y *= 4
    halves = torch.randn(2, 14, 3, 5, device=DEVICE).contiguous(memory_format=torch.channels_last).requires_grad_()

    def run():
        scale, middle = halves.chunk(2, 1)
        return gaussian_likelihood(y, scale, middle if mean else None)

    assert_as_autograd(switch, run, [y, halves], 2e-6)


def test_factorised(switch):
    torch.manual_seed(0)
    prior = EntropyBottleneck(2).to(DEVICE)
    with torch.no_grad():
        for p in prior.parameters():
            p.add_(0.4 * torch.randn_like(p))
    z = channels_last(1, 2, 6, 5)
    with torch.no_grad():
        z *= 6
    parameters = [p for name, p in prior.named_parameters() if name != "quantiles"]
    assert_as_autograd(switch, lambda: prior.likelihood(z), [z, *parameters], 1e-5)


def test_where_they_are_used(monkeypatch):
    x = torch.zeros(1, 4, 2, 2)
    assert not fused.wanted(x)  # on a CPU

    class There:
        device, dtype = torch.device("cuda"), torch.float32

    assert fused.wanted(There())
    with torch.no_grad():
        assert not fused.wanted(There())
    There.dtype = torch.float64
    assert not fused.wanted(There())
    There.dtype = torch.bfloat16
    try:
        fused.use(False)
        assert not fused.wanted(There())
        fused.use(True)
        assert fused.wanted(There())
    finally:
        fused.use(True)


class Calls(TorchDispatchMode):
    """Counts what would be launched on a device: calls that compute something. An operator of a kernel is one, GDN's backward two."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        name = function._schema.name
        idle = function.is_view or name.startswith("aten::empty") or name in (
            "aten::_unsafe_view", "aten::_reshape_alias", "aten::new_empty_strided", "aten::new_empty")  # fmt: skip
        self.number += 0 if idle else 2 if name == "jahp_fast::gdn_backward" else 1
        return out


def test_a_whole_step_takes_few_calls(switch, monkeypatch):
    """The shipped model's layers in float32: forward, backward, clipping and SOAP. It was 949 before, with the same rule of counting."""
    same = {"gdn": lambda x, *_: torch.ones_like(x), "gdn_backward": lambda x, dy, b, g, *_: tuple(map(torch.zeros_like, (x, b, g)))}
    for name, stand_in in same.items():
        monkeypatch.setattr(gdn_kernels, name, stand_in)
    for name, stand_in in {
        "gaussian": lambda y, *_: torch.full_like(y, 0.5),
        "gaussian_backward": lambda y, *_: tuple(torch.zeros_like(y) for _ in range(3)),
        "factorised": lambda z, *_: torch.full_like(z, 0.5),
        "factorised_backward": lambda z, dp, parameters, _: [torch.zeros_like(t) for t in (z, *parameters)],
    }.items():
        monkeypatch.setattr(likelihoods, name, stand_in)
    torch.manual_seed(0)
    model = build("mbt2018", 8, 24, rows=8).to(memory_format=torch.channels_last)
    parameters = dict(model.named_parameters())
    weights = [parameters[name] for name in trained_names(model)]
    optimizer, loss = SOAP(weights, lr=1e-4), RateDistortion("mse", ladder("mse", 8))
    x = torch.rand(8, 3, 64, 64).contiguous(memory_format=torch.channels_last)

    def step():
        optimizer.zero_grad()
        loss(model, x, range(8)).total.backward()
        clip(weights, 2.0)
        optimizer.descend([torch.tensor(size) for size in optimizer.advance()])

    switch(False)
    step()
    step()
    numbers = []
    for on in (False, True):
        switch(on)
        step()
        with Calls() as calls:
            step()
        numbers.append(calls.number)
    assert numbers[0] > 550
    assert 250 < numbers[1] < 400
