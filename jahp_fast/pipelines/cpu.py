# SPDX-License-Identifier: Apache-2.0
"""A model with its backend and transforms on a CPU, without torch: symbols of images, and images of streams, by rows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from jahp_fast.constants import STRIDE
from jahp_fast.entropy.layout import Part
from jahp_fast.files import container as _container
from jahp_fast.files.finish import coarse_view
from jahp_fast.files.image import Rows
from jahp_fast.files.view import View
from jahp_fast.pipelines.contract import Floats, Ints, Opened, Pixels, Symbols, T
from jahp_fast.pipelines.entropy_path import EntropyPath
from jahp_fast.system.devices import Clock
from jahp_fast.system.extras import require_torch
from jahp_fast.system.parallel import each, shared_out
from jahp_fast.transforms.cpu import LATENT_ROWS, CpuTransforms, in_blocks
from jahp_fast.transforms.layers import LATENT_BITS, LATENT_LIMIT, fixed

if TYPE_CHECKING:
    import torch

    from jahp_fast.entropy.model_file import ModelFile

BLOCK_ROWS = STRIDE * LATENT_ROWS
"""Rows of an image that go through the transforms at a time."""

PIXELS_AT_ONCE = 1 << 24
"""Batches have so many pixels in the making, or one image: it bounds their memory."""
OVERLAP_PIXELS = 1 << 22
"""Smaller images go through g_s nearly whole: their latents are decoded first, by threads that nobody else wants."""


class CpuPipeline(EntropyPath):
    """Safe to share between threads. Backend and nets are made when first needed.

    Args:
        backend: "native", or "reference", whose transforms are NumPy's too.
    """

    def __init__(self, file: ModelFile, backend: str) -> None:
        super().__init__(file, backend)
        self.transforms = CpuTransforms(file, backend == "native")

    def warm(self) -> None:
        """Makes the backend; each net is made by the first stage that needs it."""
        _ = self.backend

    def guard(self, what: str) -> contextlib.AbstractContextManager[object]:
        """Nothing: there is one CPU, and Python tells of its memory."""
        return contextlib.nullcontext()

    # Encoding

    def open(self, rows: Rows) -> OpenedRows:
        """The image where the transforms want it: here."""
        return OpenedRows(self, rows)

    def encode_batch(self, images: Sequence[Opened], quality: float, threads: int, code: Callable[[int, Symbols, int], T]) -> list[T]:
        """As many at a time as there are threads and as bounded memory allows."""
        sizes = [image.size for image in images]
        workers, share = self._shared_out([width * height for width, height in sizes], threads)

        def one(i: int) -> T:
            return code(i, images[i].analyse(quality, share, Clock("cpu")).round_latents(), share)

        return each(one, range(len(images)), workers, range(len(images)))

    def _shared_out(self, pixels: Sequence[int], threads: int) -> tuple[int, int]:
        return shared_out(threads, min(len(pixels), max(1, PIXELS_AT_ONCE // max(pixels, default=1))))

    def pixels_of(self, y: Ints, view: View, quality: float, threads: int) -> Pixels:
        """(H, W, 3) of a file's y, of a view of the whole picture."""
        rows = self.transforms.synthesis(in_blocks(y, LATENT_ROWS), view.height, view.width, quality, threads, view=view)
        return _gathered(rows, view)

    # Decoding

    def decode_rows(self, stream: _container.Stream, view: View, threads: int) -> Iterator[Pixels]:
        """(k, view.width, 3) from top to bottom; of large images while latents of later rows are decoded. Raises FormatError in place of a
        block."""
        return self._synthesis(self._latents(stream, view, threads, True), stream, view, threads)

    def _latents(self, stream: _container.Stream, view: View, threads: int, early: bool) -> Iterator[Ints]:
        """Those that the view depends on, by rows; early: of large images while later ones are decoded."""
        if not early or stream.width * stream.height < OVERLAP_PIXELS:
            y = self.decode_integers(stream, threads)[1]
            return iter(in_blocks(self._part(stream, view).of(y), LATENT_ROWS))
        layout = self.layout(stream)
        return self.decode_integer_rows(stream, layout, threads, self._part(stream, view), LATENT_ROWS)

    def _part(self, stream: _container.Stream, view: View) -> Part:
        return self.transforms.part_for(view, stream.height, stream.width, stream.quality)

    def _synthesis(self, rows: Iterable[Ints], stream: _container.Stream, view: View, threads: int) -> Iterator[Pixels]:
        return self.transforms.synthesis(rows, stream.height, stream.width, stream.quality, threads, view=view)

    def _image(self, stream: _container.Stream, view: View, threads: int, rows: Iterable[Ints] | None = None) -> Pixels:
        """(view.height, view.width, 3), of rows of latents where they are there. Those of a whole picture are decoded before g_s begins,
        by threads that nobody else wants."""
        return _gathered(self._synthesis(rows or self._latents(stream, view, threads, view.partial), stream, view, threads), view)

    def decode_batch(
        self,
        streams: Sequence[_container.Stream],
        views: Sequence[View],
        threads: int,
        finish: Callable[[int, Pixels], T],
        labels: Sequence[int] | None,
    ) -> list[T]:
        """As many at a time as there are threads and as bounded memory allows. Raises FormatError."""
        workers, share = self._shared_out([s.width * s.height for s in streams], threads)

        def one(i: int) -> T:
            return finish(i, self._image(streams[i], views[i], share))

        return each(one, range(len(streams)), workers, labels)

    def decode_tensor(self, stream: _container.Stream, view: View, threads: int) -> torch.Tensor:
        """(3, view.height, view.width). Raises MissingExtra where torch is not installed."""
        require_torch("decode_tensor")
        import torch

        return torch.from_numpy(self._image(stream, view, threads)).permute(2, 0, 1).contiguous()

    def decode_timed(self, stream: _container.Stream, threads: int, clock: Clock) -> tuple[Pixels, dict[str, float]]:
        """(H, W, 3), and seconds of the parts of `latents`; laps latents and g_s."""
        _, y, times = self.decode_integers(stream, threads)
        clock.lap("latents")
        view = coarse_view(stream, View.whole(stream.height, stream.width))
        image = self._image(stream, view, threads, in_blocks(y, LATENT_ROWS))
        clock.lap("g_s")
        return image, times


