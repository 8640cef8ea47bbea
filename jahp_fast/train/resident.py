# SPDX-License-Identifier: Apache-2.0
"""Crops drawn where they are used: photos lie on the device as they are, and a batch is cut, scaled and flipped there.

No process of its own is needed, and nothing but new photos goes to the device. On a CPU the same code draws the crops of `data.Crops` out
of the same random numbers: cuts are the same pixels, scaled ones differ by rounding. The CPU's trainer keeps `Crops`, which only
scales those that want it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from jahp_fast.errors import UsageError
from jahp_fast.system.parallel import available_cores
from jahp_fast.train.data import ENLARGED, LEAST_ENLARGED, Photo, Photos, load_photo

LEAST_SHRUNK = 0.75
"""The side of a crop over that of what it is cut from, where it may shrink."""
TURNOVER = 1000
"""Batches until other photos take the place of those on the device, where not all find room."""
DECODED_AHEAD = 64
"""Photos that are decoded at once."""


@dataclass
class Packed:
    """Photos end to end: pixels (n, 3) uint8, and of each photo its first pixel, height and width, (photos, 3) int64."""

    pixels: Tensor
    table: Tensor


class ResidentCrops:
    """Random crops by a generator on the device; the distribution is that of `data.Crops`.

    Args:
        photos: their own memory is not used.
        memory: bytes of photos on the device; at least one photo lies there. Where not all find room, others come after
            TURNOVER batches, by and by all of them, in a random order; they are decoded by threads meanwhile.
        device: of the photos, the generator and the crops.

    Raises:
        UnsupportedImage: a photo that cannot be read, here or in `draw`.
    """

    def __init__(self, photos: Photos, batch: int, side: int, seed: int, memory: int, device: torch.device) -> None:
        if memory < 1:
            raise UsageError("crops on a device need --memory for the photos there")
        self.photos, self.batch, self.side, self._device = photos, batch, side, device
        self._random = torch.Generator(device).manual_seed(seed)
        self._memory, self._drawn = memory, 0
        self._pool = ThreadPoolExecutor(available_cores() + 1)  # one of them waits for the others
        self._order = self._shuffled(seed)
        self._next: Future[Packed] | None = None
        packed = self._all()
        if packed is None:
            packed = self._some()
            self._next = self._pool.submit(self._some)
        self._put(packed)

    def _put(self, packed: Packed) -> None:
        self._there = Packed(packed.pixels.to(self._device), packed.table.to(self._device))

    def _load(self, index: int) -> Photo:
        return load_photo(self.photos.path(index))

    def _all(self) -> Packed | None:
        """All photos in their order, if there is room."""
        kept: list[Photo] = []
        room = self._memory
        for start in range(0, len(self.photos), DECODED_AHEAD):
            kept += self._pool.map(self._load, range(start, min(start + DECODED_AHEAD, len(self.photos))))
            if sum(photo.nbytes for photo in kept[start:]) > room:
                return None
            room -= sum(photo.nbytes for photo in kept[start:])
        return pack(kept)

    def _shuffled(self, seed: int) -> Iterator[Photo]:
        """All photos in a random order, and then in another one."""
        random = torch.Generator().manual_seed(seed)
        while True:
            order = torch.randperm(len(self.photos), generator=random).tolist()
            for start in range(0, len(order), DECODED_AHEAD):
                yield from self._pool.map(self._load, order[start : start + DECODED_AHEAD])

    def _some(self) -> Packed:
        """The next photos of the random order that find room."""
        kept, room = [next(self._order)], self._memory
        while (room := room - kept[-1].nbytes) > 0:
            photo = next(self._order)
            if photo.nbytes > room:  # its turn comes with the others
                self._order = itertools.chain([photo], self._order)
                break
            kept.append(photo)
        return pack(kept)

    def draw(self) -> Tensor:
        """(batch, 3, side, side) float32 in [0, 1], channels last."""
        if self._next is not None and self._drawn == TURNOVER:
            self._put(self._next.result())
            self._next, self._drawn = self._pool.submit(self._some), 0
        self._drawn += 1
        numbers = torch.rand(self.batch, 10, generator=self._random, dtype=torch.float64, device=self._device)
        return (crops(self._there, numbers, self.side) / 255).permute(0, 3, 1, 2)


def pack(photos: Sequence[Photo]) -> Packed:
    """Photos of any sizes, (H, W, 3) uint8."""
    sizes = torch.tensor([photo.shape[:2] for photo in photos], dtype=torch.int64)
    ends = sizes.prod(1).cumsum(0)
    pixels = torch.cat([torch.from_numpy(photo.reshape(-1, 3).copy()) for photo in photos])
    return Packed(pixels, torch.cat([(ends - sizes.prod(1))[:, None], sizes], 1))


def crops(photos: Packed, numbers: Tensor, side: int) -> Tensor:
    """(B, side, side, 3) float32, whole numbers of 0 to 255, out of (B, 10) float64 in [0, 1): those of data.Crops, in its order."""
    which, enlarge, scale, top, left, shrink, within, mirror, flip, turn = numbers.T
    first, height, width = photos.table[(which * len(photos.table)).long()].T
    enlarged = side * (LEAST_ENLARGED + (1 - LEAST_ENLARGED) * scale)
    others = side / torch.maximum(side / torch.minimum(height, width), LEAST_SHRUNK + (1 - LEAST_SHRUNK) * scale)
    cut = torch.where(enlarge < ENLARGED, enlarged, others).round().long()
    i, j = (top * (height - cut + 1)).long(), (left * (width - cut + 1)).long()
    offset = torch.where((cut > side) & (shrink >= 0.5), (within * (cut - side + 1)).long(), -1)
    offset = torch.where(cut == side, 0, offset)
    reach = torch.arange(round(side / LEAST_SHRUNK), device=numbers.device)
    rows = torch.minimum(i[:, None] + reach, height[:, None] - 1)
    columns = torch.minimum(j[:, None] + reach, width[:, None] - 1)
    patch = photos.pixels[first[:, None, None] + rows[:, :, None] * width[:, None, None] + columns[:, None, :]].float()
    weights = resampling(cut, offset, side, len(reach))
    across, down = (torch.where((u < 0.5)[:, None, None], weights.flip(1), weights) for u in (mirror, flip))
    # As Pillow does it: first along rows, rounded in between.
    patch = torch.einsum("bos,brsc->broc", across, patch).round().clamp(0, 255)
    out = torch.einsum("bpr,broc->bpoc", down, patch).round().clamp(0, 255)
    return torch.where((turn < 0.5)[:, None, None, None], out.transpose(1, 2), out).contiguous()


def resampling(cut: Tensor, offset: Tensor, side: int, reach: int) -> Tensor:
    """(B, side, reach) float32: what each of `side` outputs takes of the inputs, of which the first `cut` are there.

    offset: from 0 on, the outputs are the inputs from there on. Below: all of `cut` becomes `side`, as Pillow does it: enlarged by a
    cubic kernel (a = -1/2), shrunk by Lanczos' of three lobes, as wide as the step.
    """
    place = torch.arange(reach, device=cut.device)
    output = torch.arange(side, device=cut.device)[:, None]
    taken = (place == offset[:, None, None] + output).double()
    ratio = cut.double()[:, None, None] / side
    t = ((place + 0.5) - (output + 0.5) * ratio).abs()
    cubic = torch.where(t < 1, (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2) * (t < 2)
    t = t / ratio
    lanczos = torch.sinc(t) * torch.sinc(t / 3) * (t < 3)
    kernel = torch.where(ratio < 1, cubic, lanczos) * (place < cut[:, None, None])
    scaled = kernel / kernel.sum(2, keepdim=True)
    return torch.where((offset >= 0)[:, None, None], taken, scaled).float()
