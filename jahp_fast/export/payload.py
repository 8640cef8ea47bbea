# SPDX-License-Identifier: Apache-2.0
"""What integers cost: real payloads of an exported model beside the rate that its float model estimates for the same latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jahp_fast import _native
from jahp_fast.constants import STRIDE
from jahp_fast.entropy.model_file import ModelFile

if TYPE_CHECKING:
    from jahp_fast.models.priors import CompressionModel


@dataclass(frozen=True)
class PayloadRow:
    """Sums over all photos at one quality, in bytes."""

    quality: float
    float_bytes: float
    payload_bytes: int

    @property
    def excess(self) -> float:
        """(payload - float) / float."""
        return self.payload_bytes / self.float_bytes - 1


def payload_table(model: CompressionModel, file: ModelFile, photos: Sequence[NDArray[np.uint8]], lanes: int = 1) -> list[PayloadRow]:
    """One row a quality of the model file.

    Args:
        model: the float model that `file` was exported from, in evaluation mode.
        photos: (H, W, 3) uint8, cropped to multiples of 16 here.
        lanes: 1, so that the coder's own cost (4 bytes a lane) does not blur the comparison.
    """
    import torch

    native = _native.EntropyModel(file.config.as_native(), file.entropy)
    rows = []
    for row, quality in enumerate(file.config.qualities):
        float_bits, payload_bytes, z_row = 0.0, 0, file.z_row(quality)
        for photo in photos:
            h, w = (n // STRIDE * STRIDE for n in photo.shape[:2])
            x = torch.from_numpy(photo[:h, :w].copy()).permute(2, 0, 1)[None].float() / 255
            with torch.inference_mode():
                coded = model(x, torch.tensor([row]))
                y = model.analysis(x, torch.tensor([row]))
                z = model.hyper_analysis(y).round() if file.config.hyper_latents else y.new_zeros(1, 0, 0, 0)
            float_bits += float(coded.y_bits + coded.z_bits)
            wanted = (y * 2**file.config.frac_bits).round()
            z_hat, y_hat = (np.ascontiguousarray(t[0].permute(1, 2, 0).numpy().astype(np.int32)) for t in (z, wanted))
            payload_bytes += len(native.encode(z_hat, y_hat, lanes=lanes, skip=0, min_bytes=0, threads=1, z_row=z_row)[0])
        rows.append(PayloadRow(quality, float_bits / 8, payload_bytes))
    return rows


def format_payload_table(rows: Sequence[PayloadRow]) -> str:
    """Lines of `quality  float bytes  payload bytes  excess`."""
    lines = [f"{'quality':>7} {'float bytes':>12} {'payload bytes':>14} {'excess':>8}"]
    lines += [f"{r.quality:7g} {r.float_bytes:12.0f} {r.payload_bytes:14d} {100 * r.excess:+7.2f}%" for r in rows]
    return "\n".join(lines)
