# SPDX-License-Identifier: Apache-2.0
"""Export of a float state dict, whatever wrote it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.entropy.model_file import Form
from jahp_fast.export.model import export_calibrated
from jahp_fast.models.registry import from_state_dict


def export_state(
    state: dict[str, Any],
    out: str | os.PathLike[str],
    *,
    photos: Sequence[NDArray[np.uint8]],
    form: Form = "A",
    activation_bits: int = 8,
    prob_bits: int = 15,
    qualities: Sequence[float] | None = None,
) -> bytes:
    """Turns a float state dict (CompressAI's keys, and gains where a model has them) into a model file.

    Args:
        state: as `torch.load` or safetensors give it; architecture and widths are read off its keys.
        photos: (H, W, 3) uint8 training photos for calibration.
        form, activation_bits, prob_bits: see ModelConfig.
        qualities: what the rows of the gains are called; by default 1, 2 ... for several rows and 4 for one.

    Returns:
        The model's id.

    Raises:
        ModelError: keys are missing or unexpected, or a sum could overflow 32 bits.
        UsageError: no photo, or an option that is not one.
    """
    return export_calibrated(
        from_state_dict(state).eval(), out, photos=photos, form=form, activation_bits=activation_bits, prob_bits=prob_bits,
        qualities=qualities,
    )  # fmt: skip
