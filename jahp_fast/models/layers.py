# SPDX-License-Identifier: Apache-2.0
"""Layers of the mbt2018 family that torch does not have. State-dict keys are CompressAI's.

Sources: GDN: Ballé, Laparra, Simoncelli, "Density modeling of images using a generalized normalization transformation" (2016).
Factorised prior: Ballé et al., "Variational image compression with a scale hyperprior" (ICLR 2018), appendix 6.1.
Masked convolution: van den Oord et al., "Pixel recurrent neural networks" (2016), mask A.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jahp_fast.constants import GDN_BETA_MIN, GDN_PEDESTAL
from jahp_fast.models import fused

SCALE_BOUND = 0.11
"""Smallest standard deviation of a latent, in quantisation steps."""
LIKELIHOOD_BOUND = 1e-9
"""Smallest likelihood of a symbol: it costs 29.9 bits, about what an escape does."""
MOST_FUSED = 64
"""Channels of GDN that its kernel takes."""
TAIL_MASS = 1e-9
"""Probability that the outer quantiles of the factorised prior leave outside, both sides together."""

_BOTTLENECK_KEY = re.compile(r"^(.*?)_(matrix|matrices|bias|biases|factor|factors)\.?(\d+)$")
_PLURAL = {"matrix": "matrices", "bias": "biases", "factor": "factors"}
_DERIVED_KEY = re.compile(
    r"_reparam\.|(^|\.)(_offset|_quantized_cdf|_cdf_length|target|scale_table|scale_bound)$"
    r"|(likelihood_lower_bound|lower_bound_scale)\.bound$"
)


def canonical_key(key: str) -> str | None:
    """The key this package uses for a CompressAI state-dict key of any release, or None for a buffer derived from others.

    `_matrix0` and `_matrices.0` become `matrices.0` (biases and factors alike); a leading `module.` (DataParallel) is dropped.
    Derived buffers are the re-parametrisation bounds and the quantised tables.
    """
    key = key.removeprefix("module.")
    if _DERIVED_KEY.search(key):
        return None
    if match := _BOTTLENECK_KEY.match(key):
        prefix, name, index = match.groups()
        return f"{prefix}{_PLURAL.get(name, name)}.{index}"
    return key


def _canonicalise(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Load hook: renames or drops, under `prefix`, keys of other CompressAI releases."""
    for key in [k for k in state if k.startswith(prefix)]:
        name = canonical_key(key[len(prefix) :])
        if name is None:
            del state[key]
        elif prefix + name != key:
            state[prefix + name] = state.pop(key)


class _LowerBound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp_min(bound)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * ((x >= ctx.bound) | (grads[0] < 0)), None


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """max(x, bound), elementwise. Below the bound the gradient passes only where descending it would raise x."""
    y: Tensor = _LowerBound.apply(x, bound)  # type: ignore[no-untyped-call]
    return y


class GDN(nn.Module):
    """y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2), over channels; the inverse multiplies by the root instead.

    x: (B, channels, H, W) of any float type; the result is float32 (float64 for float64), also under autocast, which rounds
    nothing but the factors of the sum: neither rate nor distortion notices that. `beta` (channels,) and
    `gamma` (channels, channels) are stored as sqrt(value + 2^-36), which keeps values non-negative and their gradients small
    near zero. Values are held at 1e-6 (beta) and 0 (gamma) or above.
    """

    PEDESTAL = GDN_PEDESTAL
    BETA_MIN = GDN_BETA_MIN

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter((torch.ones(channels) + self.PEDESTAL).sqrt())
        self.gamma = nn.Parameter((0.1 * torch.eye(channels) + self.PEDESTAL).sqrt())
        self.register_load_state_dict_pre_hook(_canonicalise)  # type: ignore[no-untyped-call]

    def values(self) -> tuple[Tensor, Tensor]:
        """(beta, gamma) as they act, out of the stored square roots."""
        beta = lower_bound(self.beta, (self.BETA_MIN + self.PEDESTAL) ** 0.5) ** 2 - self.PEDESTAL
        gamma = lower_bound(self.gamma, self.PEDESTAL**0.5) ** 2 - self.PEDESTAL
        return beta, gamma

    def forward(self, x: Tensor) -> Tensor:
        kind = x.device.type
        factors = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.gamma.dtype
        if len(self.beta) <= MOST_FUSED and factors in (torch.float32, torch.bfloat16) and fused.wanted(x):
            out: Tensor = fused.gdn(x, self.beta, self.gamma, self.inverse, factors == torch.bfloat16)
            return out
        beta, gamma = self.values()
        with torch.autocast(kind, enabled=False):
            x = x.to(gamma.dtype)
            if factors == gamma.dtype:
                norm = F.conv2d(x * x, gamma[:, :, None, None], beta)
            else:
                norm = F.conv2d((x * x).to(factors), gamma[:, :, None, None].to(factors)).to(gamma.dtype) + beta[:, None, None]
            return x * (norm.sqrt() if self.inverse else norm.rsqrt())


