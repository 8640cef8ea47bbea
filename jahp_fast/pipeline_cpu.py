# SPDX-License-Identifier: Apache-2.0
"""A model with its backend and transforms on a CPU, without torch: symbols of images, and images of streams, by rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jahp_fast import container as _container
from jahp_fast.constants import STRIDE
from jahp_fast.devices import Clock
from jahp_fast.entropy_path import EntropyPath, Ints, rounded
from jahp_fast.extras import require_torch
from jahp_fast.image import Rows
from jahp_fast.parallel import each
from jahp_fast.transforms_cpu import LATENT_ROWS, CpuTransforms, Floats, Pixels, in_blocks

if TYPE_CHECKING:
    import torch

    from jahp_fast.entropy.model_file import ModelFile

BLOCK_ROWS = STRIDE * LATENT_ROWS
"""Rows of an image that go through the transforms at a time."""

OVERLAP_PIXELS = 1 << 22
"""Smaller images go through g_s nearly whole: their latents are decoded first, by threads that nobody else wants."""


class CpuPipeline(EntropyPath):
    """Safe to share between threads. Backend and nets are made when first needed.

    Args:
        backend: "native", or "reference", whose transforms are NumPy's too.
        bf16: see CpuTransforms.
    """

    on_device = False

    def __init__(self, file: ModelFile, backend: str, bf16: bool = False) -> None:
        super().__init__(file, backend)
        self.transforms = CpuTransforms(file, backend == "native", bf16)

    def warm(self) -> None:
        """Makes the backend; each net is made by the first stage that needs it."""
        _ = self.backend

    def current(self) -> contextlib.AbstractContextManager[object]:
        """Nothing: there is one CPU."""
        return contextlib.nullcontext()

    # Encoding

    def upload(self, rows: Rows) -> Rows:
        """The image where the transforms want it: here."""
        return rows

    def analyse(self, rows: Rows, quality: float, threads: int, clock: Clock) -> tuple[Floats, Floats | None]:
        """An image -> y (h, w, M) and z (hz, wz, N) or None, not rounded; laps g_a and h_a."""
        y = self.transforms.analysis(rows.blocks(BLOCK_ROWS), rows.height, rows.width, quality, threads)
        clock.lap("g_a")
        z = self.transforms.hyper_analysis(y, threads) if self.file.config.hyper_latents else None
        clock.lap("h_a")
        return y, z

    def features(self, rows: Rows, threads: int) -> Floats:
        """An image -> what g_a gives, (h, w, M), without gains."""
        return self.transforms.analysis(rows.blocks(BLOCK_ROWS), rows.height, rows.width, None, threads)

    def latents_at(self, features: Floats, quality: float, threads: int) -> tuple[Floats, Floats | None]:
        """y and z of `analyse` at a quality, from features."""
        y = self.transforms.scaled(features, quality)
        return y, self.transforms.hyper_analysis(y, threads) if self.file.config.hyper_latents else None

    def symbols(self, y: Floats, z: Floats | None) -> tuple[Ints, Ints]:
        """y (h, w, M) and z (hz, wz, N) or None, not rounded -> z and y as Backend.encode takes them.

        Raises UsageError for a latent that is beyond 2^30 or not a number.
        """
        return np.zeros((0, 0, 0), np.int32) if z is None else rounded(z, 0), rounded(y, self.file.config.frac_bits)

    # Decoding

    def decode_rows(self, stream: _container.Stream, threads: int) -> Iterator[Pixels]:
        """(k, W, 3) from top to bottom; of large images while latents of later rows are decoded. Raises FormatError in place of a block."""
        if stream.width * stream.height < OVERLAP_PIXELS:
            return self._synthesis(in_blocks(self.decode_integers(stream, threads)[1], LATENT_ROWS), stream, threads)
        rows = (block for rows in self.decode_integer_rows(stream, threads) for block in in_blocks(rows, LATENT_ROWS))
        return self._synthesis(rows, stream, threads)

    def _synthesis(self, rows: Iterable[Ints], stream: _container.Stream, threads: int) -> Iterator[Pixels]:
        return self.transforms.synthesis(rows, stream.height, stream.width, stream.quality, self.file.config.frac_bits, threads)

    def _image(self, y: Ints, stream: _container.Stream, threads: int) -> Pixels:
        out = np.empty((stream.height, stream.width, 3), np.uint8)
        row = 0
        for block in self._synthesis(in_blocks(y, LATENT_ROWS), stream, threads):
            out[row : row + len(block)] = block
            row += len(block)
        return out

    def decode_rgb(self, streams: Sequence[_container.Stream], threads: int, labels: Sequence[int] | None = None) -> list[Pixels]:
        """(H, W, 3) uint8 each. Raises FormatError before any transform; `labels`: see parallel.each."""
        return each(lambda stream: self._image(self.decode_integers(stream, threads)[1], stream, threads), streams, labels=labels)

    def decode_timed(self, stream: _container.Stream, threads: int, clock: Clock) -> tuple[Pixels, dict[str, float]]:
        """(H, W, 3) uint8, and seconds of the parts of `latents`; laps latents and g_s."""
        _, y, times = self.decode_integers(stream, threads)
        clock.lap("latents")
        image = self._image(y, stream, threads)
        clock.lap("g_s")
        return image, times

    def to_array(self, rgb: Pixels) -> Pixels:
        """(H, W, 3) as it is."""
        return rgb

    def to_tensor(self, rgb: Pixels) -> torch.Tensor:
        """(3, H, W). Raises MissingExtra where torch is not installed."""
        require_torch("decode_tensor")
        import torch

        return torch.from_numpy(rgb).permute(2, 0, 1).contiguous()
