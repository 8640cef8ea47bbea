# SPDX-License-Identifier: Apache-2.0
"""Crops drawn ahead by processes of their own, for a device that trains faster than one process draws."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from jahp_fast.errors import UnsupportedImage
from jahp_fast.train.data import Crops, Photos

WORKER_SEEDS = 7_919
"""Between the seeds of two processes."""
BATCHES_AHEAD = 4
"""Of each process."""


class _Batches(IterableDataset[Tensor | str]):
    def __init__(self, photos: Photos, batch: int, side: int, seed: int) -> None:
        self._photos, self._batch, self._side, self._seed = photos, batch, side, seed

    def __iter__(self) -> Iterator[Tensor | str]:
        info = get_worker_info()
        number = 0 if info is None else info.id
        crops = Crops(self._photos, self._batch, self._side, self._seed + WORKER_SEEDS * number)
        while True:
            try:
                yield crops.pixels()
            except UnsupportedImage as e:  # torch would wrap it in the worker's traceback
                yield str(e)


class CropsAhead:
    """As `Crops`, but without a state that can be stored. Each process keeps decoded photos for itself.

    photos: its memory is that of each process. device: "cuda"; batches travel there from pinned memory, without waiting.
    """

    def __init__(self, photos: Photos, batch: int, side: int, seed: int, processes: int, device: torch.device) -> None:
        self.photos, self._device = photos, device
        loader = DataLoader(
            _Batches(photos, batch, side, seed), batch_size=None, num_workers=processes, prefetch_factor=BATCHES_AHEAD,
            pin_memory=device.type == "cuda",
        )  # fmt: skip
        self._batches = iter(loader)

    def draw(self) -> Tensor:
        """(batch, 3, side, side) float32 in [0, 1] on the device, channels last. Raises UnsupportedImage as `Crops` does."""
        pixels: Tensor | str = next(self._batches)
        if isinstance(pixels, str):
            raise UnsupportedImage(pixels)
        return pixels.to(self._device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
