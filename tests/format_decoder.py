# SPDX-License-Identifier: Apache-2.0
"""A second decoder, written from docs/format.md alone: plain loops over plain integers, nothing of jahp_fast imported.

    latents = Decoder(model_path).decode(file_bytes)

Any breach of the page raises Refused.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Cell = list[int]
Image = dict[tuple[int, int], Cell]  # (row, column) -> channels; what is missing lies outside


class Refused(Exception):
    pass


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Refused(what)


def clamp(a: int, limit: int) -> int:
    return max(-limit, min(limit, a))


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 if crc & 1 else crc >> 1
    return crc ^ 0xFFFFFFFF


def mix(index: int, value: int) -> int:
    h = (index * 0x9E3779B1 + value * 0x85EBCA77) & 0xFFFFFFFF
    h = (h ^ h >> 15) * 0x2C1B3C6D & 0xFFFFFFFF
    h = (h ^ h >> 12) * 0x297A2D39 & 0xFFFFFFFF
    return h ^ h >> 15


def read_model(path: Path) -> tuple[bytes, dict[str, Any], dict[str, tuple[list[int], list[int]]]]:
    """Id, config, and name -> (shape, values) of the entropy tensors."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    require(metadata["jahp"] == "1", "version of the model file")
    lines, tensors, config = [], {}, {}
    for name, entry in sorted(header.items()):
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        raw, shape, dtype = data[begin:end], entry["shape"], entry["dtype"]
        lines.append(f"{name} {dtype} [{','.join(map(str, shape))}] {hashlib.sha256(raw).hexdigest()}\n")
        if name == "config":
            config = json.loads(raw)
        elif name.startswith("entropy."):
            kind = {"I8": "b", "U16": "H", "I32": "i"}[dtype]
            values = struct.unpack(f"<{len(raw) // struct.calcsize(kind)}{kind}", raw)
            tensors[name.removeprefix("entropy.")] = (shape, list(values))
    require("".join(lines) == metadata["manifest"], "manifest")
    return hashlib.sha256(metadata["manifest"].encode()).digest()[:8], config, tensors


