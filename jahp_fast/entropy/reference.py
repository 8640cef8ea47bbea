# SPDX-License-Identifier: Apache-2.0
"""The entropy path in NumPy and plain Python: the format as docs/reference/format.md tells it, with nothing made fast that need not be.

It decodes everything that the native backend decodes, to the same integers, and encodes to the same bytes.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jahp_fast.entropy import copies
from jahp_fast.entropy.integer_net import PARAMETER_LIMIT, IntegerLayer, Ints
from jahp_fast.entropy.layout import LANE_COUNTS, MAX_SYMBOL, StreamLayout
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import FormatError, UsageError

LANE_START = 1 << 16


@dataclass(frozen=True)
class TableRow:
    low: int
    ends: list[int]  # exclusive end of each entry, the escape last: 2^prob_bits

    @property
    def size(self) -> int:
        return len(self.ends) - 1


class RangeDecoder:
    def __init__(self, prob_bits: int, lanes: int, payload: bytes, max_symbols: int) -> None:
        if lanes not in LANE_COUNTS:
            raise UsageError(f"lanes must be one of {LANE_COUNTS}, not {lanes}")
        if len(payload) < 4 + 4 * lanes:
            raise FormatError(f"payload of {len(payload)} bytes cannot hold {lanes} lanes")
        (count,) = struct.unpack_from("<I", payload)
        if count > max_symbols or 4 + 2 * count + 4 * lanes > len(payload):
            raise FormatError(f"payload claims {count} escapes, more than it can hold")
        self._bits, self._payload = prob_bits, payload
        self._escapes = list(struct.unpack_from(f"<{count}h", payload, 4))[::-1]
        self._states = list(struct.unpack_from(f"<{lanes}I", payload, 4 + 2 * count))
        if min(self._states) < LANE_START:
            raise FormatError("the state of a lane is below 2^16")
        self._at = 4 + 2 * count + 4 * lanes

    def get(self, lane: int, row: TableRow, shift: int = 0) -> int:
        x = self._states[lane]
        slot = x & ((1 << self._bits) - 1)
        k = bisect_right(row.ends, slot)
        start = row.ends[k - 1] if k else 0
        x = (row.ends[k] - start) * (x >> self._bits) + slot - start
        if x < LANE_START:
            if self._at + 2 > len(self._payload):
                raise FormatError("payload ends before its last symbol")
            x = x << 16 | self._payload[self._at] | self._payload[self._at + 1] << 8
            self._at += 2
        self._states[lane] = x
        if k < row.size:
            value = row.low + k + shift
        else:
            if not self._escapes:
                raise FormatError("payload has fewer escapes than its symbols need")
            value = self._escapes.pop()
            if row.low <= value - shift < row.low + row.size:
                raise FormatError(f"escape of {value}, which its table holds")
        if abs(value) > MAX_SYMBOL:
            raise FormatError(f"symbol {value} is beyond {MAX_SYMBOL}")
        return value

    def finish(self, min_bytes: int) -> None:
        if any(x != LANE_START for x in self._states):
            raise FormatError("a lane does not end at 2^16")
        if self._escapes:
            raise FormatError("payload has more escapes than its symbols need")
        rest = self._payload[self._at :]
        if rest and len(self._payload) != min_bytes:
            raise FormatError(f"{len(rest)} bytes of payload are left over")
        if any(rest):
            raise FormatError("payload padding is not zero")


class RangeEncoder:
    def __init__(self, prob_bits: int) -> None:
        self._bits = prob_bits
        self._symbols: list[tuple[int, int, int]] = []  # rank, start, frequency
        self._escapes: list[int] = []

    def put(self, rank: int, row: TableRow, value: int, shift: int = 0) -> None:
        if abs(value) > MAX_SYMBOL:
            raise UsageError(f"symbol {value} is beyond {MAX_SYMBOL}")
        k = value - shift - row.low
        if not 0 <= k < row.size:
            k = row.size
            self._escapes.append(value)
        start = row.ends[k - 1] if k else 0
        self._symbols.append((rank, start, row.ends[k] - start))

    def choose_lanes(self) -> int:
        """The most lanes whose states take at most 1/200 of the payload, or 1; estimated in integers of 1/64 bit."""
        cost = len(self._escapes) * 16 * 64
        for _, _, frequency in self._symbols:
            log2 = frequency.bit_length() - 1
            cost += 64 * self._bits - 64 * log2 - ((frequency << 6 >> log2) - 64)
        return max([1] + [n for n in LANE_COUNTS if n * 4 * 200 <= cost // (64 * 8)])

    def finish(self, lanes: int, min_bytes: int) -> bytes:
        if lanes not in LANE_COUNTS:
            raise UsageError(f"lanes must be one of {LANE_COUNTS}, not {lanes}")
        states, words = [LANE_START] * lanes, []
        for rank, start, frequency in reversed(self._symbols):
            lane = rank % lanes
            x = states[lane]
            if x >= frequency << (32 - self._bits):
                words.append(x & 0xFFFF)
                x >>= 16
            states[lane] = (x // frequency << self._bits) + x % frequency + start
        data = struct.pack(f"<I{len(self._escapes)}h", len(self._escapes), *self._escapes)
        data += struct.pack(f"<{lanes}I", *states) + struct.pack(f"<{len(words)}H", *reversed(words))
        return data.ljust(min_bytes, b"\0")


class ReferenceModel:
    """The integer entropy path of a model file, which was checked when it was opened."""

    def __init__(self, model: ModelFile) -> None:
        self.config = c = model.config
        t = model.entropy
        limit = c.activation_limit
        names = {
            "h_s": ("h_s.0", "h_s.2", "h_s.4"),
            "parameters": ("entropy_parameters.0", "entropy_parameters.2", "entropy_parameters.4"),
        }
        self.h_s: list[IntegerLayer] = []
        if c.hyper_latents:
            last = limit if c.context else PARAMETER_LIMIT
            self.h_s = [IntegerLayer.from_tensors(t, n, m) for n, m in zip(names["h_s"], (limit, limit, last), strict=True)]
        self.parameters: list[IntegerLayer] = []
        if c.context:
            self.context = IntegerLayer.from_tensors(t, "context_prediction", limit)
            limits = (limit, limit, PARAMETER_LIMIT)
            self.parameters = [IntegerLayer.from_tensors(t, n, m) for n, m in zip(names["parameters"], limits, strict=True)]
        starts, at = t["tables.starts"].astype(int).tolist(), 0
        self.rows = []
        for low, size in zip(t["tables.low"].tolist(), t["tables.size"].tolist(), strict=True):
            self.rows.append(TableRow(low, [*starts[at + 1 : at + size + 1], 1 << c.prob_bits]))
            at += size + 1
        if c.conditional:
            self.thresholds, self.scale_row, self.scale_drop = (t[f"scale.{n}"].astype(np.int64) for n in ("thresholds", "row", "drop"))
        if c.context:
            self.input = tuple(t[f"context_input.{n}"].astype(np.int64) for n in ("mul", "add", "shift"))
        if c.hyper_latents:
            self.z_offset = t["z_offset"].astype(np.int64)

    def hyper_features(self, z: Ints, height: int, width: int) -> Ints:
        """z (hz, wz, N) -> what h_s gives at each position of y, cropped to (height, width, features)."""
        limit = self.config.activation_limit
        x = np.clip((z.astype(np.int64) << self.config.z_bits) + self.z_offset, -limit, limit)
        x = self.h_s[2].convolve(self.h_s[1].transposed(self.h_s[0].transposed(x)))
        return x[:height, :width]

    def context_input(self, y: Ints) -> Ints:
        mul, add, shift = self.input
        limit = self.config.activation_limit
        clamped: Ints = np.clip((y * mul + add) >> shift, -limit, limit)
        return clamped

    def symbols(self, features: Ints) -> tuple[Ints, Ints, Ints]:
        """(n, 2M or M) scales and means in fixed point -> (n, M) table row, mean and scale index of each symbol."""
        c = self.config
        scale = np.searchsorted(self.thresholds, features[:, : c.latents], side="right")
        mean = features[:, c.latents :] if c.means else np.zeros_like(scale)
        row = self.scale_row[scale]
        if c.form == "A" and c.means:
            row = row + ((mean & ((1 << c.mean_bits) - 1)) >> self.scale_drop[scale])
        return row, mean, scale


def wavefront(height: int, width: int, slope: int) -> Iterator[list[tuple[int, int]]]:
    """The steps in coding order, each a list of (row, column). Slope 0 (no context): a step is a row."""
    if slope == 0:
        yield from ([(r, c) for c in range(width)] for r in range(height))
        return
    for t in range(width + slope * (height - 1)):
        yield [(r, t - slope * r) for r in range(height) if 0 <= t - slope * r < width]


class _Steps:
    """Walks the steps of one image; between them the caller fills in y."""

    def __init__(self, model: ReferenceModel, z: Ints, layout: StreamLayout) -> None:
        c = model.config
        self.model, self.layout = model, layout
        if c.hyper_latents:
            self.hyper = model.hyper_features(z, layout.height, layout.width)
        self.half = model.context.weight.shape[2] // 2 if c.context else 0
        if c.context:
            self.matrix = model.context.causal_matrix()
            self.padded = np.zeros((layout.height + self.half, layout.width + 2 * self.half, c.latents), np.int64)

    def __iter__(self) -> Iterator[tuple[list[tuple[int, int]], Ints, Ints, Ints]]:
        c = self.model.config
        slope = self.half + 1 if c.context else 0
        for positions in wavefront(self.layout.height, self.layout.width, slope):
            if positions:
                yield positions, *self._symbols(positions)

    def _symbols(self, positions: list[tuple[int, int]]) -> tuple[Ints, Ints, Ints]:
        c = self.model.config
        if not c.conditional:
            row = np.tile(np.arange(c.latents), (len(positions), 1))
            return row, np.zeros_like(row), np.zeros_like(row)
        rows, columns = np.array(positions).T
        hyper = self.hyper[rows, columns] if c.hyper_latents else None
        if not c.context:
            assert hyper is not None
            return self.model.symbols(hyper)
        k = 2 * self.half + 1
        patches = np.stack(
            [self.padded[r : r + self.half + 1, q : q + k].reshape(-1, c.latents)[: k * k // 2].ravel() for r, q in positions]
        )
        x = self.model.context.requantise(patches.astype(np.float64) @ self.matrix)
        if hyper is not None:
            x = np.concatenate([hyper, x], axis=1)
        for layer in self.model.parameters:
            x = layer.dense(x)
        return self.model.symbols(x)

    def reveal(self, position: tuple[int, int], y: Ints) -> None:
        if self.model.config.context:
            self.padded[position[0] + self.half, position[1] + self.half] = self.model.context_input(y)

    def skipped(self, mean: int) -> int:
        bits = self.model.config.mean_bits
        return mean if self.model.config.form == "B" else (mean + (1 << bits >> 1)) >> bits

    def check(self, value: int, error: type[FormatError] | type[UsageError]) -> int:
        if abs(value) > MAX_SYMBOL << self.model.config.frac_bits:
            raise error(f"latent {value} is out of range")
        return value


def decode(model: ReferenceModel, payload: bytes, layout: StreamLayout) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Payload -> z (hz, wz, N) and y (height, width, M) int32, channels last.

    Raises:
        FormatError: the payload is damaged.
    """
    c = model.config
    hz, wz = ((layout.height + 3) // 4, (layout.width + 3) // 4) if c.hyper_latents else (0, 0)
    coder = RangeDecoder(c.prob_bits, layout.lanes, payload, hz * wz * c.hyper_latents + layout.height * layout.width * c.latents)
    z = np.empty((hz, wz, c.hyper_latents), np.int64)
    y = np.empty((layout.height, layout.width, c.latents), np.int64)
    z_copies, y_copies = copies.maps(layout.copies, z, y)
    for position in np.ndindex(hz, wz):
        if not copies.apply(z_copies, position, z):
            z[position] = [coder.get(n % layout.lanes, model.rows[layout.z_row + n]) for n in range(c.hyper_latents)]
    steps = _Steps(model, z, layout)
    for positions, rows, means, scales in steps:
        for p, position in enumerate(positions):
            if copies.apply(y_copies, position, y):
                steps.reveal(position, y[position])
                continue
            values, rank = [], 0
            for row, mean, scale in zip(rows[p].tolist(), means[p].tolist(), scales[p].tolist(), strict=True):
                if c.conditional and scale < layout.skip:
                    values.append(steps.check(steps.skipped(mean), FormatError))
                    continue
                lane, rank = rank % layout.lanes, rank + 1
                if c.form == "A":
                    values.append(coder.get(lane, model.rows[row], mean >> c.mean_bits))
                else:
                    values.append(steps.check((coder.get(lane, model.rows[row]) << c.mean_bits) + mean, FormatError))
            y[position] = values
            steps.reveal(position, y[position])
    coder.finish(layout.min_bytes)
    return z.astype(np.int32), y.astype(np.int32)


def encode(model: ReferenceModel, z: NDArray[np.int32], y: NDArray[np.int32], layout: StreamLayout) -> tuple[bytes, NDArray[np.int32], int]:
    """z (hz, wz, N) and y (height, width, M) -> payload, y as the decoder will see it, and the lanes (chosen here if layout has 0).

    Form A: y is ŷ. Form B: y is the wanted value times 2^mean_bits. Skipped symbols, form B and copied positions change y.

    Raises:
        UsageError: a symbol beyond 32767.
    """
    c = model.config
    coder = RangeEncoder(c.prob_bits)
    hyper, out = z.astype(np.int64), y.astype(np.int64)
    z_copies, y_copies = copies.maps(layout.copies, hyper, out)
    for position in np.ndindex(hyper.shape[:2]):
        if not copies.apply(z_copies, position, hyper):
            for n, value in enumerate(hyper[position].tolist()):
                coder.put(n, model.rows[layout.z_row + n], value)
    steps = _Steps(model, hyper, layout)
    half = 1 << c.mean_bits >> 1
    for positions, rows, means, scales in steps:
        for p, position in enumerate(positions):
            if copies.apply(y_copies, position, out):
                steps.reveal(position, out[position])
                continue
            values, rank = out[position].tolist(), 0
            for m, (row, mean, scale) in enumerate(zip(rows[p].tolist(), means[p].tolist(), scales[p].tolist(), strict=True)):
                if c.conditional and scale < layout.skip:
                    values[m] = steps.check(steps.skipped(mean), UsageError)
                    continue
                if c.form == "A":
                    coder.put(rank, model.rows[row], values[m], mean >> c.mean_bits)
                else:
                    residual = (values[m] - mean + half) >> c.mean_bits
                    coder.put(rank, model.rows[row], residual)
                    values[m] = steps.check((residual << c.mean_bits) + mean, UsageError)
                rank += 1
            out[position] = values
            steps.reveal(position, out[position])
    lanes = layout.lanes or coder.choose_lanes()
    return coder.finish(lanes, layout.min_bytes), out.astype(np.int32), lanes


def symbols_of(model: ReferenceModel, z: NDArray[np.int32], y: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """z (hz, wz, N) and y (h, w, M) of form A -> (h, w, M) each: table row and mean (in fixed point) that each symbol of y is coded with.

    Raises UsageError for form B, where symbols depend on each other.
    """
    if model.config.form != "A":
        raise UsageError("in form B the symbols depend on each other")
    rows_out, means_out = np.empty_like(y), np.empty_like(y)
    steps = _Steps(model, z.astype(np.int64), StreamLayout(y.shape[0], y.shape[1], 1, 0, 0))
    for positions, rows, means, _ in steps:
        for p, position in enumerate(positions):
            rows_out[position], means_out[position] = rows[p], means[p]
            steps.reveal(position, y[position].astype(np.int64))
    return rows_out, means_out


def symbol_checksum(z: NDArray[np.int32], y: NDArray[np.int32]) -> int:
    """The sum of mix(index, value) over z and then y, modulo 2^32 (docs/reference/format.md, "Checksum of the symbols")."""
    values = np.concatenate([z.ravel(), y.ravel()]).astype(np.uint32)
    return int(mix(values).sum(dtype=np.uint64)) & 0xFFFFFFFF


def mix(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """mix(index, value) of the page's section 13, of values (n,) that are numbered from 0."""
    h = np.arange(len(values), dtype=np.uint32) * np.uint32(0x9E3779B1) + values * np.uint32(0x85EBCA77)
    h = (h ^ h >> np.uint32(15)) * np.uint32(0x2C1B3C6D)
    h = (h ^ h >> np.uint32(12)) * np.uint32(0x297A2D39)
    mixed: NDArray[np.uint32] = h ^ h >> np.uint32(15)
    return mixed


def crc32c(data: bytes) -> int:
    """CRC-32C, a bit at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
