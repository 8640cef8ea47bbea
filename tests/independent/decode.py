# SPDX-License-Identifier: Apache-2.0
"""Range coder, order of the symbols and the decoding of latents of docs/reference/format.md. Written from that page alone."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from .model_file import Model
from .networks import Context, hyperprior
from .rules import require
from .stream_file import StreamFile

LOWEST = 1 << 16
FURTHEST = 32767


class RangeDecoder:
    def __init__(self, stream: StreamFile, model: Model, symbols: int) -> None:
        data, lanes = stream.payload, stream.lanes
        self.least, self.bits, self.rows, self.lanes = stream.least, model.P, model.rows, lanes
        require(len(data) >= 4 + 4 * lanes, "the payload is too short for the states")
        count = int.from_bytes(data[:4], "little")
        require(count <= symbols and len(data) >= 4 + 2 * count + 4 * lanes, "the payload is too short for the escapes")
        self.escapes = iter(np.frombuffer(data, "<i2", count, 4).tolist())
        self.states: list[int] = np.frombuffer(data, "<u4", lanes, 4 + 2 * count).tolist()
        require(all(state >= LOWEST for state in self.states), "a state is below 2^16")
        self.data, self.at = data, 4 + 2 * count + 4 * lanes

    def get(self, rank: int, row: int, shift: int) -> int:
        low, size, starts = self.rows[row]
        lane = rank % self.lanes
        x = self.states[lane]
        slot = x & ((1 << self.bits) - 1)
        k = bisect_right(starts, slot) - 1
        x = (starts[k + 1] - starts[k]) * (x >> self.bits) + slot - starts[k]
        if x < LOWEST:
            require(self.at + 2 <= len(self.data), "the words end early")
            x = x << 16 | int.from_bytes(self.data[self.at : self.at + 2], "little")
            self.at += 2
        self.states[lane] = x
        if k < size:
            value = low + k + shift
        else:
            escape = next(self.escapes, None)
            require(escape is not None, "the escapes end early")
            value = int(escape)  # type: ignore[arg-type]
            require(not low <= value - shift < low + size, "an escape that its row could have coded")
        require(abs(value) <= FURTHEST, "a symbol is beyond 32767")
        return value

    def check_end(self) -> None:
        require(all(state == LOWEST for state in self.states), "a state does not end at 2^16")
        require(next(self.escapes, None) is None, "escapes are left over")
        rest = self.data[self.at :]
        require(not rest or (len(self.data) == self.least and not any(rest)), "bytes are left over")


def steps(model: Model, h: int, w: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of the positions of each step, empty steps too."""
    if not model.context:
        for r in range(h):
            yield np.full(w, r), np.arange(w)
        return
    slope = model.tensors["context_prediction.weight"].shape[2] // 2 + 1
    for t in range(w + slope * (h - 1)):
        rows = np.array([r for r in range(h) if 0 <= t - slope * r < w], np.int64)
        yield rows, t - slope * rows


def checksum(z: np.ndarray, y: np.ndarray) -> int:
    values = np.concatenate([z.ravel(), y.ravel()]).astype(np.uint32)
    index = np.arange(len(values), dtype=np.uint32)
    h = index * np.uint32(0x9E3779B1) + values * np.uint32(0x85EBCA77)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    h = (h ^ (h >> np.uint32(12))) * np.uint32(0x297A2D39)
    return int((h ^ (h >> np.uint32(15))).sum(dtype=np.uint64)) & 0xFFFFFFFF


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array, "<i4").tobytes()).hexdigest()


def decode_step(model: Model, coder: RangeDecoder, skip: int, parameters: np.ndarray) -> np.ndarray:
    """Y of the positions of one step, (n, M), from their parameters."""
    t, bits = model.tensors, model.B
    scales = parameters[:, : model.M]
    means = parameters[:, model.M :] if model.means else np.zeros_like(scales)
    index = np.searchsorted(t["scale.thresholds"], scales, side="right")
    rows, shifts = t["scale.row"][index], np.zeros_like(means)
    if model.means and not model.form_b:
        rows = rows + ((means & ((1 << bits) - 1)) >> t["scale.drop"][index])
        shifts = means >> bits
    skipped = means if model.form_b else (means + ((1 << bits) >> 1)) >> bits
    bound = FURTHEST << bits if model.form_b else FURTHEST
    y = np.empty_like(scales)
    for n, (row, shift, coded, guess) in enumerate(
        zip(rows.tolist(), shifts.tolist(), (index >= skip).tolist(), skipped.tolist(), strict=True)
    ):
        ranks = [sum(coded[:m]) for m in range(model.M)]
        y[n] = [coder.get(ranks[m], row[m], shift[m]) if coded[m] else guess[m] for m in range(model.M)]
    if model.form_b:
        y = np.where(index >= skip, (y << bits) + means, y)
    require(not y.size or int(np.abs(y).max()) <= bound, "a latent is beyond 32767")
    return y


