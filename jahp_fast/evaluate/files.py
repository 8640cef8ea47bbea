# SPDX-License-Identifier: Apache-2.0
"""Reading test images and making folders: opaque 8-bit images only, and every refusal names the file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import UnsupportedImage, UsageError
from jahp_fast.files.pictures import DEEP, library_errors, noted, read

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def find_images(folder: Path) -> list[Path]:
    """The image files directly in `folder`, by name; hidden ones are left out, links that lead nowhere are not.

    Raises UsageError where there is no folder that can be read, or no image in it.
    """
    if not os.path.isdir(folder):  # unlike Path.is_dir it raises nothing
        raise UsageError(f"{folder}: no such folder")
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise UsageError(f"{folder}: this folder cannot be read: {error.strerror}") from error
    found = sorted(
        path
        for path in (folder / name for name in names if not name.startswith("."))
        if path.suffix.lower() in IMAGE_SUFFIXES and (os.path.isfile(path) or _leads_nowhere(path))
    )
    if not found:
        raise UsageError(f"{folder}: no images in it ({' '.join(sorted(IMAGE_SUFFIXES))}; subfolders are not searched)")
    return found


def _leads_nowhere(path: Path) -> bool:
    return os.path.islink(path) and not os.path.exists(path)


def load_rgb(path: Path, name: str | None = None) -> NDArray[np.uint8]:
    """The pixels of an 8-bit grey or RGB file as a uint8 array (H, W, 3); grey is repeated, a palette expanded.

    Of several frames it is the first. `name` stands for the file in messages; by default its path.

    Raises UnsupportedImage for what cannot be read and for alpha, CMYK and more than 8 bits, which no two of the
    compared codecs treat alike.
    """
    name = str(path) if name is None else name
    with library_errors(f"{name} cannot be read", memory=True):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UnsupportedImage(f"{name} cannot be read: {error.strerror}") from None
        with noted() as notes:
            image = read(data, name)
        if image.has_transparency_data:
            raise UnsupportedImage(f"{name} has transparency; the comparison takes opaque images only")
        if image.mode not in ("1", "L", "P", "RGB"):
            raise UnsupportedImage(f"{name} has mode {image.mode}; the comparison takes 8-bit grey and RGB only")
        if DEEP in notes:
            raise UnsupportedImage(f"{name} has more than 8 bits per channel; the comparison takes 8-bit grey and RGB only")
        return np.asarray(image.convert("RGB"))


def printable(text: str) -> str:
    """A name on one line, as it is seen; escapes for what has no glyph (controls, line ends, what is no UTF-8)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents; UsageError, naming it, where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot make this folder: {error.strerror}") from error
