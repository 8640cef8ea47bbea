# SPDX-License-Identifier: Apache-2.0
"""Random integer models of the published widths: the arithmetic of real ones, without weights that would have to be shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from builders import random_layer
from numpy.typing import NDArray

from jahp_fast.entropy.integer_net import PARAMETER_LIMIT
from jahp_fast.entropy.model_file import Form, ModelConfig, ModelFile, save_model
from jahp_fast.export.model import SCALE_BITS
from jahp_fast.export.tables import gaussian_row, pack_rows, scale_table

MEAN_BITS, PROB_BITS = 6, 15


def full_size_model(path: Path, N: int, M: int, seed: int = 0, form: Form = "A", bits: int = 8) -> ModelFile:
    """A joint model with CompressAI's layer widths; scales about 1.4, means about 0."""
    rng = np.random.default_rng(seed)
    config = ModelConfig("mbt2018", M, N, form, bits, MEAN_BITS, 0, PROB_BITS, (1.0, 8.0))
    limit = config.activation_limit
    hidden = M * 10 // 3, M * 8 // 3
    rms = np.concatenate([np.full(M, 0.2 * 2**SCALE_BITS), np.full(M, 0.2 * 2**MEAN_BITS)])
    layers = [
        ("h_s.0", M, N, 5, 6, limit, limit / 2),
        ("h_s.2", M * 3 // 2, M, 5, 6, limit, limit / 2),
        ("h_s.4", 2 * M, M * 3 // 2, 3, 9, limit, limit / 2),
        ("context_prediction", 2 * M, M, 5, 12, limit, limit / 2),
        ("entropy_parameters.0", hidden[0], 4 * M, 1, 1, limit, limit / 2),
        ("entropy_parameters.2", hidden[1], hidden[0], 1, 1, limit, limit / 2),
        ("entropy_parameters.4", 2 * M, hidden[1], 1, 1, PARAMETER_LIMIT, rms),
    ]
    tensors: dict[str, NDArray[np.generic]] = {}
    for name, outputs, inputs, kernel, taps, out_limit, out_rms in layers:
        tensors.update(random_layer(rng, name, outputs, inputs, kernel, limit, out_limit, out_rms, "typical", taps))
    last = "entropy_parameters.4"
    factor = tensors[f"{last}.mul_pos"].astype(float) / 2.0 ** tensors[f"{last}.shift"]
    lift = np.concatenate([np.full(M, 1.4 * 2**SCALE_BITS), np.zeros(M)]) / factor
    tensors[f"{last}.bias"] = (tensors[f"{last}.bias"] + lift).astype(np.int32)
    tensors[f"{last}.mul_neg"] = tensors[f"{last}.mul_pos"]
    tensors[f"{last}.zero"] = np.zeros(2 * M, np.int32)
    table = scale_table(MEAN_BITS, PROB_BITS, fractions=form == "A")
    rows = [gaussian_row(0.0, float(np.exp(rng.uniform(-1, 1))), PROB_BITS) for _ in range(N)]
    tensors |= {
        "z_offset": np.zeros(N, np.int32),
        "context_input.mul": np.full(M, 16 if form == "A" else 1, np.int32),  # ŷ of form B has its fraction already
        "context_input.add": np.zeros(M, np.int32),
        "context_input.shift": np.zeros(M, np.int32),
        "scale.thresholds": np.rint(table.boundaries * 2**SCALE_BITS).astype(np.int32),
        "scale.row": table.row + np.int32(N),
        "scale.drop": table.drop,
    }
    save_model(path, config, tensors | pack_rows(rows + table.rows), {}, {})
    return ModelFile(path)


def typical_latents(model: ModelFile, height: int, width: int, seed: int = 1) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """z (hz, wz, N) and y (height, width, M) that such a model codes at about 2.8 bits a symbol with few escapes."""
    rng = np.random.default_rng(seed)
    c = model.config

    def draw(*shape: int) -> NDArray[np.int32]:
        return np.rint(rng.laplace(0, 0.8, shape)).astype(np.int32)

    return draw(-(-height // 4), -(-width // 4), c.hyper_latents), draw(height, width, c.latents)
