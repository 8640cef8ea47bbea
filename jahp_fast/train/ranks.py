# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one model, as `torchrun` starts them: each takes its own crops, and all take the same steps.

They talk through gloo. Gradients are averaged before they are clipped, so a step is that of one process on all crops together. Every rank
applies the same averaged gradients to the same weights and so keeps the same bits; this is checked whenever a checkpoint is written.
"""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from jahp_fast.errors import JahpError, UsageError, first_line

PATIENCE = datetime.timedelta(hours=1)
"""The others wait so long while rank 0 writes and measures."""
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Ranks:
    """This process's place in the run. Alone, every method gives back what it was given.

    Every rank must call the same methods in the same order. They raise JahpError where another rank has ended.
    """

    rank: int = 0
    size: int = 1

    def average(self, gradients: Sequence[Tensor], figures: Tensor) -> Tensor:
        """Averages the gradients in place, and gives the averaged figures, a float32 vector."""
        if self.size == 1:
            return figures
        flat = torch.cat([*(g.reshape(-1) for g in gradients), figures])
        self._reduce(flat, dist.ReduceOp.SUM)
        at = 0
        for gradient in gradients:
            gradient.copy_((flat[at : at + gradient.numel()] / self.size).view(gradient.shape))
            at += gradient.numel()
        return flat[at:] / self.size

    def largest(self, *values: float) -> list[float]:
        """Of each value the largest that a rank gives."""
        if self.size == 1:
            return list(values)
        most = torch.tensor(values, dtype=torch.float64)
        self._reduce(most, dist.ReduceOp.MAX)
        return most.tolist()

    def require_same(self, weights: Iterable[Tensor]) -> None:
        """Raises JahpError, on every rank, unless all hold the same bits."""
        if self.size == 1:
            return
        digest = hashlib.sha256()
        for weight in weights:
            digest.update(weight.detach().cpu().numpy().tobytes())
        own = int.from_bytes(digest.digest()[:4], "little")  # exact in float64
        most, least = self.largest(own, -own)
        if most != -least:
            raise JahpError("the ranks no longer hold the same weights: they need equal machines, packages and --threads")

    def _reduce(self, values: Tensor, operation: dist.ReduceOp.RedOpType) -> None:
        try:
            dist.all_reduce(values, operation)
        except RuntimeError as e:
            raise JahpError(f"rank {self.rank} has lost the others, whose messages say why: {first_line(e)}") from None


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks that `torchrun` has started, connected; one alone where it has not. Raises UsageError where they cannot be."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield Ranks()
        return
    missing = [name for name in _VARIABLES if name not in os.environ]
    if missing:
        raise UsageError(f"WORLD_SIZE is {os.environ['WORLD_SIZE']} and {missing[0]} is not set: start several processes with torchrun")
    try:
        dist.init_process_group("gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as e:
        raise UsageError(f"the ranks do not find each other: {first_line(e)}") from None
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
