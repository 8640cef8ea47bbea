# SPDX-License-Identifier: Apache-2.0
"""`jahp eval` picture by picture: BD-rates and their spread, JPEG 2000 at the sizes of our files, sets of their own."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jahp_fast.cli import main
from jahp_fast.errors import JahpError
from jahp_fast.evaluate import codecs, curves, measuring, pictures, report, results


def row(codec: str, setting: int, image: str, bpp: float, psnr: float) -> results.Row:
    return results.Row(codec, f"q={setting}", image, 1, bpp, psnr, math.nan, math.nan, 0, 0, f"{codec}{setting}{image}")


def curve(codec: str, image: str, factor: float, lowest: float = 30.0) -> list[results.Row]:
    """Five points, 2 dB for each doubling of the rate from `lowest`; `factor` times the bits of the curve of factor 1."""
    return [row(codec, s, image, factor * 0.1 * 2**s, lowest + 2 * s) for s in range(5)]


@pytest.fixture
def table() -> list[results.Row]:
    """Of «x» and «ours» four pictures of BD-rates -50, -20, 0 and +30 %, one far apart and one with three settings."""
    rows = [*curve("x", "apart", 1), *curve("ours", "apart", 1, lowest=60), *curve("x", "few", 1), *curve("ours", "few", 1)[:3]]
    for image, factor in (("d", 1.3), ("a", 0.5), ("c", 1.0), ("b", 0.8)):
        rows += [*curve("x", image, 1), *curve("ours", image, factor)]
    return rows


def test_the_spread_of_known_rates(table: list[results.Row]) -> None:
    (spread,) = pictures.spreads(pictures.picture_rates(table, ["ours"], ["x", "ours"]))
    assert (spread.model, spread.codec, spread.metric) == ("ours", "x", "psnr")
    assert [(r.picture, round(r.bd_rate, 6)) for r in spread.rates] == [("a", -50), ("b", -20), ("c", 0), ("d", 30)]
    assert (spread.mean, spread.median) == (pytest.approx(-10), pytest.approx(-10))
    assert {(r.low, r.high) for r in spread.rates} == {(30, 38)}
    assert [(r.picture, r.reason) for r in spread.without] == [
        ("apart", "no overlap: the two curves reach no quality in common"),
        ("few", "tested curve: BD-rate needs at least 4 points of rate and quality, got 3 and 3"),
    ]
    assert all(math.isnan(r.bd_rate) for r in spread.without)


def test_the_range_is_what_both_curves_reach() -> None:
    (rate,) = pictures.picture_rates([*curve("x", "a", 1), *curve("ours", "a", 1.5, lowest=34)], ["ours"], ["x"])
    assert (rate.low, rate.high) == (34, 38)


def test_the_table_the_line_and_the_file_name_what_is_not_compared(table: list[results.Row]) -> None:
    rates = pictures.picture_rates(table, ["ours"], ["x"])
    want = ["x", "PSNR", "4", "-10.0 %", "-10.0 %", "-50.0 % (a)", "+30.0 % (d)", "2: apart, few"]
    assert pictures.spread_rows(rates, "ours") == [want]
    assert pictures.spread_rows(rates, "other") == []
    line = "ours by PSNR, mean (median; best to worst; pictures): x -10.0 % (-10.0; -50.0 to +30.0; 4 of 6)"
    assert pictures.summary(rates, "ours") == line
    text = report.markdown(table, images="6 images.", descriptions={"ours": "o", "x": "x"}, ours=["ours"], machine="a machine",
                           plotted=False, rates=rates)  # fmt: skip
    assert f"\n| {' | '.join(want)} |\n" in text
    lines = list(csv.DictReader(io.StringIO(results.to_csv(rates, pictures.PICTURE_COLUMNS))))
    none = dict.fromkeys(("bd_rate", "low", "high"), "nan")
    assert lines[1] == none | {"picture": "few", "codec": "x", "metric": "psnr", "model": "ours", "reason": rates[1].reason}
    assert {r["picture"]: r["bd_rate"] for r in lines[2:]} == {"d": "30.000", "a": "-50.000", "c": "0.000", "b": "-20.000"}


def test_a_picture_that_the_other_codec_keeps_whole_is_told_apart() -> None:
    rows = [*curve("ours", "a", 1), *(row("x", s, "a", 0.1, math.inf) for s in range(9))]
    (rate,) = pictures.picture_rates(rows, ["ours"], ["x"])
    assert rate.reason.endswith("got 0 and 0; x loses nothing of it at 9 of its settings")


def test_no_picture_at_all() -> None:
    rates = pictures.picture_rates([row("ours", 1, f"{i}", 1, 30) for i in range(7)], ["ours"], ["x"])
    want = ["x", "PSNR", "0", "-", "-", "-", "-", "7: 0, 1, 2, 3, 4 and 2 more"]
    assert pictures.spread_rows(rates, "ours") == [want]
    assert pictures.summary(rates, "ours").endswith("x - (0 of 7)")
    assert pictures.summary([], "ours") == ""


def test_settings_with_one_file_are_one_point() -> None:
    """A flat picture: from some setting on a codec has no more to say."""
    rows = [*curve("x", "a", 1), *(row("x", s, "a", 1.6, 38) for s in (7, 8)), *curve("ours", "a", 0.5)]
    compared = curves.compare(rows, "x", "ours", "psnr")
    assert not isinstance(compared.rate, str), compared.rate
    assert compared.rate.percent == pytest.approx(-50)


def photo(height: int, width: int, noise: float) -> np.ndarray:
    y, x = np.indices((height, width))
    base = np.stack([40 + 2 * x % 160, 60 + 2 * y % 160, 100 + (x + y) % 90], -1)
    return np.clip(base + np.random.default_rng(0).normal(0, noise, base.shape), 0, 255).astype(np.uint8)


def matched() -> codecs.Matched:
    (coder,) = codecs.matched([codecs.pillow_codec("jpeg2000")], [codecs.JahpCodec("mbt2018", (1.0, 3.0, 8.0))])
    assert isinstance(coder, codecs.Matched)
    return coder


def test_jpeg2000_takes_the_sizes_of_each_picture() -> None:
    coder = matched()
    assert [coder.label(s) for s in coder.settings] == ["0.5x q=1", "1x q=1", "1x q=3", "1x q=8", "2x q=8"]
    for image, sizes in ((photo(96, 128, 1), (700, 900, 1500)), (photo(96, 128, 20), (1800, 4000, 9000))):
        made = {("mbt2018", label): size for label, size in zip(("q=1", "q=3", "q=8"), sizes, strict=True)}
        here = codecs.on_picture(coder, made | {("jpeg420", "q=1"): 5})
        files = [len(here.encode(image, s)) for s in coder.settings]
        wanted = [sizes[0] / 2, *sizes, 2 * sizes[2]]
        assert all(0.9 * want <= got <= 1.05 * want for got, want in zip(files, wanted, strict=True)), (files, wanted)
        assert here.decode(here.encode(image, 0)).shape == image.shape


def test_without_our_file_there_is_no_size_to_take() -> None:
    with pytest.raises(JahpError, match="mbt2018 has no file of it at q=3, whose size is the target"):
        codecs.on_picture(matched(), {("mbt2018", "q=1"): 500}).encode(photo(32, 32, 3), 2)


def test_a_target_above_the_raw_size_is_all_that_there_is() -> None:
    image = photo(2, 3, 3)
    here = codecs.on_picture(matched(), {("mbt2018", "q=1"): 400})
    assert here.decode(here.encode(image, 1)).shape == image.shape


def test_without_a_model_the_ratios_are_fixed() -> None:
    plain = codecs.pillow_codec("jpeg2000")
    assert codecs.matched([plain], []) == [plain]
    webp = codecs.pillow_codec("webp")
    assert codecs.matched([webp], [codecs.JahpCodec("mbt2018")]) == [webp]


def records(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo(64, 80, 2)).save(tmp_path / "photos" / "smooth.png")
    Image.fromarray(photo(64, 80, 20)).save(tmp_path / "photos" / "rough.png")
    return tmp_path / "photos"


def test_the_command_matches_sizes_and_resumes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    command = ["eval", str(folder), "--out", str(out), "--codecs", "jpeg2000,jpeg420", "--qualities", "1,3,6,8"]
    assert main(command) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("mbt2018 by PSNR, mean (median; best to worst; pictures): jpeg2000 ")
    assert told[1:] == [str(out / "report.md")]
    size = {(r["image"], r["codec"], r["setting"]): int(r["bytes"]) for r in records(out / "results.csv")}
    for image in ("smooth.png", "rough.png"):
        for q in (1, 3, 6, 8):
            ours, theirs = size[image, "mbt2018", f"q={q}"], size[image, "jpeg2000", f"1x q={q}"]
            assert abs(theirs - ours) <= max(0.05 * ours, 100), "JPEG 2000 has headers of 180 bytes"
    rates = records(out / "pictures.csv")
    assert {(r["picture"], r["codec"]) for r in rates if r["metric"] == "psnr"} == {
        (image, codec) for image in ("smooth.png", "rough.png") for codec in ("jpeg2000", "jpeg420")
    }
    assert "Picture by picture:" in (out / "report.md").read_text()

    again: list[str] = []
    measure_one = measuring.measure_one

    def counting(name: str, image: np.ndarray, coder: codecs.Coder, setting: float, key: str) -> results.Row:
        again.append(f"{name} {coder.name} {coder.label(setting)}")
        return measure_one(name, image, coder, setting, key)

    monkeypatch.setattr(measuring, "measure_one", counting)
    first = (out / "results.csv").read_text()
    lost = [line for line in first.splitlines() if not line.startswith("jpeg2000,1x q=3,rough.png")]
    (out / "results.csv").write_text("\n".join(lost) + "\n")
    assert main(command) == 0
    assert again == ["rough.png jpeg2000 1x q=3"]
    assert {k: v for k, v in ((r["key"], r["bytes"]) for r in records(out / "results.csv"))} == {
        r["key"]: r["bytes"] for r in csv.DictReader(io.StringIO(first))
    }
    capsys.readouterr()

    assert main([*command, "--models", "none"]) == 0
    assert {r["setting"] for r in records(out / "results.csv") if r["codec"] == "jpeg2000"} >= {"ratio=240", "ratio=6"}
    assert not (out / "pictures.csv").exists(), "there is nothing of ours to compare"
    assert capsys.readouterr().out == f"{out / 'report.md'}\n"


def test_sets_are_reported_each_on_its_own(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    screens, out = tmp_path / "screens", tmp_path / "out"
    screens.mkdir()
    Image.fromarray(np.kron(np.eye(8, dtype=np.uint8) * 255, np.ones((8, 8), np.uint8))).save(screens / "page.png")
    command = ["--out", str(out), "--codecs", "jpeg420", "--models", "none"]
    assert main(["eval", str(folder), str(screens), *command]) == 0
    assert capsys.readouterr().out.splitlines() == [str(out / name / "report.md") for name in ("photos", "screens")]
    for name, images in (("photos", "2"), ("screens", "1")):
        assert {r["images"] for r in records(out / name / "summary.csv")} == {images}
        assert f"{images} images of {name}" in (out / name / "report.md").read_text()
    assert sorted(p.name for p in out.iterdir()) == ["photos", "screens"]

    (screens / "broken.png").write_bytes(b"")
    assert main(["eval", str(screens), str(folder), *command]) == 1
    err = capsys.readouterr().err.splitlines()[-1]
    assert err == f"jahp: 1 of 2 images have errors; {out / 'screens' / 'report.md'} says why"
    (tmp_path / "more" / "photos").mkdir(parents=True)
    assert main(["eval", str(folder), str(tmp_path / "more" / "photos"), *command]) == 1
    assert "have one name, by which the sets are told apart: rename one" in capsys.readouterr().err


def test_a_set_is_named_in_its_summary(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "others"
    other.mkdir()
    Image.fromarray(photo(40, 40, 5)).save(other / "a.png")
    arguments = ["--out", str(tmp_path / "out"), "--codecs", "jpeg420", "--qualities", "3"]
    assert main(["eval", str(folder), str(other), *arguments]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].endswith("jpeg420 - (0 of 2)")
    assert told[2].endswith("jpeg420 - (0 of 1)")
    assert [told[0].partition(":")[0], told[2].partition(":")[0]] == ["photos", "others"]
