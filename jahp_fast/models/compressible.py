# SPDX-License-Identifier: Apache-2.0
"""`update`, `compress` and `decompress` for the five models, called as CompressAI's are, with the coder of this package behind them.

model.update(images)                                     # once, when the weights are final
out = model.compress(x)                                  # {"strings": [[bytes, ...]], "shape": (h, w)}
x_hat = model.decompress(out["strings"], out["shape"])["x_hat"]
"""

from __future__ import annotations

import copy
import os
import struct
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jahp_fast.constants import QUALITY_STEPS
from jahp_fast.entropy.checksum import symbol_checksums
from jahp_fast.errors import FormatError, ModelError, UsageError

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import Form
    from jahp_fast.models.ops import Coder
    from jahp_fast.models.priors import CompressionModel

PREFIX = struct.Struct("<BHI")
"""What stands before each payload: log2 of its lanes, 20 q, and the checksum of its symbols."""
DEFAULT_ROW = 3
"""Of the gains: quality 4, as for Codec."""
_ENTROPY_PATH = ("h_s.", "context_prediction.", "entropy_parameters.", "entropy_bottleneck.")


class Compressed(TypedDict):
    """What `compress` returns.

    strings: one list with one string an image, where CompressAI has a list for y and one for z: here both stand in one payload.
    shape: (h, w) of y, where CompressAI has that of z: so images need only be multiples of 16, not of 64.
    """

    strings: list[list[bytes]]
    shape: torch.Size


class Decompressed(TypedDict):
    """What `decompress` returns. x_hat: (B, 3, 16 h, 16 w), in [0, 1]."""

    x_hat: Tensor


