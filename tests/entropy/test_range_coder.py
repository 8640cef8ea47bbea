# SPDX-License-Identifier: Apache-2.0
"""The range coder: the fast one, its oracle and the one in plain Python agree, and cost what information theory allows."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jahp_fast import _native
from jahp_fast.entropy import reference
from jahp_fast.errors import FormatError, JahpError, ModelError, UsageError
from jahp_fast.export.tables import Row, gaussian_row, pack_rows, scale_table

LANES = (1, 2, 4, 8, 16, 32, 64)
QUICK = settings(max_examples=150, deadline=None, database=None, derandomize=True)


def native_tables(rows, prob_bits):
    packed = pack_rows(rows)
    return _native.CdfTables(prob_bits, packed["tables.low"], packed["tables.size"], packed["tables.starts"])


def python_rows(rows, prob_bits):
    return [reference.TableRow(r.low, [*r.starts[1:].tolist(), 1 << prob_bits]) for r in rows]


def columns(symbols):
    """[(lane, row, value, shift)] -> four int32 arrays."""
    return [np.array([s[i] for s in symbols], np.int32) for i in range(4)]


def encode(tables, lanes, symbols, min_bytes=0, reference=False):
    lane, row, value, shift = columns(symbols)
    return _native.range_encode(tables, lanes, lane, row, value, shift, min_bytes, reference)


def decode(tables, lanes, payload, symbols, min_bytes=0, reference=False):
    lane, row, _, shift = columns(symbols)
    return _native.range_decode(tables, lanes, payload, lane, row, shift, min_bytes, reference).tolist()


def python_encode(rows, prob_bits, lanes, symbols, min_bytes=0):
    coder = reference.RangeEncoder(prob_bits)
    table = python_rows(rows, prob_bits)
    for lane, row, value, shift in symbols:
        coder.put(lane, table[row], value, shift)
    return coder.finish(lanes, min_bytes)


def python_decode(rows, prob_bits, lanes, payload, symbols, min_bytes=0):
    coder = reference.RangeDecoder(prob_bits, lanes, payload, len(symbols))
    table = python_rows(rows, prob_bits)
    values = [coder.get(lane, table[row], shift) for lane, row, _, shift in symbols]
    coder.finish(min_bytes)
    return values


@st.composite
def problems(draw):
    """prob_bits, lanes, table rows and symbols: frequencies from even to extreme, supports of 1 to 40 values, shifts, escapes."""
    prob_bits = draw(st.sampled_from((15, 16)))
    lanes = draw(st.sampled_from(LANES))
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        size = draw(st.integers(1, 40))
        cuts = draw(st.sets(st.integers(1, (1 << prob_bits) - 1), min_size=size, max_size=size))
        rows.append(Row(draw(st.integers(-40, 5)), np.array([0, *sorted(cuts)], np.uint16)))
    near = st.integers(-50, 50)
    value = st.one_of(near, near, near, st.integers(-32767, 32767), st.sampled_from((-32767, 32767)))
    symbol = st.tuples(st.integers(0, lanes - 1), st.integers(0, len(rows) - 1), value, st.one_of(st.just(0), st.integers(-9, 9)))
    return prob_bits, lanes, rows, draw(st.lists(symbol, max_size=80))


@QUICK
@given(problems(), st.integers(0, 300))
def test_three_coders_agree(problem, min_bytes):
    prob_bits, lanes, rows, symbols = problem
    tables = native_tables(rows, prob_bits)
    payload = encode(tables, lanes, symbols, min_bytes)
    assert payload == encode(tables, lanes, symbols, min_bytes, reference=True)
    assert payload == python_encode(rows, prob_bits, lanes, symbols, min_bytes)
    assert len(payload) >= min_bytes
    values = [s[2] for s in symbols]
    assert decode(tables, lanes, payload, symbols, min_bytes) == values
    assert decode(tables, lanes, payload, symbols, min_bytes, reference=True) == values
    assert python_decode(rows, prob_bits, lanes, payload, symbols, min_bytes) == values


@QUICK
@given(problems(), st.data())
def test_three_coders_refuse_alike(problem, data):
    """A damaged payload: all three give the same symbols, or none gives any."""
    prob_bits, lanes, rows, symbols = problem
    tables = native_tables(rows, prob_bits)
    payload = bytearray(encode(tables, lanes, symbols))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    payload = bytes(payload[: data.draw(st.integers(0, len(payload)))] if data.draw(st.booleans()) else payload)
    min_bytes = data.draw(st.sampled_from((0, len(payload))))

    def result(function):
        try:
            return function()
        except FormatError:
            return "refused"

    fast = result(lambda: decode(tables, lanes, payload, symbols, min_bytes))
    assert fast == result(lambda: decode(tables, lanes, payload, symbols, min_bytes, reference=True))
    assert fast == result(lambda: python_decode(rows, prob_bits, lanes, payload, symbols, min_bytes))


def information_bits(row, prob_bits, indices):
    """Of entries under the stored row; an escape has 16 bits more."""
    frequencies = np.diff([*row.starts.astype(np.int64), 1 << prob_bits])
    bits = prob_bits - np.log2(frequencies) + 16 * (np.arange(len(frequencies)) == row.size)
    return float(bits[indices].sum())


def draw_from_table(rng, row, prob_bits, n):
    """n symbols as likely as the row says -> entries, values."""
    ends = np.array([*row.starts[1:].tolist(), 1 << prob_bits])
    entries = np.searchsorted(ends, rng.integers(0, 1 << prob_bits, n), side="right")
    outside = np.where(rng.random(n) < 0.5, rng.integers(row.low + row.size, 32768, n), rng.integers(-32767, row.low, n))
    return entries, np.where(entries == row.size, outside, row.low + entries)


def check_cost(payload_bytes, bits, prob_bits, lanes):
    slack = 1.0015 if prob_bits == 15 else 1.003
    assert 8 * payload_bytes <= slack * bits + 8 * (4 * lanes + 16)
    assert 8 * payload_bytes >= bits  # nothing is cheaper than its information; else this test computes it wrongly


@pytest.mark.parametrize("lanes", [1, 8, 64])
@pytest.mark.parametrize("prob_bits", [15, 16])
def test_cost_at_every_scale(prob_bits, lanes):
    rng = np.random.default_rng(prob_bits + lanes)
    table = scale_table(6, prob_bits, fractions=True)
    tables = native_tables(table.rows, prob_bits)
    n = 40_000
    lane = np.arange(n, dtype=np.int32) % lanes
    every_row, every_value, total = [], [], 0.0
    for first in table.row.tolist():
        entries, values = draw_from_table(rng, table.rows[first], prob_bits, n)
        bits = information_bits(table.rows[first], prob_bits, entries)
        row, value, shift = np.full(n, first, np.int32), values.astype(np.int32), np.zeros(n, np.int32)
        payload = _native.range_encode(tables, lanes, lane, row, value, shift)
        check_cost(len(payload), bits, prob_bits, lanes)
        assert np.array_equal(_native.range_decode(tables, lanes, payload, lane, row, shift), value)
        every_row.append(row[:2000])
        every_value.append(value[:2000])
        total += information_bits(table.rows[first], prob_bits, entries[:2000])
    order = rng.permutation(2000 * len(every_row))
    row, value = np.concatenate(every_row)[order], np.concatenate(every_value)[order]
    lane = rng.integers(0, lanes, len(row)).astype(np.int32)
    payload = _native.range_encode(tables, lanes, lane, row, value, np.zeros_like(row))
    check_cost(len(payload), total, prob_bits, lanes)


@pytest.mark.parametrize("prob_bits", [15, 16])
@pytest.mark.parametrize("lanes", LANES)
def test_no_one_and_two_symbols(lanes, prob_bits):
    row = gaussian_row(0.3, 1.0, prob_bits)
    tables = native_tables([row], prob_bits)
    empty = struct.pack("<I", 0) + struct.pack("<I", 1 << 16) * lanes
    assert encode(tables, lanes, []) == encode(tables, lanes, [], reference=True) == empty
    assert decode(tables, lanes, empty, []) == []
    for values in ((0,), (-1, 2), (32767, -32767)):
        symbols = [(i % lanes, 0, v, 0) for i, v in enumerate(values)]
        payload = encode(tables, lanes, symbols)
        assert payload == python_encode([row], prob_bits, lanes, symbols)
        assert decode(tables, lanes, payload, symbols) == list(values)


@pytest.mark.parametrize("lanes", LANES)
def test_nothing_but_escapes(lanes):
    row = Row(0, np.array([0, 32767], np.uint16))  # the escape has the least frequency there is
    tables = native_tables([row], 15)
    values = [v for v in range(-32767, 32768, 131) if v != 0]
    symbols = [(i % lanes, 0, v, 0) for i, v in enumerate(values)]
    payload = encode(tables, lanes, symbols)
    assert payload == encode(tables, lanes, symbols, reference=True)
    assert decode(tables, lanes, payload, symbols) == values
    assert len(payload) <= 1.0015 * len(values) * 31 / 8 + 4 * lanes + 16
    assert struct.unpack_from("<I", payload) == (len(values),)
    assert list(struct.unpack_from(f"<{len(values)}h", payload, 4)) == values


@pytest.mark.parametrize("value", [32768, -32768, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("reference", [False, True])
def test_values_beyond_the_limit(value, reference):
    tables = native_tables([gaussian_row(0, 1, 15)], 15)
    with pytest.raises(UsageError, match="beyond 32767"):
        encode(tables, 1, [(0, 0, value, 0)], reference=reference)
    with pytest.raises(UsageError, match="beyond 32767"):
        python_encode([gaussian_row(0, 1, 15)], 15, 1, [(0, 0, value, 0)])


def test_decoded_value_beyond_the_limit():
    """A shift can carry an entry of the table beyond ±32767: the decoder refuses what no encoder writes."""
    row = gaussian_row(0, 1, 15)
    tables = native_tables([row], 15)
    payload = encode(tables, 1, [(0, 0, 1, 0)])
    for shift in (32767, -32769):
        symbols = [(0, 0, 0, shift)]
        for plain in (False, True):
            with pytest.raises(FormatError, match="beyond 32767"):
                decode(tables, 1, payload, symbols, reference=plain)
        with pytest.raises(FormatError, match="beyond 32767"):
            python_decode([row], 15, 1, payload, symbols)


@pytest.fixture(scope="module")
def example():
    """tables, rows, symbols and payload of 60 symbols on 4 lanes, two of them escapes."""
    rows = [gaussian_row(0.2, 1.5, 15)]
    rng = np.random.default_rng(4)
    symbols = [(i % 4, 0, int(v), 0) for i, v in enumerate(rng.integers(-4, 5, 60))]
    symbols[7], symbols[30] = (3, 0, 1000, 0), (2, 0, -999, 0)
    tables = native_tables(rows, 15)
    return tables, rows, symbols, encode(tables, 4, symbols)


@pytest.mark.parametrize("reference", [False, True])
def test_every_truncation_is_noticed(example, reference):
    tables, rows, symbols, payload = example
    for n in range(len(payload)):
        with pytest.raises(FormatError):
            decode(tables, 4, payload[:n], symbols, reference=reference)
        with pytest.raises(FormatError):
            python_decode(rows, 15, 4, payload[:n], symbols)


@pytest.mark.parametrize("reference", [False, True])
def test_trailing_bytes_and_padding(example, reference):
    tables, _, symbols, payload = example
    values = [s[2] for s in symbols]
    for extra in (b"\0", b"\0\0", b"\xaa\x55"):
        with pytest.raises(FormatError, match="left over"):
            decode(tables, 4, payload + extra, symbols, reference=reference)
    padded = encode(tables, 4, symbols, len(payload) + 7, reference=reference)
    assert padded == payload + bytes(7)
    assert decode(tables, 4, padded, symbols, len(padded), reference=reference) == values
    for at in range(len(payload), len(padded)):
        with pytest.raises(FormatError, match="padding is not zero"):
            decode(tables, 4, padded[:at] + b"\1" + padded[at + 1 :], symbols, len(padded), reference=reference)
    with pytest.raises(FormatError, match="left over"):
        decode(tables, 4, padded, symbols, len(padded) - 1, reference=reference)


@pytest.mark.parametrize("reference", [False, True])
def test_end_check(example, reference):
    tables, _, symbols, payload = example
    with pytest.raises(FormatError):  # one symbol fewer: words or states are left
        decode(tables, 4, payload, symbols[:-1], reference=reference)
    with pytest.raises(FormatError):  # one symbol more
        decode(tables, 4, payload, [*symbols, (0, 0, 0, 0)], reference=reference)
    with pytest.raises(FormatError, match="below 2\\^16"):
        decode(tables, 4, payload[:8] + bytes(4) + payload[12:], symbols, reference=reference)
    with pytest.raises(FormatError, match="escapes"):
        decode(tables, 4, struct.pack("<I", 61) + payload[4:], symbols, reference=reference)
    with pytest.raises(FormatError, match="escapes"):
        decode(tables, 4, struct.pack("<I", 2**32 - 1) + payload[4:], symbols, reference=reference)
    held = payload[:4] + struct.pack("<h", 1) + payload[6:]  # the first escape's value becomes one that the table holds
    with pytest.raises(FormatError, match="which its table holds"):
        decode(tables, 4, held, symbols, reference=reference)
    with pytest.raises(FormatError, match="beyond 32767"):
        decode(tables, 4, payload[:4] + struct.pack("<h", -32768) + payload[6:], symbols, reference=reference)


def test_impossible_arguments(example):
    tables, _, symbols, payload = example
    for lanes in (0, 3, 128, -1):
        with pytest.raises(UsageError, match="lanes must be"):
            encode(tables, lanes, symbols)
        with pytest.raises(UsageError, match="lanes must be"):
            decode(tables, lanes, payload, symbols)
        with pytest.raises(UsageError, match="lanes must be"):
            reference.RangeDecoder(15, lanes, payload, 60)
    for symbol, what in (((4, 0, 0, 0), "lane"), ((-1, 0, 0, 0), "lane"), ((0, 1, 0, 0), "row"), ((0, -1, 0, 0), "row"),
                         ((0, 0, 0, 2**24 + 1), "shift")):  # fmt: skip
        with pytest.raises(UsageError, match=f"a {what} is"):
            encode(tables, 4, [symbol])
    lane, row, value, shift = columns(symbols)
    with pytest.raises(UsageError, match="differ in length"):
        _native.range_encode(tables, 4, lane[:-1], row, value, shift)
    with pytest.raises(UsageError, match="C-contiguous array"):
        _native.range_encode(tables, 4, lane.astype(np.int64), row, value, shift)
    with pytest.raises(UsageError, match="C-contiguous array"):
        _native.range_encode(tables, 4, np.repeat(lane, 2)[::2], row, value, shift)


def test_lane_choice():
    """As many lanes as cost 0.5 % of the payload; both encoders choose alike."""
    for n in (10, 3000, 30_000):
        coder = reference.RangeEncoder(15)
        row = reference.TableRow(0, [8192, 16384, 32768])
        for i in range(n):
            coder.put(i, row, i % 2)
        lanes = coder.choose_lanes()
        size = len(coder.finish(lanes, 0))
        assert lanes == 1 or 4 * lanes <= size / 200
        assert lanes == 64 or 2 * 4 * lanes * 200 > 0.98 * n * 2 / 8


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"prob_bits": 14}, "15 or 16 bits"),
        ({"starts": [1, 5, 0, 7, 9]}, "does not start at 0"),
        ({"starts": [0, 5, 0, 7, 7]}, "starts do not rise at entry 2"),
        ({"starts": [0, 5, 0, 7]}, "has not sum"),
        ({"starts": [0, 32768, 0, 7, 9]}, "sums to more"),
        ({"size": [0, 2]}, "size 0"),
        ({"size": [-1, 2]}, "size -1"),
        ({"size": [65536, 2]}, "size 65536"),
        ({"low": [-65536, 0]}, "low -65536"),
        ({"low": [0]}, "differ in length"),
    ],
    ids=str,
)
def test_tables_are_checked(change, what):
    good = {"prob_bits": 15, "low": [-1, 0], "size": [1, 2], "starts": [0, 5, 0, 7, 9]}

    def build(prob_bits, low, size, starts):
        return _native.CdfTables(prob_bits, np.array(low, np.int32), np.array(size, np.int32), np.array(starts, np.uint16))

    assert build(**good).rows == 2
    with pytest.raises(ModelError, match=what) as caught:
        build(**(good | change))
    assert isinstance(caught.value, JahpError)
