# SPDX-License-Identifier: Apache-2.0
"""GDN and its gradient for training: one launch forward, one backward, and one that adds what the programs of the backward pass found.

Formula, bounds and stored square roots are those of models.layers.GDN; `gdn_reference` and `gdn_backward_reference` are the same in
plain torch. Sums over channels take float32 factors, or bfloat16 ones (`half`), and are added in float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from jahp_fast.constants import GDN_BETA_MIN, GDN_PEDESTAL

MOST_CHANNELS = 64
"""A program of the backward pass holds a gradient of all of gamma in registers."""
BLOCK, BLOCK_BACKWARD, WARPS = 64, 32, 8
"""Positions of a program at a time, and its warps: with more of the one or fewer of the other, registers are spilled."""
PROGRAMS = 264
"""Of the backward pass at most: two a multiprocessor of the largest cards."""
BETA_BOUND, GAMMA_BOUND = (GDN_BETA_MIN + GDN_PEDESTAL) ** 0.5, GDN_PEDESTAL**0.5


@triton.jit
def _product(a, b, HALF: tl.constexpr):
    if HALF:  # TF32 holds a bfloat16 whole, and Triton's interpreter cannot multiply those
        return tl.dot(a.to(tl.bfloat16).to(tl.float32), b.to(tl.bfloat16).to(tl.float32), input_precision="tf32")
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def _values(beta, gamma, beta_bound, gamma_bound, pedestal, c, channels):
    """beta (C,) and gamma transposed, (C inputs, C outputs), out of the stored roots; 1 and 0 in the padding."""
    real = c < channels
    b = tl.maximum(tl.load(beta + c, mask=real, other=1.0), beta_bound)
    g = tl.load(gamma + c[None, :] * channels + c[:, None], mask=real[None, :] & real[:, None], other=0.0)
    g = tl.maximum(g, gamma_bound)
    return tl.where(real, b * b - pedestal, 1.0), tl.where(real[None, :] & real[:, None], g * g - pedestal, 0.0)


@triton.jit(do_not_specialize=["positions"])
def gdn_kernel(
    x, beta, gamma, y, beta_bound, gamma_bound, pedestal, positions, channels,
    INVERSE: tl.constexpr, HALF: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = (at < positions)[:, None] & (c < channels)[None, :]
    place = at[:, None].to(tl.int64) * channels + c[None, :]
    v = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    b, g = _values(beta, gamma, beta_bound, gamma_bound, pedestal, c, channels)
    norm = _product(v * v, g, HALF) + b[None, :]
    root = tl.sqrt(norm)
    tl.store(y + place, v * root if INVERSE else v / root, mask=inside)


@triton.jit(do_not_specialize=["positions", "programs"])
def gdn_backward_kernel(
    x, dy, beta, gamma, dx, part_beta, part_gamma, beta_bound, gamma_bound, pedestal, positions, programs, channels,
    INVERSE: tl.constexpr, HALF: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)
    b, g = _values(beta, gamma, beta_bound, gamma_bound, pedestal, c, channels)
    of_gamma = tl.zeros((C, C), tl.float32)
    of_beta = tl.zeros((C,), tl.float32)
    for first in range(tl.program_id(0) * BLOCK, positions, programs * BLOCK):
        at = first + tl.arange(0, BLOCK)
        inside = (at < positions)[:, None] & (c < channels)[None, :]
        place = at[:, None].to(tl.int64) * channels + c[None, :]
        v = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        d = tl.load(dy + place, mask=inside, other=0.0).to(tl.float32)
        square = v * v
        root = tl.sqrt(_product(square, g, HALF) + b[None, :])
        if INVERSE:
            of_norm = 0.5 * d * v / root
            direct = d * root
        else:
            of_norm = -0.5 * d * v / (root * root * root)
            direct = d / root
        out = direct + 2.0 * v * _product(of_norm, tl.trans(g), HALF)
        tl.store(dx + place, out.to(dx.dtype.element_ty), mask=inside)
        of_gamma += _product(tl.trans(of_norm), square, HALF)
        of_beta += tl.sum(of_norm, 0)
    own = tl.program_id(0)
    tl.store(part_beta + own * C + c, of_beta)
    tl.store(part_gamma + own * C * C + c[:, None] * C + c[None, :], of_gamma)


@triton.jit
def _of_root(stored, of_value, bound):
    """The gradient of a stored root out of its value's; see models.layers.lower_bound."""
    grad = of_value * 2.0 * tl.maximum(stored, bound)
    return tl.where((stored >= bound) | (grad < 0), grad, 0.0)


@triton.jit(do_not_specialize=["programs"])
def gdn_sums_kernel(
    part_beta, part_gamma, beta, gamma, dbeta, dgamma, beta_bound, gamma_bound, programs, channels, C: tl.constexpr, BLOCK: tl.constexpr
):
    """Adds what the programs found, a row of gamma each."""
    row, c = tl.program_id(0), tl.arange(0, C)
    of_gamma = tl.zeros((C,), tl.float32)
    of_beta = 0.0
    for first in range(0, programs, BLOCK):
        k = first + tl.arange(0, BLOCK)
        inside = k < programs
        of_gamma += tl.sum(tl.load(part_gamma + k[:, None] * C * C + row * C + c[None, :], mask=inside[:, None], other=0.0), 0)
        of_beta += tl.sum(tl.load(part_beta + k * C + row, mask=inside, other=0.0), 0)
    real = c < channels
    stored = tl.load(gamma + row * channels + c, mask=real, other=0.0)
    tl.store(dgamma + row * channels + c, _of_root(stored, of_gamma, gamma_bound), mask=real)
    tl.store(dbeta + row, _of_root(tl.load(beta + row), of_beta, beta_bound))


