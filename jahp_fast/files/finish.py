# SPDX-License-Identifier: Apache-2.0
"""From the pixels of a stream's latents to those that a caller gets: what a layer makes of them, at a view, and alpha beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from jahp_fast.files import layers
from jahp_fast.files.alpha import AlphaView
from jahp_fast.files.container import Stream
from jahp_fast.files.view import View, averaged_rows

Pixels = NDArray[np.uint8]


def coarse_view(stream: Stream, view: View) -> View:
    """What of the pixels of its latents a view of a stream wants: below a layer whole strips of it, at a scale only what is seen."""
    layer = stream.layer
    if layer is None or view.scale > 1 or not view.partial:
        return view
    top, end = layer.strips_around(view.top, view.top + view.height, stream.height)
    return View(1, top, 0, end - top, stream.width, True)


def layered_rows(stream: Stream, view: View, coarse: Iterable[Pixels], threads: int) -> Iterator[Pixels]:
    """The pixels of a view of a stream, (k, W, 3) from top to bottom, of those of its latents at coarse_view: what its layer makes of
    them, if it has one. A small picture of a residual layer is that of the coarse pixels."""
    layer = stream.layer
    if layer is None or (layer.kind == "residual" and view.scale > 1):
        yield from coarse
        return
    large = view.at_full_size(stream.height, stream.width)
    strips = layer.strips_around(large.top, large.top + large.height, stream.height)
    if layer.kind == "residual":
        rows = layers.refined_rows(layer, coarse, strips, stream.mode, threads)
    else:
        rows = layers.exact_rows(layer, strips, stream.width, stream.mode, threads)
    yield from averaged_rows(large.cut_rows(rows, strips[0]), view.scale)


def alpha_of(stream: Stream, view: View) -> Pixels | None:
    """That of a view, where the stream has one; all of it is checked."""
    if b"ALPH" not in stream.chunks:
        return None
    reader = AlphaView(stream.chunks[b"ALPH"], stream.height, stream.width, view)
    alpha = reader.rows(view.height)
    reader.finish()
    return alpha
