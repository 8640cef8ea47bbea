# SPDX-License-Identifier: Apache-2.0
"""Draws and moves of latents: native and plain, bit for bit, and what they refuse. csrc/tests/test_annealing.cpp has what they do."""

import numpy as np
import pytest

from jahp_fast import _native
from jahp_fast.errors import UsageError
from jahp_fast.search.annealing import Annealing

BOTH = [Annealing, _native.Annealing]


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e6, 1e37])
def test_native_is_plain(scale):
    rng = np.random.default_rng(0)
    start = rng.normal(0, 3, (5, 7, 33)).astype(np.float32)
    start[0, 0, :6] = [32767, -32767, 0.5, -1.5, 0, -0.0]
    start[1] = np.round(2 * start[1]) / 2
    plain, fast = (kind(start) for kind in BOTH)
    width, seen = 1.0, []
    with np.errstate(all="ignore"):
        for round in (0, 1, 2, 3, 4, 5, 6, 7, 2**31, 2**32 - 1):
            drawn = plain.draw(width, round)
            assert drawn.dtype == np.int32
            assert np.array_equal(fast.draw(width, round), drawn)
            assert np.array_equal(fast.below(), plain.below())
            assert set(np.unique(drawn - plain.below())) <= {0, 1}
            slope, bits = (scale * rng.normal(0, 3, (2, *start.shape))).astype(np.float32)
            curvature = (scale * rng.random(33)).astype(np.float32)
            for one in (plain, fast):
                one.move(slope, bits, curvature, 0.6, 0.95, 0.3, 1 / (1 - 0.95 ** (len(seen) + 1)))
            assert np.array_equal(fast.nearest(), plain.nearest())
            seen.append(drawn)
            width *= 0.8
    assert scale > 1e30 or bool((plain.nearest() != np.rint(start)).any()) == (scale > 0)
    assert any(not np.array_equal(seen[0], later) for later in seen)


def test_moves_that_are_no_numbers_are_not_made():
    start = np.array([[[1.25, -7.75]]], np.float32)
    for kind in BOTH:
        annealing = kind(start)
        annealing.draw(1.0, 0)
        with np.errstate(all="ignore"):
            for wrong in (np.inf, np.nan, 3e38):
                slope, bits = np.full((2, *start.shape), wrong, np.float32) * np.array([1, -1], np.float32)[:, None, None, None]
                annealing.move(slope, bits, np.zeros(2, np.float32), 0.5, 0.5, 0.1, 2.0)
        assert annealing.nearest().tolist() == [[[1, -8]]]


def test_what_both_refuse():
    for kind in BOTH:
        for wrong in (32768.0, -1e30, np.nan, np.inf):
            with pytest.raises(UsageError, match="beyond 32767 or not a number"):
                kind(np.full((1, 1, 1), wrong, np.float32))


def test_what_the_native_one_refuses():
    annealing, fits = _native.Annealing(np.zeros((2, 3, 4), np.float32)), np.zeros((2, 3, 4), np.float32)
    for width in (0.0, -1.0, np.nan):
        with pytest.raises(UsageError, match="width must be positive"):
            annealing.draw(width, 0)
    for slope, bits, curvature, message in (
        (fits[:1].copy(), fits, fits[0, 0], "slope has 12 values, not 24"),
        (fits, fits[:1].copy(), fits[0, 0], "bits has 12 values, not 24"),
        (fits, fits, fits[0, 0, :3].copy(), "curvature has 3 values, not 4"),
        (fits.astype(np.float64), fits, fits[0, 0], "slope must be a C-contiguous array of float32"),
    ):
        with pytest.raises(UsageError, match=message):
            annealing.move(slope, bits, curvature, 0.5, 0.5, 0.1, 1.0)
    with pytest.raises(UsageError, match="no latents"):
        _native.Annealing(np.zeros((0, 3, 4), np.float32))