def copied(stream: StreamFile, *sizes: tuple[int, int]) -> list[np.ndarray]:
    """The kinds of the positions of maps of these sizes: 0 coded, 1 as to the left, 2 as above."""
    if b"COPY" not in stream.chunks:
        return [np.zeros(size, np.uint8) for size in sizes]
    count, kinds_in_order = sum(h * w for h, w in sizes), list[int]()
    number = place = 0
    for byte in stream.chunks[b"COPY"]:
        require(place < 5, "a number in COPY has more than 5 bytes")
        number += (byte % 128) << (7 * place)
        place += 1
        if byte < 128:
            run, kind = number // 3 + 1, number % 3
            require(len(kinds_in_order) + run <= count, "COPY has too many positions")
            kinds_in_order += [kind] * run
            number = place = 0
    require(place == 0, "the last number in COPY does not end")
    require(len(kinds_in_order) == count, "COPY has too few positions")
    data = bytes(kinds_in_order)
    kinds, at = [], 0
    for h, w in sizes:
        kinds.append(np.frombuffer(data, np.uint8, h * w, at).reshape(h, w))
        at += h * w
        require(not (kinds[-1][:, :1] == 1).any(), "a position of the first column is as the one to its left")
        require(not (kinds[-1][:1] == 2).any(), "a position of the first row is as the one above")
    return kinds


def fill(values: np.ndarray, kinds: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
    """Copies what is to be copied among these positions, in their order."""
    for r, c in zip(rows.tolist(), columns.tolist(), strict=True):
        if kinds[r, c]:
            values[r, c] = values[r, c - 1] if kinds[r, c] == 1 else values[r - 1, c]


def decode(stream: StreamFile, model: Model) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """z (hz, wz, N), Y (h, w, M) and the control points."""
    require(stream.model == model.id, "the stream has another model")
    qualities = model.config["qualities"]
    require(qualities[0] <= stream.quality / 20 <= qualities[-1], "the model does not have this quality")
    h, w = -(-stream.height // 16), -(-stream.width // 16)
    hz, wz = (-(-h // 4), -(-w // 4)) if model.N else (0, 0)
    coder = RangeDecoder(stream, model, hz * wz * model.N + h * w * model.M)
    z_kinds, kinds = copied(stream, (hz, wz), (h, w))
    z_row = model.z_rows[sum(2 * stream.quality >= round(20 * a) + round(20 * b) for a, b in pairwise(qualities))]
    z = np.zeros((hz, wz, model.N), np.int64)
    for r, c in np.ndindex(hz, wz):
        if not z_kinds[r, c]:
            z[r, c] = [coder.get(n, z_row + n, 0) for n in range(model.N)]
        fill(z, z_kinds, np.array([r]), np.array([c]))
    hyper = hyperprior(model, z, h, w) if model.N else np.zeros((h, w, 0), np.int64)
    y = np.zeros((h, w, model.M), np.int64)
    context = Context(model, hyper, h, w) if model.context else None
    points: list[list[str]] = []
    for rows, columns in steps(model, h, w):
        coded = kinds[rows, columns] == 0
        at = rows[coded], columns[coded]
        if not model.conditional:
            parameters = np.zeros((len(rows), 0), np.int64)
            y[at] = np.array([[coder.get(m, m, 0) for m in range(model.M)] for _ in at[0]], np.int64).reshape(-1, model.M)
        else:
            parameters = context.parameters(rows, columns) if context else hyper[rows, columns]
            y[at] = decode_step(model, coder, stream.skip, parameters[coded])
        fill(y, kinds, rows, columns)
        if context:
            context.reveal(rows, columns, y[rows, columns])
        points.append([digest(parameters)[:16], digest(y[rows, columns])[:16]])
    coder.check_end()
    require(checksum(z, y) == stream.checksum, "the checksum of the symbols does not match")
    control = {"z": digest(z), "hyper": digest(hyper), "steps": points, "y": digest(y)}
    return z, y, control
