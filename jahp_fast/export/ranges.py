# SPDX-License-Identifier: Apache-2.0
"""How large the activations of g_a, h_a and g_s get, by channel, on pictures at every quality: what their integers are scaled by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.constants import STRIDE
from jahp_fast.errors import ModelError

if TYPE_CHECKING:
    import torch

    from jahp_fast.models.priors import CompressionModel

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
SIDE = 64
"""Of the patterns, in pixels."""
LEAST = 1e-3
"""A channel's range is at least this part of the largest of its layer's: silent ones may wake up on another picture."""
TINIEST = 1e-9
"""Of all ranges."""


@dataclass(frozen=True)
class Ranges:
    """Largest magnitudes by channel, by name: "g_a.0" to "g_a.6", "h_a.0" to "h_a.4" and "g_s.0" to "g_s.6" for the outputs of these
    modules, "h_a" and "g_s" for the inputs of these nets.

    Attributes:
        usual: on photos.
        hardest: on pictures that are as hard as pictures get.
    """

    usual: dict[str, Floats]
    hardest: dict[str, Floats]

    def above(self, name: str, usual: float, hardest: float = 0.0) -> Floats:
        """So many times the one and the other, whichever is more."""
        top = np.maximum(usual * self.usual[name], hardest * self.hardest[name])
        return np.maximum(top, max(LEAST * float(top.max()), TINIEST))


def patterns() -> list[Pixels]:
    """(SIDE, SIDE, 3) pictures of what photos lack and activations answer to most: noise, flat colours, checks and stripes of full
    contrast. The same everywhere."""
    rng = np.random.Generator(np.random.PCG64(0))
    row, column = np.mgrid[:SIDE, :SIDE]
    grey: list[NDArray[Any]] = [
        rng.integers(0, 2, (SIDE, SIDE)),
        *(row // n + column // n & 1 for n in (1, 2, 8)),
        column // 3 & 1,
        row // 3 & 1,
    ]
    ramp = np.stack([column, row, SIDE - 1 - column], 2) * 255 // (SIDE - 1)
    colours = rng.integers(0, 256, (SIDE, SIDE, 3))
    bars = np.stack([column // 8 & 1, column // 16 & 1, column // 32 & 1], 2) * 255
    flat = [np.full((SIDE, SIDE, 3), value) for value in (0, 255)]
    return [a.astype(np.uint8) for a in (*(np.repeat(255 * g[:, :, None], 3, 2) for g in grey), ramp, colours, bars, *flat)]


def transform_ranges(model: CompressionModel, photos: Sequence[Pixels], extremes: Sequence[Pixels] = ()) -> Ranges:
    """Of pictures, (H, W, 3) and extended to multiples of 16, at every row of the gains.

    Args:
        model: in float32, on the CPU, in evaluation mode.
        photos: like those to come. Without any, `patterns` stand in their place.
        extremes: as hard as pictures get, as text and drawings are; `patterns` join them.

    Raises:
        ModelError: an activation is not finite.
    """
    hardest = _seen(model, [*extremes, *patterns()])
    usual = _seen(model, photos) if photos else hardest
    return Ranges(usual, hardest)


def _seen(model: CompressionModel, pictures: Sequence[Pixels]) -> dict[str, Floats]:
    """Largest magnitudes on the pictures."""
    import torch

    seen: dict[str, Floats] = {}

    def see(name: str, x: torch.Tensor) -> torch.Tensor:
        top = x.abs().amax((0, 2, 3)).double().numpy()
        if not np.isfinite(top).all():
            raise ModelError(f"its activations overflow: what {name} gives is not finite, so no integers can stand for it")
        seen[name] = np.maximum(seen.get(name, 0.0), top)
        return x

    with torch.no_grad():
        for picture in pictures:
            more = [(0, -n % STRIDE) for n in picture.shape[:2]]
            x = torch.from_numpy(np.pad(picture, (*more, (0, 0)), "edge")).permute(2, 0, 1)[None].float() / 255
            for i, layer in enumerate(model.g_a):
                x = see(f"g_a.{i}", layer(x))
            for row in range(model.rows):
                y = see("h_a", x * model.gain[row].exp()[:, None, None])
                if hasattr(model, "h_a"):
                    _see_hyper(model, y, see)
                hat = see("g_s", y.round() * model.inv_gain[row].exp()[:, None, None])
                for i, layer in enumerate(model.g_s):
                    hat = see(f"g_s.{i}", layer(hat, torch.tensor([row])) if i in (4, 6) and model.rows > 1 else layer(hat))
    return seen


def _see_hyper(model: Any, y: torch.Tensor, see: Any) -> None:
    x = y.abs() if model.architecture == "bmshj2018-hyperprior" else y
    for i, layer in enumerate(model.h_a):
        x = see(f"h_a.{i}", layer(x.clone() if i % 2 else x))  # activations work in place
