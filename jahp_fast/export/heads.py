# SPDX-License-Identifier: Apache-2.0
"""What small pictures are made with: the tensors `view.*` of a model file, out of the file itself and photos (transforms.small says what
they do).

Red, green and blue are a sum of linear heads, so the best ones are found at once, by ridge regression: on the integer features that a
decoder will have, against the means of the photo's own pixels in squares of 4 x 4 and 8 x 8, at each of the model's qualities.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jahp_fast.constants import STRIDE
from jahp_fast.entropy.model_file import ModelFile, save_views
from jahp_fast.errors import UsageError
from jahp_fast.transforms.cpu import CpuTransforms, Net, made_net
from jahp_fast.transforms.layers import ACTIVATION_LIMIT, LATENT_LIMIT, Ints, Layer, Shorts, fixed
from jahp_fast.transforms.small import AS_THEY_ARE, CARRY_BITS, COLOURS, HEAD_SHIFTS, Channels, coarse_layers

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
SIDE = 384
"""Of what is seen of a photo, at most, in pixels."""
RIDGE, LEAST = 1e-4, 1e-3
"""What a weight costs: that part of its feature's mean square, to which that part of the mean of all features' is added. Features say much
the same, and small weights of them all are as good on photos that were not seen as large ones that cancel."""
SAMPLES = 1500
"""Positions of a photo that are used, at most."""
TRIAL = 24
"""Photos by which it is found out which channels of a coarse layer say least."""
TOGETHER = 16
"""Kernels work on so many channels at a time: a coarse layer and its three carried ones fill them."""
TINY = 1e-30
MIDDLE = 128
"""Grey levels that pixels are counted from."""


def add_heads(path: str | os.PathLike[str], photos: Sequence[Pixels], force: bool = False) -> None:
    """Writes a model file anew with heads fitted on (H, W, 3) uint8 photos; all else in it, and its id, stays.

    Raises:
        ModelError: it is no model file. UsageError: no photo has 16 x 16 pixels or more.
    """
    save_views(path, heads(ModelFile(path), photos), force)


def heads(model: ModelFile, photos: Sequence[Pixels]) -> dict[str, NDArray[Any]]:
    """The tensors, without their prefix: `{scale}.{i}.weight` (rows, 3, channels, 3, 3) int16 and `{scale}.{i}.shift` (3,) uint8 of the
    head in front of coarse layer i, or behind the last; `{scale}.{i}.kept` (channels,) uint16, those of layer i; and `{scale}.bias`
    (rows, 3) int32."""
    cropped = [photo[: min(len(photo), SIDE) // STRIDE * STRIDE, : min(photo.shape[1], SIDE) // STRIDE * STRIDE] for photo in photos]
    seen = [np.ascontiguousarray(photo) for photo in cropped if photo.size]
    if not seen:
        raise UsageError(f"heads of small pictures are fitted on photos of {STRIDE} x {STRIDE} pixels or more, and there are none")
    transforms = CpuTransforms(model, True)
    sums = [transforms.analysis([photo], photo.shape[0], photo.shape[1], None) for photo in seen]
    tensors: dict[str, NDArray[Any]] = {}

    def fitted(scale: int, quality: float, photos: int, kept: Sequence[Channels]) -> Fit:
        layers = transforms.g_s_layers(quality)
        stages = [layers[: AS_THEY_ARE[scale]], *([layer] for layer in coarse_layers(layers, scale, kept))]
        latents = [_entering(transforms, y, quality, model.config.frac_bits) for y in sums[:photos]]
        return _fit([made_net(stage, True) for stage in stages], latents, seen, scale)

    qualities = model.config.qualities
    for scale in AS_THEY_ARE:
        middle = qualities[len(qualities) // 2]
        coarse = coarse_layers(transforms.g_s_layers(middle), scale)
        kept = _telling(fitted(scale, middle, TRIAL, ()), coarse)
        tensors |= {f"{scale}.{i}.kept": channels.astype(np.uint16) for i, channels in enumerate(kept)}
        tensors |= _integers(scale, [fitted(scale, quality, len(seen), kept) for quality in qualities])
    return tensors


def _entering(transforms: CpuTransforms, sums: Ints, quality: float, bits: int) -> Shorts:
    """What g_s takes at a quality for the sums of g_a."""
    y = fixed(transforms.scaled(sums, "gain", quality, LATENT_LIMIT), bits)
    return transforms.scaled(y, "inv_gain", quality, ACTIVATION_LIMIT)


class Fit(NamedTuple):
    """Heads of one quality.

    Attributes:
        heads: by stage (3, channels, 3, 3), in grey levels a unit of the feature.
        bias: (3,), what is added to the middle grey level.
        power: by stage (channels,), mean squares of the features.
    """

    heads: list[Floats]
    bias: Floats
    power: list[Floats]


def _telling(fit: Fit, layers: Sequence[Layer]) -> list[Channels]:
    """Of each coarse layer the channels to keep: as many as, with the carried ones, fill what kernels work on at a time.

    Those are left out that say least: by what their head makes of them, by their part in the next layer's sums, and in their own norms.
    """
    out: list[Channels] = []
    after: Floats | None = None
    for i in reversed(range(len(layers))):
        says = (np.square(fit.heads[i + 1]).sum((0, 2, 3)) * fit.power[i + 1]).astype(np.float64)
        says /= max(says.sum(), TINY)
        if after is not None:
            following = layers[i + 1]
            parts = np.square(following.weight.astype(np.float64)).sum((2, 3)) * fit.power[i + 1]
            says += after @ (parts / np.maximum(parts.sum(1, keepdims=True), TINY))
        norms = layers[i].extras[0] * fit.power[i + 1]
        says += says @ (norms / np.maximum(norms.sum(1, keepdims=True), TINY))
        count = len(says)
        fewer = (count + COLOURS) % TOGETHER
        if fewer <= COLOURS and fewer < count:
            count -= fewer
        out.insert(0, np.sort(np.argsort(-says, kind="stable")[:count]))
        after = says / max(says.sum(), TINY)
    return out


def _fit(nets: Sequence[Net], latents: Sequence[Shorts], photos: Sequence[Pixels], scale: int) -> Fit:
    """For as many photos as there are latents."""
    squares: Any = 0.0
    products: Any = 0.0
    rng = np.random.Generator(np.random.PCG64(scale))
    positions = 0
    for entering, photo in zip(latents, photos, strict=False):
        features = [nets[0].run(entering)]
        for net in nets[1:]:
            features.append(net.run(features[-1]))
        height, width = features[0].shape[:2]
        wanted = photo.reshape(height, scale, width, scale, 3).mean((1, 3)).reshape(-1, 3) - MIDDLE
        picked = np.sort(rng.permutation(height * width)[:SAMPLES])
        design = np.concatenate([*(_patches(f, picked) for f in features), np.full((len(picked), 1), ACTIVATION_LIMIT, np.float32)], 1)
        positions += len(picked)
        squares = squares + (design.T @ design).astype(np.float64)
        products = products + design.T.astype(np.float64) @ wanted[picked]
    power = np.diag(squares)
    squares += np.diag(RIDGE * (power + LEAST * power.mean()))
    solved = np.linalg.solve(squares, products).T
    found, powers, at = [], [], 0
    for f in features:
        channels = f.shape[2]
        found.append(solved[:, at : at + 9 * channels].reshape(COLOURS, 3, 3, channels).transpose(0, 3, 1, 2))
        powers.append(power[at + 4 * channels : at + 5 * channels] / positions)
        at += 9 * channels
    return Fit(found, solved[:, at] * ACTIVATION_LIMIT, powers)


def _patches(x: Shorts, picked: NDArray[np.int64]) -> NDArray[np.float32]:
    """The 3 x 3 neighbourhoods of some positions, zeros outside, (positions, 9 * channels)."""
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    row, column = np.divmod(picked, x.shape[1])
    return np.concatenate([padded[row + i, column + j] for i in range(3) for j in range(3)], 1).astype(np.float32)


def _integers(scale: int, by_row: Sequence[Fit]) -> dict[str, NDArray[Any]]:
    """Heads as a model file has them. by_row: of each quality."""
    tensors: dict[str, NDArray[Any]] = {}
    low, high = HEAD_SHIFTS
    stages = len(by_row[0].heads)
    for i in range(stages):
        steps = 1 if i == stages - 1 else 1 << CARRY_BITS
        weight = np.stack([row.heads[i] for row in by_row]) * steps
        most = np.abs(weight).max((0, 2, 3, 4))
        shift = np.clip(np.floor(np.log2(np.iinfo(np.int16).max / np.maximum(most, 1e-9))), low, high)
        exact = np.rint(weight * np.exp2(shift)[:, None, None, None])
        tensors[f"{scale}.{i}.weight"] = np.clip(exact, -np.iinfo(np.int16).max, np.iinfo(np.int16).max).astype(np.int16)
        tensors[f"{scale}.{i}.shift"] = shift.astype(np.uint8)
    tensors[f"{scale}.bias"] = np.rint((np.stack([row.bias for row in by_row]) + MIDDLE) * np.exp2(shift)).astype(np.int32)
    return tensors
