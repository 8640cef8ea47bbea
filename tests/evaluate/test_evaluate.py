# SPDX-License-Identifier: Apache-2.0
"""`jahp eval` on tiny images: what it writes, that its sizes are real, what it keeps when started again, what it refuses."""

import argparse
import csv
import io
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import SHIPPED
from PIL import Image

from jahp_fast import Codec, info
from jahp_fast.errors import JahpError, UnsupportedImage, UsageError
from jahp_fast.evaluate import command, curves, measuring, report, results
from jahp_fast.evaluate.codecs import PILLOW_CODECS, JahpCodec, pillow_codec, select_codecs
from jahp_fast.evaluate.files import find_images, load_rgb
from jahp_fast.evaluate.metrics import psnr


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth colour gradient with mild noise."""
    y, x = np.indices((height, width))
    base = np.stack([40 + 2 * x % 160, 60 + 2 * y % 160, 100 + (x + y) % 90], -1)
    return np.clip(base + np.random.default_rng(seed).normal(0, 4, base.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(photo(40, 56)).save(images / "a.png")
    Image.fromarray(photo(33, 31, 1)[..., 0]).save(images / "b.png")
    return images


def evaluate(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args([str(a) for a in arguments]))


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


@pytest.mark.parametrize("codec", PILLOW_CODECS, ids=lambda c: c.name)
def test_codecs_round_trip_in_order_of_quality(codec):
    image = photo(64, 96)
    files = [codec.encode(image, s) for s in codec.settings]
    quality = [psnr(image, codec.decode(f)) for f in files]
    assert [len(f) for f in files] == sorted(len(f) for f in files)
    assert quality[-1] > quality[0] + 5
    for shape in ((1, 1), (1, 40), (3, 2), (17, 31)):
        small = photo(*shape)
        assert codec.decode(codec.encode(small, codec.settings[3])).shape == small.shape


def test_chroma_sampling_is_what_the_name_says():
    image = photo(32, 32)
    for name, factors in (("jpeg420", (2, 2)), ("jpeg444", (1, 1))):
        data = pillow_codec(name).encode(image, 80)
        start = data.index(b"\xff\xc0") + 10  # SOF0: marker 2, length 2, precision 1, height 2, width 2, components 1
        assert (data[start + 1] >> 4, data[start + 1] & 15) == factors


def test_select_codecs_expands_groups_once_and_names_the_unknown():
    chosen, missing = select_codecs(["webp", "jpeg", "jpeg444"])
    assert [c.name for c in chosen] == ["webp", "jpeg420", "jpeg444"]
    assert missing == {}
    with pytest.raises(UsageError, match=r"'bpg'.*jpeg.*webp"):
        select_codecs(["bpg"])


def test_results_are_real_and_means_are_means(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "deep" / "report"
    assert evaluate(folder, "--out", out, "--models", "none", "--codecs", "jpeg,webp") == 0
    assert capsys.readouterr().out.strip() == str(out / "report.md")
    rows, summary = read(out / "results.csv"), read(out / "summary.csv")
    codecs, _ = select_codecs(["jpeg", "webp"])
    assert len(rows) == 2 * sum(len(c.settings) for c in codecs)
    assert len({(r["codec"], r["setting"], r["image"]) for r in rows}) == len(rows)
    image = load_rgb(folder / "a.png")
    data = pillow_codec("webp").encode(image, 50)
    (row,) = [r for r in rows if (r["codec"], r["setting"], r["image"]) == ("webp", "q=50", "a.png")]
    assert int(row["bytes"]) == len(data)
    assert float(row["bpp"]) == pytest.approx(8 * len(data) / (40 * 56), abs=1e-6)
    assert float(row["psnr"]) == pytest.approx(psnr(image, pillow_codec("webp").decode(data)), abs=1e-4)
    assert row["ms_ssim"] == "nan"
    both = [float(r["psnr"]) for r in rows if (r["codec"], r["setting"]) == ("webp", "q=50")]
    (mean,) = [m for m in summary if (m["codec"], m["setting"]) == ("webp", "q=50")]
    assert float(mean["psnr"]) == pytest.approx(sum(both) / 2, abs=1e-4)
    assert int(mean["images"]) == 2
    assert (out / "plot.png").read_bytes()[:4] == b"\x89PNG"
    assert "subsampling=2" in (out / "report.md").read_text()
    assert sorted(p.name for p in out.iterdir()) == ["plot.png", "report.md", "results.csv", "summary.csv"]


def test_started_again_only_what_changed_is_measured(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    measured: list[str] = []
    original = measuring.measure_one

    def counting(name: str, *rest: object) -> results.Row:
        measured.append(name)
        return original(name, *rest)

    monkeypatch.setattr(measuring, "measure_one", counting)
    arguments = (folder, "--out", tmp_path / "out", "--models", "none", "--codecs", "jpeg420")
    evaluate(*arguments)
    n = len(pillow_codec("jpeg420").settings)
    assert measured == ["a.png"] * n + ["b.png"] * n
    first = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}

    measured.clear()
    evaluate(*arguments)
    assert measured == []
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == first

    Image.fromarray(photo(20, 20, 5)).save(folder / "b.png")
    evaluate(*arguments)
    assert measured == ["b.png"] * n


def test_an_interruption_loses_no_finished_image(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    original = measuring.measure_one

    def interrupted(name: str, *rest: object) -> results.Row:
        if name == "b.png":
            raise KeyboardInterrupt
        return original(name, *rest)

    monkeypatch.setattr(measuring, "measure_one", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(folder, "--out", tmp_path, "--models", "none", "--codecs", "webp")
    assert {r["image"] for r in read(tmp_path / "results.csv")} == {"a.png"}


def test_refusals_name_the_culprit(folder: Path, tmp_path: Path):
    common = ("--out", tmp_path / "out", "--models", "none", "--codecs", "jpeg420")
    with pytest.raises(UsageError, match="no such folder"):
        evaluate(tmp_path / "absent", *common)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no images"):
        evaluate(tmp_path / "empty", *common)
    with pytest.raises(UsageError, match="nothing to measure"):
        evaluate(folder, "--out", tmp_path / "out", "--models", "none", "--codecs", "none")
    for text in ("0.5", "12.5", "nan", "x", ""):
        with pytest.raises(UsageError, match="--qualities"):
            command.parse_qualities(text)
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "results.csv").write_text("date,weather\n1,rain\n")
    with pytest.raises(UsageError, match=r"results\.csv.*columns"):
        evaluate(folder, *common)


@pytest.mark.parametrize(
    ("mode", "word"), [("RGBA", "transparency"), ("LA", "transparency"), ("I;16", "I;16"), ("CMYK", "CMYK"), ("F", "mode F")]
)
def test_images_that_codecs_treat_differently_are_refused(tmp_path: Path, mode: str, word: str):
    path = tmp_path / ("x.tif" if mode in ("CMYK", "F") else "x.png")
    Image.new(mode, (8, 8)).save(path)
    with pytest.raises(UnsupportedImage, match=f"x.*{word}"):
        load_rgb(path)


def test_grey_and_palette_become_rgb(tmp_path: Path):
    grey = photo(9, 12)[..., 0]
    Image.fromarray(grey).save(tmp_path / "g.png")
    Image.fromarray(photo(9, 12)).quantize(16).save(tmp_path / "p.png")
    (tmp_path / "notes.txt").write_text("no image")
    assert [p.name for p in find_images(tmp_path)] == ["g.png", "p.png"]
    assert np.array_equal(load_rgb(tmp_path / "g.png"), np.stack([grey] * 3, -1))
    assert load_rgb(tmp_path / "p.png").shape == (9, 12, 3)


def row(codec: str, bpp: float, quality: float) -> results.Row:
    return results.Row(codec, f"q={bpp}", "a.png", 0, bpp, quality, 1 - 10 ** (-quality / 20), math.nan, 0.0, 0.0, "")


def test_report_states_bd_rate_and_overlap():
    table = [row("a", bpp, q) for bpp, q in ((0.1, 28), (0.2, 30), (0.4, 32), (0.8, 34), (1.6, 36))]
    table += [row("b", 0.5 * bpp, q) for bpp, q in ((0.2, 30), (0.4, 32), (0.8, 34), (1.6, 36))]
    table += [row("c", 0.5, 30.0)]
    text = report.markdown(table, images="1 image.", descriptions={"b": "tested", "a": "anchor", "c": "one point"}, ours=["b"],
                           machine="a machine", plotted=False)  # fmt: skip
    assert "| a | -50.0 % (30.0 to 36.0 dB) | -50.0 % (15.0 to 18.0 dB) |" in text
    assert "| c | anchor: BD-rate needs at least 4 points" in text
    assert "plot.png" not in text


def test_without_matplotlib_the_plot_is_left_out_aloud(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    evaluate(folder, "--out", tmp_path / "out", "--models", "none", "--codecs", "jpeg420")
    assert "matplotlib is not installed" in capsys.readouterr().err
    assert not (tmp_path / "out" / "plot.png").exists()
    assert (tmp_path / "out" / "report.md").exists()


def test_progress_counts_and_estimates():
    stream = io.StringIO()
    progress = measuring.Progress(2, stream)
    progress.start(4)
    for image in (1, 1, 2, 2):
        progress.step(image, "x")
    progress.end()
    written = stream.getvalue().splitlines()
    assert [line.split(",")[0] for line in written] == ["image 1 of 2", "image 2 of 2"]
    assert all(line.endswith("left: x") for line in written)


def test_ours_is_measured_from_real_files(folder: Path, tmp_path: Path):
    assert evaluate(folder, "--out", tmp_path / "out", "--codecs", "jpeg420", "--qualities", "1,3,5,8") == 0
    rows = [r for r in read(tmp_path / "out" / "results.csv") if r["codec"] == "mbt2018"]
    assert [r["setting"] for r in rows if r["image"] == "a.png"] == ["q=1", "q=3", "q=5", "q=8"]
    image = load_rgb(folder / "a.png")
    codec = JahpCodec("mbt2018", (5.0,))
    data = codec.encode(image, 5.0)
    (row,) = [r for r in rows if (r["setting"], r["image"]) == ("q=5", "a.png")]
    assert int(row["bytes"]) == len(data)
    assert float(row["psnr"]) == pytest.approx(psnr(image, codec.decode(data)), abs=1e-3)
    assert "BD-rate of mbt2018" in (tmp_path / "out" / "report.md").read_text()


def test_an_unknown_model_is_an_error_before_any_work(folder: Path, tmp_path: Path):
    with pytest.raises(JahpError, match="mbt2081"):
        evaluate(folder, "--out", tmp_path / "out", "--models", "mbt2081", "--codecs", "none")
    assert not (tmp_path / "out" / "results.csv").exists()


def test_two_names_for_one_model_are_refused(folder: Path, tmp_path: Path):
    """A file of --model answers to its architecture's name, so mbt2018 would be this file, not the shipped one."""
    mine = tmp_path / "mine.safetensors"
    shutil.copy(SHIPPED.with_stem("mbt2018-ms-ssim"), mine)
    with pytest.raises(UsageError, match="mine and mbt2018 are one model"):
        evaluate(folder, "--out", tmp_path / "out", "--models", "mine,mbt2018", "--model", mine, "--codecs", "none")
    assert not (tmp_path / "out").exists()


