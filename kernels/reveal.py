# SPDX-License-Identifier: Apache-2.0
"""What a network sees of decoded values: docs/reference/format.md, "The networks", `seen` of the context model and the input of `h_s`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .packing import LINE, PackedInput


@triton.jit
def reveal_tile(values, plane, mul, add, shift, limit, at, inside, channel, channels, PADDED: tl.constexpr):
    """Positions `at` (those that are `inside`) and channels `channel`; of PADDED channels those behind `channels` become 0."""
    real = channel < channels
    value = tl.load(values + at[:, None] * channels + channel[None, :], mask=inside[:, None] & real[None, :], other=0).to(tl.int64)
    scaled = value * tl.load(mul + channel, mask=real, other=0)[None, :] + tl.load(add + channel, mask=real, other=0)[None, :]
    seen = scaled >> tl.load(shift + channel, mask=real, other=0).to(tl.int64)[None, :]
    seen = tl.minimum(tl.maximum(seen, -limit), limit)
    tl.store(plane + at[:, None] * PADDED + channel[None, :], seen.to(plane.dtype.element_ty), mask=inside[:, None])


@triton.jit
def reveal_run(
    values, plane, mul, add, shift, limit, count, position, step, channels,
    PADDED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Positions position + p * step for p below count, in one program."""
    for m in range(0, count, BLOCK_M):
        p = m + tl.arange(0, BLOCK_M)
        for n in range(0, PADDED, BLOCK_N):
            channel = n + tl.arange(0, BLOCK_N)
            reveal_tile(values, plane, mul, add, shift, limit, position + p.to(tl.int64) * step, p < count, channel, channels, PADDED)


@triton.jit(do_not_specialize=["positions"])
def reveal_kernel(
    values, plane, mul, add, shift, limit, positions, channels, PADDED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    at = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    channel = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    reveal_tile(values, plane, mul, add, shift, limit, at, at < positions, channel, channels, PADDED)


def reveal(values: torch.Tensor, seen: PackedInput, plane: torch.Tensor, limit: int) -> torch.Tensor:
    """values (positions, channels) int32 -> plane (positions, padded channels) int8 or int16, is filled and returned."""
    positions, channels = values.shape
    if positions:
        reveal_kernel[(triton.cdiv(positions, 16), plane.shape[1] // LINE)](
            values, plane, seen.mul, seen.add, seen.shift, limit, positions, channels, PADDED=plane.shape[1], BLOCK_M=16, BLOCK_N=LINE
        )
    return plane


def reveal_reference(values: torch.Tensor, seen: PackedInput, limit: int) -> torch.Tensor:
    """The same in plain torch, int64, without padding: (..., channels) -> (..., channels)."""
    return (values.long() * seen.mul + seen.add >> seen.shift).clamp(-limit, limit)
