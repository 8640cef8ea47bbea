# SPDX-License-Identifier: Apache-2.0
"""`transforms` and `full` of peers.py: g_a and g_s beside other engines, whole encoding and decoding beside other codecs.

`transforms`: the native nets, torch (channels last, eager, with the system's malloc and with jemalloc), ONNX Runtime and OpenVINO (float32)
on the same 192/192 weights and inputs, `--threads` threads each, by turns; floats in, floats out, where ours are integers. Their results
must agree with ours to 0.02 of the largest value. The share of the ceiling counts one multiply-add a weight and position, of convolutions
and GDN, over what products of 16 bits reach on registers alone.

`full`: pixels to file and file to pixels, beside CompressAI's `compress` and `decompress` at 192/192; and, for perspective, the shipped
model beside JPEG, WebP, AVIF and JPEG XL by Pillow's defaults, at the highest quality whose file is not larger than ours.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers_common import LOADS, Times, Worker, say, timed
from peers_env import PeersError, make_env
from peers_ours import check_latents, check_payload, codec_for, export

from jahp_fast import Codec, _native
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.train.preload import MALLOC_CONF, find_jemalloc
from jahp_fast.transforms.cpu import CpuTransforms
from jahp_fast.transforms.layers import ACTIVATION_LIMIT, TransformLayers

LOAD = LOADS[0]
ENGINES = ("torch", "onnxruntime", "openvino")
CALLS = 3
"""In a row, of each engine, after one that does not count: their threads have gone to sleep, and others had the caches."""
TOLERANCE = 0.02
FORMATS = ("JPEG", "WEBP", "AVIF", "JXL")


def read_photo(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3)."""
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def macs_of(net: str, height: int, width: int, n: int, m: int) -> int:
    """Multiply-adds of g_a or g_s at 192/192-like widths: 25 a weight pair of a layer's smaller map, and GDN's products."""
    total = 0
    inputs = (3, n, n, n) if net == "g_a" else (m, n, n, n)
    outputs = (n, n, n, m) if net == "g_a" else (n, n, n, 3)
    for i, (a, b) in enumerate(zip(inputs, outputs, strict=True)):
        small = (height >> (i + 1)) * (width >> (i + 1)) if net == "g_a" else (height >> (4 - i)) * (width >> (4 - i))
        total += 25 * a * b * small
        if i < 3:
            total += n * n * (small if net == "g_a" else 4 * small)
    return total


def measure_transforms(args: argparse.Namespace, worker: Worker) -> dict[str, float]:
    """`transforms`; prints its table and returns its part of the JSON object."""
    photo = read_photo(args.photo)
    height, width = photo.shape[:2]
    with tempfile.TemporaryDirectory(prefix="jahp-peers-") as name, ExitStack() as stack:
        folder = Path(name)
        say(f"transforms: calibrating random weights of {LOAD.name} ...")
        worker.ask("prepare", n=LOAD.n, m=LOAD.m, bpp=LOAD.bpp, seed=1, photo=str(args.photo), folder=name)
        np.save(folder / "photo.npy", photo)
        nets, inputs = our_nets(folder, photo)
        python = make_env(args.env)
        say("transforms: starting the engines ...")
        sides: dict[str, tuple[Worker, str]] = {}
        main = stack.enter_context(Worker(python, args.threads, "peers_engines.py"))
        versions = main.ask("prepare", folder=name, threads=args.threads, engines=list(ENGINES))["versions"]
        sides |= {engine: (main, engine) for engine in ENGINES}
        if library := find_jemalloc():
            extra = {"LD_PRELOAD": library, "MALLOC_CONF": MALLOC_CONF}
            other = stack.enter_context(Worker(python, args.threads, "peers_engines.py", extra))
            other.ask("prepare", folder=name, threads=args.threads, engines=["torch"])
            sides["torch_jemalloc"] = other, "torch"
        result, lines = time_engines(nets, inputs, sides, folder, args)
    said = ", ".join(f"{name} {number}" for name, number in versions.items())
    print(f"\nTransforms, {LOAD.n}/{LOAD.m}, {width}x{height}, {args.threads} threads, {said}")
    print(f"  {'':<24} {'median s':>9} {'min to max':>20} {'n':>4} {'ratio':>8}")
    print("\n".join(lines))
    for net in ("g_a", "g_s"):
        if ceiling := result.get("int16_peak_macs_per_s"):
            reached = macs_of(net, height, width, LOAD.n, LOAD.m) / result[f"{net}_s_ours"]
            result[f"{net}_int16_ceiling"] = reached / ceiling
    for key, value in result.items():
        if "_over_" in key or "int16" in key:
            print(f"  {key} {value:.4g}")
    return result


