# SPDX-License-Identifier: Apache-2.0
"""What gpu_check.py times: loads, and the rows of one load and backend, each checked against the CPU before it is timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peers_calibrate import calibrate
from peers_env import DEFAULT_ENV, env_python, is_made
from peers_ours import export
from PIL import Image

from jahp_fast import Codec, backends
from jahp_fast.backends.device import check
from jahp_fast.errors import JahpError
from jahp_fast.evaluate.bench import resized
from jahp_fast.files import container
from jahp_fast.models.registry import build

HERE = Path(__file__).resolve().parent
PHOTO = HERE.parents[1] / "examples" / "photo.png"
SHIPPED = HERE.parents[1] / "jahp_fast" / "weights" / "mbt2018.safetensors"
BACKENDS = ("cuda", "triton", "native")
BATCH = 64
SIZES = ((768, 512), (1920, 1080))
WARM_UP = 3


class Absent(JahpError):
    """A row's other half is not on this machine."""


class WrongAnswer(JahpError):
    """A row computed something else than the CPU."""


@dataclass(frozen=True)
class Row:
    """Medians over the rounds, a batch's divided by its size. wall_ms: until the answer is there; device_ms: between two CUDA events
    around the same calls, None without a GPU's part in it."""

    what: str
    model: str
    backend: str
    width: int
    height: int
    batch: int
    wall_ms: float
    device_ms: float | None
    least_ms: float
    rounds: int
    payload_bytes: int


@dataclass(frozen=True)
class Skip:
    """A row that is not there. failed: because something was wrong."""

    name: str
    reason: str
    failed: bool = False


@dataclass(frozen=True)
class Workload:
    """A stream, and what the CPU decodes it to. trained: whether its g_s gives pictures; random weights amplify the rounding to float16."""

    model: str
    trained: bool
    path: Path
    width: int
    height: int
    data: bytes
    y: NDArray[np.int32]
    pixels: NDArray[np.uint8]

    @property
    def payload(self) -> container.Stream:
        return container.unpack(self.data)


def workload(name: str, path: Path, image: NDArray[np.uint8], trained: bool = True, for_gpu: bool = False) -> Workload:
    """The stream of an image (H, W, 3) at quality 4 by a model, as the CPU codes it."""
    codec = Codec(path.stem, 4.0, models=[path], for_gpu=for_gpu)
    data = codec.encode(image)
    return Workload(name, trained, path, image.shape[1], image.shape[0], data, codec.decode_latents(data).y, codec.decode(data))


def workloads(
    folder: Path, say: Callable[[str], None], sizes: Sequence[tuple[int, int]] = SIZES, widths: int = 192, bpp: float = 0.46
) -> list[Workload]:
    """The paper's widths (random weights, calibrated as for peers.py) and the shipped model, at every size."""
    say(f"a network of {widths}/{widths} with random weights ...")
    photo = np.array(Image.open(PHOTO).convert("RGB"))
    first = resized(photo, f"{sizes[0][0]}x{sizes[0][1]}")
    model = build("mbt2018", widths, widths, rows=1).eval()
    with torch.no_grad():
        model.gain.zero_()
        model.inv_gain.zero_()
    try:
        calibrate(model, torch.from_numpy(first.copy()).permute(2, 0, 1)[None].float() / 255, bpp)
    except RuntimeError as e:
        raise JahpError(f"no load could be made: {e}") from None
    path = export(model.state_dict(), folder / "random.safetensors", first)
    named = ((f"{widths}/{widths} random", path), ("shipped 64/192", SHIPPED))
    return [workload(name, file, resized(photo, f"{w}x{h}"), file == SHIPPED) for name, file in named for w, h in sizes]


def timed(call: Callable[[], Any], rounds: int, device: str) -> tuple[float, float | None, float]:
    """Median wall ms, median ms between CUDA events (None on a CPU), and least wall ms, after warming up."""
    wall, between = [], []
    for k in range(rounds + WARM_UP):
        if device != "cpu":
            torch.cuda.synchronize(device)
            events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            events[0].record()
        start = time.perf_counter()
        call()
        if device != "cpu":
            events[1].record()
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
        if k >= WARM_UP:
            wall.append(1e3 * seconds)
            if device != "cpu":
                between.append(events[0].elapsed_time(events[1]))
    return statistics.median(wall), statistics.median(between) if between else None, min(wall)


