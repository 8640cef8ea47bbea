# SPDX-License-Identifier: Apache-2.0
"""g_a and g_s by other engines, and pixels by other codecs, as a worker process in the peers' environment. Lines as in peers_worker.py.

{"op": "prepare", "folder": DIR, "threads": 2, "engines": [...]}
    -> builds both nets out of DIR/state.safetensors; inputs are DIR/photo.npy (H, W, 3) uint8 and round(y) in DIR/latents.npy
{"op": "run", "engine": "torch", "net": "g_s", "calls": 3, "output": FILE} -> wall: seconds of each call, after one that does not count;
    the result, channels last, into FILE if it is named
{"op": "pillow", "photo": PNG, "format": "AVIF", "bytes": 20000, "calls": 3} -> quality, bytes, encode_s and decode_s of the highest
    quality whose file is not larger, by Pillow's defaults
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

Run = Callable[[], Any]
PEDESTAL = 2.0**-36


class Gdn(nn.Module):
    """With its parameters worked out beforehand, which spares torch what CompressAI's own module does at each call."""

    def __init__(self, beta: Tensor, gamma: Tensor, inverse: bool) -> None:
        super().__init__()
        self.beta = nn.Parameter(beta.clamp_min((1e-6 + PEDESTAL) ** 0.5) ** 2 - PEDESTAL)
        self.gamma = nn.Parameter((gamma.clamp_min(PEDESTAL**0.5) ** 2 - PEDESTAL)[:, :, None, None])
        self.inverse = inverse

    def forward(self, x: Tensor) -> Tensor:
        norm = F.conv2d(x * x, self.gamma, self.beta)
        return x * (norm.sqrt_() if self.inverse else norm.rsqrt_())


def build(state: dict[str, Tensor], net: str) -> nn.Sequential:
    """g_a or g_s out of CompressAI's keys."""
    layers: list[nn.Module] = []
    for i in range(0, 7, 2):
        weight, bias = state[f"{net}.{i}.weight"], state[f"{net}.{i}.bias"]
        if net == "g_a":
            layer: nn.Module = nn.Conv2d(weight.shape[1], weight.shape[0], 5, 2, 2)
        else:
            layer = nn.ConvTranspose2d(weight.shape[0], weight.shape[1], 5, 2, 2, 1)
        layer.load_state_dict({"weight": weight, "bias": bias})
        layers.append(layer)
        if i < 6:
            layers.append(Gdn(state[f"{net}.{i + 1}.beta"], state[f"{net}.{i + 1}.gamma"], net == "g_s"))
    return nn.Sequential(*layers).eval()


