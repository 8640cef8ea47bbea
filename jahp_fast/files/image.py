# SPDX-License-Identifier: Apache-2.0
"""What callers hand in as an image, brought to one form; and alpha and metadata chunks."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import FormatError, UnsupportedImage
from jahp_fast.files.view import View, averaged

if TYPE_CHECKING:
    import torch

_ALPHA_METHOD = 1  # rows minus the row above, modulo 256, then zlib


class Rows:
    """An image's pixels, made three channels of uint8 a strip at a time; grey is repeated.

    Args:
        source: a uint8 array (H, W) or (H, W, 3 or more), a PIL image of mode L, LA, RGB or RGBA, or a uint8 tensor (3, H, W) on any
            device. Alpha is left out.

    Attributes:
        tensor: the source, if it is a tensor.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self.tensor: torch.Tensor | None = None
        if is_tensor(source):
            self.tensor = source.detach()
            self.height, self.width = source.shape[1:]
        else:
            self.height, self.width = source.shape[:2] if isinstance(source, np.ndarray) else source.size[::-1]

    def take(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows start to stop: (k, W, 3), C-contiguous."""
        if self.tensor is not None:
            return np.ascontiguousarray(self.tensor[:, start:stop].permute(1, 2, 0).cpu().numpy())
        whole = isinstance(self._source, np.ndarray)
        a = self._source[start:stop] if whole else np.asarray(self._source.crop((0, start, self.width, min(stop, self.height))))
        if a.ndim == 2 or a.shape[2] == 2:
            a = np.repeat(a.reshape(*a.shape[:2], -1)[:, :, :1], 3, axis=2)
        return np.ascontiguousarray(a[:, :, :3])

    def blocks(self, rows: int) -> Iterator[NDArray[np.uint8]]:
        """All rows from top to bottom, so many at a time."""
        return (self.take(start, start + rows) for start in range(0, self.height, rows))


@dataclass(frozen=True)
class ImageParts:
    """An image as the codec sees it.

    Attributes:
        rows: its pixels.
        mode: "RGB" or "L".
        alpha: (H, W) uint8, kept losslessly, or None.
        chunks: metadata, by chunk type.
    """

    rows: Rows
    mode: Literal["RGB", "L"]
    alpha: NDArray[np.uint8] | None = None
    chunks: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """(H, W, 3), made anew."""
        return self.rows.take(0, self.rows.height)


def split(image: Any) -> ImageParts:
    """Takes a PIL image (1, L, LA, P, PA, RGB, RGBA), a uint8 array (H, W), (H, W, 3), (H, W, 4) or a uint8 tensor (3, H, W).

    Raises:
        UnsupportedImage: any other mode, type or shape, with what to do about it; a file opened by Pillow that turns out damaged.

    Warns by LossWarning of what a .jahp file will not hold.
    """
    if hasattr(image, "getbands") and hasattr(image, "getexif"):
        return _split_pil(image)
    if is_tensor(image):
        check_tensor(image)
        return ImageParts(Rows(image), "RGB")
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
    alpha = np.ascontiguousarray(a[:, :, 3]) if a.ndim == 3 and a.shape[2] == 4 else None
    return ImageParts(Rows(a), "L" if a.ndim == 2 else "RGB", alpha)


def _split_pil(image: Any) -> ImageParts:
    from jahp_fast.files.metadata import chunks_of
    from jahp_fast.files.pictures import library_errors, warn_of_losses

    if 0 in image.size:
        raise UnsupportedImage(f"an image of {image.size[0]} x {image.size[1]} pixels is empty")
    with library_errors("the image cannot be read"):
        # Opened, and not loaded yet; these two formats tell of frames at any time, and have no tiles before they are loaded.
        if getattr(image, "tile", None) or getattr(image, "format", None) in ("AVIF", "WEBP"):
            warn_of_losses(image)
        image.load()
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
        hint = "; 16-bit and float images must be scaled to 8 bits first"
    raise UnsupportedImage(f"PIL mode {image.mode} cannot be encoded{hint}")


def pack_alpha(alpha: NDArray[np.uint8]) -> bytes:
    """(H, W) uint8 -> data of an ALPH chunk."""
    above = np.vstack([np.zeros((1, alpha.shape[1]), np.uint8), alpha[:-1]])
    return bytes([_ALPHA_METHOD]) + zlib.compress((alpha - above).tobytes(), 9)


def unpack_alpha(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """The reverse. Allocates height * width bytes, whatever the data claim.

    Raises:
        FormatError: unknown method, damaged data, or another number of pixels.
    """
    return AlphaReader(data, height, width).rows(height)


class AlphaReader:
    """`unpack_alpha` by rows. Raises FormatError as that does, at the rows where the damage shows."""

    _SLICE = 1 << 16

    def __init__(self, data: bytes, height: int, width: int) -> None:
        if data[:1] != bytes([_ALPHA_METHOD]):
            raise FormatError("alpha is compressed by an unknown method")
        self._size, self._left = (height, width), height
        self._decoder = zlib.decompressobj()
        self._slices = iter([data[i : i + self._SLICE] for i in range(1, len(data), self._SLICE)])
        self._pending = b""
        self._above = np.zeros(width, np.uint8)

    def rows(self, count: int) -> NDArray[np.uint8]:
        """The next `count` rows, at most as many as there are left: (count, W)."""
        width = self._size[1]
        self._left -= count
        raw = self._read(count * width)
        complete = len(raw) == count * width
        if complete and not self._left:
            complete = not self._read(1) and self._decoder.eof and not self._decoder.unused_data and not any(self._slices)
        if not complete:
            raise FormatError(f"alpha does not have {width} x {self._size[0]} values")
        above = np.frombuffer(raw, np.uint8).reshape(count, width)
        alpha: NDArray[np.uint8] = np.cumsum(np.concatenate([self._above[None], above]), axis=0, dtype=np.uint8)[1:]
        self._above = alpha[-1]
        return alpha

    def _read(self, wanted: int) -> bytes:
        """So many bytes, or as many as there are."""
        parts = []
        while wanted and not self._decoder.eof:
            self._pending = self._pending or next(self._slices, b"")
            at_end = not self._pending
            try:
                parts.append(self._decoder.decompress(self._pending, wanted))
            except zlib.error as e:
                raise FormatError(f"alpha is damaged: {e}") from None
            self._pending = self._decoder.unconsumed_tail
            wanted -= len(parts[-1])
            if at_end and not parts[-1]:
                break
        return b"".join(parts)


class AlphaView:
    """Alpha of a view: means, where the view has a scale. Raises FormatError as AlphaReader does; `finish` reads what is left to check."""

    _SKIPPED = 64

    def __init__(self, data: bytes, height: int, width: int, view: View) -> None:
        self._reader, self._view, self._left = AlphaReader(data, height, width), view, height
        self._skip(view.top * view.scale)

    def rows(self, count: int) -> NDArray[np.uint8]:
        """The next `count` rows of the view: (count, view.width)."""
        view, taken = self._view, min(count * self._view.scale, self._left)
        self._left -= taken
        full = self._reader.rows(taken)[:, view.left * view.scale : (view.left + view.width) * view.scale]
        return averaged(full, view.scale)

    def finish(self) -> None:
        """Once all rows of the view are there."""
        self._skip(self._left)

    def _skip(self, count: int) -> None:
        self._left -= count
        for left in range(count, 0, -self._SKIPPED):
            self._reader.rows(min(left, self._SKIPPED))


def join(rgb: NDArray[np.uint8], mode: Literal["RGB", "L"], alpha: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """(H, W, 3), (H, W, 4) with alpha, or (H, W) for grey. Grey with alpha is (H, W, 4)."""
    if mode == "L":
        grey: NDArray[np.uint8] = ((rgb.astype(np.uint16).sum(axis=2) + 1) // 3).astype(np.uint8)
        if alpha is None:
            return grey
        rgb = np.repeat(grey[:, :, None], 3, axis=2)
    return rgb if alpha is None else np.concatenate([rgb, alpha[:, :, None]], axis=2)
