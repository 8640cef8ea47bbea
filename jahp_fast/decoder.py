# SPDX-License-Identifier: Apache-2.0
"""What a codec makes of .jahp streams: pixels, parts of them, rows, small pictures, latents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast import arguments
from jahp_fast.decoding import Decoding, sizes_said
from jahp_fast.errors import UsageError
from jahp_fast.files import container as _container
from jahp_fast.files.deep import checked_dtype
from jahp_fast.files.view import Region, View
from jahp_fast.pipelines.shared import Pipelines
from jahp_fast.records import Bytes, Latents
from jahp_fast.system.extras import require_torch
from jahp_fast.system.parallel import each

if TYPE_CHECKING:
    import torch
    from numpy.typing import DTypeLike
    from PIL import Image


class Decoder:
    """The half of a Codec that decodes.

    Args:
        pipelines: loads the models that streams name.
        threads: on the CPU.
        exact: False lets a GPU decode in float16.
        max_pixels: larger images are refused.
    """

    def __init__(self, pipelines: Pipelines, threads: int, exact: bool, max_pixels: int) -> None:
        self._pipelines, self._threads, self._exact, self._max_pixels = pipelines, threads, exact, max_pixels

    @property
    def threads(self) -> int:
        """Threads on the CPU."""
        return self._threads

    @property
    def _decoding(self) -> Decoding:
        return Decoding(self._pipelines, self._threads, self._exact)

    def decode_latents(self, data: Bytes) -> Latents:
        """The exact part of decoding: everything from the file's bytes to ŷ.

        Raises:
            FormatError: the file is damaged.
            UnknownModel: its model is not found.
            UsageError: it holds exact pixels, and no latents.
        """
        stream = _container.unpack(data, self._max_pixels)
        if stream.exact:
            raise UsageError("the file holds exact pixels and no latents: decode it instead")
        loaded = self._pipelines.of_stream(stream)
        config = loaded.file.config
        with loaded.guard("decoding " + sizes_said([stream.size])):
            z, y, _ = loaded.decode_integers(stream, self._threads)
        first = [np.ascontiguousarray(a.transpose(2, 0, 1)) for a in (y, z)]
        return Latents(first[0], config.frac_bits, first[1] if config.hyper_latents else None)

    def decode(self, data: Bytes, region: Region | None = None, scale: int = 1, dtype: DTypeLike | None = None) -> NDArray[Any]:
        """A .jahp file -> (H, W, 3) uint8; (H, W) for grey, (H, W, 4) with alpha. A file of deeper samples -> uint16.

        Args:
            region: (left, top, width, height): that part of the picture alone, equal to the same part of the whole decode, for the time
                of the latents and of the part. A checksum of the pixels, where the file has one, is of the whole, and cannot be compared.
            scale: 1, 2, 4, 8 or 16: the picture with its sides divided by it, rounded up, whose pixels are the means of squares. 2 is
                those means, for the time of the whole. 4, 8 and 16 come near them without most of g_s, where the model has heads
                (docs/guide/embed.md); without, as 2. With a region, which is at full size, all pixels that it touches. Of a file with
                a residual layer, the small picture is that of its coarse pixels, below the layer.
            dtype: uint8, or uint16, where 65535 is white; by default as the file says. Small pictures have uint8, and a checksum of the
                pixels is of uint8, but of exact ones that have more bits. Both are right of any file: 16 bits are those that the file's
                latents give, not 8 bits widened.

        Raises:
            FormatError: the file is damaged.
            UsageError: what is given is no bytes, but a path or a file; or a region is empty, or not inside of the picture; or
                there is no such scale or dtype.
            UnknownModel: its model is not found.
            DeviceError: not enough memory on the device.
        """
        stream = _container.unpack(data, self._max_pixels)
        return self._decoding.batch([stream], [_view(stream, region, scale, dtype)])[0]

    def decode_rows(
        self, data: Bytes, region: Region | None = None, scale: int = 1, dtype: DTypeLike | None = None
    ) -> Iterator[NDArray[Any]]:
        """decode by rows, for images that are large or wanted as they come: blocks of rows from top to bottom.

        Each block is (k, W, 3), (k, W) for grey or (k, W, 4) with alpha; k is the codec's choice, all k together are the height. On a CPU
        memory grows with the width, but for some bytes of each latent's networks; on a GPU the image is decoded whole.

        What the file's bytes say of themselves is checked at once. Whether the symbols that came of them are right is known at the end:
        the error is then raised in place of a last block, and the blocks before it are to be thrown away. The same holds of alpha. Of a
        region the error may come behind its last block: only when no more come is all of it right.

        Raises what decode raises.
        """
        stream = _container.unpack(data, self._max_pixels)
        return self._decoding.rows(stream, _view(stream, region, scale, dtype))

    def decode_batch(
        self, streams: Iterable[Bytes], region: Region | None = None, scale: int = 1, dtype: DTypeLike | None = None
    ) -> list[NDArray[Any]]:
        """Decodes each, or the same region of each, in order; an error says which stream, counted from 0.

        On a GPU the latents of all streams are decoded by as few launches as there can be, and images of equal shape go through g_s
        together; on a CPU several are decoded at a time.
        """
        data = arguments.several(streams, "files' bytes")
        labels = range(len(data))
        unpacked = each(lambda d: _container.unpack(d, self._max_pixels), data, labels=labels)
        views = each(lambda s: _view(s, region, scale, dtype), unpacked, labels=labels)
        return self._decoding.batch(unpacked, views, labels)

    def decode_timed(self, data: Bytes) -> tuple[NDArray[np.uint8], dict[str, float]]:
        """decode, and seconds by stage: latents (z, h_s, context model and range decoding) and g_s; and the parts of `latents`.

        A file with a layer has the stage `layer` too, or alone. Pixels are those of 8 bits, of deeper files too.

        On a GPU the stages follow each other on the clock, with a wait between them, and without graphs.
        """
        return self._decoding.timed(_container.unpack(data, self._max_pixels))

    def decode_pil(self, data: Bytes, region: Region | None = None, scale: int = 1) -> Image.Image:
        """decode to a PIL image of 8 bits, of mode RGB, L, LA or RGBA, with icc_profile, exif and xmp in its `info`."""
        from PIL import Image

        from jahp_fast.files.metadata import Given

        stream, pixels = _container.unpack(data, self._max_pixels), self.decode(data, region, scale, np.uint8)
        grey_alpha = stream.mode == "L" and pixels.ndim == 3
        image = Image.fromarray(np.ascontiguousarray(pixels[:, :, [0, 3]]) if grey_alpha else pixels)
        chunks = stream.chunks
        for kind, name in _container.METADATA_CHUNKS.items():
            if kind in chunks:
                image.info[name] = Given(chunks[kind], image)
        return image

    def decode_tensor(self, data: Bytes, region: Region | None = None, scale: int = 1) -> torch.Tensor:
        """decode to a uint8 tensor (3, H, W), (1, H, W) for grey, (4, H, W) with alpha, on the codec's device.

        On a GPU everything is queued on its current stream, and one wait at the end reads whether the stream was sound. A file with a
        layer comes by way of the CPU.
        """
        stream = _container.unpack(data, self._max_pixels)
        require_torch("decode_tensor")
        return self._decoding.tensor(stream, View.of(*stream.size, region, scale))


def _view(stream: _container.Stream, region: Region | None, scale: int, dtype: DTypeLike | None) -> View:
    asked = checked_dtype(dtype)
    view = View.of(*stream.size, region, scale, stream.depth > 8 if asked is None else asked)
    if asked and view.scale > 1:
        raise UsageError(f"a picture at scale {view.scale} has 8 bits: leave out dtype, or scale")
    return view
