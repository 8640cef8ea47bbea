# SPDX-License-Identifier: Apache-2.0
"""As peers_calibrate.py, for the architectures without a context model: random weights whose latents look like a trained model's.

`y` spans ±25 with channels that decay, as there. A factorised prior gets the logistic density of each channel, with medians that are
not 0; scales and means of the others are the ridge regression of `y` on the last hidden layer of h_s. Runs in the peers' environment.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from peers_calibrate import (
    Y_FLOOR,
    Y_PEAK,
    fit_prior,
    generator,
    heads,
    logistic_prior,
    normalised,
    round_to_half,
    z_deviations,
)
from torch import Tensor
from torch.nn import functional as F

DECAY = 5.0  # deviations of y fall as exp(−5·rank/(M−1)): between 0.3 and 1 bpp on a photo


def calibrate_prior(model: Any, x: Tensor, seed: int = 1) -> None:
    """Rewrite the weights of a bmshj2018-factorized, bmshj2018-hyperprior or mbt2018-mean in place.

    x: float (1, 3, H, W) in [0, 1], H and W multiples of 64. Deterministic for a seed, a model and a thread count.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 4:
                bound = 1 / math.sqrt(parameter[0].numel())
                parameter.copy_((torch.rand(parameter.shape, generator=generator(seed, name)) * 2 - 1) * bound)
            elif name.endswith(".bias"):
                parameter.zero_()
        m = model.g_a[6].bias.numel()
        deviations = torch.exp(-DECAY * torch.randperm(m, generator=generator(seed, "rank")) / max(m - 1, 1))
        unit = normalised(model.g_a, x)
        deviations *= Y_PEAK / float((unit * deviations.view(1, -1, 1, 1)).abs().max())
        deviations.clamp_min_(Y_FLOOR)
        model.g_a[6].weight.mul_(deviations.view(-1, 1, 1, 1))
        model.g_a[6].bias.mul_(deviations)
        normalised(model.g_s, unit, 0.2, 0.5)
        y = unit * deviations.view(1, -1, 1, 1)
        if hasattr(model, "h_a"):
            fit_prior(model.entropy_bottleneck, *logistic_prior(z_deviations(model, seed), seed))
            _fit_hyperprior(model, y, seed)
            round_to_half(model.g_a, model.h_a, model.g_s)
        else:
            scale, offset = logistic_prior(deviations, seed)
            fit_prior(model.entropy_bottleneck, scale, offset)
            _move_medians(model, seed)
            round_to_half(model.g_a, model.g_s)


def _move_medians(model: Any, seed: int) -> None:
    """Shift y and its density by up to half a step: CompressAI then codes round(y - median)."""
    prior = model.entropy_bottleneck
    medians = torch.rand(len(prior.quantiles), generator=generator(seed, "medians")) - 0.5
    model.g_a[6].bias.add_(medians)
    prior.biases[0].sub_(F.softplus(prior.matrices[0]) @ medians.view(-1, 1, 1))
    prior.quantiles.add_(medians.view(-1, 1, 1))


def _fit_hyperprior(model: Any, y: Tensor, seed: int) -> None:
    """Normalise h_a and h_s for these latents, and regress the last layer of h_s (3x3) on its inputs."""
    means = model.h_s[4].bias.numel() == 2 * y.shape[1]
    z = torch.round(normalised(model.h_a, y if means else y.abs(), z_deviations(model, seed)))
    hidden = model.h_s[3](normalised(model.h_s[:3], z))[:, :, : y.shape[2], : y.shape[3]]
    features = F.unfold(hidden, 3, padding=1)[0].T  # (h·w, channels·9), in the order of a convolution's weights
    target = y[0].flatten(1).T
    weight, bias = heads(features, target, means=means)
    model.h_s[4].weight.copy_(weight.view_as(model.h_s[4].weight))
    model.h_s[4].bias.copy_(bias)
