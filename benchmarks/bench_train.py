# SPDX-License-Identifier: Apache-2.0
"""A training step of the default model (N = 64, M = 192, 10 crops of 192 x 192), by torch.compile and without, and its optimiser beside
`pytorch_optimizer`'s.

    pytest -m "slow or not slow" benchmarks/bench_train.py

jemalloc and passive waiting matter as much as anything here: see docs/guide/train.md for the environment that `jahp train` sets.
"""

from __future__ import annotations

import copy
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_optimizer import SOAP as Original

from jahp_fast.models.registry import build
from jahp_fast.system.console import ProgressLine
from jahp_fast.train.loop import Trainer
from jahp_fast.train.settings import Settings
from jahp_fast.train.soap import SOAP


@pytest.mark.benchmark(group="training step")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch within torch.compile
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])  # minutes
def test_step(benchmark, tmp_path: Path, compiled: bool):
    rng = np.random.default_rng(0)
    for k in range(8):
        noise = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((288, 256), Image.Resampling.BICUBIC).save(tmp_path / f"{k}.png")
    trainer = Trainer(Settings(photos=(tmp_path,), work=tmp_path / "work", minutes=1.0, compile=compiled), ProgressLine(io.StringIO()))
    benchmark.pedantic(trainer.step, rounds=10, warmup_rounds=2)
    assert trainer.training.steps in (1, 12)  # one where timing is disabled
    assert all(bool(p.isfinite().all()) for p in trainer.model.parameters())
    if benchmark.enabled:
        benchmark.extra_info["crops per second"] = trainer.settings.batch / benchmark.stats["median"]


@pytest.fixture(scope="module")
def gradients():
    """The default model with a gradient on every weight that one step would give it."""
    torch.manual_seed(0)
    model = build("mbt2018", 64, 192).to(memory_format=torch.channels_last)
    x = torch.rand(8, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    out = model(x, torch.arange(8))
    (out.bpp.sum() + (out.x_hat - x).square().mean()).backward()
    return [p for p in model.parameters() if p.grad is not None]


@pytest.mark.benchmark(group="optimiser step")
@pytest.mark.parametrize("kind", ["ours", pytest.param("ours, bfloat16", marks=pytest.mark.slow), "pytorch_optimizer"])
def test_soap(benchmark, gradients, kind):
    weights = [torch.nn.Parameter(p.detach().clone()) for p in gradients]
    for p, q in zip(weights, gradients, strict=True):
        p.grad = copy.deepcopy(q.grad)
    if kind == "pytorch_optimizer":
        optimizer = Original(weights, lr=1e-3, weight_decay=0.0)
    else:
        optimizer = SOAP(weights, lr=1e-3, half=kind != "ours")
    optimizer.step()  # sets up the bases, once in a run
    before = [p.detach().clone() for p in weights]
    benchmark.pedantic(optimizer.step, rounds=20)  # two changes of basis
    assert all(float((p - q).detach().abs().max()) > 0 for p, q in zip(weights, before, strict=True))
