# SPDX-License-Identifier: Apache-2.0
"""g_a, h_a and g_s of an exported model, in torch. The float part of the codec: it need not agree between machines.

On a CPU all is float32. On a GPU the convolutions inside g_a and g_s run in float16, channels last; GDN, h_a, the gains and the last
layer of each net stay in float32. float16 and not bfloat16, because ŷ is rounded after g_a: weights are stored as float16, so it
loses nothing of them, and its 11 bits round activations eight times as finely as bfloat16's 8 (tests/train/test_transforms.py
compares how many symbols each changes). Its smaller range, ±65504, holds: image and latents enter as units to hundreds, and squares are
formed in float32, inside GDN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jahp_fast.constants import BY_ROW, STRIDE
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import ModelError
from jahp_fast.models import registry
from jahp_fast.models.layers import GDN
from jahp_fast.transforms.cpu import has_layers_by_row


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
        if not has_layers_by_row(model):
            floats = registry.with_layers_by_row(floats, len(c.qualities))
        self._qualities = c.qualities
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
        self._gain = net.gain.detach().to(self.device)
        tables = [net.inv_gain.detach()]
        for i in BY_ROW:
            layers = list(net.g_s[i].children()) or [net.g_s[i]]
            tables += [torch.stack([cast(Tensor, getattr(layer, kind)).detach() for layer in layers]) for kind in ("weight", "bias")]
        self._shapes = [table.shape[1:] for table in tables]
        self._decoding = torch.cat([table.flatten(1) for table in tables], 1).to(self.device)
        self._inner = inner
        self._g_a, self._g_s = self._placed(net.g_a, inner), self._placed(net.g_s, inner)
        if c.hyper_latents:
            net.h_a = self._placed(cast(nn.Sequential, net.h_a), torch.float32)
        self._net = net.eval()

    def _placed(self, layers: nn.Sequential, inner: torch.dtype) -> nn.Sequential:
        for layer in list(layers)[:-1]:
            if not isinstance(layer, GDN):
                layer.to(inner)
        layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        return layers.to(self.device).eval()

    def _row(self, table: Tensor, quality: float) -> Tensor:
        """Linear between the rows of the qualities around this one."""
        q = self._qualities
        if len(q) == 1:
            return table[0]
        high = min(max(int(np.searchsorted(q, quality)), 1), len(q) - 1)
        return torch.lerp(table[high - 1], table[high], (quality - q[high - 1]) / (q[high] - q[high - 1]))

    def features(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W) uint8, any size, the border repeated to multiples of 16 -> what g_a gives, (B, M, ceil(H/16), ceil(W/16))."""
        with torch.no_grad():
            x = images.float() / 255
            return _run(self._g_a, F.pad(x, (0, -x.shape[3] % STRIDE, 0, -x.shape[2] % STRIDE), "replicate"))

    def scaled(self, features: Tensor, quality: float) -> Tensor:
        """Features times the gain of a quality: y, not rounded."""
        with torch.no_grad():
            return features * self._row(self._gain, quality).exp()[:, None, None]

    def analysis(self, images: Tensor, quality: float) -> Tensor:
        """images (B, 3, H, W) uint8, any size, the border repeated to multiples of 16 -> y (B, M, ceil(H/16), ceil(W/16)) float32.

        Not rounded.
        """
        return self.scaled(self.features(images), quality)

    def hyper_analysis(self, y: Tensor) -> Tensor:
        """y (B, M, h, w), as analysis gives it -> z (B, N, ceil(h/4), ceil(w/4)), not rounded."""
        with torch.no_grad():
            return self._net.hyper_analysis(y)

    def decoding_row(self, quality: float) -> Tensor:
        """What a quality decides in `synthesis`, in a vector: logarithms of the inverse gains, weight and bias of each layer of BY_ROW."""
        return self._row(self._decoding, quality)

    def synthesis(self, y: Tensor, row: Tensor, frac_bits: int, height: int, width: int) -> Tensor:
        """ŷ (B, h, w, M) int32, times 2^frac_bits, and their decoding_row -> images (B, 3, height, width) uint8, cropped."""
        with torch.no_grad():
            parts = torch.split(row, [shape.numel() for shape in self._shapes])
            gain, *own = (part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True))
            y_hat = y.permute(0, 3, 1, 2).float() * 2.0**-frac_bits  # channels last in memory, as the layers like it
            types = [self._inner if i < len(self._g_s) - 1 else torch.float32 for i in BY_ROW]
            layers = {i: (own[2 * k].to(types[k]), own[2 * k + 1].to(types[k])) for k, i in enumerate(BY_ROW)}
            x = _run(self._g_s, y_hat * gain.exp()[:, None, None], layers)[:, :, :height, :width]
            # ŷ of hostile streams may overflow float16; what comes of it is arbitrary, but a number.
            return (torch.nan_to_num(x).clamp(0, 1) * 255).round().to(torch.uint8)


def _run(layers: nn.Sequential, x: Tensor, own: Mapping[int, tuple[Tensor, Tensor]] | None = None) -> Tensor:
    """Convolutions in the type of their weights; GDN gives float32. own: weight and bias of transposed convolutions, by their place."""
    x = x.contiguous(memory_format=torch.channels_last)
    for i, layer in enumerate(layers):
        if own and i in own:
            weight, bias = own[i]
            x = F.conv_transpose2d(x.to(weight.dtype), weight.contiguous(memory_format=torch.channels_last), bias, 2, 2, 1)
            continue
        x = layer(x if isinstance(layer, GDN) else x.to(cast(Tensor, layer.weight).dtype))
    return x
