# SPDX-License-Identifier: Apache-2.0
"""The codec: images to .jahp streams and back."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast import _native, backends, library
from jahp_fast import container as _container
from jahp_fast import image as _image
from jahp_fast.entropy.reference import StreamLayout
from jahp_fast.errors import FormatError, UnsupportedImage, UsageError

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from jahp_fast.backends import Backend
    from jahp_fast.entropy.model_file import ModelFile
    from jahp_fast.transforms import Transforms

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Latents:
    """What the exact part of a decoder gives: equal on every machine, for every backend.

    Attributes:
        y: (M, h, w) int32, ŷ times 2^frac_bits.
        frac_bits: 0 in form A.
        z: (N, h', w') int32, or None where a model has no hyperprior.
    """

    y: NDArray[np.int32]
    frac_bits: int
    z: NDArray[np.int32] | None


@dataclass(frozen=True)
class Info:
    """What a stream says of itself. `chunks` are type -> bytes."""

    width: int
    height: int
    mode: str
    alpha: bool
    quality: float
    model: str
    lanes: int
    skip: int
    bytes: int
    payload_bytes: int
    chunks: dict[str, int]


class _Loaded:
    """A model with its backend and transforms, each made when first needed."""

    def __init__(self, file: ModelFile, backend: str) -> None:
        self.file = file
        self._backend_name = backend
        self._lock = threading.Lock()
        self._backend: Backend | None = None
        self._transforms: Transforms | None = None

    @property
    def backend(self) -> Backend:
        with self._lock:
            if self._backend is None:
                self._backend = backends.load(self._backend_name, self.file)
            return self._backend

    @property
    def transforms(self) -> Transforms:
        with self._lock:
            if self._transforms is None:
                from jahp_fast.transforms import Transforms

                self._transforms = Transforms(self.file)
            return self._transforms


@lru_cache(maxsize=4)
def _shared(file: ModelFile, backend: str, isa: str) -> _Loaded:
    """One for all codecs of a process: making a codec anew for each image costs next to nothing."""
    return _Loaded(file, backend)


class Codec:
    """Encodes with one model at one quality; decodes whatever model and quality a stream names. Safe to share between threads.

    Args:
        model: a model's name, or the stem of a file among `models` or in the folders of JAHP_FAST_MODELS.
        quality: 1 to 8, the paper's trade-offs λ = 0.0018 ... 0.18; rounded to steps of 0.05. A model with a single trade-off takes only
            its own.
        device: "cpu".
        backend: "auto", "native" or "reference". "auto" is what JAHP_FAST_BACKEND says, else "native".
        threads: of the entropy path; by default as many as there are cores for this process, at most 16. The transforms use torch's
            own number (torch.set_num_threads).
        models: model files, looked through before the folders of JAHP_FAST_MODELS and the package's own.
        max_pixels: larger images are refused, both ways.

    Raises:
        UnknownModel: no such model. UsageError: an argument that is not one of the above.
    """

    def __init__(
        self,
        model: str = "mbt2018",
        quality: float = 4.0,
        device: str = "cpu",
        backend: str = "auto",
        threads: int | None = None,
        models: Sequence[str | os.PathLike[str]] | None = None,
        max_pixels: int = 2**28,
    ) -> None:
        if device != "cpu":
            raise UsageError(f"device {device!r} is not supported; there is 'cpu'")
        if threads is not None and not 1 <= threads <= 1024:
            raise UsageError(f"threads must be 1 to 1024, not {threads}")
        self._backend_name = backends.resolve(backend)
        self._threads = threads or min(16, _available_cores())
        self._models = tuple(models or ())
        self._max_pixels = max_pixels
        self._lock = threading.Lock()
        self._loaded: dict[bytes, _Loaded] = {}
        self._encoder = self._adopt(library.by_name(model, self._models))
        self.quality = _checked_quality(self._encoder.file, quality)

    @property
    def threads(self) -> int:
        """Threads of the entropy path."""
        return self._threads

    @property
    def model_id(self) -> str:
        """The id that streams of this codec carry, in hexadecimal."""
        return self._encoder.file.id.hex()

    def _adopt(self, file: ModelFile) -> _Loaded:
        loaded = _shared(file, self._backend_name, os.environ.get("JAHP_FAST_ISA", ""))
        with self._lock:
            return self._loaded.setdefault(file.id, loaded)

    def _for_stream(self, stream: _container.Stream) -> _Loaded:
        loaded = self._loaded.get(stream.model)
        return loaded or self._adopt(library.by_id(stream.model, self._models))

    def encode(self, image: Any) -> bytes:
        """PIL image | uint8 array (H, W, 3), (H, W), (H, W, 4) | uint8 tensor (3, H, W) -> a .jahp file.

        Alpha is kept losslessly; the ICC profile, EXIF and XMP of a PIL image are kept.

        Raises:
            UnsupportedImage: another type, mode or shape, more than max_pixels, or latents beyond 32767.
        """
        return self.encode_timed(image)[0]

    def encode_timed(self, image: Any) -> tuple[bytes, dict[str, float]]:
        """encode, and seconds by stage: g_a, h_a, entropy."""
        parts = _image.split(image)
        height, width, _ = parts.rgb.shape
        if height * width > self._max_pixels:
            raise UnsupportedImage(f"{width} x {height} pixels are more than max_pixels = {self._max_pixels}")
        if max(height, width) > _container.MAX_SIDE:
            raise UnsupportedImage(f"{width} x {height} pixels: a side may have {_container.MAX_SIDE}")
        loaded, clock = self._encoder, _Clock()
        config, transforms, backend = loaded.file.config, loaded.transforms, loaded.backend
        clock.lap("load")
        y = transforms.analysis(parts.rgb, self.quality)
        clock.lap("g_a")
        z = transforms.hyper_analysis(y) if config.hyper_latents else np.zeros((0, 0, 0), np.float32)
        clock.lap("h_a")
        layout = StreamLayout(y.shape[0], y.shape[1], 0, 0, _container.min_payload_bytes(width, height))
        try:
            integers = [np.rint(a * scale).astype(np.int64) for a, scale in ((z, 1), (y, 1 << config.frac_bits))]
            if any(np.abs(a).max(initial=0) > 2**30 for a in integers):
                raise UsageError("a latent is beyond 2^30")
            z_hat, wanted = (a.astype(np.int32) for a in integers)
            payload, y_hat, lanes, _ = backend.encode(z_hat, wanted, layout, self._threads)
        except UsageError as e:
            raise UnsupportedImage(f"the model's latents for this image cannot be coded: {e}") from None
        chunks = dict(parts.chunks)
        if parts.alpha is not None:
            chunks[b"ALPH"] = _image.pack_alpha(parts.alpha)
        checksum = _native.symbol_checksum(z_hat, y_hat)
        stream = _container.Stream(width, height, parts.mode, self.quality, loaded.file.id, lanes, 0, checksum, payload, chunks)
        data = _container.pack(stream)
        clock.lap("entropy")
        return data, clock.laps

    def _decode_integers(
        self, stream: _container.Stream, loaded: _Loaded
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], dict[str, float]]:
        quality = stream.quality
        if not loaded.file.config.qualities[0] <= quality <= loaded.file.config.qualities[-1]:
            raise FormatError(f"stream of quality {quality:g}, which its model does not have")
        least = _container.min_payload_bytes(stream.width, stream.height)
        layout = StreamLayout(-(-stream.height // 16), -(-stream.width // 16), stream.lanes, stream.skip, least)
        z, y, times = loaded.backend.decode(stream.payload, layout, self._threads)
        if _native.symbol_checksum(z, y) != stream.checksum:
            raise FormatError("the checksum of the decoded symbols does not match")
        return z, y, times

    def decode_latents(self, data: Bytes) -> Latents:
        """The exact part of decoding: everything from the file's bytes to ŷ.

        Raises:
            FormatError: the file is damaged. UnknownModel: its model is not at hand.
        """
        stream = _container.unpack(data, self._max_pixels)
        loaded = self._for_stream(stream)
        z, y, _ = self._decode_integers(stream, loaded)
        config = loaded.file.config
        return Latents(_channels_first(y), config.frac_bits, _channels_first(z) if config.hyper_latents else None)

    def decode(self, data: Bytes) -> NDArray[np.uint8]:
        """A .jahp file -> (H, W, 3) uint8; (H, W) for grey, (H, W, 4) with alpha.

        Raises:
            FormatError: the file is damaged. UnknownModel: its model is not at hand.
        """
        return self.decode_timed(data)[0]

    def decode_timed(self, data: Bytes) -> tuple[NDArray[np.uint8], dict[str, float]]:
        """decode, and seconds by stage: latents (z, h_s, context model and range decoding) and g_s; and the parts of `latents`."""
        stream = _container.unpack(data, self._max_pixels)
        loaded, clock = self._for_stream(stream), _Clock()
        transforms, _ = loaded.transforms, loaded.backend
        clock.lap("load")
        _, y, parts = self._decode_integers(stream, loaded)
        clock.lap("latents")
        scale = np.float32(2.0**-loaded.file.config.frac_bits)
        rgb = transforms.synthesis(y.astype(np.float32) * scale, stream.quality, stream.height, stream.width)
        alpha = _image.unpack_alpha(stream.chunks[b"ALPH"], stream.height, stream.width) if b"ALPH" in stream.chunks else None
        image = _image.join(rgb, stream.mode, alpha)
        clock.lap("g_s")
        return image, clock.laps | {f"latents.{name}": seconds for name, seconds in parts.items()}

    def decode_pil(self, data: Bytes) -> Image.Image:
        """decode to a PIL image of mode RGB, L or RGBA, with icc_profile, exif and xmp in its `info`."""
        from PIL import Image

        image = Image.fromarray(self.decode(data))
        chunks = _container.unpack(data).chunks
        for kind, name in _container.KNOWN_CHUNKS.items():
            if kind in chunks and kind != b"ALPH":
                image.info[name] = chunks[kind]
        return image

    def decode_tensor(self, data: Bytes) -> torch.Tensor:
        """decode to a uint8 tensor (3, H, W), (1, H, W) for grey, (4, H, W) with alpha."""
        import torch

        image = self.decode(data)
        return torch.from_numpy(image[None] if image.ndim == 2 else np.ascontiguousarray(image.transpose(2, 0, 1)))

    def encode_batch(self, images: Iterable[Any]) -> list[bytes]:
        """Encodes each, in order."""
        return [self.encode(image) for image in images]

    def decode_batch(self, streams: Iterable[Bytes]) -> list[NDArray[np.uint8]]:
        """Decodes each, in order."""
        return [self.decode(data) for data in streams]


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


def _available_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _checked_quality(file: ModelFile, quality: float) -> float:
    rounded = _container.quality_code(quality) / _container.QUALITY_STEPS if 1 <= quality <= 8 else quality
    low, high = file.config.qualities[0], file.config.qualities[-1]
    if not low <= rounded <= high:
        has = f"{low:g} to {high:g}" if high > low else f"only {low:g}"
        raise UsageError(f"quality {quality:g} is not one that {file.path.stem} has: {has}")
    return rounded


def _channels_first(a: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.ascontiguousarray(a.transpose(2, 0, 1))


def encode(image: Any, quality: float = 4.0) -> bytes:
    """Encodes with the shipped mbt2018; see Codec.encode."""
    return Codec(quality=quality).encode(image)


def decode(data: Bytes) -> NDArray[np.uint8]:
    """Decodes with shipped models; see Codec.decode."""
    return Codec().decode(data)


def info(data: Bytes) -> Info:
    """What a stream says of itself; needs no model. Raises FormatError for a damaged file."""
    s = _container.unpack(data)
    chunks = {kind.decode(): len(content) for kind, content in s.chunks.items()}
    alpha = b"ALPH" in s.chunks
    return Info(s.width, s.height, s.mode, alpha, s.quality, s.model.hex(), s.lanes, s.skip, len(data), len(s.payload), chunks)
