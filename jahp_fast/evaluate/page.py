# SPDX-License-Identifier: Apache-2.0
"""The page of `jahp demo` and `jahp eval`: one HTML file with the pictures inside, which loads nothing.

`page.html` is the whole page but for one block of JSON; this module makes the block. JPEG and WebP are shown from their own
files, by the browser's decoder; our pixels, which no browser decodes, as PNG.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jahp_fast.system.cpu import describe_machine

MODEL = "mbt2018"
RUNS = 3
_PLACE = "__DATA__"


@dataclass(frozen=True)
class Variant:
    """One compressed file of the photo, read back: `detail` is its setting, `pixels` a uint8 array (H, W, 3), `psnr` in dB."""

    detail: str
    data: bytes
    pixels: NDArray[np.uint8]
    bpp: float
    psnr: float
    ms_ssim: float


@dataclass(frozen=True)
class Level:
    """One of our qualities: ours first, then the others at its size, and seconds a stage under the tables' names."""

    quality: float
    variants: dict[str, Variant]
    stages: dict[str, float]


def render(image: NDArray[np.uint8], original: bytes, levels: Sequence[Level]) -> str:
    """The page's text for the photo (pixels (H, W, 3) and its PNG file) and its levels."""
    height, width = image.shape[:2]
    content = {
        "title": "One photo, three sizes",
        "model": MODEL,
        "others": {"jpeg": "JPEG", "webp": "WebP"},
        "subject": "Two macaws",
        "width": width,
        "height": height,
        "original": data_uri("image/png", original),
        "original_bytes": len(original),
        "levels": [_level(level) for level in levels],
        "stage_names": list(levels[0].stages),
        "lead": f"A {width}x{height} photo as {MODEL} files of {len(levels)} sizes, made and read by jahp_fast on this machine. "
        "Beside each stand the JPEG and the WebP of the highest quality that is not larger.",
        "note": "Every figure is of a real file (bpp: bits per pixel) and of its 8-bit RGB pixels. JPEG: 4:2:0, optimised tables. "
        "WebP: lossy, method 6. The best of a column is marked. One photo is an illustration; jahp eval measures a folder.",
        "stages_note": "Encoding runs g_a, h_a and the entropy coder; decoding runs h_s with the context model and the range "
        f"decoder together, then g_s. Fastest of {RUNS} runs on {describe_machine()}. The decoded latents of every file were "
        "checked to equal the encoder's.",
        "footer": "Photo: image 23 of the Kodak Lossless True Color Image Suite, released by the Eastman Kodak Company for "
        "unrestricted usage; it took no part in training. This page is self-contained and makes no network request.",
    }
    return filled(content)


def filled(content: Mapping[str, Any]) -> str:
    """The page with its block of JSON."""
    # "<" cannot occur raw inside a script element; everything else in JSON can.
    block = json.dumps(content, allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")
    template = (resources.files("jahp_fast.evaluate") / "page.html").read_text("utf-8")
    return template.replace(_PLACE, block)


def _level(level: Level) -> dict[str, Any]:
    return {
        "quality": f"q={level.quality:g}",
        "stages": level.stages,
        "variants": {name: _variant(name, variant) for name, variant in level.variants.items()},
    }


def _variant(name: str, variant: Variant) -> dict[str, Any]:
    if name == "ours":
        out = io.BytesIO()
        Image.fromarray(variant.pixels).save(out, format="PNG", optimize=True)
        source = data_uri("image/png", out.getvalue())
    else:
        source = data_uri(f"image/{name}", variant.data)
    return {"src": source, "detail": variant.detail, "bytes": len(variant.data), "bpp": variant.bpp,
            "psnr": figure(variant.psnr), "ms_ssim": figure(variant.ms_ssim)}  # fmt: skip


def figure(value: float) -> float | str | None:
    """A number as the page's JSON has it: "Infinity" and None stand for those that JSON lacks, infinity and nan."""
    return None if math.isnan(value) else "Infinity" if value == math.inf else value


def data_uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"
