# SPDX-License-Identifier: Apache-2.0
"""Random mbt2018 weights whose latents look like a trained model's: a fair load to time decoders with.

Full-size trained weights cannot be shipped, and freshly initialised ones make an unfair load: their latents are all zero, or
all in the escape range. `calibrate` rescales a seeded random network, layer by layer on one photo, so that

- every hidden channel has mean 0 and deviation 1 (nothing saturates in 8 bits);
- `y` spans ±25 and its channels' deviations decay geometrically, which is what sets the payload;
- means and scales are the ridge regression of `y` on the network's own last hidden layer, so they follow the latents as a trained
  model's do; the ridge is that of features with 10 % noise, so neither int8 nor the form of ŷ (integer or mean-shifted) matters;
- `z` costs a few per cent of the payload under its factorised prior.

Runs in the peers' environment on CompressAI's model and in the tests on ours: both have the attributes used here. torch only.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Y_PEAK = 25.0  # largest |y| of the photo
Y_FLOOR = 0.03  # deviation of the channels that carry nothing, as a trained model has many
Z_DEVIATIONS = (3.0, 0.003)  # of the first and the last channel, geometric between
SCALE_BOUND = 0.11  # the smallest scale of the tables (Ballé 2018)
FEATURE_NOISE = 0.1  # deviation of the disturbance that the regressed heads are to withstand; features have deviation 1
QUANTILE_LOGIT = math.log(2 / 1e-9 - 1)  # CompressAI's tail mass, 1e-9
DRAWS = 3  # of rounding noise, stacked for the regression


@dataclass(frozen=True)
class Calibration:
    """What was reached. Bits are estimates for form A (ŷ = round(y)), the table's scale bound applied."""

    decay: float  # κ: deviations of y fall as exp(−κ·rank/(M−1)), down to Y_FLOOR
    y_bits: float
    z_bits: float
    y_peak: float
    nonzero: float  # share of the symbols round(y − μ) that are not 0
    bpp: float


def calibrate(model: Any, x: Tensor, bpp: float, seed: int = 1, tolerance: float = 0.01) -> Calibration:
    """Rewrite the weights of `model` (mbt2018) in place so that the photo `x` costs about `bpp` bits a pixel.

    x: float (1, 3, H, W) in [0, 1], H and W multiples of 64. Deterministic for a seed, a model and a thread count.
    Raises ValueError for another shape, and RuntimeError when no decay between 0.5 and 30 comes within `tolerance` of `bpp`.
    """
    if x.ndim != 4 or x.shape[0] != 1 or x.shape[1] != 3 or x.shape[2] % 64 or x.shape[3] % 64:
        raise ValueError(f"the photo must be (1, 3, H, W) with H and W multiples of 64, not {tuple(x.shape)}")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 4:
                bound = 1 / math.sqrt(parameter[0].numel())
                parameter.copy_((torch.rand(parameter.shape, generator=generator(seed, name)) * 2 - 1) * bound)
            elif name.endswith(".bias"):
                parameter.zero_()  # set by what follows, in which a bias left over would change the roundings
        _mask_context(model)
        m = model.g_a[6].bias.numel()
        rank = torch.randperm(m, generator=generator(seed, "rank")) / max(m - 1, 1)
        unit = normalised(model.g_a, x)
        fit_prior(model.entropy_bottleneck, *logistic_prior(z_deviations(model, seed), seed))
        weight, bias = model.g_a[6].weight.clone(), model.g_a[6].bias.clone()
        low, high = 0.5, 30.0
        for _ in range(24):
            decay = math.sqrt(low * high)
            deviations = torch.exp(-decay * rank)
            deviations *= Y_PEAK / float((unit * deviations.view(1, -1, 1, 1)).abs().max())
            deviations.clamp_min_(Y_FLOOR)
            model.g_a[6].weight.copy_(weight * deviations.view(-1, 1, 1, 1))
            model.g_a[6].bias.copy_(bias * deviations)
            reached = _fit_entropy_model(model, unit * deviations.view(1, -1, 1, 1), seed, decay, x.shape[2] * x.shape[3])
            if abs(reached.bpp / bpp - 1) <= tolerance:
                normalised(model.g_s, (unit * deviations.view(1, -1, 1, 1)).round(), 0.2, 0.5)
                round_to_half(model.g_a, model.h_a, model.g_s)
                return reached
            low, high = (decay, high) if reached.bpp > bpp else (low, decay)
    raise RuntimeError(f"no decay of the channels gives {bpp} bpp on this photo; the last try gave {reached.bpp:.3f}")


