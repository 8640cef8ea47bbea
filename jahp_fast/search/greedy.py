# SPDX-License-Identifier: Apache-2.0
"""The encoder's search for better symbols than the nearest integers: what `effort` means. Decoders do not know of it.

All of it minimises, for an image of P pixels and the λ of its quality,

    λ · 255² · |x − x̂|² / 3 + bits          (x in 0..1, |·|² over all samples; both sides times P)

Bits of a symbol are exact: the logarithm of its frequency in the row of the tables that it is coded with. Its effect on the image is

    2 u · step + curvature · step²          u: half of the gradient of |x − x̂|² at the present symbols

Effort 1 knows u without automatic differentiation: it decodes the nearest integers, takes the difference to the image back through the
adjoint of g_s (search.adjoint), and steps each symbol by one where that pays. The curvature, which is measured for a channel, grows with
the squares of the gains that the adjoint met.

The best step comes first, and those behind it count with what it left to be gained: its effect on the slopes around it is that of the
linear chain, forth and back (see step_search). Rates are those that the contexts of before gave. MARGIN, the bits that a step must
earn, stands for the best of many guesses being luck in part; PRICE of the bits for what other symbols pay when a context changes. All
three constants were chosen on eight held-out training photos (docs/lab/019-search-constants.md). Efforts 2 and 3 go on in many
small changes: jahp_fast.search.descent. With tune="eye" they weigh errors as an eye does: jahp_fast.search.masking.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jahp_fast import _native
from jahp_fast.constants import STRIDE, trade_off
from jahp_fast.entropy.model_file import CURVATURE
from jahp_fast.errors import UsageError
from jahp_fast.search.adjoint import Adjoint, searched
from jahp_fast.search.bits import SymbolBits
from jahp_fast.search.descent import SCHEDULES, Progress, descended
from jahp_fast.search.masking import TUNES, Masking, heavier
from jahp_fast.search.step_search import best_steps
from jahp_fast.transforms.cpu import LATENT_ROWS, CpuTransforms, Pixels, Trace, in_blocks, made_trace
from jahp_fast.transforms.layers import Ints, Shorts

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelFile
    from jahp_fast.pipelines.contract import Analysed, Opened, Pipeline, Symbols

Floats = NDArray[np.float32]

MARGIN = 1.75
PRICE = 0.6
TYPICAL = 5.0
"""λ · 255² / 3 times the curvature of a latent, in bits: about this at every quality, as theory has it for any codec whose steps suit its
λ. Trimming, which must work for every model, takes it for all channels."""
EFFORTS = (0, 1, 2, 3)


def check(model: ModelFile, effort: int, tune: str | None = None) -> None:
    """Raises UsageError for an effort or a tune that is none, or that the model cannot have."""
    if effort not in EFFORTS or isinstance(effort, bool):
        raise UsageError(f"effort must be one of {EFFORTS}, not {effort!r}")
    if tune is not None and tune not in TUNES:
        raise UsageError(f"tune must be {' or '.join(map(repr, TUNES))}, not {tune!r}")
    if tune is not None and effort < 2:
        raise UsageError("tune is of the encoder's search in rounds: give an effort of 2 or 3 with it")
    if effort == 0:
        return
    if model.metric != "mse":
        raise UsageError(f"{model.path.stem} was trained for {model.metric}, and effort minimises squared error: it has effort 0 alone")
    if model.config.form != "A":
        raise UsageError(f"{model.path.stem} is of form B, whose symbols depend on each other: it has effort 0 alone")
    if CURVATURE not in model.names:
        raise UsageError(f"{model.path.stem} has no tensors for searching ({CURVATURE}): `jahp export` writes them")


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def improved(
    pipeline: Pipeline,
    image: Opened,
    analysed: Analysed,
    nearest: Symbols,
    quality: float,
    effort: int,
    rate: float,
    threads: int,
    progress: Progress | None = None,
    tune: str | None = None,
) -> Symbols:
    """z and y to code in place of the nearest integers.

    Args:
        pipeline: its model and backend count.
        image: as the pipeline opened it.
        analysed: its latents at `quality`, not rounded.
        nearest: z and y, rounded.
        rate: factor of the bits in what is minimised; above 1 the file becomes smaller.
        progress: of efforts that go in rounds.
        tune: "eye", or None for squared error; of efforts that go in rounds.

    Numbers of absurd models may overflow here; a step whose cost is not a number is not taken.
    """
    searcher = _searcher(pipeline.file, pipeline.backend_name == "reference")
    if effort == 0:
        return nearest[0], searcher.trimmed(analysed.latents()[0], nearest, rate, threads)
    z, pixels = nearest[0], image.pixels()
    if effort == 1:
        return z, searcher.stepped(pixels, nearest, quality, rate, threads)
    masking = None if tune is None else searcher.masking(pixels, nearest[1], quality, threads)
    latents = analysed.latents()[0], z
    return z, descended(searcher, pixels, latents, quality, SCHEDULES[effort], rate, threads, progress, masking)


def distortions(pipeline: Pipeline, image: Opened, found: Ints, nearest: Ints, quality: float, threads: int) -> tuple[float, float]:
    """What the errors of two choices of y weigh to an eye, in bits, as the search of improved, which began at `nearest`, counts them."""
    searcher, pixels = _searcher(pipeline.file, pipeline.backend_name == "reference"), image.pixels()
    masking = searcher.masking(pixels, nearest, quality, threads)
    one, two = (searcher.distortion(pixels, y, quality, threads, masking) for y in (found, nearest))
    return one, two


@lru_cache(maxsize=4)
def _searcher(model: ModelFile, reference: bool) -> Searcher:
    return Searcher(model, reference)


class Searcher:
    """One model's rates and sensitivities. Safe to share between threads.

    Args:
        reference: NumPy alone, for the reference backend.
    """

    def __init__(self, model: ModelFile, reference: bool) -> None:
        self.model = model
        self.bits = SymbolBits(model, reference)
        self._transforms = CpuTransforms(model, not reference)
        self.reference = reference
        self._adjoint: tuple[float, bool, Adjoint] | None = None
        self._lock = threading.Lock()
        self._shape: Floats | None = None
        self._shares: Floats | None = None

    def trimmed(self, y: Floats, nearest: tuple[Ints, Ints], rate: float, threads: int) -> Ints:
        """nearest[1], with symbols a step nearer to their distribution's mode where that pays, as far as y alone can tell."""
        z, symbols = nearest
        slope = (2 * TYPICAL) * (symbols - y)
        down, up = self._bits_added(z, symbols, rate, threads)
        down, up = down - slope, up + slope
        pays = np.minimum(down, up) < -TYPICAL
        return symbols + np.where(pays, np.where(down <= up, np.int32(-1), np.int32(1)), np.int32(0))

    def masking(self, image: Pixels, y: Ints, quality: float, threads: int) -> Masking:
        """What errors of the image, (H, W, 3) uint8, weigh, where those of the symbols y are to weigh what they do plain."""
        masking = Masking(image, *y.shape[:2])
        masking.balance(self._errors(image, y, quality, threads))
        return masking

    def stepped(self, image: Pixels, start: tuple[Ints, Ints], quality: float, rate: float, threads: int) -> Ints:
        """start[1], with symbols one step up or down where that pays.

        Args:
            image: (H, W, 3) uint8.
            start: z and y.
        """
        z, y = start
        weight = np.float32(trade_off(quality) * 255**2 / 3)
        slope, answer = self.gradient(image, y, quality, threads)
        curvature = weight * self.curvature(quality)
        down, up = self._bits_added(z, y, PRICE * rate, threads)
        best = best_steps if self.reference else _native.best_steps
        return y + best(weight * slope, curvature, answer, down, up, self.interaction(curvature), MARGIN)

    def cost(self, image: Pixels, symbols: tuple[Ints, Ints], quality: float, rate: float, threads: int) -> float:
        """What is minimised, of the integers z and y, in bits."""
        z, y = symbols
        errors = sum(int(np.square(rows, dtype=np.int32).sum(dtype=np.int64)) for rows in self._errors(image, y, quality, threads))
        rows, shifts = self.bits.rows(z, y, threads)
        bits = float(self.bits.of(rows, y - shifts).sum(dtype=np.float64))
        bits += float(self.bits.of(np.broadcast_to(np.arange(z.shape[2], dtype=np.int32), z.shape), z).sum(dtype=np.float64))
        return trade_off(quality) / 3 * errors + rate * bits

    def distortion(self, image: Pixels, y: Ints, quality: float, threads: int, masking: Masking) -> float:
        """Of what is minimised, the part of the errors, in bits."""
        return trade_off(quality) / 3 * masking.total(self._errors(image, y, quality, threads))

    def gradient(self, image: Pixels, y: Ints, quality: float, threads: int) -> tuple[Floats, Floats]:
        """About half of the gradient of |x − x̂|² by y, (h, w, M); and (h, w), about 1, how strongly the image answers there."""
        h, w, _ = y.shape
        trace, adjoint = made_trace(not self.reference), self.adjoint(quality, exact=False)
        slope = self._slope(image, y, quality, threads, trace, adjoint, None)
        answer = np.ones((h, w))
        for squares in trace.squares():
            answer *= adjoint.mean_square(squares, h, w)
        return slope, answer.astype(np.float32)

    def derivative(self, image: Pixels, y: Ints, quality: float, threads: int, masking: Masking | None = None) -> Floats:
        """Half of the gradient of |x − x̂|², or of what masking makes of it, by y, (h, w, M)."""
        trace = made_trace(not self.reference, inputs=True)
        return self._slope(image, y, quality, threads, trace, self.adjoint(quality, exact=True), masking)

    def _slope(
        self, image: Pixels, y: Ints, quality: float, threads: int, trace: Trace, adjoint: Adjoint, masking: Masking | None
    ) -> Floats:
        h, w, _ = y.shape
        errors = self._errors(image, y, quality, threads, trace)
        first = next(errors)  # g_s has to come before its adjoint
        stream = adjoint.net.stream(h * STRIDE, w * STRIDE, trace)
        unit = (adjoint.unit * self._gain(quality) / 255**2).astype(np.float32)
        slope, done, top = np.empty(y.shape, np.float32), 0, 0

        def take(answers: Ints) -> None:
            nonlocal done
            np.multiply(answers.astype(np.float32), unit, out=slope[done : done + len(answers)])
            done += len(answers)

        for rows in chain([first], errors):
            take(stream.push(adjoint.entered(rows) if masking is None else adjoint.entered_weighed(masking.weighed(rows, top)), threads))
            top += len(rows)
        take(stream.finish(threads))
        return slope

    def _errors(self, image: Pixels, y: Ints, quality: float, threads: int, trace: Trace | None = None) -> Iterator[Shorts]:
        """x̂ − x from top to bottom, in grey levels, in blocks (k, 16 w, 3) of the grid of latents, zero outside of the image."""
        height, width = image.shape[:2]
        h, w, _ = y.shape
        done = 0
        for decoded in self._transforms.synthesis(in_blocks(y, LATENT_ROWS), height, width, quality, threads, trace):
            seen = done + len(decoded)
            error = np.zeros((len(decoded) + (STRIDE * h - height if seen == height else 0), STRIDE * w, 3), np.int16)
            np.subtract(decoded, image[done:seen], out=error[: len(decoded), :width], dtype=np.int16)
            done = seen
            yield error

    def _gain(self, quality: float) -> NDArray[np.float64]:
        """(M,) by how many units of g_s's input a step of one moves it."""
        mul, shift = self._transforms.gain("inv_gain").at(quality)
        gain: NDArray[np.float64] = np.ldexp(mul.astype(np.float64), -shift.astype(np.int64))
        return gain

    def curvature(self, quality: float, masking: Masking | None = None) -> Floats:
        """(M,) mean increase of |x − x̂|² by a step of one; with masking, of what is minimised where its `local` is 1."""
        config = self.model.config
        table = searched(self.model, CURVATURE, config.latents).astype(np.float64)
        row, t, steps = config.between(quality)
        mixed = table[row] + t / steps * (table[row + 1] - table[row]) if t else table[row]
        curvature: Floats = (mixed * self._gain(quality) ** 2).astype(np.float32)
        return curvature if masking is None else curvature * self._heavier()

    def adjoint(self, quality: float, exact: bool) -> Adjoint:
        """The last one is kept."""
        kept = self._adjoint
        if kept is None or kept[:2] != (quality, exact):
            made = Adjoint(self.model, self._transforms.g_s_layers(quality), quality, not self.reference, exact)
            self._adjoint = kept = quality, exact, made
        return kept[2]

    def interaction(self, curvature: Floats) -> Floats:
        """(M, 3, 3, M) what a step of a symbol adds to the slopes around it, as best_steps takes it, where symbols have a curvature (M,).

        The shape of it is that of the middle quality, by the linear chain of its mean gains: what differs between qualities are sizes.
        Farther away than one position there is less than a thousandth of it.
        """
        with self._lock:
            if self._shape is None:
                self._shape = self._middle().shape()
        root: Floats = np.sqrt(np.maximum(curvature, np.float32(0)))
        return self._shape * root[:, None, None, None] * root

    def _heavier(self) -> Floats:
        """(M,) masking.heavier of what a step of each channel does to the image, at the middle quality."""
        with self._lock:
            if self._shares is None:
                image, places, _ = self._middle().impulses()
                around = [[slice((i - 2) * STRIDE, (i + 3) * STRIDE) for i in place] for place in places]
                self._shares = heavier([image[rows, columns] for rows, columns in around])
        return self._shares

    def _middle(self) -> Adjoint:
        qualities = self.model.config.qualities
        quality = qualities[len(qualities) // 2]
        return Adjoint(self.model, self._transforms.g_s_layers(quality), quality, not self.reference, exact=False)

    def _bits_added(self, z: Ints, y: Ints, rate: float, threads: int) -> tuple[Floats, Floats]:
        """(h, w, M) each: rate times the bits that a step down, and one up, adds to y."""
        rows, shifts = self.bits.rows(z, y, threads)
        values = y - shifts
        now = self.bits.of(rows, values)
        down, up = (np.float32(rate) * (self.bits.of(rows, values + d) - now) for d in (-1, 1))
        return down, up