class Compressible:
    """A mixin of CompressionModel. The coder it keeps is no part of the state dict."""

    _coder: Coder | None = None
    _made_of: tuple[list[int], int] = ([], 0)  # version counters and checksum of the weights that the coder was made of

    def update(
        self,
        images: Iterable[Tensor | NDArray[np.uint8]] | None = None,
        *,
        file: str | os.PathLike[str] | None = None,
        form: Form = "A",
        activation_bits: int = 16,
    ) -> None:
        """Rounds the entropy path to integers, from the weights as they are now, and keeps a coder for it.

        Activations get their ranges from calibration images, because no range can be read off the weights: a few photos like
        those to be coded. Sixteen-bit activations are the default since they need no fine-tuning, which research weights have not had;
        8 bits run faster, and cost rate unless they were fine-tuned (`jahp export --finetune`).

        Strings can be decoded with the same integers alone. Ranges are measured in floating point, so another machine may get other
        ones: to carry strings between machines write a file (`jahp export`, export.state.export_state) and name it there.

        Args:
            images: of (3, H, W) or (B, 3, H, W) floats in [0, 1], or (H, W, 3) uint8 arrays; 16 x 16 pixels or more. A single batch
                is also taken.
            file: an exported model of this architecture and these widths to take the integers from, instead of images.
            form: "A": ŷ = round(y), as these models are trained here. "B": ŷ = round(y - mean) + mean, as CompressAI's are.
            activation_bits: 8 or 16.

        Raises:
            UsageError: neither images nor a file, or both; an image of another kind; an option that is not one.
            ModelError: a file of another model, or weights that cannot be rounded.
        """
        from jahp_fast.entropy.model_file import ModelFile
        from jahp_fast.export.model import export_calibrated
        from jahp_fast.models.ops import coder_of

        model = cast("CompressionModel", self)
        if (images is None) == (file is None):
            raise UsageError("update needs calibration images, or file= with an exported model")
        if images is not None:
            photos = [photo for image in images for photo in calibration_photos(image)]
            plain = copy.deepcopy(model).float().cpu().eval()
            with tempfile.TemporaryDirectory() as folder:  # the entropy path is in memory once the file was opened
                path = Path(folder) / "model.safetensors"
                steps = np.rint(np.linspace(QUALITY_STEPS, 8 * QUALITY_STEPS, model.rows))  # whatever the rows stand for
                names = [4.0] if model.rows == 1 else (steps / QUALITY_STEPS).tolist()
                export_calibrated(plain, path, photos=photos, form=form, activation_bits=activation_bits, qualities=names)
                coder = coder_of(ModelFile(path))
        else:
            coder = coder_of(ModelFile(cast(str, file)))
            c = coder.config
            if (c.architecture, c.latents, c.hyper_latents) != (model.architecture, model.M, model.N if hasattr(model, "h_s") else 0):
                raise ModelError(f"{file} is {c.architecture} with N = {c.hyper_latents}, M = {c.latents}; "
                                 f"this is {model.architecture} with N = {model.N}, M = {model.M}")  # fmt: skip
        self._coder, self._made_of = coder, (weight_versions(model), weight_checksum(model))

    def compress(self, x: Tensor, q: float | None = None) -> Compressed:
        """Codes a batch of images.

        Args:
            x: (B, 3, H, W) floats in [0, 1], H and W multiples of 16.
            q: row of the gains, from 0, for the whole batch; fractions interpolate, in steps of 1/20. By default quality 4's row, or
                the last if there are fewer.

        Returns:
            strings and shape; a string is PREFIX and the payload of docs/reference/format.md, and holds q.

        Raises:
            UsageError: update() was not called since the weights changed, a q or shape that is not one, a latent beyond 32767.
            DeviceError: x is on a GPU for which there is no backend.
        """
        from jahp_fast.models.ops import encode_latents

        model, coder = cast("CompressionModel", self), self._current()
        code = round((min(DEFAULT_ROW, model.rows - 1) if q is None else q) * QUALITY_STEPS)
        if not 0 <= code <= (model.rows - 1) * QUALITY_STEPS:
            raise UsageError(f"q must be 0 to {model.rows - 1}, a row of the gains, not {q}")
        with torch.no_grad():
            y = model.analysis(x, _q(model, [code]))
            z = model.hyper_analysis(y) if coder.config.hyper_latents else y.new_zeros((len(x), 0, 0, 0))
            wanted = (y * 2.0**coder.config.frac_bits).round()
            if not bool(torch.stack([wanted.abs().amax(), z.abs().amax() if z.numel() else z.new_zeros(())]).max() <= 2**30):
                raise UsageError("a latent is beyond 2^30 or not a number")
            z_hat = channels_last(z.round())
            payload, sizes, y_hat = encode_latents(z_hat, channels_last(wanted), [coder.z_row(code)] * len(x), coder.key)
            checksums = symbol_checksums(z_hat, y_hat).tolist()
        data, at, strings = payload.numpy().tobytes(), 0, []
        for (size, lanes), checksum in zip(sizes.tolist(), checksums, strict=True):
            strings.append(PREFIX.pack(lanes.bit_length() - 1, code, checksum) + data[at : at + size])
            at += size
        return {"strings": [strings], "shape": y.shape[2:]}

    def decompress(self, strings: Sequence[Sequence[bytes]], shape: Sequence[int]) -> Decompressed:
        """The images that `compress` coded, on the device of the model's weights.

        Args:
            strings: as `compress` returned them.
            shape: likewise.

        Raises:
            FormatError: a string is damaged, or was made with other integers; the message has the image's number.
            UsageError: update() was not called since the weights changed, or strings and shape that cannot be compress's.
            DeviceError: the model is on a GPU for which there is no backend, or that has not enough memory.
        """
        from jahp_fast.models.ops import decode_latents

        model, coder = cast("CompressionModel", self), self._current()
        if len(strings) != 1 or not strings[0] or len(shape) != 2:
            raise UsageError("strings must be [[one string an image]] and shape (h, w), as compress returns them")
        height, width = (int(n) for n in shape)
        heads = []
        for i, string in enumerate(strings[0]):
            if len(string) < PREFIX.size:
                raise FormatError(f"image {i}: a string of {len(string)} bytes is too short")
            lanes, code, checksum = PREFIX.unpack_from(string)
            if lanes > 6 or code > (model.rows - 1) * QUALITY_STEPS:
                raise FormatError(f"image {i}: the string was not made by this model: 2^{lanes} lanes, q = {code / QUALITY_STEPS:g}")
            heads.append((1 << lanes, code, checksum))
        bodies = [bytes(string[PREFIX.size :]) for string in strings[0]]
        with torch.no_grad():
            payload = torch.frombuffer(bytearray(b"".join(bodies)), dtype=torch.uint8).to(model.gain.device)
            z_rows = [coder.z_row(code) for _, code, _ in heads]
            z, y = decode_latents(payload, [len(b) for b in bodies], [lanes for lanes, _, _ in heads], z_rows, coder.key, height, width)
            x_hat = model.synthesis(
                y.permute(0, 3, 1, 2).to(model.gain.dtype) * 2.0**-coder.config.frac_bits,
                _q(model, [code for _, code, _ in heads]),
            ).clamp_(0, 1)
            found = symbol_checksums(z, y).tolist()
        for i, (_, _, checksum) in enumerate(heads):
            if found[i] != checksum:
                raise FormatError(f"image {i}: the checksum of the decoded symbols does not match: other integers made this string")
        return {"x_hat": x_hat}

    def _current(self) -> Coder:
        """The coder, if it still belongs to the weights."""
        model = cast("CompressionModel", self)
        if self._coder is None:
            raise UsageError("call update(images) first: it rounds the entropy path to integers")
        versions = weight_versions(model)
        if versions != self._made_of[0]:  # copies and moves between devices count anew; only then are values compared
            if weight_checksum(model) != self._made_of[1]:
                raise UsageError("the entropy path's weights changed since update(): call it again")
            self._made_of = (versions, self._made_of[1])
        return self._coder


