# SPDX-License-Identifier: Apache-2.0
"""The encoder's search for better symbols than the nearest integers: what `effort` means. Decoders do not know of it.

All of it minimises, for an image of P pixels and the λ of its quality,

    λ · 255² · |x − x̂|² / 3 + bits          (x in 0..1, |·|² over all samples; both sides times P)

Bits of a symbol are exact: the logarithm of its frequency in the row of the tables that it is coded with. Its effect on the image is

    2 u · step + curvature · step²          u: half of the gradient of |x − x̂|² at the present symbols

Effort 1 knows u without automatic differentiation: it decodes the nearest integers, takes the difference to the image back through the
adjoint of g_s with each inverse GDN held at its root mean square gain (a chain of plain convolutions; tests/test_search.py correlates
it with the gradient), and steps each symbol by one where that pays. All symbols step at once, on the rate that the contexts of before
gave; DAMPING of the curvature stands for what they do to each other, PRICE of the bits for what other symbols pay when a context
changes. Both were chosen on eight held-out training photos (docs/evaluation.md). Efforts 2 and 3: jahp_fast.refine.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.constants import LAMBDAS, STRIDE
from jahp_fast.entropy.bits import SymbolBits
from jahp_fast.errors import UsageError
from jahp_fast.extras import require_torch
from jahp_fast.image import Rows
from jahp_fast.transforms_cpu import (
    CpuTransforms,
    Floats,
    Ints,
    Net,
    Tensors,
    in_blocks,
    made_net,
    row_at,
    run_by_rows,
)
from jahp_fast.transforms_ref import Layer

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelFile
    from jahp_fast.entropy_path import EntropyPath

DAMPING = 1.4
PRICE = 0.8
TYPICAL = 5.0
"""λ · 255² / 3 times the curvature of a latent, in bits: about this at every quality, as theory has it for any codec whose steps suit its
λ. Trimming, which must work for every model, takes it for all channels."""
EFFORTS = (0, 1, 2, 3)
SCALES = ("search.scale.0", "search.scale.1", "search.scale.2")
CURVATURE = "search.curvature"


def check(model: ModelFile, effort: int) -> None:
    """Raises UsageError for an effort that is none, or that the model cannot have; MissingExtra where it needs torch."""
    if effort not in EFFORTS or isinstance(effort, bool):
        raise UsageError(f"effort must be one of {EFFORTS}, not {effort!r}")
    if effort == 0:
        return
    if model.config.form != "A":
        raise UsageError(f"{model.path.stem} is of form B, whose symbols depend on each other: it has effort 0 alone")
    if f"float.{CURVATURE}" not in model.names:
        raise UsageError(f"{model.path.stem} has no tensors for searching (float.{CURVATURE}): `jahp export` writes them")
    if effort > 1:
        require_torch(f"effort {effort}", "train")


def trade_off(model: ModelFile, quality: float) -> float:
    """λ of a quality: geometric between the paper's."""
    return float(np.exp(np.interp(quality, np.arange(1, 9), np.log(LAMBDAS))))


def improved(
    path: EntropyPath,
    pixels: Any,
    latents: tuple[Any, Any],
    nearest: tuple[Ints, Ints],
    quality: float,
    effort: int,
    rate: float,
    threads: int,
) -> tuple[Ints, Ints]:
    """z and y to code in place of the nearest integers.

    Args:
        path: the pipeline, for its model and backend.
        pixels: the image, as the pipeline's `upload` gives it.
        latents: y and z, not rounded, as the pipeline gives them.
        nearest: z and y, rounded.
        rate: factor of the bits in what is minimised; above 1 the file becomes smaller.
    """
    searcher = _searcher(path.file, path.backend_name == "reference")
    if effort == 0:
        y, z = _channels_last(latents[0], path), nearest[0]
        return z, searcher.trimmed(y, nearest, rate, threads)
    image = pixels.take(0, pixels.height) if isinstance(pixels, Rows) else pixels.permute(1, 2, 0).cpu().numpy()
    candidates = [nearest]
    if effort > 1:
        from jahp_fast.refine import SCHEDULES, refined

        candidates.append(refined(path.file, image, latents, quality, SCHEDULES[effort], rate))
    stepped = [(z, searcher.stepped(image, (z, y), quality, rate, threads)) for z, y in candidates]
    if len(stepped) == 1:
        return stepped[0]
    return min(stepped, key=lambda symbols: searcher.cost(image, symbols, quality, rate, threads))


def _channels_last(y: Any, path: EntropyPath) -> Floats:
    return y if isinstance(y, np.ndarray) else np.ascontiguousarray(y.permute(1, 2, 0).cpu().numpy())


@lru_cache(maxsize=4)
def _searcher(model: ModelFile, plain: bool) -> Searcher:
    return Searcher(model, plain)


