# SPDX-License-Identifier: Apache-2.0
"""Distributions of an integer latent under what the entropy model says of it: probabilities of the unit interval around it.

Each takes y (B, M, h, w) and parameters (B, K, M, h, w), K its number of values a latent, and gives probabilities of y's shape, at least
`LIKELIHOOD_BOUND`. Scales are held at `SCALE_BOUND` or above. All are symmetric about their mean, and both cumulatives are taken from the
lower tail, where their difference is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from jahp_fast.models.layers import LIKELIHOOD_BOUND, SCALE_BOUND, lower_bound, normal_cdf

Cumulative = Callable[[Tensor], Tensor]
COMPONENTS = 3
"""Of the mixture, as in Cheng et al. (CVPR 2020)."""


def laplacian_cdf(t: Tensor) -> Tensor:
    """Cumulative of the Laplacian of unit variance, accurate in the lower tail."""
    scaled = math.sqrt(2) * t
    return torch.where(t < 0, 0.5 * scaled.clamp_max(0).exp(), 1 - 0.5 * (-scaled).clamp_max(0).exp())


def logistic_cdf(t: Tensor) -> Tensor:
    """Cumulative of the logistic distribution of unit variance."""
    return torch.sigmoid(math.pi / math.sqrt(3) * t)


CUMULATIVES: dict[str, Cumulative] = {"gaussian": normal_cdf, "laplacian": laplacian_cdf, "logistic": logistic_cdf}


def interval(cdf: Cumulative, y: Tensor, scale: Tensor, mean: Tensor | None = None) -> Tensor:
    """P(y - 1/2 < Y < y + 1/2) under a symmetric distribution of standard deviation `scale` about `mean`; tensors broadcast."""
    scale = lower_bound(scale, SCALE_BOUND)
    v = (y if mean is None else y - mean).abs()
    return cdf((0.5 - v) / scale) - cdf((-0.5 - v) / scale)


def _scale_only(y: Tensor, parameters: Tensor) -> Tensor:
    return interval(normal_cdf, y, parameters[:, 0])


def _mean_scale(cdf: Cumulative) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda y, parameters: interval(cdf, y, parameters[:, 0], parameters[:, 1])


def _mixture(y: Tensor, parameters: Tensor) -> Tensor:
    scale, mean, weight = parameters.chunk(3, 1)
    return (weight.softmax(1) * interval(normal_cdf, y[:, None], scale, mean)).sum(1)


class Distribution:
    """A family of distributions.

    values: how many the entropy model gives for each latent. spread: values at the start are random to this standard deviation, so that
    the components of a mixture part.
    """

    def __init__(self, values: int, probability: Callable[[Tensor, Tensor], Tensor], scales: int = 1, spread: float = 0.0) -> None:
        self.values, self.scales, self.spread, self._probability = values, scales, spread, probability

    def likelihood(self, y: Tensor, parameters: Tensor) -> Tensor:
        """Probabilities of y (B, M, h, w) under parameters (B, values, M, h, w)."""
        return lower_bound(self._probability(y, parameters), LIKELIHOOD_BOUND)


DISTRIBUTIONS = {
    "scale-only": Distribution(1, _scale_only),
    **{name: Distribution(2, _mean_scale(cdf)) for name, cdf in CUMULATIVES.items()},
    "mixture": Distribution(3 * COMPONENTS, _mixture, COMPONENTS, spread=0.5),
}
"""By name; "mixture" has three Gaussians."""
