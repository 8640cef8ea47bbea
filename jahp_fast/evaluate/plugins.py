# SPDX-License-Identifier: Apache-2.0
"""Codecs and a metric from packages that need not be installed: HEIC (pillow-heif), JPEG XL (imagecodecs), SSIMULACRA 2.

SSIMULACRA 2 is the perceptual metric because its package is small, kept, and needs no trained weights (LPIPS and DISTS come with
networks); it was fitted to the opinions of people on compressed photos (Cloudinary, 2022). 100 is the original, 90 is hard to tell
from it at the usual distance, 70 high quality, 50 medium, 30 low.
"""

from __future__ import annotations

import importlib
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jahp_fast.files.pictures import library_errors
from jahp_fast.search.perceived import LEAST_SIDE, is_installed, ssimulacra2

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class PluginCodec:
    """A codec of a package that is imported when it is first used; see codecs.Coder."""

    name: str
    package: str
    module: str
    parameter: str
    settings: Sequence[float]
    words: str
    encoder: Callable[[Any, Pixels, float], bytes]
    decoder: Callable[[Any, bytes], Pixels]

    def installed(self) -> bool:
        return find_spec(self.module) is not None and _version(self.package) is not None

    @property
    def description(self) -> str:
        return f"{self.words}; {self.package} {_version(self.package)}"

    def label(self, setting: float) -> str:
        return f"{self.parameter}={setting:g}"

    def encode(self, image: Pixels, setting: float) -> bytes:
        with library_errors(f"{self.name} does not encode it"):
            return self.encoder(importlib.import_module(self.module), image, setting)

    def decode(self, data: bytes) -> Pixels:
        with library_errors(f"{self.name} does not decode its own file"):
            return self.decoder(importlib.import_module(self.module), data)


def _heic(heif: Any, image: Pixels, setting: float) -> bytes:
    out = io.BytesIO()
    heif.register_heif_opener()
    Image.fromarray(image).save(out, "HEIF", quality=round(setting), chroma=444)
    return out.getvalue()


def _from_heic(heif: Any, data: bytes) -> Pixels:
    heif.register_heif_opener()
    with Image.open(io.BytesIO(data), formats=["HEIF"]) as image:
        return np.asarray(image.convert("RGB"))


def _jxl(codecs: Any, image: Pixels, setting: float) -> bytes:
    return bytes(codecs.jpegxl_encode(image, distance=setting, effort=7))


def _from_jxl(codecs: Any, data: bytes) -> Pixels:
    pixels: Pixels = codecs.jpegxl_decode(data)
    return pixels


PLUGIN_CODECS = (
    PluginCodec("heic", "pillow-heif", "pillow_heif", "q", (5, 12, 20, 28, 36, 44, 52, 60, 68, 78), "HEIC, x265 intra 4:4:4, quality",
                _heic, _from_heic),
    PluginCodec("jxl", "imagecodecs", "imagecodecs", "d", (14, 10, 7.5, 5.5, 4, 3, 2.2, 1.5, 1, 0.7), "JPEG XL lossy, effort=7, distance",
                _jxl, _from_jxl),
)  # fmt: skip


def perceptual_name() -> str | None:
    """The metric and its version; None where it is not installed."""
    version = _version("ssimulacra2")
    if not is_installed() or version is None:
        return None
    return f"SSIMULACRA 2 (ssimulacra2 {version})"


def _version(package: str) -> str | None:
    """Of an installed package; None where it is not, or lies there without its metadata."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def perceptual(reference: Pixels, decoded: Pixels) -> float:
    """SSIMULACRA 2 of two (H, W, 3) images, at most 100; nan where the package is not installed or a side is below 16.

    Raises UnsupportedImage where the package fails on them.
    """
    if perceptual_name() is None or min(reference.shape[:2]) < LEAST_SIDE:
        return math.nan
    return ssimulacra2(reference, decoded)
