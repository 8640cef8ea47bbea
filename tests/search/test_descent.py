# SPDX-License-Identifier: Apache-2.0
"""The descent of efforts 2 and 3: what a step up costs, counted by rows, and how much of the picture's size is held at a time."""

import tracemalloc

import numpy as np
import pytest
from builders import SHIPPED, photo

from jahp_fast import Codec
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.search import descent
from jahp_fast.search.bits import SymbolBits


@pytest.mark.parametrize("shape", [(1, 1, 192), (3, 5, 192), (7, 2, 192)])
def test_what_the_integer_above_costs(shape):
    model = ModelFile(SHIPPED)
    bits, rng = SymbolBits(model, reference=False), np.random.default_rng(shape[0])
    rows = rng.integers(0, len(model.entropy["tables.size"]), shape, dtype=np.int32)
    for values in (rng.integers(-9, 9, shape, dtype=np.int32), rng.choice(np.array([-65534, -32768, 32767, 65534], np.int32), shape)):
        more = bits.above(rows, values)
        assert more.dtype == np.float32
        np.testing.assert_array_equal(more, bits.of(rows, values + 1) - bits.of(rows, values))
        assert values.max() > 100 or shape[0] == 1 or ((more > 0).any() and (more < 0).any())


@pytest.mark.parametrize("tune", [None, "eye"])
def test_memory_of_a_round(monkeypatch, tune):
    """Bytes that NumPy holds for a pixel more: six arrays of the size of the latents, of 3 bytes a pixel each."""
    monkeypatch.setitem(descent.SCHEDULES, 2, descent.SCHEDULES[2]._replace(rounds=2))
    codec, image, peaks = Codec(threads=1), photo(), []
    codec.encode(image[:64], 2, tune=tune)
    for height in (256, 512):
        tracemalloc.start()
        try:
            codec.encode(image[:height], 2, tune=tune)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / (256 * image.shape[1]) < 23
