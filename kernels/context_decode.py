# SPDX-License-Identifier: Apache-2.0
"""The wavefront in one launch: context model, parameters, table rows and range decoding of all steps.

The order is that of docs/reference/format.md, "Order of the symbols". One program decodes one image, so a batch of images is one
launch and no program ever waits for another.

Within a program, layers and range decoder alternate. What they hand over (activations, rows, values) lies in memory of the device's
own, and a barrier stands between writing it and reading it. Weights stream from the second-level cache at every step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from .conv_i8 import conv_i8_reference, dot_i8
from .packing import LINE, PackedInput, PackedLayer, PackedModel, PackedScales
from .range_decode import (
    NO_FAULT,
    TABLE_COLUMNS,
    RangeDecoderRef,
    close_payload,
    decode_run,
    load_state,
    load_u32,
    store_status,
)
from .requantise import requantise_columns, requantise_reference
from .reveal import reveal_reference, reveal_run
from .symbol_rows import symbol_rows_reference, symbol_rows_tile


@triton.jit
def masked_layer(
    seen, height, width, slope, first_row, first_column, plane_first, weight, bias, rule, out, count, limit,
    KERNEL: tl.constexpr, IN: tl.constexpr, OUT: tl.constexpr, WIDE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The masked convolution at positions (first_row + p, first_column - slope * p) -> out (count, OUT)."""
    half: tl.constexpr = KERNEL // 2
    taps: tl.constexpr = KERNEL * KERNEL // 2
    chunks: tl.constexpr = IN // BLOCK_K
    channel = tl.arange(0, BLOCK_K)
    for m in range(0, count, BLOCK_M):
        p = m + tl.arange(0, BLOCK_M)
        inside = p < count
        row, column = first_row + p - half, first_column - slope * p - half
        for n in range(0, OUT, BLOCK_N):
            output = n + tl.arange(0, BLOCK_N)
            weights = weight + output.to(tl.int64)[None, :] * (taps * IN) + channel[:, None]
            high = tl.zeros([BLOCK_M, BLOCK_N], tl.int32)
            low = tl.zeros([BLOCK_M, BLOCK_N], tl.int32)
            for i in range(taps * chunks):
                tap, k = i // chunks, i % chunks * BLOCK_K
                r, c = row + tap // KERNEL, column + tap % KERNEL
                there = inside & (r >= 0) & (c >= 0) & (c < width)
                at = (plane_first + r.to(tl.int64) * width + c) * IN
                x = tl.load(seen + at[:, None] + (k + channel)[None, :], mask=there[:, None], other=0)
                high, low = dot_i8(high, low, x, tl.load(weights + i * BLOCK_K), WIDE)
            total = low + tl.load(bias + output)[None, :]
            if WIDE:
                total += high * 64
            values = requantise_columns(total, rule, output, OUT, limit)
            tl.store(out + p[:, None] * OUT + output[None, :], values.to(out.dtype.element_ty), mask=inside[:, None])


@triton.jit
def dense_tile(
    x, weight, p, inside, output, IN: tl.constexpr, WIDE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr
):
    """Products of rows p of x with the weights of some outputs, int32, without bias."""
    channel = tl.arange(0, BLOCK_K)
    rows = x + p[:, None] * IN + channel[None, :]
    weights = weight + output[None, :] * IN + channel[:, None]
    high = tl.zeros([BLOCK_M, BLOCK_N], tl.int32)
    low = tl.zeros([BLOCK_M, BLOCK_N], tl.int32)
    for k in range(0, IN, BLOCK_K):
        high, low = dot_i8(high, low, tl.load(rows + k, mask=inside[:, None], other=0), tl.load(weights + k), WIDE)
    if WIDE:
        low += high * 64
    return low


