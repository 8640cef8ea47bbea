# SPDX-License-Identifier: Apache-2.0
"""A picture of where a model fails: the photos on which it loses most to another codec, and of each the part that it spoils most.

    python tools/figures/worst_photos.py KODAK --report REPORT --out worst.webp
        [--model NAME] [--metric psnr] [--against webp] [--quality 3]

REPORT is a folder of `jahp eval`: its results.csv says which photos these are (BD-rate by PSNR or MS-SSIM on each photo's own curves), and
which of the other codec's files is the largest that is not larger than ours. A row a photo: original, ours, theirs, 192 x 192 pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from jahp_fast.evaluate.codecs import Coder, JahpCodec, select_codecs
from jahp_fast.evaluate.curves import compare
from jahp_fast.evaluate.files import load_rgb
from jahp_fast.evaluate.metrics import ms_ssim, psnr
from jahp_fast.evaluate.results import Row, read_results

COUNT, SIDE, LINE = 5, 192, 16
Pixels = NDArray[np.uint8]


def worst(rows: list[Row], ours: str, theirs: str, metric: str, count: int = COUNT) -> list[tuple[str, float]]:
    """Names of the photos with the greatest BD-rates of `ours` against `theirs`, and these, in percent."""
    rates = {}
    for image in dict.fromkeys(row.image for row in rows):
        rate = compare([row for row in rows if row.image == image], theirs, ours, metric).rate
        if not isinstance(rate, str):
            rates[image] = rate.percent
    return sorted(rates.items(), key=lambda item: -item[1])[:count]


def spoiled(original: Pixels, ours: Pixels, theirs: Pixels) -> tuple[slice, slice]:
    """The square where our squared error exceeds theirs most, on a grid of half its side."""
    excess = ((original.astype(float) - ours) ** 2 - (original.astype(float) - theirs) ** 2).sum(2)
    step = SIDE // 2
    corners = [(r, c) for r in range(0, original.shape[0] - SIDE + 1, step) for c in range(0, original.shape[1] - SIDE + 1, step)]
    r, c = max(corners, key=lambda rc: excess[rc[0] : rc[0] + SIDE, rc[1] : rc[1] + SIDE].sum())
    return slice(r, r + SIDE), slice(c, c + SIDE)


def fitting(coder: Coder, rows: list[Row], image: str, most: int) -> float:
    """The setting of the largest measured file of at most `most` bytes."""
    found = {r.setting: r.bytes for r in rows if (r.codec, r.image) == (coder.name, image)}
    sizes = {s: found[coder.label(s)] for s in coder.settings if coder.label(s) in found}
    allowed = [s for s in sizes if sizes[s] <= most] or [min(sizes, key=sizes.__getitem__)]
    return max(allowed, key=sizes.__getitem__)


def sheet(folder: Path, rows: list[Row], ours: JahpCodec, theirs: Coder, metric: str, quality: float) -> Image.Image:
    chosen = worst(rows, ours.name, theirs.name, metric)
    out = Image.new("RGB", (3 * SIDE, len(chosen) * (SIDE + LINE)), "white")
    draw = ImageDraw.Draw(out)
    for i, (name, rate) in enumerate(chosen):
        original = load_rgb(folder / name)
        mine = ours.encode(original, quality)
        other = theirs.encode(original, fitting(theirs, rows, name, len(mine)))
        decoded = ours.decode(mine), theirs.decode(other)
        where = spoiled(original, *decoded)
        top = i * (SIDE + LINE)
        figures = [f"{psnr(original, d):.2f} dB" if metric == "psnr" else f"{ms_ssim(original, d):.4f}" for d in decoded]
        labels = [
            f"{Path(name).stem}: {rate:+.0f} % BD-rate",
            f"{ours.name}: {len(mine)} B, {figures[0]}",
            f"{theirs.name}: {len(other)} B, {figures[1]}",
        ]
        for column, (picture, label) in enumerate(zip((original, *decoded), labels, strict=True)):
            out.paste(Image.fromarray(np.ascontiguousarray(picture[where])), (column * SIDE, top + LINE))
            draw.text((column * SIDE + 3, top + 2), label, fill="black")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="mbt2018")
    parser.add_argument("--against", default="webp")
    parser.add_argument("--metric", choices=("psnr", "ms_ssim"), default="psnr")
    parser.add_argument("--quality", type=float, default=3.0)
    args = parser.parse_args()
    rows = list(read_results(args.report / "results.csv").values())
    (theirs,), _ = select_codecs([args.against])
    sheet(args.folder, rows, JahpCodec(args.model), theirs, args.metric, args.quality).save(args.out, quality=85, method=6)
    print(f"wrote {args.out}: {', '.join(f'{name} {rate:+.1f} %' for name, rate in worst(rows, args.model, args.against, args.metric))}")


if __name__ == "__main__":
    main()
