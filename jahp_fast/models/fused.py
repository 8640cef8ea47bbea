# SPDX-License-Identifier: Apache-2.0
"""Triton's kernels of training as operators of torch, and where they are used: on a GPU, while gradients are wanted.

Each operator is one call where torch takes tens: launches, not arithmetic, fill a training step there. Under torch.compile they are not
used, since it fuses such chains itself. `use(False)` keeps to torch; that and the operators are for a whole process.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

DEVICES = ("cuda", "cpu")
"""On a CPU they run in Triton's interpreter alone, for tests."""
_switch = {"on": find_spec("triton") is not None}


def use(enabled: bool) -> None:
    """Whether kernels are used from now on where they can be: not without Triton."""
    _switch["on"] = enabled and find_spec("triton") is not None


def wanted(x: Tensor) -> bool:
    """Whether a layer takes its kernel for an input like this."""
    return (
        _switch["on"]
        and x.device.type == "cuda"
        and x.dtype in (torch.float32, torch.bfloat16)
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


@torch.library.custom_op("jahp_fast::gdn", mutates_args=(), device_types=DEVICES)
def gdn(x: Tensor, beta: Tensor, gamma: Tensor, inverse: bool, half: bool) -> Tensor:
    """models.layers.GDN, for 1 to 64 channels. half: bfloat16 factors of the sum."""
    from jahp_fast.kernels import gdn as kernels

    out: Tensor = kernels.gdn(x, beta, gamma, inverse, half)
    return out


@torch.library.custom_op("jahp_fast::gdn_backward", mutates_args=(), device_types=DEVICES)
def _gdn_backward(x: Tensor, dy: Tensor, beta: Tensor, gamma: Tensor, inverse: bool, half: bool) -> tuple[Tensor, Tensor, Tensor]:
    from jahp_fast.kernels import gdn as kernels

    out: tuple[Tensor, Tensor, Tensor] = kernels.gdn_backward(x, dy, beta, gamma, inverse, half)
    return out


def _gdn_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, beta, gamma, ctx.inverse, ctx.half = inputs
    ctx.save_for_backward(x, beta, gamma)


def _gdn_gradient(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, beta, gamma = ctx.saved_tensors
    return *_gdn_backward(x, dy, beta, gamma, ctx.inverse, ctx.half), None, None


@torch.library.custom_op("jahp_fast::gaussian", mutates_args=(), device_types=DEVICES)
def gaussian(y: Tensor, scale: Tensor, mean: Tensor | None, least_scale: float, least: float) -> Tensor:
    """models.layers.gaussian_likelihood of (B, C, h, w) float32 each, with its bounds."""
    from jahp_fast.kernels import likelihoods

    out: Tensor = likelihoods.gaussian(y, scale, mean, least_scale, least)
    return out


@torch.library.custom_op("jahp_fast::gaussian_backward", mutates_args=(), device_types=DEVICES)
def _gaussian_backward(
    y: Tensor, scale: Tensor, mean: Tensor | None, dp: Tensor, least_scale: float, least: float
) -> tuple[Tensor, Tensor, Tensor]:
    from jahp_fast.kernels import likelihoods

    out: tuple[Tensor, Tensor, Tensor] = likelihoods.gaussian_backward(y, scale, mean, dp, least_scale, least)
    return out


def _gaussian_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    y, scale, ctx.mean, ctx.least_scale, ctx.least = inputs
    ctx.save_for_backward(y, scale)


def _gaussian_gradient(ctx: Any, dp: Tensor) -> tuple[Tensor | None, ...]:
    y, scale = ctx.saved_tensors
    dy, dscale, dmean = _gaussian_backward(y, scale, ctx.mean, dp, ctx.least_scale, ctx.least)
    return dy, dscale, None if ctx.mean is None else dmean, None, None


@torch.library.custom_op("jahp_fast::factorised", mutates_args=(), device_types=DEVICES)
def factorised(z: Tensor, parameters: Sequence[Tensor], least: float) -> Tensor:
    """EntropyBottleneck.likelihood of z (B, C, h, w) float32, with its matrices, biases and factors in this order."""
    from jahp_fast.kernels import likelihoods

    out: Tensor = likelihoods.factorised(z, parameters, least)
    return out


@torch.library.custom_op("jahp_fast::factorised_backward", mutates_args=(), device_types=DEVICES)
def _factorised_backward(z: Tensor, dp: Tensor, parameters: Sequence[Tensor], least: float) -> list[Tensor]:
    from jahp_fast.kernels import likelihoods

    out: list[Tensor] = likelihoods.factorised_backward(z, dp, parameters, least)
    return out


def _factorised_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    z, parameters, ctx.least = inputs
    ctx.save_for_backward(z, *parameters)


def _factorised_gradient(ctx: Any, dp: Tensor) -> tuple[Any, ...]:
    z, *parameters = ctx.saved_tensors
    dz, *grads = _factorised_backward(z, dp, parameters, ctx.least)
    return dz, grads, None


gdn.register_autograd(_gdn_gradient, setup_context=_gdn_context)
gaussian.register_autograd(_gaussian_gradient, setup_context=_gaussian_context)
factorised.register_autograd(_factorised_gradient, setup_context=_factorised_context)
