# SPDX-License-Identifier: Apache-2.0
"""What synthetic pictures are drawn with: colours, words, and a canvas whose shapes have smooth edges."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Pixels = NDArray[np.uint8]
Size = tuple[int, int]
"""Height, width."""
T = TypeVar("T")

_FINE = 4
"""Shapes are drawn this many times as large, then averaged."""
_SENTENCE = (
    "the of and to in is that for it as with on be at by this have from or one had not but what all were when we there can an your which "
    "their said if do will each about how up out them then she many some so these would other into has more her two like him see time "
    "could no make than first been its who now people my made over did down only way find use may water long little very after called "
    "just where most know Picture Total Price Open Save File Edit View Help Search Settings Account Cancel Next Back Share Message Today "
    "Yesterday Name Size Date Type Kind Delete Copy Paste Sign Up Street Lake Park Station Hotel North South River Avenue Bridge"
)
_WORDS = tuple(_SENTENCE.split())
_ONSETS = ("b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st", "tr", "pl", "sch", "qu", "z", "j", "")
_VOWELS = ("a", "e", "i", "o", "u", "ea", "ou", "ie", "y")
_CODAS = ("", "", "n", "r", "s", "t", "l", "nd", "ck", "x", "m")


def pick(rng: Generator, items: Sequence[T]) -> T:
    """One of them, all equally likely."""
    return items[int(rng.integers(len(items)))]


def between(rng: Generator, least: int, most: int) -> int:
    """A whole number from `least` to `most`, both included; `least` where `most` is smaller."""
    return int(rng.integers(least, max(least, most) + 1))


def colour(rng: Generator) -> Colour:
    """A colour; the corners, the greys, the rim and the inside of the cube each have a share."""
    share = rng.random()
    if share < 0.2:
        return _triple(255 * rng.integers(0, 2, 3))
    if share < 0.35:  # papers and screens: near white, near black
        level = between(rng, 0, 24)
        return _triple(np.clip((level if rng.random() < 0.4 else 255 - level) + rng.integers(-3, 4, 3), 0, 255))
    if share < 0.55:
        return vivid(rng)
    return _triple(rng.integers(0, 256, 3))


def vivid(rng: Generator) -> Colour:
    """A saturated colour."""
    hue, saturation, value = rng.random(), rng.uniform(0.7, 1), rng.uniform(0.5, 1)
    return _triple(np.rint(255 * np.array(colorsys.hsv_to_rgb(hue, saturation, value))).astype(int))


def mixed(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with this share of `b`."""
    return _triple(np.rint(np.array(a) * (1 - share) + np.array(b) * share).astype(int))


def light(c: Colour) -> bool:
    """Whether dark ink is read well on it."""
    return 0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2] > 128


def paper_and_ink(rng: Generator) -> tuple[Colour, Colour]:
    """Two colours that can be told apart: mostly black or near it on white, or the other way round."""
    if rng.random() < 0.6:
        paper, ink = ((between(rng, 244, 255),) * 3, (between(rng, 0, 50),) * 3)
        return (ink, paper) if rng.random() < 0.35 else (paper, ink)
    paper = colour(rng)
    far = (0, 0, 0) if light(paper) else (255, 255, 255)
    return paper, mixed(far, colour(rng), rng.uniform(0, 0.35))


def word(rng: Generator) -> str:
    """A word of a short list, a number, or one that nobody has read before."""
    share = rng.random()
    if share < 0.6:
        return pick(rng, _WORDS)
    if share < 0.72:
        return number(rng)
    syllables = (pick(rng, _ONSETS) + pick(rng, _VOWELS) + pick(rng, _CODAS) for _ in range(between(rng, 1, 3)))
    made = "".join(syllables)
    return made.capitalize() if rng.random() < 0.2 else made


def number(rng: Generator) -> str:
    """A count, a price, a share or a year."""
    return pick(rng, ("{:,}", "{}.99", "{}%", "20{:02}", "${}", "#{}")).format(between(rng, 0, 10 ** between(rng, 1, 5)))


