# SPDX-License-Identifier: Apache-2.0
"""What callers hand in as an image, brought to one form; and alpha and metadata chunks."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import FormatError, UnsupportedImage

_ALPHA_METHOD = 1  # rows minus the row above, modulo 256, then zlib


@dataclass(frozen=True)
class ImageParts:
    """An image as the codec sees it.

    Attributes:
        rgb: (H, W, 3) uint8; grey is repeated three times.
        mode: "RGB" or "L".
        alpha: (H, W) uint8, kept losslessly, or None.
        chunks: metadata, by chunk type.
    """

    rgb: NDArray[np.uint8]
    mode: Literal["RGB", "L"]
    alpha: NDArray[np.uint8] | None = None
    chunks: dict[bytes, bytes] = field(default_factory=dict)


def split(image: Any) -> ImageParts:
    """Takes a PIL image (1, L, LA, P, RGB, RGBA), a uint8 array (H, W), (H, W, 3), (H, W, 4) or a uint8 tensor (3, H, W).

    Raises:
        UnsupportedImage: any other mode, type or shape, with what to do about it.
    """
    if hasattr(image, "getbands") and hasattr(image, "getexif"):
        return _split_pil(image)
    if is_tensor(image):
        check_tensor(image)
        image = image.detach().cpu().permute(1, 2, 0).numpy()
    if not isinstance(image, np.ndarray):
        raise UnsupportedImage(f"an image must be a PIL image, a uint8 array or a uint8 tensor, not {type(image).__name__}")
    return _split_array(image)


def is_tensor(image: Any) -> bool:
    """Whether it is a torch tensor; torch is not loaded to find out."""
    return hasattr(image, "permute") and hasattr(image, "detach")


def check_tensor(image: Any) -> None:
    """Raises UnsupportedImage for a tensor that is not uint8 (3, H, W), or that is empty."""
    if image.ndim != 3 or image.shape[0] != 3:
        raise UnsupportedImage(f"a tensor must be (3, H, W), not {tuple(image.shape)}")
    if str(image.dtype) != "torch.uint8":
        raise UnsupportedImage(f"pixels must be uint8, not {image.dtype}: scale to 0..255 and convert first")
    if 0 in image.shape:
        raise UnsupportedImage(f"an image of {image.shape[2]} x {image.shape[1]} pixels is empty")


def _split_array(a: NDArray[Any]) -> ImageParts:
    if a.dtype != np.uint8:
        raise UnsupportedImage(f"pixels must be uint8, not {a.dtype}: scale to 0..255 and convert first")
    if a.ndim not in (2, 3) or (a.ndim == 3 and a.shape[2] not in (3, 4)):
        raise UnsupportedImage(f"an array must be (H, W), (H, W, 3) or (H, W, 4), not {a.shape}")
    if 0 in a.shape:
        raise UnsupportedImage(f"an image of {a.shape[1]} x {a.shape[0]} pixels is empty")
    if a.ndim == 2:
        return ImageParts(np.repeat(a[:, :, None], 3, axis=2), "L")
    return ImageParts(np.ascontiguousarray(a[:, :, :3]), "RGB", np.ascontiguousarray(a[:, :, 3]) if a.shape[2] == 4 else None)


def _split_pil(image: Any) -> ImageParts:
    mode = image.mode
    transparent = "transparency" in image.info
    if mode == "P":
        image = image.convert("RGBA" if transparent else "RGB")
    elif mode == "1":
        image = image.convert("L")
    elif mode in ("L", "RGB") and transparent:
        image = image.convert("LA" if mode == "L" else "RGBA")
    elif mode not in ("L", "LA", "RGB", "RGBA"):
        hint = (
            "; 16-bit and float images must be scaled to 8 bits first"
            if mode[0] in "IF"
            else "; convert it with image.convert('RGB')"
        )
        raise UnsupportedImage(f"PIL mode {mode} cannot be encoded{hint}")
    raw = image.info.get("exif")  # as it stands in the file, damaged or not; without it Pillow may have tags from elsewhere
    exif = None if raw else image.getexif()
    metadata = {
        b"iccp": image.info.get("icc_profile"),
        b"exif": raw or (exif.tobytes() if exif else None),
        b"xmp_": image.info.get("xmp"),
    }
    chunks = {kind: data if isinstance(data, bytes) else str(data).encode() for kind, data in metadata.items() if data}
    a = np.asarray(image)
    if image.mode == "LA":
        parts = _split_array(np.ascontiguousarray(a[:, :, 0]))
        return ImageParts(parts.rgb, "L", np.ascontiguousarray(a[:, :, 1]), chunks)
    parts = _split_array(a)
    return ImageParts(parts.rgb, parts.mode, parts.alpha, chunks)


def pack_alpha(alpha: NDArray[np.uint8]) -> bytes:
    """(H, W) uint8 -> data of an ALPH chunk."""
    above = np.vstack([np.zeros((1, alpha.shape[1]), np.uint8), alpha[:-1]])
    return bytes([_ALPHA_METHOD]) + zlib.compress((alpha - above).tobytes(), 9)


def unpack_alpha(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """The reverse. Allocates height * width bytes, whatever the data claim.

    Raises:
        FormatError: unknown method, damaged data, or another number of pixels.
    """
    if data[:1] != bytes([_ALPHA_METHOD]):
        raise FormatError("alpha is compressed by an unknown method")
    decoder = zlib.decompressobj()
    try:
        raw = decoder.decompress(data[1:], height * width)
        complete = decoder.eof or (not decoder.decompress(decoder.unconsumed_tail, 1) and decoder.eof)
    except zlib.error as e:
        raise FormatError(f"alpha is damaged: {e}") from None
    if not complete or len(raw) != height * width or decoder.unused_data:
        raise FormatError(f"alpha does not have {width} x {height} values")
    alpha: NDArray[np.uint8] = np.cumsum(np.frombuffer(raw, np.uint8).reshape(height, width), axis=0, dtype=np.uint8)
    return alpha


def join(rgb: NDArray[np.uint8], mode: Literal["RGB", "L"], alpha: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """(H, W, 3), (H, W, 4) with alpha, or (H, W) for grey. Grey with alpha is (H, W, 4)."""
    if mode == "L":
        grey: NDArray[np.uint8] = ((rgb.astype(np.uint16).sum(axis=2) + 1) // 3).astype(np.uint8)
        if alpha is None:
            return grey
        rgb = np.repeat(grey[:, :, None], 3, axis=2)
    return rgb if alpha is None else np.concatenate([rgb, alpha[:, :, None]], axis=2)
