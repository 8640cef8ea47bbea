# SPDX-License-Identifier: Apache-2.0
"""Reading test images and making folders: opaque 8-bit images only, and every refusal names the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jahp_fast.errors import UnsupportedImage, UsageError
from jahp_fast.files.pictures import library_errors

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def find_images(folder: Path) -> list[Path]:
    """The image files directly in `folder`, by name. Raises UsageError where there is no folder or no image in it."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not found:
        raise UsageError(f"{folder}: no images in it ({' '.join(sorted(IMAGE_SUFFIXES))}; subfolders are not searched)")
    return found


def load_rgb(path: Path) -> NDArray[np.uint8]:
    """The pixels of an 8-bit grey or RGB file as a uint8 array (H, W, 3); grey is repeated, a palette expanded.

    Raises UnsupportedImage, naming the file, for what cannot be read and for alpha, CMYK and more than 8 bits, which no two
    of the compared codecs treat alike.
    """
    with library_errors(f"{path}: cannot be read"), Image.open(path) as image:
        if image.has_transparency_data:
            raise UnsupportedImage(f"{path}: has transparency; the comparison takes opaque images only")
        if image.mode not in ("1", "L", "P", "RGB"):
            raise UnsupportedImage(f"{path}: mode {image.mode} is not 8-bit grey or RGB")
        return np.asarray(image.convert("RGB"))


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents; UsageError, naming it, where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot make this folder: {error.strerror}") from error