def words(rng: Generator, count: int) -> str:
    """`count` words with spaces between them."""
    return " ".join(word(rng) for _ in range(count))


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, `size` pixels high, laid out by Pillow alone: the same wherever Pillow is."""
    found = ImageFont.load_default(size)
    assert isinstance(found, ImageFont.FreeTypeFont)  # it is, where a size is given
    return found.font_variant(layout_engine=ImageFont.Layout.BASIC)


class Canvas:
    """A picture that is painted on. Coordinates are x, y in pixels, fractions allowed; what lies outside is cut off.

    Args:
        size: height and width.
    """

    def __init__(self, size: Size, ground: Colour) -> None:
        self.height, self.width = size
        self.image = Image.new("RGB", (self.width, self.height), ground)
        self._draw = ImageDraw.Draw(self.image)

    def pixels(self) -> Pixels:
        """(H, W, 3) uint8."""
        return np.array(self.image)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """A rectangle of whole pixels, right and bottom excluded: its edges are sharp."""
        x, y, u, v = round(left), round(top), round(right) - 1, round(bottom) - 1
        if x <= u and y <= v:
            self._draw.rectangle((x, y, u, v), fill=fill)

    def frame(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """The rim of such a rectangle, one pixel wide."""
        self.box(left, top, right, top + 1, fill)
        self.box(left, bottom - 1, right, bottom, fill)
        self.box(left, top, left + 1, bottom, fill)
        self.box(right - 1, top, right, bottom, fill)

    def line(self, points: ArrayLike, fill: Colour, width: float = 1.0) -> None:
        """A stroke through (n, 2) points."""
        broad = max(1, round(_FINE * width))
        self._paint(points, width, fill, lambda draw, at: draw.line(at, 255, broad, "curve"))

    def polygon(self, points: ArrayLike, fill: Colour) -> None:
        """The inside of (n, 2) points."""
        self._paint(points, 1, fill, lambda draw, at: draw.polygon(at, 255))

    def disc(self, x: float, y: float, radius: float, fill: Colour) -> None:
        """A circle, filled."""
        box = ((x - radius, y - radius), (x + radius, y + radius))
        self._paint(box, 1, fill, lambda draw, at: draw.ellipse([*at[0], *at[1]], 255))

    def slice(self, x: float, y: float, radius: float, start: float, end: float, fill: Colour) -> None:
        """A slice of a disc, from `start` to `end` degrees."""
        box = ((x - radius, y - radius), (x + radius, y + radius))
        self._paint(box, 1, fill, lambda draw, at: draw.pieslice([*at[0], *at[1]], start, end, 255))

    def plate(self, left: float, top: float, right: float, bottom: float, radius: float, fill: Colour) -> None:
        """A rectangle with round corners."""
        if right - left >= 1 and bottom - top >= 1:
            box = ((left, top), (right, bottom))
            self._paint(box, 1, fill, lambda draw, at: draw.rounded_rectangle([*at[0], *at[1]], _FINE * radius, 255))

    def text(self, x: float, y: float, text: str, size: int, fill: Colour, halo: Colour | None = None) -> None:
        """One line, whose top left corner is at x, y; `halo` is a rim of two pixels around its letters."""
        if halo is None:
            self._draw.text((round(x), round(y)), text, fill, font(size))
        else:
            self._draw.text((round(x), round(y)), text, fill, font(size), stroke_width=2, stroke_fill=halo)

    def _paint(
        self,
        points: ArrayLike,
        reach: float,
        fill: Colour,
        stroke: Callable[[ImageDraw.ImageDraw, list[tuple[float, float]]], None],
    ) -> None:
        """Fills what `stroke` draws in white on black, enlarged, within `reach` pixels of the points."""
        at = np.asarray(points, np.float64)
        left, top = (int(n) for n in np.maximum(np.floor(at.min(0) - reach), 0))
        right, bottom = (int(n) for n in np.minimum(np.ceil(at.max(0) + reach) + 1, (self.width, self.height)))
        if left >= right or top >= bottom:
            return
        mask = Image.new("L", (_FINE * (right - left), _FINE * (bottom - top)))
        stroke(ImageDraw.Draw(mask), [(float(x), float(y)) for x, y in (at - (left, top)) * _FINE])
        self.image.paste(fill, (left, top, right, bottom), mask.reduce(_FINE))


def _triple(values: NDArray[np.int_]) -> Colour:
    r, g, b = (int(v) for v in values)
    return r, g, b
