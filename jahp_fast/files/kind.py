# SPDX-License-Identifier: Apache-2.0
"""Which pictures were drawn: text, screens, charts, maps. Told from their pixels alone."""

from __future__ import annotations

import numpy as np

from jahp_fast import _native
from jahp_fast.files.image import Rows

_BLOCK_ROWS = 256
_SURELY = 0.6
"""Of photos none held out has 0.4, and of drawings of some size each has over 0.7."""


def is_drawing(rows: Rows) -> bool:
    """Whether at least a quarter of the pixels is repeated: worth a try without the nets."""
    return _native.is_drawing(_repeated(rows), rows.height, rows.width)


def maybe_drawn(rows: Rows) -> bool:
    """Whether at least an eighth is: a part of it may have been drawn."""
    return _native.maybe_drawn(_repeated(rows), rows.height, rows.width)


def looks_drawn(rows: Rows) -> bool:
    """Whether most of the pixels are."""
    inner = int((rows.height - 1) * (rows.width - 1))
    return inner > 0 and _repeated(rows) >= _SURELY * inner


def has_one_colour(rows: Rows) -> bool:
    """Whether all pixels are the same."""
    blocks = (rows.take(top, top + _BLOCK_ROWS) for top in range(0, rows.height, _BLOCK_ROWS))
    first = rows.take(0, 1)[:, :1]
    return all(np.array_equal(block, np.broadcast_to(first, block.shape)) for block in blocks)


def _repeated(rows: Rows) -> int:
    """Pixels exactly as those above and to the left; those of the first row and column do not count."""
    blocks = (rows.take(top, top + _BLOCK_ROWS + 1) for top in range(0, rows.height - 1, _BLOCK_ROWS))
    return sum(_native.count_repeated(np.ascontiguousarray(block)) for block in blocks)
