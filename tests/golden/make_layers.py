# SPDX-License-Identifier: Apache-2.0
"""Makes the streams of `layers`: layers over the pixels, which every later release must decode to the same pixels.

    PYTHONPATH=tests/support python tests/golden/make_layers.py

layers.json has the SHA-256 of the samples of each, by row, column and channel, without alpha. Streams above quality 8 and with an
overlay name the golden model `pictures`; the others need none. It adds what is missing and never writes a file that stands here already.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast import Codec
from jahp_fast.files import container, layers

HERE = Path(__file__).parent
FOLDER = HERE / "layers"
STREAMS: dict[str, tuple[tuple[int, ...], float, dict[str, Any]]] = {
    "exact": ((37, 61, 3), 4, {"lossless": True}),
    "exact-grey": ((19, 40), 4, {"lossless": True}),
    "exact-alpha": ((9, 70, 4), 4, {"lossless": True}),
    "exact-point": ((1, 1, 3), 4, {"lossless": True}),
    "bound-1": ((37, 61, 3), 4, {"max_error": 1}),
    "bound-31": ((20, 33, 3), 4, {"max_error": 31}),
    "colours": ((37, 61, 3), 4, {"lossless": True}),
    "colours-grey": ((64, 50), 4, {"lossless": True}),
    "colours-merged": ((60, 90, 3), 4, {"max_error": 12}),
    "residual-8.05": ((37, 61, 3), 8.05, {}),
    "residual-10-grey": ((50, 21), 10, {}),
    "residual-12-alpha": ((8, 41, 4), 12, {}),
}
"""By name: shape, quality, options of encode."""
DEEP: dict[str, tuple[tuple[int, ...], float, dict[str, Any]]] = {
    "deep-9": ((19, 40, 3), 4, {"lossless": True, "depth": 9}),
    "deep-12-grey": ((21, 33), 4, {"lossless": True, "depth": 12}),
    "deep-12-bound-127": ((20, 33, 3), 4, {"max_error": 127, "depth": 12}),
    "deep-16": ((37, 61, 3), 4, {"lossless": True}),
    "deep-16-alpha": ((9, 40, 4), 4, {"lossless": True}),
    "deep-16-bound-3": ((19, 40), 4, {"max_error": 3}),
    "deep-values": ((20, 41, 3), 4, {"lossless": True}),
    "deep-values-colours": ((37, 61, 3), 4, {"lossless": True}),
    "deep-residual-8.05": ((37, 61, 3), 8.05, {}),
    "deep-residual-11-grey": ((50, 21), 11, {"depth": 10}),
}
"""The same of 9 to 16 bits; those of few values have 10 of them in 16, or 8."""


def picture(shape: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
    """Soft colours, a hard edge and a strip of noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    soft = np.stack([x * 3 + y, y * 4 - x, (x * y) // 9, x + y], axis=2) + rng.integers(-3, 4, (*shape[:2], 4))
    soft[shape[0] // 2 :, : shape[1] // 3] = 255 - soft[shape[0] // 2 :, : shape[1] // 3] // 2
    soft[:, shape[1] * 3 // 4 :] = rng.integers(0, 256, soft[:, shape[1] * 3 // 4 :].shape)
    image = np.clip(soft, 0, 255).astype(np.uint8)
    return image[:, :, 0].copy() if len(shape) == 2 else image[:, :, : shape[2]].copy()


def flat(shape: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
    """Boxes of few colours, and letters of a sort."""
    rng = np.random.default_rng(seed)
    image = np.full(shape, 240, np.uint8)
    for _ in range(6):
        top, left = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        image[top : top + 9, left : left + 14] = rng.integers(0, 256, shape[2:])
    letter = rng.integers(0, 2, (5, 4)).astype(bool)
    for top, left in zip(rng.integers(0, shape[0] - 5, 9), rng.integers(0, shape[1] - 4, 9), strict=True):
        image[top : top + 5, left : left + 4][letter] = 20
    return image


def deep_picture(name: str) -> NDArray[np.uint16]:
    """What `picture` has in its upper bits, and noise in the lower ones."""
    shape, _, options = DEEP[name]
    seed = sum(map(ord, name))
    if name == "deep-values-colours":
        return flat(shape, seed) * np.uint16(257)
    fine = picture(shape, seed).astype(np.uint16) << 8 | np.random.default_rng(seed).integers(0, 256, shape, np.uint16)
    return fine >> 6 << 6 if name == "deep-values" else fine >> (16 - options.get("depth", 16))


def of_name(name: str) -> NDArray[np.uint8]:
    """The picture of a stream of 8 bits; in one the dark pixels are not all alike."""
    seed = sum(map(ord, name))
    if name == "colours-merged":
        image = flat(STREAMS[name][0], seed)
        return image + np.random.default_rng(seed).integers(0, 9, image.shape, np.uint8) * (image == 20)
    return (flat if name.startswith("colours") else picture)(STREAMS[name][0], seed)


def digest(pixels: NDArray[Any]) -> str:
    """Of samples without alpha; the lower byte of 16 bits first."""
    samples = np.ascontiguousarray(pixels[:, :, :3] if pixels.ndim == 3 else pixels)
    return hashlib.sha256(samples.astype(samples.dtype.newbyteorder("<")).tobytes()).hexdigest()


def several_strips() -> bytes:
    """A stream of three strips, which this encoder would make one."""
    image = picture((21, 30, 3), 99)
    strips = [strip for top in (0, 8, 16) for strip in layers.exact(image[top : top + 8].copy(), 0, 1).strips]
    chunk = layers.Layer("exact", 0, 0, 8, strips).packed()
    return container.pack(container.of_exact((30, 21), "RGB", {container.LAYER: chunk}))


OVERLAYS: dict[str, tuple[int, ...]] = {"overlay": (45, 70, 3), "overlay-grey": (40, 33), "overlay-strips": (29, 41, 3)}
"""By name: shape. Circles of a picture show through a drawing."""


def overlay(name: str) -> bytes:
    """A stream whose overlay this encoder would place otherwise; one in strips."""
    shape, seed = OVERLAYS[name], sum(map(ord, name))
    codec = Codec("pictures", quality=5, models=[HERE / "pictures.safetensors"], drawings=False)
    below = container.unpack(codec.encode(picture(shape, seed)))
    y, x = np.mgrid[: shape[0], : shape[1]]
    holes = (np.hypot(y % 23 - 11, x % 29 - 14) < 10).astype(np.uint8)
    drawn = flat(shape, seed).reshape(*shape[:2], -1)
    layer = layers.overlay(drawn, holes, 1)
    if name == "overlay-strips":
        parts = [layers.overlay(drawn[top : top + 8].copy(), holes[top : top + 8].copy(), 1) for top in range(0, shape[0], 8)]
        layer = layers.Layer("overlay", 0, 0, 8, [strip for part in parts for strip in part.strips])
    return container.pack(dataclasses.replace(below, chunks={**below.chunks, **layer.chunks()}))


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    made = {}
    for name, (_, quality, options) in {**STREAMS, **DEEP}.items():
        if not (FOLDER / f"{name}.jahp").exists():
            codec = Codec("pictures", quality=quality, models=[HERE / "pictures.safetensors"], drawings=False)
            made[name] = codec.encode(deep_picture(name) if name in DEEP else of_name(name), **options)
    for name in OVERLAYS:
        if not (FOLDER / f"{name}.jahp").exists():
            made[name] = overlay(name)
    if not (FOLDER / "strips.jahp").exists():
        made["strips"] = several_strips()
    known = json.loads((FOLDER / "layers.json").read_text()) if (FOLDER / "layers.json").exists() else {}
    decoder = Codec("pictures", models=[HERE / "pictures.safetensors"])
    for name, data in made.items():
        (FOLDER / f"{name}.jahp").write_bytes(data)
        known[name] = digest(decoder.decode(data))
    (FOLDER / "layers.json").write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
