# SPDX-License-Identifier: Apache-2.0
"""The codec: images to .jahp streams and back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from jahp_fast import arguments, library
from jahp_fast.constants import LAYER_BASE, MOST_QUALITY, QUALITY_STEPS
from jahp_fast.decoder import Decoder
from jahp_fast.decoding import sizes_said
from jahp_fast.entropy.layout import LANE_COUNTS
from jahp_fast.errors import UsageError
from jahp_fast.files import container as _container
from jahp_fast.files.view import Region
from jahp_fast.pipelines.shared import Pipelines
from jahp_fast.records import Bytes
from jahp_fast.system.devices import Clock
from jahp_fast.system.parallel import MOST_THREADS, available_cores, each

if TYPE_CHECKING:
    import torch
    from numpy.typing import DTypeLike

    from jahp_fast.encoding import Encoding
    from jahp_fast.entropy.model_file import ModelFile
    from jahp_fast.prepared import Prepared
    from jahp_fast.search.descent import Progress


class Codec(Decoder):
    """Encodes with one model at one quality; decodes whatever model and quality a stream names. Safe to share between threads.

    Numbers may be scalars of NumPy's or torch's. A codec can be copied and pickled: the other one is made anew of the same arguments,
    "auto" and threads that were not named being chosen where it is made, and reads the model's file there.

    Args:
        model: a model's name, or the stem of a file among `models` or in the folders of JAHP_FAST_MODELS.
        quality: 1 to 8, the paper's trade-offs λ = 0.0018 ... 0.18, and above 8, to 12, a layer over the pixels of a lower one; rounded to
            steps of 0.05. A model with a single trade-off takes only its own.
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
            those of other machines, and an image may give another file. Files are as decodable as any. Under a layer the transforms
            are exact in any case.
        pixel_checksum: decode each file that was encoded, and put a checksum of its pixels into it: 12 bytes, and the time of a decode.
            Decoders that find one hold their pixels to it, but for exact=False and decode_tensor on a GPU.
        for_gpu: encode for decoders on a GPU: 64 lanes, which take 256 bytes. Such files decode everywhere.
        drawings: keep text, screens, charts and line art by themselves, as max_error does, where that costs less: by the model's own
            loss of bits and squared errors, and with a goal, of the files that reach it. Such files need no model. Beside photos they
            are laid over what the networks make of these. False: never.

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
        for_gpu: bool = False,
        drawings: bool = True,
    ) -> None:
        self._model, self._backend = arguments.model_name(model), backend
        self._asked_threads = None if threads is None else arguments.whole("threads", threads, 1, 1024)
        self._graphs, exact = arguments.switch("graphs", graphs), arguments.switch("exact", exact)
        self._pixel_checksum = arguments.switch("pixel_checksum", pixel_checksum)
        self._for_gpu, self._drawings = arguments.switch("for_gpu", for_gpu), arguments.switch("drawings", drawings)
        max_pixels = arguments.whole("max_pixels", max_pixels, 1)
        files = () if models is None else arguments.model_files(models)
        pipelines = Pipelines(device, backend, self._graphs, exact, files)
        super().__init__(pipelines, self._asked_threads or min(MOST_THREADS, available_cores()), exact, max_pixels)
        self._device = pipelines.device
        file = library.by_name(self._model, self._pipelines.models)
        self.quality = _checked_quality(file, arguments.number("quality", quality))
        self._encoder = self._pipelines.of_file(file, exact=self._layered)

    def __reduce__(self) -> tuple[type[Codec], tuple[Any, ...]]:
        """The class and __init__'s arguments: weights, locks and threads stay where they are."""
        asked = (self._model, self.quality, self._device, self._backend, self._asked_threads, self._pipelines.models)
        return type(self), (*asked, self._max_pixels, self._graphs, self._exact, self._pixel_checksum, self._for_gpu, self._drawings)

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
    def _layered(self) -> bool:
        return self.quality > 8

    def _encoding(self, deep: bool = False) -> Encoding:
        from jahp_fast.encoding import Encoding  # a quarter of what decoding would load, and does not need

        quality, layered = (LAYER_BASE, self.quality) if self._layered else (self.quality, None)
        pipeline = self._pipelines.on_host(self._encoder.file) if deep else self._encoder
        lanes = LANE_COUNTS[-1] if self._for_gpu else 0
        return Encoding(pipeline, quality, self._threads, self._pixel_checksum, layered, lanes, self._drawings)

    def _prepared(self, image: Any, bound: int | None, depth: int | None) -> Prepared:
        from jahp_fast.prepared import Prepared

        prepared = Prepared.of(image, self._max_pixels, self._pixel_checksum, depth)
        most = arguments.most_error(prepared.depth)
        if bound is not None and bound > most:
            raise UsageError(f"max_error must be 0 to {most} with samples of {prepared.depth} bits, not {bound}")
        return prepared

    def encode(
        self,
        image: Any,
        effort: int = 0,
        max_bytes: int | None = None,
        target_bpp: float | None = None,
        target_psnr: float | None = None,
        target_ssimulacra2: float | None = None,
        lossless: bool = False,
        max_error: int | None = None,
        progress: Progress | None = None,
        depth: int | None = None,
        tune: str | None = None,
    ) -> bytes:
        """PIL image | uint8 or uint16 array (H, W, 3), (H, W), (H, W, 4) | uint8 tensor (3, H, W) -> a .jahp file.

        Alpha is kept losslessly; the ICC profile, EXIF and XMP of a PIL image are kept. A LossWarning says what of it is
        not. With a GPU as the codec's device, a tensor that lies there stays there until its symbols are coded.

        Args:
            effort: 0 to 3, of the encoder's search for better symbols; decoders do not know of it. 0: none. 1: integers are chosen by
                rate and distortion. 2 and 3: in 18 and 90 rounds of small changes. The same file on every machine, but for exact=False.
                From 1 on it needs a model of form A that was trained for squared error.
            max_bytes: the whole file is never larger; the codec's quality is then only where the search for one begins.
            target_bpp: bits per pixel that the whole file comes near to, within 2 % where the model's qualities 1 to 8 reach it.
            target_psnr: in dB over all samples but alpha, that the picture comes as near to as steps of quality let it, about 0.03; better
                where the lowest quality is. Not with the other two.
            target_ssimulacra2: likewise of SSIMULACRA 2, 0 to 100, to about half a point. It needs the extra `eval`, and a second for each
                megapixel and quality that is tried.
            lossless: keep every pixel. Quality and model are of no account then.
            max_error: no sample differs by more, 0 to 31, or 255 of uint16 (63 and 127 at depths of 9 and 10), in units of its depth. 0 is
                lossless.
            depth: of an array of uint16, bits of a sample, 9 to 16 (default): 10 means samples of 0 to 1023. A file of such pixels is
                decoded to uint16 again, where 65535 is white: `>> 6` makes samples of 10 bits of it, the very same of a lossless file.
            tune: "eye": efforts 2 and 3 weigh errors as an eye does, less in texture, and coarse ones more. Better by SSIMULACRA 2
                and MS-SSIM at equal size, worse by PSNR.
            progress: at efforts 2 and 3, is called with the rounds done and their number, anew for each quality that is tried.

        A drawing that is kept by itself (see Codec) may be smaller than a target asks, or better; effort is of no account then. effort,
        sizes and targets are for qualities up to 8. Pixels of uint16 are encoded on the CPU.

        Raises:
            UnsupportedImage: another type, mode or shape, more than max_pixels, or latents beyond 32767.
            UsageError: an argument that is out of range; or the lowest quality takes more than max_bytes, or than target_bpp allows, or the
                highest does not reach the target.
            MissingExtra: target_ssimulacra2 without what computes it.
            DeviceError: not enough memory on the device.
        """
        from jahp_fast.search import greedy, rate_control

        effort = arguments.whole("effort", effort, 0, 3)
        greedy.check(self._encoder.file, effort, tune)
        bound = arguments.bound_of(lossless, max_error)
        goals = max_bytes, target_bpp, target_psnr, target_ssimulacra2
        if (bound is not None or self._layered) and (effort or any(x is not None for x in goals)):
            names = "effort, max_bytes, target_bpp and target_psnr" if target_ssimulacra2 is None else "effort, max_bytes and targets"
            wanted = "a bound on errors" if bound is not None else f"quality {self.quality:g}"
            raise UsageError(f"{names} are for qualities up to 8: leave them out with {wanted}")
        prepared = self._prepared(image, bound, depth)
        if bound is not None:
            return prepared.exact(bound, self._threads)
        goal = rate_control.goal_of(max_bytes, target_bpp, prepared.size[0] * prepared.size[1], target_psnr, target_ssimulacra2)
        with self._encoder.guard("encoding " + sizes_said([prepared.size])):
            if effort == 0 and goal is None:
                return self._encoding(prepared.rows.deep).plain(prepared, Clock("cpu"))
            return self._encoding(prepared.rows.deep).searched(prepared, effort, goal, progress, tune)

    def encode_timed(self, image: Any) -> tuple[bytes, dict[str, float]]:
        """encode, and seconds by stage: g_a, h_a, entropy, and layer above quality 8; entropy alone of one colour. On a GPU with a wait
        between them."""
        clock, prepared = Clock(self._device), self._prepared(image, None, None)
        with self._encoder.guard("encoding " + sizes_said([prepared.size])):
            return self._encoding(prepared.rows.deep).plain(prepared, clock), clock.laps

    def encode_batch(self, images: Iterable[Any], lossless: bool = False, max_error: int | None = None) -> list[bytes]:
        """Encodes each, in order; an error says which image, counted from 0. lossless and max_error: as encode's.

        On a GPU images of equal shape go through the transforms together; on a CPU several are encoded at a time.
        """
        bound = arguments.bound_of(lossless, max_error)
        images = arguments.several(images, "images")
        prepared = each(lambda image: self._prepared(image, bound, None), images, labels=range(len(images)))
        if not prepared:
            return []
        if bound is not None:
            return each(lambda p: p.exact(bound, self._threads), prepared, labels=range(len(prepared)))
        with self._encoder.guard("encoding " + sizes_said([p.size for p in prepared])):
            return self._encoding(any(p.rows.deep for p in prepared)).batch(prepared)


def _checked_quality(file: ModelFile, quality: float) -> float:
    rounded = _container.quality_code(quality) / QUALITY_STEPS if 1 <= quality <= MOST_QUALITY else quality
    low, high = file.config.qualities[0], file.config.qualities[-1]
    high = MOST_QUALITY if low <= LAYER_BASE and high == 8 else high
    if not low <= rounded <= high:
        has = f"{low:g} to {high:g}" if high > low else f"only {low:g}"
        raise UsageError(f"quality {quality:g} is not one that {file.path.stem} has: {has}")
    return rounded


def encode(image: Any, quality: float = 4.0) -> bytes:
    """Encodes with the shipped mbt2018; see Codec.encode."""
    return Codec(quality=quality).encode(image)


def decode(data: Bytes, region: Region | None = None, scale: int = 1, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Decodes with shipped models; see Codec.decode."""
    return Codec().decode(data, region, scale, dtype)
