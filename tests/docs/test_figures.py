# SPDX-License-Identifier: Apache-2.0
"""docs/figures.toml: entries have all their fields, pages and README say what they say, commands write what is read."""

import datetime
import re

import card_table
import figures
import peers
import peers_figures
import pytest
from builders import ROOT

from jahp_fast.errors import UsageError
from jahp_fast.evaluate.curves import Published
from jahp_fast.evaluate.results import Row

FILE = ROOT / "docs" / "figures.toml"
GOOD = """# the head

[kodak]
command = "jahp eval KODAK"
machine = "zen4"
date = 2026-11-26
[kodak.figures]
jpeg_psnr = { value = -51.80, unit = "%" }
bytes = { value = 17842, unit = "bytes" }
ratio = { value = 470, unit = "" }

[other]
command = "pytest benchmarks"
machine = "zen4"
date = 2026-11-24
[other.figures]
a = { value = 1, unit = "s" }
"""


def given(tmp_path, text=GOOD):
    path = tmp_path / "figures.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_entry_names_a_machine_that_is_defined():
    found = figures.read(FILE)
    assert found
    defined = set(re.findall(r"^## `([a-z0-9-]+)`", (ROOT / "docs" / "lab" / "machines.md").read_text(), re.MULTILINE))
    assert {figure.machine for figure in found.values()} <= defined


def test_every_placeholder_of_the_pages_has_a_figure():
    known = figures.read(FILE)
    pages = [*(ROOT / "docs").rglob("*.md")]
    text = "".join(figures.filled(page.read_text(), known, page.name) for page in pages)
    assert "{figure:" not in text.replace("{figure:NAME}", "").replace("{figure:RUN.NAME}", "")


def test_tables_say_what_the_file_says():
    known, named = figures.read(FILE), 0
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        text = page.read_text()
        named += text.count("<!-- figure:")
        assert figures.stale(text, known) == [], page
    assert named >= 30


def test_values_keep_their_digits_and_carry_their_units(tmp_path):
    found = figures.read(given(tmp_path))
    said = [str(found[f"kodak.{name}"]) for name in ("jpeg_psnr", "bytes", "ratio")]
    assert said == ["-51.80 %", "17,842 bytes", "470"]
    assert found["other.a"] == figures.Figure(1, "s", "pytest benchmarks", "zen4", datetime.date(2026, 11, 24))
    assert figures.filled("Files are {figure:kodak.jpeg_psnr} larger.", found, "p") == "Files are -51.80 % larger."
    with pytest.raises(figures.FiguresError, match=r"page\.md: .* no kodak\.gone"):
        figures.filled("{figure:kodak.gone}", found, "page.md")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('machine = "zen4"\n', "", "wants command, date, figures, machine"),
        ('command = "jahp eval KODAK"', 'command = " "', "no command"),
        ("date = 2026-11-26", 'date = "2026-11-26"', "no date"),
        ("date = 2026-11-26", "date = 2026-11-26T10:00:00", "no date"),
        (', unit = "%"', "", "value and unit"),
        ("value = -51.80", 'value = "-51.80"', "a number"),
        ("value = -51.80", "value = true", "a number"),
        ('unit = "%"', 'unit = "%", note = ""', "nothing else"),
        ("jpeg_psnr", '"JPEG PSNR"', "value and unit"),
        ("[kodak.figures]", "[kodak.values]", "wants command"),
        ("# the head", "= 3", "Invalid"),
    ],
)
def test_a_faulty_entry_is_named(tmp_path, old, new, said):
    with pytest.raises(figures.FiguresError, match=said):
        figures.read(given(tmp_path, GOOD.replace(old, new, 1)))


def test_cells_that_say_something_else_are_found(tmp_path):
    found = figures.read(given(tmp_path))
    good = "| JPEG | **-51.80 %** <!-- figure:kodak.jpeg_psnr --> | 17,842 <!-- figure:kodak.bytes --> |\n"
    assert figures.stale(good, found) == []
    assert figures.stale(good.replace("-51.80", "-52"), found) == ["kodak.jpeg_psnr is -51.80 %, not '-52 %'"]
    assert figures.stale(good.replace("kodak.bytes", "kodak.gone"), found) == ["docs/figures.toml has no kodak.gone"]


