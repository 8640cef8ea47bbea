# SPDX-License-Identifier: Apache-2.0
"""Models by name: build one, or rebuild one out of its state dict alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jahp_fast.constants import BY_ROW
from jahp_fast.errors import ModelError, UnknownModel
from jahp_fast.models.layers import canonical_key
from jahp_fast.models.priors import (
    CompressionModel,
    ContextPrior,
    FactorizedPrior,
    JointAutoregressiveHierarchicalPriors,
    MeanScaleHyperprior,
    ScaleHyperprior,
)
from jahp_fast.models.state_file import plain_tensor

ARCHITECTURES: dict[str, type[CompressionModel]] = {
    cls.architecture: cls
    for cls in (FactorizedPrior, ScaleHyperprior, MeanScaleHyperprior, ContextPrior, JointAutoregressiveHierarchicalPriors)
}
"""Model name -> class."""
MAX_LATENTS, MAX_ROWS = 4096, 141
"""N and M of a model file; rows of gains: one for each quality that a stream can name."""
_MASK = "context_prediction.mask"


@dataclass(frozen=True)
class ModelInfo:
    """A model's shape. `parameters` counts trained numbers (masked weights of the context model left out)."""

    architecture: str
    N: int
    M: int
    rows: int
    parameters: int


def build(name: str, N: int, M: int, rows: int = 8) -> CompressionModel:
    """A freshly initialised model, in training mode. N: channels of the transforms and of z; M: of y; rows: qualities.

    Raises UnknownModel for a name that is not in `ARCHITECTURES`, UsageError for sizes below 1.
    """
    if name not in ARCHITECTURES:
        raise UnknownModel(f"no model is called {name!r}; there are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name](N, M, rows)


def normalise_state(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint under this package's keys: no wrapper, no `module.`, no derived buffers, floats of any width as float32.

    Raises ModelError if something in it is not a plain real tensor with a name, or two keys become one.
    """
    if not isinstance(state, Mapping):
        raise ModelError(f"a state dict maps names to tensors; this is a {type(state).__name__}")
    inner = state.get("state_dict")
    tensors: dict[str, Tensor] = {}
    for key, value in (inner if isinstance(inner, Mapping) else state).items():
        if not isinstance(key, str):
            raise ModelError(f"the state dict has the key {key!r}, which is no name")
        name = canonical_key(key)
        if name is None:
            continue
        tensor = plain_tensor(value, f"{key} in the state dict")
        if name in tensors:
            raise ModelError(f"the state dict holds {name} twice, under two releases' names")
        tensors[name] = tensor.float() if tensor.is_floating_point() else tensor
    return tensors


def architecture_of(state: Mapping[str, Tensor]) -> tuple[str, int, int, int]:
    """(architecture, N, M, rows) of a normalised state dict, from the keys and shapes in it; rows is 1 without `gain`.

    Raises ModelError where the keys that tell are missing or of the wrong rank.
    """
    first, last = state.get("g_a.0.weight"), state.get("g_a.6.weight")
    if first is None or last is None or first.ndim != 4 or last.ndim != 4:
        raise ModelError("the state dict has no 4-dimensional g_a.0.weight and g_a.6.weight: not a model of the mbt2018 family")
    N, M = first.shape[0], last.shape[0]
    gain = state.get("gain")
    rows = gain.shape[0] if gain is not None and gain.ndim == 2 else 1
    hyper, context = "h_a.0.weight" in state, "context_prediction.weight" in state
    if context:
        return ("mbt2018" if hyper else "mbt2018-context"), N, M, rows
    if not hyper:
        return "bmshj2018-factorized", N, M, rows
    h_s = state.get("h_s.4.weight")
    if h_s is None or h_s.shape[0] not in (M, 2 * M):
        raise ModelError(f"h_s.4.weight must give M = {M} channels (bmshj2018-hyperprior) or 2 M (mbt2018-mean)")
    return ("mbt2018-mean" if h_s.shape[0] == 2 * M else "bmshj2018-hyperprior"), N, M, rows


def from_state_dict(state: Mapping[str, Any]) -> CompressionModel:
    """The model that a state dict describes, with its weights, in evaluation mode. Architecture, N, M and rows are inferred.

    Takes the keys of this package and of every CompressAI release, {"state_dict": ...} wrappers, `module.` prefixes, and any
    float type. A state without `gain` and `inv_gain` gets one row of zeros (a gain of 1), one of several rows
    without layers by row gets the common ones for each; the mask may be left out. Raises ModelError naming keys that are missing,
    unexpected or of the wrong shape, and tensors that are not finite.
    """
    tensors = normalise_state(state)
    name, N, M, rows = architecture_of(tensors)
    if not (1 <= N <= MAX_LATENTS and 1 <= M <= MAX_LATENTS and 1 <= rows <= MAX_ROWS):
        raise ModelError(
            f"state dict of {name}: N = {N} or M = {M} is not within 1 to {MAX_LATENTS}, or {rows} rows of gains not to {MAX_ROWS}"
        )
    if "gain" not in tensors and "inv_gain" not in tensors:
        tensors |= {"gain": torch.zeros(1, M), "inv_gain": torch.zeros(1, M)}
    with torch.device("meta"):  # shapes alone: a few strange numbers must not take all memory
        wanted = build(name, N, M, rows).state_dict()
    tensors = with_layers_by_row(tensors, rows)
    faults = [f"missing {k}" for k in wanted if k not in tensors and k != _MASK]
    faults += [f"unexpected {k}" for k in tensors if k not in wanted]
    faults += [
        f"{k} is {tuple(tensors[k].shape)} where {tuple(v.shape)} is needed"
        for k, v in wanted.items()
        if k in tensors and tensors[k].shape != v.shape
    ]
    faults += [f"{k} is not finite" for k, v in tensors.items() if v.is_floating_point() and not bool(v.isfinite().all())]
    if faults:
        more = f" and {len(faults) - 8} more" if len(faults) > 8 else ""
        raise ModelError(f"state dict of {name} (N = {N}, M = {M}): {'; '.join(faults[:8])}{more}")
    model = build(name, N, M, rows)
    if _MASK in wanted and not torch.equal(tensors.setdefault(_MASK, model.state_dict()[_MASK]).float(), model.state_dict()[_MASK]):
        raise ModelError("context_prediction.mask is not mask A: other orders of decoding are not supported")
    model.load_state_dict(tensors)
    return model.eval()


def with_layers_by_row(tensors: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
    """A state of several rows with one layer where it may have one a row gets it for each of them."""
    out = dict(tensors)
    for name in (f"g_s.{i}.{kind}" for i in BY_ROW for kind in ("weight", "bias")):
        if rows > 1 and name in out:
            layer, kind = name.rsplit(".", 1)
            common = out.pop(name)
            out |= {f"{layer}.{row}.{kind}": common for row in range(rows)}
    return out


def model_info(model: CompressionModel) -> ModelInfo:
    """The shape of a model that `build` or `from_state_dict` gave."""
    parameters = sum(p.numel() for p in model.parameters())
    for name, buffer in model.named_buffers():
        if name.endswith("mask"):
            parameters -= int((buffer == 0).sum())
    return ModelInfo(model.architecture, model.N, model.M, model.rows, parameters)
