# SPDX-License-Identifier: Apache-2.0
"""The runs of a study: every variant and seed for the same number of steps, chosen so that all together fit the minutes."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jahp_fast.constants import LAMBDAS
from jahp_fast.errors import UsageError
from jahp_fast.models.priors import CompressionModel
from jahp_fast.study.latents import Cached
from jahp_fast.study.prior import LatentPrior, Variant
from jahp_fast.system.cpu import cpu_has_bf16
from jahp_fast.train.soap import SOAP

BATCH = 4
LR = 3e-3
JOINT_LR = 3e-4
FIXED_LR = 3e-2
"""Of the factorised prior of y: eleven thousand numbers that begin far from where they end, and that Adam at 1e-3 moves too slowly.
z's prior learns with the nets: sooner, it would make z a constant before h_s knows what to do with it."""
CLIP_NORM = 1.0
WARM_UP = 20
FEWEST_STEPS = 20
TRIAL_STEPS = 3


@dataclass(frozen=True)
class Outcome:
    """One run. bpp: held-out bits per pixel of rounded y and z, z_bpp the part of z; train_bpp: of the last tenth of the training.

    psnr (dB) and loss (lambda 255^2 MSE + bpp) are of joint training alone, nan otherwise. step_s: seconds a step took.
    """

    variant: str
    joint: bool
    seed: int
    steps: int
    parameters: int
    bpp: float
    z_bpp: float
    train_bpp: float
    psnr: float
    loss: float
    step_s: float


def optimise(
    weights: Sequence[nn.Parameter],
    lr: float,
    fixed: Sequence[nn.Parameter],
    quantiles: Sequence[nn.Parameter],
    steps: int,
    losses: Callable[[], tuple[Tensor, Tensor]],
) -> Iterator[float]:
    """SOAP on the weights, Adam at FIXED_LR on the distributions of a factorised prior of y, both along a cosine to zero; yields the loss
    of each step.

    losses() gives what is descended, and the auxiliary quantile loss.
    """
    optimizers: list[tuple[torch.optim.Optimizer, float]] = []
    if weights:
        optimizers.append((SOAP(weights, lr, half=cpu_has_bf16()), lr))
    if fixed:
        optimizers.append((torch.optim.Adam(fixed, FIXED_LR), FIXED_LR))
    auxiliary = torch.optim.Adam(quantiles, lr=1e-3) if quantiles else None
    for step in range(steps):
        loss, quantile_loss = losses()
        for optimizer, _ in optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([*weights, *fixed], CLIP_NORM)
        for optimizer, highest in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = highest * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
            optimizer.step()
        if auxiliary is not None:
            auxiliary.zero_grad()
            quantile_loss.backward()  # type: ignore[no-untyped-call]
            auxiliary.step()
        yield loss.item()


