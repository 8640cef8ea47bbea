# SPDX-License-Identifier: Apache-2.0
"""CompressAI 1.2.8 as a worker process in the peers' environment: one JSON object a line in, one a line out.

{"op": "hello"}                                   -> versions of what answers
{"op": "prepare", "n": 192, "m": 192, "bpp": 0.46, "seed": 1, "photo": PNG, "folder": DIR}
    -> builds and calibrates the model, writes DIR/state.safetensors (float weights, CompressAI's keys) and DIR/latents.npy
       (round(y), int16 (M, h, w)), compresses the photo and checks CompressAI's own round trip; payload bytes and figures
{"op": "decode_latents", "threads": 2}            -> wall_s, cpu_s, parts; from the two strings to ŷ, everything but g_s
    "device": "cuda" runs its networks there; whether ŷ is the encoder's, in other floats, is told as "equal"
{"op": "whole", "what": "encode", "threads": 2}   -> wall_s, cpu_s of `compress` of the photo; "decode": of `decompress` of its strings
{"op": "quit"}

Every answer has "ok"; a refusal has "error" with what was wrong. Standard output carries answers alone: whatever the libraries
print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import numpy
import torch
import torch.nn.functional as F
from compressai.models import JointAutoregressiveHierarchicalPriors
from peers_calibrate import calibrate
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

PADDING = 2  # of the 5x5 context model


class RequestError(Exception):
    """A request that cannot be carried out, or a check that failed."""


class ObservedModel(JointAutoregressiveHierarchicalPriors):  # type: ignore[misc]
    """CompressAI's model, unchanged but for keeping the ŷ that its two coding loops leave in their padded work array."""

    y_hat: Tensor

    def _compress_ar(self, y_hat: Tensor, *rest: Any) -> Any:
        string = super()._compress_ar(y_hat, *rest)
        self.y_hat = F.pad(y_hat, (-PADDING,) * 4).clone()
        return string

    def _decompress_ar(self, y_string: bytes, y_hat: Tensor, *rest: Any) -> Any:
        super()._decompress_ar(y_string, y_hat, *rest)
        self.y_hat = F.pad(y_hat, (-PADDING,) * 4).clone()


def read_photo(path: str) -> Tensor:
    """float (1, 3, H, W) in [0, 1]. CompressAI codes multiples of 64 only, so another size is refused, not padded."""
    with Image.open(path) as image:
        array = numpy.array(image.convert("RGB"))
    if array.shape[0] % 64 or array.shape[1] % 64:
        raise RequestError(f"{path} is {array.shape[1]}x{array.shape[0]}; both sides must be multiples of 64")
    return torch.from_numpy(array).permute(2, 0, 1)[None].float() / 255


