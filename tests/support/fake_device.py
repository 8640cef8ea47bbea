# SPDX-License-Identifier: Apache-2.0
"""A device backend that computes on the CPU: native results, and the status that a kernel would write. For tests of what is around one."""

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from jahp_fast.backends.device import DeviceResult
from jahp_fast.backends.native import NativeBackend
from jahp_fast.errors import FormatError

DAMAGED = (4, 77)
"""Code and detail for any damaged payload."""


class FakeBackend(NativeBackend):
    """`launches` counts calls that a device backend would launch kernels for."""

    name = "fake"

    def __init__(self, model, device):
        super().__init__(model)
        self.device, self._config, self.launches = device, model.config, 0

    def start(self, payload, layout):
        return self.start_batch([payload], [layout])[0]

    def start_batch(self, payloads, layouts):
        self.launches += 1
        return [self._result(p, layout) for p, layout in zip(payloads, layouts, strict=True)]

    def _result(self, payload, layout):
        c, status = self._config, torch.zeros(8, dtype=torch.int32)
        try:
            z, y, _ = self.decode(payload.numpy().tobytes(), layout, 1)
        except FormatError:
            status[:2] = torch.tensor(DAMAGED)
            hyper = (-(-layout.height // 4), -(-layout.width // 4), c.hyper_latents) if c.hyper_latents else (0, 0, 0)
            # A kernel that ends early leaves whatever it had.
            z, y = np.zeros(hyper, np.int32), np.full((layout.height, layout.width, c.latents), 2**31 - 1, np.int32)
        return DeviceResult(torch.from_numpy(z), torch.from_numpy(y), status)


class SizedFake(FakeBackend):
    """One whose payload's length is an input, for graphs of the whole decode."""

    def start_sized(self, payload, size, layout):
        return self.start(payload[: int(size)], layout)


class NoWaiting(TorchDispatchMode):
    """Fails at operations by which the host would wait for a device, and counts the others."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function.overloadpacket.__name__ not in ("_local_scalar_dense", "nonzero", "equal", "is_nonzero"), function
        self.seen += 1
        return function(*args, **(kwargs or {}))
