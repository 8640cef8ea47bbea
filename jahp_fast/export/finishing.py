# SPDX-License-Identifier: Apache-2.0
"""A model file with another g_s: what `jahp train --only g_s` leaves, put in the place of the one that the file has.

All that latents are made and coded with stays, to the bit: payloads are those of before, and only pictures change.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jahp_fast.entropy.model_file import ModelFile, replace_tensors
from jahp_fast.errors import UsageError
from jahp_fast.export.calibration import calibrate
from jahp_fast.export.model import dequantise
from jahp_fast.export.ranges import transform_ranges
from jahp_fast.export.sensitivity import sensitivities
from jahp_fast.export.transforms import IntegerTransforms

if TYPE_CHECKING:
    from jahp_fast.models.priors import CompressionModel

Pixels = NDArray[np.uint8]


def with_decoder(
    path: str | os.PathLike[str],
    decoder: CompressionModel,
    out: str | os.PathLike[str],
    photos: Sequence[Pixels],
    extremes: Sequence[Pixels] = (),
    force: bool = False,
) -> bytes:
    """Writes the model file of `path` to `out` with the g_s of `decoder`; returns its id. It has no heads of small pictures.

    Args:
        decoder: of the same architecture and sizes, in float32, on the CPU.
        photos, extremes: as export_model takes them.

    Raises:
        ModelError: it is no model file, or the numbers of g_s are too large for integers.
        UsageError: the decoder is of another architecture or size.
    """
    file, model = ModelFile(path), _like(path, decoder)
    model.g_s.load_state_dict(decoder.g_s.state_dict())
    transforms = IntegerTransforms(model, transform_ranges(model, photos, extremes), file.config)
    tensors = {f"transform.{name}": array for name, array in transforms.tensors.items() if name == "inv_gain" or name.startswith("g_s.")}
    tensors["train.g_s.unit"] = transforms.train["g_s.unit"]
    if file.search:
        tensors |= sensitivities(model, calibrate(model, photos), transforms.units)
    return replace_tensors(path, tensors, out, force)


def part_way(path: str | os.PathLike[str], decoder: CompressionModel, share: float) -> None:
    """Moves the g_s of `decoder` in place to `share` of the way from that of a model file; 1 is all of it.

    Between two trainings the mean of weights is often better than both: it keeps what the first one knew (Wortsman et al., "Robust
    fine-tuning of zero-shot models", CVPR 2022).

    Raises:
        ModelError: it is no model file.
        UsageError: the decoder is of another architecture or size, or the share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise UsageError(f"a share must be above 0 and at most 1, not {share:g}")
    own = _like(path, decoder).g_s.state_dict()
    decoder.g_s.load_state_dict({name: own[name].lerp(tensor, share) for name, tensor in decoder.g_s.state_dict().items()})


def _like(path: str | os.PathLike[str], decoder: CompressionModel) -> CompressionModel:
    """The floats of a model file that has the architecture and the sizes of `decoder`."""
    from jahp_fast.models.registry import from_state_dict, model_info

    model = from_state_dict(dequantise(path)[1]).eval()
    if model_info(model) != model_info(decoder):
        raise UsageError(f"{path} has {model_info(model)}, and the checkpoint {model_info(decoder)}: g_s alone can be put in its place")
    return model