def test_published_points_are_compared(tmp_path: Path):
    source = tmp_path / "published.csv"
    lines = [f"kodak,authors,bpg,psnr-rgb,{bpp},{q},," for bpp, q in ((0.1, 28), (0.2, 30), (0.4, 32), (0.8, 34))]
    lines += ["tecnick,authors,bpg,psnr-rgb,0.3,39,,"]
    source.write_text("\n".join(["dataset,source,codec,metric,bpp,value,encode_s,decode_s", *lines, "kodak,authors,bpg,psnr-yuv,1,40,,"]))
    (curve,) = curves.read_published(source, "kodak")
    assert curve == curves.Published("bpg (authors)", "psnr", ((0.1, 28), (0.2, 30), (0.4, 32), (0.8, 34)))
    assert curves.read_published(source, "kodak", ["others"]) == []
    with pytest.raises(UsageError, match="no points of 'photos' but of kodak, tecnick: name one with --dataset"):
        curves.read_published(source, "photos")
    table = [row("ours", 2 * bpp, q) for bpp, q in ((0.1, 28), (0.2, 30), (0.4, 32), (0.8, 34))]
    assert report.bd_rows(table, "ours", [], [curve]) == [["bpg (authors)", "+100.0 % (28.0 to 34.0 dB)", ""]]
    source.write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match=r"published\.csv.*columns"):
        curves.read_published(source, "kodak")


