# SPDX-License-Identifier: Apache-2.0
"""What small pictures are made with: the tensors `view.*` of a model file, out of the file itself and photos (transforms.small says what
they do).

Red, green and blue are a sum of linear heads, so the best ones are found at once, by ridge regression: on the integer features that a
decoder will have, against the means of the photo's own pixels in squares of 4 x 4 and 8 x 8, at each of the model's qualities.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.constants import STRIDE
from jahp_fast.entropy.model_file import ModelFile, save_views
from jahp_fast.errors import UsageError
from jahp_fast.transforms.cpu import CpuTransforms, Net, made_net
from jahp_fast.transforms.layers import ACTIVATION_LIMIT, LATENT_LIMIT, Ints, Shorts, fixed
from jahp_fast.transforms.small import AS_THEY_ARE, CARRY_BITS, HEAD_SHIFTS, coarse_layers

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
SIDE = 384
"""Of what is seen of a photo, at most, in pixels."""
RIDGE, LEAST = 1e-4, 1e-3
"""What a weight costs: that part of its feature's mean square, to which that part of the mean of all features' is added. Features say much
the same, and small weights of them all are as good on photos that were not seen as large ones that cancel."""
SAMPLES = 1500
"""Positions of a photo that are used, at most."""
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
    head in front of coarse layer i, or behind the last, and `{scale}.bias` (rows, 3) int32."""
    cropped = [photo[: min(len(photo), SIDE) // STRIDE * STRIDE, : min(photo.shape[1], SIDE) // STRIDE * STRIDE] for photo in photos]
    seen = [np.ascontiguousarray(photo) for photo in cropped if photo.size]
    if not seen:
        raise UsageError(f"heads of small pictures are fitted on photos of {STRIDE} x {STRIDE} pixels or more, and there are none")
    transforms = CpuTransforms(model, True)
    sums = [transforms.analysis([photo], photo.shape[0], photo.shape[1], None) for photo in seen]
    found: dict[int, list[list[Floats]]] = {scale: [] for scale in AS_THEY_ARE}
    for quality in model.config.qualities:
        layers = transforms.g_s_layers(quality)
        latents = [_entering(transforms, y, quality, model.config.frac_bits) for y in sums]
        for scale, rows in found.items():
            stages = [layers[: AS_THEY_ARE[scale]], *([layer] for layer in coarse_layers(layers, scale))]
            rows.append(_fitted([made_net(stage, True) for stage in stages], latents, seen, scale))
    tensors: dict[str, NDArray[Any]] = {}
    for scale, by_row in found.items():
        tensors |= _integers(scale, by_row)
    return tensors


def _entering(transforms: CpuTransforms, sums: Ints, quality: float, bits: int) -> Shorts:
    """What g_s takes at a quality for the sums of g_a."""
    y = fixed(transforms.scaled(sums, "gain", quality, LATENT_LIMIT), bits)
    return transforms.scaled(y, "inv_gain", quality, ACTIVATION_LIMIT)


def _fitted(nets: Sequence[Net], latents: Sequence[Shorts], photos: Sequence[Pixels], scale: int) -> list[Floats]:
    """By stage (3, channels, 3, 3), in grey levels a unit of the feature; and (3,), what is added to the middle grey level."""
    squares: Any = 0.0
    products: Any = 0.0
    rng = np.random.Generator(np.random.PCG64(scale))
    for entering, photo in zip(latents, photos, strict=True):
        features = [nets[0].run(entering)]
        for net in nets[1:]:
            features.append(net.run(features[-1]))
        height, width = features[0].shape[:2]
        wanted = photo.reshape(height, scale, width, scale, 3).mean((1, 3)).reshape(-1, 3) - MIDDLE
        picked = np.sort(rng.permutation(height * width)[:SAMPLES])
        design = np.concatenate([*(_patches(f, picked) for f in features), np.full((len(picked), 1), ACTIVATION_LIMIT, np.float32)], 1)
        squares = squares + (design.T @ design).astype(np.float64)
        products = products + design.T.astype(np.float64) @ wanted[picked]
    power = np.diag(squares)
    squares += np.diag(RIDGE * (power + LEAST * power.mean()))
    solved = np.linalg.solve(squares, products).T
    out, at = [], 0
    for f in features:
        count = 9 * f.shape[2]
        out.append(solved[:, at : at + count].reshape(3, 3, 3, f.shape[2]).transpose(0, 3, 1, 2))
        at += count
    return [*out, solved[:, at] * ACTIVATION_LIMIT]


def _patches(x: Shorts, picked: NDArray[np.int64]) -> NDArray[np.float32]:
    """The 3 x 3 neighbourhoods of some positions, zeros outside, (positions, 9 * channels)."""
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    row, column = np.divmod(picked, x.shape[1])
    return np.concatenate([padded[row + i, column + j] for i in range(3) for j in range(3)], 1).astype(np.float32)


def _integers(scale: int, by_row: Sequence[Sequence[Floats]]) -> dict[str, NDArray[Any]]:
    """Heads as a model file has them. by_row: of each quality, as `_fitted` gives them."""
    tensors: dict[str, NDArray[Any]] = {}
    low, high = HEAD_SHIFTS
    stages = len(by_row[0]) - 1
    for i in range(stages):
        steps = 1 if i == stages - 1 else 1 << CARRY_BITS
        weight = np.stack([row[i] for row in by_row]) * steps
        most = np.abs(weight).max((0, 2, 3, 4))
        shift = np.clip(np.floor(np.log2(np.iinfo(np.int16).max / np.maximum(most, 1e-9))), low, high)
        exact = np.rint(weight * np.exp2(shift)[:, None, None, None])
        tensors[f"{scale}.{i}.weight"] = np.clip(exact, -np.iinfo(np.int16).max, np.iinfo(np.int16).max).astype(np.int16)
        tensors[f"{scale}.{i}.shift"] = shift.astype(np.uint8)
    tensors[f"{scale}.bias"] = np.rint((np.stack([row[-1] for row in by_row]) + MIDDLE) * np.exp2(shift)).astype(np.int32)
    return tensors
