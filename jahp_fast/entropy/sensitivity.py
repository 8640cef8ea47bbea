# SPDX-License-Identifier: Apache-2.0
"""How an image answers to its latents: the float tensors `search.*` of a model file, which an encoder's search reads. Used at export.

One row a quality of the model, by g_s's own input: the latents' steps are taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from jahp_fast.search import CURVATURE, SCALES

if TYPE_CHECKING:
    import torch

    from jahp_fast.entropy.calibration import Calibration
    from jahp_fast.models.priors import CompressionModel

_LATENTS = 4
_PROBES = 4


def sensitivities(model: CompressionModel, calibration: Calibration, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """The search tensors of a model.

    `search.scale.i` (rows, N): root mean square over positions and photos of the factor that the i-th inverse GDN of g_s multiplies by.
    `search.curvature` (rows, M): mean over positions and photos of the diagonal of JᵀJ, J the derivative of the image (0..1) by a channel
    of g_s's input; estimated with random signs (Hutchinson 1989).
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    of_row = [calibration.y[row :: model.rows] for row in range(model.rows)]  # calibration holds each photo at all rows, in order
    rows = [_row_of(model, row, latents, generator) for row, latents in enumerate(of_row)]
    return {name: torch.stack([row[name] for row in rows]).numpy().astype(np.float32) for name in (*SCALES, CURVATURE)}


def _row_of(model: CompressionModel, row: int, latents: Sequence[torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
    """One row of each tensor, from latents (1, M, h, w) of its quality."""
    import torch
    import torch.nn.functional as F

    from jahp_fast.models.layers import GDN

    powers: list[torch.Tensor] = []

    def look(layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        beta, gamma = cast(GDN, layer).values()
        powers.append(F.conv2d(inputs[0].detach().square(), gamma[:, :, None, None], beta).detach())

    hooks = [layer.register_forward_pre_hook(look) for layer in model.g_s if isinstance(layer, GDN)]
    q = torch.tensor([row])
    squares: list[torch.Tensor] = [torch.zeros(model.N) for _ in SCALES]
    curvature, positions, places = torch.zeros(model.M), 0, [0] * len(SCALES)
    for y in latents[:: max(1, len(latents) // _LATENTS)]:
        powers.clear()
        y_hat = y.round().requires_grad_(True)
        x = model.synthesis(y_hat, q)
        for level, power in enumerate(powers):
            squares[level] += power.sum((0, 2, 3))
            places[level] += power.shape[2] * power.shape[3]
        for _ in range(_PROBES):
            signs = torch.randint(0, 2, x.shape, generator=generator).to(x.dtype) * 2 - 1
            (answer,) = torch.autograd.grad(x, y_hat, signs, retain_graph=True)
            curvature += answer.square().sum((0, 2, 3))
        positions += _PROBES * y.shape[2] * y.shape[3]
    for hook in hooks:
        hook.remove()
    curvature = curvature / positions * (-2 * model.inv_gain[row].detach()).exp()
    return {name: (s / n).sqrt().detach() for name, s, n in zip(SCALES, squares, places, strict=True)} | {CURVATURE: curvature}
