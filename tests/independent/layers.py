# SPDX-License-Identifier: Apache-2.0
"""Layers over the pixels by section 23 of docs/reference/format.md. Written from that page alone, a sample at a time."""

from __future__ import annotations

import struct
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .rules import require

if TYPE_CHECKING:
    from .stream_file import StreamFile

CURVE = [1, 2, 4, 6, 10, 17, 27, 45, 74, 120, 194, 311, 488, 747, 1102, 1546, 2048,
         2550, 2994, 3349, 3608, 3785, 3902, 3976, 4022, 4051, 4069, 4079, 4086, 4090, 4092, 4094, 4095]  # fmt: skip
ERRORS = [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 50, 62, 78, 98, 125, 160, 210, 280]
MAGNITUDES = [4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512]
WEIGHTS = [
    [-230, 520, -2210, 4150, 760, 360, 240, 170, -30, 890, -1520, 5380, 530, -920, -150, -110],
    [-70, -450, -1610, 3320, 1650, 520, 130, 150, 170, -150, -220, 5330, -110, -200, -550, -410,
     50, -120, 530, 0, 120, -70, 0, 0, 0, 30, -230, 350, 0, 40, 20, 20],
    [-30, -430, -1540, 3010, 1540, 510, 100, 160, 110, -130, -190, 5110, -60, -210, -460, -340,
     30, -60, 190, 0, -20, -70, -20, 0, 40, 40, -70, 150, 20, 30, 20, 30,
     120, -130, -2160, 0, -260, -210, -120, -90, 80, 330, 610, -1160, -360, 50, 110, 90],
]  # fmt: skip
COLOUR = np.array([[2365, 2365, 2365], [2896, 0, -2896], [-1672, 3344, -1672]])
COSINE = np.array([
    [1448, 1448, 1448, 1448, 1448, 1448, 1448, 1448], [2009, 1703, 1138, 400, -400, -1138, -1703, -2009],
    [1892, 784, -784, -1892, -1892, -784, 784, 1892], [1703, -400, -2009, -1138, 1138, 2009, 400, -1703],
    [1448, -1448, -1448, 1448, 1448, -1448, -1448, 1448], [1138, -2009, 400, 1703, -1703, -400, 2009, -1138],
    [784, -1892, 1892, -784, -784, 1892, -1892, 784], [400, -1138, 1703, -2009, 2009, -1703, 1138, -400],
])  # fmt: skip


@dataclass(frozen=True)
class Layer:
    kind: int
    bound: int
    step: int
    rows: int
    strips: list[bytes]
    bits: int


def parse_layer(stream: StreamFile) -> Layer | None:
    values, depth = stream.chunks.get(b"VALS"), depth_of(stream)
    if values is not None:
        require(depth > 8 and len(values) >= 2, "values of samples")
        require(int.from_bytes(values[:2], "little") < 1 << depth, "more values than the depth has")
    if b"LAYR" not in stream.chunks:
        require(values is None, "values of samples without a layer")
        return None
    bits = depth if values is None else max(8, int.from_bytes(values[:2], "little").bit_length())
    layer = parse_data(stream.chunks[b"LAYR"], stream.height, bits)
    require(values is None or (layer.kind in (0, 2) and layer.bound == 0), "values of samples with an error")
    if layer.kind in (0, 2):
        require(stream.model == bytes(8) and stream.payload == bytes(stream.least), "exact pixels with a model or a payload")
        require(b"COPY" not in stream.chunks, "exact pixels with copied positions")
    return layer


def parse_alpha(data: bytes, width: int, height: int) -> bytes:
    layer = parse_data(data, height)
    require(layer.kind in (0, 2), "alpha over something")
    require(layer.bound == 0, "alpha has a bound")
    return exact_samples(layer, width, height, 1).astype(np.uint8).tobytes()


def depth_of(stream: StreamFile) -> int:
    return stream.chunks[b"deep"][0] if b"deep" in stream.chunks else 8


