# SPDX-License-Identifier: Apache-2.0
"""The layers of the entropy path in the order in which they run, so that calibration, fine-tuning and export walk the same list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

LEAKY_SLOPE = 0.01


@dataclass(frozen=True)
class Node:
    """One layer.

    Attributes:
        name: of the module, and of its tensors in a model file.
        inputs: "z", "y" or earlier nodes, concatenated in this order.
        slope: of the activation behind it, for negative values; 1: none.
        kind: "transposed" (5x5, stride 2), "conv", "masked" or "dense" (1x1).
        parameters: its outputs are scales and means, not activations.
        padded: its outputs are read by a convolution that pads with zeros.
    """

    name: str
    inputs: tuple[str, ...]
    slope: float
    kind: str
    parameters: bool = False
    padded: bool = False


def nodes_of(architecture: str) -> list[Node]:
    """The entropy path of an architecture; empty for the factorised one."""
    context = architecture in ("mbt2018", "mbt2018-context")
    nodes = []
    if architecture in ("bmshj2018-hyperprior", "mbt2018-mean", "mbt2018"):
        slope = 0.0 if architecture == "bmshj2018-hyperprior" else LEAKY_SLOPE
        last = 0.0 if architecture == "bmshj2018-hyperprior" else 1.0
        nodes += [
            Node("h_s.0", ("z",), slope, "transposed", padded=True),
            Node("h_s.2", ("h_s.0",), slope, "transposed", padded=True),
            Node("h_s.4", ("h_s.2",), last, "conv", parameters=not context),
        ]
    if context:
        features = ("h_s.4", "context_prediction") if nodes else ("context_prediction",)
        nodes += [
            Node("context_prediction", ("y",), 1.0, "masked"),
            Node("entropy_parameters.0", features, LEAKY_SLOPE, "dense"),
            Node("entropy_parameters.2", ("entropy_parameters.0",), LEAKY_SLOPE, "dense"),
            Node("entropy_parameters.4", ("entropy_parameters.2",), 1.0, "dense", parameters=True),
        ]
    return nodes


def _keep(node: Node, x: Tensor) -> Tensor:
    return x


def run(
    model: Any,
    z: Tensor | None,
    y: Tensor,
    weight: Callable[[Node, Tensor], Tensor] = _keep,
    activation: Callable[[Node, Tensor], Tensor] = _keep,
) -> Tensor:
    """The parameters of y (B, M, h, w): (B, 2M or M, h, w), in float, with weights and activations passed through the callbacks.

    Args:
        model: a module of models.priors with a conditional prior.
        z: (B, N, h', w') rounded, or None without hyperprior.
        weight: sees each weight as (outputs, inputs, k, k), the masked one with its mask applied.
        activation: sees each layer's output, parameters too, after its leaky ReLU.
    """
    import torch
    from torch.nn import functional as F

    values = {"y": y} if z is None else {"y": y, "z": z}
    for node in nodes_of(model.architecture):
        module = model.get_submodule(node.name)
        x = torch.cat([values[name] for name in node.inputs], 1) if len(node.inputs) > 1 else values[node.inputs[0]]
        if node.kind == "transposed":
            x = F.conv_transpose2d(x, weight(node, module.weight.transpose(0, 1)).transpose(0, 1), module.bias, 2, 2, 1)
        else:
            w = module.weight * module.mask if node.kind == "masked" else module.weight
            x = F.conv2d(x, weight(node, w), module.bias, padding=w.shape[2] // 2)
        if node.slope != 1.0:
            x = F.leaky_relu(x, node.slope)
        if node.name == "h_s.4":
            x = x[:, :, : y.shape[2], : y.shape[3]]
        values[node.name] = activation(node, x)
    return values[nodes_of(model.architecture)[-1].name]
