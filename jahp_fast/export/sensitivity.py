# SPDX-License-Identifier: Apache-2.0
"""How an image answers to its latents: the tensors `search.*` of a model file, which an encoder's search reads. Used at export.

The latents' steps are taken out (everything is by g_s's own integer input), which leaves what differs little between neighbouring
qualities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.entropy.model_file import CURVATURE, ROOTS
from jahp_fast.transforms.layers import NORM_LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from jahp_fast.export.calibration import Calibration
    from jahp_fast.models.priors import CompressionModel

Floats = NDArray[np.float64]
_LATENTS = 16
_PROBES = 4


def sensitivities(model: CompressionModel, calibration: Calibration, units: Mapping[str, Floats], seed: int = 0) -> dict[str, NDArray[Any]]:
    """The search tensors of a model, a row for each of its qualities.

    `search.root.i` (rows, N) uint16: root mean square over positions and photos of the integer root that the i-th inverse GDN of g_s
    multiplies by. `search.curvature` (rows, M) float32: mean over positions and photos of the diagonal of JᵀJ, J the derivative of the
    image (0..1) by a channel of g_s's integer input; estimated with random signs (Hutchinson 1989). Not below the middle row's: the
    diagonal says what one step costs, and at low qualities, where it is small, a search of many steps would take too many.

    Args:
        units: of export.transforms.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    rows = model.gain.shape[0]
    factors, curvatures = zip(*(_of_row(model, calibration, row, generator) for row in range(rows)), strict=True)
    curvature = torch.stack(curvatures)
    return in_units(
        [torch.stack(levels).double().numpy() for levels in zip(*factors, strict=True)],
        torch.maximum(curvature, curvature[rows // 2]).double().numpy(),
        units,
    )


def in_units(factors: Sequence[Floats], curvature: Floats, units: Mapping[str, Floats]) -> dict[str, NDArray[Any]]:
    """The search tensors of what inverse GDNs multiply by, (rows, N) each, and of curvatures by g_s's real input, (rows, M)."""
    out: dict[str, NDArray[Any]] = {
        name: np.rint(np.clip(factor / np.sqrt(units[f"g_s.{2 * i + 1}"]), 1, NORM_LIMIT**0.5)).astype(np.uint16)
        for i, (name, factor) in enumerate(zip(ROOTS, factors, strict=True))
    }
    out[CURVATURE] = (curvature * units["g_s"] ** 2).astype(np.float32)
    return out


def _of_row(
    model: CompressionModel, calibration: Calibration, row: int, generator: torch.Generator
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Root mean squares (N,) of each inverse GDN, and curvatures (M,), at one row."""
    import torch
    import torch.nn.functional as F

    from jahp_fast.models.layers import GDN, DeconvByRow

    rows = model.gain.shape[0]
    of_row = calibration.y[row::rows]  # calibration holds each photo at all rows, in order
    squares: list[torch.Tensor] = [torch.zeros(model.N) for _ in ROOTS]
    curvature, positions, places = torch.zeros(model.M), 0, [0] * len(ROOTS)
    for y in of_row[:: max(1, len(of_row) // _LATENTS)]:
        latents = (y.round() * model.inv_gain[row].detach().exp()[:, None, None]).requires_grad_(True)
        x, level = latents, 0
        for layer in model.g_s:
            if isinstance(layer, GDN):
                beta, gamma = layer.values()
                power = F.conv2d(x * x, gamma[:, :, None, None], beta).detach()
                squares[level] += power.sum((0, 2, 3))
                places[level] += power.shape[2] * power.shape[3]
                level += 1
            x = layer(x, torch.tensor([row])) if isinstance(layer, DeconvByRow) else layer(x)
        for _ in range(_PROBES):
            signs = torch.randint(0, 2, x.shape, generator=generator).to(x.dtype) * 2 - 1
            (answer,) = torch.autograd.grad(x, latents, signs, retain_graph=True)
            curvature += answer.square().sum((0, 2, 3))
        positions += _PROBES * latents.shape[2] * latents.shape[3]
    return [(s / n).sqrt() for s, n in zip(squares, places, strict=True)], curvature / positions
