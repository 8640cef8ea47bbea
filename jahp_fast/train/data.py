# SPDX-License-Identifier: Apache-2.0
"""Photos: which are trained on, which are held out, and random crops of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from jahp_fast.constants import STRIDE
from jahp_fast.errors import UsageError
from jahp_fast.files.pictures import library_errors

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".ppm"}
HELD_OUT_LIST = "held_out.txt"
HELD_OUT_COUNT = 64
HELD_OUT_SIDE = 256
ENLARGED, LEAST_ENLARGED = 0.4, 0.6
"""The share of crops that are enlarged, and the least part of their side that these are cut with."""
SLAB_BYTES = 2**26
Photo = NDArray[np.uint8]


@dataclass(frozen=True)
class PhotoFiles:
    """The files of a run, apart: `train` and `held_out`, both in order of their names."""

    train: tuple[Path, ...]
    held_out: tuple[Path, ...]


def find_photos(folders: Sequence[Path], held_out: Path | None = None) -> PhotoFiles:
    """Every photo below `folders`, split by a list of file names.

    The list is `held_out`, else every held_out.txt that lies directly in one of the folders (or in the folder above, when a
    single shard is given). Where there is none, the 64 photos (at most a tenth) whose names have the smallest SHA-256 are
    held out: the same ones in every run, wherever the folder lies.

    Raises UsageError for a folder or list that cannot be read, and where nothing is left to train on.
    """
    found: set[Path] = set()
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder of photos")
        found |= {p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()}
    files = sorted(found, key=lambda p: (p.name, str(p)))
    if held_out is not None:
        lists = [held_out]
    else:
        lists = [p for f in folders for p in (f / HELD_OUT_LIST, f.resolve().parent / HELD_OUT_LIST) if p.is_file()]
    if lists:
        names: set[str] = set()
        for path in lists:
            try:
                names.update(path.read_text(encoding="utf-8").split())
            except (OSError, UnicodeDecodeError) as e:
                raise UsageError(f"the list of held-out photos {path} cannot be read: {e}") from None
    else:
        by_hash = sorted({p.name for p in files}, key=lambda name: hashlib.sha256(name.encode()).digest())
        names = set(by_hash[: min(HELD_OUT_COUNT, len(by_hash) // 10)])
    split = PhotoFiles(tuple(p for p in files if p.name not in names), tuple(p for p in files if p.name in names))
    if not split.train:
        raise UsageError(f"no photos to train on in {', '.join(map(str, folders))}")
    return split


def load_photo(path: Path) -> Photo:
    """(H, W, 3) uint8. Raises UnsupportedImage naming a file that Pillow cannot read."""
    with library_errors(f"{path} cannot be read as a photo"), Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


class Slabs:
    """Memory for photos that stay, a few large pieces of it.

    One by one, they would come to lie in what activations have left free, which the allocator then has to split, and could not
    use for large activations again: a run took 1.5 MB for each photo of 0.3 MB.
    """

    def __init__(self) -> None:
        self._free = np.empty(0, np.uint8)

    def keep(self, photo: Photo, most: int) -> Photo:
        """A copy of `photo`. Where a new piece is needed, it has at most `most` bytes, or those of the photo."""
        if len(self._free) < photo.nbytes:
            self._free = np.empty(max(photo.nbytes, min(SLAB_BYTES, most)), np.uint8)
        place, self._free = np.split(self._free, [photo.nbytes])
        kept = place.reshape(photo.shape)
        kept[...] = photo
        return kept


class Photos:
    """Photos of at least `side` pixels a side; decoded once and kept while `memory` bytes last, at each use beyond that.

    `too_small` counts the files that were left out.
    """

    def __init__(self, files: Sequence[Path], side: int, memory: int) -> None:
        self._files: list[Path] = []
        self._kept: dict[int, Photo] = {}
        self._slabs, self._room = Slabs(), memory
        self.too_small = 0
        for path in files:
            with library_errors(f"{path} cannot be read as a photo"), Image.open(path) as image:
                large = min(image.size) >= side
            if large:
                self._files.append(path)
            else:
                self.too_small += 1
        if not self._files:
            raise UsageError(f"none of the {len(files)} photos to train on is {side} pixels or more a side (--crop)")

    def __len__(self) -> int:
        return len(self._files)

    def path(self, index: int) -> Path:
        return self._files[index]

    def __getitem__(self, index: int) -> Photo:
        photo = self._kept.get(index)
        if photo is None:
            photo = load_photo(self._files[index])
            if photo.nbytes <= self._room:
                photo = self._kept[index] = self._slabs.keep(photo, self._room)
                self._room -= photo.nbytes
        return photo


class Crops:
    """Random crops out of a stream of random numbers of its own, whose `state` can be stored and set."""

    def __init__(self, photos: Photos, batch: int, side: int, seed: int) -> None:
        self.photos, self.batch, self.side = photos, batch, side
        self._random = torch.Generator().manual_seed(seed)

    @property
    def state(self) -> Tensor:
        return self._random.get_state()

    @state.setter
    def state(self, value: Tensor) -> None:
        self._random.set_state(value)

    def draw(self) -> Tensor:
        """(batch, 3, side, side) float32 in [0, 1], channels last: `pixels` for a model."""
        return (self.pixels().permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=torch.channels_last)

    def pixels(self) -> Tensor:
        """(batch, side, side, 3) uint8.

        Two in five are enlarged out of as little as 0.6 of their side: photos as cameras give them are softer than those that were
        shrunk for a data set. Half of the others that may shrink do, by up to a quarter. All are flipped and transposed at random, so
        that 256-pixel photos show something new each time.
        """
        numbers = torch.rand(self.batch, 10, generator=self._random, dtype=torch.float64).tolist()
        return torch.from_numpy(np.stack([self._one(u) for u in numbers]))

    def _one(self, numbers: Sequence[float]) -> Photo:
        """A crop out of ten numbers in [0, 1)."""
        which, enlarge, scale, top, left, shrink, within, mirror, flip, turn = numbers
        photo, side = self.photos[int(which * len(self.photos))], self.side
        height, width = photo.shape[:2]
        if enlarge < ENLARGED:  # a square to take, then to fit to `side`
            cut = round(side * (LEAST_ENLARGED + (1 - LEAST_ENLARGED) * scale))
        else:
            cut = round(side / max(side / min(height, width), 0.75 + 0.25 * scale))
        i, j = int(top * (height - cut + 1)), int(left * (width - cut + 1))
        crop = photo[i : i + cut, j : j + cut]
        if cut < side:
            crop = np.asarray(Image.fromarray(crop).resize((side, side), Image.Resampling.BICUBIC))
        elif cut > side:
            if shrink < 0.5:
                crop = np.asarray(Image.fromarray(crop).resize((side, side), Image.Resampling.LANCZOS))
            else:
                offset = int(within * (cut - side + 1))
                crop = crop[offset : offset + side, offset : offset + side]
        if mirror < 0.5:
            crop = crop[:, ::-1]
        if flip < 0.5:
            crop = crop[::-1]
        return crop.transpose(1, 0, 2) if turn < 0.5 else crop


def held_out_crops(files: Sequence[Path]) -> list[Tensor]:
    """The first 256 x 256 pixels of each photo, smaller ones cut to multiples of 16, as float32 (3, H, W) in [0, 1]."""
    crops = []
    for path in files:
        photo = load_photo(path)
        height, width = (min(HELD_OUT_SIDE, n) // STRIDE * STRIDE for n in photo.shape[:2])
        if height and width:
            crops.append(torch.from_numpy(photo[:height, :width].copy()).permute(2, 0, 1).float() / 255)
    return crops
