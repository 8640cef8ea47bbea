# SPDX-License-Identifier: Apache-2.0
"""Likelihoods of latents and hyper-latents for training, and their gradients: a launch each, where torch takes a hundred.

Formulas, bounds and the gradient at a bound are those of models.layers: `gaussian_likelihood` and `EntropyBottleneck.likelihood`.
Tensors are channels last; sums are in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK, LINE = 32, 64
"""Positions and channels of a program: latents."""
BLOCK_Z = 128
"""Positions of a program, or of one at a time: hyper-latents."""


@triton.jit
def _erfc(z):
    """Complementary error function, within 1.2e-7 of its own size: Press et al., Numerical Recipes, section 6.2, erfcc."""
    a = tl.abs(z)
    t = 1.0 / (1.0 + 0.5 * a)
    p = 0.17087277 * t - 0.82215223
    p = p * t + 1.48851587
    p = p * t - 1.13520398
    p = p * t + 0.27886807
    p = p * t - 0.18628806
    p = p * t + 0.09678418
    p = p * t + 0.37409196
    p = p * t + 1.00002368
    tail = t * tl.exp(-a * a - 1.26551223 + t * p)
    return tl.where(z < 0, 2.0 - tail, tail)


@triton.jit
def _gaussian(y, scale, mean, at, c, y_step, scale_step, mean_step, inside, least_scale, MEAN: tl.constexpr):
    """y less its mean, the scale as given and as bounded, the two ends of the interval in scales, and the likelihood before its bound."""
    d = tl.load(y + at * y_step + c, mask=inside, other=0.0)
    if MEAN:
        d -= tl.load(mean + at * mean_step + c, mask=inside, other=0.0)
    given = tl.load(scale + at * scale_step + c, mask=inside, other=1.0)
    s = tl.maximum(given, least_scale)
    v = tl.abs(d)
    high, low = (0.5 - v) / s, (-0.5 - v) / s
    p = 0.5 * (_erfc(-0.7071067811865476 * high) - _erfc(-0.7071067811865476 * low))
    return d, given, s, high, low, p


@triton.jit(do_not_specialize=["positions"])
def gaussian_kernel(
    y, scale, mean, p_out, y_step, scale_step, mean_step, least_scale, least, positions, channels,
    MEAN: tl.constexpr, BLOCK: tl.constexpr, LINE: tl.constexpr,
):  # fmt: skip
    at = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)[:, None]
    c = (tl.program_id(1) * LINE + tl.arange(0, LINE))[None, :]
    inside = (at < positions) & (c < channels)
    _, _, _, _, _, p = _gaussian(y, scale, mean, at, c, y_step, scale_step, mean_step, inside, least_scale, MEAN)
    tl.store(p_out + at * channels + c, tl.maximum(p, least), mask=inside)


@triton.jit(do_not_specialize=["positions"])
def gaussian_backward_kernel(
    y, scale, mean, dp, dy, dscale, dmean, y_step, scale_step, mean_step, dp_step, least_scale, least, positions, channels,
    MEAN: tl.constexpr, BLOCK: tl.constexpr, LINE: tl.constexpr,
):  # fmt: skip
    at = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)[:, None]
    c = (tl.program_id(1) * LINE + tl.arange(0, LINE))[None, :]
    inside = (at < positions) & (c < channels)
    d, given, s, high, low, p = _gaussian(y, scale, mean, at, c, y_step, scale_step, mean_step, inside, least_scale, MEAN)
    grad = tl.load(dp + at * dp_step + c, mask=inside, other=0.0)
    grad = tl.where((p >= least) | (grad < 0), grad, 0.0) / s
    of_high, of_low = 0.3989422804014327 * tl.exp(-0.5 * high * high), 0.3989422804014327 * tl.exp(-0.5 * low * low)
    of_s = grad * (low * of_low - high * of_high)
    of_d = grad * (of_low - of_high) * tl.where(d > 0, 1.0, tl.where(d < 0, -1.0, 0.0))
    tl.store(dy + at * channels + c, of_d, mask=inside)
    tl.store(dscale + at * channels + c, tl.where((given >= least_scale) | (of_s < 0), of_s, 0.0), mask=inside)
    if MEAN:
        tl.store(dmean + at * channels + c, -of_d, mask=inside)


@triton.jit
def _softplus(x):
    e = tl.exp(-tl.abs(x))
    u = 1.0 + e  # log(u) e / (u - 1) is log(1 + e) without what the sum has rounded away
    return tl.maximum(x, 0.0) + tl.where(u == 1.0, e, tl.log(u) * e / tl.where(u == 1.0, 1.0, u - 1.0))


@triton.jit
def _tanh(x):
    e = tl.exp(-2.0 * tl.abs(x))
    t = (1.0 - e) / (1.0 + e)
    return tl.where(x < 0, -t, t)


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _matrix(stored, channel, OUT: tl.constexpr, IN: tl.constexpr):
    """The channel's matrix as stored, (4, 4), and which of it is there."""
    i, j = tl.arange(0, 4)[:, None], tl.arange(0, 4)[None, :]
    real = (i < OUT) & (j < IN)
    return tl.load(stored + channel * OUT * IN + i * IN + j, mask=real, other=0.0), real


