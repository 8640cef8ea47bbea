# SPDX-License-Identifier: Apache-2.0
"""Probability tables against exhaustive search and the standard library's error function."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jahp_fast.export.tables import SCALE_MAX, SCALE_MIN, TAIL, gaussian_row, make_row, quantise_frequencies, scale_table


def cost(p, counts):
    """Bits a symbol of a source p, coded under counts."""
    p = np.asarray(p) / np.sum(p)
    return -sum(a * math.log2(c / sum(counts)) for a, c in zip(p, counts, strict=True) if a > 0)


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.lists(st.floats(1e-12, 1), min_size=1, max_size=60), st.integers(6, 16))
def test_frequencies(p, bits):
    counts = quantise_frequencies(np.array(p), bits)
    assert counts.sum() == 1 << bits
    assert counts.min() >= 1


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(st.lists(st.floats(1e-6, 1), min_size=2, max_size=4), st.integers(3, 5))
def test_frequencies_against_all_there_are(p, bits):
    total = 1 << bits
    best = min(cost(p, [*head, total - sum(head)]) for head in itertools.product(range(1, total), repeat=len(p) - 1) if sum(head) < total)
    assert cost(p, quantise_frequencies(np.array(p), bits).tolist()) <= best * 1.02 + 1e-9


def frequencies(row, prob_bits):
    return np.diff([*row.starts.astype(np.int64), 1 << prob_bits])


def box(value, mean, scale):
    """The mass of [value - 1/2, value + 1/2] under a Gaussian."""
    return 0.5 * (math.erf((value + 0.5 - mean) / (scale * math.sqrt(2))) - math.erf((value - 0.5 - mean) / (scale * math.sqrt(2))))


@pytest.mark.parametrize("prob_bits", [15, 16])
@pytest.mark.parametrize("scale", [0.11, 0.3, 1.0, 4.0, 40.0, 256.0])
@pytest.mark.parametrize("mean", [0.0, 0.25, 0.9, -0.5])
def test_gaussian_rows(mean, scale, prob_bits):
    row = gaussian_row(mean, scale, prob_bits)
    counts = frequencies(row, prob_bits)
    assert counts.sum() == 1 << prob_bits
    assert counts.min() >= 1
    for k, count in enumerate(counts[:-1].tolist()):
        # A unit is lost or won by rounding; small entries pay for those that cannot fall below 1.
        want = box(row.low + k, mean, scale) * (1 << prob_bits)
        assert abs(count - want) <= 2 + 0.003 * want
    entries = np.arange(row.low, row.low + row.size)
    assert entries[0] <= mean - 1.5
    assert entries[-1] >= mean + 1.5
    for beyond in (row.low - 1, row.low + row.size):
        assert box(beyond, mean, scale) * (1 << prob_bits) < TAIL
    outside = 1 - sum(box(v, mean, scale) for v in entries.tolist())
    assert abs(int(counts[-1]) - max(1, outside * (1 << prob_bits))) <= 2


@pytest.mark.parametrize("wide", [0.05, 0.1, 0.25])
@pytest.mark.parametrize(("mean", "scale"), [(0.3, 0.5), (0.0, 2.0), (-0.5, 8.0)])
def test_wide_rows_have_the_variance_and_heavier_tails(mean, scale, wide):
    row = gaussian_row(mean, scale, 16, wide=wide)
    counts = frequencies(row, 16)[:-1]
    values = np.arange(row.low, row.low + row.size)
    narrow = scale * math.sqrt((1 - 2 * wide) / (1 - wide))
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        want = ((1 - wide) * box(value, mean, narrow) + wide * box(value, mean, scale * math.sqrt(2))) * (1 << 16)
        assert abs(count - want) <= 2 + 0.003 * want
    variance = (counts * (values - mean) ** 2).sum() / counts.sum()
    assert variance == pytest.approx(scale**2 + 1 / 12, rel=0.03)  # a box adds a twelfth
    assert row.size > gaussian_row(mean, scale, 16).size


def test_make_row_leaves_rare_values_to_the_escape():
    values = np.arange(-10, 11)
    p = np.where(values == 3, 0.9, 0.0) + np.where(np.abs(values - 3) == 6, 1e-7, 0.0)
    row = make_row(values, p, 15)
    assert (row.low, row.size) == (1, 5)  # two to each side of the mode, whatever their probability
    assert frequencies(row, 15)[-1] == pytest.approx(0.1 * 32768, rel=0.01)


@pytest.mark.parametrize("fractions", [True, False])
def test_scale_table(fractions):
    table = scale_table(6, 15, fractions=fractions)
    assert len(table.scales) == len(table.row) == len(table.drop) == len(table.boundaries) + 1 == 64
    assert table.scales[0] == SCALE_MIN
    assert table.scales[-1] == pytest.approx(SCALE_MAX)
    assert np.all((table.boundaries > table.scales[:-1]) & (table.boundaries < table.scales[1:]))
    cells = 1 << (6 - table.drop) if fractions else np.ones(64, int)
    assert table.row.tolist() == [0, *np.cumsum(cells)[:-1]]
    assert len(table.rows) == cells.sum()
    if fractions:
        assert np.all(np.diff(table.drop) >= 0)
        width = 1 / cells
        assert np.all(width <= np.maximum(table.scales, 0.25) / 3 + 1e-12)


def test_cells_are_centred_on_their_means():
    """Row f of a scale describes a mean in the middle of its cell: its own mean, read off the frequencies, is there."""
    table = scale_table(6, 16, fractions=True)
    for s in (0, 20, 30, 40):
        cells = 1 << (6 - int(table.drop[s]))
        for f in range(cells):
            row = table.rows[int(table.row[s]) + f]
            counts = frequencies(row, 16)[:-1]
            mean = float((counts * (row.low + np.arange(row.size))).sum() / counts.sum())
            centre = (f + 0.5) / cells
            want = sum(v * box(v, centre, table.scales[s]) for v in range(row.low, row.low + row.size))
            assert mean == pytest.approx(want, abs=0.01 * max(1, table.scales[s]))


def grid_cost(table, prob_bits, s, mean):
    """Bits a symbol that the cell of a mean in [0, 1) costs at scale s, above the row of that very mean."""
    scale = float(table.scales[s])
    reach = math.ceil(6 * scale) + 2
    p = np.array([box(v, mean, scale) for v in range(-reach, reach + 2)])

    def bits(row):
        out = np.full(len(p), prob_bits - math.log2(frequencies(row, prob_bits)[-1]) + 16)
        inside = prob_bits - np.log2(frequencies(row, prob_bits)[:-1])
        first = row.low + reach
        kept = inside[max(0, -first) : len(p) - first]
        out[max(0, first) : max(0, first) + len(kept)] = kept
        return out

    chosen = table.rows[int(table.row[s]) + (int(mean * 64) >> int(table.drop[s]))]
    return float((p * (bits(chosen) - bits(gaussian_row(mean, scale, prob_bits)))).sum())


def test_the_grid_of_means_costs_what_its_docstring_says():
    table = scale_table(6, 15, fractions=True)
    means = (np.arange(32) + 0.5) / 32
    costs = np.array([[grid_cost(table, 15, s, float(m)) for m in means] for s in range(0, 42, 3)])
    assert 0.0003 < costs.mean() < 0.0008
    assert costs.mean(axis=1).max() < 0.0018
    assert costs.max() < 0.0048
