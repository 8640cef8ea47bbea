# SPDX-License-Identifier: Apache-2.0
"""A training step as one CUDA graph.

A step is more than a thousand kernels, most of them far shorter than the time that Python takes to launch one.
Captured, they follow one another without the host. What a graph cannot hold stays outside: drawing crops, turning SOAP's bases
(QR decompositions), and the two small things that cost nothing, the average and the quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from jahp_fast.models.layers import Rows
from jahp_fast.train.loss import Loss
from jahp_fast.train.soap import SOAP


class CapturedStep:
    """Loss, gradients, their clipping and SOAP's descent over fixed memory, as an eager step leaves it.

    Call under the stream that earlier steps ran on. SOAP must have descended twice before: after that it allocates nothing that stays.
    A step whose gradients are not finite changes no weight; `unsound` counts how many in a row were such, on the device.

    Raises RuntimeError where the loss does what a graph cannot hold.
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Rows], Loss],
        optimizer: SOAP,
        weights: Sequence[nn.Parameter],
        clip_norm: float,
        x: Tensor,
        q: Rows,
    ) -> None:
        device = x.device
        self._optimizer = optimizer
        self._x, self._q = x.clone(), q if isinstance(q, range) else q.clone()
        self._sizes = [torch.zeros((), device=device) for _ in optimizer.param_groups]
        self.unsound = torch.zeros((), device=device)
        optimizer.zero_grad()
        self._graph = torch.cuda.CUDAGraph()
        # Other threads pin memory meanwhile.
        with torch.cuda.graph(self._graph, stream=torch.cuda.current_stream(device), capture_error_mode="thread_local"):
            out = loss(self._x, self._q)
            out.total.backward()  # type: ignore[no-untyped-call]
            self._loss = Loss(out.total.detach(), out.bpp, out.mse)
            sound = clip(weights, clip_norm)
            self.unsound.copy_((self.unsound + 1) * ~sound)
            optimizer.descend([size * sound for size in self._sizes])

    def __call__(self, x: Tensor, q: Rows) -> Loss:
        """A step on a batch of the same shape; the figures lie where those of the next step will."""
        self._x.copy_(x)
        if isinstance(self._q, Tensor) and isinstance(q, Tensor):
            self._q.copy_(q)
        for tensor, size in zip(self._sizes, self._optimizer.advance(), strict=True):
            tensor.fill_(size)
        self._graph.replay()
        self._optimizer.turn()
        return self._loss


@torch.no_grad()
def clip(weights: Sequence[nn.Parameter], most: float) -> Tensor:
    """Scales the gradients to a norm of at most `most`, or to 0 where it is not finite. Returns whether it is, without waiting for it."""
    # As they lie in memory, in which autograd leaves no gaps: one call for all.
    gradients = [p.grad.as_strided((p.grad.numel(),), (1,)) for p in weights if p.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    sound, factor = norm < math.inf, (most / (norm + 1e-6)).clamp(max=1.0)
    clipped = torch.where(sound, torch.cat(gradients) * factor, 0.0)
    torch._foreach_copy_(gradients, list(torch.split(clipped, [len(g) for g in gradients])))
    return sound