@triton.jit
def _vector(stored, channel, OUT: tl.constexpr):
    i = tl.arange(0, 4)
    return tl.load(stored + channel * OUT + i, mask=i < OUT, other=0.0)


@triton.jit
def _layer(x, matrix, bias, channel, OUT: tl.constexpr, IN: tl.constexpr):
    """x (4, n) -> (4, n): the layer without its curve."""
    raw, real = _matrix(matrix, channel, OUT, IN)
    m = tl.where(real, _softplus(raw), 0.0)
    return tl.sum(m[:, :, None] * x[None, :, :], 1) + _vector(bias, channel, OUT)[:, None]


@triton.jit
def _curved(h, factor, channel, OUT: tl.constexpr):
    return h + _tanh(_vector(factor, channel, OUT))[:, None] * _tanh(h)


@triton.jit
def _chain(v, m0, m1, m2, m3, m4, b0, b1, b2, b3, b4, f0, f1, f2, f3, channel):
    """v (n,) -> what each layer sees and gives: x0, h0, x1, h1, ... h4, each (4, n); the logit is row 0 of the last."""
    x0 = tl.where((tl.arange(0, 4) == 0)[:, None], v[None, :], 0.0)
    h0 = _layer(x0, m0, b0, channel, 3, 1)
    x1 = _curved(h0, f0, channel, 3)
    h1 = _layer(x1, m1, b1, channel, 3, 3)
    x2 = _curved(h1, f1, channel, 3)
    h2 = _layer(x2, m2, b2, channel, 3, 3)
    x3 = _curved(h2, f2, channel, 3)
    h3 = _layer(x3, m3, b3, channel, 3, 3)
    x4 = _curved(h3, f3, channel, 3)
    h4 = _layer(x4, m4, b4, channel, 1, 3)
    return x0, h0, x1, h1, x2, h2, x3, h3, x4, h4


@triton.jit
def _logit(h):
    return tl.sum(tl.where((tl.arange(0, 4) == 0)[:, None], h, 0.0), 0)


@triton.jit(do_not_specialize=["positions"])
def factorised_kernel(z, p_out, m0, m1, m2, m3, m4, b0, b1, b2, b3, b4, f0, f1, f2, f3, least, positions, channels, BLOCK: tl.constexpr):
    channel = tl.program_id(1)
    at = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    v = tl.load(z + at * channels + channel, mask=at < positions, other=0.0)
    low = tl.zeros((BLOCK,), tl.float32)
    high = low
    for end in range(2):  # a loop, so that the chain is compiled once
        _, _, _, _, _, _, _, _, _, last = _chain(v + (end - 0.5), m0, m1, m2, m3, m4, b0, b1, b2, b3, b4, f0, f1, f2, f3, channel)
        low, high = high, _logit(last)
    sign = tl.where(low + high > 0, -1.0, 1.0)
    p = tl.abs(_sigmoid(sign * high) - _sigmoid(sign * low))
    tl.store(p_out + at * channels + channel, tl.maximum(p, least), mask=at < positions)


@triton.jit
def _back(grad, x, h, matrix, factor, channel, inside, OUT: tl.constexpr, IN: tl.constexpr, CURVED: tl.constexpr):
    """One layer back: the gradient of x, and those of matrix (before softplus), bias and factor (before tanh)."""
    of_factor = tl.zeros((4,), tl.float32)
    if CURVED:
        bend, t = _tanh(_vector(factor, channel, OUT)), _tanh(h)
        of_factor = tl.sum(tl.where(inside[None, :], grad * t, 0.0), 1) * (1.0 - bend * bend)
        grad = grad * (1.0 + bend[:, None] * (1.0 - t * t))
    grad = tl.where(inside[None, :], grad, 0.0)
    raw, real = _matrix(matrix, channel, OUT, IN)
    of_matrix = tl.where(real, tl.sum(grad[:, None, :] * x[None, :, :], 2) * _sigmoid(raw), 0.0)
    m = tl.where(real, _softplus(raw), 0.0)
    return tl.sum(m[:, :, None] * grad[:, None, :], 0), of_matrix, tl.sum(grad, 1), of_factor


