# SPDX-License-Identifier: Apache-2.0
"""From sums of products to activations: docs/reference/format.md, "Integer arithmetic". The helper is part of every kernel with a layer."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def requantise_tile(total, mul_pos, mul_neg, shift, zero, limit):
    """clamp(((total * mul + 2^(shift - 1)) >> shift) + zero, limit), int32 in and out; the product takes 63 bits."""
    scaled = total.to(tl.int64) * tl.where(total < 0, mul_neg, mul_pos).to(tl.int64)
    shift = shift.to(tl.int64)
    half = tl.full([], 1, tl.int64) << (shift - 1)
    rounded = ((scaled + half) >> shift) + zero
    return tl.minimum(tl.maximum(rounded, -limit), limit).to(tl.int32)


@triton.jit
def requantise_columns(total, rule, column, columns, limit):
    """total (positions, columns of a tile), rule (4, columns) in memory, column: the tile's column numbers."""
    at = rule + column
    mul_pos, mul_neg = tl.load(at)[None, :], tl.load(at + columns)[None, :]
    shift, zero = tl.load(at + 2 * columns)[None, :], tl.load(at + 3 * columns)[None, :]
    return requantise_tile(total, mul_pos, mul_neg, shift, zero, limit)


@triton.jit(do_not_specialize=["rows"])
def requantise_kernel(total, rule, out, rows, columns, limit, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < columns
    at = row.to(tl.int64) * columns + column
    column = tl.where(inside, column, 0)
    sums = tl.load(total + at, mask=inside, other=0)[None, :]
    values = requantise_columns(sums, rule, column, columns, limit)
    tl.store(out + at[None, :], values, mask=inside[None, :])


def requantise(total: torch.Tensor, rule: torch.Tensor, limit: int) -> torch.Tensor:
    """total (n, outputs) int32, biases included; rule (4, outputs) int32: mul_pos, mul_neg, shift, zero -> (n, outputs) int32."""
    out = torch.empty_like(total)
    rows, columns = total.shape
    if rows:
        requantise_kernel[(rows, triton.cdiv(columns, 128))](total, rule, out, rows, columns, limit, BLOCK=128)
    return out


def requantise_reference(total: torch.Tensor, rule: torch.Tensor, limit: int) -> torch.Tensor:
    """The same in plain torch, int64."""
    mul_pos, mul_neg, shift, zero = rule.long()
    total = total.long()
    scaled = total * torch.where(total < 0, mul_neg, mul_pos)
    rounded = (scaled + (torch.ones_like(shift) << (shift - 1)) >> shift) + zero
    clamped: torch.Tensor = rounded.clamp(-limit, limit).int()
    return clamped
