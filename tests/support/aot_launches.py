# SPDX-License-Identifier: Apache-2.0
"""Every launch of the Triton backend, compiled as it would be on a device of compute capability 9.0, and not run.

A process of its own, without TRITON_INTERPRET. Triton asks a driver that only names the device; tensors lie on the CPU, and what is
decoded is what the memory held. Prints a JSON list, a call each: the names of the kernels in the order of their launches.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from builders import Case, random_latents, random_model
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver

from jahp_fast.backends import triton as backend_module
from jahp_fast.entropy.layout import StreamLayout


class NamedDevice:
    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device=None):
        return 0


def main():
    driver.set_active(NamedDevice())
    run, launches = JITFunction.run, []

    def compile_only(self, *args, grid, warmup, **options):
        launches.append(self.__name__)
        return run(self, *args, grid=grid, warmup=True, **options)

    JITFunction.run = compile_only
    backend_module._device = torch.device
    calls = []
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(Path(folder) / "m.safetensors", Case("mbt2018"), seed=3)
        backend = backend_module.TritonBackend(model, "cpu")
        payload, layouts = torch.zeros(50, dtype=torch.uint8), [StreamLayout(1, 1, 1), StreamLayout(20, 60, 32, 1)]
        for some in (layouts[:1], layouts):
            backend.start_batch([payload] * len(some), some)
            calls.append(launches.copy())
            launches.clear()
        backend._rows(*random_latents(model, 4, 5, 0), StreamLayout(4, 5, 1))
        calls.append(launches)
    json.dump(calls, sys.stdout)


main()
