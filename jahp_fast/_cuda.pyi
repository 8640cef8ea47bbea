# SPDX-License-Identifier: Apache-2.0
"""CUDA kernels of jahp_fast; not public. Built where a CUDA compiler is found; imports without a driver."""

from typing import Any, TypedDict

class _Device(TypedDict):
    name: str
    major: int
    minor: int
    total_memory: int

def driver_version() -> int:
    """The newest CUDA that the driver runs, 1000 times the major version plus 10 times the minor; 0 without a driver."""

def runtime_version() -> int:
    """The CUDA that this module was built with, likewise."""

def pack(config: dict[str, Any], tensors: dict[str, Any]) -> bytes:
    """An entropy model as the kernels read it. config, tensors: as _native.EntropyModel takes them, and it must have taken them."""

def workspace_bytes(blob: bytes, height: int, width: int) -> int:
    """Bytes of scratch memory that decoding latents of height x width positions needs. blob: from pack()."""

def decode(blob: bytes, model_ptr: int, images: list[dict[str, int]], stream: int = 0) -> None:
    """Queues the decoding of images of one model, in as few launches as there can be; waits for nothing.

    Args:
        blob: from pack(). model_ptr: where a copy of it lies on the current device, 256-byte aligned.
        images: for each the addresses on that device of its payload (uint8), its workspace (workspace_bytes() bytes, 256-byte
            aligned), z (hz, wz, N), y (h, w, M) and status (8, zeroed), all int32, and its layout.
            status[0] becomes a code of jahp_fast.backends.status.Status, status[1] its detail. With "size_ptr" the payload's length is the
            int32 at that address when the kernel runs, and "payload_bytes" the most that it may be.
        stream: a cudaStream_t as an integer.

    Raises:
        UsageError: an impossible size, layout or address.
        JahpError: there is no device, or CUDA reports an error.
    """

def rows(blob: bytes, model_ptr: int, images: list[dict[str, int]], stream: int = 0) -> None:
    """Queues what an encoder needs of the networks, likewise.

    Args:
        images: as for decode(), without payload, lanes and min_bytes. z and y (times 2^mean_bits in form B) are inputs, and y becomes
            what a decoder will see. "rows_ptr" and "shifts_ptr", (h, w, M) int32: outputs, as backends.coding.SymbolCoder takes them.

    Raises:
        As decode().
    """

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
