# SPDX-License-Identifier: Apache-2.0
"""The encoder's search: all efforts on a photo, on one thread and on two, and what they do with symbols, native and plain, on the problem
that the photo gives. On a busy machine, --benchmark-timer=time.process_time counts processor time."""

import numpy as np
import pytest
from builders import photo

from jahp_fast import Codec, _native
from jahp_fast.search import annealing, greedy, step_search


@pytest.fixture(scope="module")
def image(timing):
    return photo() if timing else photo()[:48, :64]


@pytest.mark.parametrize("effort", [0, 1, 2, 3])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.benchmark(group="encoding")
def test_encode(benchmark, image, effort, threads):
    codec = Codec(quality=4, threads=threads)
    codec.encode(image, effort=min(effort, 2))  # nets are packed once
    few = effort > 1
    found = benchmark.pedantic(codec.encode, (image, effort), rounds=4 - effort) if few else benchmark(codec.encode, image, effort=effort)
    assert np.square(codec.decode(found).astype(float) - image).mean() < 255**2 * 10**-2.8


@pytest.mark.parametrize("how", ["native", "plain"])
@pytest.mark.benchmark(group="steps")
def test_steps(benchmark, image, how, monkeypatch):
    seen = []

    def recorded(*arguments):
        seen.append(arguments)
        return native(*arguments)

    native = _native.best_steps
    monkeypatch.setattr(greedy._native, "best_steps", recorded)
    Codec(quality=4).encode(image, effort=1)
    (arguments,) = seen
    steps = benchmark(native if how == "native" else step_search.best_steps, *arguments)
    assert steps.any()


@pytest.mark.parametrize("how", ["native", "plain"])
@pytest.mark.benchmark(group="one round of draws and moves")
def test_annealing(benchmark, image, how):
    rng = np.random.default_rng(0)
    size = -(-image.shape[0] // 16), -(-image.shape[1] // 16), 192
    start, slope, bits = rng.normal(0, 2, (3, *size)).astype(np.float32)
    one = (_native if how == "native" else annealing).Annealing(start)

    def round():
        one.draw(0.5, 3)
        one.move(slope, bits, np.ones(192, np.float32), 0.5, 0.95, 0.05, 1.0)

    benchmark(round)
    assert one.below().shape == size
