# SPDX-License-Identifier: Apache-2.0
"""From ŷ to pixels by docs/reference/format.md, in float64: what the tolerance of that page counts from. Written from that page alone."""

from __future__ import annotations

import hashlib

import numpy as np

from .model_file import DTYPES, Model
from .stream_file import StreamFile, require


class Synthesis:
    """`inv_gain` and g_s of a model at one quality. `tensors` hold the file's numbers, widened."""

    def __init__(self, model: Model, quality: float) -> None:
        self.model = model
        q = [float(n) for n in model.config["qualities"]]
        above = next((i for i, n in enumerate(q) if n >= quality), len(q) - 1)
        self.low = max(above - 1, 0)
        self.high = min(self.low + 1, len(q) - 1)
        self.share = (quality - q[self.low]) / (q[self.high] - q[self.low]) if self.high > self.low else 0.0
        by_row = [f"float.g_s.{i}.0.weight" in model.floats for i in (4, 6)]
        self.by_row = by_row[0]
        require(by_row[0] == by_row[1] and (len(q) > 1 or not by_row[0]), "g_s.4 and g_s.6 by row: both, or none")
        gains = self.take("inv_gain", len(q), model.M)
        self.gain = np.exp(self.between(gains[self.low], gains[self.high]))

    def take(self, name: str, *shape: int | None) -> np.ndarray:
        """A tensor of that shape; None is any size."""
        require(f"float.{name}" in self.model.floats, f"float.{name} is missing")
        dtype, sizes, digest, data = self.model.floats[f"float.{name}"]
        require(hashlib.sha256(data).hexdigest() == digest, f"float.{name}: the manifest has another hash")
        fits = len(sizes) == len(shape) and all(n >= 1 and want in (None, n) for n, want in zip(sizes, shape, strict=True))
        require(fits, f"float.{name} has another shape")
        return np.frombuffer(data, DTYPES[dtype]).reshape(sizes).astype(np.float64)

    def between(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return low + self.share * (high - low)

    def layer(self, i: int, inputs: int, outputs: int | None) -> tuple[np.ndarray, np.ndarray]:
        """weight and bias of g_s.i."""
        names = [f"g_s.{i}.{row}" for row in (self.low, self.high)] if self.by_row and i in (4, 6) else [f"g_s.{i}"] * 2
        weights = [self.take(f"{name}.weight", inputs, outputs, 5, 5) for name in names]
        biases = [self.take(f"{name}.bias", weights[0].shape[1]) for name in names]
        return self.between(*weights), self.between(*biases)

    def run(self, y: np.ndarray) -> np.ndarray:
        """Y, (h, w, M), to (16 h, 16 w, 3) numbers of which 0 to 1 are shown."""
        x = y * 2.0 ** -(self.model.B if self.model.form_b else 0) * self.gain
        width: int | None = None
        for i in (0, 2, 4, 6):
            weight, bias = self.layer(i, x.shape[2], 3 if i == 6 else width)
            x = transposed(x, weight, bias)
            width = x.shape[2]
            if i < 6:
                beta = np.maximum(self.take(f"g_s.{i + 1}.beta", width), (1e-6 + 2.0**-36) ** 0.5) ** 2 - 2.0**-36
                gamma = np.maximum(self.take(f"g_s.{i + 1}.gamma", width, width), 2.0**-18) ** 2 - 2.0**-36
                x = x * np.sqrt(beta + (x * x) @ gamma.T)
        return x


def transposed(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(h, w, I) to (2h, 2w, O): input (i, j) and kernel cell (a, b) add to output (2i + a - 2, 2j + b - 2)."""
    h, w, _ = x.shape
    canvas = np.zeros((2 * h + 4, 2 * w + 4, len(bias)))
    for a in range(5):
        for b in range(5):
            canvas[a : a + 2 * h : 2, b : b + 2 * w : 2] += x @ weight[:, :, a, b]
    return canvas[2 : 2 + 2 * h, 2 : 2 + 2 * w] + bias


def samples(stream: StreamFile, model: Model, y: np.ndarray) -> np.ndarray:
    """(H, W, 3) or, of mode 1, (H, W) samples of 0 to 255."""
    shown = Synthesis(model, stream.quality / 20).run(y)[: stream.height, : stream.width]
    rgb = np.rint(np.clip(np.nan_to_num(shown, nan=0), 0, 1) * 255).astype(np.int64)
    return rgb if stream.mode == 0 else (rgb.sum(axis=2) + 1) // 3
