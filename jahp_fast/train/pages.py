# SPDX-License-Identifier: Apache-2.0
"""Synthetic pictures of pages and screens with photos on them."""

from __future__ import annotations

from numpy.random import Generator

from jahp_fast.train import graphics
from jahp_fast.train.canvas import Pixels, Size, between, colour, pick
from jahp_fast.train.shades import Photos, piece


def page(rng: Generator, size: Size, photos: Photos) -> Pixels:
    """Text, an interface or a chart, with one to three rectangles of photos over it; some have a rim.

    Raises UsageError for what is no photo.
    """
    picture = pick(rng, (graphics.text, graphics.interface, graphics.chart))(rng, size).copy()
    for _ in range(between(rng, 1, 3)):
        height, width = (max(8, round(rng.uniform(0.15, 0.6) * n)) for n in size)
        top, left = between(rng, 0, size[0] - height), between(rng, 0, size[1] - width)
        rim = pick(rng, (0, 0, 1, 2))
        picture[top : top + height, left : left + width] = colour(rng)
        cut = piece(rng, photos[int(rng.integers(len(photos)))], max(height, width))
        picture[top + rim : top + height - rim, left + rim : left + width - rim] = cut[rim : height - rim, rim : width - rim]
    return picture
