# SPDX-License-Identifier: Apache-2.0
"""SOAP: Adam in the eigenbases of Shampoo's preconditioners (Vyas et al., "SOAP: Improving and stabilizing Shampoo using Adam", 2024).

The algorithm, its defaults and its state are those of `pytorch_optimizer.SOAP`, whose checkpoints load here and which the tests
compare with. It was a third of a training step on a CPU. What is saved, without changing what is computed:

- A weight (A, B, h, w) is seen as A x hw x B, which channels-last memory already is. The rotations of A and B are then plain
  matrix products without a copy, and those of h and w are one product with their Kronecker product, hw x hw.
- The first moment is kept in the eigenbasis as well and moved along there. It is rotated anew only when the basis changes, one step
  in ten, so that a step takes two rotations of a weight instead of three.
- The preconditioners of h and w come out of one hw x hw Gram matrix.
- Weights of equal shapes go through their products as one batch, and what is done to each element is done to all weights in one call: a
  fifth of the launches on a GPU.
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


def _stacked(xs: Sequence[Tensor]) -> Tensor:
    """Tensors of one shape with a dimension in front; of one, a view."""
    return xs[0].unsqueeze(0) if len(xs) == 1 else torch.stack(list(xs))


def _kron(a: Tensor, b: Tensor) -> Tensor:
    """Of the matrices of two stacks."""
    product = a[:, :, None, :, None] * b[:, None, :, None, :]
    return product.reshape(len(a), a.shape[1] * b.shape[1], -1)


Coordinates = tuple[Tensor, Tensor, Tensor | None]
"""Stacks of bases: of the first dimension, of the second, and of the others together, where there are any."""


def coordinates(bases: Sequence[Bases], half: bool = False) -> Coordinates:
    """Of weights of one shape. half: bases of the channels in bfloat16."""
    first, second, *rest = (_stacked(qs) for qs in zip(*bases, strict=True))
    if half:
        first, second = first.bfloat16(), second.bfloat16()
    return first, second, functools.reduce(_kron, rest) if rest else None


def stacked_planes(xs: Sequence[Tensor], half: bool = False) -> Tensor:
    """(weights, A, n, B), of tensors of one shape."""
    v = _stacked([_planes(x) for x in xs])
    return v.bfloat16() if half else v


def rotate(v: Tensor, turned: Coordinates, shape: Sequence[int], back: bool = False) -> list[Tensor]:
    """Tensors of 2 to 4 dimensions, as `stacked_planes` gives them, in other coordinates, or out of them: channels-last views, float32.

    v and the coordinates are both in bfloat16 (`half`) or both not.
    """
    first, second, spatial = turned
    if back:
        first, second, spatial = first.mT, second.mT, None if spatial is None else spatial.mT
    count, a, n, b = v.shape
    v = (first.mT @ v.reshape(count, a, n * b)).reshape(count, a * n, b)
    v = (v @ second).reshape(count, a, n, b)
    if v.dtype == torch.bfloat16:
        v = v.float()
    if spatial is not None:
        v = spatial.mT.unsqueeze(1) @ v
    return list(v.reshape(count, a, *shape[2:], b).movedim(-1, 2).unbind(0))


def gram_matrices(v: Tensor, shape: Sequence[int], factors: Tensor | None = None) -> list[list[Tensor]]:
    """Of tensors of 2 to 4 dimensions, as `stacked_planes` gives them: for each dimension of each, the Gram matrix of its slices.

    factors: v in bfloat16, for the channels.
    """
    count, a, n, b = v.shape
    large = v if factors is None else factors
    flat, columns = large.reshape(count, a, n * b), large.reshape(count, a * n, b)
    grams = [(flat @ flat.mT).to(v.dtype), (columns.mT @ columns).to(v.dtype)]
    if len(shape) > 2:
        h = shape[2]
        w = n // h
        spatial = (v @ v.mT).sum(1).reshape(count, h, w, h, w)
        grams.append(torch.einsum("giwjw->gij", spatial) if w > 1 else spatial[:, :, 0, :, 0])
        if len(shape) == 4:
            grams.append(torch.einsum("ghihj->gij", spatial) if h > 1 else spatial[:, 0, :, 0, :])
    return [list(each) for each in zip(*(g.unbind(0) for g in grams), strict=True)]


def _in_bases(xs: Sequence[Tensor], bases: Sequence[Bases]) -> list[Tensor]:
    """Tensors of one shape in the coordinates of their eigenbases."""
    return rotate(stacked_planes(xs), coordinates(bases), xs[0].shape)


def _groups(numbers: Iterable[int], key: Callable[[int], object]) -> list[list[int]]:
    """Numbers whose keys are equal, together."""
    found: dict[object, list[int]] = {}
    for number in numbers:
        found.setdefault(key(number), []).append(number)
    return list(found.values())


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
        self._kept: dict[tuple[int, ...], tuple[list[dict[str, Any]], Coordinates]] = {}
        """Coordinates of the groups that go together, until the bases turn: by the weights' ids, with their states."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._kept.clear()

    def _coordinates(self, weights: Sequence[Tensor]) -> Coordinates:
        key = tuple(map(id, weights))
        if key not in self._kept:
            states = [self.state[p] for p in weights]
            made = coordinates([state["Q"] for state in states], self._half)
            self._kept[key] = states, tuple(None if t is None else t.clone() for t in made)  # type: ignore[assignment]
        return self._kept[key][1]

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
            old = []
            for p in group["params"]:
                if p.grad is None:
                    continue
                if self.state[p]:
                    old.append(p)
                else:
                    self._begin(p.grad, self.state[p], 1 - group["betas"][1])
                    self._kept.clear()
            if old and group["step"] > 1:
                self._descend(old, group, size)

    @torch.no_grad()
    def turn(self) -> None:
        """Changes the bases, after one step in `frequency`: one power iteration each."""
        for group in self.param_groups:
            if (group["step"] - 1) % group["precondition_frequency"]:
                continue
            states = [self.state[p] for p in group["params"] if "exp_avg_rotated" in self.state[p]]
            if states:
                self._turn(states)
                self._keep()

    def _keep(self) -> None:
        """Writes the bases as they are now over the coordinates, where those lie: a CUDA graph reads them there."""
        for states, there in self._kept.values():
            for kept, made in zip(there, coordinates([state["Q"] for state in states], self._half), strict=True):
                if kept is not None and made is not None:
                    kept.copy_(made)

    @staticmethod
    def _begin(grad: Tensor, state: dict[str, Any], weight: float) -> None:
        if not 1 <= grad.ndim <= 4:
            raise ValueError(f"SOAP takes weights of 1 to 4 dimensions, not {grad.ndim}")
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(grad), torch.zeros_like(grad)
        if grad.ndim == 1:
            state["GG"], state["Q"] = [[]], [[]]
            return
        state["GG"] = [g * weight for g in gram_matrices(stacked_planes([grad]), grad.shape)[0]]
        # Descending eigenvalues, the order that `_turn` sorts by.
        state["Q"] = [torch.linalg.eigh(g + 1e-30 * torch.eye(len(g), device=g.device))[1].flip(1) for g in state["GG"]]

    def _descend(self, weights: Sequence[nn.Parameter], group: dict[str, Any], size: float | Tensor) -> None:
        """Weights of equal shapes go through their products together, and all of them through what is done to each element."""
        beta1, beta2 = group["betas"]
        states = [self.state[p] for p in weights]
        grads = [p.grad for p in weights if p.grad is not None]
        alike = _groups((i for i, g in enumerate(grads) if g.ndim > 1), lambda i: (grads[i].shape, grads[i].dtype))
        if any("exp_avg_rotated" not in states[i] for some in alike for i in some):
            for some in alike:
                begun = _in_bases([states[i]["exp_avg"] for i in some], [states[i]["Q"] for i in some])
                for i, moment in zip(some, begun, strict=True):
                    states[i].setdefault("exp_avg_rotated", moment.clone())
        turned, kept, fresh = list(grads), [], []
        bases: list[Coordinates] = []
        for some in alike:
            shape, v = grads[some[0]].shape, stacked_planes([grads[i] for i in some])
            factors = v.bfloat16() if self._half else None
            bases.append(self._coordinates([weights[i] for i in some]))
            for i, x in zip(some, rotate(v if factors is None else factors, bases[-1], shape), strict=True):
                turned[i] = x
            for i, grams in zip(some, gram_matrices(v, shape, factors), strict=True):
                kept += states[i]["GG"]
                fresh += grams
        moments = [state["exp_avg"] for state in states]
        means = [state.get("exp_avg_rotated", state["exp_avg"]) for state in states]
        matrices = [i for i, g in enumerate(grads) if g.ndim > 1]
        squares = [state["exp_avg_sq"] for state in states]
        torch._foreach_lerp_(moments, grads, 1 - beta1)
        if matrices:
            torch._foreach_lerp_([means[i] for i in matrices], [turned[i] for i in matrices], 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, turned, turned, value=1 - beta2)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, group["eps"])
        changes = list(torch._foreach_div(means, roots))
        for some, there in zip(alike, bases, strict=True):
            shape, v = grads[some[0]].shape, stacked_planes([changes[i] for i in some], self._half)
            for i, x in zip(some, rotate(v, there, shape, back=True), strict=True):
                changes[i] = x
        if isinstance(size, Tensor):
            changes = list(torch._foreach_mul(changes, size))
            torch._foreach_sub_(list(weights), changes)
        else:
            torch._foreach_add_(list(weights), changes, alpha=-size)
        if kept:
            torch._foreach_lerp_(kept, fresh, 1 - beta2)

    @staticmethod
    def _turn(states: Sequence[dict[str, Any]]) -> None:
        """The second moment follows the new order of a basis's columns. Matrices of equal sizes are decomposed together."""
        places = [(k, d) for k, state in enumerate(states) for d in range(len(state["Q"]))]
        for some in _groups(
            range(len(places)), lambda i: (states[places[i][0]]["Q"][places[i][1]].shape, states[places[i][0]]["Q"][0].dtype)
        ):
            bases = [states[k]["Q"][d] for k, d in (places[i] for i in some)]
            basis = _stacked(bases)
            product = _stacked([states[k]["GG"][d] for k, d in (places[i] for i in some)]) @ basis
            orders = (basis * product).sum(1).argsort(descending=True)
            sorted_columns = product.gather(2, orders.unsqueeze(1).expand_as(product))
            torch._foreach_copy_(bases, list(torch.linalg.qr(sorted_columns)[0].unbind(0)))
            for order, i in zip(orders.unbind(0), some, strict=True):
                k, dimension = places[i]
                states[k]["exp_avg_sq"].copy_(states[k]["exp_avg_sq"].index_select(dimension, order))
        for some in _groups(range(len(states)), lambda k: (states[k]["exp_avg"].shape, states[k]["exp_avg"].dtype)):
            moved = _in_bases([states[k]["exp_avg"] for k in some], [states[k]["Q"] for k in some])
            torch._foreach_copy_([states[k]["exp_avg_rotated"] for k in some], moved)
