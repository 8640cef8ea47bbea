# SPDX-License-Identifier: Apache-2.0
"""The page of `jahp eval`: some of the images at some sizes, all codecs at equal size behind a slider, and the report's tables.

Self-contained, and of a size that a browser opens: at most SHOWN images. Files are made anew from the settings that were measured.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jahp_fast.evaluate.codecs import Coder
from jahp_fast.evaluate.files import load_rgb
from jahp_fast.evaluate.page import data_uri, filled
from jahp_fast.evaluate.report import METRICS, Row, bd_rows, describe_machine, image_rows, means, measured

SHOWN = 3
_SHARES = (0.2, 0.6)
"""Where in the list of our settings the shown sizes lie."""
_BROWSERS = {"jpeg420": "image/jpeg", "jpeg444": "image/jpeg", "webp": "image/webp", "avif": "image/avif"}
"""Formats that browsers decode are shown from their own files; the rest from pixels without loss."""


def gallery(paths: Sequence[Path], coders: Sequence[Coder], ours: Sequence[str], out: Path, rows: Sequence[Row]) -> str:
    """index.html's text. `out` holds plot.png where there is one; `rows` are all measurements."""
    first = ours[0]
    by_name = {coder.name: coder for coder in coders}
    settings = by_name[first].settings
    picked = [settings[min(len(settings) - 1, int(share * len(settings)))] for share in _SHARES]
    spread = sorted({round(i * (len(paths) - 1) / max(1, SHOWN - 1)) for i in range(min(SHOWN, len(paths)))})
    levels = [_level(paths[i], by_name, first, setting, rows) for i in spread for setting in dict.fromkeys(picked)]
    others = [coder.name for coder in coders if coder.name != first]
    table = means(rows)
    content = {
        "title": f"{first} and {len(others)} other codecs",
        "model": first,
        "others": {name: name for name in others},
        "levels": levels,
        "stage_names": [],
        "lead": f"{len(paths)} images were measured; {len(spread)} are shown. Beside each of our files stands, of every other codec, the "
        "largest measured file that is not larger.",
        "note": "Every figure is of a real file and of its 8-bit RGB pixels. The best of a column is marked.",
        "tables": [
            {
                "title": f"BD-rate of {name}",
                "note": "Mean difference in size at equal quality (piecewise cubic, on the mean curves, over the qualities in brackets); "
                "negative: ours is smaller.",
                "head": ["against", *(METRICS[metric][0] for metric in measured(table))],
                "rows": bd_rows(table, name, [coder.name for coder in coders if coder.name != name]),
            }
            for name in ours
            if len(coders) > 1
        ]
        + [
            {
                "title": "Image by image",
                "note": f"BD-rate of {first} by PSNR on each image's own curves.",
                "head": ["image", *others],
                "rows": image_rows(rows, first, others),
            }
        ],
        "footer": f"Made by jahp eval on {describe_machine()}. This page is self-contained and makes no network request.",
    }
    plot = out / "plot.png"
    if plot.exists():
        content["plot"] = data_uri("image/png", plot.read_bytes())
    return filled(content)


def _level(path: Path, coders: dict[str, Coder], first: str, setting: float, rows: Sequence[Row]) -> dict[str, Any]:
    """One image at the size of our file of that setting."""
    image = load_rgb(path)
    mine = {(row.codec, row.setting): row for row in rows if row.image == path.name}
    most = mine[first, coders[first].label(setting)].bytes
    variants = {"ours": _variant(coders[first], setting, image, mine)}
    for name, coder in coders.items():
        sizes = {s: mine[name, coder.label(s)].bytes for s in coder.settings}
        fitting = [s for s in coder.settings if sizes[s] <= most]
        if name != first:
            chosen = max(fitting, key=sizes.__getitem__) if fitting else min(sizes, key=sizes.__getitem__)
            variants[name] = _variant(coder, chosen, image, mine)
    original = _lossless(image)
    return {
        "label": f"{path.stem}, {most / 1000:.0f} kB",
        "subject": path.stem,
        "width": image.shape[1],
        "height": image.shape[0],
        "original": data_uri("image/webp", original),
        "original_bytes": path.stat().st_size,
        "variants": variants,
    }


def _variant(coder: Coder, setting: float, image: NDArray[np.uint8], mine: dict[tuple[str, str], Row]) -> dict[str, Any]:
    row = mine[coder.name, coder.label(setting)]
    data = coder.encode(image, setting)
    mime = _BROWSERS.get(coder.name)
    source = data_uri(mime, data) if mime else data_uri("image/webp", _lossless(coder.decode(data)))
    psnr, ms_ssim = (value if math.isfinite(value) else 0.0 for value in (row.psnr, row.ms_ssim))
    return {"src": source, "detail": coder.label(setting), "bytes": row.bytes, "bpp": row.bpp, "psnr": psnr, "ms_ssim": ms_ssim}


def _lossless(pixels: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", lossless=True, quality=40, method=2)
    return out.getvalue()
