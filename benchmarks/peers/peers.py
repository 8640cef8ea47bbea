# SPDX-License-Identifier: Apache-2.0
"""Ours beside CompressAI 1.2.8, alternately in one run: `python benchmarks/peers/peers.py [--only LIST] [--json FILE]`.

LIST is out of `latent`, `transforms` and `full`; the last two are told of in peers_full.py.

`latent` times everything from bytes to ŷ, for mbt2018 at N/M = 192/192 and 192/320, on one 768x512 photo and the same random
calibrated weights (peers_calibrate.py); beside it ours with one thread, forced to AVX2 and in form B with 16 bits, and against
our own mbt2018-mean, latents alone and whole decode. CompressAI runs in a worker process of an environment of its own
(peers_env.py), made if missing or by `--make-env`. Each side may use `--threads` threads; CompressAI's loop over positions does
not gain from two and on a busy machine loses, so it is timed with one thread too and its faster median counts.

The run fails, with a message, unless CompressAI's own round trip is exact, our decoded ŷ is round(y) of the same y, and our
stream, header and all, is within 5 % of CompressAI's two strings. `--json` writes one flat object of numbers: times in seconds,
sizes in bytes, `*_ratio_*` CompressAI's time over ours, `context_int8_ceiling_*` the share of the instruction's peak (measured on
registers alone in the same run, same threads) that the context layer and entropy_parameters reach, counting all products, also
those with groups of zeros that are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import peers_figures
from peers_common import HERE, LOADS, Load, Times, Worker, say, timed
from peers_env import DEFAULT_ENV, make_env
from peers_full import measure_full, measure_transforms
from peers_ours import (
    Way,
    check_latents,
    check_payload,
    check_residuals,
    codec_for,
    context_macs,
    export,
    latents_way,
    mean_scale_state,
    stages_way,
    whole_way,
)

from jahp_fast import _native
from jahp_fast.errors import JahpError, UsageError
from jahp_fast.system.atomic import write_atomically

PHOTO = HERE.parents[1] / "examples" / "photo.png"
DECODES_A_ROUND = 5  # of ours: one is over too soon for a median of few rounds


def our_ways(load: Load, folder: Path, photo: np.ndarray, latents: np.ndarray, payload_bytes: int, threads: int) -> tuple[list[Way], int]:
    """Exports the worker's weights, encodes the photo without skipping, checks what comes back; and the bytes of form A's stream."""
    from safetensors.torch import load_file

    state = load_file(folder / "state.safetensors")
    form_a = export(state, folder / "a.jahpm", photo)
    codec = codec_for("mbt2018", form_a, threads)
    stream = codec.encode(photo)
    check_payload(len(stream), payload_bytes)
    check_latents(codec.decode_latents(stream).y, latents)
    ways = [
        latents_way("ours", codec, stream),
        latents_way("ours_1_thread", codec_for("mbt2018", form_a, 1), stream),
        stages_way("ours_stages", form_a, stream, threads),
    ]
    if load.m != 192:
        return ways, len(stream)
    if "avx2" in _native.isa_names():
        ways.append(latents_way("ours_avx2", codec_for("mbt2018", form_a, threads, "avx2"), stream))
    form_b = codec_for("mbt2018", export(state, folder / "b.jahpm", photo, "B", 16), threads)
    stream_b = form_b.encode(photo)
    check_payload(len(stream_b), payload_bytes)
    decoded = form_b.decode_latents(stream_b)
    check_residuals(decoded.y, decoded.frac_bits, latents)
    ways.append(latents_way("ours_b16", form_b, stream_b))
    mean = codec_for("mbt2018-mean", export(mean_scale_state(state, latents), folder / "mean.jahpm", photo), threads)
    stream_mean = mean.encode(photo)
    check_latents(mean.decode_latents(stream_mean).y, latents)
    for warmed, coded in ((mean, stream_mean), (codec, stream)):
        warmed.decode(coded)  # g_s is read when first needed, and the files are gone by then
    ways += [
        latents_way("mean_scale_latents", mean, stream_mean),
        whole_way("mean_scale_whole", mean, stream_mean),
        whole_way("ours_whole", codec, stream),
    ]
    return ways, len(stream)


def measure_latent(worker: Worker, load: Load, photo_path: Path, threads: int, rounds: int) -> dict[str, float]:
    """Time one load; prints its table and returns its part of the JSON object."""
    from PIL import Image

    with Image.open(photo_path) as image:
        photo = np.array(image.convert("RGB"))
    with tempfile.TemporaryDirectory(prefix="jahp-peers-") as name:
        folder = Path(name)
        say(f"{load.name}: calibrating random weights to {load.bpp} bpp, CompressAI's compress and a first decompress ...")
        theirs = worker.ask("prepare", n=load.n, m=load.m, bpp=load.bpp, seed=1, photo=str(photo_path), folder=name)
        say(f"{load.name}: exporting and encoding ours ...")
        ways, stream_bytes = our_ways(load, folder, photo, np.load(folder / "latents.npy"), theirs["payload_bytes"], threads)

    compressai = {t: Times([], []) for t in sorted({1, threads})}
    peaks: list[float] = []
    for i in range(rounds):
        for peer_threads, times in compressai.items():
            say(f"{load.name}: round {i + 1} of {rounds}, CompressAI with {peer_threads} thread{'s' * (peer_threads > 1)} ...")
            answer = worker.ask("decode_latents", threads=peer_threads)
            times.wall.append(answer["wall_s"])
            times.cpu.append(answer["cpu_s"])
        for way in ways:
            # The first call after CompressAI has emptied the caches is a warm-up; one in a pipeline has ours before it.
            for k in range((DECODES_A_ROUND if "whole" not in way.name else 2) + 1):
                wall, cpu = timed(lambda way=way: way.stages.append(way.call()))
                if k > 0:
                    way.wall.append(wall)
                    way.cpu.append(cpu)
        peaks.append(_native.peak_macs("", 8, threads, 0.2))
    best = min(times.median for times in compressai.values())
    print(
        f"\nLatent decode, mbt2018 {load.n}/{load.m}, {photo_path.name} {theirs['width']}x{theirs['height']}, "
        f"{theirs['symbols']} symbols, {theirs['nonzero']:.0%} not 0"
    )
    print(f"  {'':<24} {'median s':>9} {'min to max':>20} {'CPU s':>9} {'n':>4} {'ratio':>8}")
    for peer_threads, times in compressai.items():
        print(times.line(f"CompressAI, {peer_threads} thread{'s' * (peer_threads > 1)}"))
    for way in ways:
        against = "" if "whole" in way.name else f" {best / statistics.median(way.wall):>8.1f}"
        print(Times(way.wall, way.cpu).line(way.name) + against)
    print(f"  bytes: CompressAI's strings {theirs['payload_bytes']}, our whole stream {stream_bytes}")
    result = figures(load, {way.name: way for way in ways}, best, theirs["symbols"], statistics.median(peaks))
    # Of the whole process, all threads: what is left to compare by when other programs keep the processors busy.
    cpu = {way.name: statistics.median(way.cpu) for way in ways}
    result[f"latent_decode_cpu_ratio_{load.name}"] = min(times.median_cpu for times in compressai.values()) / cpu["ours"]
    result[f"latent_payload_bytes_{load.name}_ours"] = stream_bytes
    result[f"latent_payload_bytes_{load.name}_compressai"] = theirs["payload_bytes"]
    for peer_threads, times in compressai.items():
        result[f"latent_decode_s_{load.name}_compressai_threads_{peer_threads}"] = times.median
    for key, value in result.items():
        if "_s_" not in key and "bytes" not in key:
            print(f"  {key} {value:.3f}")
    if load.m == 192 and "ours_avx2" not in cpu:
        print("  latent_decode_ratio_192_192_avx2 left out: this CPU lacks AVX2")
    sys.stdout.flush()
    return result


def figures(load: Load, ways: dict[str, Way], best: float, symbols: int, peak: float) -> dict[str, float]:
    """The keys of one load. best: CompressAI's median seconds; peak: multiply-adds a second, on registers alone."""
    median = {name: statistics.median(way.wall) for name, way in ways.items()}

    def stage(*names: str) -> float:
        return statistics.median(sum(s[name] for name in names) for s in ways["ours_stages"].stages[1:])

    result = {
        f"latent_decode_ratio_{load.name}": best / median["ours"],
        f"latent_decode_s_{load.name}_ours": median["ours"],
        f"latent_decode_s_{load.name}_compressai": best,
        f"threads_gain_{load.name}": median["ours_1_thread"] / median["ours"],
        f"coder_ns_per_symbol_{load.name}": stage("coder") / symbols * 1e9,
        f"context_int8_ceiling_{load.name}": context_macs(load.m, symbols // load.m) / stage("ahead", "context") / peak,
        f"context_int8_ceiling_with_coder_{load.name}": context_macs(load.m, symbols // load.m) / stage("ahead", "context", "coder") / peak,
    }
    for name in ("avx2", "b16"):
        if f"ours_{name}" in median:
            result[f"latent_decode_ratio_{load.name}_{name}"] = best / median[f"ours_{name}"]
    if "mean_scale_whole" in median:
        result["joint_over_mean_scale_decode"] = median["ours_whole"] / median["mean_scale_whole"]
        result["latent_joint_over_mean_scale"] = median["ours"] / median["mean_scale_latents"]
    return result


def measurements(text: str) -> list[str]:
    """The argument of --only: names out of MEASUREMENTS by comma, each once."""
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        raise UsageError(f"--only knows {', '.join(MEASUREMENTS)}, not {', '.join(repr(name) for name in unknown)}")
    return list(dict.fromkeys(names))


def positive(text: str) -> int:
    """An argument that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def check_photo(path: Path) -> None:
    """Raises UsageError unless `path` is a picture whose sides CompressAI can code: multiples of 64."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, UnidentifiedImageError) as error:
        raise UsageError(f"--photo {path}: {error}") from error
    if width % 64 or height % 64:
        raise UsageError(f"--photo {path} is {width}x{height}; CompressAI codes only multiples of 64")


def measure_latents(args: argparse.Namespace, worker: Worker) -> dict[str, float]:
    """`latent`: both network sizes."""
    result: dict[str, float] = {}
    for load in LOADS:
        result |= measure_latent(worker, load, args.photo, args.threads, args.rounds)
    return result


MEASUREMENTS: dict[str, Callable[[argparse.Namespace, Worker], dict[str, float]]] = {
    "latent": measure_latents,
    "transforms": measure_transforms,
    "full": measure_full,
}


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = argparse.ArgumentParser(prog="peers.py", description="jahp_fast beside CompressAI 1.2.8, alternately in one run.")
    everything = ",".join(MEASUREMENTS)
    p.add_argument("--only", default=everything, metavar="LIST", help=f"out of {everything} (default: all)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the figures as one flat JSON object")
    p.add_argument("--figures", type=Path, metavar="FILE", help="write the figures into this file, as docs/figures.toml")
    p.add_argument("--machine", metavar="NAME", help="with --figures: this machine, as docs/lab/machines.md calls it")
    p.add_argument("--threads", type=positive, default=2, metavar="N", help="threads each side may use (default 2)")
    p.add_argument("--rounds", type=positive, default=3, metavar="K", help="alternations (default 3), 10 to 40 s each")
    p.add_argument("--photo", type=Path, default=PHOTO, help="an RGB photo, sides multiples of 64 (default examples/photo.png)")
    p.add_argument("--env", type=Path, default=DEFAULT_ENV, metavar="DIR", help="the peers' environment (default .venv-peers)")
    p.add_argument("--make-env", action="store_true", help="only make the environment")
    return p


def run(argv: Sequence[str]) -> None:
    """The command. Raises JahpError."""
    args = parser().parse_args(argv)
    chosen = measurements(args.only)
    if args.make_env:
        print(make_env(args.env))
        return
    check_photo(args.photo)
    if args.json is not None and not args.json.absolute().parent.is_dir():
        raise UsageError(f"--json {args.json}: no such folder")
    if (args.figures is None) != (args.machine is None):
        raise UsageError("--figures and --machine go together: a figure says which machine gave it")
    if args.figures is not None and not args.figures.is_file():
        raise UsageError(f"--figures {args.figures}: no such file")
    measured: dict[str, dict[str, float]] = {}
    with Worker(make_env(args.env), args.threads) as worker:
        peer = worker.ask("hello")
        print(f"CompressAI {peer['compressai']} (torch {peer['torch']}), {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
        for name in chosen:
            measured[name] = MEASUREMENTS[name](args, worker)
    if args.json is not None:
        flat = {key: value for result in measured.values() for key, value in result.items()}
        write_atomically(args.json, (json.dumps(flat, indent=2) + "\n").encode())
    if args.figures is not None:
        peers_figures.write(args.figures, measured, args.rounds, args.machine)


def main() -> int:
    try:
        run(sys.argv[1:])
    except JahpError as error:
        print(f"peers.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
