# SPDX-License-Identifier: Apache-2.0
"""Array chunks of RGB images as bytes, for array stores: what the codecs for numcodecs and zarr share.

A chunk is (..., H, W, 3) uint8, stored as a header and one .jahp stream an image:

    offset  size  field
         0     4  magic "JAHC"
         4     1  version, 1
         5     1  number of dimensions n, 3 to 32
         6     2  order of the array in memory when it was encoded: 0 C, 1 Fortran
         8   4 n  the dimensions
               .  each image in C order: length (4 bytes), stream

All integers are little-endian. There are no chunks without pixels.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import FormatError, UnsupportedImage
from jahp_fast.files import container
from jahp_fast.local import Settings, codec_for

MAGIC = b"JAHC"
VERSION = 1
MOST_DIMENSIONS = 32
_HEAD = struct.Struct("<4sBBH")
_LENGTH = struct.Struct("<I")


_ORDERS: tuple[Literal["C", "F"], ...] = ("C", "F")


def order_of(array: NDArray[Any]) -> Literal["C", "F"]:
    """How an array lies in memory: "F" where its first index runs fastest, and no other reading is as good."""
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def check_shape(shape: Sequence[int], dtype: Any) -> None:
    """Raises UnsupportedImage unless chunks of this shape and type can be coded."""
    if np.dtype(dtype) != np.uint8:
        raise UnsupportedImage(f"chunks must be uint8, not {np.dtype(dtype)}")
    if not 3 <= len(shape) <= MOST_DIMENSIONS or shape[-1] != 3 or 0 in shape:
        raise UnsupportedImage(f"chunks must be (..., height, width, 3) with at least one pixel, not {tuple(shape)}")


def encode_chunk(array: NDArray[Any], settings: Settings) -> bytes:
    """(..., H, W, 3) uint8, of any strides -> bytes. Raises UnsupportedImage."""
    check_shape(array.shape, array.dtype)
    codec = codec_for(settings)
    order = _ORDERS.index(order_of(array))
    parts = [_HEAD.pack(MAGIC, VERSION, array.ndim, order), struct.pack(f"<{array.ndim}I", *array.shape)]
    for index in np.ndindex(array.shape[:-3]):
        stream = codec.encode(np.ascontiguousarray(array[index]))
        parts += [_LENGTH.pack(len(stream)), stream]
    return b"".join(parts)


def decode_chunk(data: bytes | bytearray | memoryview, settings: Settings, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """The array of a chunk, contiguous in the order in which it was encoded: stores that keep bytes (zarr 2) go by that.

    In C order a single image is handed on as it was decoded; all others are copied once.

    Args:
        out: an array of the chunk's shape to write to instead, of any strides.

    Raises:
        FormatError: damaged bytes, or another shape than `out` has. Nothing is allocated before every stream's size is known.
    """
    view = memoryview(data).cast("B")
    shape, order, streams = _parsed(view)
    if out is not None and out.shape != shape:
        raise FormatError(f"the chunk is {shape}, where {out.shape} is needed")
    codec = codec_for(settings)
    if out is None and len(streams) == 1 and order == "C":
        return codec.decode(streams[0], dtype=np.uint8).reshape(shape)
    whole = np.empty(shape, np.uint8, order) if out is None else out
    for index, stream in zip(np.ndindex(shape[:-3]), streams, strict=True):
        whole[index] = codec.decode(stream, dtype=np.uint8)
    return whole


def decode_part(data: bytes | bytearray | memoryview, settings: Settings, shape: Sequence[int], part: Sequence[slice]) -> NDArray[np.uint8]:
    """decode_chunk(data, settings)[part], in C order; images, and parts of images, beyond it are not made.

    Args:
        shape: of the chunk.
        part: (..., rows, columns, channels): slices with a start below their stop, both inside, and no step.

    Raises FormatError as decode_chunk.
    """
    found, _, streams = _parsed(memoryview(data).cast("B"))
    if found != tuple(shape):
        raise FormatError(f"the chunk is {found}, where {tuple(shape)} is needed")
    codec = codec_for(settings)
    *which, rows, columns, channels = part
    region = columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start
    numbers = np.arange(len(streams)).reshape(found[:-3])[tuple(which)]
    images = [codec.decode(streams[i], region=region, dtype=np.uint8)[:, :, channels] for i in numbers.flat]
    return np.stack(images).reshape(*numbers.shape, *images[0].shape)


def chunk_shape(data: bytes | bytearray | memoryview) -> tuple[tuple[int, ...], Literal["C", "F"]]:
    """Shape and order of what decode_chunk will give, by the chunk's head. Raises FormatError."""
    view = memoryview(data).cast("B")
    if len(view) < _HEAD.size or bytes(view[:4]) != MAGIC:
        raise FormatError("not a chunk of images: it does not start with 'JAHC'")
    _, version, ndim, order = _HEAD.unpack_from(view)
    if version != VERSION:
        raise FormatError(f"chunk of version {version} is unknown; this release reads version {VERSION}")
    if order >= len(_ORDERS):
        raise FormatError(f"the chunk's order {order} is unknown: 0 is C, 1 Fortran")
    at = _HEAD.size + 4 * ndim
    if not 3 <= ndim <= MOST_DIMENSIONS or len(view) < at:
        raise FormatError(f"a chunk of {len(view)} bytes cannot have {ndim} dimensions")
    shape = struct.unpack_from(f"<{ndim}I", view, _HEAD.size)
    count = math.prod(shape[:-3])
    if shape[-1] != 3 or 0 in shape or count * (_LENGTH.size + container.HEADER_BYTES) > len(view) - at:
        raise FormatError(f"a chunk of {len(view)} bytes cannot have the shape {shape}")
    return shape, _ORDERS[order]


def _parsed(view: memoryview) -> tuple[tuple[int, ...], Literal["C", "F"], list[memoryview]]:
    shape, order = chunk_shape(view)
    at = _HEAD.size + 4 * len(shape)
    streams = []
    for i in range(math.prod(shape[:-3])):
        length = _LENGTH.unpack_from(view, at)[0] if len(view) - at >= _LENGTH.size else len(view)
        at += _LENGTH.size
        if length > len(view) - at:
            raise FormatError(f"image {i} of the chunk is cut short")
        streams.append(view[at : at + length])
        at += length
    if at != len(view):
        raise FormatError(f"{len(view) - at} bytes follow the last image of the chunk")
    for i, stream in enumerate(streams):
        parsed = container.unpack(stream)
        if (parsed.height, parsed.width, parsed.mode) != (shape[-3], shape[-2], "RGB") or b"ALPH" in parsed.chunks:
            raise FormatError(f"image {i} of the chunk is not {shape[-2]} x {shape[-3]} pixels of RGB")
    return shape, order, streams
