# SPDX-License-Identifier: Apache-2.0
"""A numcodecs codec, and so a compressor for zarr 2 arrays: chunks (..., H, W, 3) uint8, with loss.

    import jahp_fast.integrations.numcodecs as jahp
    codec = jahp.Jahp(quality=5)
    pixels = codec.decode(codec.encode(images))

Importing the module registers it; where the package is installed numcodecs finds it by its entry point, under the id "jahp".
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from numcodecs import registry
from numcodecs.abc import Codec
from numcodecs.compat import ensure_contiguous_ndarray, ensure_ndarray
from numpy.typing import NDArray

from jahp_fast.errors import FormatError
from jahp_fast.integrations.chunks import chunk_shape, decode_chunk, encode_chunk
from jahp_fast.local import settings


class Jahp(Codec):  # type: ignore[misc]
    """Each image on one thread; stores run several at a time.

    Args:
        quality: 1 to 12.
        model: a model's name; its file in the package or in the folders of JAHP_FAST_MODELS.
    """

    codec_id: ClassVar[str] = "jahp"

    def __init__(self, quality: float = 4.0, model: str = "mbt2018") -> None:
        self.quality, self.model = float(quality), model

    def encode(self, buf: Any) -> bytes:
        """An array (..., H, W, 3) uint8 -> bytes. Raises UnsupportedImage."""
        return encode_chunk(ensure_ndarray(buf), settings(self.model, self.quality))

    def decode(self, buf: Any, out: Any = None) -> NDArray[np.uint8]:
        """Bytes -> the array, which lies in memory as the encoded one did; or into `out`.

        An `out` of the array's own shape may have any strides. One of another shape and as many bytes takes the array as it
        lies in memory, and must be contiguous.

        Raises FormatError for damaged bytes and for an `out` of another size.
        """
        data = ensure_contiguous_ndarray(buf).data
        if out is None:
            return decode_chunk(data, settings(self.model, self.quality))
        shape, order = chunk_shape(data)
        place = ensure_ndarray(out)
        if place.shape == shape and place.dtype == np.uint8:
            return decode_chunk(data, settings(self.model, self.quality), out=place)
        flat = ensure_contiguous_ndarray(out).view(np.uint8)
        if flat.size != math.prod(shape):
            raise FormatError(f"the chunk is {shape}, and the place for it has {flat.size} bytes")
        decode_chunk(data, settings(self.model, self.quality), out=flat.reshape(shape, order=order))
        result: NDArray[np.uint8] = out
        return result

    def get_config(self) -> dict[str, Any]:
        """For JSON; numcodecs.get_codec makes an equal codec of it."""
        return {"id": self.codec_id, "quality": self.quality, "model": self.model}


registry.register_codec(Jahp)
