# SPDX-License-Identifier: Apache-2.0
"""The pictures that show what the codec does: README's, for light and for dark pages, and the pair of the site's first page.

    python tools/figures/readme_picture.py     # needs the package and matplotlib; writes docs/pictures, prints the files' sizes

README's has four crops of the package's photo (the original, and out of files of one size) beside the curves that
docs/site/drawings.py reads from the models page, in the colours of docs/site/style.css. JPEG and WebP get the highest
quality whose file is not larger than ours. The pictures are committed.
"""

from __future__ import annotations

import argparse
import io
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

import jahp_fast
from jahp_fast.evaluate import demo
from jahp_fast.evaluate.codecs import pillow_codec
from jahp_fast.evaluate.files import load_rgb

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs" / "site"))
import drawings  # noqa: E402  (a neighbour of the site, no package)

QUALITY = 2.0
PIXELS = (1800, 860)
"""Width and height: twice those that README shows, for screens with small pixels."""
DPI = 200
HEAD = (392, 106, 596, 248)  # left, upper, right, lower: the crop of README
BIRDS = (150, 40, 630, 360)  # that of the site's first page
OURS = "mbt2018"
"""Our name in drawings.CURVES."""
OTHERS = {"JPEG": "jpeg420", "WebP": "webp"}
TILES = ((0, 0), (550, 0), (0, 430), (550, 430))
"""Left upper corners of the crops; their captions stand above them."""
TILE = (530, 370)
CAPTION = 50
PLOT = (0.655, 0.115, 0.34, 0.815)  # left, bottom, width, height of the axes, as parts of the picture


@dataclass(frozen=True)
class Theme:
    """Colours of a page: its ground, its text, its grid, and by class of style.css those of the codecs."""

    ground: str
    text: str
    grid: str
    codecs: Mapping[str, str]


def themes(style: str) -> dict[str, Theme]:
    """ "light" and "dark", the codecs' colours out of the text of style.css. Raises ValueError where it has them no more."""
    blocks = [dict(re.findall(r"--jahp-(\w+): (#\w{6})", line)) for line in style.splitlines() if "--jahp-ours: #" in line]
    classes = {kind for _, kind in drawings.CURVES.values()}
    if len(blocks) != 2 or any(not classes <= block.keys() for block in blocks):
        raise ValueError("style.css does not give the codecs' colours for a light and a dark page")
    return {
        "light": Theme("#ffffff", "#1f2328", "#d1d9e0", blocks[0]),
        "dark": Theme("#0d1117", "#f0f6fc", "#3d444d", blocks[1]),
    }


def variants(photo: NDArray[np.uint8]) -> dict[str, tuple[int, NDArray[np.uint8]]]:
    """Codec -> bytes of its file and the decoded photo: ours at QUALITY, and each other's largest file that is not larger."""
    data = jahp_fast.encode(photo, quality=QUALITY)
    found = {"jahp_fast": (len(data), jahp_fast.decode(data))}
    for name, codec in OTHERS.items():
        coder = pillow_codec(codec)
        file = demo.nearest_not_above(coder, photo, len(data), 95)[1]
        if len(file) > len(data):
            raise ValueError(f"{name} has no file of {len(data)} bytes")
        found[name] = (len(file), coder.decode(file))
    return found


def compose(
    crops: Sequence[tuple[str, str, NDArray[np.uint8]]],
    points: Mapping[str, Sequence[tuple[float, float]]],
    theme: Theme,
) -> Image.Image:
    """One picture of PIXELS.

    crops: up to four of (words of the caption, class in style.css or "", pixels (H, W, 3)); points: codec -> (bpp, dB).
    """
    figure = Figure(figsize=(PIXELS[0] / DPI, PIXELS[1] / DPI), dpi=DPI, facecolor=theme.ground)

    def caption(x: float, y: float, words: str, color: str) -> None:
        place = (x / PIXELS[0], 1 - (y + CAPTION / 2) / PIXELS[1])
        figure.text(*place, words, color=color, fontsize=9.5, fontweight="bold", va="center")

    for (words, kind, _), (x, y) in zip(crops, TILES, strict=False):
        caption(x, y, words, theme.codecs.get(kind, theme.text))
    caption(PLOT[0] * PIXELS[0], 0, "PSNR in dB, 24 Kodak photos", theme.text)
    axes = figure.add_axes(PLOT, facecolor=theme.ground)
    levels = [psnr for curve in points.values() for _, psnr in curve]
    least, most = math.floor(min(levels)), math.ceil(max(levels))
    for name, curve in points.items():
        color, width = theme.codecs[drawings.CURVES[name][1]], 2.8 if name == OURS else 1.5
        axes.plot(*zip(*curve, strict=True), color=color, linewidth=width, marker="o", markersize=3)
    scale = PLOT[3] * PIXELS[1] / 2 / (most - least)  # what drawings.apart counts in, per dB
    ends = sorted(((curve[-1], name) for name, curve in points.items()), key=lambda end: -end[0][1])
    heights = drawings.apart([scale * (most - psnr) for (_, psnr), _ in ends])
    for ((bpp, _), name), height in zip(ends, heights, strict=True):
        label = "jahp_fast" if name == OURS else name.removesuffix(" 4:2:0")
        color = theme.codecs[drawings.CURVES[name][1]]
        axes.text(bpp + 0.05, most - height / scale, label, color=color, fontsize=8.5, fontweight="bold", va="center")
    axes.set_xlim(0, 2.05)
    axes.set_ylim(least, most)
    axes.set_xticks([0, 0.5, 1, 1.5], ["0", "0.5", "1", "1.5"])
    axes.grid(color=theme.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.text, labelsize=8.5, length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("bits per pixel", color=theme.text, fontsize=8.5)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, facecolor=theme.ground)
    picture = Image.open(drawn).convert("RGB")
    for (_, _, pixels), (x, y) in zip(crops, TILES, strict=False):
        picture.paste(Image.fromarray(pixels).resize(TILE, Image.Resampling.BICUBIC), (x, y + CAPTION))
    return picture


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw the pictures of README and of the site's first page.")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures", metavar="DIR", help="folder for them")
    out = parser.parse_args(argv).out
    photo = load_rgb(Path(demo.__file__).parent / "demo_photo.png")
    files = variants(photo)
    kinds = {"jahp_fast": "ours", "JPEG": "jpeg", "WebP": "webp"}
    left, upper, right, lower = HEAD
    crops = [("original", "", photo[upper:lower, left:right])]
    crops += [(f"{name}, {size:,} bytes", kinds[name], pixels[upper:lower, left:right]) for name, (size, pixels) in files.items()]
    points = drawings.kodak((ROOT / "docs" / "reference" / "models.md").read_text(encoding="utf-8"))
    out.mkdir(parents=True, exist_ok=True)
    for name, theme in themes((ROOT / "docs" / "site" / "style.css").read_text(encoding="utf-8")).items():
        compose(crops, points, theme).save(out / f"readme-{name}.webp", quality=80, method=6)
    for name, stem in {"jahp_fast": "mbt2018", "JPEG": "jpeg"}.items():
        Image.fromarray(files[name][1]).crop(BIRDS).save(out / f"{stem}.webp", quality=90, method=6)
    for name, (size, _) in files.items():
        print(f"{name} {size} bytes, {8 * size / (photo.shape[0] * photo.shape[1]):.3f} bpp")
    for path in sorted(out.glob("readme-*.webp")):
        print(f"{path.name} {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