class Decoder:
    def __init__(self, path: Path) -> None:
        self.id, self.config, self.tensors = read_model(path)
        c = self.config
        self.M, self.N, self.B, self.P = c["latents"], c["hyper_latents"], c["mean_bits"], c["prob_bits"]
        self.limit = 127 if c["activation_bits"] == 8 else 4095
        self.conditional = c["architecture"] != "bmshj2018-factorized"
        self.means = c["architecture"] in ("mbt2018-mean", "mbt2018-context", "mbt2018")
        self.context = c["architecture"] in ("mbt2018-context", "mbt2018")
        self.rows, at = [], 0
        for low, size in zip(self.values("tables.low"), self.values("tables.size"), strict=True):
            self.rows.append((low, [*self.values("tables.starts")[at : at + size + 1], 1 << self.P]))
            at += size + 1

    def values(self, name: str) -> list[int]:
        return self.tensors[name][1]

    def layer(self, name: str, products: list[int]) -> Cell:
        """Requantises the sums of products of one position."""
        parameters = name == ("entropy_parameters.4" if self.context else "h_s.4")
        out = []
        for o, product in enumerate(products):
            total = product + self.values(f"{name}.bias")[o]
            scaled = total * self.values(f"{name}.mul_neg" if total < 0 else f"{name}.mul_pos")[o]
            shift = self.values(f"{name}.shift")[o]
            rounded = ((scaled + (1 << (shift - 1))) >> shift) + self.values(f"{name}.zero")[o]
            out.append(clamp(rounded, 1 << 23 if parameters else self.limit))
        return out

    def taps(self, name: str, inputs: list[tuple[int, Cell]]) -> Cell:
        """inputs: (kernel cell, channels) of one position."""
        (outputs, channels, k, _), weight = self.tensors[f"{name}.weight"]
        products = [
            sum(weight[(o * channels + i) * k * k + cell] * x[i] for cell, x in inputs for i in range(channels)) for o in range(outputs)
        ]
        return self.layer(name, products)

    def convolution(self, name: str, image: Image, r: int, q: int, masked: bool = False) -> Cell:
        k = self.tensors[f"{name}.weight"][0][2]
        cells = range(k * k // 2) if masked else range(k * k)
        places = ((cell, (r + cell // k - k // 2, q + cell % k - k // 2)) for cell in cells)
        return self.taps(name, [(cell, image[place]) for cell, place in places if place in image])

    def transposed(self, name: str, image: Image, rows: int, columns: int) -> Image:
        taps = defaultdict(list)
        for (i, j), x in image.items():
            for a in range(5):
                for b in range(5):
                    taps[2 * i + a - 2, 2 * j + b - 2].append((a * 5 + b, x))
        return {(r, q): self.taps(name, taps[r, q]) for r in range(rows) for q in range(columns)}

    def hyperprior(self, z: Image, hz: int, wz: int, h: int, w: int) -> Image:
        offset, bits = self.values("z_offset"), self.config["z_bits"]
        x = {at: [clamp((v << bits) + o, self.limit) for v, o in zip(cell, offset, strict=True)] for at, cell in z.items()}
        x = self.transposed("h_s.0", x, 2 * hz, 2 * wz)
        x = self.transposed("h_s.2", x, 4 * hz, 4 * wz)
        return {(r, q): self.convolution("h_s.4", x, r, q) for r in range(h) for q in range(w)}

    def parameters(self, at: tuple[int, int], hyper: Image, seen: Image) -> Cell:
        if not self.context:
            return hyper[at]
        x = hyper.get(at, []) + self.convolution("context_prediction", seen, *at, masked=True)
        for name in ("entropy_parameters.0", "entropy_parameters.2", "entropy_parameters.4"):
            x = self.taps(name, [(0, x)])
        return x

    def seen(self, y: Cell) -> Cell:
        mul, add, shift = (self.values(f"context_input.{part}") for part in ("mul", "add", "shift"))
        return [clamp((v * mul[m] + add[m]) >> shift[m], self.limit) for m, v in enumerate(y)]

    def steps(self, h: int, w: int) -> Iterator[list[tuple[int, int]]]:
        if not self.context:
            yield from ([(r, q) for q in range(w)] for r in range(h))
            return
        g = self.tensors["context_prediction.weight"][0][2] // 2 + 1
        for t in range(w + g * (h - 1)):
            yield [(r, t - g * r) for r in range(h) if 0 <= t - g * r < w]

    def decode(self, data: bytes) -> tuple[Image, Image]:
        """z and Y."""
        require(data[:4] == b"JAHP" and len(data) >= 44, "magic")
        version, mode, log_lanes, skip, model, W, H, quality, reserved, size, chunks, checksum, crc = struct.unpack_from(
            "<4BQIIHHIIII", data, 4
        )
        require(version == 1 and mode <= 1 and log_lanes <= 6 and reserved == 0 and 20 <= quality <= 160, "header")
        require(len(data) == 44 + size + chunks and crc == crc32c(data[:40] + data[44:]), "length or crc")
        require(min(W, H) > 0 and 16384 * size >= W * H, "size")
        require(struct.pack("<Q", model) == self.id, "model")
        qualities = self.config["qualities"]
        require(qualities[0] <= quality / 20 <= qualities[-1], "quality")
        h, w = -(-H // 16), -(-W // 16)
        hz, wz = (-(-h // 4), -(-w // 4)) if self.N else (0, 0)
        coder = Coder(self, data[44 : 44 + size], 1 << log_lanes, hz * wz * self.N + h * w * self.M)
        z = {(r, q): [coder.get(n, n, 0) for n in range(self.N)] for r in range(hz) for q in range(wz)}
        hyper = self.hyperprior(z, hz, wz, h, w) if self.N else {}
        y: Image = {}
        seen: Image = {}
        for step in self.steps(h, w):
            for at in step:
                parameters = self.parameters(at, hyper, seen) if self.conditional else []
                y[at] = [self.symbol(coder, m, parameters, skip) for m in range(self.M)]
                if self.context:
                    seen[at] = self.seen(y[at])
        coder.finish(-(-W * H // 16384))
        symbols = [v for image in (z, y) for at in sorted(image) for v in image[at]]
        require(sum(map(mix, range(len(symbols)), symbols)) & 0xFFFFFFFF == checksum, "checksum of the symbols")
        return z, y

    def symbol(self, coder: Coder, m: int, parameters: Cell, skip: int) -> int:
        if not self.conditional:
            return coder.get(m, m, 0)
        scale, mean = parameters[m], parameters[self.M + m] if self.means else 0
        s = sum(threshold <= scale for threshold in self.values("scale.thresholds"))
        form_a, row = self.config["form"] == "A", self.values("scale.row")[s]
        if s < skip:
            value = (mean + ((1 << self.B) // 2)) >> self.B if form_a else mean
        elif not form_a:
            value = (coder.get(m, row, 0) << self.B) + mean
        elif self.means:
            fraction = (mean % (1 << self.B)) >> self.values("scale.drop")[s]
            value = coder.get(m, row + fraction, mean >> self.B)
        else:
            value = coder.get(m, row, 0)
        require(abs(value) <= 32767 << (0 if form_a else self.B), "latent out of range")
        return value


class Coder:
    def __init__(self, model: Decoder, payload: bytes, lanes: int, symbols: int) -> None:
        self.model, self.payload, self.lanes = model, payload, lanes
        require(len(payload) >= 4 + 4 * lanes, "payload too short")
        (count,) = struct.unpack_from("<I", payload)
        require(count <= symbols and len(payload) >= 4 + 2 * count + 4 * lanes, "escapes")
        self.escapes = list(struct.unpack_from(f"<{count}h", payload, 4))
        self.states = list(struct.unpack_from(f"<{lanes}I", payload, 4 + 2 * count))
        require(min(self.states) >= 1 << 16, "state")
        self.at = 4 + 2 * count + 4 * lanes

    def get(self, channel: int, row: int, shift: int) -> int:
        low, starts = self.model.rows[row]
        lane, P = channel % self.lanes, self.model.P
        x = self.states[lane]
        slot = x % (1 << P)
        k = next(k for k in range(len(starts) - 1) if starts[k] <= slot < starts[k + 1])
        x = (starts[k + 1] - starts[k]) * (x >> P) + slot - starts[k]
        if x < 1 << 16:
            require(self.at + 2 <= len(self.payload), "words end")
            x = (x << 16) + int.from_bytes(self.payload[self.at : self.at + 2], "little")
            self.at += 2
        self.states[lane] = x
        size = len(starts) - 2
        value = low + k + shift
        if k == size:
            require(bool(self.escapes), "escapes end")
            value = self.escapes.pop(0)
            require(not low <= value - shift < low + size, "escape that the row could have coded")
        require(abs(value) <= 32767, "symbol out of range")
        return value

    def finish(self, least: int) -> None:
        require(set(self.states) == {1 << 16} and not self.escapes, "end of a lane, or escapes left over")
        rest = self.payload[self.at :]
        require(not rest or (len(self.payload) == least and not any(rest)), "bytes left over")
