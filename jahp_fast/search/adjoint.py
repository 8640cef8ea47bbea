# SPDX-License-Identifier: Apache-2.0
"""The adjoint of g_s in integers: how an error of the image looks to its latents. For the encoder's search (jahp_fast.search.greedy).

Backwards, a deconvolution is a convolution with the same weights, and an inverse GDN a factor a channel, here held between the root mean
square of its roots over all photos and what its root was in this image, LOCAL of the way: the mean alone does not know which parts of an
image answer strongly, the local root alone is that of one point, which a step of one leaves far behind (tests/search/test_search.py
correlates the result with the gradient).

Weights are g_s's own, times the mean root; the layers' activations are sums divided by powers of two, chosen by what white noise makes of
them. All that is integers, so that every machine takes the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast import _native
from jahp_fast.constants import STRIDE
from jahp_fast.entropy.model_file import CURVATURE, ROOTS
from jahp_fast.errors import ModelError
from jahp_fast.transforms import reference
from jahp_fast.transforms.cpu import made_net
from jahp_fast.transforms.layers import ACTIVATION_LIMIT, SQUARE_SHIFT, SUM_BITS, SUM_LIMIT, Bytes, Ints, Layer, Shorts, mixed
from jahp_fast.transforms.reference import Wide

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelFile

LOCAL = 0.3
TERM_LIMIT, GAMMA_SUM = 32767, 65535
"""Of the terms of inverse GDN's derivative, and what a row of its gamma adds up to at most: their product has 31 bits."""
ONE_BITS = 13
"""A local gain of 2^13 is 1."""
ENTRY_BITS = 3
"""Errors of the image enter times 2^3."""
ROOT_LIMIT = 46341
"""The root of 2^31 - 1, rounded."""
USUAL_BITS = 9
"""White noise shall give activations of about 2^9: four bits are left for what is larger than usual."""
NOISE_SIDE = 8
"""Of the white noise, in latents."""
LAST_SHIFT = 3
"""Impulses enter the last layer divided by 2^3: sums of theirs add up where others' do not, and must not wrap."""


