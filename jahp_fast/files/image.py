# SPDX-License-Identifier: Apache-2.0
"""What callers hand in as an image, brought to one form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import UnsupportedImage
from jahp_fast.files.deep import DeepPicture, checked_depth, narrowed, widened

if TYPE_CHECKING:
    import torch


_BITS = 258
"""TIFF's tag of the bits of a sample: Pillow gives 12 as they are, in 16."""
_Sample = TypeVar("_Sample", np.uint8, np.uint16)


class Rows:
    """An image's pixels, made three channels of uint8 a strip at a time; grey is repeated.

    Args:
        source: a uint8 or uint16 array (H, W) or (H, W, 3 or more), a PIL image of mode L, LA, RGB or RGBA, or a uint8 tensor (3, H, W) on
            any device. Alpha is left out.

    Attributes:
        tensor: the source, if it is a tensor.
        deep: whether it has uint16.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self.tensor: torch.Tensor | None = None
        self.deep = isinstance(source, np.ndarray) and source.dtype == np.uint16
        if is_tensor(source):
            self.tensor = source.detach()
            self.height, self.width = source.shape[1:]
        else:
            self.height, self.width = source.shape[:2] if isinstance(source, np.ndarray) else source.size[::-1]

    def take(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows start to stop: (k, W, 3), C-contiguous; of deep ones the nearest of 8 bits."""
        taken = self._taken(start, stop)
        return narrowed(taken) if self.deep else taken

    def deep_whole(self) -> NDArray[np.uint16]:
        """All rows of a deep image, as they are: (H, W, 3)."""
        return self._taken(0, self.height)

    def _taken(self, start: int, stop: int) -> NDArray[Any]:
        if self.tensor is not None:
            return np.ascontiguousarray(self.tensor[:, start:stop].permute(1, 2, 0).cpu().numpy())
        whole = isinstance(self._source, np.ndarray)
        a = self._source[start:stop] if whole else np.asarray(self._source.crop((0, start, self.width, min(stop, self.height))))
        if a.ndim == 2 or a.shape[2] == 2:
            a = np.repeat(a.reshape(*a.shape[:2], -1)[:, :, :1], 3, axis=2)
        return np.ascontiguousarray(a[:, :, :3])

    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """All rows from top to bottom, so many at a time, deep ones as they are."""
        return (self._taken(start, start + rows) for start in range(0, self.height, rows))


@dataclass(frozen=True)
class ImageParts:
    """An image as the codec sees it.

    Attributes:
        rows: its pixels.
        mode: "RGB" or "L".
        alpha: (H, W) of the pixels' type, kept losslessly, or None.
        chunks: metadata, by chunk type.
        depth: bits of a sample that it had, 8 to 16; `rows` has 8 or 16.
    """

    rows: Rows
    mode: Literal["RGB", "L"]
    alpha: NDArray[Any] | None = None
    chunks: dict[bytes, bytes] = field(default_factory=dict)
    depth: int = 8

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """(H, W, 3), made anew."""
        return self.rows.take(0, self.rows.height)


def split(image: Any, depth: Any = None) -> ImageParts:
    """Takes a PIL image (1, L, LA, P, PA, RGB, RGBA, I;16), a uint8 array (H, W), (H, W, 3), (H, W, 4) or a uint8 tensor (3, H, W); an
    array may be uint16, too, of `depth` bits.

    Raises:
        UsageError: a depth that the image cannot have.
        UnsupportedImage: any other mode, type or shape, with what to do about it; a file opened by Pillow that turns out damaged.

    Warns by LossWarning of what a .jahp file will not hold.
    """
    if hasattr(image, "getbands") and hasattr(image, "getexif"):
        return _split_pil(image, depth)
    if isinstance(image, DeepPicture):
        return _split_deep(image, depth)
    bits = checked_depth(depth, isinstance(image, np.ndarray) and image.dtype == np.uint16)
    if is_tensor(image):
        check_tensor(image)
        return ImageParts(Rows(image), "RGB")
    if not isinstance(image, np.ndarray):
        raise UnsupportedImage(f"an image must be a PIL image, a uint8 array or a uint8 tensor, not {type(image).__name__}")
    return _split_array(image, bits)


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


