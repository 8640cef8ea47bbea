# SPDX-License-Identifier: Apache-2.0
"""From an image to a file, with one model in use: prepare, analyse, round or search, code, pack."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from jahp_fast.constants import QUALITY_STEPS, SMOOTH_PIXELS, layer_step, smooth_base
from jahp_fast.errors import UsageError
from jahp_fast.files import container as _container
from jahp_fast.files import layers
from jahp_fast.files.kind import has_one_colour
from jahp_fast.files.pixel_proof import checksum_bytes
from jahp_fast.losses import LatentFile, Losses
from jahp_fast.pipelines.contract import Pipeline, Symbols
from jahp_fast.prepared import Prepared
from jahp_fast.search import drawings, greedy, rate_control
from jahp_fast.search.descent import Progress
from jahp_fast.search.drawings import Drawn, Overlaid
from jahp_fast.system.devices import Clock

Laid = tuple[Prepared, LatentFile, int]
"""An image with something laid over the pixels of its latents, its file, and the loss of that."""


@dataclass(frozen=True)
class Encoding:
    """A model in use, at one quality, on so many threads.

    Attributes:
        layered: the quality, above 8, that a layer over the pixels of `quality` brings; None without one. Then `pipeline` is an exact one.
        lanes: 0 for as many as the payload's length suggests.
        drawings: keep them without the nets, or that part of a picture, where it costs less.
    """

    pipeline: Pipeline
    quality: float
    threads: int
    pixel_checksum: bool
    layered: float | None = None
    lanes: int = 0
    drawings: bool = True

    @property
    def losses(self) -> Losses:
        return Losses(self.pipeline, self.threads)

    def plain(self, prepared: Prepared, clock: Clock) -> bytes:
        """The nearest integers; laps load, g_a, h_a and entropy, with a layer load, g_a, entropy and layer. Entropy alone of one colour."""
        if (flat := self.of_one_colour(prepared)) is not None:
            clock.lap("entropy")
            return flat
        self.pipeline.warm()
        if self.layered is not None:
            clock.lap("load")
            nearest = self.attempts(prepared, 0, None, None)
            clock.lap("g_a")
            file = nearest(_container.quality_code(self.quality))
            clock.lap("entropy")
            data = self.with_layer(prepared, file, nearest)
            clock.lap("layer")
            return data
        image = self.pipeline.open(prepared.rows)
        clock.lap("load")
        symbols = image.analyse(self.quality, self.threads, clock).round_latents()  # and what was not rounded is let go
        file = self.packed(prepared, symbols, self.quality, self.threads)
        clock.lap("entropy")
        return self.settled(prepared, file, self.quality, self.threads)

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
                prepared = self.overlaid(prepared, quality, threads)
                file = self.attempts(prepared, effort, progress, tune)(_container.quality_code(quality))
                return self.settled(prepared, file, quality, threads, may_divide=False)
            return self.settled(prepared, self.nearest(prepared, quality, threads), quality, threads)
        sized = isinstance(goal, rate_control.Goal)
        drawing = self.drawing_for(prepared, goal, None) if sized else None
        if drawing is not None and drawing.squares == 0:
            return prepared.of_drawn(drawing, threads)  # nothing is better
        found: list[tuple[Prepared, LatentFile]] = []
        refused = None
        try:
            found.append((prepared, self.fitted(prepared, effort, goal, progress, tune)))
            quality = found[0][1].stream.quality
        except UsageError as e:
            refused = e
            quality = self.pipeline.file.config.qualities[0 if sized else -1]
        for _ in range(2):  # the second time at the quality that the first one led to
            other = self.overlaid(prepared, quality, threads)
            if other is prepared:
                break
            try:
                found.append((other, self.fitted(other, effort, goal, progress, tune)))
            except UsageError:
                break
            before, quality = quality, found[-1][1].stream.quality
            if quality == before:
                break
        if not sized:
            drawing = self.drawing_for(prepared, goal, min((len(file) for _, file in found), default=None))
        if not found:
            assert refused is not None
            if drawing is None and isinstance(goal, rate_control.Goal):  # what a drawing takes may be less than the nets' file
                low = self.pipeline.file.config.qualities[0]
                data = self.settled(prepared, self.nearest(prepared, low, threads), low, threads)
                if len(data) > goal.goal:
                    raise rate_control.too_small(goal, _container.quality_code(low), len(data))
                return data
            if drawing is None:
                raise refused
            return prepared.of_drawn(drawing, threads)
        best, file = min(found, key=lambda f: self.losses.squares(*f) if sized else len(f[1])) if len(found) > 1 else found[0]
        if drawing is None or (sized and drawing.squares > self.losses.squares(best, file)):
            return self.proved(best, file)
        return prepared.of_drawn(drawing, threads)

    def nearest(self, prepared: Prepared, quality: float, threads: int) -> LatentFile:
        """The file of the nearest integers."""
        analysed = self.pipeline.open(prepared.rows).analyse(quality, threads, Clock("cpu"))
        return self.packed(prepared, analysed.round_latents(), quality, threads)

    def overlaid(self, prepared: Prepared, quality: float, threads: int) -> Prepared:
        """An image as it is, or with its drawn part or its plain ground laid over, where that costs less."""
        if not self._maybe_divided(prepared):
            return prepared
        file = self.nearest(prepared, quality, threads)
        pixels = self.losses.pixels(prepared, file)
        parts = prepared.overlaid(pixels, quality, len(file), threads)
        own = self.losses.of(prepared, len(file), self.losses.squares_of(prepared, pixels), quality)
        best = self.on_plain_ground(prepared, file, pixels, own, quality, threads) or (prepared, file, own)
        return (self.under(prepared, parts, best[2], quality, threads) or best)[0]

    def on_plain_ground(
        self, prepared: Prepared, file: LatentFile, pixels: NDArray[np.uint8], below: int, quality: float, threads: int
    ) -> Laid | None:
        """The image with its plain ground laid over, if it costs less than `below`; of the file without, whose pixels these are."""
        ground = prepared.on_plain_ground(threads)
        if ground is None:
            return None
        stream = replace(file.stream, chunks={**file.stream.chunks, layers.LAYER: ground.chunks[layers.LAYER]})
        laid = LatentFile(stream, _container.pack(stream), file.y)
        loss = self.losses.of(ground, len(laid), self.losses.squares_of(ground, ground.laid_over(pixels, threads)), quality)
        return (ground, laid, loss) if loss < below else None

    def under(self, prepared: Prepared, parts: Sequence[Overlaid], below: int, quality: float, threads: int) -> Laid | None:
        """The image with that part laid over that costs least, if less than `below`; its file is made where there is hope."""
        best = None
        for part in parts:
            if part.hoped >= below:
                continue
            divided = prepared.divided(part)
            file = self.nearest(divided, quality, threads)
            loss = self.losses.of(divided, len(file), self.losses.squares(divided, file), quality)
            if loss < below:
                best, below = (divided, file, loss), loss
        return best

    def _maybe_divided(self, prepared: Prepared) -> bool:
        return self.drawings and self.layered is None and prepared.maybe_overlaid()

    def attempts(self, prepared: Prepared, effort: int, progress: Progress | None, tune: str | None) -> Callable[..., LatentFile]:
        """attempt(code, rate=None, effort=effort) -> the file at a quality, with symbols that were searched for; of an image that is
        analysed once. rate: the factor of the bits."""
        pipeline, threads = self.pipeline, self.threads
        image = pipeline.open(prepared.rows)
        analyse = image.analyse_once(threads)

        def attempt(code: int, rate: float | None = None, effort: int = effort) -> LatentFile:
            quality = code / QUALITY_STEPS
            analysed = analyse(quality)
            symbols = analysed.round_latents()
            if effort == 0 and rate is None:
                return self.packed(prepared, symbols, quality, threads)
            searched = greedy.improved(pipeline, image, analysed, symbols, quality, effort, rate or 1.0, threads, progress, tune)
            file = self.packed(prepared, searched, quality, threads)
            if rate is not None or not (pipeline.may_copy(*symbols) or layers.LAYER in prepared.chunks):
                return file
            # The search does not know that equal neighbours are free, nor what is laid over its pixels.
            plain = self.packed(prepared, symbols, quality, threads)
            if tune is None:
                return min(file, plain, key=lambda one: self.losses.cost(prepared, one, quality))
            seen = greedy.distortions(pipeline, image, searched[1], symbols[1], quality, threads)
            return file if seen[0] + 8 * len(file) <= seen[1] + 8 * len(plain) else plain

        return attempt

    def fitted(
        self,
        prepared: Prepared,
        effort: int,
        goal: rate_control.Goal | rate_control.ScoreGoal,
        progress: Progress | None,
        tune: str | None,
    ) -> LatentFile:
        """The file that comes nearest to a goal. Raises UsageError where none reaches it."""
        attempt = self.attempts(prepared, effort, progress, tune)
        config = self.pipeline.file.config
        codes = _container.quality_code(config.qualities[0]), _container.quality_code(config.qualities[-1])
        start = _container.quality_code(self.quality)

        def offset(file: LatentFile) -> float:
            if isinstance(goal, rate_control.ScoreGoal):
                return self.losses.score(goal.score, prepared, file) - goal.wanted
            return math.log(len(file) / goal.goal)

        def seen(code: int) -> tuple[LatentFile, float]:
            file = attempt(code)
            return file, offset(file) + (goal.wanted if isinstance(goal, rate_control.ScoreGoal) else 0.0)

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
            if isinstance(goal, rate_control.ScoreGoal) and self.losses.score_of(goal.score, prepared, drawing) < goal.wanted:
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

    def settled(self, prepared: Prepared, file: LatentFile, quality: float, threads: int, may_divide: bool = True) -> bytes:
        """The file with what belongs to it; or a drawing's by itself, or with its drawn part or plain ground laid over, where that costs
        less."""
        if self.layered is not None:
            return self.with_layer(prepared, file, lambda code: self.nearest(prepared, code / QUALITY_STEPS, threads))

        @cache
        def pixels() -> NDArray[np.uint8]:
            return self.losses.pixels(prepared, file)

        @cache
        def own() -> int:
            return self.losses.of(prepared, len(file), self.losses.squares_of(prepared, pixels()), quality)

        parts: list[Overlaid] = []
        laid: Laid | None = None
        if may_divide and self._maybe_divided(prepared):
            parts = prepared.overlaid(pixels(), quality, len(file), threads)
            laid = self.on_plain_ground(prepared, file, pixels(), own(), quality, threads)

        def least() -> int:
            return own() if laid is None else laid[2]

        ways = prepared.drawings(threads) if self.drawings else iter(())
        exact = next(ways, None)
        if parts and (exact is None or any(self.losses.by_itself(prepared, exact, quality) > drawings.HOPE * p.hoped for p in parts)):
            laid = self.under(prepared, parts, least(), quality, threads) or laid
            parts = []
        best = (prepared, file) if laid is None else laid[:2]
        drawing = None if exact is None else self.cheaper(prepared, chain([exact], ways), len(best[1]), least, quality)
        if parts:
            below = least() if drawing is None else self.losses.by_itself(prepared, drawing, quality)
            if (divided := self.under(prepared, parts, below, quality, threads)) is not None:
                return self.proved(*divided[:2])
        return self.proved(*best) if drawing is None else prepared.of_drawn(drawing, threads)

    def cheaper(self, prepared: Prepared, ways: Iterable[Drawn], size: int, least: Callable[[], int], quality: float) -> Drawn | None:
        """Of the ways to keep a drawing by itself one that costs no more than a file of `size` bytes, the loss of which is least()."""
        best: Drawn | None = None
        bar, last = 0, None
        for drawing in ways:
            if last is not None and self.losses.of(prepared, 0, drawing.squares, quality) >= last:
                break  # whatever it takes
            now = self.losses.by_itself(prepared, drawing, quality)
            if last is None:
                bar = self.losses.of(prepared, size, 0, quality)
                if now > bar:  # else it costs less, whatever the file loses
                    bar = least()
            if now > drawings.HOPE * bar or (last is not None and now >= last):
                break
            last = now
            if now <= bar:
                best, bar = drawing, now
        return best

    def batch(self, prepared: Sequence[Prepared]) -> list[bytes]:
        """Several images, several at a time; an error says which."""

        def code(i: int, symbols: Symbols, threads: int) -> bytes:
            if (flat := self.of_one_colour(prepared[i])) is not None:
                return flat
            file = self.packed(prepared[i], symbols, self.quality, threads)
            return self.settled(prepared[i], file, self.quality, threads)

        opened = [self.pipeline.open(p.rows) for p in prepared]
        self.pipeline.warm()
        return self.pipeline.encode_batch(opened, self.quality, self.threads, code)

    def packed(self, prepared: Prepared, symbols: Symbols, quality: float, threads: int) -> LatentFile:
        """The file of an image's symbols."""
        coded = self.pipeline.encode_symbols(*symbols, prepared.size, quality, self.lanes, threads)
        chunks = {_container.COPIES: coded.copies, **prepared.chunks} if coded.copies else prepared.chunks
        model = self.pipeline.file.id
        head = (*prepared.size, prepared.mode, _container.quality_code(quality) / QUALITY_STEPS, model)
        stream = _container.Stream(*head, coded.lanes, coded.skip, coded.checksum, coded.payload, chunks)
        return LatentFile(stream, _container.pack(stream), coded.y)

    def with_layer(self, prepared: Prepared, file: LatentFile, nearest: Callable[[int], LatentFile]) -> bytes:
        """The file of the base quality with a layer over it, of a smooth picture over that of a finer one, nearest(code); or a drawing's by
        itself, where that takes no more."""
        assert self.layered is not None
        exact = next(prepared.drawings(self.threads), None) if self.drawings else None
        if exact is not None and prepared.size_of(exact) <= len(file):  # to which a layer only adds
            return prepared.of_drawn(exact, self.threads)
        smooth = SMOOTH_PIXELS * len(file.stream.payload) < math.prod(prepared.size)
        data = self.finished(prepared, nearest(_container.quality_code(smooth_base(self.layered))) if smooth else file, self.threads)
        return data if exact is None or prepared.size_of(exact) > len(data) else prepared.of_drawn(exact, self.threads)

    def finished(self, prepared: Prepared, file: LatentFile, threads: int) -> bytes:
        """The file with its layer, and its checksum of the pixels."""
        assert self.layered is not None
        stream = file.stream
        deep = prepared.depth > 8
        coarse = layers.samples_of(self.losses.coarse(file, deep), stream.mode)
        layer = layers.residual(prepared.deep_samples() if deep else prepared.samples(), coarse, layer_step(self.layered), threads)
        chunks = {**stream.chunks, **layer.chunks()}
        if self.pixel_checksum:
            layer.decode(coarse, 0, threads)
            chunks[_container.PIXEL_CHECKSUM] = checksum_bytes(coarse)
        return _container.pack(replace(stream, chunks=chunks))

    def proved(self, prepared: Prepared, file: LatentFile) -> bytes:
        """The file with the checksum of its pixels, if it is to have one."""
        if not self.pixel_checksum:
            return file.data
        stream = file.stream
        checksum = checksum_bytes(layers.samples_of(self.losses.pixels(prepared, file), stream.mode))
        return _container.pack(replace(stream, chunks={**stream.chunks, _container.PIXEL_CHECKSUM: checksum}))
