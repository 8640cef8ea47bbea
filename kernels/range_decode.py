# SPDX-License-Identifier: Apache-2.0
"""The range decoder inside a kernel: docs/reference/format.md, "Range coder". One program decodes one image; its lanes are a vector.

A round is L consecutive coded symbols of a position, which are gathered first where others are skipped. Which lanes need a word is
known after their states have moved, so a prefix sum gives each of them its place among the words, and likewise among the escapes. Nothing
is trusted: every read is masked by the payload's length. A failure is a number, 16 * detail + code of `backends.status.Status`, and the
least of all is the first in coding order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from jahp_fast.backends.status import Status

from .packing import PackedInput, PackedTables
from .reveal import reveal_run

LANE_START = tl.constexpr(1 << 16)
MAX_SYMBOL = tl.constexpr(32767)
NO_FAULT = tl.constexpr(1 << 60)
"""What stands for no failure."""
TOO_SHORT = tl.constexpr(int(Status.TOO_SHORT))
TOO_MANY_ESCAPES = tl.constexpr(int(Status.TOO_MANY_ESCAPES))
LOW_STATE = tl.constexpr(int(Status.LOW_STATE))
WORDS_END = tl.constexpr(int(Status.WORDS_END))
ESCAPES_END = tl.constexpr(int(Status.ESCAPES_END))
NEEDLESS_ESCAPE = tl.constexpr(int(Status.NEEDLESS_ESCAPE))
BEYOND = tl.constexpr(int(Status.BEYOND))
BAD_END = tl.constexpr(int(Status.BAD_END))
ESCAPES_LEFT = tl.constexpr(int(Status.ESCAPES_LEFT))
BYTES_LEFT = tl.constexpr(int(Status.BYTES_LEFT))
STATE_COLUMNS = tl.constexpr(68)
"""A coder between two kernels, int64: 64 states, next byte, escapes used, failure, 0."""
TABLE_COLUMNS = tl.constexpr(12)
"""An image's line in `table`, int64: payload's first byte and length, lanes, least payload; rows, columns and first position of z,
the same of y; skip threshold; of the tables, the first row of z."""


@triton.jit
def load_u16(at, mask):
    return tl.load(at, mask=mask, other=0).to(tl.int32) | tl.load(at + 1, mask=mask, other=0).to(tl.int32) << 8


@triton.jit
def load_u32(at, mask):
    return load_u16(at, mask).to(tl.int64) | load_u16(at + 2, mask).to(tl.int64) << 16


@triton.jit
def open_payload(payload, size, lanes, most_symbols, LANES: tl.constexpr):
    """-> lane states (LANES,) uint32, first byte of the words, failure."""
    lane = tl.arange(0, LANES)
    failed = tl.full([], NO_FAULT, tl.int64)
    short = size < 4 + 4 * lanes
    escapes = load_u32(payload, size >= 4)
    if short:
        failed = tl.full([], TOO_SHORT, tl.int64)
    elif (escapes > most_symbols) | (4 + 2 * escapes + 4 * lanes > size):
        failed = tl.full([], TOO_MANY_ESCAPES, tl.int64)
    at = 4 + 2 * escapes
    here = (lane < lanes) & (failed == NO_FAULT)
    states = load_u32(payload + at + 4 * lane, here)
    low = tl.where(here & (states < LANE_START), lane.to(tl.int64) * 16 + LOW_STATE, NO_FAULT)
    return states.to(tl.uint32), at + 4 * lanes, tl.minimum(failed, tl.min(low, 0))


@triton.jit
def close_payload(payload, size, least, lanes, states, at, used, LANES: tl.constexpr):
    """-> the failure at the end of the payload."""
    lane = tl.arange(0, LANES)
    moved = tl.where((lane < lanes) & (states != LANE_START), lane.to(tl.int64) * 16 + BAD_END, NO_FAULT)
    failed = tl.min(moved, 0)
    if failed == NO_FAULT:
        if used != load_u32(payload, True):
            failed = tl.full([], ESCAPES_LEFT, tl.int64)
        elif at < size:
            waste = tl.full([], 1, tl.int32)
            if size == least:
                waste = tl.full([], 0, tl.int32)
                while at < size:
                    byte = at + tl.arange(0, 256)
                    waste = tl.maximum(waste, tl.max(tl.load(payload + byte, mask=byte < size, other=0).to(tl.int32), 0))
                    at += 256
            if waste > 0:
                failed = tl.full([], BYTES_LEFT, tl.int64)
    return failed


@triton.jit
def gather_coded(rows, shifts, order, target, channels, index, most, failed, LANES: tl.constexpr):
    """Writes the channels of a position that are coded into `order`, and what the others are into `target` -> their number, failures."""
    lane = tl.arange(0, LANES)
    coded = channels * 0
    for first in range(0, channels, LANES):
        channel = first + lane
        inside = channel < channels
        skipped = inside & (tl.load(rows + channel, mask=inside, other=0) < 0)
        one = (inside & (skipped == 0)).to(tl.int32)
        tl.store(order + coded + tl.cumsum(one, 0) - one, channel, mask=one > 0)
        coded += tl.sum(one, 0)
        value = tl.load(shifts + channel, mask=skipped, other=0)
        tl.store(target + channel, value, mask=skipped)
        failed = tl.minimum(failed, tl.where(tl.abs(value) > most, (index + channel) * 16 + BEYOND, NO_FAULT))
    return coded, failed


@triton.jit
def decode_run(
    states, at, used, failed, payload, size, escapes, index, rows, row_stride, shifts, order, values, count, position, step, channels,
    lanes, info, lasts, SEARCH: tl.constexpr, PROB_BITS: tl.constexpr, FORM_B: tl.constexpr, MEAN_BITS: tl.constexpr,
    LANES: tl.constexpr, SKIPS: tl.constexpr,
):  # fmt: skip
    """Decodes `count` positions: position + p * step for p = 0, 1 ...

    Args:
        states, at, used, failed: lane states, next byte, escapes used, and of each lane the failure; come back as they are then.
        index: number of the first symbol in coding order.
        rows, shifts: as symbol_rows gives them, row_stride channels from p to p + 1.
        order: room for as many channels, if SKIPS: rows may be -1.
        values: is written, `channels` a position.
    """
    lane = tl.arange(0, LANES)
    target = values + position * channels
    most = MAX_SYMBOL << MEAN_BITS if FORM_B else MAX_SYMBOL
    for _p in range(count):
        coded = channels
        if SKIPS:
            coded, failed = gather_coded(rows, shifts, order, target, channels, index, most, failed, LANES)
            tl.debug_barrier()
        for i in range((coded + lanes - 1) // lanes):
            channel = i * lanes + lane
            here = (lane < lanes) & (channel < coded)
            if SKIPS:
                channel = tl.load(order + channel, mask=here, other=0)
            shift = tl.load(shifts + channel, mask=here, other=0)
            record = info + 4 * tl.load(rows + channel, mask=here, other=0)
            low, length, entries = tl.load(record), tl.load(record + 1), lasts + tl.load(record + 2)
            slot = (states & ((1 << PROB_BITS) - 1)).to(tl.int32)
            k = lane * 0
            last = length
            for _ in range(SEARCH):
                middle = (k + last) >> 1
                below = (tl.load(entries + 1 + middle).to(tl.int32) & 0xFFFF) < slot
                last = tl.where(below, last, middle)
                k = tl.where(below, middle + 1, k)
            before = tl.load(entries + k).to(tl.int32) & 0xFFFF
            width = (tl.load(entries + k + 1).to(tl.int32) - before) & 0xFFFF
            moved = width.to(tl.uint32) * (states >> PROB_BITS) + (slot - ((before + 1) & 0xFFFF)).to(tl.uint32)
            need = here & (moved < LANE_START)
            escape = here & (k == length)
            wanted = need.to(tl.int32) | escape.to(tl.int32) << 16  # two counts in one prefix sum
            ahead = tl.cumsum(wanted, 0) - wanted
            total = tl.sum(wanted, 0)
            word_at = at + 2 * (ahead & 0xFFFF)
            word_there = word_at + 2 <= size
            word = load_u16(payload + word_at, need & word_there).to(tl.uint32)
            states = tl.where(need, moved << 16 | word, tl.where(here, moved, states))
            escape_at = used + (ahead >> 16)
            escape_there = escape_at < escapes
            escaped = (load_u16(payload + 4 + 2 * escape_at, escape & escape_there) ^ 0x8000) - 0x8000
            if FORM_B:
                symbol = tl.where(escape, escaped, low + k)
                place = escaped - low
                value = (symbol << MEAN_BITS) + shift
            else:
                symbol = tl.where(escape, escaped, low + k + shift)
                place = escaped - shift - low
                value = symbol
            beyond = here & ((tl.abs(symbol) > MAX_SYMBOL) | (tl.abs(value) > most))
            code = tl.where(beyond, BEYOND, 0)
            code = tl.where(escape & (place >= 0) & (place < length), NEEDLESS_ESCAPE, code)
            code = tl.where(escape & (escape_there == 0), ESCAPES_END, code)
            code = tl.where(need & (word_there == 0), WORDS_END, code)
            number = (index + channel) * 16 + code
            failed = tl.minimum(failed, tl.where(code > 0, number, NO_FAULT))
            tl.store(target + channel, value, mask=here)
            at += 2 * (total & 0xFFFF)
            used += total >> 16
        target += step * channels
        rows += row_stride
        shifts += row_stride
        order += row_stride
        index += channels
    return states, at, used, failed


@triton.jit
def load_state(state, image, LANES: tl.constexpr):
    record = state + image * STATE_COLUMNS
    states = tl.load(record + tl.arange(0, LANES)).to(tl.uint32)
    return states, tl.load(record + 64), tl.load(record + 65), tl.load(record + 66)


@triton.jit
def store_state(state, image, states, at, used, failed, LANES: tl.constexpr):
    record = state + image * STATE_COLUMNS
    tl.store(record + tl.arange(0, LANES), states.to(tl.int64))
    tl.store(record + 64, at)
    tl.store(record + 65, used)
    tl.store(record + 66, failed)


@triton.jit
def store_status(status, image, failed):
    code = tl.where(failed == NO_FAULT, 0, failed & 15)
    detail = tl.where(failed == NO_FAULT, 0, tl.minimum(failed >> 4, 0x7FFFFFFF))
    column = tl.arange(0, 8)
    tl.store(status + image * 8 + column, tl.where(column == 0, code, tl.where(column == 1, detail, 0)).to(tl.int32))


@triton.jit(do_not_specialize_on_alignment=["payloads"])
def range_decode_kernel(
    table, payloads, state, status, rows, row_stride, shifts, order, values, info, lasts, plane, mul, add, shift, limit, hyper_latents,
    latents, HYPER: tl.constexpr, PADDED: tl.constexpr, SEARCH: tl.constexpr, PROB_BITS: tl.constexpr, FORM_B: tl.constexpr,
    MEAN_BITS: tl.constexpr, LANES: tl.constexpr, SKIPS: tl.constexpr,
):  # fmt: skip
    """HYPER: opens the payload, decodes z and fills `plane`, the input of h_s. Otherwise: decodes y, position by position, and closes."""
    image = tl.program_id(0)
    line = table + image * TABLE_COLUMNS
    payload, size, lanes = payloads + tl.load(line), tl.load(line + 1), tl.load(line + 2).to(tl.int32)
    hyper_symbols = tl.load(line + 4) * tl.load(line + 5) * hyper_latents
    if HYPER:
        channels = hyper_latents
        index = hyper_symbols * 0
        states, at, failed = open_payload(payload, size, lanes, hyper_symbols + tl.load(line + 7) * tl.load(line + 8) * latents, LANES)
        used = index
        height, width, first = tl.load(line + 4), tl.load(line + 5), tl.load(line + 6)
        rows += tl.load(line + 11)
    else:
        channels = latents
        index = hyper_symbols
        states, at, used, failed = load_state(state, image, LANES)
        height, width, first = tl.load(line + 7), tl.load(line + 8), tl.load(line + 9)
    escapes = load_u32(payload, size >= 4)
    lane_failed = tl.full([LANES], NO_FAULT, tl.int64)
    r = height * 0
    while (r < height) & (failed == NO_FAULT):
        start = (first + r * width) * row_stride
        states, at, used, lane_failed = decode_run(
            states, at, used, lane_failed, payload, size, escapes, index + r * width * channels, rows + start, row_stride, shifts + start,
            order + start, values, width.to(tl.int32), first + r * width, 1, channels, lanes, info, lasts, SEARCH, PROB_BITS, FORM_B,
            MEAN_BITS, LANES, SKIPS,
        )  # fmt: skip
        failed = tl.min(lane_failed, 0)
        r += 1
    if HYPER:
        store_state(state, image, states, at, used, failed, LANES)
        if PADDED > 0:
            tl.debug_barrier()
            positions = (height * width).to(tl.int32)
            reveal_run(values, plane, mul, add, shift, limit, positions, first, 1, channels, PADDED, 16, 64)
    else:
        if failed == NO_FAULT:
            failed = close_payload(payload, size, tl.load(line + 3), lanes, states, at, used, LANES)
        store_status(status, image, failed)


def range_decode(
    table: torch.Tensor, payloads: torch.Tensor, state: torch.Tensor, values: torch.Tensor, tables: PackedTables, prob_bits: int,
    channels: tuple[int, int], lanes: int, *, rows: torch.Tensor, shifts: torch.Tensor, status: torch.Tensor | None = None,
    plane: torch.Tensor | None = None, seen: PackedInput | None = None, limit: int = 0, form_b: bool = False, mean_bits: int = 0,
    skips: bool = False,
) -> None:  # fmt: skip
    """Decodes z (without `status`) or y of several images in one launch, a program of one warp an image.

    Args:
        table: (images, 12) int64, see TABLE_COLUMNS. payloads: uint8, all of them.
        state: (images, 68) int64, what the launch for z leaves and the one for y takes up.
        values: (positions, channels) int32, is filled.
        channels: N and M. lanes: of the image that has most.
        rows, shifts: (positions, channels) as symbol_rows gives them, or (channels,) if all positions have the same.
        status: (images, 8) int32, is filled by the launch for y.
        plane, seen, limit: the input of h_s, is filled by the launch for z; and the rule that makes it.
        skips: whether a row may be -1.
    """
    some = seen if seen is not None else PackedInput(tables.info, tables.info, tables.info)
    range_decode_kernel[(len(table),)](
        table, payloads, state, state if status is None else status, rows, 0 if rows.dim() == 1 else rows.shape[1], shifts,
        torch.empty_like(rows) if skips else rows, values,
        tables.info, tables.lasts, values if plane is None else plane, some.mul, some.add, some.shift, limit, *channels,
        HYPER=status is None, PADDED=0 if plane is None else plane.shape[1], SEARCH=tables.search, PROB_BITS=prob_bits, FORM_B=form_b,
        MEAN_BITS=mean_bits, LANES=32 if lanes <= 32 else 64, SKIPS=skips, num_warps=1,
    )  # fmt: skip


@dataclass
class RangeDecoderRef:
    """The decoder in plain Python, symbol by symbol, with the numbers of STATUS: `failed` is (code, detail), or None."""

    payload: bytes
    lanes: int
    tables: PackedTables
    prob_bits: int
    most_symbols: int

    def __post_init__(self) -> None:
        self.failed: tuple[int, int] | None = None
        self._info, self._lasts = self.tables.info.tolist(), [last & 0xFFFF for last in self.tables.lasts.tolist()]
        self._used = self._symbols = self._rank = 0
        size = len(self.payload)
        self._escapes = int.from_bytes(self.payload[:4], "little")
        self._at = 4 + 2 * self._escapes + 4 * self.lanes
        if size < 4 + 4 * self.lanes:
            self.failed = (1, 0)
        elif self._escapes > self.most_symbols or self._at > size:
            self.failed = (2, 0)
        else:
            first = self._at - 4 * self.lanes
            self._states = [int.from_bytes(self.payload[first + 4 * i : first + 4 * i + 4], "little") for i in range(self.lanes)]
            self.failed = next(((3, i) for i, x in enumerate(self._states) if x < LANE_START.value), None)

    def get(self, channel: int, row: int, shift: int, form_b: bool = False, mean_bits: int = 0) -> int:
        """The next symbol's value; 0 after a failure."""
        if self.failed:
            return 0
        rank = self._rank if channel else 0
        self._rank = rank + (row >= 0)
        value, code = self._get(rank % self.lanes, row, shift, form_b, mean_bits)
        if code:
            self.failed = (code, self._symbols)
        self._symbols += 1
        return value

    def _get(self, lane: int, row: int, shift: int, form_b: bool, mean_bits: int) -> tuple[int, int]:
        bits = mean_bits if form_b else 0
        if row < 0:
            return shift, 7 if abs(shift) > MAX_SYMBOL.value << bits else 0
        low, size, first, _ = self._info[row]
        x = self._states[lane]
        slot = x & (1 << self.prob_bits) - 1
        k = next(k for k in range(size + 1) if slot <= self._lasts[first + k + 1])
        start = self._lasts[first + k] + 1 & 0xFFFF
        x = (self._lasts[first + k + 1] + 1 - start) * (x >> self.prob_bits) + slot - start
        if x < LANE_START.value:
            if self._at + 2 > len(self.payload):
                return 0, 4
            x = x << 16 | int.from_bytes(self.payload[self._at : self._at + 2], "little")
            self._at += 2
        self._states[lane] = x
        move = 0 if form_b else shift
        symbol = low + k + move
        if k == size:
            if self._used == self._escapes:
                return 0, 5
            symbol = int.from_bytes(self.payload[4 + 2 * self._used : 6 + 2 * self._used], "little", signed=True)
            self._used += 1
            if low <= symbol - move < low + size:
                return 0, 6
        value = (symbol << mean_bits) + shift if form_b else symbol
        return value, 7 if abs(symbol) > MAX_SYMBOL.value or abs(value) > MAX_SYMBOL.value << bits else 0

    def close(self, least: int) -> tuple[int, int]:
        """-> status code and detail."""
        if self.failed:
            return self.failed
        moved = [i for i, x in enumerate(self._states) if x != LANE_START.value]
        if moved:
            return 8, moved[0]
        if self._used != self._escapes:
            return 9, 0
        rest = self.payload[self._at :]
        return (10, 0) if rest and (len(self.payload) != least or any(rest)) else (0, 0)
