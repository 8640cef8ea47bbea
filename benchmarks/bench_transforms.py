# SPDX-License-Identifier: Apache-2.0
"""g_a and g_s of a 768x512 image: torch, channels last, and the native engine by instruction set; sizes.

    pytest benchmarks/bench_transforms.py --benchmark-only --benchmark-columns=median,min,iqr,rounds --benchmark-group-by=group

Random weights of the published width (192/192), and the shipped model (64/192) on a photo. `extra_info` (--benchmark-json) holds
products a second, all 25 of a 5x5 filter counted, though the native engine does fewer, and their share of what float products reach on
registers alone in the same process. With --benchmark-disable all images are tiny, and all weights random.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from builders import photo
from numpy.typing import NDArray
from torch import nn
from torch_layers import as_layers, random_net

from jahp_fast import _native, library
from jahp_fast.constants import BY_ROW
from jahp_fast.train.checkpoint import load as load_checkpoint

ISAS = _native.isa_names()
BF16 = ["bf16"] if _native.has_bf16() else []
WIDTHS = [(192, 192), (64, 192)]
SIZES = {0.4: (512, 768), 2.0: (1080, 1920), 8.0: (2160, 3840), 33.0: (4320, 7680)}  # megapixels: height, width
STRIP = 64  # image rows

Floats = NDArray[np.float32]


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
def load(name: str, N: int, M: int, height: int, width: int) -> tuple[nn.Sequential, Floats]:
    """A net, and what it reads: a photo, or latents."""
    image = photo()[:height, :width].astype(np.float32) / 255
    if (N, M) == (64, 192):
        model = load_checkpoint(library.by_name("mbt2018").path).average
        q = torch.tensor([3])
        net = getattr(model, name)
        for i in BY_ROW if name == "g_s" else ():
            weight, bias = (part[0] for part in net[i].at(q))
            net[i] = nn.ConvTranspose2d(*weight.shape[:2], 5, 2, 2, 1)
            net[i].load_state_dict({"weight": weight, "bias": bias})
        if name == "g_a":
            return net, image
        with torch.inference_mode():
            y = model.analysis(torch.from_numpy(image).permute(2, 0, 1)[None], q)[0].round()
            scaled = y * model.inv_gain[3].exp()[:, None, None]
        return net, np.ascontiguousarray(scaled.permute(1, 2, 0).numpy())
    net = random_net(name, "mbt2018", N, M)
    if name == "g_a":
        return net, image
    return net, np.random.default_rng(0).normal(0, 2, (height // 16, width // 16, M)).round().astype(np.float32)


def torchs(net: nn.Sequential, x: Floats, threads: int) -> Callable[[], Floats]:
    torch.set_num_threads(threads)
    net = net.to(memory_format=torch.channels_last)
    batch = torch.from_numpy(x)[None].permute(0, 3, 1, 2)

    def run() -> Floats:
        with torch.inference_mode():
            return net(batch)[0].permute(1, 2, 0).numpy()

    return run


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("engine", ["torch", *ISAS, *BF16])
@pytest.mark.parametrize(("N", "M"), WIDTHS)
@pytest.mark.parametrize("name", ["g_s", "g_a"])
def test_engines(benchmark, name, N, M, engine, threads, timing):
    size = (512, 768) if timing else (32, 48)
    N, M = (N, M) if timing else (N // 8, M // 8)
    net, x = load(name, N, M, *size)
    benchmark.group = f"{name} {N}/{M}, {threads} threads"
    if engine == "torch":
        run = torchs(net, x, threads)
    else:
        native = _native.TransformNet(as_layers(net), "" if engine == "bf16" else engine, engine == "bf16")

        def run() -> Floats:
            return native.run(x, threads)

    result = benchmark.pedantic(run, rounds=2 if engine == "scalar" or not timing else 9, warmup_rounds=1)
    want = torchs(net, x, 2)()
    assert np.abs(result - want).max() <= (0.05 if engine == "bf16" else 2e-5) * np.abs(want).max()
    if not benchmark.enabled:
        return
    speed = macs(name, N, M, *size) / benchmark.stats["median"]
    benchmark.extra_info["GMAC/s"] = round(speed / 1e9, 1)
    if engine not in ("torch", "bf16"):
        benchmark.extra_info["of the peak"] = round(speed / _native.peak_macs(engine, 32, threads, 0.1), 3)


@pytest.mark.parametrize(("N", "M"), WIDTHS)
@pytest.mark.parametrize("name", ["g_s", "g_a"])
def test_packing(benchmark, name, N, M, timing):
    """Weights into the form that they are used in: what the first image of a process waits for."""
    N, M = (N, M) if timing else (N // 8, M // 8)
    benchmark.group = f"packing {name}"
    layers = as_layers(random_net(name, "mbt2018", N, M))
    net = benchmark.pedantic(lambda: _native.TransformNet(layers), rounds=15)
    assert net.run(np.zeros((16, 16, 3 if name == "g_a" else M), np.float32)).shape == ((1, 1, M) if name == "g_a" else (256, 256, 3))


@pytest.mark.parametrize("megapixels", SIZES)
@pytest.mark.parametrize("name", ["g_s", "g_a"])
def test_sizes_by_strips(benchmark, name, megapixels, timing):
    """Rows are dropped as they come, so that the time is that of the transform alone."""
    N, M = (64, 192) if timing else (8, 24)
    benchmark.group = f"{name} {N}/{M} by strips of {STRIP} rows, 2 threads"
    height, width = SIZES[megapixels] if timing else (320, 48)
    native = _native.TransformNet(as_layers(load(name, N, M, 16, 16)[0]))
    height, strip, channels = (height, STRIP, 3) if name == "g_a" else (height // 16, STRIP // 16, M)
    width = width if name == "g_a" else width // 16
    block = np.random.default_rng(0).random((strip, width, channels), np.float32)

    def run() -> tuple[int, Floats]:
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
