# SPDX-License-Identifier: Apache-2.0
"""A zarr 3 codec: chunks (..., H, W, 3) uint8, with loss, as the array-to-bytes codec ("serializer").

    import zarr
    from jahp_fast.integrations.zarr import JahpCodec
    images = zarr.create_array("frames.zarr", shape=(100, 480, 640, 3), chunks=(1, 480, 640, 3), dtype="uint8",
                               serializer=JahpCodec(quality=5), compressors=None)

Where the package is installed zarr finds it by its entry point, under the name "jahp"; importing the module registers it too.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin
from zarr.abc.store import ByteGetter
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.core.common import JSON, parse_named_configuration
from zarr.core.indexing import SelectorTuple
from zarr.registry import register_codec

from jahp_fast.errors import UsageError
from jahp_fast.integrations.chunks import check_shape, decode_chunk, decode_part, encode_chunk
from jahp_fast.local import settings

NAME = "jahp"


@dataclass(frozen=True)
class JahpCodec(ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin):
    """Each image on one thread; zarr runs several at a time. Of a chunk no more is made than the rectangle that a selection lies in, where
    no other codec stands beside this one.

    Attributes:
        quality: 1 to 12.
        model: a model's name; its file in the package or in the folders of JAHP_FAST_MODELS.
    """

    quality: float = 4.0
    model: str = "mbt2018"
    is_fixed_size = False  # no annotation: it is no field

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """Raises UsageError for a configuration that is not this codec's."""
        configuration: Any = parse_named_configuration(data, NAME, require_configuration=False)[1] or {}
        unknown = sorted(set(configuration) - {"quality", "model"})
        if unknown:
            raise UsageError(f"the codec {NAME} has no setting {unknown[0]!r}")
        return cls(**configuration)

    def to_dict(self) -> dict[str, JSON]:
        """For zarr.json."""
        return {"name": NAME, "configuration": {"quality": self.quality, "model": self.model}}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Raises UnsupportedImage for arrays whose chunks are not (..., H, W, 3) uint8."""
        chunk_shape = getattr(chunk_grid, "chunk_shape", shape)
        check_shape(chunk_shape, dtype.to_native_dtype())

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        data: Any = chunk_data.as_numpy_array()
        array = await asyncio.to_thread(decode_chunk, data.data, settings(self.model, self.quality))
        return chunk_spec.prototype.nd_buffer.from_numpy_array(array.reshape(chunk_spec.shape))

    async def _decode_partial_single(self, byte_getter: ByteGetter, selection: SelectorTuple, chunk_spec: ArraySpec) -> NDBuffer | None:
        chunk = await byte_getter.get(prototype=chunk_spec.prototype)
        if chunk is None:
            return None
        found = [_inside(wanted, size) for wanted, size in zip(_each(selection), chunk_spec.shape, strict=True)]
        data: Any = chunk.as_numpy_array()
        wanted = settings(self.model, self.quality)
        array = await asyncio.to_thread(decode_part, data.data, wanted, chunk_spec.shape, [part for part, _ in found])
        return chunk_spec.prototype.nd_buffer.from_numpy_array(array[tuple(rest for _, rest in found)])

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        array: Any = chunk_data.as_numpy_array()
        data = await asyncio.to_thread(encode_chunk, array, settings(self.model, self.quality))
        return chunk_spec.prototype.buffer.from_bytes(data)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Unknown before it is encoded."""
        raise NotImplementedError


def _each(selection: Any) -> tuple[Any, ...]:
    return selection if isinstance(selection, tuple) else (selection,)


def _inside(wanted: Any, size: int) -> tuple[slice, Any]:
    """The span of one dimension that a selector lies in, and the selector of that span; of a selector of nothing, all of it."""
    picked = np.arange(size)[wanted]
    if picked.size == 0:
        return slice(0, size), wanted
    first, end = int(picked.min()), int(picked.max()) + 1
    if isinstance(wanted, slice):
        start, stop, step = wanted.indices(size)
        return slice(first, end), slice(start - first, stop - first, step)
    return slice(first, end), wanted - first


register_codec(NAME, JahpCodec)
