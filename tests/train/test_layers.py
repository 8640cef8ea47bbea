# SPDX-License-Identifier: Apache-2.0
"""Each layer against its formula, written out a second time with loops and the standard library."""

import math

import pytest
import torch

from jahp_fast.models.layers import (
    GDN,
    LIKELIHOOD_BOUND,
    SCALE_BOUND,
    EntropyBottleneck,
    MaskedConv2d,
    canonical_key,
    gaussian_likelihood,
    lower_bound,
)


def test_lower_bound_gradient():
    x = torch.tensor([-1.0, 0.5, 1.0, 2.0], requires_grad=True)
    y = lower_bound(x, 1.0)
    assert y.tolist() == [1.0, 1.0, 1.0, 2.0]
    y.backward(torch.tensor([1.0, -1.0, 1.0, 1.0]))
    # Below the bound only the negative gradient, whose descent raises x, comes through.
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, -1.0, 1.0, 1.0]


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_is_its_formula(inverse):
    torch.manual_seed(0)
    layer = GDN(3, inverse).double()
    with torch.no_grad():
        layer.beta.copy_(torch.tensor([0.9, 1e-9, 1.3]))  # the second lies below its bound and acts as 1e-6
        layer.gamma.copy_(torch.rand(3, 3, dtype=torch.float64) * 0.5)
        layer.gamma[0, 1] = -0.3  # below its bound: acts as 0
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    out = layer(x)
    beta = [max(b, math.sqrt(1e-6 + 2**-36)) ** 2 - 2**-36 for b in layer.beta.tolist()]
    gamma = [[max(g, 2**-18) ** 2 - 2**-36 for g in row] for row in layer.gamma.tolist()]
    for b in range(2):
        for r in range(4):
            for c in range(5):
                v = x[b, :, r, c].tolist()
                for i in range(3):
                    root = math.sqrt(beta[i] + sum(gamma[i][j] * v[j] ** 2 for j in range(3)))
                    want = v[i] * root if inverse else v[i] / root
                    assert out[b, i, r, c].item() == pytest.approx(want, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_under_autocast_rounds_its_sum_alone(inverse):
    torch.manual_seed(0)
    layer, x = GDN(8, inverse), torch.randn(2, 8, 5, 7)
    with torch.no_grad():
        layer.gamma.add_(torch.rand(8, 8))
        wanted = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(x)
    assert y.dtype == torch.float32
    assert not torch.equal(y, wanted)
    assert torch.allclose(y, wanted, rtol=2**-8, atol=0)  # two factors of 8 bits, under a root


def test_gdn_starts_as_published():
    beta, gamma = GDN(4).values()
    assert torch.allclose(beta, torch.ones(4), atol=1e-6)
    assert torch.allclose(gamma, 0.1 * torch.eye(4), atol=1e-6)


@pytest.mark.parametrize("size", [3, 5, 7])
def test_masked_conv_counts_its_taps(size):
    layer = MaskedConv2d(2, 3, size)
    taps = size * size // 2
    assert int(layer.mask.sum()) == 2 * 3 * taps
    assert layer.mask[0, 0].flatten().tolist() == [1.0] * taps + [0.0] * (size * size - taps)
    assert int((layer.weight != 0).sum()) == 2 * 3 * taps


@pytest.mark.parametrize("size", [3, 5])
def test_masked_conv_sees_the_past_alone(size):
    torch.manual_seed(1)
    layer = MaskedConv2d(2, 3, size)
    with torch.no_grad():
        layer.weight.copy_(torch.randn_like(layer.weight))  # also where the mask is 0
    x = torch.randn(1, 2, 7, 8)
    before = layer(x)
    x[0, :, 3, 4] += 1.0
    changed = (layer(x) != before).any(1)[0]
    half = size // 2
    for r in range(7):
        for c in range(8):
            reached = (0 < r - 3 <= half and abs(c - 4) <= half) or (r == 3 and 0 < c - 4 <= half)
            assert bool(changed[r, c]) == reached, (r, c)


def test_masked_conv_equals_the_full_convolution():
    torch.manual_seed(2)
    layer = MaskedConv2d(3, 4, 5).double()
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    full = torch.nn.functional.conv2d(x, layer.weight * layer.mask, layer.bias, padding=2)
    assert torch.allclose(layer(x), full, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("size", [1, 4, 0])
def test_masked_conv_refuses_a_kernel_without_centre(size):
    with pytest.raises(ValueError, match="odd kernel"):
        MaskedConv2d(1, 1, size)


def spread_bottleneck(channels: int) -> EntropyBottleneck:
    torch.manual_seed(3)
    layer = EntropyBottleneck(channels).double()
    with torch.no_grad():
        for p in [*layer.biases, *layer.factors]:
            p.add_(torch.randn_like(p) * 0.3)
    return layer.eval()


def test_bottleneck_is_a_distribution():
    layer = spread_bottleneck(4)
    grid = torch.arange(-400.0, 401.0, dtype=torch.float64).repeat(4, 1).reshape(1, 4, 1, -1)
    p = layer.likelihood(grid).detach()
    # Every one of the 801 values is held at LIKELIHOOD_BOUND, which adds at most that much each.
    assert p.sum(3).flatten().tolist() == pytest.approx([1.0] * 4, abs=1e-6)
    assert float(p.min()) >= LIKELIHOOD_BOUND


def test_bottleneck_likelihood_integrates_the_density():
    layer = spread_bottleneck(3)
    v = torch.linspace(-2.5, 2.5, 5001, dtype=torch.float64).repeat(3, 1)[:, None].requires_grad_()
    cumulative = torch.sigmoid(layer.logits(v))
    (density,) = torch.autograd.grad(cumulative.sum(), v)
    assert float(density.detach().min()) > 0  # monotonic
    for z in (-2, 0, 1):
        inside = density[:, 0, (z + 2) * 1000 : (z + 3) * 1000 + 1].detach()
        integral = torch.trapezoid(inside, dx=0.001, dim=1)
        p = layer.likelihood(torch.full((1, 3, 1, 1), float(z), dtype=torch.float64)).flatten()
        assert torch.allclose(p, integral, rtol=1e-5)


def test_bottleneck_by_hand():
    """One channel's logits, layer by layer, with Python floats."""
    layer = spread_bottleneck(2)
    h = [0.7]
    for k in range(5):
        matrix, bias = layer.matrices[k][1].tolist(), layer.biases[k][1].tolist()
        weights = [[math.log1p(math.exp(w)) for w in row] for row in matrix]
        h = [sum(w * a for w, a in zip(row, h, strict=True)) + b[0] for row, b in zip(weights, bias, strict=True)]
        if k < 4:
            h = [a + math.tanh(f[0]) * math.tanh(a) for a, f in zip(h, layer.factors[k][1].tolist(), strict=True)]
    assert layer.logits(torch.full((2, 1, 1), 0.7, dtype=torch.float64))[1].item() == pytest.approx(h[0], rel=1e-12)


def test_bottleneck_rounds_only_outside_training():
    layer = EntropyBottleneck(2)
    z = torch.tensor([0.4, 1.6]).reshape(1, 2, 1, 1)
    with torch.no_grad():
        layer.quantiles[:, :, 1] = 0.3  # the median shifts nothing
    assert layer.eval()(z)[0].flatten().tolist() == [0.0, 2.0]
    torch.manual_seed(0)
    noise = layer.train()(z.expand(1, 2, 50, 50))[0] - z
    assert -0.5 <= float(noise.detach().min()) < -0.45
    assert 0.45 < float(noise.detach().max()) <= 0.5


def test_quantile_loss_finds_the_quantiles():
    torch.manual_seed(4)
    layer = EntropyBottleneck(2, init_scale=1.0)
    optimizer = torch.optim.Adam([layer.quantiles], lr=0.2)
    first = float(layer.quantile_loss().detach())
    for _ in range(400):
        optimizer.zero_grad()
        loss = layer.quantile_loss()
        loss.backward()
        optimizer.step()
    assert all(p.grad is None for n, p in layer.named_parameters() if n != "quantiles")
    cumulative = torch.sigmoid(layer.logits(layer.quantiles)).detach()
    assert float(loss.detach()) < 0.1 * first
    assert cumulative[:, 0, 1].tolist() == pytest.approx([0.5, 0.5], abs=0.05)
    assert torch.allclose(layer.medians, layer.quantiles[:, 0, 1])


def test_gaussian_likelihood_against_erf():
    def cdf(t: float) -> float:
        return 0.5 * math.erfc(-t / math.sqrt(2))

    y = torch.tensor([0.0, 3.0, -2.0, 40.0, 1.0], dtype=torch.float64)
    scale = torch.tensor([1.0, 0.7, 0.01, 0.5, 30.0], dtype=torch.float64)
    mean = torch.tensor([0.25, 2.6, -1.8, 0.0, -5.0], dtype=torch.float64)
    p = gaussian_likelihood(y, scale, mean).tolist()
    for got, a, s, m in zip(p, y.tolist(), scale.tolist(), mean.tolist(), strict=True):
        width = max(s, SCALE_BOUND)
        want = max(LIKELIHOOD_BOUND, cdf((a - m + 0.5) / width) - cdf((a - m - 0.5) / width))
        assert got == pytest.approx(want, rel=1e-9)
    assert gaussian_likelihood(y, scale).tolist() == pytest.approx(gaussian_likelihood(y, scale, torch.zeros(5)).tolist())


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("entropy_bottleneck._matrix0", "entropy_bottleneck.matrices.0"),
        ("entropy_bottleneck._bias4", "entropy_bottleneck.biases.4"),
        ("module.entropy_bottleneck._factors.3", "entropy_bottleneck.factors.3"),
        ("entropy_bottleneck.matrices.2", "entropy_bottleneck.matrices.2"),
        ("g_a.1.beta_reparam.lower_bound.bound", None),
        ("entropy_bottleneck._quantized_cdf", None),
        ("gaussian_conditional.scale_table", None),
        ("gaussian_conditional.lower_bound_scale.bound", None),
        ("g_a.0.bias", "g_a.0.bias"),
    ],
)
def test_canonical_key(key, name):
    assert canonical_key(key) == name


@pytest.mark.parametrize("joined", [True, False])
def test_bottleneck_loads_older_names(joined):
    old, new = spread_bottleneck(2), EntropyBottleneck(2).double()
    singular = {"matrices": "matrix", "biases": "bias", "factors": "factor"}
    state = {}
    for key, value in old.state_dict().items():
        stem, _, index = key.partition(".")
        name = key if not index else f"_{singular[stem]}{index}" if joined else f"_{stem}.{index}"
        state[name] = value
    new.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))


def test_gdn_ignores_derived_buffers():
    layer = GDN(2)
    derived = {"beta_reparam.pedestal": torch.ones(1), "gamma_reparam.lower_bound.bound": torch.ones(1)}
    layer.load_state_dict({**layer.state_dict(), **derived})
