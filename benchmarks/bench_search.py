# SPDX-License-Identifier: Apache-2.0
"""The encoder's search: efforts 0 and 1 on a photo, and the search for steps, native and plain, on the problem that the photo gives."""

import pytest
from builders import photo

from jahp_fast import Codec, _native
from jahp_fast.search import greedy, step_search


@pytest.fixture(scope="module")
def image(timing):
    return photo() if timing else photo()[:48, :64]


@pytest.mark.parametrize("effort", [0, 1])
@pytest.mark.benchmark(group="encoding, one thread")
def test_encode(benchmark, image, effort):
    codec = Codec(quality=4, threads=1)
    codec.encode(image, effort=effort)  # nets are packed once
    assert len(benchmark(codec.encode, image, effort=effort)) > 100


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
