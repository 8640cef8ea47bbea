# SPDX-License-Identifier: Apache-2.0
"""The short examples of docs/reference/format.md are what code computes, and decoders read them."""

import re
import zlib

import format_example as example
import format_short_examples as short
import independent
import numpy as np
import pytest
from independent.stream_file import parse_alpha, parse_chunks

from jahp_fast import backends
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.errors import FormatError
from jahp_fast.files import container
from jahp_fast.files.image import unpack_alpha
from jahp_fast.transforms.cpu import CpuTransforms


@pytest.mark.parametrize("name", short.EXAMPLES)
def test_the_page_shows_what_is_computed(name):
    assert short.on_page(name) == short.made(name), "run python tests/support/format_short_examples.py"


def test_the_page_has_no_other_examples():
    assert set(re.findall(r"<!-- example (.*?) -->", example.PAGE.read_text())) == set(short.EXAMPLES)


def test_an_example_that_is_stale_is_noticed_and_written_anew(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(example.PAGE.read_text().replace("| 255 255 128 0 | 255 255 128 0 |", "| 255 255 128 0 | 255 255 128 1 |"))
    original = example.PAGE.read_text()
    made = short.made("alpha")
    monkeypatch.setattr(short, "made", lambda name: made)  # the others read the page
    monkeypatch.setattr(example, "PAGE", page)
    assert short.on_page("alpha") != made
    short.write("alpha")
    assert page.read_text() == original


@pytest.mark.parametrize(
    "make", [lambda folder: short.skipped(folder, "A"), lambda folder: short.skipped(folder, "B"), short.padded], ids=["A", "B", "padding"]
)
def test_decoders_read_the_files(tmp_path, make):
    model, data, y = make(tmp_path)
    stream = container.unpack(data)
    layout = StreamLayout(*y.shape[:2], stream.lanes, stream.skip, container.min_payload_bytes(*stream.size))
    for backend in ("native", "reference"):
        assert np.array_equal(backends.load(backend, model).decode(stream.payload, layout, 1)[1], y)
    assert np.array_equal(independent.decode(independent.parse(data), independent.Model(model.path))[1], y)


def test_examples_show_what_they_are_for(tmp_path):
    model, _, y = short.skipped(tmp_path, "B")
    rows = short.symbol_rows(model, y)
    assert {"skipped"} < {row[4] for row in rows}
    text = " ".join(example.PAGE.read_text().replace("−", "-").split())
    wanted = {row[0]: row for row in rows}
    assert wanted["y(0, 1, 0)"][1:] == ["177", "8", "1", "-3", "-4"]
    assert "coded as (-4 - 8 + 2) >> 2 = -3, and decoded as -3 · 4 + 8 = -4" in text
    assert wanted["y(0, 1, 1)"][2:] == ["-7", "1", "2", "1"]
    assert "becomes 2 · 4 - 7 = 1" in text
    assert wanted["y(1, 1, 0)"][2:] == ["15", "1", "36", "159"]
    assert "36 · 4 + 15 = 159" in text


def test_alpha():
    chunk = short.alpha_chunk()
    data = parse_chunks(chunk)[b"ALPH"]
    assert unpack_alpha(data, 3, 4).tolist() == short.ALPHA
    assert list(parse_alpha(data, 4, 3)) == [n for row in short.ALPHA for n in row]


def test_alpha_with_a_preset_dictionary_is_refused():
    """Nobody could know which."""
    compressor = zlib.compressobj(zdict=bytes(range(12)))
    data = b"\1" + compressor.compress(bytes(range(12))) + compressor.flush()
    with pytest.raises(FormatError, match="alpha is damaged"):
        unpack_alpha(data, 3, 4)
    with pytest.raises(independent.Refused, match="alpha is damaged"):
        parse_alpha(data, 4, 3)


@pytest.mark.parametrize("native", [True, False], ids=["native", "reference"])
def test_g_s(tmp_path, native):
    """Pixels of the package's own transforms are those of the page's formulas in float64."""
    y = np.array([[[short.LATENT, 0]]], np.int32)
    transforms = CpuTransforms(short.transforms_model(tmp_path), native)
    rows = np.concatenate(list(transforms.synthesis([y], 16, 16, short.QUALITY, 0)))
    last = short.synthesis()[2]
    assert rows[0, 0].tolist() == short.pixel(last[:, 0, 0])
    exact = np.clip(last, 0, 1).transpose(1, 2, 0) * 255
    assert np.abs(rows - exact).max() < 0.501


def test_the_page_says_what_g_s_the_example_has():
    text = " ".join(example.PAGE.read_text().split())
    for taps in short.TAPS:
        assert "(" + ", ".join(f"{n:g}" for n in taps).replace("-", "−") + ")" in text
    multiples = "| `g_s.6` | red 0.25, green 0.125, blue −0.125 | 0.25, 0.5, 0.75 |"
    assert multiples in text
    assert short.LAYERS == [([1.0], [0.125]), ([0.5], [-0.25]), ([0.5], [0.0]), ([0.25, 0.125, -0.125], [0.25, 0.5, 0.75])]
    assert (short.BETA, short.GAMMA, short.INV_GAIN, short.LATENT, short.QUALITY) == (1, 0.5, [0, -0.5], 3, 4.5)