@triton.jit
def dense_layer(
    x, weight, start, start_first, start_step, start_stride, rule, out, count, limit,
    IN: tl.constexpr, OUT: tl.constexpr, WIDE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """x (count, IN) -> out (count, OUT). Sums begin with row start_first + p * start_step of `start`."""
    for m in range(0, count, BLOCK_M):
        p = m + tl.arange(0, BLOCK_M)
        inside = p < count
        begin = (start_first + p.to(tl.int64) * start_step) * start_stride
        for n in range(0, OUT, BLOCK_N):
            output = n + tl.arange(0, BLOCK_N)
            total = dense_tile(x, weight, p, inside, output, IN, WIDE, BLOCK_M, BLOCK_N, BLOCK_K)
            total += tl.load(start + begin[:, None] + output[None, :], mask=inside[:, None], other=0)
            values = requantise_columns(total, rule, output, OUT, limit)
            tl.store(out + p[:, None] * OUT + output[None, :], values.to(out.dtype.element_ty), mask=inside[:, None])


@triton.jit
def last_layer(
    x, weight, bias, rule, rows, shifts, count, channels, thresholds, scale_row, scale_drop, scale_count, skip,
    IN: tl.constexpr, GROUP: tl.constexpr, LIMIT: tl.constexpr, SCALE_SEARCH: tl.constexpr, MEAN_BITS: tl.constexpr, FORM_B: tl.constexpr,
    WIDE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The layer that gives scales (outputs 0..GROUP) and means (the next GROUP), and from them rows and shifts (count, channels)."""
    for m in range(0, count, BLOCK_M):
        p = m + tl.arange(0, BLOCK_M)
        inside = p < count
        for n in range(0, GROUP, BLOCK_N):
            channel = n + tl.arange(0, BLOCK_N)
            output = GROUP + channel
            scale = dense_tile(x, weight, p, inside, channel, IN, WIDE, BLOCK_M, BLOCK_N, BLOCK_K) + tl.load(bias + channel)[None, :]
            scale = requantise_columns(scale, rule, channel, 2 * GROUP, LIMIT)
            mean = dense_tile(x, weight, p, inside, output, IN, WIDE, BLOCK_M, BLOCK_N, BLOCK_K) + tl.load(bias + output)[None, :]
            mean = requantise_columns(mean, rule, output, 2 * GROUP, LIMIT)
            row, shift = symbol_rows_tile(
                scale, mean, thresholds, scale_row, scale_drop, scale_count, skip, SCALE_SEARCH, MEAN_BITS, FORM_B
            )
            real = inside[:, None] & (channel < channels)[None, :]
            at = p[:, None] * channels + channel[None, :]
            tl.store(rows + at, row, mask=real)
            tl.store(shifts + at, shift, mask=real)


@triton.jit(do_not_specialize=["most"], do_not_specialize_on_alignment=["payloads"])
def context_decode_kernel(
    table, payloads, state, status, values, seen, mul, add, shift, start, start_stride, activations, symbols, most,
    context_weight, context_bias, context_rule, weight_0, rule_0, weight_1, bias_1, rule_1, weight_2, bias_2, rule_2,
    thresholds, scale_row, scale_drop, scale_count, info, lasts, hyper_latents, latents, limit,
    KERNEL: tl.constexpr, IN: tl.constexpr, CONTEXT: tl.constexpr, HIDDEN_0: tl.constexpr, HIDDEN_1: tl.constexpr,
    PARAMETER_LIMIT: tl.constexpr, SCALE_SEARCH: tl.constexpr, SEARCH: tl.constexpr, PROB_BITS: tl.constexpr, FORM_B: tl.constexpr,
    MEAN_BITS: tl.constexpr, WIDE: tl.constexpr, LANES: tl.constexpr, SKIPS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    slope: tl.constexpr = KERNEL // 2 + 1
    block_context: tl.constexpr = 128 if CONTEXT % 128 == 0 else 64
    block_0: tl.constexpr = 128 if HIDDEN_0 % 128 == 0 else 64
    block_1: tl.constexpr = 128 if HIDDEN_1 % 128 == 0 else 64
    image = tl.program_id(0).to(tl.int64)
    line = table + image * TABLE_COLUMNS
    payload, size, lanes, least = payloads + tl.load(line), tl.load(line + 1), tl.load(line + 2).to(tl.int32), tl.load(line + 3)
    index = tl.load(line + 4) * tl.load(line + 5) * hyper_latents
    height, width = tl.load(line + 7).to(tl.int32), tl.load(line + 8).to(tl.int32)
    plane_first, skip = tl.load(line + 9), tl.load(line + 10).to(tl.int32)
    context = activations + image * most * (CONTEXT + HIDDEN_0 + HIDDEN_1)
    hidden_0 = context + most * CONTEXT
    hidden_1 = hidden_0 + most * HIDDEN_0
    rows = symbols + image * most * latents * 3
    shifts = rows + most * latents
    order = shifts + most * latents
    states, at, used, failed = load_state(state, image, LANES)
    escapes = load_u32(payload, size >= 4)
    lane_failed = tl.full([LANES], NO_FAULT, tl.int64)
    steps = width + slope * (height - 1)
    t = height * 0
    while (t < steps) & (failed == NO_FAULT):
        first_row = tl.maximum(t - width + slope, 0) // slope
        count = tl.minimum(height - 1, t // slope) + 1 - first_row
        if count > 0:
            first_column = t - slope * first_row
            position = plane_first + first_row.to(tl.int64) * width + first_column
            step = (width - slope).to(tl.int64)
            masked_layer(
                seen, height, width, slope, first_row, first_column, plane_first, context_weight, context_bias, context_rule, context,
                count, limit, KERNEL, IN, CONTEXT, WIDE, BLOCK_M, block_context, BLOCK_K,
            )  # fmt: skip
            tl.debug_barrier()
            dense_layer(
                context, weight_0, start, position, step, start_stride, rule_0, hidden_0, count, limit,
                CONTEXT, HIDDEN_0, WIDE, BLOCK_M, block_0, BLOCK_K,
            )  # fmt: skip
            tl.debug_barrier()
            dense_layer(
                hidden_0, weight_1, bias_1, position, step, 0, rule_1, hidden_1, count, limit,
                HIDDEN_0, HIDDEN_1, WIDE, BLOCK_M, block_1, BLOCK_K,
            )  # fmt: skip
            tl.debug_barrier()
            last_layer(
                hidden_1, weight_2, bias_2, rule_2, rows, shifts, count, latents, thresholds, scale_row, scale_drop, scale_count, skip,
                HIDDEN_1, IN, PARAMETER_LIMIT, SCALE_SEARCH, MEAN_BITS, FORM_B, WIDE, BLOCK_M, 64, BLOCK_K,
            )  # fmt: skip
            tl.debug_barrier()
            states, at, used, lane_failed = decode_run(
                states, at, used, lane_failed, payload, size, escapes, index, rows, latents, shifts, order, values, count, position,
                step, latents, lanes, info, lasts, SEARCH, PROB_BITS, FORM_B, MEAN_BITS, LANES, SKIPS,
            )  # fmt: skip
            failed = tl.min(lane_failed, 0)
            tl.debug_barrier()
            reveal_run(values, seen, mul, add, shift, limit, count, position, step, latents, IN, 16, 64)
            tl.debug_barrier()
            index += count * latents
        t += 1
    if failed == NO_FAULT:
        failed = close_payload(payload, size, least, lanes, states, at, used, LANES)
    store_status(status, image, failed)


class ContextParts(NamedTuple):
    """What of a model with a context layer the kernel reads."""

    seen: PackedInput
    context: PackedLayer
    parameters: tuple[PackedLayer, ...]
    scales: PackedScales

    @staticmethod
    def of(model: PackedModel) -> ContextParts:
        assert model.context_input is not None
        assert model.context is not None
        assert model.scales is not None
        return ContextParts(model.context_input, model.context, model.parameters, model.scales)


def most_positions(height: int, width: int, slope: int) -> int:
    """Positions of the largest step."""
    return min(height, -(-width // slope))


def context_decode(
    table: torch.Tensor, payloads: torch.Tensor, state: torch.Tensor, status: torch.Tensor, values: torch.Tensor, model: PackedModel,
    most: int, lanes: int, start: torch.Tensor | None, skips: bool, block: int = 0,
) -> None:  # fmt: skip
    """Decodes y of several images in one launch.

    Args:
        table: (images, 12) int64, see range_decode.TABLE_COLUMNS. payloads: uint8, all of them.
        state: (images, 68) int64, as the launch for z left it.
        status: (images, 8) int32, is filled.
        values: (positions, M) int32, is filled.
        most: positions of the largest step of any image. lanes: of the image that has most.
        start: (positions, outputs) int32: what h_s adds to the first 1x1 layer (bias included). None: there is no h_s.
        skips: whether any image has a skip threshold.
        block: positions that are multiplied together, a power of two; 0: 16, or 32 if a step has more. Devices want 16 at least.
    """
    c, part = model.config, ContextParts.of(model)
    first, second, third = part.parameters
    wide = c.activation_bits == 16
    device, images = values.device, len(table)
    dtype = torch.int16 if wide else torch.int8
    seen = torch.empty(len(values), part.context.inputs, dtype=dtype, device=device)
    activations = torch.empty(images * most * (first.inputs + second.inputs + third.inputs), dtype=dtype, device=device)
    symbols = torch.empty(images * most * 3 * c.latents, dtype=torch.int32, device=device)
    context_decode_kernel[(images,)](
        table, payloads, state, status, values, seen, part.seen.mul, part.seen.add, part.seen.shift,
        first.bias if start is None else start, 0 if start is None else first.outputs, activations, symbols, most,
        part.context.weight, part.context.bias, part.context.rule, first.weight, first.rule, second.weight, second.bias, second.rule,
        third.weight, third.bias, third.rule, part.scales.thresholds, part.scales.row, part.scales.drop, part.scales.count,
        model.tables.info, model.tables.lasts, c.hyper_latents, c.latents, c.activation_limit,
        KERNEL=part.context.kernel, IN=part.context.inputs, CONTEXT=first.inputs, HIDDEN_0=second.inputs, HIDDEN_1=third.inputs,
        PARAMETER_LIMIT=third.limit, SCALE_SEARCH=part.scales.search, SEARCH=model.tables.search, PROB_BITS=c.prob_bits,
        FORM_B=c.form == "B", MEAN_BITS=c.mean_bits, WIDE=wide, LANES=32 if lanes <= 32 else 64, SKIPS=skips,
        BLOCK_M=block or (16 if most <= 16 else 32), BLOCK_K=LINE, num_warps=8, num_stages=3,
    )  # fmt: skip


def context_decode_reference(
    coder: RangeDecoderRef, model: PackedModel, height: int, width: int, skip: int, start: torch.Tensor | None
) -> torch.Tensor:
    """One image in plain torch, position by position, int64 and float64: y (height, width, M) int32.

    Args:
        coder: behind z; holds the failure, if there is one. Values behind it are 0.
        start: (height, width, outputs), see context_decode.
    """
    c, part = model.config, ContextParts.of(model)
    half, group = part.context.kernel // 2, model.groups
    values = torch.zeros(height, width, c.latents, dtype=torch.int64)
    seen = torch.zeros(height + 2 * half, width + 2 * half, part.context.inputs, dtype=torch.int64)
    for t in range(width + (half + 1) * (height - 1)):
        for r in range(height):
            q = t - (half + 1) * r
            if not 0 <= q < width or coder.failed:
                continue
            patch = seen[r : r + 2 * half + 1, q : q + 2 * half + 1]
            x = conv_i8_reference(patch, part.context, *patch.shape[:2])[half, half]
            for i, layer in enumerate(part.parameters):
                begin = start[r, q] if start is not None and i == 0 else layer.bias
                sums = x.double() @ layer.weight.reshape(layer.outputs, layer.inputs).double().T
                x = requantise_reference(sums.long() + begin, layer.rule, layer.limit)
            row, shift = symbol_rows_reference(
                x[: c.latents], x[group : group + c.latents], part.scales, skip, mean_bits=c.mean_bits, form_b=c.form == "B"
            )
            pairs = zip(row.tolist(), shift.tolist(), strict=True)
            values[r, q] = torch.tensor([coder.get(m, k, s, c.form == "B", c.mean_bits) for m, (k, s) in enumerate(pairs)])
            seen[r + half, q + half, : c.latents] = reveal_reference(values[r, q], part.seen, c.activation_limit)
    return values.int()
