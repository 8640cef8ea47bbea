# SPDX-License-Identifier: Apache-2.0
"""g_a, h_a and g_s of an exported model, in torch. The float part of the codec: it need not agree between machines.

On a CPU all is float32. On a GPU the convolutions inside g_a and g_s run in float16, channels last; GDN, h_a, the gains and the last
layer of each net stay in float32. float16 and not bfloat16, because ŷ is rounded after g_a: weights are stored as float16, so it
loses nothing of them, and its 11 bits round activations eight times as finely as bfloat16's 8 (tests/test_transforms.py
compares how many symbols each changes). Its smaller range, ±65504, holds: image and latents enter as units to hundreds, and squares are
formed in float32, inside GDN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jahp_fast.constants import STRIDE
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import ModelError
from jahp_fast.models import registry
from jahp_fast.models.layers import GDN
from jahp_fast.models.priors import INNER_ROWS


class Transforms:
    """The float half of a model on one device. Safe to share between threads. Nothing here waits for the device.

    Args:
        device: "cpu" or "cuda:N".
        inner: type of the inner convolutions; by default float16 on a GPU and float32 on a CPU.

    Raises:
        ModelError: a float tensor is missing or has the wrong shape.
    """

    def __init__(self, model: ModelFile, device: str = "cpu", inner: torch.dtype | None = None) -> None:
        c = model.config
        self.device = torch.device(device)
        inner = inner or (torch.float32 if self.device.type == "cpu" else torch.float16)
        floats = {name: torch.from_numpy(np.array(array)) for name, array in model.floats.items()}
        self._qualities = c.qualities
        if "g_a.0.weight" not in floats:
            raise ModelError(f"{model.path}: tensor float.g_a.0.weight is missing")
        with torch.device("meta"):  # the entropy nets of this module stay without memory: integers do their work
            net = registry.build(c.architecture, floats["g_a.0.weight"].shape[0], c.latents, rows=len(c.qualities))
        inner_rows = [name for name in INNER_ROWS if any(other in floats for other in INNER_ROWS)]
        for name, wanted in net.state_dict().items():
            if name.split(".")[0] not in ("g_a", "g_s", "h_a", "gain", "inv_gain", *inner_rows):
                continue
            if name not in floats or floats[name].shape != wanted.shape:
                has = "is missing" if name not in floats else f"has the shape {tuple(floats[name].shape)}"
                raise ModelError(f"{model.path}: tensor float.{name} {has}; {tuple(wanted.shape)} is needed")
        net.load_state_dict(floats, strict=False, assign=True)
        self._latents = c.latents
        self._rows = {}
        for name, gain in (("g_a", "gain"), ("g_s", "inv_gain")):
            tables = [floats[table].flatten(1) for table in (gain, *(n for n in inner_rows if n.startswith(name)))]
            self._rows[name] = torch.cat(tables, 1).to(self.device)
        self._g_a, self._g_s = (self._placed(layers, inner) for layers in (net.g_a, net.g_s))
        if c.hyper_latents:
            net.h_a = self._placed(cast(nn.Sequential, net.h_a), torch.float32)
        self._net = net.eval()

    def _placed(self, layers: nn.Sequential, inner: torch.dtype) -> nn.Sequential:
        for layer in list(layers)[:-1]:
            if not isinstance(layer, GDN):
                layer.to(inner)
        layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        return layers.to(self.device).eval()

    def _row(self, net: str, quality: float) -> Tensor:
        """What a quality does to "g_a" or "g_s", linear between the rows around it.

        All in one: (M,) logarithms of the latents' gains, and where a model has them, those of its inner channels' gains (3, N), and their
        shifts (3, N).
        """
        q, table = self._qualities, self._rows[net]
        if len(q) == 1:
            return table[0]
        high = min(max(int(np.searchsorted(q, quality)), 1), len(q) - 1)
        return torch.lerp(table[high - 1], table[high], (quality - q[high - 1]) / (q[high] - q[high - 1]))

    def analysis(self, images: Tensor, quality: float) -> Tensor:
        """images (B, 3, H, W) uint8, any size, the border repeated to multiples of 16 -> y (B, M, ceil(H/16), ceil(W/16)) float32.

        Not rounded.
        """
        with torch.no_grad():
            x, row = images.float() / 255, self._row("g_a", quality)[None]
            padded = F.pad(x, (0, -x.shape[3] % STRIDE, 0, -x.shape[2] % STRIDE), "replicate")
            return _run(self._g_a, padded, row[:, self._latents :]) * row[:, : self._latents, None, None].exp()

    def hyper_analysis(self, y: Tensor) -> Tensor:
        """y (B, M, h, w), as analysis gives it -> z (B, N, ceil(h/4), ceil(w/4)), not rounded."""
        with torch.no_grad():
            return self._net.hyper_analysis(y)

    def synthesis_rows(self, qualities: Sequence[float]) -> Tensor:
        """What `synthesis` needs of the qualities of B images: one row each."""
        return torch.stack([self._row("g_s", q) for q in qualities])

    def synthesis(self, y: Tensor, rows: Tensor, frac_bits: int, height: int, width: int) -> Tensor:
        """ŷ (B, h, w, M) int32, times 2^frac_bits, and synthesis_rows of B images -> images (B, 3, height, width) uint8, cropped."""
        with torch.no_grad():
            y_hat = y.permute(0, 3, 1, 2).float() * 2.0**-frac_bits  # channels last in memory, as the layers like it
            y_hat = y_hat * rows[:, : self._latents, None, None].exp()
            x = _run(self._g_s, y_hat, rows[:, self._latents :])[:, :, :height, :width]
            # ŷ of hostile streams may overflow float16; what comes of it is arbitrary, but a number.
            return (torch.nan_to_num(x).clamp(0, 1) * 255).round().to(torch.uint8)


def _run(layers: nn.Sequential, x: Tensor, inner: Tensor) -> Tensor:
    """Convolutions in the type of their weights; GDN gives float32. inner: what of `_row` is for its inputs, (B or 1, 6 N or 0)."""
    x = x.contiguous(memory_format=torch.channels_last)
    gains, shifts = (iter(part[..., None, None].unbind(1)) for part in inner.reshape(len(inner), 2, 3, -1).unbind(1))
    for layer in layers:
        if inner.shape[1] and isinstance(layer, GDN):
            x = x.float() * next(gains).exp() + next(shifts)
        x = layer(x if isinstance(layer, GDN) else x.to(cast(Tensor, layer.weight).dtype))
    return x
