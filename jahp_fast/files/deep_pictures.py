# SPDX-License-Identifier: Apache-2.0
"""Picture files of more than 8 bits in colour, which Pillow cuts down to 8: their samples by imagecodecs, where that is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import UnsupportedImage
from jahp_fast.files.metadata import orientation_of

if TYPE_CHECKING:
    from PIL import Image

_REMEDY = "convert it to 8 bits first"
FORMATS = frozenset({"PNG", "TIFF"})


def readable(image: Image.Image) -> bool:
    """Whether the deep samples of a file that Pillow has opened can be had: a TIFF file that Pillow turns as it reads stays out."""
    return image.format in FORMATS and find_spec("imagecodecs") is not None and not (image.format == "TIFF" and orientation_of(image) != 1)


def samples(data: bytes | bytearray | memoryview, image: Image.Image, name: str) -> NDArray[np.uint16]:
    """(H, W, 3 or 4) or (H, W) of a picture file that Pillow has loaded and cut down.

    Raises UnsupportedImage where imagecodecs reads another picture than Pillow does, and whatever imagecodecs raises.
    """
    import imagecodecs

    decode = {"PNG": imagecodecs.png_decode, "TIFF": imagecodecs.tiff_decode}[str(image.format)]
    shown = np.asarray(image)
    found = np.asarray(decode(bytes(data)))
    if found.ndim == 3 and found.shape[2] == 2:  # which Pillow makes RGBA of
        found = found[:, :, [0, 0, 0, 1]]
    if found.dtype != np.uint16 or found.shape != shown.shape or np.abs((found >> 8).astype(np.int16) - shown).max(initial=0) > 1:
        raise UnsupportedImage(f"{name}: two readers see different samples of more than 8 bits in it; {_REMEDY}")
    return np.ascontiguousarray(found)
