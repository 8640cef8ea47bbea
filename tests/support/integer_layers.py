# SPDX-License-Identifier: Apache-2.0
"""Random integer layers, as `_native.TransformNet` and `transforms.reference.ReferenceNet` take them, for tests and benchmarks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.transforms.layers import NORM_LIMIT, Layer

WINOGRAD_WEIGHT = 32767 // 16
"""Up to it all weights of a layer fit 16 bits in Winograd's form."""
LARGEST_WEIGHT = 32767


def random_layer(
    rng: np.random.Generator,
    kind: str,
    inputs: int,
    outputs: int,
    kernel: int = 5,
    activation: str = "none",
    weight_limit: int = WINOGRAD_WEIGHT,
    extreme: bool = False,
) -> Layer:
    """kind: one of TransformNet's. Shifts are around what brings sums to the activations' range.
    extreme: weights are +-weight_limit, biases, norms and shifts anywhere in their ranges."""
    shape = (inputs, outputs, kernel, kernel) if kind == "deconv" else (outputs, inputs, kernel, kernel)
    weight = rng.integers(-weight_limit, weight_limit + 1, shape)
    if extreme:
        weight = np.where(weight < 0, -weight_limit, weight_limit)
    bias = rng.integers(-(2**31), 2**31, outputs) if extreme else rng.integers(-(2**20), 2**20, outputs)
    taps = inputs * kernel * kernel / (4 if kind == "deconv" else 1)
    near = max(0, min(29, round(np.log2(weight_limit * np.sqrt(taps) / 3 + 1))))
    if activation == "none":
        near = 0
    elif activation == "pixels":
        near = min(29, near + 5)
    low, high = (0, 29) if extreme else (max(0, near - 1), min(29, near + 1))
    shifts = rng.integers(low, high + 1, outputs)
    return Layer(
        kind,
        weight.astype(np.int16),
        bias.astype(np.int32),
        shifts.astype(np.uint8),
        activation,
        _extras(rng, activation, outputs, extreme),
    )


def _extras(rng: np.random.Generator, activation: str, outputs: int, extreme: bool) -> tuple[NDArray[Any], ...]:
    if activation in ("gdn", "igdn"):
        most = min(32767, (NORM_LIMIT - 1) // (65535 * outputs))
        gamma = rng.integers(0, most + 1, (outputs, outputs)) * (rng.random((outputs, outputs)) < 0.5)
        room = NORM_LIMIT - gamma.sum(1) * 65535
        beta = np.where(rng.random(outputs) < 0.5, 1, room) if extreme else rng.integers(1, np.minimum(room, 2**20) + 1)
        least = 16 if activation == "gdn" else 1
        shift = rng.integers(least, 32, outputs) if extreme else rng.integers(*((16, 19) if activation == "gdn" else (11, 15)), outputs)
        return gamma.astype(np.int16), beta.astype(np.int32), shift.astype(np.uint8)
    if activation == "local":
        steady, varying = rng.integers(0, 32768 if extreme else 8192, (2, outputs))
        varying_shift, shift = rng.integers(*((0, 32) if extreme else (13, 17)), (2, outputs))
        return steady.astype(np.int16), varying.astype(np.int16), varying_shift.astype(np.uint8), shift.astype(np.uint8)
    if activation == "igdn_adjoint":
        gamma = rng.integers(0, 65535 // outputs if extreme else 400, (outputs, outputs))
        term, direct, cross = rng.uniform(0.1, 3, (3, outputs)) * np.array([[1.0], [1e-4], [1e-8]]) * (1e30 if extreme else 1.0)
        return np.minimum(gamma, 32767).astype(np.int16), term.astype(np.float32), direct.astype(np.float32), cross.astype(np.float32)
    return ()


def random_net(rng: np.random.Generator, name: str, N: int, M: int) -> list[Layer]:
    """g_a, h_a, g_s, or adjoint or derivative (of g_s without its last layer)."""
    if name == "g_a":
        widths, kind, after, last = (3, N, N, N, M), "conv", "gdn", "none"
    elif name == "g_s":
        widths, kind, after, last = (M, N, N, N, 3), "deconv", "igdn", "pixels"
    elif name == "adjoint":
        widths, kind, after, last = (3, N, N, N, M), "conv", "local", "none"
    elif name == "derivative":
        widths, kind, after, last = (3, N, N, N, M), "conv", "igdn_adjoint", "none"
    else:
        kernels = ((M, 3, "leaky_relu"), (N, 5, "leaky_relu"), (N, 5, "none"))
        return [random_layer(rng, "conv", inputs, N, kernel, after) for inputs, kernel, after in kernels]
    return [random_layer(rng, kind, widths[i], widths[i + 1], 5, last if i == 3 else after) for i in range(4)]


def random_input(rng: np.random.Generator, height: int, width: int, channels: int, limit: int = 8191) -> NDArray[np.int16]:
    return rng.integers(-limit, limit + 1, (height, width, channels)).astype(np.int16)
