# SPDX-License-Identifier: Apache-2.0
"""The optimisers, the names of what they train, by which their state survives a change of parameter order, and states out of
checkpoints that nobody vouches for, checked against a new optimiser of the same kind: what is let in can be loaded and stepped.
torch's own loading looks at the number of parameters alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from jahp_fast.errors import ModelError
from jahp_fast.models.state_file import plain_tensor
from jahp_fast.train.soap import SOAP

QUANTILE_LR = 1e-3
MAX_COUNT = 1 << 53
"""Of steps and crops, and of all other numbers: what a float64 counts exactly."""


def trained_names(model: nn.Module, only: str | None = None) -> list[str]:
    """Names of the parameters that the main optimiser trains, in its order: all but the quantiles of the factorised prior, or those of the
    part `only`."""
    names = [name for name, _ in model.named_parameters() if not name.endswith("quantiles")]
    return names if only is None else [name for name in names if name.startswith(f"{only}.")]


def make_optimizer(kind: str, model: nn.Module, lr: float, half: bool = False, only: str | None = None) -> torch.optim.Optimizer:
    """SOAP or Adam, over `trained_names`. half: SOAP's large products in bfloat16."""
    parameters = dict(model.named_parameters())
    weights = [parameters[name] for name in trained_names(model, only)]
    return torch.optim.Adam(weights, lr=lr) if kind == "adam" else SOAP(weights, lr=lr, half=half)


def make_quantile_optimizer(model: nn.Module, only: str | None = None) -> torch.optim.Optimizer | None:
    """Adam over the quantiles, for the auxiliary loss; None where a model has no factorised prior, and where a part is trained alone."""
    quantiles = [p for name, p in model.named_parameters() if name.endswith("quantiles") and only is None]
    return torch.optim.Adam(quantiles, lr=QUANTILE_LR) if quantiles else None


def is_count(value: Any) -> bool:
    """A whole number that can count something."""
    return type(value) is int and 0 <= value <= MAX_COUNT


def is_number(value: Any) -> bool:
    """One of at least 0 that is neither infinite nor absurd."""
    return type(value) in (int, float) and 0 <= value <= MAX_COUNT


def checked(state: Any, fresh: Optimizer, what: str) -> dict[str, Any]:
    """The state dict, with what it may lack taken from the new optimiser `fresh`: one group, of parameters numbered from 0.

    Args:
        what: the state's name in messages.

    Raises:
        ModelError: it is no state dict of an optimiser of that kind over those parameters.
    """
    parameters: list[Tensor] = fresh.param_groups[0]["params"]
    group = _group(state, what)
    if group["params"] != list(range(len(parameters))):
        raise ModelError(f"{what} was not made for this model's parameters")
    wanted = {name: value for name, value in fresh.param_groups[0].items() if name != "params"}
    group = {**wanted, **group}
    for name, value in wanted.items():
        if not _fits(group[name], value, name):
            raise ModelError(f"{what}: its {name} cannot be {group[name]!r:.40}")
    states = {}
    for key, value in state["state"].items():
        if type(key) is not int or not 0 <= key < len(parameters):
            raise ModelError(f"{what} has a state of {key!r:.40}, which is no parameter")
        states[key] = _of_soap(value, parameters[key], f"{what}, parameter {key}") if isinstance(fresh, SOAP) else _of_adam(
            value, parameters[key], f"{what}, parameter {key}")  # fmt: skip
    return {"state": states, "param_groups": [group]}


def _group(state: Any, what: str) -> dict[str, Any]:
    """The only group of a state dict, its parameters' numbers included."""
    groups = state.get("param_groups") if isinstance(state, dict) else None
    if not isinstance(groups, list) or len(groups) != 1 or not isinstance(groups[0], dict) or not isinstance(state.get("state"), dict):
        raise ModelError(f"{what} is no state of an optimiser with one group of parameters")
    group: dict[str, Any] = groups[0]
    params = group.get("params")
    if not isinstance(params, list) or not all(type(p) is int for p in params) or len(set(params)) != len(params):
        raise ModelError(f"{what} does not list its parameters by numbers")
    return group


def reorder(state: Any, saved: list[str], wanted: list[str], what: str = "the checkpoint's optimiser") -> dict[str, Any]:
    """An optimiser's state dict, saved over parameters in the order `saved`, for the same parameters in the order `wanted`.

    Raises ModelError if the parameters are not the same or the state has more than one group.
    """
    group = _group(state, what)
    if sorted(saved) != sorted(wanted) or len(group["params"]) != len(saved):
        raise ModelError(f"{what} was not made for this model's parameters")
    ids = dict(zip(saved, group["params"], strict=True))
    entries = {i: state["state"][ids[name]] for i, name in enumerate(wanted) if ids[name] in state["state"]}
    return {"state": entries, "param_groups": [{**group, "params": list(range(len(wanted)))}]}


def _fits(value: Any, like: Any, name: str) -> bool:
    """Whether a setting of a group has a value that can be: numbers may differ from the new optimiser's, switches may not."""
    if name == "betas":
        return isinstance(value, tuple | list) and len(value) == 2 and all(is_number(b) and b < 1 for b in value)
    if name in ("step", "precondition_frequency"):
        return is_count(value) and value >= (name != "step")
    if type(like) in (int, float):
        return is_number(value)
    return type(value) is type(like) and bool(value == like)


def _named(state: Any, names: set[str], what: str) -> Mapping[str, Any]:
    if not isinstance(state, dict) or not names <= set(state):
        raise ModelError(f"{what}: its state has not {', '.join(sorted(names))}")
    return state


def _tensor(value: Any, shape: torch.Size, what: str) -> Tensor:
    tensor = plain_tensor(value, what)
    if tensor.shape != shape or not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
        raise ModelError(f"{what} is not finite floats of the shape {tuple(shape)}")
    return tensor


def _of_adam(state: Any, parameter: Tensor, what: str) -> dict[str, Any]:
    _named(state, {"step", "exp_avg", "exp_avg_sq"}, what)
    if not is_count(state["step"]):
        step = _tensor(state["step"], torch.Size(), f"{what}: step")
        if float(step) < 0:
            raise ModelError(f"{what}: step is below 0")
    for name in ("exp_avg", "exp_avg_sq"):
        _tensor(state[name], parameter.shape, f"{what}: {name}")
    return dict(state)


def _of_soap(state: Any, parameter: Tensor, what: str) -> dict[str, Any]:
    _named(state, {"exp_avg", "exp_avg_sq", "GG", "Q"}, what)
    for name in ("exp_avg", "exp_avg_sq", "exp_avg_rotated"):
        if name in state:
            _tensor(state[name], parameter.shape, f"{what}: {name}")
    for name in ("GG", "Q"):
        bases = state[name]
        if not isinstance(bases, list) or len(bases) != parameter.ndim:
            raise ModelError(f"{what}: {name} is no list of {parameter.ndim} matrices")
        for size, matrix in zip(parameter.shape, bases, strict=True):
            if parameter.ndim == 1 and matrix == []:  # a vector is not rotated
                continue
            _tensor(matrix, torch.Size((size, size)), f"{what}: {name}")
    return dict(state)