def to_onnx(net: nn.Sequential, shape: tuple[int, ...]) -> bytes:
    """The net as an ONNX graph of opset 17; GDN as a 1x1 convolution over squares."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, tensors, name = [], [], "x"
    for i, layer in enumerate(net):
        out = f"v{i}"
        gdn = isinstance(layer, Gdn)
        weight, bias = (layer.gamma, layer.beta) if gdn else (layer.weight, layer.bias)
        tensors += [numpy_helper.from_array(t.detach().contiguous().numpy(), f"{n}{i}") for n, t in (("w", weight), ("b", bias))]
        if gdn:
            nodes += [
                helper.make_node("Mul", [name, name], [f"square{i}"]),
                helper.make_node("Conv", [f"square{i}", f"w{i}", f"b{i}"], [f"norm{i}"], kernel_shape=[1, 1]),
                helper.make_node("Sqrt", [f"norm{i}"], [f"root{i}"]),
                helper.make_node("Mul" if layer.inverse else "Div", [name, f"root{i}"], [out]),
            ]
        else:
            transposed = isinstance(layer, nn.ConvTranspose2d)
            more = {"output_padding": [1, 1]} if transposed else {}
            nodes.append(
                helper.make_node(
                    "ConvTranspose" if transposed else "Conv",
                    [name, f"w{i}", f"b{i}"],
                    [out],
                    kernel_shape=[5, 5],
                    strides=[2, 2],
                    pads=[2, 2, 2, 2],
                    **more,
                )
            )
        name = out
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), (name, (1, "c", "h", "w")))]
    model = helper.make_model(helper.make_graph(nodes, "net", ends[:1], ends[1:], tensors), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def by_torch(net: nn.Sequential, x: Tensor, threads: int) -> Run:
    torch.set_num_threads(threads)
    net.to(memory_format=torch.channels_last)
    x = x.contiguous(memory_format=torch.channels_last)

    def run() -> Any:
        with torch.inference_mode():
            return net(x)

    return run


def by_onnxruntime(net: nn.Sequential, x: Tensor, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(to_onnx(net, tuple(x.shape)), options, providers=["CPUExecutionProvider"])
    feed = {"x": x.numpy()}
    return lambda: session.run(None, feed)[0]


def by_openvino(net: nn.Sequential, x: Tensor, threads: int) -> Run:
    import openvino

    core = openvino.Core()
    model = core.read_model(to_onnx(net, tuple(x.shape)))
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    feed = {0: x.numpy()}
    return lambda: request.infer(feed)[0]


ENGINES: dict[str, Callable[[nn.Sequential, Tensor, int], Run]] = {
    "torch": by_torch,
    "onnxruntime": by_onnxruntime,
    "openvino": by_openvino,
}


class Worker:
    """The state between requests: a run for each engine and net."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], Run] = {}

    def prepare(self, *, folder: str, threads: int, engines: list[str]) -> dict[str, Any]:
        state = load_file(Path(folder) / "state.safetensors")
        photo = np.load(Path(folder) / "photo.npy")
        inputs = {
            "g_a": (torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255).contiguous(),
            "g_s": torch.from_numpy(np.load(Path(folder) / "latents.npy").astype(np.float32))[None],
        }
        for engine in engines:
            for net, x in inputs.items():
                self._runs[engine, net] = ENGINES[engine](build(state, net), x, threads)
        return {"versions": {name: version(name) for name in engines}}

    def run(self, *, engine: str, net: str, calls: int, output: str | None = None) -> dict[str, Any]:
        call, wall = self._runs[engine, net], []
        result = call()
        for _ in range(calls):
            start = time.perf_counter()
            result = call()
            wall.append(time.perf_counter() - start)
        if output is not None:
            np.save(output, np.ascontiguousarray(np.asarray(result)[0].transpose(1, 2, 0)))
        return {"wall": wall}

    def pillow(self, *, photo: str, format: str, bytes: int, calls: int) -> dict[str, Any]:
        if format == "JXL":
            import pillow_jxl  # noqa: F401  (registers itself)
        from PIL import Image

        with Image.open(photo) as image:
            rgb = image.convert("RGB")

        def encoded(quality: int) -> Any:
            file = io.BytesIO()
            rgb.save(file, format, quality=quality)
            return file.getvalue()

        low, high = 1, 100
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if len(encoded(middle)) <= bytes else (low, middle - 1)
        data, times = encoded(low), ([], [])
        for _ in range(calls + 1):
            for there, call in zip(times, (lambda: encoded(low), lambda: np.asarray(Image.open(io.BytesIO(data)))), strict=True):
                start = time.perf_counter()
                call()
                there.append(time.perf_counter() - start)
        encode_s, decode_s = (float(np.median(t[1:])) for t in times)
        return {"quality": low, "bytes": len(data), "encode_s": encode_s, "decode_s": decode_s}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print goes to standard error
    worker = Worker()
    operations = {"prepare": worker.prepare, "run": worker.run, "pillow": worker.pillow}
    for line in sys.stdin:
        request = json.loads(line)
        op = request.pop("op")
        try:
            answer = {"ok": True, **operations[op](**request)}
        except (RuntimeError, OSError, ValueError, TypeError, KeyError, ImportError) as error:
            answer = {"ok": False, "error": f"{op}: {error!r}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