def _split_array(a: NDArray[Any], depth: int) -> ImageParts:
    if a.dtype not in (np.uint8, np.uint16):
        raise UnsupportedImage(f"pixels must be uint8 or uint16, not {a.dtype}: scale to 0..255 or 0..65535 and convert first")
    if a.ndim not in (2, 3) or (a.ndim == 3 and a.shape[2] not in (3, 4)):
        raise UnsupportedImage(f"an array must be (H, W), (H, W, 3) or (H, W, 4), not {a.shape}")
    if 0 in a.shape:
        raise UnsupportedImage(f"an image of {a.shape[1]} x {a.shape[0]} pixels is empty")
    if a.dtype == np.uint16:
        a = widened(a, depth)
    alpha = np.ascontiguousarray(a[:, :, 3]) if a.ndim == 3 and a.shape[2] == 4 else None
    return ImageParts(Rows(a), "L" if a.ndim == 2 else "RGB", alpha, depth=depth)


def _split_deep(picture: DeepPicture, depth: Any) -> ImageParts:
    from jahp_fast.files.metadata import chunks_of

    parts = _split_array(picture.samples, checked_depth(depth, True))
    return replace(parts, chunks=chunks_of(picture.image, parts.mode))


def _split_pil(image: Any, depth: Any) -> ImageParts:
    from jahp_fast.files.metadata import chunks_of
    from jahp_fast.files.pictures import library_errors, warn_of_losses

    if 0 in image.size:
        raise UnsupportedImage(f"an image of {image.size[0]} x {image.size[1]} pixels is empty")
    with library_errors("the image cannot be read"):
        # Opened, and not loaded yet; these two formats tell of frames at any time, and have no tiles before they are loaded.
        if getattr(image, "tile", None) or getattr(image, "format", None) in ("AVIF", "WEBP"):
            warn_of_losses(image)
        image.load()
        if image.mode.startswith("I;16"):
            tags = getattr(image, "tag_v2", {})
            own = 12 if tags.get(_BITS) == (12,) else 16
            return _split_deep(DeepPicture(np.asarray(image).astype(np.uint16), image), own if depth is None else depth)
        checked_depth(depth, False)
        pixels = _as_coded(image)
        mode: Literal["RGB", "L"] = "L" if pixels.mode in ("L", "LA") else "RGB"
        alpha = np.asarray(pixels.getchannel("A")) if pixels.mode in ("LA", "RGBA") else None
        return ImageParts(Rows(pixels), mode, alpha, chunks_of(image, mode))


def _as_coded(image: Any) -> Any:
    """The image in mode L, LA, RGB or RGBA; with alpha wherever anything in it may be transparent."""
    transparent = image.has_transparency_data
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if transparent else "RGB")
    if image.mode in ("1", "L"):
        return image.convert("LA") if transparent else image if image.mode == "L" else image.convert("L")
    if image.mode == "RGB":
        return image.convert("RGBA") if transparent else image
    if image.mode in ("LA", "RGBA"):
        return image
    hint = "; convert it with image.convert('RGBA')" if image.mode in ("La", "RGBa") else "; convert it with image.convert('RGB')"
    if image.mode[0] in "IF":
        hint = "; images of 32 bits and float must be scaled to 8 or 16 bits first"
    raise UnsupportedImage(f"PIL mode {image.mode} cannot be encoded{hint}")


def join(rgb: NDArray[_Sample], mode: Literal["RGB", "L"], alpha: NDArray[_Sample] | None) -> NDArray[_Sample]:
    """(H, W, 3), (H, W, 4) with alpha, or (H, W) for grey, of the type of rgb, uint8 or uint16. Grey with alpha is (H, W, 4)."""
    if mode == "L":
        wide = np.uint16 if rgb.dtype == np.uint8 else np.uint32
        grey: NDArray[_Sample] = ((rgb.sum(axis=2, dtype=wide) + 1) // 3).astype(rgb.dtype)
        if alpha is None:
            return grey
        rgb = np.repeat(grey[:, :, None], 3, axis=2)
    return rgb if alpha is None else np.concatenate([rgb, alpha[:, :, None]], axis=2)