class Worker:
    """The state between requests: one calibrated model and one compressed photo at a time."""

    def __init__(self) -> None:
        self.model: ObservedModel | None = None
        self.strings: list[list[bytes]] = []
        self.shape: Any = None
        self.x = torch.empty(0)
        self.y_hat = torch.empty(0)

    def hello(self) -> dict[str, Any]:
        return {"compressai": version("compressai"), "torch": torch.__version__}

    def prepare(self, *, n: int, m: int, bpp: float, seed: int, photo: str, folder: str) -> dict[str, Any]:
        x = read_photo(photo)
        torch.set_num_threads(os.cpu_count() or 1)
        model = ObservedModel(n, m).eval()
        start = time.perf_counter()
        reached = calibrate(model, x, bpp, seed)
        calibrate_s = time.perf_counter() - start
        # Tables and other derived buffers stay out: each codec makes its own from the same weights.
        state = {name: tensor.detach().clone().contiguous() for name, tensor in model.named_parameters()}
        state["context_prediction.mask"] = model.context_prediction.mask.clone()
        save_file(state, str(Path(folder) / "state.safetensors"))
        model.update(force=True)
        with torch.inference_mode():
            latents = torch.round(model.g_a(x))[0].to(torch.int16).numpy()
            numpy.save(Path(folder) / "latents.npy", latents)
            # Its loop over positions is fastest on one thread; so is this untimed part.
            torch.set_num_threads(1)
            start = time.perf_counter()
            coded = model.compress(x)
            compress_s = time.perf_counter() - start
            encoded = model.y_hat
            self.model, self.strings, self.shape, self.x = model, coded["strings"], coded["shape"], x
            model.decompress(self.strings, self.shape)
        worst = float((model.y_hat - encoded).abs().max())
        if not torch.equal(model.y_hat, encoded):
            raise RequestError(f"CompressAI's decompress gives another ŷ than its compress had: they differ by up to {worst}")
        self.y_hat = encoded
        y_string, z_string = self.strings[0][0], self.strings[1][0]
        return {
            "payload_bytes": len(y_string) + len(z_string),
            "y_bytes": len(y_string),
            "z_bytes": len(z_string),
            "width": x.shape[3],
            "height": x.shape[2],
            "symbols": encoded.numel(),
            "y_peak": reached.y_peak,
            "estimated_bpp": reached.bpp,
            "nonzero": reached.nonzero,
            "decay": reached.decay,
            "calibrate_s": calibrate_s,
            "compress_s": compress_s,
        }

    def decode_latents(self, threads: int, device: str = "cpu") -> dict[str, Any]:
        """What `decompress` does before g_s, in its words; the strings are at hand as bytes, as they are there."""
        model = self.model
        if model is None:
            raise RequestError("asked before prepare")
        if device != "cpu" and not torch.cuda.is_available():
            raise RequestError("the torch of the peers' environment sees no GPU")
        torch.set_num_threads(threads)
        model.to(device)
        with torch.inference_mode():
            cpu, start = time.process_time(), time.perf_counter()
            z_hat = model.entropy_bottleneck.decompress(self.strings[1], self.shape)
            z_done = time.perf_counter()
            params = model.h_s(z_hat)
            h_s_done = time.perf_counter()
            height, width = z_hat.size(2) * 4, z_hat.size(3) * 4
            y_hat = torch.zeros((1, model.M, height + 2 * PADDING, width + 2 * PADDING), device=z_hat.device)
            # The parent's loop itself, so that the observer's copy is not timed.
            JointAutoregressiveHierarchicalPriors._decompress_ar(
                model, self.strings[0][0], y_hat, params, height, width, 2 * PADDING + 1, PADDING
            )
            y_hat = F.pad(y_hat, (-PADDING,) * 4).cpu()  # waits for the device
            end, cpu_end = time.perf_counter(), time.process_time()
        equal = torch.equal(y_hat, self.y_hat)
        if not equal and device == "cpu":
            raise RequestError(f"CompressAI decoded with {threads} threads another ŷ than it had encoded with 1")
        return {
            "wall_s": end - start,
            "cpu_s": cpu_end - cpu,
            "z_s": z_done - start,
            "h_s_s": h_s_done - z_done,
            "context_s": end - h_s_done,
            "equal": equal,
        }

    def whole(self, what: str, threads: int) -> dict[str, Any]:
        """Pixels to strings, or strings to pixels, by CompressAI's own methods."""
        model = self.model
        if model is None:
            raise RequestError("asked before prepare")
        torch.set_num_threads(threads)
        with torch.inference_mode():
            cpu, start = time.process_time(), time.perf_counter()
            if what == "encode":
                model.compress(self.x)
            else:
                model.decompress(self.strings, self.shape)
            return {"wall_s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests until "quit" or the end of input."""
    worker = Worker()
    operations: dict[str, Callable[..., dict[str, Any]]] = {
        "hello": worker.hello,
        "prepare": worker.prepare,
        "decode_latents": worker.decode_latents,
        "whole": worker.whole,
    }
    for line in requests:
        request = json.loads(line)
        op = request.pop("op")
        if op == "quit":
            return
        try:
            if op not in operations:
                raise RequestError(f"unknown op {op!r}")
            answer = {"ok": True, **operations[op](**request)}
        except (RequestError, RuntimeError, OSError, ValueError, TypeError) as error:
            answer = {"ok": False, "error": f"{op}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
