# SPDX-License-Identifier: Apache-2.0
"""Payload to latents: the NumPy oracle, the C++ decoder by instruction set and threads, CompressAI; sizes; a busy machine.

    pytest benchmarks/bench_context_decode.py --benchmark-columns=median,iqr,rounds --benchmark-group-by=group

A 768x512 photo's latents at the published widths (random weights, scales such that a symbol takes about 2.8 bits and few groups of
channels are zero), and the shipped model on the photo of `jahp demo`. The rows of CompressAI need its environment
(`make peers`), else they are skipped by name; they are measured on its own calibrated load of those widths, as peers.py has it,
which is there to see both in one table and not to take a ratio from: use peers.py for that.
`extra_info` (--benchmark-json) holds stages, and the share of the instruction's peak that the context model reaches. With
--benchmark-disable all images are tiny.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from builders import SHIPPED
from full_size import full_size_model, typical_latents
from numpy.typing import NDArray
from peers import LOADS, Worker
from peers_env import DEFAULT_ENV, env_python, is_made
from peers_ours import context_macs
from PIL import Image

import jahp_fast
from jahp_fast import _native
from jahp_fast.entropy import reference
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.entropy.model_file import Form, ModelFile

ISAS = _native.isa_names()
PHOTO = Path(jahp_fast.__file__).parent / "evaluate" / "demo_photo.png"
EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "photo.png"
SHAPES: dict[str, tuple[int, int, Form, int]] = {
    "192/192": (192, 192, "A", 8),
    "192/320": (192, 320, "A", 8),
    "192/192 B16": (192, 192, "B", 16),
}
SIZES = {0.1: (20, 20), 0.4: (32, 48), 2.0: (68, 120), 8.0: (136, 240), 33.0: (270, 480)}  # megapixels: latents high, wide


@dataclass(frozen=True)
class Load:
    """A payload, how to read it and what it holds."""

    model: ModelFile
    payload: bytes
    layout: StreamLayout
    z: NDArray[np.int32]
    y: NDArray[np.int32]


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    random = {name: full_size_model(folder / f"{M}{form}.safetensors", N, M, 0, form, bits) for name, (N, M, form, bits) in SHAPES.items()}
    return random | {"shipped": ModelFile(SHIPPED)}


def coded(model: ModelFile, z: NDArray[np.int32], y: NDArray[np.int32]) -> Load:
    encoder = _native.EntropyModel(model.config.as_native(), model.entropy, "")
    payload, seen, lanes, _ = encoder.encode(z, y << model.config.frac_bits, 0, 0, 0, 2)
    if model.config.form == "A":
        assert np.array_equal(seen, y)
    symbols = y.size + z.size
    assert int.from_bytes(payload[:4], "little") < symbols / 50  # escapes: more would be another load than a photo's
    return Load(model, payload, StreamLayout(*y.shape[:2], lanes), z, seen)


@pytest.fixture(scope="session")
def loads(models, timing):
    """Model -> Load."""
    size = (32, 48) if timing else (4, 6)
    out = {name: coded(models[name], *typical_latents(models[name], *size)) for name in SHAPES}
    with Image.open(PHOTO) as image:
        photo = np.asarray(image.convert("RGB"))
    photo = photo if timing else photo[:64, :96]
    codec = jahp_fast.Codec(quality=4.0, backend="native", models=[SHIPPED])
    latents = codec.decode_latents(codec.encode(photo))
    assert latents.z is not None
    z, y = (np.ascontiguousarray(a.transpose(1, 2, 0)) for a in (latents.z, latents.y))
    return out | {"shipped": coded(models["shipped"], z, y)}


def check(load: Load, result: tuple[NDArray[np.int32], ...]) -> None:
    assert np.array_equal(result[0], load.z)
    assert np.array_equal(result[1], load.y)


def arguments(load: Load, threads: int) -> tuple[object, ...]:
    return load.payload, load.layout.height, load.layout.width, load.layout.lanes, 0, 0, threads


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", [*SHAPES, "shipped"])
def test_native(benchmark, loads, name, isa, threads):
    load = loads[name]
    benchmark.group = f"latents {name}"
    decoder = _native.EntropyModel(load.model.config.as_native(), load.model.entropy, isa)
    result = benchmark.pedantic(decoder.decode, arguments(load, threads), rounds=3 if isa == "scalar" else 15, warmup_rounds=1)
    check(load, result)
    if not benchmark.enabled:
        return
    benchmark.extra_info |= {f"{stage} s": round(seconds, 5) for stage, seconds in result[2].items()}
    benchmark.extra_info["bits a symbol"] = round(8 * len(load.payload) / (load.y.size + load.z.size), 2)
    if name != "shipped":
        speed = context_macs(load.model.config.latents, load.y.shape[0] * load.y.shape[1]) / (result[2]["ahead"] + result[2]["context"])
        peak = _native.peak_macs(isa, load.model.config.activation_bits, threads, 0.1)
        benchmark.extra_info |= {"context GMAC/s": round(speed / 1e9, 1), "of the peak": round(speed / peak, 3)}


@pytest.mark.parametrize("name", [*SHAPES, "shipped"])
def test_oracle(benchmark, loads, name, timing):
    load = loads[name]
    benchmark.group = f"latents {name}"
    model = reference.ReferenceModel(load.model)
    check(load, benchmark.pedantic(reference.decode, (model, load.payload, load.layout), rounds=2 if timing else 1))


@pytest.mark.parametrize("load", LOADS, ids=lambda load: f"{load.n}/{load.m}")
def test_compressai(benchmark, load, timing):
    if not timing:
        pytest.skip("CompressAI's row: only where timing is asked for")
    if not is_made(DEFAULT_ENV):
        pytest.skip(f"CompressAI's row of {load.n}/{load.m} is left out: `make peers` makes its environment")
    benchmark.group = f"latents {load.n}/{load.m}"
    with Worker(env_python(DEFAULT_ENV), 1) as worker, tempfile.TemporaryDirectory() as folder:
        worker.ask("prepare", n=load.n, m=load.m, bpp=load.bpp, seed=1, photo=str(EXAMPLE), folder=folder)
        # The worker fails unless the ŷ that it decodes is the one that it encoded.
        answer = benchmark.pedantic(worker.ask, ("decode_latents",), {"threads": 1}, rounds=2)
    assert answer["wall_s"] > 0


@pytest.mark.parametrize("megapixels", SIZES)
def test_sizes(benchmark, models, megapixels, timing):
    benchmark.group = "sizes, 192/192, 2 threads"
    model = models["192/192"]
    load = coded(model, *typical_latents(model, *(SIZES[megapixels] if timing else (3, 5))))
    decoder = _native.EntropyModel(model.config.as_native(), model.entropy, "")
    check(load, benchmark.pedantic(decoder.decode, arguments(load, 2), rounds=15 if megapixels < 3 else 3, warmup_rounds=1))
    if benchmark.enabled:
        pixels = load.layout.height * load.layout.width * 256
        benchmark.extra_info["ms per MP"] = round(benchmark.stats["median"] * 1e9 / pixels, 2)


PEAK_MEMORY = """
import json, sys
import numpy as np
from jahp_fast import _native
from jahp_fast.entropy.model_file import ModelFile
model, folder, height, width, lanes = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
file = ModelFile(model)
decoder = _native.EntropyModel(file.config.as_native(), file.entropy, "")
payload = open(folder + "/payload", "rb").read()
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
z, y, _ = decoder.decode(payload, height, width, lanes, 0, 0, 2)
after = peak()
print(json.dumps({"before": before, "after": after, "sum": int(y.astype(np.int64).sum())}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read as Linux tells it")
def test_peak_memory(benchmark, models, tmp_path, timing):
    """In a process of its own, so that nothing else's peak counts; Linux's high-water mark, in KiB (getrusage has the parent's)."""
    benchmark.group = "memory of a 33 MP decode, 192/192"
    model = models["192/192"]
    load = coded(model, *typical_latents(model, *(SIZES[33.0] if timing else (3, 5))))
    (tmp_path / "payload").write_bytes(load.payload)
    layout = map(str, (load.layout.height, load.layout.width, load.layout.lanes))
    command = [sys.executable, "-c", PEAK_MEMORY, str(model.path), str(tmp_path), *layout]
    done = benchmark.pedantic(subprocess.run, (command,), {"capture_output": True, "text": True, "check": True}, rounds=1)
    answer = json.loads(done.stdout)
    assert answer["sum"] == int(load.y.astype(np.int64).sum())
    benchmark.extra_info |= {f"MB {when} the decode": round(answer[when] * 1024 / 1e6) for when in ("before", "after")}


@contextmanager
def busy_process() -> Iterator[None]:
    """A process that does nothing but spin, at normal priority."""
    spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        yield
    finally:
        spinner.kill()
        spinner.wait()


@pytest.mark.parametrize(("threads", "busy"), [(1, False), (2, False), (2, True)])
def test_beside_a_busy_process(benchmark, loads, threads, busy, timing):
    benchmark.group = f"192/192 on {os.cpu_count()} processors, one of them perhaps taken by another program"
    load = loads["192/192"]
    decoder = _native.EntropyModel(load.model.config.as_native(), load.model.entropy, "")
    rounds = 61 if timing else 1
    if busy and timing:
        with busy_process():
            result = benchmark.pedantic(decoder.decode, arguments(load, threads), rounds=rounds, warmup_rounds=1)
    else:
        result = benchmark.pedantic(decoder.decode, arguments(load, threads), rounds=rounds, warmup_rounds=1)
    check(load, result)
