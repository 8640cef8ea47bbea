# SPDX-License-Identifier: Apache-2.0
"""Which pictures another format does better, told from their pixels alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FLAT_SHARE = 0.6
"""Between photos, of which none held out has 0.4, and text, screens, charts, maps and line art, of which each has over 0.7."""
_MOST_ROWS = 1024
"""As many are looked at, in bands from all over the picture."""
_BAND = 16


def is_drawing(pixels: NDArray[np.uint8]) -> bool:
    """(H, W) or (H, W, C) -> whether most pixels are exactly as those above and to the left, and some are not: text, screens, charts.

    What has one colour alone is none: it takes next to nothing in any format.
    """
    height = len(pixels)
    starts = range(0, height, _BAND * max(1, -(-height // _MOST_ROWS)))
    bands = [pixels[start : start + _BAND].reshape(-1, *pixels.shape[1:2], int(pixels[0, 0].size)) for start in starts]
    equal = total = 0
    for band in bands:
        inner = band[1:, 1:]
        equal += int(((inner == band[:-1, 1:]) & (inner == band[1:, :-1])).all(axis=2).sum())
        total += inner.shape[0] * inner.shape[1]
    return total > 0 and _FLAT_SHARE * total <= equal < total
