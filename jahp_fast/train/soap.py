# SPDX-License-Identifier: Apache-2.0
"""SOAP: Adam in the eigenbases of Shampoo's preconditioners (Vyas et al., "SOAP: Improving and stabilizing Shampoo using Adam", 2024).

The algorithm, its defaults and its state are those of `pytorch_optimizer.SOAP`, whose checkpoints load here and which the tests
compare with. It was a third of a training step on a CPU. What is saved, without changing what is computed:

- A weight (A, B, h, w) is seen as A x hw x B, which channels-last memory already is. The rotations of A and B are then plain
  matrix products without a copy, and those of h and w are one product with their Kronecker product, hw x hw.
- The first moment is kept in the eigenbasis as well and moved along there. It is rotated anew only when the basis changes, one step
  in ten, so that a step takes two rotations of a weight instead of three.
- The preconditioners of h and w come out of one hw x hw Gram matrix.
- With `half`, the large products (rotations and Gram matrices of the channels) take bfloat16 operands: half the time where the CPU
  multiplies them. Moments, bases and weights stay in float32; what rounding does to a step's direction is far below its noise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Bases = list[Tensor | list[Tensor]]
"""One matrix a dimension of the weight; an empty list, as in the original, for the one dimension of a vector: it is not rotated."""


def _planes(x: Tensor) -> Tensor:
    """(A, B, ...) -> (A, n, B), n the number of elements in the further dimensions; a view where x is channels last."""
    return x.movedim(1, -1).reshape(x.shape[0], -1, x.shape[1])


def _shaped(planes: Tensor, like: Tensor) -> Tensor:
    """The inverse of `_planes`, as a channels-last view."""
    a, b, *rest = like.shape
    return planes.reshape(a, *rest, b).movedim(-1, 1)


def _product(a: Tensor, b: Tensor, half: bool) -> Tensor:
    return (a.bfloat16() @ b.bfloat16()).to(a.dtype) if half else a @ b


def rotate(x: Tensor, bases: Bases, back: bool = False, half: bool = False) -> Tensor:
    """x in the coordinates of the eigenbases, or out of them; vectors stay as they are. Shape and meaning of dimensions do not change."""
    if x.ndim == 1:
        return x
    first, second, *rest = (q.T if back else q for q in bases if isinstance(q, Tensor))
    v = _planes(x)
    a, n, b = v.shape
    v = _product(first.T, v.reshape(a, n * b), half).reshape(a * n, b)
    v = _product(v, second, half).reshape(a, n, b)
    if rest:
        v = functools.reduce(torch.kron, rest).T @ v
    return _shaped(v, x)


def gram_matrices(x: Tensor, half: bool = False) -> list[Tensor]:
    """For each dimension of x (2 to 4 of them), the Gram matrix of its slices."""
    v = _planes(x)
    a, n, b = v.shape
    flat = v.reshape(a, n * b)
    columns = v.reshape(a * n, b)
    grams = [_product(flat, flat.T, half), _product(columns.T, columns, half)]
    if x.ndim > 2:
        h, w = x.shape[2], n // x.shape[2]
        spatial = (v @ v.transpose(1, 2)).sum(0).reshape(h, w, h, w)
        grams.append(torch.einsum("iwjw->ij", spatial))
        if x.ndim == 4:
            grams.append(torch.einsum("hihj->ij", spatial))
    return grams


class SOAP(torch.optim.Optimizer):
    """Weights of 2 to 4 dimensions in rotated coordinates, vectors as in Adam. The first step only measures and changes no weight.

    frequency: steps between changes of the bases, each by one power iteration and a QR decomposition.
    half: bfloat16 operands in the large products.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        frequency: int = 10,
        half: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "precondition_frequency": frequency, "step": 0}
        super().__init__(list(params), defaults)
        self._half = half

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step down the gradients that the parameters hold."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        sizes = self.advance()
        self.descend(sizes)
        self.turn()
        return loss

    def advance(self) -> list[float]:
        """Counts a step, and gives its size for each group: the learning rate with Adam's bias corrections, 0 for the first step."""
        sizes = []
        for group in self.param_groups:
            step, (beta1, beta2) = group["step"], group["betas"]
            sizes.append(group["lr"] * math.sqrt(1 - beta2**step) / (1 - beta1**step) if step else 0.0)
            group["step"] = step + 1
        return sizes

    @torch.no_grad()
    def descend(self, sizes: Sequence[float | Tensor]) -> None:
        """The step that `advance` counted, but for `turn`. Once every weight has had two steps, it allocates nothing that stays."""
        for group, size in zip(self.param_groups, sizes, strict=True):
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    self._begin(p.grad, state, 1 - group["betas"][1])
                elif group["step"] > 1:
                    self._descend(p, state, group, size)

    @torch.no_grad()
    def turn(self) -> None:
        """Changes the bases, after one step in `frequency`: one power iteration each."""
        for group in self.param_groups:
            if (group["step"] - 1) % group["precondition_frequency"]:
                continue
            for p in group["params"]:
                if "exp_avg_rotated" in self.state[p]:
                    self._turn(self.state[p])

    @staticmethod
    def _begin(grad: Tensor, state: dict[str, Any], weight: float) -> None:
        if not 1 <= grad.ndim <= 4:
            raise ValueError(f"SOAP takes weights of 1 to 4 dimensions, not {grad.ndim}")
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(grad), torch.zeros_like(grad)
        if grad.ndim == 1:
            state["GG"], state["Q"] = [[]], [[]]
            return
        state["GG"] = [g * weight for g in gram_matrices(grad)]
        # Descending eigenvalues, the order that `_turn` sorts by.
        state["Q"] = [torch.linalg.eigh(g + 1e-30 * torch.eye(len(g), device=g.device))[1].flip(1) for g in state["GG"]]

    def _descend(self, p: Tensor, state: dict[str, Any], group: dict[str, Any], size: float | Tensor) -> None:
        beta1, beta2 = group["betas"]
        grad, bases = p.grad, state["Q"]
        assert grad is not None  # step() looked
        rotated = rotate(grad, bases, half=self._half)
        if grad.ndim > 1:
            if "exp_avg_rotated" not in state:
                state["exp_avg_rotated"] = rotate(state["exp_avg"], bases)
            state["exp_avg_rotated"].lerp_(rotated, 1 - beta1)
        state["exp_avg"].lerp_(grad, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(rotated, rotated, value=1 - beta2)
        mean = state["exp_avg_rotated"] if grad.ndim > 1 else state["exp_avg"]
        direction = mean / state["exp_avg_sq"].sqrt().add_(group["eps"])
        change = rotate(direction, bases, back=True, half=self._half)
        if isinstance(size, Tensor):
            p.addcmul_(change, size, value=-1)
        else:
            p.add_(change, alpha=-size)
        if grad.ndim == 1:
            return
        for mean_gram, gram in zip(state["GG"], gram_matrices(grad, self._half), strict=True):
            mean_gram.lerp_(gram, 1 - beta2)

    @staticmethod
    def _turn(state: dict[str, Any]) -> None:
        """The second moment follows the new order of a basis's columns."""
        for dimension, (gram, basis) in enumerate(zip(state["GG"], state["Q"], strict=True)):
            product = gram @ basis
            order = (basis * product).sum(0).argsort(descending=True)
            state["exp_avg_sq"].copy_(state["exp_avg_sq"].index_select(dimension, order))
            basis.copy_(torch.linalg.qr(product.index_select(1, order))[0])
        state["exp_avg_rotated"].copy_(rotate(state["exp_avg"], state["Q"]))