@triton.jit
def _chain_back(grad, v, inside, m0, m1, m2, m3, m4, b0, b1, b2, b3, b4, f0, f1, f2, f3, channel):
    x0, h0, x1, h1, x2, h2, x3, h3, x4, h4 = _chain(v, m0, m1, m2, m3, m4, b0, b1, b2, b3, b4, f0, f1, f2, f3, channel)
    g = tl.where((tl.arange(0, 4) == 0)[:, None], grad[None, :], 0.0)
    g, dm4, db4, _ = _back(g, x4, h4, m4, f3, channel, inside, 1, 3, False)
    g, dm3, db3, df3 = _back(g, x3, h3, m3, f3, channel, inside, 3, 3, True)
    g, dm2, db2, df2 = _back(g, x2, h2, m2, f2, channel, inside, 3, 3, True)
    g, dm1, db1, df1 = _back(g, x1, h1, m1, f1, channel, inside, 3, 3, True)
    g, dm0, db0, df0 = _back(g, x0, h0, m0, f0, channel, inside, 3, 1, True)
    return _logit(g), dm0, dm1, dm2, dm3, dm4, db0, db1, db2, db3, db4, df0, df1, df2, df3


@triton.jit
def _store_matrix(out, value, channel, OUT: tl.constexpr, IN: tl.constexpr):
    i, j = tl.arange(0, 4)[:, None], tl.arange(0, 4)[None, :]
    tl.store(out + channel * OUT * IN + i * IN + j, value, mask=(i < OUT) & (j < IN))


@triton.jit
def _store_vector(out, value, channel, OUT: tl.constexpr):
    i = tl.arange(0, 4)
    tl.store(out + channel * OUT + i, value, mask=i < OUT)


@triton.jit(do_not_specialize=["positions"])
def factorised_backward_kernel(
    z, dp, dz, m0, m1, m2, m3, m4, b0, b1, b2, b3, b4, f0, f1, f2, f3,
    om0, om1, om2, om3, om4, ob0, ob1, ob2, ob3, ob4, of0, of1, of2, of3, dp_step, least, positions, channels, BLOCK: tl.constexpr,
):  # fmt: skip
    """One channel a program, over all positions: its parameters' gradients are added in one order."""
    channel = tl.program_id(0)
    dm0 = tl.zeros((4, 4), tl.float32)
    dm1, dm2, dm3, dm4 = dm0, dm0, dm0, dm0
    db0 = tl.zeros((4,), tl.float32)
    db1, db2, db3, db4, df0, df1, df2, df3 = db0, db0, db0, db0, db0, db0, db0, db0
    for first in range(0, positions, BLOCK):
        at = (first + tl.arange(0, BLOCK)).to(tl.int64)
        inside = at < positions
        v = tl.load(z + at * channels + channel, mask=inside, other=0.0)
        low = tl.zeros((BLOCK,), tl.float32)
        high = low
        for end in range(2):  # a loop, so that the chain is compiled once
            _, _, _, _, _, _, _, _, _, last = _chain(v + (end - 0.5), m0, m1, m2, m3, m4, b0, b1, b2, b3, b4, f0, f1, f2, f3, channel)
            low, high = high, _logit(last)
        sign = tl.where(low + high > 0, -1.0, 1.0)
        upper, lower = _sigmoid(sign * high), _sigmoid(sign * low)
        span = upper - lower
        grad = tl.load(dp + at * dp_step + channel, mask=inside, other=0.0)
        grad = tl.where((tl.abs(span) >= least) | (grad < 0), grad, 0.0)
        grad *= tl.where(span > 0, 1.0, tl.where(span < 0, -1.0, 0.0)) * sign
        of_v = tl.zeros((BLOCK,), tl.float32)
        for end in range(2):
            own = grad * tl.where(end == 0, -lower * (1.0 - lower), upper * (1.0 - upper))
            place = v + (end - 0.5)
            g, am0, am1, am2, am3, am4, ab0, ab1, ab2, ab3, ab4, af0, af1, af2, af3 = _chain_back(
                own, place, inside, m0, m1, m2, m3, m4, b0, b1, b2, b3, b4, f0, f1, f2, f3, channel
            )
            of_v += g
            dm0, dm1, dm2, dm3, dm4 = dm0 + am0, dm1 + am1, dm2 + am2, dm3 + am3, dm4 + am4
            db0, db1, db2, db3, db4 = db0 + ab0, db1 + ab1, db2 + ab2, db3 + ab3, db4 + ab4
            df0, df1, df2, df3 = df0 + af0, df1 + af1, df2 + af2, df3 + af3
        tl.store(dz + at * channels + channel, of_v, mask=inside)
    _store_matrix(om0, dm0, channel, 3, 1)
    _store_matrix(om1, dm1, channel, 3, 3)
    _store_matrix(om2, dm2, channel, 3, 3)
    _store_matrix(om3, dm3, channel, 3, 3)
    _store_matrix(om4, dm4, channel, 1, 3)
    _store_vector(ob0, db0, channel, 3)
    _store_vector(ob1, db1, channel, 3)
    _store_vector(ob2, db2, channel, 3)
    _store_vector(ob3, db3, channel, 3)
    _store_vector(ob4, db4, channel, 1)
    _store_vector(of0, df0, channel, 3)
    _store_vector(of1, df1, channel, 3)
    _store_vector(of2, df2, channel, 3)
    _store_vector(of3, df3, channel, 3)


