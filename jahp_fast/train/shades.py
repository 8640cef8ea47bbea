# SPDX-License-Identifier: Apache-2.0
"""Synthetic pictures without drawing: flat colours, ramps, vignettes, grain, objects of photos on plain grounds."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from jahp_fast.arguments import shown
from jahp_fast.errors import UsageError
from jahp_fast.train.canvas import Colour, Pixels, Size, between, colour, light, mixed, pick, vivid

Floats = NDArray[np.float64]


class Photos(Protocol):
    """What photos are taken from: a list of (H, W, 3) uint8, or what decodes one when it is asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Pixels: ...


def flat(rng: Generator, size: Size) -> Pixels:
    """One colour."""
    return np.full((*size, 3), colour(rng), np.uint8)


def ramp(rng: Generator, size: Size) -> Pixels:
    """A linear course of two to four colours in any direction; neighbours are at most one level apart."""
    return _levels(_linear(rng, size))


def radial(rng: Generator, size: Size) -> Pixels:
    """The same in circles around a point, which may lie outside."""
    y, x = _grid(size)
    v, u = rng.uniform(-0.3, 1.3, 2) * size
    away = np.hypot(x - u, y - v)
    return _levels(_course(rng, away - away.min()))


def vignette(rng: Generator, size: Size) -> Pixels:
    """A colour or a ramp that grows dark towards the corners, as behind a lens."""
    ground = _linear(rng, size)
    if rng.random() < 0.6 or ground.max(axis=2).min() < 48:  # darkness would hide it
        ground[:] = vivid(rng) if rng.random() < 0.5 else rng.integers(48, 256, 3)
    y, x = _grid(size)
    middle = rng.uniform(0.42, 0.58, 2) * size
    away = ((y - middle[0]) / size[0]) ** 2 + ((x - middle[1]) / size[1]) ** 2
    shade = (1 + rng.uniform(0.3, 2.5) * away) ** -2  # the law of cos^4 for a lens of some angle of view
    return _levels(ground * shade[:, :, None])


def grain(rng: Generator, size: Size) -> Pixels:
    """Noise as of film on a flat colour or a ramp: strongest in middle tones, grey or coloured, fine or coarse."""
    ground = np.full((*size, 3), colour(rng), np.float64) if rng.random() < 0.5 else _linear(rng, size)
    noise = rng.normal(0, 1, (*size, 1))
    if rng.random() < 0.5:
        noise = rng.uniform(0.3, 1) * noise + rng.normal(0, 0.7, (*size, 3))
    for axis in (0, 1):  # neighbours have some of the noise in common
        noise = noise + rng.uniform(0, 0.8) * np.roll(noise, 1, axis)
    tone = ground / 255
    return _levels(ground + rng.uniform(1, 12) * noise / noise.std() * (0.4 + 2.4 * tone * (1 - tone)))


