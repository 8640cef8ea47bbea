# SPDX-License-Identifier: Apache-2.0
"""What an export learns from photos: latents at every quality, the ranges of the nets' activations on them, and how these are rounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jahp_fast.constants import STRIDE
from jahp_fast.entropy.model_file import Form
from jahp_fast.errors import UsageError
from jahp_fast.export.chain import Node, nodes_of, run

if TYPE_CHECKING:
    import torch

    from jahp_fast.models.priors import CompressionModel

Floats = NDArray[np.float64]

MEAN_BITS = 6
"""Fractional bits of means."""


@dataclass(frozen=True)
class Activation:
    """How integers stand for real activations, per channel: real = (integer - zero) * scale."""

    scale: Floats
    zero: NDArray[np.int64]

    @staticmethod
    def of_scale(scale: Floats) -> Activation:
        return Activation(scale, np.zeros(len(scale), np.int64))

    @staticmethod
    def of_range(low: Floats, high: Floats, limit: int) -> Activation:
        """[low, high] just fills [-limit, limit]."""
        scale = (high - low) / (2 * limit)
        return Activation(scale, np.rint(-(high + low) / 2 / scale).astype(np.int64))

    @staticmethod
    def joined(parts: Sequence[Activation]) -> Activation:
        return Activation(np.concatenate([p.scale for p in parts]), np.concatenate([p.zero for p in parts]))


Activations = dict[str, Activation]
"""By the name of the node that makes them; also "z" and "y"."""


def context_bits(top: Floats, form: Form, limit: int) -> NDArray[np.int64]:
    """Fractional bits, by channel, of ŷ where it enters the context model, given its largest magnitude."""
    # Form A: integers as they are, rare values beyond the limit are clamped. Form B: as many fractional bits as leave room for the
    # largest value.
    bits = MEAN_BITS if form == "B" else 0
    return np.minimum(bits, np.floor(np.log2(limit / np.clip(top, 1.0, limit)))).astype(np.int64)


@dataclass
class Calibration:
    """Latents of the calibration photos at every quality row: y (1, M, h, w), not rounded, and z (1, N, h', w') rounded, or None."""

    y: list[torch.Tensor]
    z: list[torch.Tensor | None]


def calibrate(model: CompressionModel, photos: Sequence[NDArray[np.uint8]]) -> Calibration:
    """Runs g_a and h_a on (H, W, 3) photos, each cropped to multiples of 16, at every row of the gains."""
    import torch

    if not photos:
        raise UsageError("calibration needs at least one photo")
    out = Calibration([], [])
    with torch.no_grad():
        for photo in photos:
            h, w = (n // STRIDE * STRIDE for n in photo.shape[:2])
            if h == 0 or w == 0:
                raise UsageError("calibration photos must be 16 x 16 pixels or larger")
            x = torch.from_numpy(photo[:h, :w].copy()).permute(2, 0, 1)[None].float() / 255
            unscaled = model.g_a(x)
            for gain in model.gain:
                y = unscaled * gain.exp()[:, None, None]
                out.y.append(y)
                out.z.append(model.hyper_analysis(y).round() if hasattr(model, "h_a") else None)
    return out


@dataclass
class Ranges:
    """Least and largest activation of each node on the calibration latents, per channel; and max |ŷ|."""

    low: dict[str, Floats]
    high: dict[str, Floats]
    y: Floats

    def activations(self, model: CompressionModel, form: Form, limit: int, factors: Mapping[str, float] | None = None) -> Activations:
        """Activations whose integers fill the ranges, each range first shrunk by its node's factor (1 by default)."""
        n = model.N if hasattr(model, "h_s") else 0
        out = {"z": Activation.of_scale(np.ones(n)), "y": Activation.of_scale(2.0 ** -context_bits(self.y, form, limit).astype(np.float64))}
        for node in nodes_of(model.architecture):
            if node.parameters:
                continue
            factor = 1.0 if factors is None else factors.get(node.name, 1.0)
            # Zero is always inside, and silent channels keep some width, or the next layer's weights would vanish.
            least = max(float(self.high[node.name].max()), float(-self.low[node.name].min()), 1e-6) * 1e-3
            low, high = np.minimum(self.low[node.name], 0.0) * factor, np.maximum(self.high[node.name], least) * factor
            if node.padded:
                high = np.maximum(-low, high)
                low = -high
            out[node.name] = Activation.of_range(low, high, limit)
        return out


def activation_ranges(model: CompressionModel, calibration: Calibration) -> Ranges:
    """Runs the float nets over the calibration latents."""
    import torch

    low: dict[str, Floats] = {}
    high: dict[str, Floats] = {}

    def see(node: Node, x: torch.Tensor) -> torch.Tensor:
        low[node.name] = np.minimum(low.get(node.name, np.inf), x.amin((0, 2, 3)).double().numpy())
        high[node.name] = np.maximum(high.get(node.name, -np.inf), x.amax((0, 2, 3)).double().numpy())
        return x

    y_top = np.zeros(model.M)
    with torch.no_grad():
        for y, z in zip(calibration.y, calibration.z, strict=True):
            if nodes_of(model.architecture):
                run(model, z, y.round(), activation=see)
            y_top = np.maximum(y_top, y.round().abs().amax((0, 2, 3)).double().numpy())
    return Ranges(low, high, y_top)
