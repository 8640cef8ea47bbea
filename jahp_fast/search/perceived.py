# SPDX-License-Identifier: Apache-2.0
"""SSIMULACRA 2 (Sneyers 2022), as the package of that name computes it: what a picture has lost to the eye."""

from __future__ import annotations

import io
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jahp_fast.errors import MissingExtra, UnsupportedImage
from jahp_fast.files.pictures import library_errors

LEAST_SIDE = 16


def is_installed() -> bool:
    """Whether the package is there, and what it needs."""
    return find_spec("ssimulacra2") is not None and find_spec("scipy") is not None


def ssimulacra2(reference: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Of two (H, W, 3) images: at most 100, and above 90 where nobody sees a difference.

    Raises:
        MissingExtra: the package is not installed.
        UnsupportedImage: a side is below 16, or the package fails on them.
    """
    if not is_installed():
        raise MissingExtra("SSIMULACRA 2 needs the packages ssimulacra2 and scipy: pip install 'jahp_fast[eval]'")
    if min(reference.shape[:2]) < LEAST_SIDE:
        height, width = reference.shape[:2]
        raise UnsupportedImage(f"an image of {width} x {height} pixels has no SSIMULACRA 2: its sides must be {LEAST_SIDE} or more")
    with library_errors("SSIMULACRA 2 cannot be computed"):
        from ssimulacra2 import compute_ssimulacra2

        files = []
        for image in (reference, decoded):
            files.append(io.BytesIO())
            Image.fromarray(image).save(files[-1], "PNG", compress_level=0)
        return float(compute_ssimulacra2(*files))
