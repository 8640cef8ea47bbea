# SPDX-License-Identifier: Apache-2.0
"""Which pictures another format does better, told from their pixels alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

_FLAT_SHARE = 0.6
"""Between photos, of which none held out has 0.4, and text, screens, charts, maps and line art, of which each has over 0.7."""
_MOST_ROWS = 1024
"""As many are looked at, in bands from all over the picture."""
_BAND = 16


def is_drawing(image: Image.Image) -> bool:
    """Whether most pixels are exactly as those above and to the left, and some are not: text, screens, charts, maps.

    What has one colour alone is none: it takes next to nothing in any format.
    """
    width, height = image.size
    equal = total = 0
    for top in range(0, height, _BAND * max(1, -(-height // _MOST_ROWS))):
        band = np.asarray(image.crop((0, top, width, min(top + _BAND, height))).convert("RGB"))
        inner = band[1:, 1:]
        equal += int(((inner == band[:-1, 1:]) & (inner == band[1:, :-1])).all(axis=2).sum())
        total += inner.shape[0] * inner.shape[1]
    return total > 0 and _FLAT_SHARE * total <= equal < total