def _rows(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B H W, C), a view where x is channels last."""
    return x.permute(0, 2, 3, 1).contiguous().view(-1, x.shape[1])


def _shaped(rows: Tensor, like: Tensor) -> Tensor:
    b, c, h, w = like.shape
    return rows.view(b, h, w, c).permute(0, 3, 1, 2)


def padded(channels: int) -> int:
    return max(16, 1 << (channels - 1).bit_length())


def gdn(x: Tensor, beta: Tensor, gamma: Tensor, inverse: bool, half: bool) -> Tensor:
    """x (B, C, H, W) float32 or bfloat16, C at most MOST_CHANNELS; beta and gamma as stored -> float32 of that shape, channels last."""
    rows = _rows(x)
    y = torch.empty(rows.shape, dtype=torch.float32, device=x.device)
    positions, channels = rows.shape
    gdn_kernel[(triton.cdiv(positions, BLOCK),)](
        rows, beta, gamma, y, BETA_BOUND, GAMMA_BOUND, GDN_PEDESTAL, positions, channels,
        INVERSE=inverse, HALF=half, C=padded(channels), BLOCK=BLOCK, num_warps=WARPS,
    )  # fmt: skip
    return _shaped(y, x)


def gdn_backward(x: Tensor, dy: Tensor, beta: Tensor, gamma: Tensor, inverse: bool, half: bool) -> tuple[Tensor, Tensor, Tensor]:
    """What descends to x (in its type), beta and gamma, out of dy, that of gdn's result. The same bits each time."""
    rows, incoming = _rows(x), _rows(dy)
    positions, channels = rows.shape
    width, programs = padded(channels), min(PROGRAMS, triton.cdiv(positions, BLOCK_BACKWARD))
    dx, dbeta, dgamma = torch.empty_like(rows), torch.empty_like(beta), torch.empty_like(gamma)
    part_beta = torch.empty(programs, width, dtype=torch.float32, device=x.device)
    part_gamma = torch.empty(programs, width, width, dtype=torch.float32, device=x.device)
    gdn_backward_kernel[(programs,)](
        rows, incoming, beta, gamma, dx, part_beta, part_gamma, BETA_BOUND, GAMMA_BOUND, GDN_PEDESTAL, positions, programs, channels,
        INVERSE=inverse, HALF=half, C=width, BLOCK=BLOCK_BACKWARD, num_warps=WARPS,
    )  # fmt: skip
    gdn_sums_kernel[(channels,)](
        part_beta, part_gamma, beta, gamma, dbeta, dgamma, BETA_BOUND, GAMMA_BOUND, programs, channels, C=width, BLOCK=32
    )
    return _shaped(dx, x), dbeta, dgamma


def gdn_reference(x: Tensor, beta: Tensor, gamma: Tensor, inverse: bool, half: bool) -> Tensor:
    """`gdn` in plain torch, for any device."""
    v = x.float()
    root = _norm(v, beta, gamma, half).sqrt()
    return v * root if inverse else v / root


def _factors(a: Tensor, half: bool) -> Tensor:
    return a.bfloat16().float() if half else a


def _norm(v: Tensor, beta: Tensor, gamma: Tensor, half: bool) -> Tensor:
    b = beta.clamp_min(BETA_BOUND) ** 2 - GDN_PEDESTAL
    g = _factors(gamma.clamp_min(GAMMA_BOUND) ** 2 - GDN_PEDESTAL, half)
    return torch.einsum("ij,bjhw->bihw", g, _factors(v * v, half)) + b[:, None, None]


def gdn_backward_reference(x: Tensor, dy: Tensor, beta: Tensor, gamma: Tensor, inverse: bool, half: bool) -> tuple[Tensor, Tensor, Tensor]:
    """`gdn_backward` in plain torch."""
    v, d = x.float(), dy.float()
    root = _norm(v, beta, gamma, half).sqrt()
    of_norm = 0.5 * d * v / root if inverse else -0.5 * d * v / root**3
    g = _factors(gamma.clamp_min(GAMMA_BOUND) ** 2 - GDN_PEDESTAL, half)
    dx = (d * root if inverse else d / root) + 2 * v * torch.einsum("ij,bihw->bjhw", g, _factors(of_norm, half))
    of_gamma = torch.einsum("bihw,bjhw->ij", _factors(of_norm, half), _factors(v * v, half))
    out = []
    for stored, of_value, bound in ((beta, of_norm.sum((0, 2, 3)), BETA_BOUND), (gamma, of_gamma, GAMMA_BOUND)):
        grad = of_value * 2 * stored.clamp_min(bound)
        out.append(torch.where((stored >= bound) | (grad < 0), grad, 0.0))
    return dx.to(x.dtype), out[0], out[1]
