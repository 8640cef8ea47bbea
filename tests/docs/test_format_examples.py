# SPDX-License-Identifier: Apache-2.0
"""The short examples of docs/reference/format.md are what code computes, and decoders read them."""

import re

import format_example as example
import format_short_examples as short
import independent
import numpy as np
import pytest
from independent.layers import parse_alpha
from independent.stream_file import parse_chunks

from jahp_fast import backends
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.files import container
from jahp_fast.files.alpha import unpack_alpha
from jahp_fast.transforms.cpu import CpuTransforms


@pytest.mark.parametrize("name", short.EXAMPLES)
def test_the_page_shows_what_is_computed(name):
    assert short.on_page(name) == short.made(name), "run python tests/support/format_short_examples.py"


def test_the_page_has_no_other_examples():
    assert set(re.findall(r"<!-- example (.*?) -->", example.PAGE.read_text())) == set(short.EXAMPLES)


def test_an_example_that_is_stale_is_noticed_and_written_anew(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(example.PAGE.read_text().replace("| 255 255 128 0 |", "| 255 255 128 1 |"))
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


@pytest.mark.parametrize("native", [True, False], ids=["native", "reference"])
def test_g_s(tmp_path, native):
    """Pixels of the package's own transforms are those of the page's formulas."""
    y = np.array([[[short.LATENT, 0]]], np.int32)
    transforms = CpuTransforms(short.transforms_model(tmp_path), native)
    rows = np.concatenate(list(transforms.synthesis([y], 16, 16, short.QUALITY)))
    assert rows.transpose(2, 0, 1).tolist() == np.clip(short.synthesis()[2], 0, 255).tolist()
    found = independent.pixels.Synthesis(independent.Model(tmp_path / "pixels.safetensors"), round(20 * short.QUALITY)).run(y)[0]
    assert found.transpose(2, 0, 1).tolist() == short.synthesis()[2]


def test_the_page_says_what_g_s_the_example_has():
    text = " ".join(example.PAGE.read_text().split())
    for taps in short.TAPS:
        assert "(" + ", ".join(map(str, taps)).replace("-", "−") + ")" in text
    assert "`inv_gain` is {} at quality 1 and {} at quality 8".format(*short.LOGS) in text
    for i, (factors, bias, shift) in enumerate(short.LAYERS[:3]):
        cells = [", then ".join(dict.fromkeys(str(row[0]).replace("-", "−") for row in rows)) for rows in (factors, bias)]
        assert f"| `g_s.{2 * i}` | {cells[0]} | {cells[1]} | {shift} |" in text
    assert "| `g_s.6` | red 4, green 2, blue −2 | 16384, 32768, 49152 | 8 |" in text
    assert short.LAYERS[3] == ([[4, 2, -2]] * 2, [[16384, 32768, 49152]] * 2, 8)
    assert f"`gamma` {short.GAMMA}, `beta` {short.BETA}, `shift` {short.GDN_SHIFT}" in text
    assert (short.LATENT, short.QUALITY) == (3, 4.5)
