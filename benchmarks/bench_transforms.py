# SPDX-License-Identifier: Apache-2.0
"""g_a and g_s of a 768x512 image: torch in floats, channels last, and the native integers by instruction set; sizes.

    pytest benchmarks/bench_transforms.py --benchmark-only --benchmark-columns=median,min,iqr,rounds --benchmark-group-by=group

Random weights of the published width (192/192) and of the shipped models' (64/192). `extra_info` (--benchmark-json) holds products a
second, all 25 of a 5x5 filter counted, though the native engine does fewer, and their share of what 16-bit products reach on registers
alone in the same process. With --benchmark-disable all images are tiny, and results are compared with the plain version's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from integer_layers import random_input, random_net
from numpy.typing import NDArray
from torch_layers import random_net as torch_net

from jahp_fast import _native
from jahp_fast.transforms.layers import Layer
from jahp_fast.transforms.reference import ReferenceNet

ISAS = _native.isa_names()
WIDTHS = [(192, 192), (64, 192)]
SIZES = {0.4: (512, 768), 2.0: (1080, 1920), 8.0: (2160, 3840), 33.0: (4320, 7680)}  # megapixels: height, width
STRIP = 64  # image rows

Shorts = NDArray[np.int16]


def macs(name: str, N: int, M: int, height: int, width: int) -> int:
    """Multiply-adds of a transform and its GDN, every tap counted."""
    pixels = height * width
    widths = (M, N, N, N, 3) if name == "g_s" else (3, N, N, N, M)
    total = 0
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        smaller = pixels // 4 ** (4 - i if name == "g_s" else i + 1)  # positions of the smaller of the layer's two maps
        total += 25 * a * b * smaller
        if i < 3:
            total += N * N * (4 * smaller if name == "g_s" else smaller)
    return total


@cache
def load(name: str, N: int, M: int, height: int, width: int) -> tuple[list[Layer], Shorts]:
    """A net, and what it reads, pixels or latents."""
    rng = np.random.default_rng(0)
    x = np.abs(random_input(rng, height, width, 3, 255)) if name == "g_a" else random_input(rng, height // 16, width // 16, M, 2000)
    return random_net(rng, name, N, M), x


def torchs(name: str, N: int, M: int, x: Shorts, threads: int) -> Callable[[], NDArray[np.float32]]:
    """The same shapes in floats."""
    torch.set_num_threads(threads)
    net = torch_net(name, "mbt2018", N, M).to(memory_format=torch.channels_last)
    batch = torch.from_numpy(x.astype(np.float32) / 255)[None].permute(0, 3, 1, 2)

    def run() -> NDArray[np.float32]:
        with torch.inference_mode():
            return net(batch)[0].permute(1, 2, 0).numpy()

    return run


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("engine", ["torch", *ISAS])
@pytest.mark.parametrize(("N", "M"), WIDTHS)
@pytest.mark.parametrize("name", ["g_s", "g_a"])
def test_engines(benchmark, name, N, M, engine, threads, timing):
    size = (512, 768) if timing else (32, 48)
    N, M = (N, M) if timing else (N // 8, M // 8)
    layers, x = load(name, N, M, *size)
    benchmark.group = f"{name} {N}/{M}, {threads} threads"
    run: Callable[[], NDArray[Any]]
    if engine == "torch":
        run = torchs(name, N, M, x, threads)
    else:
        native = _native.TransformNet(layers, engine)

        def run() -> NDArray[Any]:
            return native.run(x, threads)

    result = benchmark.pedantic(run, rounds=2 if engine == "scalar" or not timing else 9, warmup_rounds=1)
    if engine != "torch":
        want = _native.TransformNet(layers).run(x) if timing else ReferenceNet(layers).run(x)
        assert np.array_equal(result, want)
    if not benchmark.enabled:
        return
    speed = macs(name, N, M, *size) / benchmark.stats["median"]
    benchmark.extra_info["GMAC/s"] = round(speed / 1e9, 1)
    if engine != "torch":
        benchmark.extra_info["of the peak"] = round(speed / _native.peak_macs(engine, 16, threads, 0.1), 3)


@pytest.mark.parametrize(("N", "M"), WIDTHS)
@pytest.mark.parametrize("name", ["g_s", "g_a"])
def test_packing(benchmark, name, N, M, timing):
    """Weights into the form that they are used in: what the first image of a process waits for."""
    N, M = (N, M) if timing else (N // 8, M // 8)
    benchmark.group = f"packing {name}"
    layers = load(name, N, M, 16, 16)[0]
    net = benchmark.pedantic(lambda: _native.TransformNet(layers), rounds=15)
    assert net.run(np.zeros((16, 16, 3 if name == "g_a" else M), np.int16)).shape == ((1, 1, M) if name == "g_a" else (256, 256, 3))


@pytest.mark.parametrize("megapixels", SIZES)
@pytest.mark.parametrize("name", ["g_s", "g_a"])
def test_sizes_by_strips(benchmark, name, megapixels, timing):
    """Rows are dropped as they come, so that the time is that of the transform alone."""
    N, M = (64, 192) if timing else (8, 24)
    benchmark.group = f"{name} {N}/{M} by strips of {STRIP} rows, 2 threads"
    height, width = SIZES[megapixels] if timing else (320, 48)
    native = _native.TransformNet(load(name, N, M, 16, 16)[0])
    height, strip, channels = (height, STRIP, 3) if name == "g_a" else (height // 16, STRIP // 16, M)
    width = width if name == "g_a" else width // 16
    block = random_input(np.random.default_rng(0), strip, width, channels, 255)

    def run() -> tuple[int, NDArray[Any]]:
        stream = native.stream(height, width)
        rows, top = 0, None
        for first in range(0, height, strip):
            out = stream.push(block[: height - first], 2)
            rows += len(out)
            top = out[:4].copy() if top is None and len(out) else top
        assert top is not None
        return rows + len(stream.finish(2)), top

    rows, top = benchmark.pedantic(run, rounds=1 if megapixels > 3 else 5, warmup_rounds=1)
    assert rows == (-(-height // 16) if name == "g_a" else 16 * height)
    assert np.array_equal(top[:1], native.run(np.concatenate([block] * 3))[:1])  # rows below do not reach so far up
    if benchmark.enabled:
        pixels = rows * top.shape[1] * (256 if name == "g_a" else 1)
        benchmark.extra_info["ms per MP"] = round(benchmark.stats["median"] * 1e9 / pixels, 2)
