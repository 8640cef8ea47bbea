# SPDX-License-Identifier: Apache-2.0
"""Where a run starts from, and what it leaves: WORK/last.pt to go on, WORK/average.safetensors to export."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors
from torch import Tensor

from jahp_fast.errors import ModelError, first_line
from jahp_fast.models.layers import canonical_key
from jahp_fast.models.priors import CompressionModel
from jahp_fast.models.registry import from_state_dict
from jahp_fast.system.atomic import write_atomically
from jahp_fast.train.settings import METRICS

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
        if path.suffix == ".safetensors":
            return _load_safetensors(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, SafetensorError) as e:
        raise ModelError(f"{path} cannot be read as a checkpoint: {first_line(e)}") from None
    if not isinstance(content, Mapping):
        raise ModelError(f"{path} holds a {type(content).__name__}, not a checkpoint")
    if "model" in content and "optimizer" in content and "average" in content:
        return _load_training(path, content)
    return _weights(from_state_dict(content), "weights")


def _load_safetensors(path: Path) -> Start:
    with safe_open(path, framework="pt") as f:
        metadata = f.metadata() or {}
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
    return _weights(from_state_dict(load_file(path)), "weights", metric)


def _weights(model: CompressionModel, what: str, metric: str | None = None) -> Start:
    return Start(model, from_state_dict(model.state_dict()), Training(metric=metric), what)


def _load_training(path: Path, content: Mapping[str, Any]) -> Start:
    model, average = from_state_dict(content["model"]), from_state_dict(content["average"])
    known = {k: v for k, v in content.items() if k in Training.__dataclass_fields__}
    if "optimizer_names" in known:
        return Start(model, average, Training(**known), "a checkpoint")
    # The predecessor's checkpoints: SOAP over the parameters in the order of its state dict, buffers and quantiles left out.
    trained = {name for name, _ in model.named_parameters() if not name.endswith("quantiles")}
    names = [canonical_key(key) for key in content["model"]]
    training = Training(**known)
    training.optimizer_names = [name for name in names if name in trained and name is not None]
    training.warm_steps = training.steps
    if len(training.optimizer_names) != len(trained):
        raise ModelError(f"{path} does not hold every weight that its optimiser trains")
    return Start(model, average, training, "a checkpoint of the earlier script")
