# SPDX-License-Identifier: Apache-2.0
"""Payload to latents: the NumPy oracle, and the C++ decoder by instruction set and threads.

    pytest benchmarks/bench_context_decode.py --benchmark-columns=median,iqr,rounds --benchmark-group-by=group

A 768x512 photo's latents at the published widths (random weights, scales such that a symbol takes about 2.8 bits), and the shipped
model on the photo of `jahp demo`. With --benchmark-disable all images are tiny.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from full_size import full_size_model, typical_latents
from numpy.typing import NDArray
from PIL import Image
from support import SHIPPED

import jahp_fast
from jahp_fast import _native
from jahp_fast.entropy import reference
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.entropy.reference import StreamLayout

ISAS = _native.isa_names()
PHOTO = Path(jahp_fast.__file__).parent / "evaluate" / "demo_photo.png"
SHAPES = {"192/192": (192, 192), "192/320": (192, 320)}


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
    return {name: full_size_model(folder / f"{M}.safetensors", N, M) for name, (N, M) in SHAPES.items()} | {"shipped": ModelFile(SHIPPED)}


def coded(model: ModelFile, z: NDArray[np.int32], y: NDArray[np.int32]) -> Load:
    encoder = _native.EntropyModel(model.config.as_native(), model.entropy, "scalar")
    payload, seen, lanes, _ = encoder.encode(z, y, 0, 0, 0, 2)
    assert np.array_equal(seen, y)
    symbols = y.size + z.size
    assert int.from_bytes(payload[:4], "little") < symbols / 50  # escapes: more would be another load than a photo's
    return Load(model, payload, StreamLayout(*y.shape[:2], lanes), z, y)


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


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", [*SHAPES, "shipped"])
def test_native(benchmark, loads, name, isa, threads):
    load = loads[name]
    benchmark.group = f"latents {name}"
    decoder = _native.EntropyModel(load.model.config.as_native(), load.model.entropy, isa)
    arguments = (load.payload, load.layout.height, load.layout.width, load.layout.lanes, 0, 0, threads)
    result = benchmark.pedantic(decoder.decode, arguments, rounds=3 if isa == "scalar" else 15, warmup_rounds=1)
    check(load, result)
    benchmark.extra_info |= {f"{stage} s": round(seconds, 5) for stage, seconds in result[2].items()}
    benchmark.extra_info["bits a symbol"] = round(8 * len(load.payload) / (load.y.size + load.z.size), 2)


@pytest.mark.parametrize("name", [*SHAPES, "shipped"])
def test_oracle(benchmark, loads, name, timing):
    load = loads[name]
    benchmark.group = f"latents {name}"
    model = reference.ReferenceModel(load.model)
    check(load, benchmark.pedantic(reference.decode, (model, load.payload, load.layout), rounds=2 if timing else 1))
