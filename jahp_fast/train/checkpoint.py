# SPDX-License-Identifier: Apache-2.0
"""Where a run starts from, and what it leaves: WORK/last.pt to go on, WORK/average.safetensors to export."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from jahp_fast.errors import ModelError
from jahp_fast.models.layers import canonical_key
from jahp_fast.models.priors import CompressionModel
from jahp_fast.models.registry import from_state_dict, model_info
from jahp_fast.models.state_file import plain_tensor, read_metadata, read_state
from jahp_fast.system.atomic import write_atomically
from jahp_fast.train.optimizer import (
    checked,
    is_count,
    is_number,
    make_optimizer,
    make_quantile_optimizer,
    reorder,
    trained_names,
)
from jahp_fast.train.settings import METRICS, OPTIMIZERS, PARTS

LAST, AVERAGE = "last.pt", "average.safetensors"
SHIPPED_KEY = "jahp"
"""A key of the safetensors metadata by which an exported model is known."""


@dataclass
class Training:
    """The state of a run beside its two models. Optimiser states are torch's `state_dict`s."""

    steps: int = 0
    crops: int = 0
    minutes: float = 0.0
    warm_steps: int = 0
    """Steps since the main optimiser was new."""
    optimizer_kind: str = "soap"
    optimizer: dict[str, Any] | None = None
    optimizer_names: list[str] | None = None
    quantile_optimizer: dict[str, Any] | None = None
    metric: str | None = None
    lambdas: list[float] | None = None
    only: str | None = None
    """The part that is trained alone."""
    noise_state: Tensor | None = None
    """Of torch's global generator."""
    crops_state: Tensor | None = None


@dataclass
class Start:
    """What a run goes on from; `training` is fresh where the file holds weights alone."""

    model: CompressionModel
    average: CompressionModel
    training: Training
    what: str
    """For the reader: what kind of file it was."""


def save(work: Path, model: CompressionModel, average: CompressionModel, training: Training) -> None:
    """Writes both files atomically. Raises ModelError, and writes nothing, if a weight is not finite."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in average.state_dict().items()}
    for name, value in [*tensors.items(), *model.state_dict().items()]:
        if not bool(value.isfinite().all()):
            raise ModelError(f"{name} is no longer finite: nothing was saved; start again from {work / LAST} with a smaller --lr")
    content = {"model": model.state_dict(), "average": average.state_dict(), **vars(training)}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(work / LAST, buffer.getvalue())
    metadata = {"architecture": model.architecture, "steps": str(training.steps), "crops": str(training.crops)}
    if training.metric is not None:
        metadata["metric"] = training.metric
    write_atomically(work / AVERAGE, save_tensors(tensors, metadata))


def load(path: Path) -> Start:
    """A checkpoint of this trainer or of its predecessor (optimiser state kept), a state dict (torch's or safetensors), or an
    exported model.

    Raises ModelError, naming the file, for anything else.
    """
    try:
        return _load(path)
    except ModelError as e:
        raise e if str(path) in str(e) else ModelError(f"{path}: {e}") from None


def _load(path: Path) -> Start:
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    content = read_state(path)
    if "model" in content and "optimizer" in content and "average" in content:
        return _load_training(content)
    return _weights(from_state_dict(content), "weights")


def _load_safetensors(path: Path) -> Start:
    metadata = read_metadata(path)
    metric = metadata.get("metric")
    if metric not in (None, *METRICS):
        raise ModelError(f"{path} was trained for {metric!r}, which is none of {', '.join(METRICS)}")
    if SHIPPED_KEY in metadata:
        from jahp_fast.export.model import dequantise

        architecture, state = dequantise(path)
        model = from_state_dict(state)
        if model.architecture != architecture:
            raise ModelError(f"{path} calls itself {architecture} and holds the weights of {model.architecture}")
        return _weights(model, "an exported model", metric)
    return _weights(from_state_dict(read_state(path)), "weights", metric)


def _weights(model: CompressionModel, what: str, metric: str | None = None) -> Start:
    return Start(model, from_state_dict(model.state_dict()), Training(metric=metric), what)


def _load_training(content: Mapping[str, Any]) -> Start:
    model, average = from_state_dict(content["model"]), from_state_dict(content["average"])
    if model_info(model) != model_info(average):
        raise ModelError("its model and its average are of different sizes")
    known = {k: v for k, v in content.items() if k in Training.__dataclass_fields__}
    _check_fields(known)
    training = Training(**known)
    what = "a checkpoint"
    if training.optimizer_names is None:
        # The predecessor's checkpoints: SOAP over the parameters in the order of its state dict, buffers and quantiles left out.
        trained = set(trained_names(model))
        names = [canonical_key(key) for key in content["model"]]
        training.optimizer_names = [name for name in names if name in trained and name is not None]
        training.warm_steps = training.steps
        if len(training.optimizer_names) != len(trained):
            raise ModelError("it does not hold every weight that its optimiser trains")
        what = "a checkpoint of the earlier script"
    _check_optimizers(model, training)
    return Start(model, average, training, what)


def _check_optimizers(model: CompressionModel, training: Training) -> None:
    """Checks the optimisers' states, and puts them into the order of the model's parameters."""
    if training.optimizer is not None:
        wanted = trained_names(model, training.only)
        state = reorder(training.optimizer, training.optimizer_names or [], wanted)
        training.optimizer = checked(state, make_optimizer(training.optimizer_kind, model, 1.0, only=training.only), "its optimizer")
        training.optimizer_names = wanted
    quantiles = make_quantile_optimizer(model, training.only)
    if training.quantile_optimizer is not None and quantiles is not None:
        training.quantile_optimizer = checked(training.quantile_optimizer, quantiles, "its quantile_optimizer")


def _is_random_state(value: Any) -> bool:
    if not isinstance(value, Tensor):
        return False
    try:
        torch.Generator().set_state(plain_tensor(value, "a state"))
    except (ModelError, RuntimeError, TypeError):
        return False
    return True


def _check_fields(known: Mapping[str, Any]) -> None:
    """Raises ModelError for a field of Training that has no value that it can have."""

    def words(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(name, str) for name in value)

    def trade_offs(value: Any) -> bool:
        return isinstance(value, list) and all(is_number(x) for x in value)

    rules: dict[str, Callable[[Any], bool]] = {
        "steps": is_count, "crops": is_count, "warm_steps": is_count, "minutes": is_number,
        "optimizer_kind": lambda value: isinstance(value, str) and value in OPTIMIZERS,
        "metric": lambda value: isinstance(value, str) and value in METRICS,
        "only": lambda value: isinstance(value, str) and value in PARTS,
        "optimizer_names": words, "lambdas": trade_offs,
        "optimizer": lambda value: isinstance(value, dict), "quantile_optimizer": lambda value: isinstance(value, dict),
        "noise_state": _is_random_state, "crops_state": _is_random_state,
    }  # fmt: skip
    optional = {name for name, field in Training.__dataclass_fields__.items() if field.default is None}
    for name, value in known.items():
        if not (value is None and name in optional) and not rules[name](value):
            said = f"a tensor of {value.dtype}" if isinstance(value, Tensor) else f"{value!r:.40}"
            raise ModelError(f"its {name} cannot be {said}: it is no checkpoint of this trainer, or a damaged one")
