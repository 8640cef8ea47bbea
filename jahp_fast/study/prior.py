# SPDX-License-Identifier: Apache-2.0
"""An entropy model of the latents with its parts exchangeable: context, distribution, hyperprior. Layer sizes are those of mbt2018.

    y --------------> C ---+
    |                      EP -> values of the distribution of y_hat
    h_a -> Q -> h_s -------+

Where both C and the hyperprior are left out, each channel has one distribution of its own (the factorised prior).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jahp_fast.models.layers import EntropyBottleneck, MaskedConv2d
from jahp_fast.models.priors import conv, deconv, entropy_parameters, leaky
from jahp_fast.study.distributions import DISTRIBUTIONS

Z_SCALE = 2.0
"""Width at which z's prior begins: at the models' ten each z costs more than it is worth for hundreds of steps."""
LEAST_SCALE = 0.2
"""Standard deviation that an untrained model gives a latent at least, in steps: below, its gradients vanish."""


@dataclass(frozen=True)
class Variant:
    """One entropy model. context: side of the masked convolution, 0 for none; distribution: a name in DISTRIBUTIONS."""

    name: str
    context: int = 5
    distribution: str = "gaussian"
    hyperprior: bool = True


BASE = Variant("joint")
FACTORS: dict[str, tuple[Variant, ...]] = {
    "context": (Variant("no context", context=0), Variant("context 3x3", context=3), BASE, Variant("context 7x7", context=7)),
    "distribution": (
        Variant("scale only", distribution="scale-only"), BASE, Variant("Laplacian", distribution="laplacian"),
        Variant("logistic", distribution="logistic"), Variant("mixture of 3", distribution="mixture"),
    ),
    "hyperprior": (Variant("no hyperprior", hyperprior=False), BASE),
    "models": (
        Variant("factorised", context=0, hyperprior=False), Variant("scale hyperprior", context=0, distribution="scale-only"),
        Variant("no context", context=0), Variant("no hyperprior", hyperprior=False), BASE,
    ),
}  # fmt: skip
"""One factor at a time: each differs from BASE, the model of the paper with a 5x5 context and a Gaussian, in that factor alone. The last
family are the five models of models.priors: bmshj2018-factorized, bmshj2018-hyperprior, mbt2018-mean, mbt2018-context and mbt2018."""


def variants(factors: Iterable[str] = FACTORS) -> list[Variant]:
    """Those of some FACTORS, each once, BASE first."""
    return list(dict.fromkeys([BASE, *(v for factor in factors for v in FACTORS[factor])]))


class LatentPrior(nn.Module):
    """The entropy model that a variant describes, for hyper-latents of N channels."""

    bf16: bool
    """Train all layers but the last of the entropy parameters in bfloat16 autocast; likelihoods stay in float32."""

    def __init__(self, variant: Variant, N: int, spread: Tensor) -> None:
        """spread: (M,) standard deviation of each channel of y, where an untrained model begins."""
        super().__init__()
        M = len(spread)
        self.variant, self.M, self.bf16 = variant, M, False
        self.distribution = DISTRIBUTIONS[variant.distribution]
        self.conditional = bool(variant.context or variant.hyperprior)
        if not self.conditional:
            self.factorised = EntropyBottleneck(M)
            return
        if variant.hyperprior:
            self.h_a = nn.Sequential(conv(M, N, 3, 1), leaky(), conv(N, N), leaky(), conv(N, N))
            self.h_s = nn.Sequential(deconv(N, M), leaky(), deconv(M, M * 3 // 2), leaky(), conv(M * 3 // 2, M * 2, 3, 1))
            self.entropy_bottleneck = EntropyBottleneck(N, Z_SCALE)
        if variant.context:
            self.context_prediction = MaskedConv2d(M, 2 * M, variant.context)
        self.entropy_parameters = entropy_parameters(2 * M * (bool(variant.context) + variant.hyperprior), M)
        self._replace_last(self.distribution.values, spread)

    def _replace_last(self, values: int, spread: Tensor) -> None:
        """The last layer gives `values` a latent, grouped by value; it starts with all scales at the channels' spread, all else near 0."""
        last = nn.Conv2d(self.M * 8 // 3, self.M * values, 1)
        with torch.no_grad():
            last.weight.mul_(0.1)
            bias = torch.randn(values, self.M) * self.distribution.spread
            bias[: self.distribution.scales] = spread.clamp_min(LEAST_SCALE)
            last.bias.copy_(bias.flatten())  # type: ignore[union-attr]  # it has a bias
        self.entropy_parameters[4] = last

    def forward(self, y: Tensor, noise: bool = False) -> tuple[Tensor, Tensor]:
        """Bits of round(y) and of z_hat, (B,) each, for y (B, M, h, w), h and w multiples of 4.

        In training the bits of z are those of z plus noise, but h_s sees round(z), with a straight-through gradient: after few steps z is
        small, and an h_s that was trained on noise does much worse with what rounding leaves of it.

        noise: y has noise instead of being rounded, where its own gradient counts: the transforms are trained along.
        """
        y_hat = y + torch.rand_like(y) - 0.5 if noise else y.round()
        if not self.conditional:
            return _bits(self.factorised.likelihood(y_hat)), y.new_zeros(y.shape[0])
        fast = torch.autocast(y.device.type, torch.bfloat16, enabled=self.bf16 and self.training)
        features, z_bits = [], y.new_zeros(y.shape[0])
        if self.variant.hyperprior:
            with fast:
                z = self.h_a(y)
            z = z.float()
            z_bits = _bits(self.entropy_bottleneck(z)[1])
            z_hat = z + (z.round() - z).detach()
        with fast:
            if self.variant.hyperprior:
                features.append(self.h_s(z_hat))
            if self.variant.context:
                features.append(self.context_prediction(y_hat))
            hidden = self.entropy_parameters[:4](torch.cat(features, 1))
        values = self.entropy_parameters[4](hidden.float())
        p_y = self.distribution.likelihood(y_hat, values.unflatten(1, (self.distribution.values, self.M)))
        return _bits(p_y), z_bits


def _bits(likelihood: Tensor) -> Tensor:
    return -likelihood.log().sum((1, 2, 3)) / math.log(2)
