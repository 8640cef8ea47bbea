# SPDX-License-Identifier: Apache-2.0
"""Synthetic pictures of lines and areas: line art, maps, pixel art."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from jahp_fast.train.canvas import Canvas, Colour, Pixels, Size, between, colour, paper_and_ink, pick, words

Points = NDArray[np.float64]


def line_art(rng: Generator, size: Size) -> Pixels:
    """Curves, loops, stars and hatching in ink on paper, with a few closed shapes filled."""
    paper, ink = paper_and_ink(rng)
    canvas = Canvas(size, paper)
    inks = [ink, ink, ink, *(colour(rng) for _ in range(between(rng, 0, 3)))]
    scale = np.array([canvas.width, canvas.height])
    width = rng.uniform(0.7, 4)
    for _ in range(between(rng, 6, 40)):
        kind, pen, broad = rng.random(), pick(rng, inks), width * rng.uniform(0.6, 1.6)
        middle, radius = rng.uniform(0, 1, 2) * scale, rng.uniform(0.03, 0.3) * min(canvas.width, canvas.height)
        if kind < 0.4:
            canvas.line(_curve(rng.uniform(-0.1, 1.1, (4, 2)) * scale), pen, broad)
        elif kind < 0.85:
            shape = _loop(rng, middle, radius) if kind < 0.7 else _star(rng, middle, radius)
            if rng.random() < 0.3:
                canvas.polygon(shape, pick(rng, (paper, *inks)))
            canvas.line([*shape, *shape[:2]], pen, broad)
        else:
            turn, count = rng.uniform(0, np.pi), between(rng, 4, 20)
            along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
            for k in np.linspace(-1, 1, count):
                half = radius * np.sqrt(max(0.02, 1 - k * k))
                canvas.line([middle + k * radius * across + s * half * along for s in (-1, 1)], pen, broad * 0.5)
    return canvas.pixels()


def _curve(p: Points) -> Points:
    """(40, 2): the cubic curve of four points."""
    t = np.linspace(0, 1, 40)[:, None]
    return np.asarray((1 - t) ** 3 * p[0] + 3 * (1 - t) ** 2 * t * p[1] + 3 * (1 - t) * t**2 * p[2] + t**3 * p[3])


def _loop(rng: Generator, middle: Points, radius: float) -> Points:
    """(72, 2): a closed, smooth outline."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    away = np.ones(72)
    for k in range(2, 6):
        away += rng.uniform(-0.35, 0.35) / k * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return np.asarray(middle + radius * np.stack([np.cos(angle), np.sin(angle)], 1) * away[:, None])


def _star(rng: Generator, middle: Points, radius: float) -> Points:
    """(2 n, 2): a star of n points, or nearly a regular polygon."""
    points, inner = between(rng, 3, 8), rng.uniform(0.35, 0.95)
    angle = np.linspace(0, 2 * np.pi, 2 * points, endpoint=False) + rng.uniform(0, np.pi)
    away = radius * np.where(np.arange(2 * points) % 2, inner, 1.0)
    return np.asarray(middle + np.stack([np.cos(angle), np.sin(angle)], 1) * away[:, None])


def street_map(rng: Generator, size: Size) -> Pixels:
    """Land with water, parks and buildings, a net of streets under main roads, and their names."""
    land, water, park, minor, major, rim, house, ink = pick(rng, _PALETTES)
    canvas = Canvas(size, land)
    span = float(np.hypot(*size))
    middle = np.array([canvas.width, canvas.height]) * rng.uniform(0.2, 0.8, 2)
    for fill, most in ((park, 4), (water, 2)):
        for _ in range(between(rng, 0, most)):
            canvas.polygon(_loop(rng, rng.uniform(0, 1, 2) * (canvas.width, canvas.height), rng.uniform(0.06, 0.3) * span), fill)
    turn, gap = rng.uniform(0, np.pi / 2), rng.uniform(0.07, 0.16) * span
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    reach = np.arange(-span, span, gap)
    if rng.random() < 0.7:
        for u in reach:
            for v in reach:
                if rng.random() < 0.6:
                    a, b = (u + gap * rng.uniform(0.2, 0.35), u + gap * rng.uniform(0.6, 0.8))
                    c, d = (v + gap * rng.uniform(0.2, 0.35), v + gap * rng.uniform(0.6, 0.8))
                    canvas.polygon([middle + x * along + y * across for x, y in ((a, c), (b, c), (b, d), (a, d))], house)
    streets = [
        np.array([middle + at * one - span * other, middle + (at + rng.normal(0, 0.1) * gap) * one + span * other])
        for one, other in ((along, across), (across, along))
        for at in reach
        if rng.random() < 0.85
    ]
    broad = rng.uniform(2, 6)
    roads = [_through(rng, middle, span) for _ in range(between(rng, 0, 3))]
    if rng.random() < 0.4:
        canvas.line(_through(rng, middle, span), water, rng.uniform(8, 30))
    for lines, width, fill in ((streets, broad, minor), (roads, broad * rng.uniform(1.5, 2.5), major)):
        for colour_here, wide in ((rim, width + 2), (fill, width)):  # all rims first: crossings stay open
            for line in lines:
                canvas.line(line, colour_here, wide)
    letters = pick(rng, (9, 10, 11, 12, 14))
    for _ in range(between(rng, 2, 10)):
        x, y = rng.uniform(0, 0.9, 2) * (canvas.width, canvas.height)
        canvas.text(x, y, words(rng, between(rng, 1, 2)), letters, ink, halo=land)
    return canvas.pixels()


