# SPDX-License-Identifier: Apache-2.0
"""Which latents the pixels of a view are made of, by the geometry of the layers between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jahp_fast.constants import STRIDE
from jahp_fast.entropy.layout import Part
from jahp_fast.files.view import View
from jahp_fast.transforms.layers import Layer


class Window(NamedTuple):
    """A rectangle of latents that holds all that a view depends on, and what becomes of it.

    A net that is given these latents alone reads zeros beyond them where the picture goes on, so it makes other pixels near the
    rectangle's border; those of the view are as they are in the whole picture.

    Attributes:
        part: of the latents.
        top, left: where the view begins in what the net makes of them.
    """

    part: Part
    top: int
    left: int

    @property
    def height(self) -> int:
        return self.part.rows[1] - self.part.rows[0]

    @property
    def width(self) -> int:
        return self.part.columns[1] - self.part.columns[0]


class Reach(NamedTuple):
    """What one layer reads. deconv: transposed, of stride 2; else `stride` is a convolution's."""

    deconv: bool
    kernel: int
    stride: int


def reaches(layers: Sequence[Layer]) -> list[Reach]:
    return [Reach(layer.kind == "deconv", layer.weight.shape[2], layer.stride) for layer in layers]


def seen(layers: Sequence[Reach], first: int, end: int) -> tuple[int, int]:
    """(first, end) of the input rows, or columns, that outputs from `first` to before `end` read; they may lie outside of the map.

    A transposed 5x5 convolution of stride 2 makes output r of the inputs i with r = 2 i + a - 2 for an a of 0 to 4; a convolution of
    k x k makes it of those from r * stride - k // 2 on.
    """
    for deconv, kernel, stride in reversed(layers):
        if deconv:
            first, end = (first - 1) >> 1, ((end + 1) >> 1) + 1
        else:
            first, end = first * stride - kernel // 2, (end - 1) * stride + kernel // 2 + 1
    return first, end


def window(layers: Sequence[Reach], view: View, height: int, width: int) -> Window:
    """Of a view of what the layers make of height x width latents: a picture at the view's scale."""
    rows, columns = (
        (max(first, 0), min(end, size))
        for (first, end), size in (
            (seen(layers, view.top, view.top + view.height), height),
            (seen(layers, view.left, view.left + view.width), width),
        )
    )
    grown = STRIDE // view.scale
    return Window(Part(rows, columns), view.top - rows[0] * grown, view.left - columns[0] * grown)
