# SPDX-License-Identifier: Apache-2.0
"""Reading checkpoints that nobody vouches for: torch's and safetensors files, as what they hold; no code of them runs."""

from __future__ import annotations

import pickle
import stat
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from jahp_fast.errors import ModelError, first_line

_DAMAGED = (
    RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError, OverflowError, struct.error,
    pickle.UnpicklingError, SafetensorError,
)  # fmt: skip
"""What torch.load raises for files with some bytes changed."""


def read_state(path: Path) -> Mapping[str, Any]:
    """The mapping that a .pth, .pth.tar, .pt or .safetensors file holds. torch's files are read with `weights_only`.

    Raises ModelError, naming the file, for anything that is not one, and for files whose reading would run code.
    """
    _check_regular(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():  # of a damaged file torch says first that it was written by a strange version of pickle
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as e:
        raise ModelError(f"cannot read {path}: {e.strerror or first_line(e)}") from None
    except pickle.UnpicklingError as e:
        # torch's first words are advice to let the file run code; what is wrong stands further down.
        reason = next((line.strip() for line in str(e).splitlines() if "nsupported" in line), "it is no pickle of tensors")
        raise ModelError(
            f"{path} cannot be read as a checkpoint of tensors alone ({reason}); nothing in it was run: save the model's "
            "state_dict() by itself"
        ) from None
    except _DAMAGED as e:
        raise ModelError(f"{path} cannot be read as a checkpoint: {first_line(e)}") from None
    if not isinstance(content, Mapping):
        raise ModelError(f"{path} holds a {type(content).__name__}, not a checkpoint")
    return content


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file. Raises ModelError as `read_state` does."""
    _check_regular(path)
    try:
        with safe_open(path, framework="pt") as f:
            return f.metadata() or {}
    except OSError as e:
        raise ModelError(f"cannot read {path}: {e.strerror or first_line(e)}") from None
    except _DAMAGED as e:
        raise ModelError(f"{path} cannot be read as a checkpoint: {first_line(e)}") from None


def _check_regular(path: Path) -> None:
    """Raises ModelError for what is no regular file: opening a pipe would wait for a writer."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as e:  # ValueError: a NUL byte
        raise ModelError(f"cannot read {path}: {getattr(e, 'strerror', None) or e}") from None
    if not stat.S_ISREG(mode):
        raise ModelError(f"cannot read {path}: it is {'a folder' if stat.S_ISDIR(mode) else 'no regular file'}")


def plain_tensor(value: Any, name: str) -> Tensor:
    """The value, if it is a tensor of real numbers that are all there. Raises ModelError, calling it `name`, for anything else."""
    if not isinstance(value, Tensor):
        raise ModelError(f"{name} is a {type(value).__name__}, not a tensor")
    if value.is_meta or value.layout != torch.strided or value.is_quantized or value.is_complex():
        kind = "meta" if value.is_meta else "quantised" if value.is_quantized else "complex" if value.is_complex() else "sparse"
        raise ModelError(f"{name} is a {kind} tensor: save plain real ones, like model.float().state_dict()")
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise ModelError(f"{name} claims {value.numel()} numbers and has fewer: save it as tensor.contiguous()")
    return value
