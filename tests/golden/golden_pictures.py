# SPDX-License-Identifier: Apache-2.0
"""Golden models with transforms, and the numbered pictures that are encoded with them: one picture, one file; one file, one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from builders import Case, random_model
from numpy.typing import NDArray

from jahp_fast.entropy.model_file import ModelConfig, ModelFile, save_model

MODELS = {
    "pictures": (Case("mbt2018"), {"seed": 4001, "N": 4, "M": 6, "qualities": (1.0, 2.5, 8.0)}),
    "pictures-b": (Case("mbt2018", "B", 16), {"seed": 4002, "N": 3, "M": 5, "qualities": (4.0,)}),
    "pictures-hyperprior": (Case("bmshj2018-hyperprior"), {"seed": 4003, "N": 5, "M": 4, "qualities": (1.0, 8.0)}),
    "pictures-skip": (Case("mbt2018"), {"seed": 4005, "N": 4, "M": 6, "qualities": (1.0, 2.5, 8.0)}),
    "pictures-factorized": (Case("bmshj2018-factorized"), {"seed": 4004, "M": 3, "qualities": (7.95, 8.0)}),
}
"""By name: kind and options of builders.random_model."""
SKIPS = (0.5, 0.75, 0.0)
"""Of the scales of pictures-skip, by quality: what its encoder leaves out."""
PICTURES = [
    ("pictures", 1, 1, 3, 1.0), ("pictures", 31, 17, 1, 2.5), ("pictures", 37, 100, 4, 3.75), ("pictures", 512, 768, 3, 8.0),
    ("pictures", 200, 5, 3, 1.05), ("pictures-b", 33, 50, 3, 4.0), ("pictures-hyperprior", 66, 47, 3, 5.3),
    ("pictures-factorized", 16, 64, 4, 7.95), ("pictures-skip", 40, 61, 3, 1.7), ("pictures-skip", 40, 61, 3, 1.75),
]  # fmt: skip
"""Model, height, width, channels and quality. The stream of the i-th is NAME-i."""
DEEP = [(33, 47, 3, 16), (20, 50, 1, 10), (40, 31, 4, 12)]
"""Height, width, channels and depth of pictures of more than 8 bits. The stream of the i-th is pictures-deep-i."""
WILD = ("pictures-wild", "pictures", 70, 90, 4.45)
"""A stream of latents up to ±32767: its sums wrap."""


def random_transforms(config: ModelConfig, inner: int, seed: int) -> dict[str, NDArray[Any]]:
    """The tensors `transform.*` of nets with `inner` channels, whose values are neither all clamped nor all 0."""
    rng = np.random.default_rng(seed)
    M, N, rows = config.latents, config.hyper_latents, len(config.qualities)
    out: dict[str, NDArray[Any]] = {}

    def conv(name: str, shape: tuple[int, ...], outputs: int, shift: int, each: tuple[int, ...] = (), bias: int = 0) -> None:
        out[f"{name}.weight"] = rng.integers(-2000, 2001, (*each, *shape)).astype(np.int16)
        out[f"{name}.bias"] = (rng.integers(-(10**6), 10**6, (*each, outputs)) + bias).astype(np.int32)
        out[f"{name}.shift"] = rng.integers(shift, shift + 2, outputs).astype(np.uint8)

    def gdn(name: str, shift: int) -> None:
        out[f"{name}.gamma"] = rng.integers(0, 400, (inner, inner)).astype(np.int16)
        out[f"{name}.beta"] = rng.integers(3 * 10**5, 10**6, inner).astype(np.int32)
        out[f"{name}.shift"] = rng.integers(shift, shift + 2, inner).astype(np.uint8)

    inputs = 3
    for i in (0, 2, 4, 6):
        outputs = M if i == 6 else inner
        conv(f"g_a.{i}", (outputs, inputs, 5, 5), outputs, 10 if i == 0 else 11)
        if i < 6:
            gdn(f"g_a.{i + 1}", 19)
        inputs = outputs
    del out["g_a.6.shift"]
    inputs = M
    for i in (0, 2, 4, 6):
        outputs = 3 if i == 6 else inner
        conv(f"g_s.{i}", (inputs, outputs, 5, 5), outputs, 17 if i == 6 else 12, (rows,) if i > 2 and rows > 1 else (), (i == 6) << 24)
        if i < 6:
            gdn(f"g_s.{i + 1}", 9)
        inputs = outputs
    if N:
        conv("h_a.0", (N, M, 3, 3), N, 10)
        conv("h_a.2", (N, N, 5, 5), N, 11)
        conv("h_a.4", (N, N, 5, 5), N, 12)
        out["h_a.input"] = rng.integers(-2000, 2000, (1, M)).astype(np.int32)
    slope = np.linspace(0, 8000, rows).astype(np.int64)[:, None] + rng.integers(0, 2000, (rows, M))
    out["gain"] = (slope - 58000).astype(np.int32)
    out["inv_gain"] = (30000 - slope - config.frac_bits * 4096).astype(np.int32)
    return out


def model(folder: Path, name: str) -> ModelFile:
    """The model of that name, made if it does not stand there."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        case, options = MODELS[name]
        made = random_model(path, case, **options)
        entropy = dict(made.entropy)
        if name == "pictures-skip":
            entropy["scale.skip"] = np.array([share * len(entropy["scale.row"]) for share in SKIPS], np.int32)
        save_model(path, made.config, entropy, random_transforms(made.config, 5, options["seed"]), {})
    return ModelFile(path)


def picture(number: int, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """(H, W, channels), or (H, W) of one channel: slopes, edges and noise."""
    rng = np.random.Generator(np.random.PCG64(number))
    rows, columns = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    slopes = 128 + rows * rng.integers(-3, 4, channels) + columns * rng.integers(-3, 4, channels)
    edges = (rows // 11 + columns // 7) % 2 * rng.integers(-90, 91, channels)
    pixels = np.clip(slopes + edges + rng.integers(-20, 21, (height, width, channels)), 0, 255).astype(np.uint8)
    return pixels[:, :, 0] if channels == 1 else pixels


def deep_picture(number: int, height: int, width: int, channels: int, depth: int) -> NDArray[np.uint16]:
    """`picture` with so many bits, and another one in the lower ones."""
    upper, lower = (picture(n, height, width, channels).astype(np.uint16) for n in (200 + number, 300 + number))
    deep: NDArray[np.uint16] = (upper << 8 | lower) >> (16 - depth)
    return deep
