# SPDX-License-Identifier: Apache-2.0
"""How an image answers to its latents: the float tensors `search.*` of a model file, which an encoder's search reads. Used at export.

The latents' steps are taken out (everything is by g_s's own input), so that one set of tensors serves all qualities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jahp_fast.search import CURVATURE, SCALES

if TYPE_CHECKING:
    from jahp_fast.entropy.calibration import Calibration
    from jahp_fast.models.priors import CompressionModel

_LATENTS = 16
_PROBES = 4


def sensitivities(model: CompressionModel, calibration: Calibration, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """The search tensors of a model.

    `search.scale.i` (N,): root mean square over positions and photos of the factor that the i-th inverse GDN of g_s multiplies by.
    `search.curvature` (M,): mean over positions and photos of the diagonal of JᵀJ, J the derivative of the image (0..1) by a channel of
    g_s's input; estimated with random signs (Hutchinson 1989).
    """
    import torch
    import torch.nn.functional as F

    from jahp_fast.models.layers import GDN
    from jahp_fast.models.priors import DeconvByRow

    generator = torch.Generator().manual_seed(seed)
    rows = model.gain.shape[0]
    middle = range(rows // 2, len(calibration.y), rows)  # calibration holds each photo at all rows, in order
    picked = list(middle)[:: max(1, len(middle) // _LATENTS)]
    squares: list[torch.Tensor] = [torch.zeros(model.N) for _ in SCALES]
    curvature, positions, places = torch.zeros(model.M), 0, [0] * len(SCALES)
    for i in picked:
        latents = (calibration.y[i].round() * model.inv_gain[rows // 2].detach().exp()[:, None, None]).requires_grad_(True)
        x, level = latents, 0
        for layer in model.g_s:
            if isinstance(layer, GDN):
                beta, gamma = layer.values()
                power = F.conv2d(x * x, gamma[:, :, None, None], beta).detach()
                squares[level] += power.sum((0, 2, 3))
                places[level] += power.shape[2] * power.shape[3]
                level += 1
            x = layer(x, torch.tensor([rows // 2])) if isinstance(layer, DeconvByRow) else layer(x)
        for _ in range(_PROBES):
            signs = torch.randint(0, 2, x.shape, generator=generator).to(x.dtype) * 2 - 1
            (answer,) = torch.autograd.grad(x, latents, signs, retain_graph=True)
            curvature += answer.square().sum((0, 2, 3))
        positions += _PROBES * latents.shape[2] * latents.shape[3]
    out = {name: (s / n).sqrt() for name, s, n in zip(SCALES, squares, places, strict=True)} | {CURVATURE: curvature / positions}
    return {name: value.detach().numpy().astype(np.float32) for name, value in out.items()}
