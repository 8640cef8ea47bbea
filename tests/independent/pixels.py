# SPDX-License-Identifier: Apache-2.0
"""From ŷ to pixels by section 14 of docs/reference/format.md, in integers. Written from that page alone."""

from __future__ import annotations

import hashlib

import numpy as np

from .layers import apply, deep_exact, parse_layer
from .model_file import DTYPES, Model
from .rules import require
from .stream_file import StreamFile, crc32c


class Synthesis:
    """`inv_gain` and g_s of a model at the code of a file's quality, 20 to 160. Tensors hold the file's numbers as int64."""

    def __init__(self, model: Model, quality: int) -> None:
        self.model = model
        codes = [round(20 * n) for n in model.config["qualities"]]
        self.rows = len(codes)
        above = max(next(i for i, code in enumerate(codes) if code >= quality), 1) if self.rows > 1 else 0
        self.high, self.low = above, max(above - 1, 0)
        self.t, self.d = (quality - codes[self.low], codes[self.high] - codes[self.low]) if self.rows > 1 else (0, 1)
        log = self.between(self.bounded("inv_gain", "I32", -192512, 61439, self.rows, model.M))
        coarse = np.array([round(2 ** (15 + i / 64)) for i in range(64)])
        fine = np.array([round(2 ** (15 + i / 4096)) for i in range(64)])
        self.mul, self.shift = (coarse[log >> 6 & 63] * fine[log & 63] + 2**14) >> 15, 15 - (log >> 12)

    def take(self, name: str, kind: str, *shape: int | None) -> np.ndarray:
        """A tensor of that type and shape; None is any size."""
        require(f"transform.{name}" in self.model.transforms, f"transform.{name} is missing")
        dtype, sizes, digest, data = self.model.transforms[f"transform.{name}"]
        require(hashlib.sha256(data).hexdigest() == digest, f"transform.{name}: the manifest has another hash")
        fits = len(sizes) == len(shape) and all(n >= 1 and want in (None, n) for n, want in zip(sizes, shape, strict=True))
        require(fits and dtype == kind, f"transform.{name} has another type or shape")
        return np.frombuffer(data, DTYPES[dtype]).reshape(sizes).astype(np.int64)

    def bounded(self, name: str, kind: str, low: int, high: int, *shape: int | None) -> np.ndarray:
        array = self.take(name, kind, *shape)
        require(low <= array.min() and array.max() <= high, f"transform.{name} leaves its range")
        return array

    def layer(self, i: int, inputs: int, outputs: int | None) -> tuple[np.ndarray, np.ndarray]:
        """weight and bias of g_s.i."""
        rows = (self.rows,) if i in (4, 6) and self.rows > 1 else ()
        weight = self.take(f"g_s.{i}.weight", "I16", *rows, inputs, outputs, 5, 5)
        bias = self.take(f"g_s.{i}.bias", "I32", *rows, weight.shape[-3])
        return (self.between(weight), self.between(bias)) if rows else (weight, bias)

    def between(self, rows: np.ndarray) -> np.ndarray:
        """Of rows for each quality, what the file's has."""
        low, high = rows[self.low], rows[self.high]
        return (low * (self.d - self.t) + high * self.t + self.d // 2) // self.d

    def run(self, y: np.ndarray, more: int = 0) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
        """Y, (h, w, M), to (16 h, 16 w, 3) samples before they are limited to 0..255, in steps of 2^-more; and what each layer gave."""
        x = np.clip(shifted(y.astype(np.int64) * self.mul, self.shift), -8191, 8191)
        steps = [("input", x)]
        width: int | None = None
        for i in (0, 2, 4, 6):
            weight, bias = self.layer(i, x.shape[2], 3 if i == 6 else width)
            width = weight.shape[1]
            shift = self.bounded(f"g_s.{i}.shift", "U8", 8 if i == 6 else 0, 29, width)
            shift = shift - (more if i == 6 else 0)
            sums = transposed(x, weight) + bias + np.where(shift > 0, 1 << np.maximum(shift - 1, 0), 0)
            x = ((sums + 2**29) % 2**30 - 2**29) >> shift
            steps.append((f"g_s.{i}", x))
            if i < 6:
                x = self.inverse_gdn(f"g_s.{i + 1}", x)
                steps.append((f"g_s.{i + 1}", x))
        return x, steps

    def inverse_gdn(self, name: str, x: np.ndarray) -> np.ndarray:
        width = x.shape[2]
        gamma = self.bounded(f"{name}.gamma", "I16", 0, 32767, width, width)
        beta = self.bounded(f"{name}.beta", "I32", 1, 2**31 - 1, width)
        shift = self.bounded(f"{name}.shift", "U8", 1, 31, width)
        require((65535 * gamma.sum(axis=1) + beta).max() < 2**31, f"{name}: the norm leaves 31 bits")
        x = np.clip(x, -16383, 16383)
        n = beta + (((x * x + 2048) >> 12) @ gamma.T)
        return np.clip(shifted(x * root(n), shift), -8191, 8191)


def shifted(a: np.ndarray, s: np.ndarray) -> np.ndarray:
    """For s of at least 1."""
    return (a + (np.int64(1) << (s - 1))) >> s


def root(n: np.ndarray) -> np.ndarray:
    """By bits from above: the largest r with r² - r < n."""
    r = np.zeros_like(n)
    for bit in range(15, -1, -1):
        more = r + (1 << bit)
        r = np.where(more * more - more < n, more, r)
    return r


def transposed(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(h, w, I) to (2h, 2w, O): input (i, j) and kernel cell (a, b) add to output (2i + a - 2, 2j + b - 2)."""
    h, w, _ = x.shape
    canvas = np.zeros((2 * h + 4, 2 * w + 4, weight.shape[1]))  # float64 holds sums below 2^53
    for a in range(5):
        for b in range(5):
            canvas[a : a + 2 * h : 2, b : b + 2 * w : 2] += x.astype(float) @ weight[:, :, a, b].astype(float)
    return canvas[2 : 2 + 2 * h, 2 : 2 + 2 * w].astype(np.int64)


def samples(stream: StreamFile, model: Model | None, y: np.ndarray | None) -> np.ndarray:
    """(H, W, 3) or, of mode 1, (H, W) samples of 0 to 255. model, y: None of exact pixels."""
    layer, shown = parse_layer(stream), np.zeros(0, np.int64)
    if layer is not None and b"deep" in stream.chunks:
        return (deep_samples(stream, model, y) + 128) // 257
    if model is not None and y is not None:
        rgb = np.clip(Synthesis(model, stream.quality).run(y)[0][: stream.height, : stream.width], 0, 255)
        shown = rgb if stream.mode == 0 else (rgb.sum(axis=2) + 1) // 3
    if layer is not None:
        shown = apply(layer, stream, shown if layer.kind in (1, 3) else None)
    if b"pcrc" in stream.chunks:
        require(crc32c(shown.astype(np.uint8).tobytes()) == int.from_bytes(stream.chunks[b"pcrc"], "little"), "the checksum of the pixels")
    return shown


def deep_samples(stream: StreamFile, model: Model | None, y: np.ndarray | None) -> np.ndarray:
    """As samples, 0 to 65535."""
    layer, shown = parse_layer(stream), np.zeros(0, np.int64)
    if layer is not None and b"deep" not in stream.chunks:
        return 257 * samples(stream, model, y)
    if model is not None and y is not None:
        x = Synthesis(model, stream.quality).run(y, 8)[0][: stream.height, : stream.width]
        rgb = (np.clip(x, 0, 65280) * 257 + 128) >> 8
        shown = rgb if stream.mode == 0 else (rgb.sum(axis=2) + 1) // 3
    if layer is None:
        return shown
    if layer.kind == 1:
        shown = apply(layer, stream, shown)
    else:
        deep = deep_exact(layer, stream)
        shown = deep if stream.mode == 0 else deep[:, :, 0]
    if b"pcrc" in stream.chunks:
        require(crc32c(shown.astype("<u2").tobytes()) == int.from_bytes(stream.chunks[b"pcrc"], "little"), "the checksum of the pixels")
    return shown
