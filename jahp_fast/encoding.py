# SPDX-License-Identifier: Apache-2.0
"""From an image to a file, with one model in use: prepare, analyse, round or search, code, pack."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jahp_fast.constants import QUALITY_STEPS, trade_off
from jahp_fast.errors import UsageError
from jahp_fast.files import container as _container
from jahp_fast.files import image as _image
from jahp_fast.files import layers
from jahp_fast.files.kind import has_one_colour
from jahp_fast.files.pixel_proof import checksum_bytes
from jahp_fast.files.view import View
from jahp_fast.pipelines.contract import Pipeline, Symbols
from jahp_fast.prepared import Prepared
from jahp_fast.search import drawings, greedy, rate_control
from jahp_fast.search.descent import Progress
from jahp_fast.search.drawings import Drawn
from jahp_fast.system.devices import Clock

_BLOCK_ROWS = 256
"""Of an image, compared at a time."""


@dataclass(frozen=True)
class Encoding:
    """A model in use, at one quality, on so many threads.

    Attributes:
        step: of a residual layer over the pixels of that quality, in sixteenths; None without one. Then `pipeline` is an exact one.
        lanes: 0 for as many as the payload's length suggests.
        drawings: keep them without the nets, or that part of a picture, where it costs less.
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
        data = self.settled(*self.divided(prepared, data, self.quality, self.threads), self.quality, self.threads)
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
        quality, threads = self.quality, self.threads
        self.pipeline.warm()
        if goal is None:
            if effort > 0:
                prepared, _, _ = self.divided(prepared, None, quality, threads)
                data = self.attempts(prepared, effort, progress, tune)(_container.quality_code(quality))
                return self.settled(prepared, data, None, quality, threads)
            data = self.nearest(prepared, quality, threads)
            return self.settled(*self.divided(prepared, data, quality, threads), quality, threads)
        sized = isinstance(goal, rate_control.Goal)
        drawing = self.drawing_for(prepared, goal, None) if sized else None
        if drawing is not None and drawing.squares == 0:
            return prepared.of_drawn(drawing, threads)  # nothing is better
        found: list[tuple[Prepared, bytes]] = []
        refused = None
        try:
            found.append((prepared, self.fitted(prepared, effort, goal, progress, tune)))
            quality = _container.unpack(found[0][1], None).quality
        except UsageError as e:
            refused = e
            quality = self.pipeline.file.config.qualities[0 if sized else -1]
        for _ in range(2):  # the second time at the quality that the first one led to
            other, _, _ = self.divided(prepared, None, quality, threads)
            if other is prepared:
                break
            try:
                found.append((other, self.fitted(other, effort, goal, progress, tune)))
            except UsageError:
                break
            before, quality = quality, _container.unpack(found[-1][1], None).quality
            if quality == before:
                break
        if not sized:
            drawing = self.drawing_for(prepared, goal, min((len(data) for _, data in found), default=None))
        if not found:
            assert refused is not None
            if drawing is None and isinstance(goal, rate_control.Goal):  # what a drawing takes may be less than the nets' file
                low = self.pipeline.file.config.qualities[0]
                data = self.settled(*self.divided(prepared, self.nearest(prepared, low, threads), low, threads), low, threads)
                if len(data) > goal.goal:
                    raise rate_control.too_small(goal, _container.quality_code(low), len(data))
                return data
            if drawing is None:
                raise refused
            return prepared.of_drawn(drawing, threads)
        best, data = min(found, key=lambda f: self._squares(*f) if sized else len(f[1])) if len(found) > 1 else found[0]
        if drawing is None or (sized and drawing.squares > self._squares(best, data)):
            return self.proved(best, data)
        return prepared.of_drawn(drawing, threads)

    def nearest(self, prepared: Prepared, quality: float, threads: int) -> bytes:
        """The file of the nearest integers."""
        analysed = self.pipeline.open(prepared.rows).analyse(quality, threads, Clock("cpu"))
        return self.packed(prepared, analysed.round_latents(), quality, threads)

    def divided(self, prepared: Prepared, data: bytes | None, quality: float, threads: int) -> tuple[Prepared, bytes, int | None]:
        """An image and its file of the nearest integers, which is made if need be: with its drawn part laid over, where that costs less.
        And the sum of its squared errors, where it was looked at."""
        if not self.drawings or self.step is not None or not prepared.maybe_overlaid():
            return prepared, data or b"", None
        data = data or self.nearest(prepared, quality, threads)
        pixels = self.decoded(prepared, data)
        squares = self._squares_of(prepared, pixels)
        other = prepared.overlaid(pixels, quality, len(data), threads)
        if other is None:
            return prepared, data, squares
        file = self.nearest(other, quality, threads)
        errors, channels = self._squares(other, file), 3 if prepared.mode == "RGB" else 1
        if drawings.cost(quality, errors, len(file), channels) < drawings.cost(quality, squares, len(data), channels):
            return other, file, errors
        return prepared, data, squares

    def attempts(self, prepared: Prepared, effort: int, progress: Progress | None, tune: str | None) -> Callable[..., bytes]:
        """attempt(code, rate=None, effort=effort) -> the file at a quality, with symbols that were searched for; of an image that is
        analysed once. rate: the factor of the bits."""
        pipeline, threads = self.pipeline, self.threads
        image = pipeline.open(prepared.rows)
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

        return attempt

    def fitted(
        self,
        prepared: Prepared,
        effort: int,
        goal: rate_control.Goal | rate_control.ScoreGoal,
        progress: Progress | None,
        tune: str | None,
    ) -> bytes:
        """The file that comes nearest to a goal. Raises UsageError where none reaches it."""
        attempt = self.attempts(prepared, effort, progress, tune)
        config = self.pipeline.file.config
        codes = _container.quality_code(config.qualities[0]), _container.quality_code(config.qualities[-1])
        start = _container.quality_code(self.quality)

        def offset(data: bytes) -> float:
            if isinstance(goal, rate_control.ScoreGoal):
                return self.score(goal.score, prepared, data) - goal.wanted
            return math.log(len(data) / goal.goal)

        def seen(code: int) -> tuple[bytes, float]:
            data = attempt(code)
            return data, offset(data) + (goal.wanted if isinstance(goal, rate_control.ScoreGoal) else 0.0)

        if effort > 1:  # the nearest integers say at once about where that search ends
            start = rate_control.begin_at(lambda code: offset(attempt(code, effort=0)), codes, start, goal)
        if isinstance(goal, rate_control.ScoreGoal):
            return rate_control.fit_score(seen, codes, start, goal)
        return rate_control.fit(attempt, attempt if config.form == "A" else None, codes, start, goal)

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

        rows = prepared.shown
        return ssimulacra2(rows.take(0, rows.height), np.broadcast_to(drawing.samples, (rows.height, rows.width, 3)))

    def settled(self, prepared: Prepared, data: bytes, squares: int | None, quality: float, threads: int) -> bytes:
        """The file with what belongs to it; or a drawing's by itself, where that costs less, or takes no more above quality 8. squares:
        the sum of the file's squared errors, if it is known."""
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
                    squares = self._squares(prepared, data) if squares is None else squares
                    least = drawings.cost(quality, squares, len(data), channels)
            if now > drawings.HOPE * least or (last is not None and now >= last):
                break
            last = now
            if now <= least:
                best, least = drawing, now
        return self.proved(prepared, data) if best is None else prepared.of_drawn(best, threads)

    def score(self, score: rate_control.Score, prepared: Prepared, data: bytes) -> float:
        """Of what the file decodes to; alpha does not count."""
        if score is rate_control.PSNR:
            return rate_control.psnr_of(self._squares(prepared, data), math.prod(prepared.size) * (3 if prepared.mode == "RGB" else 1))
        from jahp_fast.search.perceived import ssimulacra2

        return ssimulacra2(prepared.shown.take(0, prepared.shown.height), self.decoded(prepared, data))

    def cost(self, prepared: Prepared, data: bytes, quality: float) -> float:
        """Bits and weighed squared errors of a file, by which a search decides: the less the better."""
        return float(trade_off(quality) * self._squares(prepared, data) / (3 if prepared.mode == "RGB" else 1) + 8 * len(data))

    def decoded(self, prepared: Prepared, data: bytes) -> NDArray[np.uint8]:
        """(H, W, 3), what a file decodes to, without alpha."""
        stream = _container.unpack(data, None)
        whole = View.whole(stream.height, stream.width)
        (rgb,) = self.pipeline.decode_batch([stream], [whole], self.threads, lambda _, rgb: rgb, None)
        return prepared.laid_over(rgb, self.threads)

    def _squares(self, prepared: Prepared, data: bytes) -> int:
        """The sum of the squared errors of what a file decodes to; alpha does not count."""
        return self._squares_of(prepared, self.decoded(prepared, data))

    def _squares_of(self, prepared: Prepared, rgb: NDArray[np.uint8]) -> int:
        mode, total = prepared.mode, 0
        for top in range(0, len(rgb), _BLOCK_ROWS):
            block = prepared.shown.take(top, top + _BLOCK_ROWS)
            decoded = _image.join(rgb[top : top + len(block)], mode, None)
            total += layers.errors_of(block if mode == "RGB" else block[:, :, 0], decoded)[1]
        return total

    def batch(self, prepared: Sequence[Prepared]) -> list[bytes]:
        """Several images, several at a time; an error says which."""

        def code(i: int, symbols: Symbols, threads: int) -> bytes:
            if (flat := self.of_one_colour(prepared[i])) is not None:
                return flat
            data = self.packed(prepared[i], symbols, self.quality, threads)
            return self.settled(*self.divided(prepared[i], data, self.quality, threads), self.quality, threads)

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
        coarse = layers.samples_of(self.decoded(prepared, data), stream.mode)
        layer = layers.residual(prepared.samples(), coarse, self.step, threads)
        chunks = {**stream.chunks, **layer.chunks()}
        if self.pixel_checksum:
            layer.decode(coarse, 0, threads)
            chunks[_container.PIXEL_CHECKSUM] = checksum_bytes(coarse)
        return _container.pack(replace(stream, chunks=chunks))

    def proved(self, prepared: Prepared, data: bytes) -> bytes:
        """The file with the checksum of its pixels, if it is to have one."""
        if not self.pixel_checksum:
            return data
        stream = _container.unpack(data, None)
        checksum = checksum_bytes(layers.samples_of(self.decoded(prepared, data), stream.mode))
        return _container.pack(replace(stream, chunks={**stream.chunks, _container.PIXEL_CHECKSUM: checksum}))