def generator(seed: int, name: str) -> torch.Generator:
    """A random stream of its own for each use, so that adding one does not move the others."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))  # it heeds 32 bits


def _mask_context(model: Any) -> None:
    # CompressAI's decoder uses the weight as it stands, without the mask.
    model.context_prediction.weight.mul_(model.context_prediction.mask)


def round_to_half(*nets: Any) -> None:
    """Let transforms hold what a float16 model file can: then every codec codes the same latents."""
    for net in nets:
        for parameter in net.parameters():
            parameter.copy_(parameter.half().float())


def _normalise(layer: Any, x: Tensor, deviation: float | Tensor = 1.0, mean: float = 0.0) -> Tensor:
    """Rescale a convolution so that each output channel has the given mean and deviation for input `x`; returns the output."""
    out: Tensor = layer(x)
    channels = out.shape[1]
    # A channel that hardly varies is left small instead of being blown up into rounding noise.
    spread = out.std(dim=(0, 2, 3)).clamp_min(1e-6)
    factor = deviation / spread
    middle = out.mean(dim=(0, 2, 3))
    transposed = isinstance(layer, nn.ConvTranspose2d)
    layer.weight.mul_(factor.view(1, -1, 1, 1) if transposed else factor.view(-1, 1, 1, 1))
    layer.bias.copy_((layer.bias - middle) * factor + mean)
    scaled: Tensor = (out - middle.view(1, channels, 1, 1)) * factor.view(1, channels, 1, 1) + mean
    return scaled


def normalised(net: Sequence[Any], x: Tensor, last: float | Tensor = 1.0, mean: float = 0.0) -> Tensor:
    """Run `x` through `net`, normalising every convolution to deviation 1 and the last one to `last` and `mean`."""
    for i, layer in enumerate(net):
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            end = i == len(net) - 1
            x = _normalise(layer, x, last if end else 1.0, mean if end else 0.0)
        else:
            x = layer(x)
    return x


def z_deviations(model: Any, seed: int) -> Tensor:
    n = int(model.h_a[4].bias.numel())
    rank = torch.randperm(n, generator=generator(seed, "z rank")) / max(n - 1, 1)
    return torch.exp(math.log(Z_DEVIATIONS[0]) + rank * math.log(Z_DEVIATIONS[1] / Z_DEVIATIONS[0]))


def logistic_prior(deviations: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """(N, 1, 1) each: the scale s and the offset t of the logistic density of such deviations; its cumulative's logit is x/s + t."""
    # The floor leaves ±1 a probability of exp(−0.5/0.06), 12 bits, in the channels that are nearly always 0.
    s = (deviations * math.sqrt(3) / math.pi).clamp_min(0.06).view(-1, 1, 1)
    # As in a trained model, no channel's density is symmetric about its most likely integer to the last bit.
    t = 0.1 * (torch.rand(s.shape, generator=generator(seed, "z offset")) - 0.5)
    return s, t


def fit_prior(prior: Any, s: Tensor, t: Tensor) -> None:
    """Write logistic densities into a factorised prior, which needs no training: a matrix of softplus 1/f averages its f
    inputs, so that every layer but the first hands on what it gets. z is rounded as it is: the medians stay at 0."""
    for k, (matrix, bias) in enumerate(zip(prior.matrices, prior.biases, strict=True)):
        gain = 1 / s if k == 0 else torch.ones(1, 1, 1)
        matrix.copy_(_inverse_softplus(gain / matrix.shape[2]).expand_as(matrix))
        bias.copy_((t if k == 0 else torch.zeros(1, 1, 1)).expand_as(bias))
    for factor in prior.factors:
        factor.zero_()
    prior.quantiles.copy_(s * torch.tensor([-QUANTILE_LOGIT, 0.0, QUANTILE_LOGIT]))


def _inverse_softplus(y: Tensor) -> Tensor:
    return y + torch.log(-torch.expm1(-y))


def _fit_entropy_model(model: Any, y: Tensor, seed: int, decay: float, pixels: int) -> Calibration:
    """Normalise h_a, h_s, the context model and the parameter net for these latents and regress the two heads."""
    z = torch.round(normalised(model.h_a, y, z_deviations(model, seed)))
    h, w = y.shape[2:]
    hyper = normalised(model.h_s, z)[:, :, :h, :w]
    noise = generator(seed, "noise")
    contexts = [y + torch.rand(y.shape, generator=noise) - 0.5 for _ in range(DRAWS)]
    context = _normalise(model.context_prediction, torch.cat(contexts))
    hidden = torch.cat((hyper.expand(DRAWS, -1, -1, -1), context), dim=1)
    features = normalised(model.entropy_parameters[:3], hidden)
    features = _rows(model.entropy_parameters[3](features))
    target = _rows(y).repeat(DRAWS, 1)
    head = model.entropy_parameters[4]
    weight, bias = heads(features, target)
    head.weight.copy_(weight.view_as(head.weight))
    head.bias.copy_(bias)
    return _rate(model, y, z, hyper=hyper, prior=logistic_prior(z_deviations(model, seed), seed), decay=decay, pixels=pixels)


