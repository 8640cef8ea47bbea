# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning of the entropy nets with their rounding in the loop, on cached latents; g_a, h_a and g_s stay as they are.

Weights and activations are rounded as the exporter will round them, with straight-through gradients; the activations' scales are learned
along (Esser et al., "Learned step size quantization", ICLR 2020). The loss is the rate of y relative to what the float nets needed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jahp_fast.entropy.chain import Node, nodes_of, run
from jahp_fast.entropy.export import Activation, Activations, Calibration, Ranges
from jahp_fast.entropy.model_file import Form

if TYPE_CHECKING:
    import torch

    from jahp_fast.models.priors import CompressionModel


def _round(x: torch.Tensor) -> torch.Tensor:
    return x + (x.round() - x).detach()


def _rate(parameters: torch.Tensor, y_hat: torch.Tensor) -> torch.Tensor:
    """(B,) bits of ŷ (B, M, h, w) under scales and, where there are any, means (B, 2M or M, h, w)."""
    from jahp_fast.models.layers import gaussian_likelihood

    m = y_hat.shape[1]
    mean = parameters[:, m:] if parameters.shape[1] > m else None
    return -gaussian_likelihood(y_hat, parameters[:, :m], mean).log2().sum((1, 2, 3))


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
        """(B,) estimated bits of ŷ (B, M, h, w)."""
        return _rate(run(self.model, z, y_hat, self._weight, self._activation), y_hat)

    def result(self) -> Activations:
        """The activations with their learned scales."""
        return {
            name: Activation(self._scale(name).detach().double().numpy(), self.zero[name][:, 0, 0].numpy().astype(np.int64))
            for name in self.scale
        }


def _patches(calibration: Calibration, size: int) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
    """Cuts latents to size x size (a multiple of 4) where they are larger; z alongside."""
    y_out: list[torch.Tensor] = []
    z_out: list[torch.Tensor | None] = []
    for y, z in zip(calibration.y, calibration.z, strict=True):
        for r in range(0, y.shape[2] - size + 1, size):
            for c in range(0, y.shape[3] - size + 1, size):
                y_out.append(y[:, :, r : r + size, c : c + size].round())
                q = size // 4
                z_out.append(None if z is None else z[:, :, r // 4 : r // 4 + q, c // 4 : c // 4 + q])
    return y_out, z_out


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
    calibration: Calibration,
    *,
    activation_bits: int,
    minutes: float,
    lr: float = 1e-4,
    batch: int = 8,
    size: int = 16,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> Activations:
    """Trains model's h_s, context_prediction and entropy_parameters in place for `minutes`; returns the activations with learned scales.

    Args:
        activations: from export.Ranges, or search_clipping.
        calibration: latents of training photos; those smaller than size x size are left out.
        lr: of Adam, falling to zero along a cosine.
        report: called with a line every 100 steps.
    """
    import torch

    nodes = nodes_of(model.architecture)
    if not nodes or minutes <= 0:
        return activations
    generator = np.random.default_rng(seed)
    y_all, z_all = _patches(calibration, size)
    nets = QuantisedNets(model, activations, 127 if activation_bits == 8 else 4095)
    with torch.no_grad():
        base = torch.cat([_rate(run(model, z, y), y) for y, z in zip(y_all, z_all, strict=True)])
    weights = [p for n in nodes for p in model.get_submodule(n.name).parameters()]
    optimizer = torch.optim.Adam([{"params": weights, "lr": lr}, {"params": list(nets.learned.values()), "lr": 10 * lr}])
    top = [group["lr"] for group in optimizer.param_groups]
    start, steps, mean = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - start) / 60 / minutes) < 1:
        for group, rate in zip(optimizer.param_groups, top, strict=True):
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * done)) * min(1.0, (steps + 1) / 20)
        pick = generator.integers(0, len(y_all), batch)
        y = torch.cat([y_all[i] for i in pick])
        z = None if z_all[0] is None else torch.cat([z for i in pick if (z := z_all[i]) is not None])
        loss = (nets.bits(z, y) / base[pick].clamp_min(1.0)).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        steps += 1
        excess = 100 * (loss.item() - 1)
        mean = excess if steps == 1 else 0.98 * mean + 0.02 * excess
        if steps % 100 == 0:
            report(f"fine-tuning: step {steps}, rate {mean:+.2f} % against the float nets, {100 * done:.0f} % of the time")
    return nets.result()