class Adjoint:
    """Of one model at one quality.

    Attributes:
        net: from what `entered` gives, (16 h, 16 w, 3), to the latents, (h, w, M) int32.
        unit: of what comes out: the derivative by g_s's integer input of the sum of errors times pixels, in grey levels.

    Args:
        g_s: its layers at the quality.
        native: nets of the C++ core, else NumPy's.
        exact: with the derivative of inverse GDN at the symbols themselves, for whoever goes on from there by many small changes; its
            trace keeps inputs. Else as above.
    """

    def __init__(self, model: ModelFile, g_s: Sequence[Layer], quality: float, native: bool, exact: bool) -> None:
        self._native, self._g_s, self._curvature = native, g_s, searched(model, CURVATURE, g_s[0].weight.shape[0])
        row, t, steps = model.config.between(quality)
        self._row = row
        self._means: list[Wide] = []
        for name, layer in zip(ROOTS, g_s, strict=False):
            table = searched(model, name, layer.outputs)
            mean = mixed(table[row], table[row + 1], t, steps) if t else table[row]
            self._means.append(np.clip(mean, 1, ROOT_LIMIT).astype(np.int64))
        last = g_s[-1].shift.astype(np.int64)
        self._entry = (ENTRY_BITS - (last - last.min())).astype(np.int64)
        self.unit = 2.0 ** -(ENTRY_BITS + int(last.min()))
        seen: NDArray[Any] = self.entered(white_noise(round(usual_error(quality))))
        layers: list[Layer] = []
        for i in (3, 2, 1):
            weight, down = self._through(g_s[i].weight, i - 1, 0)
            sums = self._alone(_bare("conv", weight), seen)
            keep, total = self._fitting(sums, down)
            self.unit *= 2.0**keep
            first = np.clip(total - ONE_BITS, 0, SUM_BITS - 1)
            second = np.clip(total - first, 1, 31).astype(np.uint8)
            mixed_gains = (*_factors(self._means[i - 1]), second)
            extras: tuple[NDArray[Any], ...] = self._derivative(i - 1, first - (total - ONE_BITS)) if exact else mixed_gains
            after = "igdn_adjoint" if exact else "local"
            layers.append(_bare("conv", weight)._replace(shift=first.astype(np.uint8), activation=after, extras=extras))
            seen = self._scaled(sums, total - ONE_BITS)
        self.net = made_net([*layers, _bare("conv", g_s[0].weight)], native)

    def entered(self, errors: Shorts) -> Shorts:
        """Errors of the image, (h, w, 3) in grey levels, as the net takes them: what one of a sum of g_s's last layer is worth differs by
        channel in powers of two."""
        up, down = np.maximum(self._entry, 0), np.maximum(-self._entry, 0)
        moved: Shorts = ((errors.astype(np.int32) << up) >> down).astype(np.int16)
        return moved

    def entered_weighed(self, errors: NDArray[np.float32]) -> Shorts:
        """Likewise of errors that need not be integers: within what plain errors can be, to the nearest number, halves to even."""
        moved: Shorts = np.rint(np.ldexp(np.clip(errors, -255, 255), self._entry)).astype(np.int16)
        return moved

    def mean_square(self, squares: NDArray[np.uint32], h: int, w: int) -> NDArray[np.float64]:
        """What a trace gives for one inverse GDN -> (h, w), the mean square of the local gains of a latent's square, about 1."""
        rows, columns = squares.shape
        channels = len(self._means[0])  # as many as behind the other ones
        sums = squares.astype(np.int64).reshape(h, rows // h, w, columns // w).sum((1, 3))
        root = np.sqrt(sums / (channels * (rows // h) * (columns // w))) + 0.5  # a trace takes the floor of factors
        mean: NDArray[np.float64] = np.square(root / 2.0 ** (ONE_BITS - reference.FACTOR_SQUARE_SHIFT))
        return mean

    def impulses(self) -> tuple[Shorts, list[tuple[int, int]], Wide]:
        """What the chain makes of impulses in all channels, side by side, inverse GDN at its mean: the image (16 h, 16 w, 3), in units of
        its own; the position of each channel's impulse, at least 4 apart and 2 from the borders; and how large it was."""
        # Impulses of the same effect: of one size, those of weak channels would drown in the rounding.
        weak = np.maximum(self._curvature[self._row].astype(np.float64), np.finfo(np.float32).tiny)
        sizes = np.clip(np.rint(ACTIVATION_LIMIT // 2 * np.sqrt(weak.min() / weak)), 1, None)
        latents = len(sizes)
        apart = 4  # their effects hardly meet
        side = int(np.ceil(np.sqrt(latents)))
        x: NDArray[Any] = np.zeros((apart * side + 1, apart * side + 1, latents), np.int16)
        places = [(apart * (c // side) + 2, apart * (c % side) + 2) for c in range(latents)]
        for c, (row, column) in enumerate(places):
            x[row, column, c] = sizes[c]
        for i in range(4):
            if i < 3:
                weight, down = self._through(self._g_s[i].weight, i, 1)
            else:
                weight, down = self._g_s[i].weight, -self._entry + ENTRY_BITS
            x = self._carried(_bare("deconv", weight), x, down)
        return x, places, sizes.astype(np.int64)

    def shape(self) -> NDArray[np.float32]:
        """(M, 3, 3, M) what a step of the first channel adds to the slope of the last, 1 for a channel's effect on itself: impulses through
        the chain and back."""
        image, places, sizes = self.impulses()
        x: NDArray[Any] = self._scaled(image.astype(np.int32), -self._entry + ENTRY_BITS)
        for i in (3, 2, 1):
            weight, down = self._through(self._g_s[i].weight, i - 1, 0)
            x = self._carried(_bare("conv", weight), x, down)
        answers = self._alone(_bare("conv", self._g_s[0].weight), x >> np.int16(LAST_SHIFT))
        shape = np.stack([answers[row - 1 : row + 2, column - 1 : column + 2] for row, column in places]).astype(np.float64)
        shape /= sizes[:, None, None, None]
        own = np.diagonal(shape[:, 1, 1]).copy()
        own[own <= 0] = 1  # a channel that nothing answers to
        root = np.sqrt(own)
        return np.ascontiguousarray(shape / root[:, None, None, None] / root, np.float32)

    def _through(self, weight: Shorts, gdn: int, axis: int) -> tuple[Shorts, Wide]:
        """A deconvolution's weights times the mean roots of an inverse GDN at its inputs (axis 0) or outputs (1); and by how many bits, a
        channel, the sums then stand too high."""
        mean, before = self._means[gdn], self._g_s[gdn]
        bits = np.array([int(m).bit_length() for m in mean])
        normal = np.where(bits > ONE_BITS, mean >> np.maximum(bits - ONE_BITS, 0), mean << np.maximum(ONE_BITS - bits, 0))
        by = normal[:, None, None, None] if axis == 0 else normal[:, None, None]
        product = reference.shifted(weight.astype(np.int64) * by, np.full(1, ONE_BITS, np.uint8))
        return product.astype(np.int16), before.shift.astype(np.int64) + before.extras[2].astype(np.int64) - bits

    def _derivative(self, gdn: int, up: Wide) -> tuple[Shorts, NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Of a layer "igdn_adjoint" whose sums come times the mean roots, divided by 2^up too often.

        y_j = x_j r_j with r_j² = β_j + Σ γ_jk x_k² gives dD/dx_j = g_j r_j + x_j Σ_i γ_ij g_i x_i / r_i.
        """
        gamma, beta, _ = self._g_s[gdn].extras
        mean, shift = self._means[gdn].astype(np.float64), self._g_s[gdn].shift.astype(np.int64)
        direct = np.ldexp(1 / mean, up)
        # x / r is at most `most`, and a term holds 1/8 of what is largest at once: that is hardly ever met.
        most = np.minimum(2.0 ** (SQUARE_SHIFT / 2) / np.sqrt(np.maximum(np.diagonal(gamma), 1 / 4)), SUM_LIMIT / np.sqrt(beta))
        term = 8 * TERM_LIMIT / SUM_LIMIT / most
        weights = gamma.T * (np.ldexp(direct, shift) / term)
        largest = max(max(math.fsum(row) for row in weights) / GAMMA_SUM, float(weights.max()) / TERM_LIMIT)
        scale = math.frexp(largest)[1]  # a power of two, the same whatever rounds a last bit otherwise
        cross = np.ldexp(1.0, scale - SQUARE_SHIFT - shift)
        factors = np.floor(np.ldexp(weights, -scale)).astype(np.int16, order="C")
        return factors, term.astype(np.float32), direct.astype(np.float32), cross.astype(np.float32)

    def _fitting(self, sums: Ints, down: Wide) -> tuple[int, Wide]:
        """(keep, total): sums / 2^total, a channel, are of the usual size; total = down + keep + ONE_BITS."""
        squares = np.square(sums.astype(np.int64) >> 8).sum((0, 1)) // (sums.shape[0] * sums.shape[1])
        energy = max(int(square) >> 2 * int(d - down.min()) for square, d in zip(squares, down, strict=True))
        bits = (
            energy.bit_length() + 1
        ) // 2 + 8  # of the root mean square of the strongest channel, were all of them shifted by down.min()
        keep = bits - USUAL_BITS - int(down.min())
        return keep, down + keep + ONE_BITS

    def _carried(self, layer: Layer, x: Shorts, down: Wide) -> Shorts:
        """What a layer makes of x, scaled by one power of two so that it fits, and by `down`, a channel."""
        sums = self._alone(layer, x)
        tops = np.abs(sums.astype(np.int64)).max((0, 1))
        keep = max(int(top).bit_length() - int(d - down.min()) for top, d in zip(tops, down, strict=True)) - ONE_BITS
        return self._scaled(sums, keep + down - down.min())

    def _scaled(self, sums: Ints, shift: Wide) -> Shorts:
        """Sums divided by 2^shift, a channel, which may be negative."""
        scaled = _native.scaled if self._native else reference.scaled
        mul = np.int32(1) << np.clip(1 - shift, 0, 15).astype(np.int32)
        return scaled(sums, mul.astype(np.int32), np.clip(shift, 1, 62).astype(np.uint8), ACTIVATION_LIMIT)

    def _alone(self, layer: Layer, x: Shorts) -> Ints:
        return made_net([layer], self._native).run(x)


def _factors(mean: Wide) -> tuple[Shorts, Shorts, Bytes]:
    """Of a layer "local": 1 - LOCAL, and LOCAL of the root over its mean, as 15 bits and a shift."""
    steady = np.full(len(mean), round((1 - LOCAL) * 2**ONE_BITS), np.int16)
    one = round(LOCAL * 2**ONE_BITS)
    shift = np.array([15 + int(m).bit_length() - one.bit_length() - 1 for m in mean])
    return steady, ((np.int64(one) << shift) // mean).astype(np.int16), shift.astype(np.uint8)


def _bare(kind: str, weight: Shorts) -> Layer:
    """A layer that gives its sums."""
    outputs = weight.shape[1] if kind == "deconv" else weight.shape[0]
    return Layer(kind, weight, np.zeros(outputs, np.int32), np.zeros(outputs, np.uint8), "none")


def usual_error(quality: float) -> float:
    """Largest error of the white noise, in grey levels: those of pictures are about as large."""
    return max(4.0, 24 * 2 ** ((1 - quality) / 3))


def white_noise(largest: int) -> Shorts:
    """(NOISE_SIDE * 16, NOISE_SIDE * 16, 3) of -largest to largest, by the hash of the symbols' checksum: the same with every library."""
    side = NOISE_SIDE * STRIDE
    h = np.arange(side * side * 3, dtype=np.uint32) * np.uint32(0x9E3779B1)
    h = (h ^ h >> np.uint32(15)) * np.uint32(0x2C1B3C6D)
    h = (h ^ h >> np.uint32(12)) * np.uint32(0x297A2D39)
    noise: Shorts = ((h ^ h >> np.uint32(15)) % np.uint32(2 * largest + 1)).astype(np.int16).reshape(side, side, 3) - np.int16(largest)
    return noise


def searched(model: ModelFile, name: str, channels: int) -> NDArray[Any]:
    """A tensor (rows, channels) that only an encoder's search reads. Raises ModelError if it is missing or of another shape."""
    array, shape = model.search.get(name), (len(model.config.qualities), channels)
    if array is None or array.shape != shape:
        raise ModelError(f"{model.path}: tensor {name} is missing, or is not of the shape {shape}")
    return array
