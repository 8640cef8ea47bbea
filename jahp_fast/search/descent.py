# SPDX-License-Identifier: Apache-2.0
"""Efforts 2 and 3: y and z of one image by descent along the gradient of its own rate and distortion, in torch.

The nets are the model's own: g_s, and the entropy nets with their integers turned back into floats. Symbols are rounded by stochastic
Gumbel annealing (Yang, Bamler and Mandt, "Improving inference for neural image compression", NeurIPS 2020, section 3.2): up or down at
random, the nearer the likelier, through a relaxation that hardens from step to step. The random numbers are the same each time: one image
gives the same symbols on one machine. Its gradients are floats, so another machine may find other symbols.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from jahp_fast.constants import trade_off
from jahp_fast.errors import UnsupportedImage
from jahp_fast.export.model import dequantise
from jahp_fast.models import registry
from jahp_fast.models.layers import gaussian_likelihood
from jahp_fast.pipelines.entropy_path import UNCODABLE
from jahp_fast.system.cpu import cpu_has_bf16

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelFile

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]
SCHEDULES = {2: (12, 0.015), 3: (50, 0.01)}
"""By effort: steps of Adam, and its rate of learning in quantisation steps."""
TEMPERATURES = 0.5, 0.05
"""Of the relaxation, at the first and the last step."""


@lru_cache(maxsize=2)
def _net(model: ModelFile) -> Any:
    net: Any = registry.from_state_dict(dequantise(model.path)[1]).eval()
    net = net.to(memory_format=torch.channels_last)
    net.bf16 = cpu_has_bf16()
    return net.requires_grad_(False)


def annealed_round(x: Tensor, temperature: float, random: torch.Generator) -> Tensor:
    """x between the integers around it, at random: the colder, the nearer to one of them, and that more surely the nearest."""
    below = x.detach().floor()
    fraction = (x - below).clamp(1e-5, 1 - 1e-5)
    odds = ((1 - fraction).atanh().neg() + fraction.atanh()) / temperature
    noise = torch.rand(x.shape, generator=random).clamp(1e-6, 1 - 1e-6).logit()
    return below + ((odds + noise) / temperature).sigmoid()


def bits(net: Any, y: Tensor, z: Tensor | None) -> Tensor:
    """Bits of y (1, M, h, w) and z (1, N, hz, wz) or None by the float entropy model; a scalar."""
    if z is not None:
        likelihoods = [gaussian_likelihood(y, *net.distribution(y, z)), net.entropy_bottleneck.likelihood(z)]
    elif hasattr(net, "context_prediction"):
        likelihoods = [gaussian_likelihood(y, *net.distribution(y))]
    else:
        likelihoods = [net.entropy_bottleneck.likelihood(y)]
    total: Tensor = torch.stack([-p.log2().sum() for p in likelihoods]).sum()
    return total


def refined(
    model: ModelFile,
    image: NDArray[np.uint8],
    latents: tuple[Floats, Floats | None],
    quality: float,
    schedule: tuple[int, float],
    rate: float,
) -> tuple[Ints, Ints]:
    """z (hz, wz, N) and y (h, w, M) after a schedule of SCHEDULES, rounded.

    Args:
        image: (H, W, 3).
        latents: y (h, w, M) and z (hz, wz, N) or None, not rounded.
        rate: factor of the bits.

    Raises:
        UnsupportedImage: the descent left all numbers.
    """
    net = _net(model)
    height, width = image.shape[:2]
    x = torch.tensor(image).permute(2, 0, 1)[None].float() / 255  # a copy: images may be read-only
    z0 = latents[1]
    parts = [torch.from_numpy(t).permute(2, 0, 1)[None].contiguous().clone().requires_grad_(True) for t in latents if t is not None]
    qualities = model.config.qualities
    q = torch.tensor([float(np.interp(quality, qualities, np.arange(len(qualities))))])
    weight = trade_off(quality) * 255**2 / 3
    steps, lr = schedule
    optimizer = torch.optim.Adam(parts, lr=lr)
    random = torch.Generator().manual_seed(0)
    first, last = TEMPERATURES
    for step in range(steps):
        temperature = first * (last / first) ** (step / max(1, steps - 1))
        soft = [annealed_round(t, temperature, random) for t in parts]
        decoded = net.synthesis(soft[0], q)[:, :, :height, :width].clamp(0, 1)
        cost = weight * F.mse_loss(decoded, x, reduction="sum") + rate * bits(net, soft[0], soft[1] if z0 is not None else None)
        optimizer.zero_grad()
        cost.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    symbols = [_rounded(t.detach()[0].permute(1, 2, 0).contiguous().numpy()) for t in parts]
    return (symbols[1] if z0 is not None else np.zeros((0, 0, 0), np.int32)), symbols[0]


def _rounded(x: Floats) -> Ints:
    """Raises UnsupportedImage for a latent that is beyond 2^30 or not a number."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is beyond all numbers is refused just below
        nearest = np.rint(x)
    if not max(float(nearest.max()), -float(nearest.min())) <= 2**30:
        raise UnsupportedImage(f"{UNCODABLE}: a latent is beyond 2^30 or not a number")
    return nearest.astype(np.int32)
