# SPDX-License-Identifier: Apache-2.0
"""The words of docs/reference/format.md, section 14, as transforms.reference has them, beside exact arithmetic."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jahp_fast.constants import LAMBDAS, trade_off
from jahp_fast.entropy.model_file import ModelConfig
from jahp_fast.search.adjoint import NOISE_SIDE, usual_error, white_noise
from jahp_fast.search.bits import BIT_STEPS, rounded_bits
from jahp_fast.transforms import reference
from jahp_fast.transforms.layers import (
    COARSE,
    FINE,
    LEAST_GDN_SHIFT,
    LEAST_LOG,
    MOST_LOG,
    SQUARE_SHIFT,
    SUM_LIMIT,
    mixed,
    multipliers,
)

EDGES = [1, 2, 3, 4, 6, 7, 12, 13, 2**16, 2**29 - 1, 2**29, 2**30, 46340 * 46341, 46340 * 46341 + 1, 2**31 - 2, 2**31 - 1]


def nearest_half_up(x: Fraction) -> int:
    return math.floor(x + Fraction(1, 2))


@given(st.one_of(st.sampled_from(EDGES), st.integers(1, 2**31 - 1)))
def test_root_is_the_nearest(n):
    r = int(reference.root(np.array([n], np.int64))[0])
    assert (2 * r - 1) ** 2 < 4 * n < (2 * r + 1) ** 2
    assert r * r - r < n <= r * r + r


@given(st.integers(-(2**45), 2**45), st.integers(0, 31))
def test_shifted(a, s):
    assert int(reference.shifted(np.array([a], np.int64), np.array([s], np.uint8))[0]) == nearest_half_up(Fraction(a, 2**s))


@given(st.integers(-(2**50), 2**50))
def test_wrapped(a):
    w = int(reference.wrapped(np.array([a], np.int64))[0])
    assert -(2**29) <= w < 2**29
    assert (a - w) % 2**30 == 0


@given(st.integers(-SUM_LIMIT, SUM_LIMIT), st.one_of(st.sampled_from(EDGES), st.integers(1, 2**31 - 1)), st.integers(LEAST_GDN_SHIFT, 31))
def test_gdn_is_near_the_quotient(x, n, shift):
    got = int(reference.divided(np.array([x], np.int64), np.array([n], np.int64), np.array([shift], np.uint8))[0])
    want = x / math.sqrt(n) * 2.0 ** (30 - shift)
    assert abs(got - want) <= 0.5 + abs(want) * 2.0**-13.5


def test_squares_of_sums_have_16_bits():
    assert int(reference.shifted(np.array([SUM_LIMIT**2], np.int64), np.full(1, SQUARE_SHIFT, np.uint8))[0]) <= 65535


@pytest.mark.parametrize("qualities", [(1.0, 2.0, 3.0), (1.0, 8.0), (2.5, 2.55, 7.0)])
def test_mixtures_lie_between_rows_and_meet_them(qualities):
    config = ModelConfig("mbt2018", 6, 4, "A", 8, 6, 0, 15, qualities)
    low, high = np.array([-32767, 0, 5, 32767], np.int16), np.array([32767, 1, 6, -32767], np.int16)
    for code in range(round(20 * (qualities[-1] - qualities[0])) + 1):
        quality = qualities[0] + code / 20
        row, t, steps = config.between(quality)
        assert qualities[row] * 20 + t == pytest.approx(quality * 20)
        got = mixed(low, high, t, steps)
        want = [math.floor(Fraction(int(a) * (steps - t) + int(b) * t + steps // 2, steps)) for a, b in zip(low, high, strict=True)]
        assert got.tolist() == want
        if t == steps:
            assert np.array_equal(got, high)
    assert replace(config, qualities=(4.0,)).between(4.0) == (0, 0, 1)


@pytest.mark.parametrize(("table", "steps"), [(COARSE, 64), (FINE, 4096)], ids=["coarse", "fine"])
def test_powers_of_two_are_the_nearest_integers(table, steps):
    for i, n in enumerate(table.tolist()):
        exact = 2 ** (15 * steps + i)
        assert (2 * n - 1) ** steps < 2**steps * exact < (2 * n + 1) ** steps


def test_multipliers_of_logarithms():
    logs = np.concatenate([np.arange(-5000, 5000), [LEAST_LOG, MOST_LOG]]).astype(np.int64)
    mul, shift = multipliers(logs)
    assert mul.min() == 32768
    assert mul.max() <= 65535
    assert (shift.min(), shift.max()) == (1, 62)
    assert np.abs(mul * 2.0 ** -shift.astype(float) / 2.0 ** (logs / 4096) - 1).max() < 2.0**-14


def test_logarithms_that_files_depend_on_are_far_from_a_tie():
    """So that another library of mathematics rounds them alike: bits of symbols, and the trade-offs as float32."""
    steps = np.log2(np.arange(1, 2**16 + 1)) * BIT_STEPS
    assert np.abs(np.abs(steps - np.floor(steps)) - 0.5).min() > 1e-6
    assert rounded_bits(15, np.array([1, 2**14, 2**15])).tolist() == [15, 1, 0]
    for code in range(20, 161):
        exact = trade_off(code / 20) * 255**2 / 3
        spacing = float(np.spacing(np.float32(exact)))
        assert abs(abs(exact - float(np.float32(exact))) - spacing / 2) > 1e-5 * spacing
        assert abs(usual_error(code / 20) % 1 - 0.5) > 1e-6
    assert trade_off(1) == pytest.approx(LAMBDAS[0])


def test_white_noise_is_white():
    noise = white_noise(12).astype(float)
    assert noise.shape == (16 * NOISE_SIDE, 16 * NOISE_SIDE, 3)
    assert (noise.min(), noise.max()) == (-12, 12)
    assert abs(noise.mean()) < 0.15
    assert noise.std() == pytest.approx((24 * 26 / 12) ** 0.5, rel=0.02)
    for one, other in ((noise[1:], noise[:-1]), (noise[:, 1:], noise[:, :-1]), (noise[..., 1:], noise[..., :-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.02
    assert noise[0, 0].tolist() == [-12, -3, 10]  # of all libraries