def _split(prior: LatentPrior) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Weights; those of a factorised prior of y; and the quantiles of z's prior, which have a loss of their own.

    The quantiles of a factorised prior of y are of no use here.
    """
    named = [(n, p) for n, p in prior.named_parameters() if not n.endswith("quantiles")]
    fixed = [p for n, p in named if n.startswith("factorised.")]
    quantiles = [p for n, p in prior.named_parameters() if n == "entropy_bottleneck.quantiles"]
    return [p for n, p in named if not n.startswith("factorised.")], fixed, quantiles


def _quantile_loss(prior: LatentPrior) -> Tensor:
    hyper = prior.conditional and prior.variant.hyperprior
    return prior.entropy_bottleneck.quantile_loss() if hyper else torch.zeros(())


@torch.inference_mode()
def held_out_bits(prior: LatentPrior, latents: Tensor) -> tuple[float, float]:
    """Mean bits of y and of z of one crop, in float32."""
    prior.eval()
    sums = torch.zeros(2, dtype=torch.float64)
    for y in torch.split(latents.float(), BATCH):
        sums += torch.stack([b.double().sum() for b in prior(y)])
    prior.train()
    y_bits, z_bits = (sums / len(latents)).tolist()
    return y_bits, z_bits


def train_prior(variant: Variant, N: int, cached: Cached, seed: int, steps: int) -> tuple[LatentPrior, Outcome]:
    """One entropy model on cached latents, from random weights."""
    torch.manual_seed(seed)
    prior = LatentPrior(variant, N, cached.train.float().std((0, 2, 3))).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    prior.bf16 = cpu_has_bf16()
    weights, fixed, quantiles = _split(prior)
    pick = torch.Generator().manual_seed(seed)

    def losses() -> tuple[Tensor, Tensor]:
        y = cached.train[torch.randint(len(cached.train), (BATCH,), generator=pick)].float()
        y_bits, z_bits = prior(y)
        return (y_bits + z_bits).mean() / cached.pixels, _quantile_loss(prior)

    started = time.monotonic()
    trace = list(optimise(weights, LR, fixed, quantiles, steps, losses))
    step_s = (time.monotonic() - started) / steps
    y_bits, z_bits = held_out_bits(prior, cached.held_out)
    last = trace[-max(1, steps // 10) :]
    parameters = sum(p.numel() for p in weights + fixed)
    return prior, Outcome(
        variant.name, False, seed, steps, parameters, (y_bits + z_bits) / cached.pixels, z_bits / cached.pixels,
        sum(last) / len(last), math.nan, math.nan, step_s,
    )  # fmt: skip


def train_jointly(
    model: CompressionModel, prior: LatentPrior, quality: float, train: Sequence[Tensor], held_out: Sequence[Tensor], seed: int, steps: int
) -> Outcome:
    """g_a, g_s and a prior that was trained on cached latents, together; both are copied and stay as they are.

    train, held_out: crops (3, H, W) uint8.
    """
    torch.manual_seed(seed)
    model, prior = copy.deepcopy(model).train(), copy.deepcopy(prior).train()
    lambda_ = LAMBDAS[round(quality) - 1]
    q = torch.tensor([quality - 1])
    weights, fixed, quantiles = _split(prior)
    weights += [*model.g_a.parameters(), *model.g_s.parameters(), model.gain, model.inv_gain]
    pick = torch.Generator().manual_seed(seed)

    def run(x: Tensor, noise: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Means over the batch: MSE on 8-bit values, bpp of both, bpp of z."""
        y = model.analysis(x, q)
        y_bits, z_bits = prior(y, noise)
        x_hat = model.synthesis(y + (y.round() - y).detach(), q)
        pixels = x.shape[2] * x.shape[3]
        if not noise:
            x_hat = (x_hat.clamp(0, 1) * 255).round() / 255
        return (x - x_hat).square().mean() * 255**2, (y_bits + z_bits).mean() / pixels, z_bits.mean() / pixels

    def losses() -> tuple[Tensor, Tensor]:
        x = torch.stack([train[i] for i in torch.randint(len(train), (BATCH,), generator=pick)]).float() / 255
        mse, bpp, _ = run(x, noise=True)
        return lambda_ * mse + bpp, _quantile_loss(prior)

    started = time.monotonic()
    trace = list(optimise(weights, JOINT_LR, fixed, quantiles, steps, losses))
    step_s = (time.monotonic() - started) / steps
    model.eval()
    prior.eval()
    with torch.inference_mode():
        figures = torch.tensor([[float(v) for v in run(x[None].float() / 255, noise=False)] for x in held_out], dtype=torch.float64)
    psnr = float((10 * (255**2 / figures[:, 0].clamp_min(1e-6)).log10()).mean())
    mse, bpp, z_bpp = figures.mean(0).tolist()
    last = trace[-max(1, steps // 10) :]
    return Outcome(
        prior.variant.name, True, seed, steps, sum(p.numel() for part in _split(prior)[:2] for p in part), bpp, z_bpp,
        sum(last) / len(last), psnr, lambda_ * mse + bpp, step_s,
    )  # fmt: skip


def steps_within(seconds: float, step_seconds: Sequence[float]) -> int:
    """How many steps each of the runs may take. Raises UsageError where there would be too few to mean anything."""
    steps = int(seconds / sum(step_seconds))
    if steps < FEWEST_STEPS:
        needed = FEWEST_STEPS * sum(step_seconds) / 60
        raise UsageError(f"too few minutes: {len(step_seconds)} runs of at least {FEWEST_STEPS} steps take {needed:.1f} here")
    return steps
