# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning of the entropy nets with their rounding in the loop; g_a, h_a and g_s stay as they are.

Weights and activations are rounded as the exporter will round them, with straight-through gradients; the activations' scales are learned
along (Esser et al., "Learned step size quantization", ICLR 2020). The loss is the rate relative to what is usual at its quality.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from jahp_fast.entropy.model_file import Form
from jahp_fast.export.calibration import Activation, Activations, Calibration, Ranges
from jahp_fast.export.chain import Node, nodes_of, run
from jahp_fast.export.tables import WIDE, narrower

if TYPE_CHECKING:
    import torch

    from jahp_fast.models.priors import CompressionModel


def _round(x: torch.Tensor) -> torch.Tensor:
    return x + (x.round() - x).detach()


def _rate(parameters: torch.Tensor, y_hat: torch.Tensor) -> torch.Tensor:
    """(B,) bits of ŷ (B, M, h, w) under scales and, where there are any, means (B, 2M or M, h, w), as tables have them (tables.WIDE)."""
    from jahp_fast.models.layers import SCALE_BOUND, gaussian_likelihood, lower_bound

    m = y_hat.shape[1]
    mean = parameters[:, m:] if parameters.shape[1] > m else None
    scale = lower_bound(parameters[:, :m], SCALE_BOUND)
    narrow, wide = (gaussian_likelihood(y_hat, scale * factor, mean) for factor in (narrower(WIDE), 2**0.5))
    return -((1 - WIDE) * narrow + WIDE * wide).log2().sum((1, 2, 3))


class QuantisedNets:
    """The entropy nets of a model with rounding of weights and activations, differentiable."""

    def __init__(self, model: CompressionModel, activations: Activations, limit: int) -> None:
        import torch

        self.model, self.limit = model, limit
        self.scale = {name: torch.from_numpy(a.scale).float() for name, a in activations.items()}
        self.zero = {name: torch.from_numpy(a.zero).float()[:, None, None] for name, a in activations.items()}
        self.learned = {n.name: self.scale[n.name].log().requires_grad_(True) for n in nodes_of(model.architecture) if not n.parameters}

    def _scale(self, name: str) -> torch.Tensor:
        return self.learned[name].exp() if name in self.learned else self.scale[name]

    def _weight(self, node: Node, w: torch.Tensor) -> torch.Tensor:
        import torch

        in_scale = torch.cat([self._scale(name) for name in node.inputs])[None, :, None, None]
        folded = w * in_scale
        unit = (folded.detach().abs().amax((1, 2, 3), keepdim=True) / 127).clamp_min(1e-12)
        return _round(folded / unit) * unit / in_scale

    def _activation(self, node: Node, x: torch.Tensor) -> torch.Tensor:
        if node.parameters:
            return x
        scale, zero = self._scale(node.name)[:, None, None], self.zero[node.name]
        return ((_round(x / scale) + zero).clamp(-self.limit, self.limit) - zero) * scale

    def bits(self, z: torch.Tensor | None, y_hat: torch.Tensor) -> torch.Tensor:
        """(B,) estimated bits of ŷ (B, M, h, w). The context model sees it as integers do: beyond their limit no further."""
        scale = self.scale["y"][:, None, None]
        seen = _round(y_hat / scale).clamp(-self.limit, self.limit) * scale
        return _rate(run(self.model, z, seen, self._weight, self._activation), y_hat)

    def result(self) -> Activations:
        """The activations with their learned scales."""
        return {
            name: Activation(self._scale(name).detach().double().numpy(), self.zero[name][:, 0, 0].numpy().astype(np.int64))
            for name in self.scale
        }


@dataclass(frozen=True)
class Latents:
    """A batch to train on: y (B, M, h, w) rounded, z (B, N, h', w') rounded or None, and the row of the gains of each, (B,)."""

    y: torch.Tensor
    z: torch.Tensor | None
    rows: torch.Tensor


def _bottleneck(model: CompressionModel, z: torch.Tensor | None) -> torch.nn.Module | None:
    return None if z is None else cast("torch.nn.Module", model.entropy_bottleneck)


def _z_rate(model: CompressionModel, z: torch.Tensor | None) -> torch.Tensor | float:
    """(B,) bits of rounded z."""
    bottleneck: Any = _bottleneck(model, z)
    return 0.0 if bottleneck is None else -bottleneck.likelihood(z).log2().sum((1, 2, 3))