def rows_of(load: Workload, backend: str, device: str, rounds: int) -> list[tuple[str, Callable[[], Row]]]:
    """(name, job) of each row of a load and a backend. A job raises Absent where the backend cannot run, and WrongAnswer."""
    on_device = backend in backends.ON_DEVICE

    def codec(**options: Any) -> Codec:
        try:
            backends.resolve(backend, device)
        except JahpError as e:
            raise Absent(str(e)) from None
        return Codec(load.path.stem, 4.0, device=device, backend=backend, models=[load.path], **options)

    def row(what: str, batch: int, timing: tuple[float, float | None, float]) -> Row:
        median, between, least = timing
        between = between / batch if between is not None and on_device else None
        return Row(what, load.model, backend, load.width, load.height, batch, median / batch, between, least / batch, rounds,
                   len(load.payload.payload))  # fmt: skip

    def latents(batch: int) -> Row:
        pipeline = codec()._encoder
        stream = load.payload
        if not on_device:
            check_latents(load, pipeline.decode_integers(stream, 16)[1])
            return row("latents", 1, timed(lambda: pipeline.decode_integers(stream, 16), rounds, device))
        layouts, computing = [pipeline.layout(stream)] * batch, pipeline.backend
        with pipeline.guard("decoding"):
            payloads = pipeline._payloads([stream] * batch)
            for result in computing.start_batch(payloads, layouts):  # type: ignore[attr-defined]
                check(result)
                check_latents(load, result.y.cpu().numpy())
            return row("latents", batch, timed(lambda: computing.start_batch(payloads, layouts), rounds, device))  # type: ignore[attr-defined]

    def encode_latents() -> Row:
        pipeline, stream = codec()._encoder, load.payload
        layout, computing = pipeline.layout(stream), pipeline.backend
        z, y, _ = pipeline.decode_integers(stream, 16)
        with pipeline.guard("decoding"):
            if computing.encode(z, y, layout, 16)[0] != stream.payload:
                raise WrongAnswer("the encoded latents are not the CPU's bytes")
            return row("encode latents", 1, timed(lambda: computing.encode(z, y, layout, 16), rounds, device))

    def decode(graphs: bool) -> Row:
        decoder = codec(graphs=True) if graphs else codec()
        for _ in range(3 if graphs else 1):
            check_pixels(load, decoder.decode_tensor(load.data).permute(1, 2, 0).cpu().numpy())
        return row("decode by a graph" if graphs else "decode", 1, timed(lambda: decoder.decode_tensor(load.data), rounds, device))

    def decode_batch() -> Row:
        decoder, streams = codec(), [load.data] * BATCH
        for pixels in decoder.decode_batch(streams):
            check_pixels(load, pixels)
        return row("decode to arrays", BATCH, timed(lambda: decoder.decode_batch(streams), max(1, rounds // 5), device))

    jobs: list[tuple[str, Callable[[], Row]]] = [("latents", lambda: latents(1)), ("decode", lambda: decode(False))]
    if on_device:
        jobs.append(("encode latents", encode_latents))
        if device != "cpu":
            jobs.append(("decode by a graph", lambda: decode(True)))
        if (load.width, load.height) == SIZES[0]:
            jobs += [(f"latents, batch of {BATCH}", lambda: latents(BATCH)), (f"decode, batch of {BATCH}", decode_batch)]
    return [(f"{backend}, {what} of {load.width}x{load.height}, {load.model}", job) for what, job in jobs]


def check_latents(load: Workload, y: NDArray[np.int32]) -> None:
    """Raises WrongAnswer unless y (h, w, M) is the CPU's."""
    if not np.array_equal(y.transpose(2, 0, 1), load.y):
        raise WrongAnswer("the latents are not the CPU's")


def check_pixels(load: Workload, pixels: NDArray[np.uint8]) -> None:
    """Raises WrongAnswer unless (H, W, 3) is within 1 of the CPU's, or within 1/2 in the mean for random weights."""
    off = np.abs(pixels.astype(np.int16) - load.pixels)
    if off.mean() > 0.5 or (load.trained and off.max() > 1):
        raise WrongAnswer(f"pixels are up to {off.max()} off the CPU's, {off.mean():.2f} in the mean")


def peer_row(device: str, folder: Path, rounds: int = 3) -> Row:
    """CompressAI's own decoder with its networks on the GPU, in the peers' environment. Raises Absent where that was not made."""
    from peers import LOADS, Worker

    if not is_made(DEFAULT_ENV):
        raise Absent("the peers' environment is not there; `make peers` makes it, with the torch that TORCH names")
    load = LOADS[0]
    with Worker(env_python(DEFAULT_ENV), 1) as worker:
        prepared = worker.ask("prepare", n=load.n, m=load.m, bpp=load.bpp, seed=1, photo=str(PHOTO), folder=str(folder))
        seconds = [worker.ask("decode_latents", threads=1, device=device)["wall_s"] for _ in range(rounds + 1)][1:]
    return Row("latents", f"{load.n}/{load.m} random", "CompressAI", prepared["width"], prepared["height"], 1,
               1e3 * statistics.median(seconds), None, 1e3 * min(seconds), rounds, prepared["payload_bytes"])  # fmt: skip