def test_a_run_is_replaced_and_the_rest_stays(tmp_path):
    path, day = given(tmp_path), datetime.date(2026, 11, 29)
    values = {"jpeg_psnr": (-52.04, 1, "%"), "q1_bpp": (0.16, 3, "bpp")}
    figures.write(path, "kodak", values, command='say "this"', machine="zen4", date=day)
    found = figures.read(path)
    assert set(found) == {"kodak.jpeg_psnr", "kodak.q1_bpp", "other.a"}
    assert str(found["kodak.jpeg_psnr"]) == "-52.0 %"
    assert found["kodak.q1_bpp"].command == 'say "this"'
    assert path.read_text().startswith("# the head\n\n[kodak]\n")
    assert path.read_text().endswith(GOOD[GOOD.index("[other]") :])
    figures.write(path, "new", {"b": (2, 0, "s")}, command="c", machine="h200", date=day)
    assert figures.read(path)["new.b"].machine == "h200"
    before = path.read_text()
    figures.write(path, "new", {"b": (2, 0, "s")}, command="c", machine="h200", date=day)
    assert path.read_text() == before
    for wrong in ({"b": (float("nan"), 1, "")}, {"B": (1, 0, "")}, {}):
        with pytest.raises(figures.FiguresError):
            figures.write(path, "new", wrong, command="c", machine="h200", date=day)
    with pytest.raises(figures.FiguresError, match="no command"):
        figures.write(path, "new", {"b": (2, 0, "s")}, command="", machine="h200", date=day)
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["figures.toml"]


def test_the_card_writes_its_figures():
    def row(codec, quality, factor):
        rate, psnr, ms_ssim = factor * 0.1 * quality, 27 + 2 * quality, 0.9 + 0.01 * quality
        return Row(codec, f"q={quality}", "0.png", 10, rate, psnr, ms_ssim, 10.0 * quality, 0, 0, f"{codec}{quality}")

    rows = [row(codec, quality, factor) for codec, factor in (("ours", 1), ("theirs", 2)) for quality in range(1, 6)]
    found = card_table.card_figures(rows, "ours")
    assert found["q3_psnr"] == (33, 2, "dB")
    assert found["theirs_psnr"][0] == pytest.approx(-50)
    assert "ours_psnr" not in found
    curve = Published("Theirs-1 (authors)", "psnr", tuple((row.bpp * 4, row.psnr) for row in rows[:5]))
    against = card_table.published_figures(rows, "ours", [curve], ["Theirs-1"])
    assert list(against) == ["published_theirs_1_psnr"]
    assert against["published_theirs_1_psnr"][0] == pytest.approx(-75)
    with pytest.raises(SystemExit, match="no published curve is called theirs"):
        card_table.published_figures(rows, "ours", [curve], ["theirs"])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("latent_decode_s_192_192_ours", 0.01392, "13.9 ms"),
        ("latent_decode_s_192_320_compressai", 10.05, "10.1 s"),
        ("shipped_encode_s", 0.0004561, "0.456 ms"),
        ("shipped_bytes", 17842.0, "17,842 bytes"),
        ("coder_ns_per_symbol_192_192", 3.9, "3.90 ns per symbol"),
        ("latent_decode_ratio_192_192", 470.26, "470"),
        ("int16_peak_macs_per_s", 1.11e11, "111,000,000,000 per second"),
        ("skipped", 0.0, "0.00"),
    ],
)
def test_the_peers_write_their_figures(tmp_path, name, value, said):
    path = given(tmp_path)
    peers_figures.write(path, {"latent": {name: value}}, 5, "zen4")
    found = figures.read(path)[f"peers-latent.{name}"]
    assert str(found) == said
    assert found.command == "python benchmarks/peers/peers.py --only latent --rounds 5"


def test_figures_of_the_peers_want_a_machine_and_a_file(tmp_path):
    with pytest.raises(UsageError, match="go together"):
        peers.run(["--machine", "zen4"])
    with pytest.raises(UsageError, match="no such file"):
        peers.run(["--figures", str(tmp_path / "gone.toml"), "--machine", "zen4"])
    with pytest.raises(UsageError, match="cannot be written"):
        peers_figures.write(given(tmp_path), {"latent": {}}, 5, "zen4")
