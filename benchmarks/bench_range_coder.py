# SPDX-License-Identifier: Apache-2.0
"""The range coder beside its oracle, on as many symbols as a 768x512 photo has at M = 192.

    pytest benchmarks/bench_range_coder.py --benchmark-columns=median,iqr,rounds --benchmark-group-by=group

Symbols follow the stored tables: scales spread evenly over the scale table's lower half (0.11 to 5.3), as in a photo's latents at
middle rates. Times include the check of the columns that name each symbol's lane, row and shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from jahp_fast import _native
from jahp_fast.export.tables import pack_rows, scale_table

SYMBOLS = 48 * 32 * 192
LANES = (1, 8, 64)
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Load:
    tables: _native.CdfTables
    row: Ints
    value: Ints
    shift: Ints
    bits: float  # information content under the tables


@pytest.fixture(scope="session", params=[15, 16], ids=["15 bits", "16 bits"])
def load(request, timing):
    bits, count = request.param, SYMBOLS if timing else 3000
    table = scale_table(6, bits, fractions=True)
    packed = pack_rows(table.rows)
    rng = np.random.default_rng(bits)
    row = rng.integers(0, int(table.row[32]), count).astype(np.int32)
    slots = rng.integers(0, 1 << bits, count)
    shift = rng.integers(-20, 21, count).astype(np.int32)
    value, content = np.empty(count, np.int32), np.empty(count)
    for r in np.unique(row):
        own = np.flatnonzero(row == r)
        starts = np.append(table.rows[r].starts.astype(np.int64), 1 << bits)
        k = np.searchsorted(starts, slots[own], side="right") - 1
        value[own] = table.rows[r].low + k + shift[own]  # behind the table's end it is an escape
        content[own] = bits - np.log2(starts[k + 1] - starts[k]) + 16 * (k == table.rows[r].size)
    tables = _native.CdfTables(bits, packed["tables.low"], packed["tables.size"], packed["tables.starts"])
    return Load(tables, row, value, shift, float(content.sum()))


def lanes_of(load: Load, lanes: int) -> Ints:
    return (np.arange(len(load.row)) % 192 % lanes).astype(np.int32)


@pytest.mark.parametrize("kind", ["oracle", *_native.isa_names()])
@pytest.mark.parametrize("lanes", LANES)
def test_decode(benchmark, load, lanes, kind, request):
    benchmark.group = f"decode, {lanes} lanes, {request.node.callspec.id.split('-')[0]}"
    lane = lanes_of(load, lanes)
    payload = _native.range_encode(load.tables, lanes, lane, load.row, load.value, load.shift)
    arguments = (load.tables, lanes, payload, lane, load.row, load.shift, 0, kind == "oracle", "" if kind == "oracle" else kind)
    values = benchmark.pedantic(_native.range_decode, arguments, rounds=5 if kind == "oracle" else 20, warmup_rounds=1)
    assert np.array_equal(values, load.value)


@pytest.mark.parametrize("kind", ["oracle", "fast"])
@pytest.mark.parametrize("lanes", LANES)
def test_encode(benchmark, load, lanes, kind, request):
    benchmark.group = f"encode, {lanes} lanes, {request.node.callspec.id.split('-')[0]}"
    lane = lanes_of(load, lanes)
    arguments = (load.tables, lanes, lane, load.row, load.value, load.shift, 0, kind == "oracle")
    payload = benchmark.pedantic(_native.range_encode, arguments, rounds=5 if kind == "oracle" else 20, warmup_rounds=1)
    assert payload == _native.range_encode(load.tables, lanes, lane, load.row, load.value, load.shift, 0, kind != "oracle")
    least = load.bits / 8
    assert least <= len(payload) <= least * 1.003 + 4 * lanes + 16
    benchmark.extra_info["bits a symbol"] = round(8 * len(payload) / len(load.row), 3)