@dataclass(frozen=True)
class OpenedRows:
    """An image on a CPU: `rows` as the caller gave them."""

    pipeline: CpuPipeline
    rows: Rows

    @property
    def size(self) -> tuple[int, int]:
        return self.rows.width, self.rows.height

    def analyse(self, quality: float, threads: int, clock: Clock) -> AnalysedArrays:
        rows, transforms = self.rows, self.pipeline.transforms
        y = transforms.analysis(rows.blocks(BLOCK_ROWS), rows.height, rows.width, quality, threads)
        clock.lap("g_a")
        analysed = self._behind(y, threads)
        clock.lap("h_a")
        return analysed

    def analyse_once(self, threads: int) -> Callable[[float], AnalysedArrays]:
        rows, transforms = self.rows, self.pipeline.transforms
        sums = transforms.analysis(rows.blocks(BLOCK_ROWS), rows.height, rows.width, None, threads)
        return lambda quality: self._behind(transforms.scaled(sums, "gain", quality, LATENT_LIMIT), threads)

    def _behind(self, y: Ints, threads: int) -> AnalysedArrays:
        config = self.pipeline.file.config
        return AnalysedArrays(y, self.pipeline.transforms.hyper_analysis(y, threads) if config.hyper_latents else None, config.frac_bits)

    def pixels(self) -> Pixels:
        return self.rows.take(0, self.rows.height)


@dataclass(frozen=True)
class AnalysedArrays:
    """y (h, w, M) and z (hz, wz, N) or None, times 2^LATENT_BITS."""

    y: Ints
    z: Ints | None
    frac_bits: int

    def round_latents(self) -> Symbols:
        return np.zeros((0, 0, 0), np.int32) if self.z is None else fixed(self.z, 0), fixed(self.y, self.frac_bits)

    def latents(self) -> tuple[Floats, Floats | None]:
        y, z = (None if part is None else part.astype(np.float32) * np.float32(2.0**-LATENT_BITS) for part in (self.y, self.z))
        return cast(Floats, y), z


def _gathered(blocks: Iterable[Pixels], view: View) -> Pixels:
    """(view.height, view.width, 3) of its blocks of rows."""
    out = np.empty((view.height, view.width, 3), np.uint16 if view.deep else np.uint8)
    row = 0
    for block in blocks:
        out[row : row + len(block)] = block
        row += len(block)
    return out
