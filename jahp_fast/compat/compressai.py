# SPDX-License-Identifier: Apache-2.0
"""`accelerate`: a model of CompressAI compresses and decompresses with this package's coder, where it stands.

    model = mbt2018(quality=3, pretrained=True).eval()
    jahp_fast.compat.compressai.accelerate(model, images)
    out = model.compress(x)                                 # {"strings": [...], "shape": ...}, as before
    x_hat = model.decompress(out["strings"], out["shape"])["x_hat"]

CompressAI itself is not imported: whatever has its submodules and its state dict will do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jahp_fast.compat.checkpoint import understood
from jahp_fast.compat.convert import convert
from jahp_fast.entropy.checksum import symbol_checksums
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import FormatError, UsageError
from jahp_fast.models.compressible import PREFIX, calibration_photos, channels_last, weight_checksum, weight_versions
from jahp_fast.models.ops import Coder, coder_of, decode_latents, encode_latents

Model = TypeVar("Model", bound=nn.Module)
HYPER_STRIDE = 64
"""Image pixels per hyper-latent, in each direction."""
STRIDE = 16


def accelerate(model: Model, images: Iterable[Tensor | NDArray[np.uint8]] | None = None) -> Model:
    """Gives a CompressAI model this package's `compress` and `decompress`; changes nothing else, and returns the model.

    The entropy path is rounded to integers from the weights as they are now (8-bit weights, 16-bit activations, the model's own tables if
    it has them). The transforms stay the model's own, in float32. Strings can be decoded by the same integers alone: activations are
    calibrated in floating point, so carry files (`jahp import-compressai`) between machines, not strings.

    `compress(x)`: x (B, 3, H, W) floats in [0, 1], sides multiples of 64 (16 without hyperprior). Returns "strings" and "shape" as
    CompressAI does: a list for y and, with a hyperprior, one for z, of a string an image; all bytes stand in y's strings, those of z are
    empty. "shape" is that of z, or of y without hyperprior. `decompress(strings, shape)` returns {"x_hat"}, clamped to [0, 1].

    Args:
        model: bmshj2018-factorized, bmshj2018-hyperprior, mbt2018-mean or mbt2018, as CompressAI builds them.
        images: to calibrate on, as for `update` of this package's models; by default synthetic pictures.

    Raises:
        ModelError: another architecture, or weights that cannot be rounded.
        UsageError: an image of another kind.
    """
    photos = [] if images is None else [photo for image in images for photo in calibration_photos(image)]
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    converted = convert(understood(state), photos)
    with tempfile.TemporaryDirectory() as folder:  # the entropy path is in memory once the file was opened
        path = Path(folder) / "model.safetensors"
        converted.save(path)
        coder = coder_of(ModelFile(path))
    engine = _Accelerated(model, coder, torch.from_numpy(converted.medians).float())
    bound: Any = model
    bound.compress, bound.decompress = engine.compress, engine.decompress
    return model


class _Accelerated:
    """The two methods. `medians`: of z; those of a factorised y are asked of the model."""

    def __init__(self, model: nn.Module, coder: Coder, medians: Tensor) -> None:
        self._model: Any = model
        self._coder, self._medians = coder, medians
        self._made_of = weight_versions(model), weight_checksum(model)
        self._hyper = coder.config.hyper_latents > 0
        self._scale_only = coder.config.architecture == "bmshj2018-hyperprior"

    def compress(self, x: Tensor) -> dict[str, Any]:
        """See accelerate. Raises UsageError: a shape that is not one, weights changed since, or latents that cannot be coded."""
        self._check_weights()
        multiple = HYPER_STRIDE if self._hyper else STRIDE
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % multiple or x.shape[3] % multiple or 0 in x.shape:
            raise UsageError(f"an image batch must be (B, 3, H, W) with H and W multiples of {multiple}, not {tuple(x.shape)}")
        with torch.no_grad():
            y = self._model.g_a(x)
            z = y.new_zeros((len(x), 0, 0, 0))
            if self._hyper:
                z = self._model.h_a(y.abs() if self._scale_only else y) - self._z_medians(y)
            wanted = (y * 2.0**self._coder.config.frac_bits if self._hyper else self._symbols(y)).round()
            if not bool(torch.stack([wanted.abs().amax(), z.abs().amax() if z.numel() else z.new_zeros(())]).max() <= 2**30):
                raise UsageError("a latent is beyond 2^30 or not a number")
            z_hat = channels_last(z.round())
            payload, sizes, y_hat = encode_latents(z_hat, channels_last(wanted), [self._coder.z_row(0)] * len(y), self._coder.key)
            checksums = symbol_checksums(z_hat, y_hat).tolist()
        data, at, strings = payload.numpy().tobytes(), 0, []
        for (size, lanes), checksum in zip(sizes.tolist(), checksums, strict=True):
            strings.append(PREFIX.pack(lanes.bit_length() - 1, 0, checksum) + data[at : at + size])
            at += size
        return {"strings": [strings, [b""] * len(strings)] if self._hyper else [strings], "shape": (z if self._hyper else y).shape[-2:]}

    def decompress(self, strings: Sequence[Sequence[bytes]], shape: Sequence[int]) -> dict[str, Tensor]:
        """See accelerate. Raises FormatError: a damaged string. UsageError: what cannot be compress's, weights changed since."""
        self._check_weights()
        if len(strings) != 1 + self._hyper or not strings[0] or len(shape) != 2 or any(s for rest in strings[1:] for s in rest):
            raise UsageError("strings and shape must be those that compress of this model returned")
        height, width = (int(n) * (HYPER_STRIDE // STRIDE if self._hyper else 1) for n in shape)
        heads = []
        for i, string in enumerate(strings[0]):
            if len(string) < PREFIX.size:
                raise FormatError(f"image {i}: a string of {len(string)} bytes is too short")
            log_lanes, _, checksum = PREFIX.unpack_from(string)
            if log_lanes > 6:
                raise FormatError(f"image {i}: the string was not made by this model: 2^{log_lanes} lanes")
            heads.append((1 << log_lanes, checksum))
        bodies = [bytes(string[PREFIX.size :]) for string in strings[0]]
        first = next(self._model.parameters())
        with torch.no_grad():
            payload = torch.frombuffer(bytearray(b"".join(bodies)), dtype=torch.uint8).to(first.device)
            z, y = decode_latents(
                payload,
                [len(b) for b in bodies],
                [lanes for lanes, _ in heads],
                [self._coder.z_row(0)] * len(heads),
                self._coder.key,
                height,
                width,
            )
            found = symbol_checksums(z, y).tolist()
            for i, (_, checksum) in enumerate(heads):
                if found[i] != checksum:
                    raise FormatError(f"image {i}: the checksum of the decoded symbols does not match: other integers made this string")
            y_hat = y.permute(0, 3, 1, 2).to(first.dtype) * 2.0**-self._coder.config.frac_bits
            if not self._hyper:
                medians = self._y_medians(y_hat)
                y_hat = y_hat[:, : medians.shape[0]] + medians
            return {"x_hat": self._model.g_s(y_hat).clamp_(0, 1)}

    def _z_medians(self, like: Tensor) -> Tensor:
        return self._medians.to(like)[:, None, None]

    def _y_medians(self, like: Tensor) -> Tensor:
        medians: Tensor = self._model.entropy_bottleneck.quantiles.detach()[:, 0, 1].to(like)
        return medians[:, None, None]

    def _symbols(self, y: Tensor) -> Tensor:
        """A factorised y less its medians, not rounded, and the constant channel where the coder has one."""
        constant = self._coder.config.latents - y.shape[1]
        return torch.cat([y - self._y_medians(y), y.new_ones((len(y), constant, *y.shape[2:]))], 1)

    def _check_weights(self) -> None:
        versions = weight_versions(self._model)
        if versions != self._made_of[0]:
            if weight_checksum(self._model) != self._made_of[1]:
                raise UsageError("the entropy path's weights changed since accelerate(): call it again")
            self._made_of = versions, self._made_of[1]