def our_nets(folder: Path, photo: NDArray[np.uint8]) -> tuple[dict[str, Any], dict[str, NDArray[np.int16]]]:
    """The native nets of the worker's weights, and the inputs that the engines get too, channels last, in our units."""
    from safetensors.torch import load_file

    model = ModelFile(export(load_file(folder / "state.safetensors"), folder / "a.jahpm", photo))
    transforms, quality = CpuTransforms(model, native=True), model.config.qualities[0]
    nets = {
        "g_a": _native.TransformNet(TransformLayers(model).g_a()),
        "g_s": _native.TransformNet(transforms.g_s_layers(quality)),
    }
    latents = np.load(folder / "latents.npy").astype(np.int32).transpose(1, 2, 0) << model.config.frac_bits
    return nets, {"g_a": photo.astype(np.int16), "g_s": transforms.scaled(latents, "inv_gain", quality, ACTIVATION_LIMIT)}


def difference(net: str, theirs: NDArray[np.float32], mine: NDArray[Any]) -> float:
    """The largest, of the largest value: of pixels, or of features, of which ours have a unit a channel."""
    if net == "g_s":
        return float(np.abs(np.clip(theirs, 0, 1) - mine / np.float32(255)).max())
    ours = mine.astype(np.float64)
    unit = (theirs * ours).sum((0, 1)) / np.maximum((ours * ours).sum((0, 1)), 1)
    return float(np.abs(theirs - unit * ours).max() / np.abs(theirs).max())


def time_engines(
    nets: dict[str, Any],
    inputs: dict[str, NDArray[np.int16]],
    sides: dict[str, tuple[Worker, str]],
    folder: Path,
    args: argparse.Namespace,
) -> tuple[dict[str, float], list[str]]:
    """By turns, `--rounds` times; the figures, and lines of the table. Raises PeersError for results that differ."""
    walls: dict[tuple[str, str], list[float]] = {(net, side): [] for net in nets for side in ("ours", *sides)}
    peaks: list[float] = []
    for i in range(args.rounds):
        say(f"transforms: round {i + 1} of {args.rounds} ...")
        for net, own in nets.items():
            mine = own.run(inputs[net], args.threads)
            walls[net, "ours"] += [timed(lambda own=own, net=net: own.run(inputs[net], args.threads))[0] for _ in range(CALLS)]
            for side, (engine, what) in sides.items():
                output = folder / f"{net}.npy"
                walls[net, side] += engine.ask("run", engine=what, net=net, calls=CALLS, output=str(output))["wall"]
                off = difference(net, np.load(output), mine)
                if not off < TOLERANCE:
                    raise PeersError(f"{net} of {side} is up to {off:.2g} of its largest value from ours: not the same work")
        peaks.append(_native.peak_macs("", 16, args.threads, 0.2))
    median = {key: statistics.median(wall) for key, wall in walls.items()}
    result, lines = {"int16_peak_macs_per_s": statistics.median(peaks)}, []
    for (net, side), wall in walls.items():
        ratio = median[net, side] / median[net, "ours"]
        result[f"{net}_s_{side}"] = median[net, side]
        if side != "ours":
            result[f"{net}_over_{side}"] = ratio
        spread = f"{min(wall):.3f} to {max(wall):.3f}"
        lines.append(f"  {net + ', ' + side:<24} {median[net, side]:>9.3f} {spread:>20} {len(wall):>4} {ratio:>8.2f}")
    return result, lines


