# SPDX-License-Identifier: Apache-2.0
"""The page of `jahp eval`: some of the images, all codecs at equal size behind a slider, and the report's tables.

Self-contained, and of a size that a browser opens: at most SHOWN images. Files are made anew from the settings that
were measured.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jahp_fast.errors import JahpError
from jahp_fast.evaluate.codecs import Coder, on_picture
from jahp_fast.evaluate.curves import METRICS, measured
from jahp_fast.evaluate.files import load_rgb, printable
from jahp_fast.evaluate.page import data_uri, figure, filled
from jahp_fast.evaluate.pictures import SPREAD_TITLES, image_rows, picture_rates, spread_rows
from jahp_fast.evaluate.report import bd_rows
from jahp_fast.evaluate.results import Row
from jahp_fast.system.cpu import describe_machine

SHOWN = 3
_SHARES = (0.2, 0.6)
"""Where in the list of our settings the shown sizes lie."""
_BROWSERS = {"jpeg420": "image/jpeg", "jpeg444": "image/jpeg", "webp": "image/webp", "avif": "image/avif"}
"""Formats that browsers decode are shown from their own files; the rest from pixels without loss."""

_WEBP_SIDE = 16383


def gallery(paths: Sequence[Path], coders: Sequence[Coder], ours: Sequence[str], out: Path, rows: Sequence[Row]) -> str | None:
    """index.html's text; None where no image can be shown.

    `out` holds plot.png where there is one; `rows` are all measurements.
    """
    first = ours[0]
    by_name = {coder.name: coder for coder in coders}
    settings = by_name[first].settings
    picked = list(dict.fromkeys(settings[min(len(settings) - 1, int(share * len(settings)))] for share in _SHARES))
    have = {(row.image, row.setting) for row in rows if row.codec == first}
    shown = [path for path in paths if all((path.name, by_name[first].label(setting)) in have for setting in picked)]
    count = min(SHOWN, len(shown))
    spread = [round(i * (len(shown) - 1) / max(1, count - 1)) for i in range(count)]
    levels = []
    for i in spread:
        try:
            levels += [_level(shown[i], by_name, first, setting, rows) for setting in picked]
        except (JahpError, OSError):
            continue  # measured, and gone or changed since
    if not levels:
        return None
    others = [coder.name for coder in coders if coder.name != first]
    content = {
        "title": f"{first} and {len(others)} other codecs",
        "model": first,
        "others": {name: name for name in others},
        "levels": levels,
        "stage_names": [],
        "lead": f"{len({row.image for row in rows})} images were measured; {len(levels) // len(picked)} are shown. "
        "Beside each of our files stands, of every other codec, the largest measured file that is not larger.",
        "note": "Every figure is of a real file and of its 8-bit RGB pixels. The best of a column is marked.",
        "tables": [
            {
                "title": f"BD-rate of {name}",
                "note": "Mean difference in size at equal quality (piecewise cubic, on the mean curves, over the "
                "qualities in brackets, and over the images that have the metric at every setting of both); negative: "
                "ours is smaller.",
                "head": ["against", *(METRICS[metric][0] for metric in measured(rows))],
                "rows": bd_rows(rows, name, [coder.name for coder in coders if coder.name != name]),
            }
            for name in ours
            if len(coders) > 1
        ]
        + [
            {
                "title": f"BD-rate of {name}, picture by picture",
                "note": "Over the pictures' own BD-rates, each over the qualities that both codecs reach on it; every picture "
                "counts the same.",
                "head": [*SPREAD_TITLES],
                "rows": spread_rows(picture_rates(rows, [name], [coder.name for coder in coders]), name),
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
    """One image at the size of our file of that setting, with the codecs that have figures of it. Raises JahpError."""
    image = load_rgb(path)
    mine = {(row.codec, row.setting): row for row in rows if row.image == path.name}
    made = {key: row.bytes for key, row in mine.items()}
    coders = {name: on_picture(coder, made) for name, coder in coders.items()}
    most = mine[first, coders[first].label(setting)].bytes
    variants = {"ours": _variant(coders[first], setting, image, mine)}
    for name, coder in coders.items():
        sizes = {s: mine[name, coder.label(s)].bytes for s in coder.settings if (name, coder.label(s)) in mine}
        fitting = [s for s in sizes if sizes[s] <= most]
        if name != first and sizes:
            chosen = max(fitting, key=sizes.__getitem__) if fitting else min(sizes, key=sizes.__getitem__)
            variants[name] = _variant(coder, chosen, image, mine)
    return {
        "label": f"{printable(path.stem)}, {most / 1000:.0f} kB",
        "subject": printable(path.stem),
        "width": image.shape[1],
        "height": image.shape[0],
        "original": _lossless(image),
        "original_bytes": path.stat().st_size,
        "variants": variants,
    }


def _variant(coder: Coder, setting: float, image: NDArray[np.uint8], mine: dict[tuple[str, str], Row]) -> dict[str, Any]:
    row = mine[coder.name, coder.label(setting)]
    data = coder.encode(image, setting)
    mime = _BROWSERS.get(coder.name)
    source = data_uri(mime, data) if mime else _lossless(coder.decode(data))
    return {"src": source, "detail": coder.label(setting), "bytes": row.bytes, "bpp": row.bpp, "psnr": figure(row.psnr),
            "ms_ssim": figure(row.ms_ssim)}  # fmt: skip


def _lossless(pixels: NDArray[np.uint8]) -> str:
    """The pixels as a URI: WebP, which is small, or PNG where a side is longer than WebP takes."""
    out = io.BytesIO()
    if max(pixels.shape) > _WEBP_SIDE:
        Image.fromarray(pixels).save(out, "PNG")
        return data_uri("image/png", out.getvalue())
    Image.fromarray(pixels).save(out, "WEBP", lossless=True, quality=40, method=2)
    return data_uri("image/webp", out.getvalue())
