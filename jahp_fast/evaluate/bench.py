# SPDX-License-Identifier: Apache-2.0
"""`jahp bench`: what encoding and decoding a photo cost on this machine, stage by stage."""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jahp_fast.constants import HYPER_STRIDE, STRIDE
from jahp_fast.errors import UsageError
from jahp_fast.evaluate.files import load_rgb
from jahp_fast.files.outputs import apart
from jahp_fast.system.atomic import write_atomically
from jahp_fast.system.console import ProgressLine
from jahp_fast.system.cpu import cpu_name

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelFile

JSON_VERSION = 1
BAR = 40
LABELS = {
    "g_a": "g_a", "h_a": "h_a", "entropy": "entropy nets, range encode", "latents": "latents",
    "latents.h_s": "h_s", "latents.ahead": "older taps, hyper half",
    "latents.context": "context, parameters", "latents.coder": "range decode", "latents.rest": "checks, copies", "g_s": "g_s",
    "layer": "layer over the pixels",
}  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """Wall seconds of one stage over the rounds."""

    median_s: float
    min_s: float
    max_s: float


@dataclass(frozen=True)
class Report:
    """What `--json` writes; docs in benchmarks/README.md."""

    version: int
    cpu: str
    isa: str
    backend: str
    device: str
    threads: int
    model: str
    architecture: str
    N: int
    M: int
    quality: float
    width: int
    height: int
    bytes: int
    rounds: int
    encode: dict[str, Stage]
    decode: dict[str, Stage]
    encode_s: float
    decode_s: float
    symbols: int
    coder_ns_per_symbol: float | None
    context_macs: int
    context_macs_per_s: float | None
    peak_macs_per_s: float | None


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `jahp bench`."""
    parser.description = (
        "Encode and decode a photo several times and print what each stage takes, as a table and as bars, with the time per symbol "
        "of the range decoder and the share of the processor's peak that the context model reaches. "
        "«older taps, hyper half» is what the context model computes before it is needed, as far as the calling thread does it."
    )
    parser.add_argument("--image", type=Path, metavar="FILE", help="photo to code (default: the one that comes with the package)")
    parser.add_argument("--size", metavar="WxH", help="crop the photo, or repeat it, to this size")
    parser.add_argument("-q", "--quality", type=float, default=4.0, help="1 to 12 (default 4)")
    parser.add_argument("--model", type=Path, metavar="FILE", help="model file (default: the shipped mbt2018)")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--rounds", type=int, default=7, metavar="K", help="each way, after one to warm up (default 7)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default cpu)")
    parser.add_argument("--backend", default="auto", help="auto, native, reference, cuda or triton (default auto)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, too")


def run(args: argparse.Namespace) -> int:
    """Measure, print, and write the JSON file if one is asked for. Raises JahpError."""
    if args.rounds < 1:
        raise UsageError(f"--rounds {args.rounds}: must be at least 1")
    if args.json is not None and not args.json.absolute().parent.is_dir():
        raise UsageError(f"--json {args.json}: no such folder")
    if args.json is not None:
        apart(args.json, [args.image, args.model])
    if args.image is None:
        with resources.as_file(resources.files("jahp_fast.evaluate") / "demo_photo.png") as path:
            image = load_rgb(path)
    else:
        image = load_rgb(args.image)
    if args.size is not None:
        image = resized(image, args.size)
    report = measure(image, args.quality, args.model, args.threads, args.rounds, args.backend, args.device)
    print(table(report))
    if args.json is not None:
        write_atomically(args.json, (json.dumps(asdict(report), indent=2) + "\n").encode())
    return 0


def resized(image: NDArray[np.uint8], size: str) -> NDArray[np.uint8]:
    """(H, W, 3) cropped, or repeated in mirrored tiles, to «WxH». Raises UsageError for what is no size."""
    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) > 0 and int(height) > 0):
        raise UsageError(f"--size {size!r} is not like 1920x1080")
    rows, columns = int(height), int(width)
    grow = [(0, max(0, want - have)) for want, have in zip((rows, columns), image.shape[:2], strict=True)]
    return np.ascontiguousarray(np.pad(image, [*grow, (0, 0)], mode="symmetric")[:rows, :columns])


def context_macs(file: ModelFile, positions: int) -> int:
    """Multiply-adds of the context layer and entropy_parameters at so many positions; 0 without a context."""
    total = 0
    for name, weight in file.entropy.items():
        if name == "context_prediction.weight":
            total += weight.shape[0] * weight.shape[1] * (weight.shape[2] * weight.shape[3] // 2)
        elif name.startswith("entropy_parameters.") and name.endswith(".weight"):
            total += weight.size
    return total * positions


def measure(
    image: NDArray[np.uint8], quality: float, model: Path | None, threads: int | None, rounds: int, backend: str, device: str = "cpu"
) -> Report:
    """Encode and decode (H, W, 3) `rounds` times in turn. Raises JahpError."""
    import jahp_fast
    from jahp_fast import _native, library
    from jahp_fast.entropy.model_file import ModelFile

    file = library.by_name("mbt2018") if model is None else ModelFile(model)
    models = None if model is None else [str(model)]
    codec = jahp_fast.Codec(
        file.config.architecture, quality=quality, device=device, backend=backend, threads=threads, models=models, drawings=False
    )
    encoded: list[dict[str, float]] = []
    decoded: list[dict[str, float]] = []
    data, line = b"", ProgressLine(seldom=math.inf, wait=True)
    for k in range(rounds + 1):
        line.show(f"round {k} of {rounds}" if k else "warming up")
        data, times = codec.encode_timed(image)
        encoded.append(times)
        decoded.append(codec.decode_timed(data)[1])
    line.clear()
    encode, decode = stages(encoded[1:]), stages(with_rest(decoded[1:]))
    positions = -(-image.shape[0] // STRIDE) * -(-image.shape[1] // STRIDE)
    hyper = file.config.hyper_latents * -(-image.shape[0] // HYPER_STRIDE) * -(-image.shape[1] // HYPER_STRIDE)
    symbols, macs = positions * file.config.latents + hyper, context_macs(file, positions)
    isa = os.environ.get("JAHP_FAST_ISA") or _native.isa_names()[-1]
    used = codec.threads
    native = "latents.coder" in decode
    net = sum(decode[name].median_s for name in ("latents.ahead", "latents.context") if name in decode)
    return Report(
        version=JSON_VERSION, cpu=cpu_name(), isa=isa if native else "none", backend=codec.backend, device=codec.device, threads=used,
        model=file.id.hex(), architecture=file.config.architecture, N=file.config.hyper_latents, M=file.config.latents,
        quality=codec.quality, width=image.shape[1], height=image.shape[0], bytes=len(data), rounds=rounds,
        encode=encode, decode=decode, encode_s=total(encoded[1:]),
        decode_s=total([{k: v for k, v in d.items() if "." not in k} for d in decoded[1:]]), symbols=symbols,
        coder_ns_per_symbol=decode["latents.coder"].median_s / symbols * 1e9 if native else None, context_macs=macs,
        context_macs_per_s=macs / net if native and macs else None,
        peak_macs_per_s=_native.peak_macs(isa, file.config.activation_bits, used, 0.2) if native else None,
    )  # fmt: skip


def with_rest(laps: list[dict[str, float]]) -> list[dict[str, float]]:
    """Laps of decode_timed, `latents` replaced by its parts, if any, and what they leave over: the checksum, checks and copies."""
    out = []
    for times in laps:
        parts = {name: seconds for name, seconds in times.items() if name.startswith("latents.")}
        if not parts:
            out.append(times)
            continue
        left = max(0.0, times["latents"] - sum(parts.values()))
        out.append({name: s for name, s in times.items() if name not in ("latents", "load", *parts)} | parts | {"latents.rest": left})
    return out


def stages(laps: list[dict[str, float]]) -> dict[str, Stage]:
    """Median, least and most seconds of each stage, in the order in which they run."""
    names = [name for name in LABELS if name in laps[0]]
    columns = {name: [times[name] for times in laps] for name in names}
    return {name: Stage(statistics.median(c), min(c), max(c)) for name, c in columns.items()}


def total(laps: list[dict[str, float]]) -> float:
    """Median of the whole, loading left out."""
    return statistics.median(sum(seconds for name, seconds in times.items() if name != "load") for times in laps)


def table(report: Report) -> str:
    """The figures as text, with a bar a stage."""
    pixels = report.width * report.height
    lines = [
        f"{report.cpu}, {report.threads} thread{'s' * (report.threads > 1)}; "
        f"backend {report.backend} on {report.device}, instruction set {report.isa}",
        f"{report.architecture} N={report.N} M={report.M} ({report.model}), q={report.quality:g}, {report.width}x{report.height}: "
        f"{report.bytes} bytes, {8 * report.bytes / pixels:.3f} bpp; medians of {report.rounds} rounds",
    ]
    for way, whole, parts in (("encode", report.encode_s, report.encode), ("decode", report.decode_s, report.decode)):
        lines += ["", f"{way:<28} {'ms':>9} {'min':>9} {'max':>9} {'share':>6}"]
        longest = max((stage.median_s for stage in parts.values()), default=0.0)
        for name, stage in parts.items():
            bar = "█" * max(1, round(BAR * stage.median_s / longest)) if longest > 0 else ""
            lines.append(f"  {LABELS[name]:<26} {stage.median_s * 1e3:>9.2f} {stage.min_s * 1e3:>9.2f} {stage.max_s * 1e3:>9.2f} "
                         f"{stage.median_s / whole:>6.1%} {bar}")  # fmt: skip
        lines.append(f"  {'all':<26} {whole * 1e3:>9.2f} {'':>9} {'':>9} {'':>6} {pixels / whole / 1e6:.1f} MP/s")
    notes = []
    if report.coder_ns_per_symbol is not None:
        notes.append(f"range decode: {report.coder_ns_per_symbol:.1f} ns a symbol, {report.symbols} symbols")
    if report.context_macs_per_s is not None and report.peak_macs_per_s is not None:
        macs, speed, peak = report.context_macs / 1e9, report.context_macs_per_s / 1e9, report.peak_macs_per_s / 1e9
        notes.append(
            f"context and parameters: {macs:.2f} G multiply-adds at {speed:.0f} G/s, {speed / peak:.0%} of the instruction's peak "
            f"({peak:.0f} G/s); zeros left out count as done"
        )
    return "\n".join([*lines, "", *notes] if notes else lines)