def measure_full(args: argparse.Namespace, worker: Worker) -> dict[str, float]:
    """`full`; prints its tables and returns its part of the JSON object."""
    from safetensors.torch import load_file

    photo = read_photo(args.photo)
    with tempfile.TemporaryDirectory(prefix="jahp-peers-") as name:
        folder = Path(name)
        say(f"full: calibrating random weights of {LOAD.name}, CompressAI's compress and a first decompress ...")
        theirs = worker.ask("prepare", n=LOAD.n, m=LOAD.m, bpp=LOAD.bpp, seed=1, photo=str(args.photo), folder=name)
        model = export(load_file(folder / "state.safetensors"), folder / "a.jahpm", photo)
        codec = codec_for("mbt2018", model, args.threads)
        stream = codec.encode(photo)
        codec.decode(stream)
        check_payload(len(stream), theirs["payload_bytes"])
        check_latents(codec.decode_latents(stream).y, np.load(folder / "latents.npy"))
        calls = {"encode": lambda: codec.encode(photo), "decode": lambda: codec.decode(stream)}
        peers = {(what, t): Times([], []) for what in calls for t in sorted({1, args.threads})}
        ours = {what: Times([], []) for what in calls}
        for i in range(args.rounds):
            say(f"full: round {i + 1} of {args.rounds} ...")
            for (what, threads), times in peers.items():
                answer = worker.ask("whole", what=what, threads=threads)
                times.wall.append(answer["wall_s"])
                times.cpu.append(answer["cpu_s"])
            for what, call in calls.items():
                call()  # the first one after CompressAI has emptied the caches is a warm-up
                for _ in range(CALLS):
                    wall, cpu = timed(call)
                    ours[what].wall.append(wall)
                    ours[what].cpu.append(cpu)
    print(f"\nWhole codec, mbt2018 {LOAD.n}/{LOAD.m}, {args.photo.name} {theirs['width']}x{theirs['height']}, {args.threads} threads")
    print(f"  {'':<24} {'median s':>9} {'min to max':>20} {'CPU s':>9} {'n':>4}")
    result: dict[str, float] = {}
    for what in calls:
        for (kind, threads), times in peers.items():
            if kind == what:
                print(times.line(f"{what}, CompressAI, {threads} thr."))
        print(ours[what].line(f"{what}, ours"))
        best = min(times.median for (kind, _), times in peers.items() if kind == what)
        result |= {f"full_{what}_s_{LOAD.name}_compressai": best, f"full_{what}_s_{LOAD.name}_ours": ours[what].median,
                   f"full_{what}_ratio_{LOAD.name}": best / ours[what].median}  # fmt: skip
    for key, value in result.items():
        if "ratio" in key:
            print(f"  {key} {value:.2f}")
    return result | perspective(args, photo)


def perspective(args: argparse.Namespace, photo: NDArray[np.uint8]) -> dict[str, float]:
    """The shipped model beside other formats, at about its bytes."""
    codec = Codec(quality=4, threads=args.threads)
    data = codec.encode(photo)
    codec.decode(data)
    rows = [("ours, q=4", len(data), *(statistics.median(timed(call)[0] for _ in range(2 * CALLS))
                                       for call in (lambda: codec.encode(photo), lambda: codec.decode(data))))]  # fmt: skip
    result = {"shipped_bytes": float(len(data)), "shipped_encode_s": rows[0][2], "shipped_decode_s": rows[0][3]}
    with Worker(make_env(args.env), args.threads, "peers_engines.py") as engines:
        for name in FORMATS:
            try:
                answer = engines.ask("pillow", photo=str(args.photo), format=name, bytes=len(data), calls=CALLS)
            except PeersError as error:
                print(f"  {name} is left out: {error}")
                continue
            rows.append((f"{name}, q={answer['quality']}", answer["bytes"], answer["encode_s"], answer["decode_s"]))
            result |= {f"{name.lower()}_{key}": float(answer[key]) for key in ("bytes", "encode_s", "decode_s")}
    print(f"\nThe shipped model and other formats at its bytes, {args.photo.name}, {args.threads} threads")
    print(f"  {'':<16} {'bytes':>8} {'encode s':>9} {'decode s':>9}")
    for who, size, encode_s, decode_s in rows:
        print(f"  {who:<16} {size:>8} {encode_s:>9.4f} {decode_s:>9.4f}")
    return result
