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

from zarr.abc.codec import ArrayBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.core.common import JSON, parse_named_configuration
from zarr.registry import register_codec

from jahp_fast.errors import UsageError
from jahp_fast.integrations.chunks import check_shape, decode_chunk, encode_chunk
from jahp_fast.local import settings

NAME = "jahp"


@dataclass(frozen=True)
class JahpCodec(ArrayBytesCodec):
    """Each image on one thread; zarr runs several at a time.

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

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        array: Any = chunk_data.as_numpy_array()
        data = await asyncio.to_thread(encode_chunk, array, settings(self.model, self.quality))
        return chunk_spec.prototype.buffer.from_bytes(data)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Unknown before it is encoded."""
        raise NotImplementedError


register_codec(NAME, JahpCodec)