def objects(rng: Generator, size: Size, photos: Photos) -> Pixels:
    """One to three pieces of photos with soft outlines on a plain ground, white ones and saturated ones above all.

    The ground reaches all around: objects and their shadows stay off the border.

    Raises UsageError for what is no photo.
    """
    share = rng.random()
    near_white: Colour = (between(rng, 235, 254),) * 3
    ground = (255, 255, 255) if share < 0.45 else near_white if share < 0.55 else vivid(rng) if share < 0.85 else colour(rng)
    picture = np.full((*size, 3), ground, np.float64)
    least = min(size)
    border = max(1, least // 24)
    y, x = _grid(size)
    for _ in range(pick(rng, (1, 1, 1, 2, 3))):
        soft, fall = rng.uniform(0.7, 5), rng.uniform(0, 0.04) * least
        drop = rng.uniform(2, 3) * fall if light(ground) and rng.random() < 0.5 else 0.0  # the softness of its shadow
        reach = (soft + drop) / 2 + (fall if drop else 0)
        radius = max(1.0, min(rng.uniform(0.12, 0.45) * least, least / 2 - border - reach))
        row, column = (rng.uniform(radius + reach + border, n - radius - reach - border) for n in size)
        outline = _outline(rng, y - row, x - column) - radius
        if drop:
            shadow = _outline_shadow(outline, fall, drop)
            picture *= 1 - rng.uniform(0.1, 0.5) * shadow[:, :, None]
        top, left = (max(0, int(n - radius - soft)) for n in (row, column))
        box = np.s_[top : int(row + radius + soft) + 2, left : int(column + radius + soft) + 2]
        mask = np.clip(0.5 - outline[box] / soft, 0, 1)[:, :, None]
        cut = piece(rng, photos[int(rng.integers(len(photos)))], max(mask.shape[:2]))
        picture[box] += mask * (cut[: mask.shape[0], : mask.shape[1]] - picture[box])
    return _levels(picture)


def piece(rng: Generator, photo: Pixels, side: int) -> Pixels:
    """A square of a photo, (side, side, 3): pixel for pixel, or a larger part of it shrunk."""
    if not isinstance(photo, np.ndarray) or photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
        raise UsageError(f"photos are arrays of uint8, (H, W, 3), not {shown(photo)}")
    most = min(photo.shape[:2])
    cut = min(most, side) if rng.random() < 0.5 else between(rng, min(most, side), most)
    top, left = (between(rng, 0, n - cut) for n in photo.shape[:2])
    crop = photo[top : top + cut, left : left + cut]
    if cut == side:
        return crop
    return np.asarray(Image.fromarray(crop).resize((side, side), Image.Resampling.LANCZOS))


def _outline(rng: Generator, y: Floats, x: Floats) -> Floats:
    """How large the shape is whose outline goes through each point: a disc, a rounded rectangle, or a smooth blob."""
    away = np.hypot(y, x)
    kind = rng.random()
    if kind < 0.25:
        return away
    if kind < 0.55:
        power, flatter = rng.uniform(3, 12), rng.uniform(0.4, 1)
        y, x = (y, x / flatter) if rng.random() < 0.5 else (y / flatter, x)
        return np.asarray((np.abs(y) ** power + np.abs(x) ** power) ** (1 / power))
    angle = np.arctan2(y, x)
    waves = np.ones_like(x)
    for k in range(2, 7):
        waves += rng.uniform(-0.35, 0.35) / k * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return np.asarray(away * waves.max() / np.maximum(waves, 0.2))


def _outline_shadow(outline: Floats, fall: float, softness: float) -> Floats:
    """0 to 1: the same shape, `fall` pixels further down, with an edge of `softness` pixels."""
    down = round(fall)
    moved = np.roll(outline, down, 0)
    moved[:down] = moved[down]
    share = np.clip(0.5 - moved / max(softness, 1.0), 0, 1)
    return share * share * (3 - 2 * share)


def _linear(rng: Generator, size: Size) -> Floats:
    """(H, W, 3): a course of colours along a direction; straight across or down in half of all."""
    turn = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else between(rng, 0, 3) * np.pi / 2
    y, x = _grid(size)
    along = np.round(np.cos(turn), 12) * x + np.round(np.sin(turn), 12) * y
    return _course(rng, along - along.min())


def _course(rng: Generator, along: Floats) -> Floats:
    """(H, W, 3): colours by a position in pixels, from 0 on.

    A stop that is too near for its colour takes one on the way there.
    """
    stops = pick(rng, (2, 2, 2, 3, 4))
    end = float(along.max())
    at = np.concatenate([[0], np.sort(rng.uniform(0.15, 0.85, stops - 2)), [1]]) * end
    first = colour(rng)
    colours = [np.array(first, np.float64)]
    # Many ramps are of nearly one hue, as skies and walls are.
    further = [mixed(first, colour(rng), rng.uniform(0.05, 0.3)) if rng.random() < 0.4 else colour(rng) for _ in range(stops - 1)]
    for k, wanted in enumerate(further):
        step = np.array(wanted) - colours[-1]
        most = 0.99 * (at[k + 1] - at[k])  # one level a pixel, and a little less for what rounding adds
        colours.append(colours[-1] + step * min(1.0, most / max(1.0, float(np.abs(step).max()))))
    levels = np.array(colours)
    return np.stack([np.interp(along, at, levels[:, c]) for c in range(3)], axis=-1)


def _grid(size: Size) -> tuple[Floats, Floats]:
    """The row and the column of each pixel, each (H, W)."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    return y, x


def _levels(picture: Floats) -> Pixels:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