def test_codecs_that_are_not_installed_are_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from jahp_fast.evaluate import plugins

    monkeypatch.setattr(plugins, "find_spec", lambda name: None)
    assert evaluate(folder, "--out", tmp_path / "out", "--models", "none", "--codecs", "jpeg420,heic,jxl") == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| heic | **not measured**: pillow-heif is not installed: pip install 'jahp_fast[eval]' |" in text
    assert "| jxl | **not measured**" in text


@pytest.mark.parametrize("name", ["heic", "jxl"])
def test_plugin_codecs_round_trip(name: str):
    from jahp_fast.evaluate.plugins import PLUGIN_CODECS

    (codec,) = [c for c in PLUGIN_CODECS if c.name == name]
    if not codec.installed():
        pytest.skip(f"{codec.package} is not installed")
    image = photo(64, 80)
    sizes = []
    for setting in (codec.settings[0], codec.settings[-1]):
        data = codec.encode(image, setting)
        sizes.append(len(data))
        assert codec.decode(data).shape == image.shape
    assert sizes[0] < sizes[1]


def test_efforts_are_codecs_of_their_own(folder: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="--efforts"):
        command.parse_efforts("0,4")
    assert command.parse_efforts("1,0,1") == (0, 1)
    assert evaluate(folder, "--out", tmp_path, "--codecs", "jpeg420", "--qualities", "1,3,5,8", "--efforts", "0,1") == 0
    assert {r["codec"] for r in read(tmp_path / "results.csv")} == {"mbt2018", "mbt2018-e1", "jpeg420"}
    page = (tmp_path / "index.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    for word in ("mbt2018-e1", "Image by image", "data:image/jpeg;base64,", "data:image/webp;base64,"):
        assert word in page


def test_tunes_are_codecs_of_their_own(folder: Path, tmp_path: Path):
    searches = ((0, None), (2, None), (2, "eye"), (3, None), (3, "eye"))
    assert command.parse_searches("3,0,2", "none,eye,none") == list(searches)
    assert command.parse_searches("0,1,2", "eye") == [(0, None), (1, None), (2, "eye")]
    for efforts, tunes, said in (("0,1", "eye", "only efforts 2 and 3"), ("2", "ear", "expected none, eye"), ("2", "", "expected none")):
        with pytest.raises(UsageError, match=f"--tune.*{said}"):
            command.parse_searches(efforts, tunes)
    (folder / "b.png").unlink()
    arguments = (folder, "--out", tmp_path, "--codecs", "none", "--qualities", "1,3,5,8", "--efforts", "0,2")
    assert evaluate(*arguments) == 0
    plain = {(r["codec"], r["setting"]): r["key"] for r in read(tmp_path / "results.csv")}
    assert evaluate(*arguments, "--tune", "none,eye") == 0
    rows = {(r["codec"], r["setting"]): r for r in read(tmp_path / "results.csv")}
    assert plain.items() <= {place: r["key"] for place, r in rows.items()}.items()  # the tune invalidates nothing that is kept
    assert {codec for codec, _ in rows} == {"mbt2018", "mbt2018-e2", "mbt2018-e2-eye"}
    with Image.open(folder / "a.png") as picture:
        tuned = Codec(quality=8.0).encode(picture, effort=2, tune="eye")
    assert int(rows["mbt2018-e2-eye", "q=8"]["bytes"]) == len(tuned)
    assert rows["mbt2018-e2-eye", "q=8"]["psnr"] != rows["mbt2018-e2", "q=8"]["psnr"]
    text = (tmp_path / "report.md").read_text()
    assert "effort 2, tune eye |" in text
    assert "## BD-rate of mbt2018-e2-eye" in text


def test_names_are_text_in_reports():
    assert report.cell("a|b<i>`*[x](y)\nc &amp;") == "a&#124;b&#60;i>&#96;&#42;[x]&#40;y) c &#38;amp;"
    assert report.cell("kodim 01.png, 4:4:4") == "kodim 01.png, 4:4:4"


def test_a_published_metric_that_was_not_measured():
    table = [results.Row("ours", f"q={q}", "a", 0, q / 4, 30.0 + q, math.nan, math.nan, 0.0, 0.0, "") for q in (1, 2, 3, 4)]
    curve = curves.Published("theirs", "ms_ssim", ((0.2, 12.0), (0.5, 15.0), (0.9, 18.0)))
    ((name, *values),) = report.bd_rows(table, "ours", [], [curve])
    assert (name, values) == ("theirs", [""])


def test_every_stage_has_run_before_the_clock_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What warms up is no drawing, whose decoding knows no nets."""
    made: list[bytes] = []

    def encode(self: Codec, *args: Any, **options: Any) -> bytes:
        made.append(encoded(self, *args, **options))
        return made[-1]

    encoded = Codec.encode
    monkeypatch.setattr(Codec, "encode", encode)
    JahpCodec("mbt2018").encoder(4.0)
    assert [info(data).max_error for data in made] == [None]