def channels_last(a: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h, w, C) int32, contiguous; an empty tensor keeps its shape."""
    return a.permute(0, 2, 3, 1).to(torch.int32).contiguous() if a.numel() else a.to(torch.int32)


def _q(model: CompressionModel, codes: Sequence[int]) -> Tensor:
    return torch.tensor(codes, dtype=torch.float64, device=model.gain.device) / QUALITY_STEPS


def calibration_photos(image: Any) -> list[NDArray[np.uint8]]:
    """(H, W, 3) uint8 arrays of what `update` takes as one of its images. Raises UsageError for another kind."""
    if isinstance(image, Tensor):
        if image.ndim not in (3, 4) or image.shape[-3] != 3 or not image.is_floating_point():
            raise UsageError(f"a calibration tensor must be floats (3, H, W) or (B, 3, H, W), not {image.dtype} {tuple(image.shape)}")
        batch = image.detach().reshape(-1, *image.shape[-3:]).permute(0, 2, 3, 1)
        return list((batch.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UsageError("a calibration image must be a float tensor (3, H, W) or a uint8 array (H, W, 3)")
    return [image]


def entropy_weights(model: torch.nn.Module) -> list[Tensor]:
    """The parameters that the integers are made of."""
    return [p for name, p in model.named_parameters() if name.startswith(_ENTROPY_PATH)]


def weight_versions(model: torch.nn.Module) -> list[int]:
    """Changes when a parameter of the entropy path is written to in place, or the model is copied or moved."""
    return [-1 if p.is_inference() else p._version for p in entropy_weights(model)]


def weight_checksum(model: torch.nn.Module) -> int:
    """CRC-32C of the entropy path's parameters."""
    from jahp_fast import _native

    crc = 0
    for p in entropy_weights(model):
        crc = _native.crc32c(p.detach().cpu().numpy().tobytes(), crc)
    return crc
