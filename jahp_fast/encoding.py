# SPDX-License-Identifier: Apache-2.0
"""From an image to a file, with one model in use: prepare, analyse, round or search, code, pack."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jahp_fast import arguments
from jahp_fast.constants import QUALITY_STEPS, trade_off
from jahp_fast.errors import UnsupportedImage, UsageError
from jahp_fast.files import container as _container
from jahp_fast.files import deep_layers, layers
from jahp_fast.files import image as _image
from jahp_fast.files.alpha import alpha_chunks
from jahp_fast.files.deep import DEEP
from jahp_fast.files.kind import has_one_colour, is_drawing
from jahp_fast.files.pixel_proof import pixel_checksum, samples_checksum
from jahp_fast.files.view import View
from jahp_fast.pipelines.contract import Pipeline, Symbols
from jahp_fast.search import drawings, greedy, rate_control
from jahp_fast.search.descent import Progress
from jahp_fast.search.drawings import Drawn, drawn
from jahp_fast.system.devices import Clock

_BLOCK_ROWS = 256
"""Of an image, compared at a time."""


@dataclass(frozen=True)
class Prepared:
    """An image that can be coded: its pixels; metadata and alpha as chunks; width and height."""

    rows: _image.Rows
    mode: Literal["RGB", "L"]
    chunks: dict[bytes, bytes]
    size: tuple[int, int]

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
        return Prepared(parts.rows, parts.mode, chunks, (width, height))

    @property
    def depth(self) -> int:
        """Bits of a sample, 8 to 16."""
        return self.chunks[DEEP][0] if DEEP in self.chunks else 8

    def samples(self) -> layers.Samples:
        """What a layer keeps, of 8 bits."""
        return layers.samples_of(self.rows.take(0, self.rows.height), self.mode)

    def exact(self, bound: int, threads: int) -> bytes:
        """The file that keeps each sample, of its depth, to within `bound`."""
        if self.depth == 8:
            samples = self.samples()
            return self.kept(layers.exact(samples, bound, threads), samples, bound, threads)
        own: NDArray[np.uint16] = np.right_shift(layers.samples_of(self.rows.deep_whole(), self.mode), 16 - self.depth)
        return self.kept(deep_layers.exact(own, self.depth, bound, threads), own, bound, threads)

    def drawings(self, threads: int) -> Iterator[Drawn]:
        """Of a drawing of 8 bits, ways to keep it by itself; nothing of other pictures."""
        if self.depth == 8 and is_drawing(self.rows):
            yield from drawn(self.samples(), threads)

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
            chunks[_container.PIXEL_CHECKSUM] = _checksum_of(back)
        return _container.pack(_container.of_exact(self.size, self.mode, chunks))


@dataclass(frozen=True)
class Encoding:
    """A model in use, at one quality, on so many threads.

    Attributes:
        step: of a residual layer over the pixels of that quality, in sixteenths; None without one. Then `pipeline` is an exact one.
        lanes: 0 for as many as the payload's length suggests.
        drawings: keep them by themselves, where that costs less.
    """

    pipeline: Pipeline
    quality: float
    threads: int
    pixel_checksum: bool
    step: int | None = None
    lanes: int = 0
    drawings: bool = True

    def plain(self, prepared: Prepared, clock: Clock) -> bytes:
        """The nearest integers; laps load, g_a, h_a, entropy and, where there is one, layer. Entropy alone of one colour."""
        if (flat := self.of_one_colour(prepared)) is not None:
            clock.lap("entropy")
            return flat
        image = self.pipeline.open(prepared.rows)
        self.pipeline.warm()
        clock.lap("load")
        symbols = image.analyse(self.quality, self.threads, clock).round_latents()  # and what was not rounded is let go
        data = self.packed(prepared, symbols, self.quality, self.threads)
        clock.lap("entropy")
        data = self.settled(prepared, data, self.quality, self.threads)
        if self.step is not None:
            clock.lap("layer")
        return data

    def searched(
        self,
        prepared: Prepared,
        effort: int,
        goal: rate_control.Goal | rate_control.ScoreGoal | None,
        progress: Progress | None = None,
        tune: str | None = None,
    ) -> bytes:
        """Symbols that were searched for, at a quality that was."""
        flat = self.of_one_colour(prepared)
        if flat is not None and not (isinstance(goal, rate_control.Goal) and len(flat) > goal.goal):
            return flat
        pipeline, threads = self.pipeline, self.threads
        image = pipeline.open(prepared.rows)
        pipeline.warm()
        analyse = image.analyse_once(threads)

        def attempt(code: int, rate: float | None = None, effort: int = effort) -> bytes:
            quality = code / QUALITY_STEPS
            analysed = analyse(quality)
            symbols = analysed.round_latents()
            if effort == 0 and rate is None:
                return self.packed(prepared, symbols, quality, threads)
            searched = greedy.improved(pipeline, image, analysed, symbols, quality, effort, rate or 1.0, threads, progress, tune)
            data = self.packed(prepared, searched, quality, threads)
            if rate is not None or not pipeline.may_copy(*symbols):
                return data
            # The search does not know that equal neighbours are free.
            plain = self.packed(prepared, symbols, quality, threads)
            if tune is None:
                return min(data, plain, key=lambda d: self.cost(prepared, d, quality))
            seen = greedy.distortions(pipeline, image, searched[1], symbols[1], quality, threads)
            return data if seen[0] + 8 * len(data) <= seen[1] + 8 * len(plain) else plain

        start = _container.quality_code(self.quality)
        if goal is None:
            return self.settled(prepared, attempt(start), self.quality, threads)
        config = pipeline.file.config
        low, high = (_container.quality_code(q) for q in (config.qualities[0], config.qualities[-1]))

        def offset(data: bytes) -> float:
            if isinstance(goal, rate_control.ScoreGoal):
                return self.score(goal.score, prepared, data) - goal.wanted
            return math.log(len(data) / goal.goal)

        def seen(code: int) -> tuple[bytes, float]:
            data = attempt(code)
            return data, offset(data) + (goal.wanted if isinstance(goal, rate_control.ScoreGoal) else 0.0)

        sized = isinstance(goal, rate_control.Goal)
        drawing = self.drawing_for(prepared, goal, None) if sized else None
        if drawing is not None and drawing.squares == 0:
            return prepared.of_drawn(drawing, threads)  # nothing is better
        if effort > 1:  # the nearest integers say at once about where that search ends
            start = rate_control.begin_at(lambda code: offset(attempt(code, effort=0)), (low, high), start, goal)
        try:
            if isinstance(goal, rate_control.ScoreGoal):
                data = rate_control.fit_score(seen, (low, high), start, goal)
            else:
                data = rate_control.fit(attempt, attempt if config.form == "A" else None, (low, high), start, goal)
        except UsageError:
            drawing = drawing if sized else self.drawing_for(prepared, goal, None)
            if drawing is None:
                raise
            return prepared.of_drawn(drawing, threads)
        if not sized:
            drawing = self.drawing_for(prepared, goal, len(data))
        if drawing is None or (sized and drawing.squares > self._errors(prepared, data)[0]):
            return self.proved(data, threads)
        return prepared.of_drawn(drawing, threads)

    def of_one_colour(self, prepared: Prepared) -> bytes | None:
        """The file of a picture of one colour, which is kept exactly: nobody wants another. None of other pictures, and of deep ones."""
        if not self.drawings or prepared.depth > 8 or not has_one_colour(prepared.rows):
            return None
        samples = prepared.samples()
        return prepared.kept(layers.colours(samples, 0, self.threads), samples, 0, self.threads)

    def drawing_for(self, prepared: Prepared, goal: rate_control.Goal | rate_control.ScoreGoal, most: int | None) -> Drawn | None:
        """Of a drawing by itself what reaches the goal: the least merged that is small enough; or the smallest that is good enough, of
        at most `most` bytes."""
        found = None
        for drawing in prepared.drawings(self.threads) if self.drawings else ():
            if isinstance(goal, rate_control.ScoreGoal) and self.score_of(goal.score, prepared, drawing) < goal.wanted:
                break
            size = prepared.size_of(drawing)
            if isinstance(goal, rate_control.Goal):
                if size <= goal.goal:
                    return drawing
                if size > drawings.HOPE * goal.goal:
                    break
            elif most is not None and size // drawings.HOPE > most:
                break
            elif (most is None or size <= most) and (found is None or size < prepared.size_of(found)):
                found = drawing
        return found

    def score_of(self, score: rate_control.Score, prepared: Prepared, drawing: Drawn) -> float:
        """Of a drawing by itself."""
        if score is rate_control.PSNR:
            return rate_control.psnr_of(drawing.squares, drawing.samples.size)
        from jahp_fast.search.perceived import ssimulacra2

        rows = prepared.rows
        return ssimulacra2(rows.take(0, rows.height), np.broadcast_to(drawing.samples, (rows.height, rows.width, 3)))

    def settled(self, prepared: Prepared, data: bytes, quality: float, threads: int) -> bytes:
        """The file with what belongs to it; or a drawing's by itself, where that costs less, or takes no more above quality 8."""
        ways = prepared.drawings(threads) if self.drawings else iter(())
        if self.step is not None:
            exact = next(ways, None)
            size = math.inf if exact is None else prepared.size_of(exact)
            if size > len(data):  # else its layer, which only adds to it, need not be made
                data = self.finished(prepared, data, threads)
            return data if exact is None or size > len(data) else prepared.of_drawn(exact, threads)
        channels = 3 if prepared.mode == "RGB" else 1
        best, last = None, None
        for drawing in ways:
            if last is not None and drawings.cost(quality, drawing.squares, 0, channels) >= last:
                break  # whatever it takes
            now = drawings.cost(quality, drawing.squares, prepared.size_of(drawing), channels)
            if last is None:
                least = drawings.cost(quality, 0, len(data), channels)
                if now > least:  # else it costs less, whatever the file loses
                    least = drawings.cost(quality, self._errors(prepared, data)[0], len(data), channels)
            if now > drawings.HOPE * least or (last is not None and now >= last):
                break
            last = now
            if now <= least:
                best, least = drawing, now
        return self.proved(data, threads) if best is None else prepared.of_drawn(best, threads)

    def score(self, score: rate_control.Score, prepared: Prepared, data: bytes) -> float:
        """Of what the file decodes to; alpha does not count."""
        if score is rate_control.PSNR:
            return rate_control.psnr_of(*self._errors(prepared, data))
        from jahp_fast.search.perceived import ssimulacra2

        rows = prepared.rows
        whole = View.whole(rows.height, rows.width)
        (decoded,) = self.pipeline.decode_batch([_container.unpack(data, None)], [whole], self.threads, lambda _, rgb: rgb, None)
        return ssimulacra2(rows.take(0, rows.height), decoded)

    def cost(self, prepared: Prepared, data: bytes, quality: float) -> float:
        """Bits and weighed squared errors of a file, by which a search decides: the less the better."""
        total, samples = self._errors(prepared, data)
        pixels = prepared.rows.height * prepared.rows.width
        return float(trade_off(quality) * total * pixels / samples + 8 * len(data))

    def _errors(self, prepared: Prepared, data: bytes) -> tuple[int, int]:
        """The sum of the squared errors of what a file decodes to, and how many samples there are; alpha does not count."""
        mode = prepared.mode

        def squares(_: int, rgb: NDArray[np.uint8]) -> int:
            total = 0
            for top in range(0, prepared.rows.height, _BLOCK_ROWS):
                block = prepared.rows.take(top, top + _BLOCK_ROWS)
                decoded = _image.join(rgb[top : top + len(block)], mode, None)
                errors = np.subtract(decoded, block if mode == "RGB" else block[:, :, 0], dtype=np.int32)
                total += int(np.square(errors).sum(dtype=np.int64))
            return total

        whole = View.whole(prepared.rows.height, prepared.rows.width)
        (found,) = self.pipeline.decode_batch([_container.unpack(data, None)], [whole], self.threads, squares, None)
        return found, prepared.rows.height * prepared.rows.width * (3 if mode == "RGB" else 1)

    def batch(self, prepared: Sequence[Prepared]) -> list[bytes]:
        """Several images, several at a time; an error says which."""

        def code(i: int, symbols: Symbols, threads: int) -> bytes:
            if (flat := self.of_one_colour(prepared[i])) is not None:
                return flat
            return self.settled(prepared[i], self.packed(prepared[i], symbols, self.quality, threads), self.quality, threads)

        opened = [self.pipeline.open(p.rows) for p in prepared]
        self.pipeline.warm()
        return self.pipeline.encode_batch(opened, self.quality, self.threads, code)

    def packed(self, prepared: Prepared, symbols: Symbols, quality: float, threads: int) -> bytes:
        """The file of an image's symbols."""
        coded = self.pipeline.encode_symbols(*symbols, prepared.size, quality, self.lanes, threads)
        chunks = {_container.COPIES: coded.copies, **prepared.chunks} if coded.copies else prepared.chunks
        model = self.pipeline.file.id
        return _container.pack(
            _container.Stream(*prepared.size, prepared.mode, quality, model, coded.lanes, coded.skip, coded.checksum, coded.payload, chunks)
        )

    def finished(self, prepared: Prepared, data: bytes, threads: int) -> bytes:
        """The file with its layer, and its checksum of the pixels."""
        assert self.step is not None
        stream = _container.unpack(data, None)
        whole = View.whole(stream.height, stream.width)
        (rgb,) = self.pipeline.decode_batch([stream], [whole], threads, lambda _, rgb: rgb, None)
        coarse = layers.samples_of(rgb, stream.mode)
        layer = layers.residual(prepared.samples(), coarse, self.step, threads)
        chunks = {**stream.chunks, **layer.chunks()}
        if self.pixel_checksum:
            layer.decode(coarse, 0, threads)
            chunks[_container.PIXEL_CHECKSUM] = _checksum_of(coarse)
        return _container.pack(replace(stream, chunks=chunks))

    def proved(self, data: bytes, threads: int) -> bytes:
        """The file with the checksum of its pixels, if it is to have one."""
        if not self.pixel_checksum:
            return data
        stream = _container.unpack(data, None)
        whole = View.whole(stream.height, stream.width)
        (checksum,) = self.pipeline.decode_batch([stream], [whole], threads, lambda _, rgb: pixel_checksum(rgb, stream.mode), None)
        return _container.pack(replace(stream, chunks={**stream.chunks, _container.PIXEL_CHECKSUM: checksum.to_bytes(4, "little")}))


def _checksum_of(samples: NDArray[Any]) -> bytes:
    return samples_checksum(samples).to_bytes(4, "little")
