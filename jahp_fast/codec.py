# SPDX-License-Identifier: Apache-2.0
"""The codec: images to .jahp streams and back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast import arguments, library
from jahp_fast.constants import QUALITY_STEPS
from jahp_fast.encoding import Encoding, Prepared
from jahp_fast.errors import UsageError
from jahp_fast.files import container as _container
from jahp_fast.files import image as _image
from jahp_fast.files.pixel_proof import PixelProof
from jahp_fast.pipelines.contract import Pipeline
from jahp_fast.pipelines.shared import Pipelines
from jahp_fast.records import Bytes, Latents
from jahp_fast.search import greedy, rate_control
from jahp_fast.system.devices import Clock
from jahp_fast.system.extras import require_torch
from jahp_fast.system.parallel import MOST_THREADS, available_cores, each

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from jahp_fast.entropy.model_file import ModelFile
    from jahp_fast.search.descent import Progress


class Codec:
    """Encodes with one model at one quality; decodes whatever model and quality a stream names. Safe to share between threads.

    Numbers may be scalars of NumPy's or torch's. A codec can be copied and pickled: the other one is made anew of the same arguments,
    "auto" and threads that were not named being chosen where it is made, and reads the model's file there.

    Args:
        model: a model's name, or the stem of a file among `models` or in the folders of JAHP_FAST_MODELS.
        quality: 1 to 8, the paper's trade-offs λ = 0.0018 ... 0.18; rounded to steps of 0.05. A model with a single trade-off takes only
            its own.
        device: "cpu", "cuda" or "cuda:N", or a torch.device: where transforms run, and latents are decoded if the backend can. All but
            the CPU needs torch.
        backend: "auto", or one of backends.NAMES. "auto" is what JAHP_FAST_BACKEND says, else "native" on the CPU, and on a GPU "cuda",
            or "triton" where there is no CUDA extension. "native" may be named with a GPU: latents on the CPU, transforms on the GPU.
            On the CPU "reference" is NumPy alone, the transforms too.
        threads: on the CPU; by default as many as there are cores for this process, at most 16.
        models: model files, looked through before the folders of JAHP_FAST_MODELS and the package's own.
        max_pixels: larger images are refused, both ways.
        graphs: on a GPU, decode single images by CUDA graphs: one for each shape that comes twice, at most eight.
        exact: False lets a GPU run the transforms in float16: faster, but its pixels then differ by a grey level here and there from
            those of other machines, and an image may give another file. Files are as decodable as any.
        pixel_checksum: decode each file that was encoded, and put a checksum of its pixels into it: 12 bytes, and the time of a decode.
            Decoders that find one hold their pixels to it, but for exact=False and decode_tensor on a GPU.

    Raises:
        UnknownModel: no such model.
        UsageError: an argument that is none of these.
        DeviceError: no GPU, or nothing here can run on it.
        MissingExtra: a GPU is asked for, and torch is not installed.
    """

    def __init__(
        self,
        model: str = "mbt2018",
        quality: float = 4.0,
        device: str | torch.device = "cpu",
        backend: str = "auto",
        threads: int | None = None,
        models: Sequence[str | os.PathLike[str]] | None = None,
        max_pixels: int = 2**28,
        graphs: bool = False,
        exact: bool = True,
        pixel_checksum: bool = False,
    ) -> None:
        self._model, self._backend = arguments.model_name(model), backend
        self._asked_threads = None if threads is None else arguments.whole("threads", threads, 1, 1024)
        self._graphs, self._exact = arguments.switch("graphs", graphs), arguments.switch("exact", exact)
        self._pixel_checksum = arguments.switch("pixel_checksum", pixel_checksum)
        self._max_pixels = arguments.whole("max_pixels", max_pixels, 1)
        files = () if models is None else arguments.model_files(models)
        self._pipelines = Pipelines(device, backend, self._graphs, self._exact, files)
        self._device = self._pipelines.device
        self._threads = self._asked_threads or min(MOST_THREADS, available_cores())
        self._encoder = self._pipelines.of_file(library.by_name(self._model, self._pipelines.models))
        self.quality = _checked_quality(self._encoder.file, arguments.number("quality", quality))

    def __reduce__(self) -> tuple[type[Codec], tuple[Any, ...]]:
        """The class and __init__'s arguments: weights, locks and threads stay where they are."""
        asked = (self._model, self.quality, self._device, self._backend, self._asked_threads, self._pipelines.models)
        return type(self), (*asked, self._max_pixels, self._graphs, self._exact, self._pixel_checksum)

    @property
    def threads(self) -> int:
        """Threads on the CPU."""
        return self._threads

    @property
    def device(self) -> str:
        """Its name: "cpu" or "cuda:N"."""
        return self._device

    @property
    def backend(self) -> str:
        """Name of the backend that runs for the encoder's model."""
        return self._encoder.backend_name

    @property
    def model_id(self) -> str:
        """The id that streams of this codec carry, in hexadecimal."""
        return self._encoder.file.id.hex()

    @property
    def _encoding(self) -> Encoding:
        return Encoding(self._encoder, self.quality, self._threads, self._pixel_checksum)

    def encode(
        self,
        image: Any,
        effort: int = 0,
        max_bytes: int | None = None,
        target_bpp: float | None = None,
        target_psnr: float | None = None,
        progress: Progress | None = None,
    ) -> bytes:
        """PIL image | uint8 array (H, W, 3), (H, W), (H, W, 4) | uint8 tensor (3, H, W) -> a .jahp file.

        Alpha is kept losslessly; the ICC profile, EXIF and XMP of a PIL image are kept. A LossWarning says what of it is
        not. With a GPU as the codec's device, a tensor that lies there stays there until its symbols are coded.

        Args:
            effort: 0 to 3, of the encoder's search for better symbols; decoders do not know of it. 0: none. 1: integers are chosen by
                rate and distortion. 2 and 3: in 18 and 90 rounds of small changes. The same file on every machine, but for exact=False.
                From 1 on it needs a model of form A that was trained for squared error.
            max_bytes: the whole file is never larger; the codec's quality is then only where the search for one begins.
            target_bpp: bits per pixel that the whole file comes near to, within 2 % where the model's qualities reach it.
            target_psnr: in dB over all samples but alpha, that the picture comes as near to as steps of quality let it, about 0.03; better
                where the lowest quality is. Not with the other two.
            progress: at efforts 2 and 3, is called with the rounds done and their number, anew for each quality that is tried.

        Raises:
            UnsupportedImage: another type, mode or shape, more than max_pixels, or latents beyond 32767.
            UsageError: an argument that is out of range; or the lowest quality takes more than max_bytes, or than target_bpp allows, or the
                highest does not reach target_psnr.
            DeviceError: not enough memory on the device.
        """
        effort = arguments.whole("effort", effort, 0, 3)
        greedy.check(self._encoder.file, effort)
        prepared = Prepared.of(image, self._max_pixels, self._pixel_checksum)
        goal = rate_control.goal_of(max_bytes, target_bpp, prepared.size[0] * prepared.size[1], target_psnr)
        with self._encoder.guard("encoding " + _sizes([prepared.size])):
            if effort == 0 and goal is None:
                return self._encoding.plain(prepared, Clock("cpu"))
            return self._encoding.searched(prepared, effort, goal, progress)

    def encode_timed(self, image: Any) -> tuple[bytes, dict[str, float]]:
        """encode, and seconds by stage: g_a, h_a, entropy; on a GPU with a wait between them."""
        clock, prepared = Clock(self._device), Prepared.of(image, self._max_pixels, self._pixel_checksum)
        with self._encoder.guard("encoding " + _sizes([prepared.size])):
            return self._encoding.plain(prepared, clock), clock.laps

    def encode_batch(self, images: Iterable[Any]) -> list[bytes]:
        """Encodes each, in order; an error says which image, counted from 0.

        On a GPU images of equal shape go through the transforms together; on a CPU several are encoded at a time.
        """
        images = arguments.several(images, "images")
        prepared = each(lambda image: Prepared.of(image, self._max_pixels, self._pixel_checksum), images, labels=range(len(images)))
        if not prepared:
            return []
        with self._encoder.guard("encoding " + _sizes([p.size for p in prepared])):
            return self._encoding.batch(prepared)

    def decode_latents(self, data: Bytes) -> Latents:
        """The exact part of decoding: everything from the file's bytes to ŷ.

        Raises:
            FormatError: the file is damaged.
            UnknownModel: its model is not found.
        """
        stream = _container.unpack(data, self._max_pixels)
        loaded = self._pipelines.of_id(stream.model)
        config = loaded.file.config
        with loaded.guard("decoding " + _sizes([stream.size])):
            z, y, _ = loaded.decode_integers(stream, self._threads)
        first = [np.ascontiguousarray(a.transpose(2, 0, 1)) for a in (y, z)]
        return Latents(first[0], config.frac_bits, first[1] if config.hyper_latents else None)

    def decode(self, data: Bytes) -> NDArray[np.uint8]:
        """A .jahp file -> (H, W, 3) uint8; (H, W) for grey, (H, W, 4) with alpha.

        Raises:
            FormatError: the file is damaged.
            UsageError: what is given is no bytes, but a path or a file.
            UnknownModel: its model is not found.
            DeviceError: not enough memory on the device.
        """
        return self._decode_batch([_container.unpack(data, self._max_pixels)])[0]

    def decode_rows(self, data: Bytes) -> Iterator[NDArray[np.uint8]]:
        """decode by rows, for images that are large or wanted as they come: blocks of rows from top to bottom.

        Each block is (k, W, 3), (k, W) for grey or (k, W, 4) with alpha; k is the codec's choice, all k together are the height. On a CPU
        memory grows with the width, but for the latents, which are held whole; on a GPU the image is decoded whole.

        What the file's bytes say of themselves is checked at once. Whether the symbols that came of them are right is known at the end:
        the error is then raised in place of a last block, and the blocks before it are to be thrown away. The same holds of alpha.

        Raises what decode raises.
        """
        stream = _container.unpack(data, self._max_pixels)
        return self._rows(self._pipelines.of_id(stream.model), stream)

    def _rows(self, loaded: Pipeline, stream: _container.Stream) -> Iterator[NDArray[np.uint8]]:
        packed = stream.chunks.get(b"ALPH")
        alpha = None if packed is None else _image.AlphaReader(packed, stream.height, stream.width)
        proof = PixelProof(stream, self._exact)
        for rgb in loaded.decode_rows(stream, self._threads):
            proof.take(rgb)
            yield _image.join(rgb, stream.mode, None if alpha is None else alpha.rows(len(rgb)))

    def decode_batch(self, streams: Iterable[Bytes]) -> list[NDArray[np.uint8]]:
        """Decodes each, in order; an error says which stream, counted from 0.

        On a GPU the latents of all streams are decoded by as few launches as there can be, and images of equal shape go through g_s
        together; on a CPU several are decoded at a time.
        """
        data = arguments.several(streams, "files' bytes")
        labels = range(len(data))
        return self._decode_batch(each(lambda d: _container.unpack(d, self._max_pixels), data, labels=labels), labels)

    def _decode_batch(self, streams: Sequence[_container.Stream], labels: Sequence[int] | None = None) -> list[NDArray[np.uint8]]:
        """`labels`: the streams' numbers in errors; None for a single one that has none."""
        pipelines = each(lambda s: self._pipelines.of_id(s.model), streams, labels=labels)
        out: dict[int, NDArray[np.uint8]] = {}
        for loaded in dict.fromkeys(pipelines):
            mine = [i for i, pipeline in enumerate(pipelines) if pipeline is loaded]
            group = [streams[i] for i in mine]

            def finish(k: int, rgb: NDArray[np.uint8], group: list[_container.Stream] = group) -> NDArray[np.uint8]:
                return self._joined(group[k], rgb)

            said = None if labels is None else [labels[i] for i in mine]
            with loaded.guard("decoding " + _sizes([s.size for s in group])):
                loaded.warm()
                out.update(zip(mine, loaded.decode_batch(group, self._threads, finish, said), strict=True))
        return [out[i] for i in range(len(streams))]

    def _joined(self, stream: _container.Stream, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The array that decode returns for (H, W, 3) pixels."""
        PixelProof(stream, self._exact).take(rgb)
        alpha = _image.unpack_alpha(stream.chunks[b"ALPH"], stream.height, stream.width) if b"ALPH" in stream.chunks else None
        return _image.join(rgb, stream.mode, alpha)

    def decode_timed(self, data: Bytes) -> tuple[NDArray[np.uint8], dict[str, float]]:
        """decode, and seconds by stage: latents (z, h_s, context model and range decoding) and g_s; and the parts of `latents`.

        On a GPU the stages follow each other on the clock, with a wait between them, and without graphs.
        """
        stream = _container.unpack(data, self._max_pixels)
        loaded, clock = self._pipelines.of_id(stream.model), Clock(self._device)
        with loaded.guard("decoding " + _sizes([stream.size])):
            loaded.warm()
            clock.lap("load")
            rgb, times = loaded.decode_timed(stream, self._threads, clock)
        return self._joined(stream, rgb), clock.laps | {f"latents.{name}": seconds for name, seconds in times.items()}

    def decode_pil(self, data: Bytes) -> Image.Image:
        """decode to a PIL image of mode RGB, L, LA or RGBA, with icc_profile, exif and xmp in its `info`."""
        from PIL import Image

        from jahp_fast.files.metadata import Given

        stream, pixels = _container.unpack(data), self.decode(data)
        grey_alpha = stream.mode == "L" and pixels.ndim == 3
        image = Image.fromarray(np.ascontiguousarray(pixels[:, :, [0, 3]]) if grey_alpha else pixels)
        chunks = stream.chunks
        for kind, name in _container.METADATA_CHUNKS.items():
            if kind in chunks:
                image.info[name] = Given(chunks[kind], image)
        return image

    def decode_tensor(self, data: Bytes) -> torch.Tensor:
        """decode to a uint8 tensor (3, H, W), (1, H, W) for grey, (4, H, W) with alpha, on the codec's device.

        On a GPU everything is queued on its current stream, and one wait at the end reads whether the stream was sound.
        """
        stream = _container.unpack(data, self._max_pixels)
        require_torch("decode_tensor")
        import torch

        loaded = self._pipelines.of_id(stream.model)
        with loaded.guard("decoding " + _sizes([stream.size])):
            rgb = loaded.decode_tensor(stream, self._threads)
        if self._device == "cpu" and _container.PIXEL_CHECKSUM in stream.chunks:
            PixelProof(stream, self._exact).take(rgb.permute(1, 2, 0).numpy())
        if stream.mode == "L":
            rgb = ((rgb.sum(0, keepdim=True, dtype=torch.int32) + 1) // 3).to(torch.uint8)
        if b"ALPH" not in stream.chunks:
            return rgb
        alpha = torch.from_numpy(_image.unpack_alpha(stream.chunks[b"ALPH"], stream.height, stream.width))
        return torch.cat([rgb.expand(3, -1, -1), alpha[None].to(rgb.device)])


def _sizes(sizes: Sequence[tuple[int, int]]) -> str:
    width, height = max(sizes, key=lambda s: s[0] * s[1])
    many = f"{len(sizes)} images of up to " if len(sizes) > 1 else "an image of "
    return f"{many}{width} x {height} pixels"


def _checked_quality(file: ModelFile, quality: float) -> float:
    rounded = _container.quality_code(quality) / QUALITY_STEPS if 1 <= quality <= 8 else quality
    low, high = file.config.qualities[0], file.config.qualities[-1]
    if not low <= rounded <= high:
        has = f"{low:g} to {high:g}" if high > low else f"only {low:g}"
        raise UsageError(f"quality {quality:g} is not one that {file.path.stem} has: {has}")
    return rounded


def encode(image: Any, quality: float = 4.0) -> bytes:
    """Encodes with the shipped mbt2018; see Codec.encode."""
    return Codec(quality=quality).encode(image)


def decode(data: Bytes) -> NDArray[np.uint8]:
    """Decodes with shipped models; see Codec.decode."""
    return Codec().decode(data)