def heads(features: Tensor, target: Tensor, *, means: bool = True) -> tuple[Tensor, Tensor]:
    """Weight (2M, features) and bias (2M,) of the layer that predicts scales and means of `target` (n, M) from `features`
    (n, features); without means those of scales about 0, (M, features) and (M,)."""
    mean_weight, mean_bias = _ridge(features, target, FEATURE_NOISE)
    # In a trained model the mean of a quiet channel rests at an integer, here 0: fractional means beside scales under 0.5 would
    # cost the integer form of ŷ 5 % more than the mean-shifted one, which is no property of the two decoders.
    power = target.square().mean(0)
    heed = power / (power + 1.0)
    mean_weight, mean_bias = mean_weight * heed.view(-1, 1), mean_bias * heed
    if not means:
        mean_weight, mean_bias = torch.zeros_like(mean_weight), torch.zeros_like(mean_bias)
    residual = target - (features @ mean_weight.T + mean_bias)
    deviation = residual.square().mean(0).sqrt()
    scale_weight, _ = _ridge(features, residual.abs(), 3 * FEATURE_NOISE)
    swing = (features - features.mean(0)) @ scale_weight.T * 1.2533  # σ = E|r|·sqrt(π/2)
    # A linear head may fall to 0 or below, where every symbol would be an escape: keep it above 0.4 of the channel's deviation.
    shrink = (0.6 * deviation / (-swing).amax(0).clamp_min(1e-9)).clamp_max(1.0) * 1.2533
    scale_weight = scale_weight * shrink.view(-1, 1)
    scale_bias = deviation - scale_weight @ features.mean(0)
    if not means:
        return scale_weight, scale_bias
    return torch.cat((scale_weight, mean_weight)), torch.cat((scale_bias, mean_bias))


def _rows(t: Tensor) -> Tensor:
    """(B, C, h, w) -> (B·h·w, C)."""
    return t.permute(0, 2, 3, 1).reshape(-1, t.shape[1])


def _ridge(features: Tensor, target: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Least squares for features disturbed by noise of that deviation: weight (targets, features) and bias (targets,)."""
    f, t = features.double(), target.double()
    centre, level = f.mean(0), t.mean(0)
    f, t = f - centre, t - level
    gram = f.T @ f + len(f) * noise**2 * torch.eye(f.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(gram, f.T @ t).T
    return weight.float(), (level - weight @ centre).float()


def _rate(model: Any, y: Tensor, z: Tensor, *, hyper: Tensor, prior: tuple[Tensor, Tensor], decay: float, pixels: int) -> Calibration:
    """Bits of the photo in form A under the model as it now stands."""
    y_hat = torch.round(y)
    parameters = model.entropy_parameters(torch.cat((hyper, model.context_prediction(y_hat)), dim=1))
    scales, means = parameters.double().chunk(2, 1)
    y_bits = _gaussian_bits(y_hat.double() - means, scales.clamp_min(SCALE_BOUND))
    s, t = (part.view(1, -1, 1, 1).double() for part in prior)
    z_bits = -torch.log2(torch.sigmoid((z + 0.5) / s + t) - torch.sigmoid((z - 0.5) / s + t)).sum()
    nonzero = (torch.round(y.double() - means) != 0).double().mean()
    return Calibration(
        decay=decay,
        y_bits=float(y_bits),
        z_bits=float(z_bits),
        y_peak=float(y.abs().max()),
        nonzero=float(nonzero),
        bpp=float(y_bits + z_bits) / pixels,
    )


def _gaussian_bits(offset: Tensor, scale: Tensor) -> Tensor:
    """Σ −log2 of the Gaussian's mass on a unit interval around `offset`; at most 30 bits a symbol (an escape costs less)."""
    distance = offset.abs()
    upper = torch.special.ndtr((0.5 - distance) / scale)
    lower = torch.special.ndtr((-0.5 - distance) / scale)
    return -torch.log2((upper - lower).clamp_min(2.0**-30)).sum()
