# SPDX-License-Identifier: Apache-2.0
"""Reading a CompressAI checkpoint: whatever it is wrapped in and whichever release named its keys; no code of it runs.

Published files are bare state dicts, CompressAI's training example wraps one in {"state_dict": ...}, other trainers use other names for
it and put a prefix before every key. The factorised prior's parameters have had three namings: `_matrix0`, `_matrices.0`, `matrices.0`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jahp_fast.errors import ModelError
from jahp_fast.export.tables import Row
from jahp_fast.models import registry
from jahp_fast.models.priors import CompressionModel
from jahp_fast.models.state_file import plain_tensor

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network")
"""Keys under which trainers keep the state dict, in the order in which they are tried."""
PROB_BITS = 16
"""Of CompressAI's tables."""
_FIRST = "g_a.0.weight"
_KNOWN = ("g_a.", "g_s.", "h_a.", "h_s.", "context_prediction.", "entropy_parameters.", "entropy_bottleneck.", "gaussian_conditional.")


@dataclass(frozen=True)
class Quantised:
    """The tables of one of CompressAI's entropy models, as `update` left them.

    Attributes:
        rows: one a channel, or one a scale.
        scales: (rows,) standard deviations, rising; None for a factorised prior.
    """

    rows: list[Row]
    scales: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was understood.

    Attributes:
        model: the float model, in evaluation mode, with one row of gains of 1.
        medians: (channels of the factorised prior,) float64; empty where a model has none.
        bottleneck, gaussian: their tables, None where the checkpoint has none or the model needs none.
    """

    model: CompressionModel
    medians: NDArray[np.float64]
    bottleneck: Quantised | None
    gaussian: Quantised | None


def unwrapped(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state dict inside a trainer's wrapping, without what stands before `g_a.` in its keys, and without other modules' keys.

    Raises ModelError where there is no model, or more than one.
    """
    inner: Mapping[str, Any] = state
    for name in WRAPPERS:
        if isinstance(state.get(name), Mapping):
            inner = state[name]
            break
    keys = [key for key in inner if isinstance(key, str)]
    prefixes = sorted({key.removesuffix(_FIRST) for key in keys if key == _FIRST or key.endswith("." + _FIRST)})
    if not prefixes:
        raise ModelError(_not_found(keys))
    if len(prefixes) > 1:
        names = ", ".join(repr(p) for p in prefixes)
        raise ModelError(f"the checkpoint holds {len(prefixes)} models, under {names}: save one of them alone")
    prefix = prefixes[0]
    return {
        key.removeprefix(prefix): value
        for key, value in inner.items()
        if isinstance(key, str) and key.startswith(prefix) and (not prefix or key.removeprefix(prefix).startswith(_KNOWN))
    }


def _not_found(keys: list[str]) -> str:
    if any(".conv1.weight" in key or ".subpel_conv." in key for key in keys if "g_a." in key or "g_s." in key):
        return (
            "the checkpoint has residual blocks in g_a, as cheng2020-anchor and cheng2020-attn have: not supported, because their h_s "
            "is made of sub-pixel convolutions, which the integer entropy path does not have"
        )
    few = ", ".join(keys[:4]) or "nothing"
    return f"the checkpoint has no {_FIRST}: not a model of the mbt2018 family (it holds {few}{' ...' if len(keys) > 4 else ''})"


def understood(state: Mapping[str, Any]) -> Checkpoint:
    """Rebuilds the model of a state dict, wrapped or not, and takes its tables.

    Raises:
        ModelError: keys that are missing, unexpected or of the wrong shape, tables that are damaged, or an architecture that is none of
            bmshj2018-factorized, bmshj2018-hyperprior, mbt2018-mean, mbt2018 and mbt2018-context.
    """
    inner = unwrapped(state)
    if "g_a.0.conv1.weight" in inner:
        raise ModelError(_not_found(list(inner)))
    model = registry.from_state_dict(inner)
    if model.rows != 1:
        raise ModelError(f"the checkpoint has {model.rows} rows of gains: it is not CompressAI's; `jahp export` turns it into a model file")
    plain = {key.removeprefix("module."): value for key, value in inner.items()}
    bottleneck = getattr(model, "entropy_bottleneck", None)
    medians = np.zeros(0) if bottleneck is None else bottleneck.medians.double().numpy()
    return Checkpoint(
        model,
        medians,
        None if bottleneck is None else _tables(plain, "entropy_bottleneck.", len(medians)),
        None if model.architecture == "bmshj2018-factorized" else _gaussian(plain),
    )


def _vector(state: Mapping[str, Any], key: str, ndim: int) -> Tensor | None:
    """An integer or float buffer; None if it is absent or empty, as before CompressAI's `update`."""
    if state.get(key) is None:
        return None
    value = plain_tensor(state[key], key)
    if value.numel() == 0:
        return None
    if value.ndim != ndim:
        raise ModelError(f"{key} must be a tensor of {ndim} dimensions")
    return value


def _tables(state: Mapping[str, Any], prefix: str, count: int | None) -> Quantised | None:
    """Rows out of `_quantized_cdf`, `_cdf_length` and `_offset`, unchanged: their last entry is an escape too."""
    names = ("_quantized_cdf", "_cdf_length", "_offset")
    found = [_vector(state, prefix + name, ndim) for name, ndim in zip(names, (2, 1, 1), strict=True)]
    missing = [name for name, value in zip(names, found, strict=True) if value is None]
    if len(missing) == 3:
        return None
    if missing:
        raise ModelError(f"the checkpoint has no {prefix}{missing[0]} beside its other tables")
    cdf, length, offset = (value.long().numpy() for value in found if value is not None)
    if not len(cdf) == len(length) == len(offset) or (count is not None and len(cdf) != count):
        raise ModelError(f"{prefix}_quantized_cdf has {len(cdf)} rows, with {len(length)} lengths and {len(offset)} offsets"
                         + ("" if count is None else f", for {count} channels"))  # fmt: skip
    rows = []
    for i, (row, n, low) in enumerate(zip(cdf, length.tolist(), offset.tolist(), strict=True)):
        sound = 3 <= n <= len(row) and row[0] == 0 and row[n - 1] == 1 << PROB_BITS and bool(np.all(np.diff(row[:n]) > 0))
        if not sound or abs(low) > 65535:
            raise ModelError(f"{prefix}_quantized_cdf, row {i}: not a cumulative of {n} entries from 0 to 65536")
        rows.append(Row(int(low), row[: n - 1].astype(np.uint16)))
    return Quantised(rows)


def _gaussian(state: Mapping[str, Any]) -> Quantised | None:
    tables = _tables(state, "gaussian_conditional.", None)
    if tables is None:
        return None
    scales = _vector(state, "gaussian_conditional.scale_table", 1)
    if scales is None or len(scales) != len(tables.rows):
        raise ModelError("gaussian_conditional.scale_table does not have one scale for each row of the tables")
    values = scales.double().numpy()
    if not np.all(np.isfinite(values)) or values[0] <= 0 or np.any(np.diff(values) <= 0) or values[-1] >= 2**18:
        raise ModelError("gaussian_conditional.scale_table does not rise from above 0")
    return Quantised(tables.rows, values)
