# SPDX-License-Identifier: Apache-2.0
"""Rounding of a layer's weights to integers so that its outputs, not its weights, change least on the calibration latents.

Weights are rounded one input after the other, and what a rounding changes is made up for by the weights that are still to come, as far as
their inputs are correlated with this one. What is left on average goes into the bias.

Source: Frantar et al., "GPTQ: accurate post-training quantization for generative pre-trained transformers" (ICLR 2023), after Hassibi and
Stork, "Second order derivatives for network pruning: optimal brain surgeon" (NIPS 1992).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jahp_fast.export.chain import Node, nodes_of, run

if TYPE_CHECKING:
    import torch

    from jahp_fast.export.calibration import Calibration
    from jahp_fast.models.priors import CompressionModel

Floats = NDArray[np.float64]

DAMPING = 0.2
"""Of the mean variance, added to all: keeps what few calibration samples say of their correlations from being trusted too far."""
_BLOCK = 64
_PARITIES = ((0, 2, 4), (1, 3))
"""Taps of a transposed convolution's kernel that meet in the outputs of an even and an odd row, the input furthest below first."""


@dataclass(frozen=True)
class Moments:
    """Of the inputs that one output of a layer reads, over the calibration latents.

    Attributes:
        mean: (inputs * window,), input-major as a convolution's weights are; the window is 3x3 for a transposed convolution.
        covariance: (inputs * window, inputs * window).
    """

    mean: Floats
    covariance: Floats


def moments(model: CompressionModel, calibration: Calibration) -> dict[str, Moments]:
    """Runs the float nets over the latents; for every layer of the entropy path, by its name."""
    import torch
    from torch.nn import functional as F

    count: dict[str, int] = {}
    total: dict[str, torch.Tensor] = {}
    square: dict[str, torch.Tensor] = {}
    nodes = nodes_of(model.architecture)
    if not nodes:
        return {}
    with torch.no_grad():
        for y, z in zip(calibration.y, calibration.z, strict=True):
            values = {"y": y.round()} if z is None else {"y": y.round(), "z": z}

            def see(node: Node, x: torch.Tensor, values: dict[str, torch.Tensor] = values) -> torch.Tensor:
                values[node.name] = x
                return x

            run(model, z, y.round(), activation=see)
            for node in nodes:
                x = torch.cat([values[name] for name in node.inputs], 1)
                side = {"transposed": 3, "conv": 3, "masked": 5, "dense": 1}[node.kind]
                patches = F.unfold(x, side, padding=side // 2)[0].double()
                if node.name not in count:
                    n = len(patches)
                    count[node.name], total[node.name], square[node.name] = 0, patches.new_zeros(n), patches.new_zeros(n, n)
                count[node.name] += patches.shape[1]
                total[node.name] += patches.sum(1)
                square[node.name].addmm_(patches, patches.T)
    out = {}
    for name, n in count.items():
        mean = total[name] / n
        out[name] = Moments(mean.numpy(), (square[name] / n - torch.outer(mean, mean)).numpy())
    return out


def round_weights(weight: Floats, scale: Floats, kind: str, seen: Moments) -> tuple[NDArray[np.int8], Floats]:
    """Integers for the weights of one layer, and what to add to the sums of each output for what they change on average.

    Args:
        weight: (outputs, inputs, k, k), in units of the integers wanted, within ±127; a masked one with its mask applied.
        scale: (inputs,) the real value of a unit of each input.
        kind: of chain.Node.
        seen: in real units.
    """
    outputs, inputs, k, _ = weight.shape
    rounded = np.zeros(weight.shape, np.int8)
    shift = np.zeros(outputs)
    window = {"transposed": 9, "dense": 1}.get(kind, k * k)
    unit = np.repeat(scale, window)
    for places, columns in _groups(kind, inputs, k):
        part = weight.reshape(outputs, -1)[:, places]
        own = unit[columns]
        q = _compensated(part, seen.covariance[np.ix_(columns, columns)] / np.outer(own, own))
        rounded.reshape(outputs, -1)[:, places] = q
        left = (part - q) @ (seen.mean[columns] / own)
        shift += left / 4 if kind == "transposed" else left
    return rounded, shift


def _groups(kind: str, inputs: int, k: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Weights that meet in one sum: their places in (inputs, k, k), and the columns of the window's moments that they read."""
    channel = np.arange(inputs)[:, None]
    if kind != "transposed":
        taps = np.arange(k * k // 2 if kind == "masked" else k * k)
        places = (channel * k * k + taps).ravel()
        return [(places, places)]
    out = []
    for rows in _PARITIES:
        for columns in _PARITIES:
            taps = np.array([r * k + c for r in rows for c in columns])
            window = np.array([(2 - i) * 3 + 2 - j for i in range(len(rows)) for j in range(len(columns))])
            out.append(((channel * k * k + taps).ravel(), (channel * 9 + window).ravel()))
    return out


def _compensated(weight: Floats, covariance: Floats) -> NDArray[np.int8]:
    """(outputs, n) -> integers within ±127, the inputs that vary most first."""
    order = np.argsort(-np.diag(covariance), kind="stable")
    covariance = covariance[np.ix_(order, order)]
    damping = DAMPING * max(float(np.diag(covariance).mean()), 1e-9)
    inverse = np.linalg.inv(covariance + damping * np.eye(len(order)))
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    left = weight[:, order].copy()
    n = len(order)
    out = np.zeros(left.shape, np.int8)
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        errors = np.empty((len(left), stop - start))
        for i in range(start, stop):
            out[:, i] = np.clip(np.rint(left[:, i]), -127, 127)
            errors[:, i - start] = (left[:, i] - out[:, i]) / upper[i, i]
            left[:, i + 1 : stop] -= np.outer(errors[:, i - start], upper[i, i + 1 : stop])
        left[:, stop:] -= errors @ upper[start:stop, stop:]
    back = np.empty_like(out)
    back[:, order] = out
    return back
