# SPDX-License-Identifier: Apache-2.0
"""From scales and means to table rows: docs/reference/format.md, "From parameters to a table row" and "Skipped symbols"."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .packing import PackedScales


@triton.jit
def symbol_rows_tile(
    scale, mean, thresholds, scale_row, scale_drop, count, skip,
    SEARCH: tl.constexpr, MEAN_BITS: tl.constexpr, FORM_B: tl.constexpr,
):  # fmt: skip
    """scale, mean int32 of one shape -> row and shift. A symbol that is skipped has row -1, and its value as shift.

    Otherwise shift is the floor of the mean in form A and the mean itself in form B.
    """
    index = scale * 0
    last = index + count
    for _ in range(SEARCH):
        searching = index < last
        middle = (index + last) >> 1
        passed = searching & (tl.load(thresholds + middle, mask=searching, other=0) <= scale)
        last = tl.where(searching & (passed == 0), middle, last)
        index = tl.where(passed, middle + 1, index)
    row = tl.load(scale_row + index)
    if FORM_B:
        shift = mean
        value = mean
    else:
        row += (mean & ((1 << MEAN_BITS) - 1)) >> tl.load(scale_drop + index)
        shift = mean >> MEAN_BITS
        value = (mean + (1 << MEAN_BITS >> 1)) >> MEAN_BITS
    skipped = index < skip
    return tl.where(skipped, -1, row), tl.where(skipped, value, shift)


@triton.jit
def symbol_rows_kernel(
    features, rows, shifts, thresholds, scale_row, scale_drop, count, images, latents, stride,
    SEARCH: tl.constexpr, MEAN_BITS: tl.constexpr, FORM_B: tl.constexpr, MEANS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image = images + tl.program_id(2) * 3
    positions, first, skip = tl.load(image), tl.load(image + 1), tl.load(image + 2).to(tl.int32)
    position = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (channel < latents) & (position < positions)
    position += first
    at = features + position * stride + channel
    scale = tl.load(at, mask=inside, other=0)
    mean = scale * 0
    if MEANS:
        mean = tl.load(at + stride // 2, mask=inside, other=0)
    row, shift = symbol_rows_tile(scale, mean, thresholds, scale_row, scale_drop, count, skip, SEARCH, MEAN_BITS, FORM_B)
    tl.store(rows + position * latents + channel, row, mask=inside)
    tl.store(shifts + position * latents + channel, shift, mask=inside)


def symbol_rows(
    features: torch.Tensor, scales: PackedScales, images: torch.Tensor, most: int, *, mean_bits: int, form_b: bool, means: bool,
    rows: torch.Tensor, shifts: torch.Tensor,
) -> None:  # fmt: skip
    """Fills rows and shifts, both (positions, latents) int32, of several images; see symbol_rows_tile.

    Args:
        features: (positions, stride) int32: scales from channel 0 on, means (if `means`) from channel stride / 2 on.
        images: (n, 3) int64: positions, first position and skip threshold of each.
        most: positions of the largest.
    """
    latents = rows.shape[1]
    grid = (most, triton.cdiv(latents, 256), len(images))
    if most and len(images):
        symbol_rows_kernel[grid](
            features, rows, shifts, scales.thresholds, scales.row, scales.drop, scales.count, images, latents, features.shape[1],
            SEARCH=scales.search, MEAN_BITS=mean_bits, FORM_B=form_b, MEANS=means, BLOCK=256,
        )  # fmt: skip


def symbol_rows_reference(
    scale: torch.Tensor, mean: torch.Tensor, scales: PackedScales, skip: int, *, mean_bits: int, form_b: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same in plain torch, int64: scale, mean of one shape -> rows and shifts, int32. Without means `mean` is 0."""
    scale, mean = scale.long(), mean.long()
    index = (scales.thresholds[: scales.count].long() <= scale[..., None]).sum(-1)
    row, shift, value = scales.row.long()[index], mean, mean
    if not form_b:
        row = row + ((mean & (1 << mean_bits) - 1) >> scales.drop.long()[index])
        shift, value = mean >> mean_bits, mean + (1 << mean_bits >> 1) >> mean_bits
    skipped = index < skip
    return torch.where(skipped, -1, row).int(), torch.where(skipped, value, shift).int()