def _through(rng: Generator, middle: Points, span: float) -> Points:
    """(40, 2): a curve near the middle, from outside to outside."""
    turn = rng.uniform(0, np.pi)
    along = np.array([np.cos(turn), np.sin(turn)])
    return _curve(middle + span * (np.outer([-1.2, -0.4, 0.4, 1.2], along) + rng.normal(0, 0.2, (4, 2))))


# Land, water, park, street, main road, rim of roads, house, letters.
_PALETTES: tuple[tuple[Colour, ...], ...] = (
    ((242, 239, 233), (170, 211, 223), (200, 250, 204), (255, 255, 255), (252, 214, 164), (190, 184, 175), (217, 208, 201), (60, 60, 60)),
    ((232, 234, 237), (156, 192, 249), (187, 226, 198), (255, 255, 255), (253, 226, 147), (214, 216, 219), (222, 224, 228), (70, 80, 90)),
    ((36, 47, 62), (23, 38, 60), (38, 60, 63), (56, 65, 78), (116, 104, 85), (33, 42, 55), (46, 57, 72), (213, 149, 99)),
    (
        (250, 250, 248),
        (203, 210, 211),
        (235, 240, 230),
        (255, 255, 255),
        (230, 230, 230),
        (210, 210, 210),
        (240, 240, 238),
        (110, 110, 110),
    ),
    ((255, 247, 214), (0, 130, 200), (60, 180, 75), (255, 255, 255), (230, 25, 75), (0, 0, 0), (200, 170, 120), (0, 0, 0)),
)


def pixel_art(rng: Generator, size: Size) -> Pixels:
    """A scene in few colours and blocks of 2 to 8 pixels: a sky in bands, ground of tiles, sprites that mirror."""
    block = between(rng, 2, 8)
    rows, columns = (-(-n // block) for n in size)
    palette = np.array([colour(rng) for _ in range(between(rng, 4, 12))], np.uint8)
    scene = _sky(rng, rows, columns, len(palette))
    ground = between(rng, rows // 2, rows)
    side = pick(rng, (4, 6, 8))
    tile = _sprite(rng, side, len(palette))[1]
    below = np.tile(tile, (rows // side + 1, columns // side + 1))[: rows - ground, :columns]
    scene[ground:] = below
    for _ in range(between(rng, 3, 25)):
        shape, sprite = _sprite(rng, pick(rng, (6, 8, 10, 12, 16)), len(palette))
        top, left = (between(rng, 0, max(0, n - len(sprite))) for n in scene.shape)
        part = scene[top : top + len(sprite), left : left + len(sprite)]
        here = np.s_[: part.shape[0], : part.shape[1]]
        part[shape[here]] = sprite[here][shape[here]]
    return palette[np.repeat(np.repeat(scene, block, 0), block, 1)[: size[0], : size[1]]]


def _sky(rng: Generator, rows: int, columns: int, colours: int) -> NDArray[np.int64]:
    """(rows, columns) of indices: one colour, or bands from one to the next, woven where they meet in half of all."""
    bands = between(rng, 1, min(4, colours))
    depth = np.arange(rows)[:, None] * bands / rows
    woven = (np.add.outer(np.arange(rows), np.arange(columns)) % 2) * (0.3 if rng.random() < 0.5 else 0.0)
    return np.minimum(depth + woven, bands - 1).astype(np.int64)


def _sprite(rng: Generator, side: int, colours: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Where it is, and its indices, both (side, side): a half at random, its mirror image, a rim around them."""
    half = rng.random((side - 2, side // 2 - 1)) < 0.55
    inside = np.pad(np.concatenate([half, half[:, ::-1]], axis=1), 1)
    around = inside.copy()
    for axis in (0, 1):
        around |= np.roll(inside, 1, axis) | np.roll(inside, -1, axis)
    rim, *fills = (int(n) for n in rng.integers(0, colours, 4))
    paint = rng.integers(0, len(fills), (side, side // 2))
    paint = np.repeat(np.repeat(paint, 2, 0), 2, 1)[:side, : side // 2]
    indices = np.array(fills)[np.concatenate([paint, paint[:, ::-1]], axis=1)]
    return around, np.where(inside, indices, rim)