class Searcher:
    """One model's rates and sensitivities. Safe to share between threads.

    Args:
        plain: NumPy alone, for the reference backend.
    """

    def __init__(self, model: ModelFile, plain: bool) -> None:
        self.model = model
        self.bits = SymbolBits(model, plain)
        self._transforms = CpuTransforms(model, not plain)
        self._plain = plain
        self._adjoint: tuple[float, Net] | None = None

    def trimmed(self, y: Floats, nearest: tuple[Ints, Ints], rate: float, threads: int) -> Ints:
        """nearest[1], with symbols a step nearer to their distribution's mode where that pays, as far as y alone can tell."""
        z, symbols = nearest
        return self._step(z, symbols, TYPICAL * (symbols - y), np.full(symbols.shape[2], TYPICAL, np.float32), rate, threads)

    def stepped(self, image: NDArray[np.uint8], start: tuple[Ints, Ints], quality: float, rate: float, threads: int) -> Ints:
        """start[1], with symbols one step up or down where that pays.

        Args:
            image: (H, W, 3) uint8.
            start: z and y.
        """
        z, y = start
        weight = np.float32(trade_off(self.model, quality) * 255**2 / 3)
        slope, curvature = self.gradient(image, y, quality, threads), self.curvature(quality)
        return self._step(z, y, weight * slope, weight * curvature, PRICE * rate, threads)

    def cost(self, image: NDArray[np.uint8], symbols: tuple[Ints, Ints], quality: float, rate: float, threads: int) -> float:
        """What is minimised, of the integers z and y, in bits."""
        z, y = symbols
        error = self._error(image, y, quality, threads)
        rows, shifts = self.bits.rows(z, y, threads)
        bits = float(self.bits.of(rows, y - shifts).sum(dtype=np.float64))
        bits += float(self.bits.of(np.broadcast_to(np.arange(z.shape[2], dtype=np.int32), z.shape), z).sum(dtype=np.float64))
        return trade_off(self.model, quality) * 255**2 / 3 * float(np.square(error).sum(dtype=np.float64)) + rate * bits

    def gradient(self, image: NDArray[np.uint8], y: Ints, quality: float, threads: int) -> Floats:
        """About half of the gradient of |x − x̂|² by y, (h, w, M)."""
        error = self._error(image, y, quality, threads)
        return run_by_rows(self.adjoint(quality), error, threads) * self._transforms.gain("inv_gain", quality)

    def _error(self, image: NDArray[np.uint8], y: Ints, quality: float, threads: int) -> Floats:
        """x̂ − x, on the grid of latents (16 h, 16 w, 3), zero outside of the image."""
        height, width = image.shape[:2]
        decoded = np.concatenate(list(self._transforms.synthesis(in_blocks(y, 4), height, width, quality, 0, threads)))
        error = np.zeros((y.shape[0] * STRIDE, y.shape[1] * STRIDE, 3), np.float32)
        np.subtract(decoded, image, out=error[:height, :width], dtype=np.float32)
        error *= np.float32(1 / 255)
        return error

    def curvature(self, quality: float) -> Floats:
        """(M,) increase of |x − x̂|² by a step of one, damped."""
        config = self.model.config
        table = Tensors(self.model, CURVATURE).take(CURVATURE, len(config.qualities), config.latents)
        return row_at(table, config.qualities, quality) * self._transforms.gain("inv_gain", quality) ** 2 * np.float32(DAMPING)

    def adjoint(self, quality: float) -> Net:
        """The chain of convolutions from pixels to latents. That of the last quality is kept."""
        kept = self._adjoint
        if kept is None or kept[0] != quality:
            layers = adjoint_layers(self.model, self._transforms.g_s_layers(quality), quality)
            self._adjoint = kept = quality, made_net(layers, not self._plain)
        return kept[1]

    def _step(self, z: Ints, y: Ints, slope: Floats, curvature: Floats, rate: float, threads: int) -> Ints:
        """slope (h, w, M), curvature (M,) in bits: a step of d costs 2 d slope + curvature, and rate times the bits that it adds."""
        rows, shifts = self.bits.rows(z, y, threads)
        now = self.bits.of(rows, y - shifts)
        best = np.zeros(y.shape, np.float32)
        step = np.zeros(y.shape, np.int32)
        for d in (-1, 1):
            cost = curvature + (2 * d) * slope + np.float32(rate) * (self.bits.of(rows, y - shifts + d) - now)
            better = cost < best
            best[better] = cost[better]
            step[better] = d
        return y + step


def adjoint_layers(model: ModelFile, g_s: Sequence[Layer], quality: float) -> list[Layer]:
    """g_s backwards, linear: its deconvolutions' weights transposed, and the mean gains of its inverse GDN at a quality."""
    scales, qualities = Tensors(model, "search."), model.config.qualities
    layers: list[Layer] = []
    for i in (3, 2, 1, 0):
        weight = g_s[i][1]  # a deconvolution's (inputs, outputs) are its adjoint's (outputs, inputs)
        if i:
            table = scales.take(SCALES[i - 1], len(qualities), len(weight))
            weight = weight * row_at(table, qualities, quality)[:, None, None, None]
        layers.append(("conv", np.ascontiguousarray(weight), np.zeros(len(weight), np.float32), "none", None, None))
    return layers
