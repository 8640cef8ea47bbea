# SPDX-License-Identifier: Apache-2.0
"""What files decode to, and what that costs: bytes and errors, by which an encoder chooses among them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.constants import trade_off
from jahp_fast.files import container as _container
from jahp_fast.files import image as _image
from jahp_fast.files import layers
from jahp_fast.files.view import View
from jahp_fast.pipelines.contract import Ints, Pipeline
from jahp_fast.prepared import Prepared
from jahp_fast.search import drawings, rate_control
from jahp_fast.search.drawings import Drawn

_BLOCK_ROWS = 256
"""Of an image, compared at a time."""


@dataclass(frozen=True)
class LatentFile:
    """A file whose pixels may still be looked at: from its latents, for which it need not be decoded.

    Attributes:
        y: (h, w, M), what its decoder gets.
    """

    stream: _container.Stream
    data: bytes
    y: Ints

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True)
class Losses:
    """Of images by one pipeline, on so many threads."""

    pipeline: Pipeline
    threads: int

    def coarse(self, file: LatentFile, deep: bool) -> NDArray[Any]:
        """(H, W, 3), uint8 or deep uint16, what its latents give, below any layer."""
        stream = file.stream
        return self.pipeline.pixels_of(file.y, View.whole(stream.height, stream.width, deep), stream.quality, self.threads)

    def pixels(self, prepared: Prepared, file: LatentFile) -> NDArray[np.uint8]:
        """(H, W, 3), what a file decodes to, without alpha."""
        return prepared.laid_over(self.coarse(file, False), self.threads)

    def squares_of(self, prepared: Prepared, rgb: NDArray[np.uint8]) -> int:
        """The sum of the squared errors of (H, W, 3) pixels; alpha does not count."""
        mode, total = prepared.mode, 0
        for top in range(0, len(rgb), _BLOCK_ROWS):
            block = prepared.shown.take(top, top + _BLOCK_ROWS)
            decoded = _image.join(rgb[top : top + len(block)], mode, None)
            total += layers.errors_of(block if mode == "RGB" else block[:, :, 0], decoded)[1]
        return total

    def squares(self, prepared: Prepared, file: LatentFile) -> int:
        """Likewise of what a file decodes to."""
        return self.squares_of(prepared, self.pixels(prepared, file))

    def of(self, prepared: Prepared, size: int, squares: int, quality: float) -> int:
        """The loss of so many bytes and squared errors."""
        return drawings.cost(quality, squares, size, 3 if prepared.mode == "RGB" else 1)

    def by_itself(self, prepared: Prepared, drawing: Drawn, quality: float) -> int:
        """That of a drawing's own file."""
        return self.of(prepared, prepared.size_of(drawing), drawing.squares, quality)

    def cost(self, prepared: Prepared, file: LatentFile, quality: float) -> float:
        """Bits and weighed squared errors of a file, by which a search decides: the less the better."""
        return float(trade_off(quality) * self.squares(prepared, file) / (3 if prepared.mode == "RGB" else 1) + 8 * len(file))

    def score(self, score: rate_control.Score, prepared: Prepared, file: LatentFile) -> float:
        """Of what the file decodes to; alpha does not count."""
        if score is rate_control.PSNR:
            return rate_control.psnr_of(self.squares(prepared, file), math.prod(prepared.size) * (3 if prepared.mode == "RGB" else 1))
        from jahp_fast.search.perceived import ssimulacra2

        return ssimulacra2(prepared.shown.take(0, prepared.shown.height), self.pixels(prepared, file))

    def score_of(self, score: rate_control.Score, prepared: Prepared, drawing: Drawn) -> float:
        """Of a drawing by itself."""
        if score is rate_control.PSNR:
            return rate_control.psnr_of(drawing.squares, drawing.samples.size)
        from jahp_fast.search.perceived import ssimulacra2

        rows = prepared.shown
        return ssimulacra2(rows.take(0, rows.height), np.broadcast_to(drawing.samples, (rows.height, rows.width, 3)))
