# SPDX-License-Identifier: Apache-2.0
"""Synthetic pictures with words in them: text, interfaces, charts."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from jahp_fast.train.canvas import (
    Canvas,
    Colour,
    Pixels,
    Size,
    between,
    colour,
    font,
    light,
    mixed,
    number,
    paper_and_ink,
    pick,
    vivid,
    word,
    words,
)


def text(rng: Generator, size: Size) -> Pixels:
    """Paragraphs under larger headings, in one or two columns; dark on light, light on dark, or in colours."""
    paper, ink = paper_and_ink(rng)
    accent = mixed(ink, vivid(rng), 0.6)
    canvas = Canvas(size, paper)
    body = pick(rng, (9, 10, 11, 12, 13, 14, 16, 18, 24, 32, 48))
    columns = 1 if body > 14 or rng.random() < 0.6 else 2
    margin, leading = between(rng, 2, 16), rng.uniform(1.15, 1.6)
    width = (canvas.width - margin) / columns - margin
    for column in range(columns):
        left, y = margin + column * (width + margin), float(margin)
        while y < canvas.height:
            if rng.random() < 0.35:
                heading = round(body * rng.uniform(1.2, 1.8))
                canvas.text(left, y, _fitting(rng, heading, width), heading, pick(rng, (ink, accent)))
                y += heading * 1.5
            for _ in range(between(rng, 2, 7)):
                marked = rng.random() < 0.08
                canvas.text(left, y, _fitting(rng, body, width), body, accent if marked else ink)
                y += body * leading
            y += body * rng.uniform(0.3, 0.9)
    return canvas.pixels()


def _fitting(rng: Generator, size: int, width: float) -> str:
    """As many words as fit, at least one; now and then the short last line of a paragraph."""
    room = width * (rng.uniform(0.2, 0.7) if rng.random() < 0.15 else 1.0)
    line = word(rng)
    while font(size).getlength(longer := f"{line} {word(rng)}") <= room:
        line = longer
    return line


def interface(rng: Generator, size: Size) -> Pixels:
    """A screen, light or dark: windows with title bars, lists, buttons, fields, switches, sliders, tables."""
    dark = rng.random() < 0.4
    base: Colour = (between(rng, 16, 48),) * 3 if dark else (between(rng, 225, 255),) * 3
    canvas = Canvas(size, mixed(colour(rng), base, pick(rng, (0.0, 0.7, 1.0))))
    accent = vivid(rng)
    for _ in range(between(rng, 1, 3)):
        width, height = rng.uniform(0.5, 1.1) * canvas.width, rng.uniform(0.5, 1.1) * canvas.height
        left, top = (round(rng.uniform(-0.1, 1.05) * max(n, 0)) for n in (canvas.width - width, canvas.height - height))
        _window(rng, canvas, (left, top, left + round(width), top + round(height)), mixed(base, accent, rng.uniform(0, 0.06)), accent)
    return canvas.pixels()


def _window(rng: Generator, canvas: Canvas, box: tuple[int, int, int, int], face: Colour, accent: Colour) -> None:
    left, top, right, bottom = box
    ink: Colour = (30, 30, 30) if light(face) else (225, 225, 225)
    rim, bar = mixed(face, ink, 0.25), mixed(face, ink, rng.uniform(0.05, 0.15))
    size = pick(rng, (10, 11, 12, 13, 14, 16))
    round_by, row = pick(rng, (0, 0, 4, 8)), round(size * rng.uniform(1.8, 2.4))
    canvas.plate(left, top, right, bottom, round_by, rim)
    canvas.plate(left + 1, top + 1, right - 1, bottom - 1, max(0, round_by - 1), face)
    canvas.plate(left + 1, top + 1, right - 1, top + row, max(0, round_by - 1), bar)
    canvas.text(left + 60, top + row / 2 - size * 0.6, words(rng, 2), size, ink)
    for k, light_colour in enumerate(((255, 95, 87), (254, 188, 46), (40, 200, 64))):
        canvas.disc(left + 12 + 16 * k, top + row / 2, 5, light_colour)
    side = left + (round((right - left) * rng.uniform(0.2, 0.4)) if rng.random() < 0.5 else 0)
    if side > left:
        canvas.box(left + 1, top + row, side, bottom - 1, mixed(face, ink, 0.04))
        _list(rng, canvas, (left + 1, top + row, side, bottom - 1), size, ink, accent)
    y = top + row + 8
    while y + row < bottom:
        y += _widgets(rng, canvas, (side + 12, y, right - 12), size, row, (face, ink, accent))


def _list(rng: Generator, canvas: Canvas, box: tuple[int, int, int, int], size: int, ink: Colour, accent: Colour) -> None:
    """Lines of a word or two, one of them chosen."""
    left, top, right, bottom = box
    step = round(size * 1.8)
    rows = max(1, (bottom - top) // step)
    chosen = between(rng, 0, rows - 1)
    for k in range(rows):
        y = top + k * step
        if k == chosen:
            canvas.box(left, y, right, y + step, accent)
        colour_here = ink if k != chosen else (0, 0, 0) if light(accent) else (255, 255, 255)
        canvas.text(left + 8, y + step / 2 - size * 0.6, word(rng)[: (right - left) // size], size, colour_here)


def _widgets(
    rng: Generator, canvas: Canvas, at: tuple[int, int, int], size: int, row: int, theme: tuple[Colour, Colour, Colour]
) -> int:  # fmt: skip
    """One row of a window, from left to right of x = at[0] to at[2]; returns its height."""
    left, y, right = at
    face, ink, accent = theme
    rim, middle, text_at = mixed(face, ink, 0.35), y + row / 2, y + row / 2 - size * 0.6
    room = max(1, right - left)
    kind = pick(rng, ("buttons", "buttons", "field", "switches", "slider", "table", "words", "rule", "card"))
    if kind == "buttons":
        x, primary = float(left), True
        while x + 40 < right:
            label = word(rng)[:12]
            width = font(size).getlength(label) + 20
            if x + width > right:
                break
            plain = mixed(face, ink, 0.1)
            canvas.plate(x, y, x + width, y + row - 4, 5, accent if primary else rim)
            if not primary:
                canvas.plate(x + 1, y + 1, x + width - 1, y + row - 5, 4, plain)
            on = accent if primary else plain
            canvas.text(x + 10, text_at - 2, label, size, (20, 20, 20) if light(on) else (250, 250, 250))
            x, primary = x + width + 8, rng.random() < 0.15
    elif kind == "field":
        canvas.plate(left, y, right, y + row - 4, 3, rim)
        canvas.plate(left + 1, y + 1, right - 1, y + row - 5, 2, mixed(face, (255, 255, 255) if light(face) else (0, 0, 0), 0.7))
        canvas.text(left + 8, text_at - 2, _fitting(rng, size, room * 0.7), size, mixed(ink, face, 0.4))
    elif kind == "switches":
        for x in range(left, max(left + 1, right - 90), 110):
            turned_on = rng.random() < 0.5
            canvas.plate(x, middle - 8, x + 28, middle + 8, 8, accent if turned_on else rim)
            canvas.disc(x + (20 if turned_on else 8), middle, 6, (255, 255, 255))
            canvas.text(x + 34, text_at, word(rng)[:8], size, ink)
    elif kind == "slider":
        share = rng.random()
        canvas.plate(left, middle - 2, right, middle + 2, 2, rim)
        canvas.plate(left, middle - 2, left + share * room, middle + 2, 2, accent)
        canvas.disc(left + share * room, middle, 7, mixed(face, (255, 255, 255), 0.8))
    elif kind == "table":
        cells, lines = between(rng, 2, 4), between(rng, 2, 6)
        step = round(size * 1.6)
        for k in range(lines):
            if k % 2 == 0:
                canvas.box(left, y + k * step, right, y + (k + 1) * step, mixed(face, ink, 0.18 if k == 0 else 0.05))
            for c in range(cells):
                canvas.text(left + 4 + c * room // cells, y + k * step + step * 0.15, (word if c == 0 else number)(rng)[:10], size, ink)
        return lines * step + 8
    elif kind == "card":
        height = between(rng, 2 * row, 4 * row)
        canvas.plate(left, y, right, y + height, 8, mixed(face, colour(rng), rng.uniform(0.1, 1)))
        return height + 10
    elif kind == "words":
        canvas.text(left, text_at, _fitting(rng, size, room), size, ink)
    else:
        canvas.box(left, middle, right, middle + 1, rim)
    return row + 4


def chart(rng: Generator, size: Size) -> Pixels:
    """A plot with axes, ticks, a grid and a legend: lines, areas, bars or scattered points, now and then a pie."""
    paper, ink = paper_and_ink(rng) if rng.random() < 0.6 else ((255, 255, 255), (0, 0, 0))
    canvas = Canvas(size, paper)
    letters = pick(rng, (9, 10, 11, 12, 14))
    left, right = letters * 3.2, canvas.width - letters * rng.uniform(0.8, 2)
    top, bottom = letters * rng.uniform(2, 3), canvas.height - letters * 2.5
    grid = mixed(paper, ink, rng.uniform(0.06, 0.25))
    across, up = between(rng, 3, 10), between(rng, 3, 8)
    ticks_x, ticks_y = np.rint(np.linspace(left, right, across + 1)), np.rint(np.linspace(bottom, top, up + 1))
    series = [vivid(rng) for _ in range(between(rng, 1, 5))]
    kind = pick(rng, ("lines", "lines", "bars", "points", "area", "pie"))
    canvas.text((left + right) / 3, 2, words(rng, 3), letters + 2, ink)
    if kind == "pie":
        _pie(rng, canvas, series, letters, ink)
        return canvas.pixels()
    gridded = rng.random() < 0.7
    for x, y in [(x, None) for x in ticks_x] + [(None, y) for y in ticks_y]:
        if x is not None:
            canvas.box(x, top if gridded else bottom - 4, x + 1, bottom, grid if gridded else ink)
        elif y is not None:
            canvas.box(left, y, right if gridded else left + 4, y + 1, grid if gridded else ink)
    unit = pick(rng, (1, 2, 5, 10, 25, 0.1, 0.5))
    for k, x in enumerate(ticks_x[:-1]):
        canvas.text(x - letters / 3, bottom + 4, f"{k * unit:g}", letters, ink)
    for k, y in enumerate(ticks_y):
        label = f"{k * unit * 10:g}"
        canvas.text(left - 5 - font(letters).getlength(label), y - letters * 0.6, label, letters, ink)
    if kind == "bars":
        slots = between(rng, 4, 16)
        step = (right - left) / slots
        for slot in range(slots):
            for k, fill in enumerate(series):
                x, wide = left + step * (slot + 0.12 + 0.76 * k / len(series)), 0.76 * step / len(series)
                canvas.box(x, bottom - rng.uniform(0.03, 1) * (bottom - top), x + wide, bottom, fill)
    else:
        for fill in series:
            _series(rng, canvas, kind, (left, top, right, bottom), fill, mixed(fill, paper, 0.6))
    canvas.box(left, top, left + 1, bottom, ink)
    canvas.box(left, bottom, right, bottom + 1, ink)
    if rng.random() < 0.5:
        canvas.frame(left, top, right, bottom + 1, ink)
    if rng.random() < 0.6:
        _legend(rng, canvas, (left + 8, top + 8), series, letters, (paper, ink))
    return canvas.pixels()


def _series(
    rng: Generator, canvas: Canvas, kind: str, box: tuple[float, float, float, float], fill: Colour, pale: Colour
) -> None:  # fmt: skip
    """A walk at random as a line or an area, or a cloud of points."""
    left, top, right, bottom = box
    count = between(rng, 8, 120)
    if kind == "points":
        middle, spread = rng.uniform(0.2, 0.8, 2), rng.uniform(0.03, 0.2, 2)
        radius = rng.uniform(1.5, 4)
        for u, v in np.clip(rng.normal(middle, spread, (count, 2)), 0.01, 0.99):
            canvas.disc(left + u * (right - left), top + v * (bottom - top), radius, fill)
        return
    walk = np.cumsum(rng.normal(0, 1, count))
    walk = (walk - walk.min()) / max(float(np.ptp(walk)), 1e-9) * rng.uniform(0.2, 0.9) + rng.uniform(0.02, 0.1)
    points = np.stack([np.linspace(left, right, count), bottom - walk * (bottom - top)], axis=1)
    if kind == "area":
        canvas.polygon([*points, (right, bottom), (left, bottom)], pale)
    canvas.line(points, fill, pick(rng, (1.0, 1.5, 2.0, 3.0)))
    if count < 30 and rng.random() < 0.5:
        for x, y in points:
            canvas.disc(x, y, 3, fill)


def _legend(
    rng: Generator, canvas: Canvas, at: tuple[float, float], series: list[Colour], letters: int, theme: tuple[Colour, Colour]
) -> None:
    x, y = at
    paper, ink = theme
    step = round(letters * 1.5)
    canvas.box(x, y, x + letters * 8, y + step * len(series) + 6, mixed(paper, ink, 0.3))
    canvas.box(x + 1, y + 1, x + letters * 8 - 1, y + step * len(series) + 5, paper)
    for k, fill in enumerate(series):
        canvas.box(x + 6, y + 4 + k * step + letters / 2 - 1, x + 22, y + 6 + k * step + letters / 2, fill)
        canvas.text(x + 28, y + 3 + k * step, word(rng)[:8], letters, ink)


def _pie(rng: Generator, canvas: Canvas, series: list[Colour], letters: int, ink: Colour) -> None:
    shares = rng.dirichlet(np.full(len(series) + 2, 2.0))
    ends = np.concatenate([[0], np.cumsum(shares)]) * 360 - 90
    x, y, radius = canvas.width / 2, canvas.height / 2, min(canvas.width, canvas.height) * 0.36
    for k, share in enumerate(shares):
        canvas.slice(x, y, radius, float(ends[k]), float(ends[k + 1]), series[k] if k < len(series) else vivid(rng))
        middle = np.radians((ends[k] + ends[k + 1]) / 2)
        canvas.text(
            x + 1.15 * radius * np.cos(middle) - letters, y + 1.15 * radius * np.sin(middle) - letters / 2, f"{share:.0%}", letters, ink
        )
