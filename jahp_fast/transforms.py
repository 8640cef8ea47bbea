# SPDX-License-Identifier: Apache-2.0
"""g_a, h_a and g_s of an exported model, in torch on the CPU. The float part of the codec: it need not agree between machines."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import ModelError
from jahp_fast.models import registry

STRIDE = 16
"""Image pixels per latent, in each direction."""


class Transforms:
    """The float half of a model. Safe to share between threads.

    Latents and images are NumPy arrays, channels last.
    """

    def __init__(self, model: ModelFile) -> None:
        c = model.config
        floats = {name: torch.from_numpy(np.array(array)) for name, array in model.floats.items()}
        self._qualities = torch.tensor(c.qualities, dtype=torch.float64)
        if "g_a.0.weight" not in floats:
            raise ModelError(f"{model.path}: tensor float.g_a.0.weight is missing")
        with torch.device("meta"):  # the entropy nets of this module stay without memory: integers do their work
            net = registry.build(c.architecture, floats["g_a.0.weight"].shape[0], c.latents, rows=len(c.qualities))
        for name, wanted in net.state_dict().items():
            if name.split(".")[0] not in ("g_a", "g_s", "h_a", "gain", "inv_gain"):
                continue
            if name not in floats or floats[name].shape != wanted.shape:
                has = "is missing" if name not in floats else f"has the shape {tuple(floats[name].shape)}"
                raise ModelError(f"{model.path}: tensor float.{name} {has}; {tuple(wanted.shape)} is needed")
        net.load_state_dict(floats, strict=False, assign=True)
        for name in ("g_a", "g_s", "h_a"):
            if hasattr(net, name):
                getattr(net, name).to(memory_format=torch.channels_last)
        self._net = net.eval()

    def _log_gain(self, table: torch.Tensor, quality: float) -> torch.Tensor:
        """Linear between the rows' qualities, in the logarithm."""
        if len(self._qualities) == 1:
            return table[0]
        high = int(torch.searchsorted(self._qualities, quality).clamp(1, len(self._qualities) - 1))
        low_q, high_q = self._qualities[high - 1], self._qualities[high]
        return torch.lerp(table[high - 1], table[high], float((quality - low_q) / (high_q - low_q)))

    def analysis(self, image: NDArray[np.uint8], quality: float) -> NDArray[np.float32]:
        """image (H, W, 3), any size, its border repeated to multiples of 16 -> y (ceil(H/16), ceil(W/16), M), not rounded."""
        h, w, _ = image.shape
        padded = np.pad(image, ((0, -h % STRIDE), (0, -w % STRIDE), (0, 0)), "edge")
        x = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            return _to_numpy(
                self._net.analysis(x.contiguous(memory_format=torch.channels_last), self._log_gain(self._net.gain, quality))
            )

    def hyper_analysis(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """y (h, w, M), as analysis gives it -> z (ceil(h/4), ceil(w/4), N), not rounded."""
        with torch.inference_mode():
            return _to_numpy(self._net.hyper_analysis(_from_numpy(y)))

    def synthesis(self, y: NDArray[np.float32], quality: float, height: int, width: int) -> NDArray[np.uint8]:
        """ŷ (h, w, M) -> image (height, width, 3), cropped."""
        with torch.inference_mode():
            x = self._net.synthesis(_from_numpy(y), self._log_gain(self._net.inv_gain, quality))
            x = (x[0, :, :height, :width].clamp(0, 1) * 255).round().to(torch.uint8)
            return cast(NDArray[np.uint8], x.permute(1, 2, 0).contiguous().numpy())


def _from_numpy(a: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(a).permute(2, 0, 1)[None]  # channels last in memory, as the layers like it


def _to_numpy(t: torch.Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(t[0].permute(1, 2, 0).numpy())
