# SPDX-License-Identifier: Apache-2.0
"""How a payload is laid out: what its header says, and the bounds that the format sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_SYMBOL = 32767
LANE_COUNTS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class StreamLayout:
    """What a header says of its payload: size of y, lanes, skip threshold (0: none) and the least length of the payload.

    An encoder takes lanes = 0 for "as many as the payload's length bears".

    Attributes:
        copies: which positions are copied from a neighbour, as entropy.copies has them; empty where all are coded.
        z_row: of the tables: z's channel n is coded with row z_row + n.
    """

    height: int
    width: int
    lanes: int
    skip: int = 0
    min_bytes: int = 0
    copies: bytes = b""
    z_row: int = 0


class Part(NamedTuple):
    """A rectangle of latents: (first, end) of its rows and of its columns."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    def of(self, y: NDArray[np.generic]) -> NDArray[Any]:
        """A view of y (h, w, M)."""
        return y[slice(*self.rows), slice(*self.columns)]