def _rows(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B H W, C): a view where each position's channels lie together and the positions at one step; else a copy."""
    b, c, h, w = x.shape
    last = x.permute(0, 2, 3, 1)
    step = last.stride(2)
    if last.stride(3) == 1 and last.stride(1) == w * step and (b == 1 or last.stride(0) == h * w * step):
        return last.as_strided((b * h * w, c), (step, 1))
    return last.contiguous().view(-1, c)


def _shaped(rows: Tensor, like: Tensor) -> Tensor:
    b, c, h, w = like.shape
    return rows.view(b, h, w, c).permute(0, 3, 1, 2)


def _grid(positions: int, channels: int) -> tuple[int, int]:
    return triton.cdiv(positions, BLOCK), triton.cdiv(channels, LINE)


def gaussian(y: Tensor, scale: Tensor, mean: Tensor | None, least_scale: float, least: float) -> Tensor:
    """(B, C, h, w) float32 each -> likelihoods, channels last: models.layers.gaussian_likelihood."""
    ys, scales, means = _rows(y), _rows(scale), None if mean is None else _rows(mean)
    positions, channels = ys.shape
    p = torch.empty(positions, channels, dtype=torch.float32, device=y.device)
    gaussian_kernel[_grid(positions, channels)](
        ys, scales, means, p, ys.stride(0), scales.stride(0), 0 if means is None else means.stride(0), least_scale, least,
        positions, channels, MEAN=means is not None, BLOCK=BLOCK, LINE=LINE,
    )  # fmt: skip
    return _shaped(p, y)


def gaussian_backward(
    y: Tensor, scale: Tensor, mean: Tensor | None, dp: Tensor, least_scale: float, least: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What descends to y, scale and mean; an empty tensor where there is no mean."""
    ys, scales, means, incoming = _rows(y), _rows(scale), None if mean is None else _rows(mean), _rows(dp)
    positions, channels = ys.shape
    dy, dscale, dmean = (torch.empty(positions, channels, dtype=torch.float32, device=y.device) for _ in range(3))
    gaussian_backward_kernel[_grid(positions, channels)](
        ys, scales, means, incoming, dy, dscale, dmean, ys.stride(0), scales.stride(0), 0 if means is None else means.stride(0),
        incoming.stride(0), least_scale, least, positions, channels, MEAN=means is not None, BLOCK=BLOCK, LINE=LINE,
    )  # fmt: skip
    return _shaped(dy, y), _shaped(dscale, y), y.new_empty(0) if means is None else _shaped(dmean, y)


def factorised(z: Tensor, parameters: Sequence[Tensor], least: float) -> Tensor:
    """z (B, C, h, w) float32; matrices, biases, factors as stored, in this order, of widths 1-3-3-3-3-1 -> likelihoods, channels last."""
    rows = _rows(z)
    rows = rows if rows.is_contiguous() else rows.contiguous()
    positions, channels = rows.shape
    p = torch.empty(positions, channels, dtype=torch.float32, device=z.device)
    factorised_kernel[(triton.cdiv(positions, BLOCK_Z), channels)](rows, p, *parameters, least, positions, channels, BLOCK=BLOCK_Z)
    return _shaped(p, z)


def factorised_backward(z: Tensor, dp: Tensor, parameters: Sequence[Tensor], least: float) -> list[Tensor]:
    """What descends to z and to each parameter. The same bits each time."""
    rows, incoming = _rows(z).contiguous(), _rows(dp)
    positions, channels = rows.shape
    dz, grads = torch.empty_like(rows), [torch.empty_like(p) for p in parameters]
    factorised_backward_kernel[(channels,)](
        rows, incoming, dz, *parameters, *grads, incoming.stride(0), least, positions, channels, BLOCK=BLOCK_Z
    )
    return [_shaped(dz, z), *grads]
