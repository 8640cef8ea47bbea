# SPDX-License-Identifier: Apache-2.0
"""CUDA kernels of jahp_fast; not public. Built where a CUDA compiler is found; imports without a driver."""

from typing import TypedDict

class _Device(TypedDict):
    name: str
    major: int
    minor: int
    total_memory: int

def device_count() -> int:
    """Devices that the driver shows; 0 without a driver."""

def devices() -> list[_Device]:
    """Name, compute capability and memory in bytes of each device; empty without a driver."""

def symbol_checksum(z_ptr: int, z_count: int, y_ptr: int, y_count: int, stream: int = 0) -> int:
    """jahp_fast._native.symbol_checksum of arrays that lie on the current device.

    Args:
        z_ptr, y_ptr: addresses of contiguous int32 arrays on the device; 0 only with a count of 0.
        z_count, y_count: elements.
        stream: a cudaStream_t as an integer; the sum is taken behind what is queued there. The call waits for it.

    Raises:
        UsageError: an address that cannot be an int32 array's.
        JahpError: there is no device, or CUDA reports an error.
    """
