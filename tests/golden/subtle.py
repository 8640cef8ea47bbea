# SPDX-License-Identifier: Apache-2.0
"""Golden models for which one misreading of docs/reference/format.md shows that others hide. Each function writes a
model file of that name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from builders import Case, random_layer, random_model

from jahp_fast.entropy.model_file import ModelFile, save_model


def outside(path: Path) -> None:
    """What the context sees of a value of 0 is not 0, so that positions outside of the image differ from those that hold 0."""
    model = random_model(path, Case("mbt2018-context"), seed=3001, M=5)
    add = 40 << model.entropy["context_input.shift"]
    save_model(path, model.config, model.entropy | {"context_input.add": add.astype(np.int32)}, {}, {})


def fraction_b(path: Path) -> None:
    """Form B with a drop of less than B, and different rows behind `scale.row`: the fraction of a mean does not choose among them."""
    model = random_model(path, Case("mbt2018-mean"), seed=3002, N=3, M=5)
    save_model(path, replace(model.config, form="B"), model.entropy, {}, {})


def wide_products(path: Path) -> None:
    """Means of constants for which `scaled` is one below a tie and beyond 2^53: in double precision it is the tie."""
    model = random_model(path, Case("mbt2018-mean", "B"), seed=3003, N=3, M=6, mean_bits=8)
    t = {name: array.copy() for name, array in model.entropy.items()}
    t["h_s.4.weight"][6:] = 0
    rng = np.random.default_rng(3003)
    for output in range(6, 12):
        bias, mul = next(found for found in iter(lambda: _below_a_tie(rng, 45), ()) if found)
        for part, value in (("bias", bias), ("mul_pos", mul), ("mul_neg", mul), ("shift", 45), ("zero", 0)):
            t[f"h_s.4.{part}"][output] = value
    save_model(path, model.config, t, {}, {})


def _below_a_tie(rng: np.random.Generator, shift: int) -> tuple[int, int] | None:
    """bias and mul whose product is one below an odd multiple of 2^(shift - 1), and above 2^53; None most of the time."""
    bias = int(rng.integers(1 << 23, 1 << 30)) * 2 + 1
    mul = ((1 << (shift - 1)) - 1) * pow(bias, -1, 1 << shift) % (1 << shift)
    return (bias, mul) if mul < 1 << 31 and bias * mul > 1 << 53 else None


def wide_sums(path: Path) -> None:
    """Sums of the last 1x1 layer that pass 2^25 before the bias takes them back: single precision loses their last bits."""
    model = random_model(path, Case("mbt2018", "B", 16), seed=3004, N=3, M=4, mean_bits=8)
    rng = np.random.default_rng(3004)
    hidden, inputs, limit = 80, model.entropy["entropy_parameters.2.weight"].shape[1], model.config.activation_limit
    t = dict(model.entropy) | random_layer(rng, "entropy_parameters.2", hidden, inputs, 1, limit, limit, 30, "typical")
    t["entropy_parameters.2.zero"] = np.full(hidden, 4000, np.int32)
    weight = rng.integers(110, 128, (8, hidden, 1, 1)).astype(np.int8)
    t["entropy_parameters.4.weight"] = weight
    t["entropy_parameters.4.bias"] = (rng.integers(0, 2000, 8) - 4000 * weight.astype(np.int64).sum((1, 2, 3))).astype(np.int32)
    t["entropy_parameters.4.mul_pos"] = t["entropy_parameters.4.mul_neg"] = np.repeat([1, 1], 4).astype(np.int32)
    t["entropy_parameters.4.shift"] = np.repeat([4, 1], 4).astype(np.int32)
    t["entropy_parameters.4.zero"] = np.zeros(8, np.int32)
    save_model(path, model.config, t, {}, {})


def ties(path: Path) -> None:
    """Half of the means are ties of the rounding shift, below 0 as often as above. Its qualities are 2 to 6.5."""
    model = random_model(path, Case("mbt2018-mean"), seed=3005, N=3, M=6, qualities=(2.0, 6.5))
    t = {name: array.copy() for name, array in model.entropy.items()}
    t["h_s.4.weight"][6:] = np.sign(t["h_s.4.weight"][6:])
    t["h_s.4.bias"][6:] = [0, -1, 2, -3, 4, -5]
    for part, value in (("mul_pos", 1), ("mul_neg", 1), ("shift", 1), ("zero", 0)):
        t[f"h_s.4.{part}"][6:] = value
    save_model(path, model.config, t, {}, {})


MODELS: dict[str, Callable[[Path], None]] = {
    "outside": outside, "fraction-b": fraction_b, "wide-products": wide_products, "wide-sums": wide_sums, "ties": ties,
}  # fmt: skip


def model(folder: Path, name: str) -> ModelFile:
    """The model of that name, made where it is missing."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        MODELS[name](path)
    return ModelFile(path)
