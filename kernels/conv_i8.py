# SPDX-License-Identifier: Apache-2.0
"""Layers of int8 weights over planes of activations, as implicit products: convolution, masked and transposed convolution, 1x1.

Activations are int8, or int16 with |a| <= 4095; these are split into a >> 6 and a & 63, which fit int8, and both halves are
multiplied. All sums are int32 and exact, in any order, by the bound on sums that a model file keeps (docs/reference/format.md).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

from .packing import LINE, PackedLayer
from .requantise import requantise_columns, requantise_reference

SHAPE_COLUMNS = 6
"""An image's line in `shapes`: rows, columns, first position of the input; the same of the output."""


@triton.jit
def dot_i8(high, low, x, w, WIDE: tl.constexpr):
    """64 * high + low grows by x @ w; high is used if WIDE, that is if x is int16."""
    if WIDE:
        high = tl.dot((x >> 6).to(tl.int8), w, high, out_dtype=tl.int32)
        low = tl.dot((x & 63).to(tl.int8), w, low, out_dtype=tl.int32)
    else:
        low = tl.dot(x, w, low, out_dtype=tl.int32)
    return high, low


@triton.jit
def conv_i8_kernel(
    x, weight, start, start_stride, rule, out, shapes, limit, first_tap, tap_step, tap_columns, taps,
    IN: tl.constexpr, OUT: tl.constexpr, TRANSPOSED: tl.constexpr, RAW: tl.constexpr, WIDE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A tile of positions by outputs of one image (axis 2). A transposed layer has its four phases on axis 1, outputs inner.

    Tap t reads the input at row + first_tap + tap_step * (t // tap_columns), and columns likewise with the remainder.
    """
    shape = shapes + tl.program_id(2) * 6
    in_rows, in_columns, in_first = tl.load(shape), tl.load(shape + 1), tl.load(shape + 2)
    out_columns, out_first = tl.load(shape + 4), tl.load(shape + 5)
    if TRANSPOSED:
        grid_rows, grid_columns = in_rows, in_columns
    else:
        grid_rows, grid_columns = tl.load(shape + 3), out_columns
    position = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    if tl.program_id(0).to(tl.int64) * BLOCK_M < grid_rows * grid_columns:
        inside = position < grid_rows * grid_columns
        row, column = position // grid_columns, position % grid_columns
        block = tl.program_id(1) % (OUT // BLOCK_N)
        phase_row, phase_column = 0, 0
        if TRANSPOSED:
            phase = tl.program_id(1) // (OUT // BLOCK_N)
            phase_row, phase_column = phase // 2, phase % 2
            tap_columns = 3 - phase_column
            taps = (3 - phase_row) * tap_columns
            before = 15 * phase_row + (9 - 3 * phase_row) * phase_column  # taps of the phases before: 9, 6, 6, 4
            weight += before * OUT * IN
        n = block * BLOCK_N + tl.arange(0, BLOCK_N)
        channel = tl.arange(0, BLOCK_K)
        weights = weight + n.to(tl.int64)[None, :] * (taps * IN) + channel[:, None]
        high = tl.zeros([BLOCK_M, BLOCK_N], tl.int32)
        low = tl.zeros([BLOCK_M, BLOCK_N], tl.int32)
        for i in range(taps * (IN // BLOCK_K)):
            tap, k = i // (IN // BLOCK_K), i % (IN // BLOCK_K) * BLOCK_K
            r = row + (first_tap + tap_step * (tap // tap_columns))
            c = column + (first_tap + tap_step * (tap % tap_columns))
            there = inside & (r >= 0) & (r < in_rows) & (c >= 0) & (c < in_columns)
            at = x + (in_first + r * in_columns + c)[:, None] * IN + (k + channel)[None, :]
            a = tl.load(at, mask=there[:, None], other=0)
            b = tl.load(weights + i * BLOCK_K)
            high, low = dot_i8(high, low, a, b, WIDE)
        target = out_first + position
        if TRANSPOSED:
            target = out_first + (2 * row + phase_row) * out_columns + 2 * column + phase_column
        total = low + tl.load(start + target[:, None] * start_stride + n[None, :], mask=inside[:, None], other=0)
        if WIDE:
            total += high * 64
        if not RAW:
            total = requantise_columns(total, rule, n, OUT, limit)
        tl.store(out + target[:, None] * OUT + n[None, :], total.to(out.dtype.element_ty), mask=inside[:, None])


def conv_i8(
    x: torch.Tensor, layer: PackedLayer, out: torch.Tensor, shapes: torch.Tensor, most: int, *, start: torch.Tensor | None = None,
    raw: bool = False,
) -> torch.Tensor:  # fmt: skip
    """Runs a layer over several images in one launch.

    Args:
        x: (positions, layer.inputs) int8 or int16: the planes of all images, one after the other.
        out: (positions, layer.outputs) int8, int16 or int32, is filled and returned. Sums of int32 if `raw`.
        shapes: (images, 6) int64 on the device, see SHAPE_COLUMNS.
        most: positions of the largest image: of its input for a transposed layer, else of its output.
        start: (positions, layer.outputs) int32, what sums begin with; otherwise the bias.
    """
    transposed = layer.kind == "transposed"
    first, step = (1, -1) if transposed else (-(layer.kernel // 2), 1)
    grid = (triton.cdiv(most, 64), layer.outputs // LINE * (4 if transposed else 1), len(shapes))
    sums, stride = (layer.bias, 0) if start is None else (start, layer.outputs)
    if most and len(shapes):
        conv_i8_kernel[grid](
            x, layer.weight, sums, stride, layer.rule, out, shapes, layer.limit, first, step, layer.kernel, layer.taps,
            IN=layer.inputs, OUT=layer.outputs, TRANSPOSED=transposed, RAW=raw, WIDE=x.dtype == torch.int16,
            BLOCK_M=64, BLOCK_N=LINE, BLOCK_K=LINE, num_warps=4, num_stages=3,
        )  # fmt: skip
    return out


def conv_i8_reference(
    x: torch.Tensor, layer: PackedLayer, height: int, width: int, start: torch.Tensor | None = None, raw: bool = False
) -> torch.Tensor:
    """One image in plain torch: x (h, w, inputs) -> (height, width, outputs) int32. Products in float64, exact below 2^53."""
    pad, step = (1, 2) if layer.kind == "transposed" else (layer.kernel // 2, 1)
    planes = F.pad(x.double(), (0, 0, pad, pad + 1, pad, pad + 1))
    total = torch.zeros(height, width, layer.outputs, dtype=torch.float64, device=x.device)
    at = 0
    for phase in range(step * step):
        r, c = phase // 2, phase % 2
        if layer.kind == "transposed":
            cells = [(2 - i, 2 - j) for i in range(3 - r) for j in range(3 - c)]
        else:
            cells = [divmod(tap, layer.kernel) for tap in range(layer.taps)]
        size = layer.outputs * len(cells) * layer.inputs
        matrix = layer.weight[at : at + size].reshape(layer.outputs, len(cells), layer.inputs).double()
        at += size
        part = total[r::step, c::step]
        for tap, (i, j) in enumerate(cells):
            part += planes[i : i + part.shape[0], j : j + part.shape[1]] @ matrix[:, tap].T
    sums = total.long() + (layer.bias if start is None else start)
    return sums.int() if raw else requantise_reference(sums, layer.rule, layer.limit)