def search_clipping(
    model: CompressionModel,
    ranges: Ranges,
    calibration: Calibration,
    *,
    form: Form,
    activation_bits: int,
    candidates: Sequence[float] = (0.8, 0.65, 0.5),
    samples: int = 48,
    report: Callable[[str], None] = print,
) -> Activations:
    """Shrinks each node's ranges by one factor, node after node, as long as that lowers the rate.

    The few activations beyond are clamped; all others gain precision.

    Args:
        samples: how many latents the rate is measured on, spread over photos and qualities.
    """
    import torch

    limit = 127 if activation_bits == 8 else 4095
    rows = model.gain.shape[0]
    photos = len(calibration.y) // rows
    used = min(photos, max(1, samples // rows))
    picked = [i * photos // used * rows + r for r in range(rows) for i in range(used)]
    factors: dict[str, float] = {}
    with torch.no_grad():
        base = {i: float(_rate(run(model, calibration.z[i], calibration.y[i].round()), calibration.y[i].round())) for i in picked}

        def excess(trial: Mapping[str, float]) -> float:
            nets = QuantisedNets(model, ranges.activations(model, form, limit, trial), limit)
            return float(np.mean([float(nets.bits(calibration.z[i], calibration.y[i].round())) / max(base[i], 1.0) - 1 for i in picked]))

        best = excess(factors)
        report(f"ranges as seen: rate {100 * best:+.2f} % against the float nets")
        for node in reversed(nodes_of(model.architecture)):
            for factor in candidates if not node.parameters else ():
                if (now := excess(factors | {node.name: factor})) >= best:
                    break
                best, factors = now, factors | {node.name: factor}
            if not node.parameters:
                report(f"{node.name} clipped to {factors.get(node.name, 1.0):g}: rate {100 * best:+.2f} %")
    return ranges.activations(model, form, limit, factors)


def finetune(
    model: CompressionModel,
    activations: Activations,
    draw: Callable[[], Latents],
    held_out: Calibration,
    *,
    activation_bits: int,
    steps: int,
    lr: float = 1e-4,
    report: Callable[[str], None] = print,
) -> Activations:
    """Trains the entropy nets and z's prior of `model` in place for `steps`; returns the activations with learned scales.

    Training saw latents plus noise; here they are rounded, as in a file, so that the nets end better than rounding alone would leave them.

    Args:
        activations: from calibration.Ranges, or search_clipping.
        draw: makes a batch of latents of training photos.
        held_out: latents that the reports are about, of photos that `draw` never takes.
        lr: of Adam, falling to zero along a cosine.
        report: called with a line at the start, every 100 steps and at the end.
    """
    import torch

    nodes = nodes_of(model.architecture)
    if not nodes or steps <= 0:
        return activations
    nets = QuantisedNets(model, activations, 127 if activation_bits == 8 else 4095)
    pairs = [(y.round(), z) for y, z in zip(held_out.y, held_out.z, strict=True)]
    with torch.no_grad():
        base = [float((_rate(run(model, z, y), y) + _z_rate(model, z)).sum()) for y, z in pairs]
    rows = model.gain.shape[0]
    typical = torch.tensor([sum(base[r::rows]) / len(base[r::rows]) for r in range(rows)])  # held_out has each photo at all rows, in order

    def excess() -> float:
        with torch.no_grad():
            now = sum(float((nets.bits(z, y) + _z_rate(model, z)).sum()) / b for (y, z), b in zip(pairs, base, strict=True))
        return 100 * (now / len(base) - 1)

    weights = [p for n in nodes for p in model.get_submodule(n.name).parameters()]
    bottleneck = _bottleneck(model, pairs[0][1])
    prior = [] if bottleneck is None else [p for n, p in bottleneck.named_parameters() if n != "quantiles"]
    optimizer = torch.optim.Adam([{"params": [*weights, *prior], "lr": lr}, {"params": list(nets.learned.values()), "lr": 10 * lr}])
    top = [group["lr"] for group in optimizer.param_groups]
    report(f"fine-tuning: rate {excess():+.2f} % against the float nets, on {len(base) // rows} held-out photos")
    for step in range(steps):
        for group, rate in zip(optimizer.param_groups, top, strict=True):
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps)) * min(1.0, (step + 1) / 20)
        batch = draw()
        loss = ((nets.bits(batch.z, batch.y) + _z_rate(model, batch.z)) / typical[batch.rows]).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if (step + 1) % 100 == 0 or step + 1 == steps:
            report(f"fine-tuning: step {step + 1} of {steps}, rate {excess():+.2f} %")
    return nets.result()
