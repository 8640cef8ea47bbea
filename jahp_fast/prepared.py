# SPDX-License-Identifier: Apache-2.0
"""An image that can be coded, and the files of it that need no latents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jahp_fast import arguments
from jahp_fast.errors import UnsupportedImage
from jahp_fast.files import container as _container
from jahp_fast.files import deep_layers, layers
from jahp_fast.files import image as _image
from jahp_fast.files.alpha import alpha_chunks
from jahp_fast.files.deep import DEEP
from jahp_fast.files.kind import is_drawing, maybe_drawn
from jahp_fast.files.pixel_proof import checksum_bytes
from jahp_fast.search import drawings
from jahp_fast.search.drawings import Drawn, Overlaid, drawn


@dataclass(frozen=True)
class Prepared:
    """An image that can be coded.

    Attributes:
        rows: its pixels; with an overlay among the chunks, what the nets get of them.
        chunks: metadata, alpha, and what else belongs to the file.
        size: width and height.
        shown: what a file is compared with: `rows`, but with an overlay the image's own.
    """

    rows: _image.Rows
    mode: Literal["RGB", "L"]
    chunks: dict[bytes, bytes]
    size: tuple[int, int]
    shown: _image.Rows

    @staticmethod
    def of(image: Any, max_pixels: int, pixel_checksum: bool, depth: Any = None) -> Prepared:
        """With room for a checksum of the pixels, if there is to be one. Raises UnsupportedImage; UsageError for the depth."""
        arguments.refuse_path(image)
        parts = _image.split(image, depth)
        height, width = parts.rows.height, parts.rows.width
        if height * width > max_pixels:
            raise UnsupportedImage(f"{width} x {height} pixels are more than max_pixels = {max_pixels}")
        if max(height, width) > _container.MAX_SIDE:
            raise UnsupportedImage(f"{width} x {height} pixels: a side may have {_container.MAX_SIDE}")
        chunks = dict(parts.chunks)
        if parts.alpha is not None:
            chunks |= alpha_chunks(parts.alpha)
        if parts.rows.deep:
            chunks[DEEP] = bytes([parts.depth])
        if pixel_checksum:
            chunks[_container.PIXEL_CHECKSUM] = bytes(4)
        return Prepared(parts.rows, parts.mode, chunks, (width, height), parts.rows)

    @property
    def depth(self) -> int:
        """Bits of a sample, 8 to 16."""
        return self.chunks[DEEP][0] if DEEP in self.chunks else 8

    def samples(self) -> layers.Samples:
        """What a layer keeps, of 8 bits."""
        return layers.samples_of(self.shown.take(0, self.shown.height), self.mode)

    def deep_samples(self) -> NDArray[np.uint16]:
        """What a residual layer refines, of a deep image: 16 bits."""
        return layers.samples_of(self.rows.deep_whole(), self.mode)

    def exact(self, bound: int, threads: int) -> bytes:
        """The file that keeps each sample, of its depth, to within `bound`."""
        if self.depth == 8:
            samples = self.samples()
            return self.kept(layers.exact(samples, bound, threads), samples, bound, threads)
        own: NDArray[np.uint16] = np.right_shift(self.deep_samples(), 16 - self.depth)
        return self.kept(deep_layers.exact(own, self.depth, bound, threads), own, bound, threads)

    def drawings(self, threads: int) -> Iterator[Drawn]:
        """Of a drawing of 8 bits, ways to keep it by itself; nothing of other pictures."""
        if self.depth == 8 and is_drawing(self.shown):
            yield from drawn(self.samples(), threads)

    def maybe_overlaid(self) -> bool:
        """Whether a part of it may have been drawn."""
        return self.depth == 8 and layers.LAYER not in self.chunks and maybe_drawn(self.shown)

    def overlaid(self, coarse: NDArray[np.uint8], quality: float, size: int, threads: int) -> list[Overlaid]:
        """Drawn parts to lay over the pixels of its latents, where that may pay; these are `coarse` (H, W, 3) now, and their file has so
        many bytes."""
        return list(drawings.overlaid(self.samples(), layers.samples_of(coarse, self.mode), quality, size, threads))

    def divided(self, part: Overlaid) -> Prepared:
        """With such a part as a layer."""
        filled = part.filled
        rows = _image.Rows(filled if self.mode == "RGB" else filled[:, :, 0])
        return replace(self, rows=rows, chunks={**self.chunks, **part.layer.chunks()})

    def on_plain_ground(self, threads: int) -> Prepared | None:
        """With its plain ground as a layer over the pixels of its latents, if it has one; the nets get it as it is."""
        layer = drawings.plain_ground(self.samples(), threads)
        return None if layer is None else replace(self, chunks={**self.chunks, **layer.chunks()})

    def laid_over(self, coarse: NDArray[np.uint8], threads: int) -> NDArray[np.uint8]:
        """(H, W, 3) pixels of latents, with its overlay over them if it has one."""
        if layers.LAYER not in self.chunks:
            return coarse
        layer = layers.Layer.parsed(self.chunks[layers.LAYER], self.shown.height)
        (whole,) = layers.refined_rows(layer, [coarse], (0, len(coarse)), self.mode, threads)
        return whole

    def of_drawn(self, drawn: Drawn, threads: int) -> bytes:
        """Its file."""
        return self.kept(drawn.layer, drawn.samples, 0, threads)

    def size_of(self, drawn: Drawn) -> int:
        """Of that file, in bytes."""
        return len(_container.pack(_container.of_exact(self.size, self.mode, {**self.chunks, **drawn.layer.chunks()})))

    def kept(self, layer: layers.Layer | deep_layers.DeepLayer, samples: NDArray[Any], bound: int, threads: int) -> bytes:
        """The file whose layer says its samples to within `bound`: it is decoded, and held to that."""
        back: NDArray[Any] = np.empty_like(samples)
        layer.decode(back, 0, threads)
        if layers.errors_of(samples, back, 16 - self.depth if self.depth > 8 else 0)[0] > bound:
            raise AssertionError(f"the coder of exact pixels broke its bound of {bound}")
        chunks = {**self.chunks, **layer.chunks()}
        if _container.PIXEL_CHECKSUM in chunks:
            chunks[_container.PIXEL_CHECKSUM] = checksum_bytes(back)
        return _container.pack(_container.of_exact(self.size, self.mode, chunks))