class MaskedConv2d(nn.Conv2d):
    """A k x k convolution (k odd, stride 1, same size) that sees only the rows above and the pixels to the left: mask A.

    The k // 2 rows below the centre are never computed. `mask` is a buffer of the weight's shape, as in CompressAI, and is
    not trained.
    """

    mask: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 5) -> None:
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise ValueError(f"a masked convolution needs an odd kernel size of 3 or more, not {kernel_size}")
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        half = kernel_size // 2
        mask = torch.zeros_like(self.weight)
        mask[:, :, :half] = 1
        mask[:, :, half, :half] = 1
        self.register_buffer("mask", mask)
        with torch.no_grad():
            self.weight.mul_(mask)

    def forward(self, x: Tensor) -> Tensor:
        half = self.kernel_size[0] // 2
        return F.conv2d(F.pad(x, (half, half, half, 0)), (self.weight * self.mask)[:, :, : half + 1], self.bias)


class EntropyBottleneck(nn.Module):
    """Factorised prior: each channel has its own cumulative, sigmoid(f(x)), with f a monotonic network of widths 1-3-3-3-3-1.

    `quantiles` (channels, 1, 3) hold the median and the two points that leave `TAIL_MASS` outside; `quantile_loss` trains
    them, apart from the rest.
    """

    FILTERS = (3, 3, 3, 3)

    def __init__(self, channels: int, init_scale: float = 10.0) -> None:
        super().__init__()
        widths = (1, *self.FILTERS, 1)
        scale = init_scale ** (1 / (len(widths) - 1))
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for a, b in itertools.pairwise(widths):
            self.matrices.append(nn.Parameter(torch.full((channels, b, a), math.log(math.expm1(1 / scale / b)))))
            self.biases.append(nn.Parameter(torch.empty(channels, b, 1).uniform_(-0.5, 0.5)))
            if b > 1:  # no non-linearity after the last layer but the sigmoid
                self.factors.append(nn.Parameter(torch.zeros(channels, b, 1)))
        self.quantiles = nn.Parameter(torch.tensor([-init_scale, 0.0, init_scale]).repeat(channels, 1, 1))
        self.register_load_state_dict_pre_hook(_canonicalise)  # type: ignore[no-untyped-call]

    @property
    def medians(self) -> Tensor:
        """(channels,), without gradient."""
        return self.quantiles[:, 0, 1].detach()

    def logits(self, x: Tensor, frozen: bool = False) -> Tensor:
        """x (channels, 1, n) -> f(x) of the same shape; the cumulative is its sigmoid. With `frozen`, only x gets a gradient."""
        for i, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            x = F.softplus(matrix.detach() if frozen else matrix) @ x + (bias.detach() if frozen else bias)
            if i < len(self.factors):
                factor = self.factors[i].detach() if frozen else self.factors[i]
                x = x + factor.tanh() * x.tanh()
        return x

    def likelihood(self, z: Tensor) -> Tensor:
        """P(z - 1/2 < Z < z + 1/2), elementwise, for z (B, channels, h, w), at least `LIKELIHOOD_BOUND`."""
        if z.dtype == torch.float32 and fused.wanted(z):
            out: Tensor = fused.factorised(z, [*self.matrices, *self.biases, *self.factors], LIKELIHOOD_BOUND)
            return out
        v = z.transpose(0, 1).reshape(z.shape[1], 1, -1)
        low, high = self.logits(v - 0.5), self.logits(v + 0.5)
        # Never 0, where a density is symmetric about z.
        sign = torch.where(low + high > 0, -1.0, 1.0)  # both sigmoids on the side where they are small and their difference is exact
        p = lower_bound((torch.sigmoid(sign * high) - torch.sigmoid(sign * low)).abs(), LIKELIHOOD_BOUND)
        return p.reshape(z.shape[1], z.shape[0], *z.shape[2:]).transpose(0, 1)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, channels, h, w) -> z_hat and likelihoods of that shape; z_hat is z plus noise in training, round(z) otherwise."""
        z_hat = z + torch.rand_like(z) - 0.5 if self.training else z.round()
        return z_hat, self.likelihood(z_hat)

    def quantile_loss(self) -> Tensor:
        """Scalar; its gradient reaches `quantiles` alone."""
        t = math.log(2 / TAIL_MASS - 1)
        return (self.logits(self.quantiles, frozen=True) - self.quantiles.new_tensor([-t, 0.0, t])).abs().sum()


def normal_cdf(t: Tensor) -> Tensor:
    """Standard normal cumulative, accurate in the lower tail."""
    return 0.5 * torch.erfc(-(2**-0.5) * t)


def gaussian_likelihood(y: Tensor, scale: Tensor, mean: Tensor | None = None) -> Tensor:
    """P(y - 1/2 < Y < y + 1/2) for Y ~ N(mean, scale^2), elementwise. All tensors broadcast; mean None is 0.

    The scale is held at `SCALE_BOUND` or above, the result at `LIKELIHOOD_BOUND`.
    """
    if y.dtype == scale.dtype == torch.float32 and y.shape == scale.shape and fused.wanted(y):
        out: Tensor = fused.gaussian(y, scale, mean, SCALE_BOUND, LIKELIHOOD_BOUND)
        return out
    scale = lower_bound(scale, SCALE_BOUND)
    v = (y if mean is None else y - mean).abs()  # the density is symmetric: both cumulatives from the lower tail
    return lower_bound(normal_cdf((0.5 - v) / scale) - normal_cdf((-0.5 - v) / scale), LIKELIHOOD_BOUND)


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def rounded(x: Tensor) -> Tensor:
    """round(x), whose gradient passes as if nothing had been rounded."""
    y: Tensor = _Rounded.apply(x)  # type: ignore[no-untyped-call]
    return y


Rows = Tensor | range
"""Rows of a table, counted from 0: a vector, or neighbours, which are views and so cost a GPU nothing."""


def rows_at(table: Tensor, q: Rows) -> Tensor:
    """Rows of `table` (rows, ...) at q (B,) -> (B, ...); a fractional q interpolates linearly between neighbours."""
    if isinstance(q, range):
        return table[q.start : q.stop]
    if not q.is_floating_point():
        return table[q]
    low = q.floor().clamp(0, max(0, table.shape[0] - 2)).long()
    high = (low + 1).clamp_max(table.shape[0] - 1)
    share = (q - low).to(table.dtype).reshape(-1, *[1] * (table.ndim - 1))
    return torch.lerp(table[low], table[high], share)


class DeconvByRow(nn.Module):
    """A transposed convolution with a weight and a bias for each row of the gains, linear between them: keys `0.weight` and so on."""

    def __init__(self, layer: nn.ConvTranspose2d, rows: int) -> None:
        super().__init__()
        for row in range(rows):  # all begin alike
            self.add_module(str(row), copy.deepcopy(layer))

    def at(self, q: Rows) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Weights (k, in, out, 5, 5) and biases (k, out) at q (k,)."""
        layers = [cast(nn.ConvTranspose2d, layer) for layer in self.children()]
        weights, biases = [layer.weight for layer in layers], [cast(Tensor, layer.bias) for layer in layers]
        if isinstance(q, range):
            return weights[q.start : q.stop], biases[q.start : q.stop]
        return rows_at(torch.stack(weights), q).unbind(), rows_at(torch.stack(biases), q).unbind()

    def forward(self, x: Tensor, q: Rows) -> Tensor:
        """x (B, in, h, w), q (k,), k a divisor of B, each for B / k neighbours -> (B, out, 2 h, 2 w)."""
        weights, biases = self.at(q)
        parts = x.chunk(len(q))
        return torch.cat([F.conv_transpose2d(part, w, b, 2, 2, 1) for part, w, b in zip(parts, weights, biases, strict=True)])