def parse_data(data: bytes, height: int, bits: int = 8) -> Layer:
    require(len(data) >= 8, "the layer is shorter than its head")
    kind, bound, step, rows = struct.unpack_from("<BBHI", data)
    require(kind <= 3, "the layer's kind is unknown")
    bits = 16 if kind == 1 and bits > 8 else bits
    require(kind < 2 or bits == 8, "a kind that has samples of 8 bits")
    require(bound <= (0 if kind in (1, 3) else min(255, 2 ** (bits - 3) - 1)), "the layer's bound")
    require(16 <= step <= 4096 if kind == 1 else step == 0, "the layer's step")
    require(8 <= rows <= 1 << 24 and rows % 8 == 0, "the layer's rows")
    count = -(-height // rows)
    require(len(data) >= 8 + 4 * count, "the layer is too short for its lengths")
    lengths = struct.unpack_from(f"<{count}I", data, 8)
    require(len(data) == 8 + 4 * count + sum(lengths), "the layer's length")
    starts = [8 + 4 * count + sum(lengths[:i]) for i in range(count)]
    return Layer(kind, bound, step, rows, [data[a : a + n] for a, n in zip(starts, lengths, strict=True)], bits)


def squash(x: int) -> int:
    i, f = divmod(x + 2048, 128)
    return (CURVE[i] * (128 - f) + CURVE[i + 1] * f + 64) >> 7


SQUASHED = {x: squash(x) for x in range(-2047, 2048)}
STRETCHED = [next((x for x in range(-2047, 2048) if SQUASHED[x] >= p), 2047) for p in range(4096)]


def clamp(a: int, bound: int) -> int:
    return max(-bound, min(a, bound))


def towards_zero(a: int, b: int) -> int:
    return a // b if a >= 0 else -(-a // b)


class Bits:
    """The adaptive bits of one strip. Models and mixers are named by whatever names they have."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 4
        self.code, self.range = int.from_bytes((data + bytes(4))[:4], "big"), 2**32 - 1
        self.models: dict[Any, list[int]] = defaultdict(lambda: [32768, 0])
        self.mixers: dict[Any, list[int]] = defaultdict(lambda: [36000, 36000])

    def get(self, p: int) -> int:
        bound = (self.range >> 12) * p
        bit = int(self.code < bound)
        if bit:
            self.range = bound
        else:
            self.code -= bound
            self.range -= bound
        while self.range < 1 << 24:
            byte = self.data[self.at] if self.at < len(self.data) else 0
            self.code, self.range, self.at = (self.code << 8 | byte) & 0xFFFFFFFF, self.range << 8, self.at + 1
        return bit

    def plain(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = 2 * value + self.get(2048)
        return value

    def bit(self, a: Any, b: Any, mixer: Any) -> int:
        models, weights = (self.models[a], self.models[b]), self.mixers[mixer]
        s = [STRETCHED[q >> 4] for q, _ in models]
        p = SQUASHED[clamp((weights[0] * s[0] + weights[1] * s[1]) >> 16, 2047)]
        bit = self.get(p)
        e = 4096 * bit - p
        for i in (0, 1):
            weights[i] = clamp(weights[i] + ((s[i] * e + 1024) >> 11), 1 << 20)
        for model in models:
            model[1] = min(model[1] + 1, 6)
            model[0] += (65536 - model[0]) >> model[1] if bit else -(model[0] >> model[1])
        return bit

    def check_end(self) -> None:
        require(self.at == len(self.data), "a strip is not read exactly to its end")


class ExactStrip:
    def __init__(self, bits: Bits, height: int, width: int, channels: int, bound: int, depth: int = 8) -> None:
        self.bits, self.bound, self.width, self.depth = bits, bound, width, depth
        self.limits = ERRORS + [limit << i for i in range(depth - 8) for limit in (396, 560)]
        # Two rows above, eight columns on both sides.
        self.v = [np.full((height + 2, width + 16), 1 << (depth - 1) if k == 0 else 0, np.int64) for k in range(channels)]
        self.errors = [np.zeros((height + 2, width + 16), np.int64) for _ in range(channels)]
        self.weights = [np.array(WEIGHTS[k], np.int64) for k in range(channels)]
        for y in range(height):
            for k in range(channels):
                row = self.v[k][y + 2]
                row[:8] = self.v[k][y + 1][8]
                for x in range(width):
                    self.sample(k, y + 2, x + 8)
                row[8 + width :] = row[7 + width]
        bits.check_end()
        inside = [v[2:, 8 : 8 + width] for v in self.v]
        self.samples = np.stack([inside[1] + inside[0], inside[0], inside[2] + inside[0]] if channels == 3 else inside, axis=2)

    def sample(self, k: int, y: int, x: int) -> None:
        v, e, more, most = self.v[k], self.errors[k], self.depth - 8, 2**self.depth - 1
        c = int(v[y, x - 1] + v[y - 1, x]) >> 1
        taps = [v[y - 1, x - 3 : x + 5] - c, np.concatenate([v[y, x - 4 : x], v[y - 2, x - 1 : x + 3]]) - c]
        for other in self.v[:k]:
            taps += [other[y, x - 3 : x + 5] - other[y, x], other[y - 1, x - 3 : x + 5] - other[y, x]]
        tap = np.concatenate(taps)
        g = int(self.v[0][y, x]) if k else 0
        guess = 16 * c + (int(self.weights[k] @ tap) + 256 >> 9)
        fine = max(0, min(guess + 16 * g, 16 * most))
        whole = (fine + 8) >> 4
        around = int(2 * e[y, x - 1] + 2 * e[y - 1, x] + e[y - 1, x - 1] + e[y - 1, x + 1] + e[y, x - 2] + e[y - 1, x + 2])
        here = sum(2 * int(other[y, x]) for other in self.errors[:k])
        energy = self.level((around, (around + 2 * here) * 2 // 3, (around + here) * 2 // 3)[k])
        left, above = int(v[y, x - 1]), int(v[y - 1, x])
        m = max(min(left, above), min(left + above - int(v[y - 1, x - 1]), max(left, above)))
        D = 2 * self.bound + 1
        lean = m + g - whole if self.bound == 0 else towards_zero(2 * (m + g - whole), D)
        lean = clamp(towards_zero(lean, 1 << self.low(energy)) if more else lean, 10)
        detail = min(self.level(around + here) // 4, 5 + more // 2)
        t = self.quotient(k, energy, detail, lean, (fine - 16 * whole + 8) >> 2)
        value = max(0, min(whole + t * D, most))
        e[y, x], v[y, x] = min(abs(t) * (1 if more else D), most), value - g
        error = clamp(16 * (value - g) - guess, 256 << more)
        step = towards_zero(error * (20480 << more), (160 << more) + int(tap @ tap))
        self.weights[k] = np.clip(self.weights[k] + ((step * tap + (512 << more)) >> (10 + more)), -32767, 32767)

    def level(self, a: int) -> int:
        return sum(limit < a for limit in self.limits)

    @staticmethod
    def low(energy: int) -> int:
        return sum(energy >= limit for limit in (17, 20, 22, 24)) + max(0, energy - 24) // 2

    def quotient(self, k: int, energy: int, detail: int, lean: int, part: int) -> int:
        def bit(i: int) -> int:
            return self.bits.bit(("A", k, energy, i), ("B", k, detail, lean, i), ("X", k, i))

        if not bit(0):
            return 0
        negative = self.bits.bit(("SA", k, energy, part), ("SB", k, detail, lean), ("SX", k))
        lean = -lean if negative else lean
        h = 0
        while h < 20 and bit(1 + h):
            h += 1
        if h == 20:
            b = 0
            while b < self.depth and bit(21 + b):
                b += 1
            h = 20 + 2**b + self.bits.plain(b) - 1
        low = self.low(energy)
        size = h
        if low:
            size = 2 * size + bit(21 + self.depth + min(h, 8))
            size = size << (low - 1) | self.bits.plain(low - 1)
        return -size - 1 if negative else size + 1


HOLE = 1 << 24


class ColoursStrip:
    def __init__(self, bits: Bits, height: int, width: int, channels: int, overlay: bool = False) -> None:
        self.bits, self.channels, self.overlay = bits, channels, overlay
        self.far: dict[int, int] = {}
        self.near: dict[int, int] = {}
        colours = np.zeros((height + 2, width + 4), np.int64).tolist()  # two rows above, two columns on both sides
        for y in range(2, height + 2):
            for x in range(2, width + 2):
                colours[y][x] = self.pixel(colours[y], colours[y - 1], colours[y - 2][x], x)
        bits.check_end()
        inside = np.array(colours)[2:, 2 : width + 2]
        self.holes = inside == HOLE
        self.samples = np.stack([inside >> 8 * (channels - 1 - c) & 255 for c in range(channels)], axis=2)

    @staticmethod
    def hashed(*colours: int) -> int:
        h = 0
        for c in colours:
            h = (h + c + 1) * 0x9E3779B1 & 0xFFFFFFFF
            h ^= h >> 15
        return h * 0x85EBCA77 & 0xFFFFFFFF

    def pixel(self, row: list[int], above: list[int], nn: int, x: int) -> int:
        w, ww, n, nw, ne = row[x - 1], row[x - 2], above[x], above[x - 1], above[x + 1]
        far, near = self.hashed(w, n, nw, ne, ww, nn, above[x + 2]), self.hashed(w, n, nw, ne)
        guesses = [self.far.get(far >> 16), self.near.get(near >> 16), w, n, nw, ne]
        pattern = (w == n, n == ne, n == nw, w == nw, w == ww, n == nn, guesses[0] is None)
        colour = None
        for i, guess in enumerate(guesses):
            if guess is None or guess in guesses[:i]:
                continue
            slot = (far + i * 0x9E3779B1 & 0xFFFFFFFF) >> 16
            if self.bits.bit(("P", i, pattern), ("H", slot), ("X", i)):
                colour = guess
                break
        if colour is None and self.overlay and HOLE not in guesses and self.bits.bit(("O", pattern), ("Q", near >> 16), "O"):
            colour = HOLE
        if colour is None:
            colour = self.literal(w, n)
        self.far[far >> 16] = self.near[near >> 16] = colour
        return colour

    def literal(self, w: int, n: int) -> int:
        colour = known = 0
        for c in range(self.channels):
            shift = 8 * (self.channels - 1 - c)
            known = n >> shift & 255 if c == 0 else known
            node = 1
            for _ in range(8):
                node = 2 * node + self.bits.bit(("L", c, w >> shift & 255, node), ("K", c, known, node), ("S", c))
            known = node & 255
            colour = colour << 8 | known
        return colour


def narrow(a: np.ndarray) -> np.ndarray:
    return np.clip((a + 2048) >> 12, -32767, 32767)


class ResidualStrip:
    """coarse: (h, W, C) samples of 8 bits, or of 16."""

    def __init__(self, bits: Bits, coarse: np.ndarray, step: int, depth: int) -> None:
        self.bits, self.step, self.e = bits, step, depth - 8
        height, width, channels = coarse.shape
        self.samples = coarse.astype(np.int64).copy()
        above = {(x, k): np.zeros((8, 8), np.int64) for x in range(0, width, 8) for k in range(channels)}
        for y in range(0, height, 8):
            left = [np.zeros((8, 8), np.int64)] * channels
            for x in range(0, width, 8):
                block = coarse[np.minimum(np.arange(y, y + 8), height - 1)][:, np.minimum(np.arange(x, x + 8), width - 1)].astype(np.int64)
                components = 8 * block + 2**self.e // 2 if channels == 1 else (block @ COLOUR.T + 2 ** (8 + self.e)) >> 9
                components = components >> self.e
                magnitudes: list[np.ndarray] = []
                moves = []
                for k in range(channels):
                    around = left[k] + above[x, k]
                    if k > 0:
                        around = around + self.spread(magnitudes[k - 1])
                    if k > 1:
                        around = around + 4 * magnitudes[0]
                    forward = narrow(narrow(COSINE @ components[:, :, k]) @ COSINE.T)
                    m, signs = self.component(k, around, np.abs(forward))
                    magnitudes.append(m)
                    left[k] = above[x, k] = self.spread(m)
                    coefficients = signs * np.minimum((m * step + 1) >> 1, 32767)
                    moves.append(narrow(narrow(COSINE.T @ coefficients) @ COSINE))
                self.add(y, x, moves)
        bits.check_end()

    @staticmethod
    def spread(m: np.ndarray) -> np.ndarray:
        wide = np.pad(m, 1)
        return 4 * m + wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]

    @staticmethod
    def level(a: int) -> int:
        return sum(limit <= a for limit in MAGNITUDES)

    def component(self, k: int, around: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        s[0, 0] = 0
        strength = self.spread(s) - 2 * s
        m, signs = np.zeros((12, 12), np.int64), np.zeros((8, 8), np.int64)  # m: with two more before, and behind
        for u, v in sorted(((u, v) for u in range(8) for v in range(8)), key=lambda place: (sum(place), place)):
            i, j = u + 2, v + 2
            inside = 2 * m[i, j - 1] + 2 * m[i - 1, j] + m[i - 1, j - 1] + m[i - 1, j + 1] + m[i, j - 2] + m[i - 2, j]
            energy = self.level(int(8 * inside + 2 * around[u, v]))
            activity = self.level(int(min(strength[u, v], 32 * self.step)) * (2**20 // self.step) >> 16)
            place = (min(u, v), max(u, v))
            m[i, j] = self.magnitude(k, energy, (u + v) // 2, place, activity)
            if m[i, j]:
                signs[u, v] = -1 if self.bits.plain(1) else 1
        return m[2:10, 2:10], signs

    def magnitude(self, k: int, energy: int, zone: int, place: tuple[int, int], activity: int) -> int:
        def bit(i: int) -> int:
            return self.bits.bit(("A", k, energy, zone, i), ("B", k, place, activity, i), ("X", k, energy, i))

        m = 0
        while m < 15 and bit(m):
            m += 1
        if m == 15:
            b = 0
            while b < 12 and bit(15 + b):
                b += 1
            m = 14 + 2**b + self.bits.plain(b)
        return m

    def add(self, y: int, x: int, moves: list[np.ndarray]) -> None:
        place = self.samples[y : y + 8, x : x + 8]
        h, w, channels = place.shape
        by = np.stack(moves, axis=2)[:h, :w]
        place += (by @ COLOUR + 2 ** (14 - self.e)) >> (15 - self.e) if channels == 3 else (by * 2**self.e + 4) >> 3
        np.clip(place, 0, 2 ** (8 + self.e) - 1, out=place)


def exact_samples(layer: Layer, width: int, height: int, channels: int) -> np.ndarray:
    """(H, W, C) of a layer of kind 0 or 2."""
    out = []
    for i, data in enumerate(layer.strips):
        rows = min(layer.rows, height - i * layer.rows)
        if layer.kind == 2:
            out.append(ColoursStrip(Bits(data), rows, width, channels).samples)
        else:
            out.append(ExactStrip(Bits(data), rows, width, channels, layer.bound, layer.bits).samples)
    return np.concatenate(out)


def deep_exact(layer: Layer, stream: StreamFile) -> np.ndarray:
    """(H, W, C) samples of 16 bits, of exact pixels of 9 to 16."""
    found, depth = exact_samples(layer, stream.width, stream.height, 1 if stream.mode else 3), depth_of(stream)
    if b"VALS" in stream.chunks:
        values = parse_values(stream.chunks[b"VALS"], depth)
        require(found.max() < len(values), "a sample that is no value")
        found = np.array(values)[found]
    most = 2**depth - 1
    return (found * 65535 + most // 2) // most


def parse_values(data: bytes, depth: int) -> list[int]:
    bits, values = Bits(data[2:]), list[int]()
    last, gap, pattern = -1, 0, 0
    for x in range(1 << depth):
        bit = bits.bit(("A", min(gap, 511), min(x - last, 511)), ("B", pattern), "X")
        pattern = (2 * pattern + bit) % 4096
        if bit:
            gap, last = x - last, x
            values.append(x)
    bits.check_end()
    require(len(values) == int.from_bytes(data[:2], "little") + 1, "more or fewer values than they say")
    return values


def laid_over(data: bytes, coarse: np.ndarray) -> np.ndarray:
    strip = ColoursStrip(Bits(data), *coarse.shape, overlay=True)
    return np.where(strip.holes[:, :, None], coarse, strip.samples)


def apply(layer: Layer, stream: StreamFile, coarse: np.ndarray | None) -> np.ndarray:
    """(H, W, 3) or, of mode 1, (H, W) samples; `coarse` are those of the latents, None with exact pixels."""
    if coarse is None:
        whole = exact_samples(layer, stream.width, stream.height, 1 if stream.mode else 3)
    else:
        parts = [coarse[i * layer.rows : (i + 1) * layer.rows] for i in range(len(layer.strips))]
        wide = [part if part.ndim == 3 else part[:, :, None] for part in parts]
        strips = zip(layer.strips, wide, strict=True)
        over = laid_over if layer.kind == 3 else lambda data, part: ResidualStrip(Bits(data), part, layer.step, layer.bits).samples
        whole = np.concatenate([over(data, part) for data, part in strips])
    return whole[:, :, 0] if stream.mode else whole
