# SPDX-License-Identifier: Apache-2.0
"""From the pixels of a stream's latents to those that a caller gets: what a layer makes of them, at a view, and alpha beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.files import layers
from jahp_fast.files.alpha import AlphaView
from jahp_fast.files.container import Stream
from jahp_fast.files.deep import ALPHA, ALPHA_REST, narrowed, of_bytes
from jahp_fast.files.deep_layers import DeepLayer
from jahp_fast.files.view import View, averaged_rows

Pixels = NDArray[np.uint8]


def coarse_view(stream: Stream, view: View) -> View:
    """What of the pixels of its latents a view of a stream wants: below a layer whole strips of it, but at a scale below a residual one
    only what is seen."""
    layer = stream.layer
    if layer is None or (view.scale > 1 and layer.kind == "residual"):
        return view
    deep = layer.bits > 8
    if not view.partial:
        return View.whole(view.height, view.width, deep)
    large = view.at_full_size(stream.height, stream.width)
    top, end = layer.strips_around(large.top, large.top + large.height, stream.height)
    return View(1, top, 0, end - top, stream.width, True, deep)


def layered_rows(stream: Stream, view: View, coarse: Iterable[NDArray[Any]], threads: int) -> Iterator[NDArray[Any]]:
    """The pixels of a view of a stream, (k, W, 3) from top to bottom, of those of its latents at coarse_view: what its layer makes of
    them, if it has one. A small picture of a residual layer is that of the coarse pixels. A deep view has uint16, and so have those
    of a layer of more than 8 bits at full size, whatever the view: `as_seen` narrows them, once a checksum has judged them."""
    layer = stream.layer
    if layer is None or (layer.kind == "residual" and view.scale > 1):
        yield from coarse
        return
    large = view.at_full_size(stream.height, stream.width)
    strips = layer.strips_around(large.top, large.top + large.height, stream.height)
    if not layer.exact:
        rows = layers.refined_rows(layer, coarse, strips, stream.mode, threads)
    else:
        whole = DeepLayer.of(layer, stream.chunks, stream.depth) if stream.depth > 8 else layer
        rows = layers.exact_rows(whole, strips, stream.width, stream.mode, threads)
    if stream.depth > 8:
        if view.scale == 1:
            yield from large.cut_rows(rows, strips[0])
            return
        rows = map(narrowed, rows)
    seen = averaged_rows(large.cut_rows(rows, strips[0]), view.scale)
    yield from map(of_bytes, seen) if view.deep else seen


def as_seen(rgb: NDArray[Any], view: View) -> NDArray[Any]:
    """Pixels of layered_rows in the bits of the view."""
    return narrowed(rgb) if rgb.dtype == np.uint16 and not view.deep else rgb


class AlphaRows:
    """The alpha of a view of a stream, by rows. Raises FormatError as AlphaView does."""

    def __init__(self, stream: Stream, view: View) -> None:
        kinds = (ALPHA, ALPHA_REST) if view.deep else (ALPHA,)
        self._parts = [AlphaView(stream.chunks[k], stream.height, stream.width, view) for k in kinds if k in stream.chunks]
        self._deep = view.deep

    @staticmethod
    def of(stream: Stream, view: View) -> AlphaRows | None:
        """None where the stream has no alpha."""
        return AlphaRows(stream, view) if ALPHA in stream.chunks else None

    def rows(self, count: int) -> NDArray[Any]:
        """The next rows, (count, view.width), uint16 of a deep view."""
        upper, *lower = (part.rows(count) for part in self._parts)
        if not self._deep:
            return upper
        return upper.astype(np.uint16) << 8 | lower[0] if lower else of_bytes(upper)

    def finish(self) -> None:
        """Once all rows of the view are there: what is left is checked."""
        for part in self._parts:
            part.finish()


def alpha_of(stream: Stream, view: View) -> NDArray[Any] | None:
    """That of a view, where the stream has one; all of it is checked."""
    reader = AlphaRows.of(stream, view)
    if reader is None:
        return None
    alpha = reader.rows(view.height)
    reader.finish()
    return alpha
