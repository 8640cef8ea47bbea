# SPDX-License-Identifier: Apache-2.0
"""Pictures that need nothing but Python, as SVG: the order of the wavefront, and the rate-distortion curves of docs/reference/models.md.

They take their colours from the page (style.css), so that they fit its light and its dark side.
"""

from __future__ import annotations

import html
import math
import re
from pathlib import Path

SLOPE = 3  # of the 5x5 mask: (r, c) is coded in step c + 3 r
ROWS, COLUMNS = 6, 12
LABEL = 17
"""Least distance of labels beside curves."""
STEP = 12  # the one that the drawing shows
CURVES = {"mbt2018": (0, "ours"), "JPEG 4:2:0": (1, "jpeg"), "WebP": (2, "webp"), "JPEG 2000": (3, "jp2")}
"""Name -> how many columns behind PSNR, MS-SSIM of the table's first codec, and its class in style.css."""


def draw(root: Path) -> dict[str, str]:
    """File name -> SVG."""
    return {"wavefront.svg": wavefront(), "kodak.svg": curves(kodak((root / "docs" / "reference" / "models.md").read_text()))}


def wavefront() -> str:
    cell, left, top = 44, 10, 10
    body = []
    for r in range(ROWS):
        for c in range(COLUMNS):
            step = c + SLOPE * r
            kind = "now" if step == STEP else "done" if step < STEP else "later"
            x, y = left + c * cell, top + r * cell
            body.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{cell - 4}" height="{cell - 4}" rx="5"/>')
            body.append(f'<text class="{kind}" x="{x + cell / 2 - 2}" y="{y + cell / 2 + 3}">{step}</text>')
    r, c = 2, STEP - 2 * SLOPE
    for dr in (-2, -1, 0):
        for dc in range(-2, 3):
            if (dr, dc) < (0, 0):
                x, y = left + (c + dc) * cell, top + (r + dr) * cell
                body.append(f'<rect class="tap" x="{x - 1}" y="{y - 1}" width="{cell - 2}" height="{cell - 2}" rx="6"/>')
    title = (f"Step of each position: column + {SLOPE} times row. Those of step {STEP} are decoded together; "
             "framed is what one of them reads.")  # fmt: skip
    return _svg(2 * left + COLUMNS * cell - 4, 2 * top + ROWS * cell - 4, title, "".join(body))


def kodak(models: str) -> dict[str, list[tuple[float, float]]]:
    """(bpp, PSNR in dB) of each codec at those rates of our qualities that it reaches, out of the table below "**Kodak**".

    Raises ValueError without one.
    """
    found = re.search(r"\*\*Kodak\*\*.*?\n\n\|(.*?)\n\n", models, re.DOTALL)
    if not found:
        raise ValueError("docs/reference/models.md has no table below **Kodak**")
    out: dict[str, list[tuple[float, float]]] = {name: [] for name in CURVES}
    for line in found[1].splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        bpp = float(cells[1])
        out["mbt2018"].append((bpp, float(cells[2])))
        for name, (place, _) in CURVES.items():
            if place and cells[3 + place] != "-":  # a rate that the codec does not reach
                out[name].append((bpp, float(cells[3 + place].split(" dB")[0])))
    return out


def curves(points: dict[str, list[tuple[float, float]]]) -> str:
    width, height, left, right, top, bottom = 640, 420, 52, 96, 16, 46
    rates = [bpp for curve in points.values() for bpp, _ in curve]
    levels = [psnr for curve in points.values() for _, psnr in curve]
    least, most = math.floor(min(levels)), math.ceil(max(levels))
    widest = math.ceil(max(rates) * 4) / 4

    def at(bpp: float, psnr: float) -> tuple[float, float]:
        return (left + (width - left - right) * bpp / widest, top + (height - top - bottom) * (most - psnr) / (most - least))

    body = []
    levels_shown = range(least, most + 1, 2)
    for level in levels_shown:
        y = at(0, level)[1]
        body.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(f'<text class="end" x="{left - 8}" y="{y + 5:.1f}">{level}{" dB" if level == levels_shown[-1] else ""}</text>')
    for i in range(int(widest * 4) + 1):
        x = at(i / 4, least)[0]
        body.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{height - bottom}"/>')
        if i % 2 == 0:
            body.append(f'<text x="{x:.1f}" y="{height - bottom + 20}">{i / 4:g}</text>')
    body.append(f'<text x="{(left + width - right) / 2}" y="{height - 8}">bits per pixel</text>')
    for name, curve in points.items():
        kind = CURVES[name][1]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*p) for p in curve))
        body.append(f'<polyline class="{kind}" points="{path}"/>')
        body += [f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in (at(*p) for p in curve)]
    ends = {name: at(*curve[-1]) for name, curve in points.items()}
    for (name, (x, _)), y in zip(sorted(ends.items(), key=lambda end: end[1][1]), apart(sorted(y for _, y in ends.values())), strict=True):
        body.append(f'<text class="start {CURVES[name][1]}" x="{x + 9:.1f}" y="{y + 5:.1f}">{name}</text>')
    return _svg(width, height, "PSNR over bits per pixel, mean of the 24 Kodak photos", "".join(body))


def apart(heights: list[float]) -> list[float]:
    """Heights of labels, from top to bottom: where they are, or further down, so that no two overlap."""
    out: list[float] = []
    for y in heights:
        out.append(max(y, out[-1] + LABEL) if out else y)
    return out


def _svg(width: float, height: float, title: str, body: str) -> str:
    return (f'<svg class="drawing" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">'
            f"<title>{html.escape(title)}</title>{body}</svg>")  # fmt: skip
