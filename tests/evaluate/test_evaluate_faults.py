# SPDX-License-Identifier: Apache-2.0
"""`jahp eval` on what people's folders hold: damaged and odd pictures, codecs that refuse, odd names."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz_pictures import FORMATS, evaluate_mutants
from PIL import Image

from jahp_fast.cli import main
from jahp_fast.errors import UnsupportedImage, UsageError
from jahp_fast.evaluate import command, files, measuring, plugins
from jahp_fast.evaluate.codecs import PillowCodec

JPEG = ("--models", "none", "--codecs", "jpeg420")


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """A smooth colour gradient with mild noise."""
    y, x = np.indices((height, width))
    base = np.stack([40 + 2 * x % 160, 60 + 2 * y % 160, 100 + (x + y) % 90], -1)
    noisy = base + np.random.default_rng(seed).normal(0, 4, base.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    photo(40, 56).save(images / "a.png")
    return images


def evaluate(images: object, out: object, *arguments: str) -> int:
    return main(["eval", str(images), "--out", str(out), *arguments])


def records(out: Path) -> list[dict[str, str]]:
    data = (out / "results.csv").read_bytes().decode("utf-8", "surrogateescape")
    return list(csv.DictReader(io.StringIO(data, newline="")))


def errors(out: Path) -> dict[str, str]:
    """By image, of the rows that have no figures."""
    found = {}
    for record in records(out):
        figures = [record[name] for name in ("bytes", "bpp", "psnr", "ms_ssim", "ssimulacra2", "encode_s", "decode_s")]
        assert all(figures) if not record["error"] else not any(figures), record
        if record["error"]:
            found[record["image"]] = record["error"]
    return found


def test_a_plot_without_a_finite_figure_is_left_out_aloud(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(folder, tmp_path / "out", *JPEG)
    assert (tmp_path / "out" / "plot.png").exists()
    monkeypatch.setattr(measuring, "psnr", lambda reference, decoded: math.inf)
    monkeypatch.setattr(measuring, "perceptual", lambda reference, decoded: math.nan)
    photo(40, 57).save(folder / "a.png")
    assert evaluate(folder, tmp_path / "out", *JPEG) == 0
    assert "plot.png is left out: no figure is finite\n" in capsys.readouterr().err
    assert not (tmp_path / "out" / "plot.png").exists()
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Left out of plot and BD-rates, because no image has a finite figure: PSNR, MS-SSIM, SSIMULACRA 2." in text
    assert "plot.png" not in text


def page_data(out: Path) -> Any:
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', (out / "index.html").read_text(), re.S)
    assert block is not None
    return json.loads(block[1])


def test_the_page_shows_infinity_and_what_there_is_none_of(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "psnr", lambda reference, decoded: math.inf)
    assert evaluate(folder, tmp_path / "out", "--qualities", "3", "--codecs", "jpeg420") == 0
    (level,) = page_data(tmp_path / "out")["levels"]
    for variant in level["variants"].values():
        assert (variant["psnr"], variant["ms_ssim"]) == ("Infinity", None)
    template = (Path(command.__file__).parent / "page.html").read_text()
    assert 'value === "Infinity" ? "∞"' in template
    assert 'data.levels.length > 1 ? "1" : "0"' in template, "a page of one level shows that one"


def test_what_cannot_be_measured_is_a_row_and_the_run_goes_on(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:200])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "folder.png").mkdir()
    (folder / "._a.png").write_bytes(b"what macOS leaves beside its files")
    header = struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 0, 3, 1, 24, 0, 0, 0, 0, 0, 0)
    (folder / "none.bmp").write_bytes(b"BM" + header)  # 0 x 3 pixels
    photo(20, 20).convert("CMYK").save(folder / "cmyk.tif")
    Image.merge("LA", [photo(20, 20).convert("L")] * 2).save(folder / "alpha.webp")
    Image.fromarray(np.full((9, 9), 40000, np.uint16)).save(folder / "grey16.png")
    (folder / "deep.ppm").write_bytes(b"P6 2 2 65535\n" + bytes(24))
    frames = [photo(20, 20, seed) for seed in (1, 2)]
    frames[0].save(folder / "moving.png", save_all=True, append_images=frames[1:], default_image=False)
    photo(1, 1).save(folder / "one.png")
    assert evaluate(folder, tmp_path / "out", *JPEG) == 1
    told = capsys.readouterr()
    assert told.out == f"{tmp_path / 'out' / 'report.md'}\n"
    assert told.err.splitlines()[-1] == f"jahp: 8 of 11 images have errors; {tmp_path / 'out' / 'report.md'} says why"
    found = errors(tmp_path / "out")
    assert {name: re.sub(r".*(truncated|transparency|mode CMYK|8 bits|mode I;16|No such file|knows).*", r"\1", text)
            for name, text in found.items() } == {
        "alpha.webp": "transparency", "broken.png": "truncated", "cmyk.tif": "mode CMYK", "deep.ppm": "8 bits",
        "empty.jpg": "knows", "gone.png": "No such file", "grey16.png": "mode I;16", "none.bmp": "knows",
    }  # fmt: skip
    measured = {r["image"] for r in records(tmp_path / "out")} - set(found)
    assert measured == {"a.png", "moving.png", "one.png"}
    (row_of_broken,) = [r for r in records(tmp_path / "out") if r["image"] == "broken.png"]
    assert (row_of_broken["codec"], row_of_broken["setting"]) == ("", "")
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.startswith("# Rate and distortion\n\n11 images of images, 8 with errors, listed below.")
    assert f"\n| broken.png |  |  | {found['broken.png']} |\n" in text.partition("## Errors")[2]
    with Image.open(folder / "moving.png") as moving:
        first = np.asarray(moving.convert("RGB"))
    assert np.array_equal(files.load_rgb(folder / "moving.png"), first)


def test_the_next_run_tries_again_what_failed(folder: Path, tmp_path: Path) -> None:
    sound = (folder / "a.png").read_bytes()
    (folder / "b.png").write_bytes(sound[:200])
    assert evaluate(folder, tmp_path / "out", *JPEG) == 1
    (folder / "b.png").write_bytes(sound)
    assert evaluate(folder, tmp_path / "out", *JPEG) == 0
    assert errors(tmp_path / "out") == {}
    assert {r["image"] for r in records(tmp_path / "out")} == {"a.png", "b.png"}
    assert "## Errors" not in (tmp_path / "out" / "report.md").read_text()


def test_no_picture_that_can_be_measured(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(folder, tmp_path / "out", "--qualities", "3", "--codecs", "none") == 0
    (folder / "a.png").write_bytes(b"no picture")
    (tmp_path / "out" / "plot.png").rename(tmp_path / "old.png")
    (tmp_path / "out" / "plot.png").mkdir()
    assert evaluate(folder, tmp_path / "out", "--qualities", "3", "--codecs", "none") == 1
    assert "plot.png, which this run does not make" in capsys.readouterr().err.splitlines()[-1]
    (tmp_path / "out" / "plot.png").rmdir()
    assert evaluate(folder, tmp_path / "out", "--qualities", "3", "--codecs", "none") == 1
    err = capsys.readouterr().err
    assert err.endswith(f"jahp: none of the 1 images could be measured; {tmp_path / 'out' / 'report.md'} says why\n")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["report.md", "results.csv", "summary.csv"], "no page, no plot"


def test_a_codec_that_fails_on_one_picture_at_one_quality(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(24, 24, 1).save(folder / "b.png")
    encode = PillowCodec.encode

    def picky(self: PillowCodec, image: np.ndarray, setting: float) -> bytes:
        if image.shape[0] == 24 and setting == 50:
            raise UnsupportedImage("not 24 rows\nat 50")
        if image.shape[0] == 24 and setting == 60:
            raise MemoryError
        return encode(self, image, setting)

    monkeypatch.setattr(PillowCodec, "encode", picky)
    assert evaluate(folder, tmp_path / "out", "--qualities", "2,3", "--codecs", "jpeg420,jpeg444") == 1
    failed = {(r["codec"], r["setting"], r["image"]): r["error"] for r in records(tmp_path / "out") if r["error"]}
    assert failed == {
        (codec, setting, "b.png"): error
        for codec in ("jpeg420", "jpeg444")
        for setting, error in (("q=50", "not 24 rows at 50"), ("q=60", "there is not enough memory for it"))
    }
    summary = csv.DictReader(io.StringIO((tmp_path / "out" / "summary.csv").read_text()))
    counts = {(r["codec"], r["setting"]): r["images"] for r in summary}
    assert (counts["jpeg420", "q=40"], counts["jpeg420", "q=50"], counts["mbt2018", "q=2"]) == ("2", "1", "2")
    assert len(page_data(tmp_path / "out")["levels"]) == 4, "the page shows b.png at other settings"


def test_pillows_limits_are_rows(folder: Path, tmp_path: Path) -> None:
    """WebP takes sides of at most 16383 pixels; the page shows such a picture as PNG."""
    photo(1, 16400).save(folder / "wide.png")
    assert evaluate(folder, tmp_path / "out", "--qualities", "3", "--codecs", "webp") == 1
    assert errors(tmp_path / "out") == {
        "wide.png": "webp does not encode it: encoding error 5: Image size exceeds WebP limit of 16383 pixels"
    }
    wide = page_data(tmp_path / "out")["levels"][1]
    assert wide["variants"].keys() == {"ours"}
    assert wide["original"].startswith("data:image/png;")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| wide.png | webp | q=1 q=5 q=10 q=20 q=30 q=40 q=50 q=60 q=70 q=80 q=90 q=95 | webp does not encode it" in text


def test_a_picture_that_disappears(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the list and the first reading, between that and the second, and before the page is made."""
    for name in ("b.png", "c.png", "d.png"):
        photo(24, 24).save(folder / name)
    find, load, page = command.find_images, measuring.load_rgb, command.gallery

    def then_remove(what: Any, name: str, when: str = "") -> Any:
        def wrapped(*args: Any) -> Any:
            result = what(*args)
            if when in str(args[0]):
                (folder / name).unlink(missing_ok=True)
            return result

        return wrapped

    monkeypatch.setattr(command, "find_images", then_remove(find, "b.png"))
    monkeypatch.setattr(measuring, "load_rgb", then_remove(load, "c.png", "a.png"))
    assert evaluate(folder, tmp_path / "out", "--qualities", "3", "--codecs", "none") == 1
    assert errors(tmp_path / "out") == dict.fromkeys(("b.png", "c.png"), "it cannot be read: No such file or directory")
    monkeypatch.undo()
    monkeypatch.setattr(command, "gallery", lambda *args: ((folder / "d.png").unlink(), page(*args))[1])
    photo(24, 24, 1).save(folder / "b.png")
    assert evaluate(folder, tmp_path / "out", "--qualities", "3", "--codecs", "none") == 0
    assert [level["subject"] for level in page_data(tmp_path / "out")["levels"]] == ["a", "b"]


def test_the_report_is_never_among_the_pictures(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "link").symlink_to(folder)
    for out in (
        folder,
        f"{folder}/",
        folder / ".",
        folder / "new" / "..",
        tmp_path / "link",
        tmp_path / "link" / "x" / "..",
    ):
        assert evaluate(folder, out, *JPEG) == 1
        assert capsys.readouterr().err == (
            f"jahp: --out {Path(out)} is the folder of the images: name another one, whose files are not taken for images\n"
        )
    assert evaluate(tmp_path / "link", folder, *JPEG) == 1
    assert [p.name for p in folder.iterdir()] == ["a.png"]
    for _ in range(2):  # below it is no harm: subfolders are not searched
        assert evaluate(folder, folder / "report", *JPEG) == 0
        assert {r["image"] for r in records(folder / "report")} == {"a.png"}
    capsys.readouterr()
    assert evaluate(folder / "report", tmp_path / "out", *JPEG) == 1
    assert capsys.readouterr().err == (
        f"jahp: {folder / 'report'} holds the report of an earlier run, whose plot is no image to measure: "
        "move results.csv and plot.png away\n"
    )
    assert not (tmp_path / "out").exists()


ODD = [
    b"\xff\xfe.png", b"a\nb.png", b"c\rd.png", b'"quoted", with commas.png', b"=1+1.png", b"-q.png", b"<b>|`_x_`.png",
    b"$x$_{.png", b"n" * 250 + b".png", "中文\u202e.png".encode(), b"\x1b[31mred.png", b"__DATA__.png", b"<script>.png",
]  # fmt: skip


def test_odd_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tmp_path / os.fsdecode(b"_$\\frac$ \xff\n|`x")
    images.mkdir()
    for name in ODD:
        photo(20, 24).save(images / os.fsdecode(name))
    for _ in range(2):
        assert evaluate(images, tmp_path / "out", "--qualities", "3", "--codecs", "jpeg420") == 0
    told = capsys.readouterr().err
    assert len([line for line in told.splitlines() if line.startswith("image ")]) == len(ODD), "the second run keeps all of them"
    assert told.isprintable() or set(told) - {"\n"} == {c for c in told if c.isprintable()}
    assert {r["image"] for r in records(tmp_path / "out")} == {os.fsdecode(name) for name in ODD}
    lines = (tmp_path / "out" / "report.md").read_text().partition("## Image by image")[2].splitlines()
    table = [line for line in lines if line.startswith("| ")][1:]
    assert len(table) == len(ODD)
    assert all(line.count("|") == 3 and "<b>" not in line and "`" not in line for line in table)
    assert "<script>.png" not in (tmp_path / "out" / "index.html").read_text()
    assert page_data(tmp_path / "out")["tables"][-1]["rows"]


def test_qualities_and_names_are_taken_once(folder: Path, tmp_path: Path) -> None:
    assert command.parse_qualities("3,3.0,3.001,8,1") == (1.0, 3.0, 8.0)
    with pytest.raises(UsageError, match="--qualities"):
        command.parse_qualities(",")
    assert (
        evaluate(
            folder,
            tmp_path / "out",
            "--models",
            "mbt2018,mbt2018",
            "--qualities",
            "3,3",
            "--codecs",
            "jpeg420,jpeg,jpeg420",
        )
        == 0
    )
    seen = [(r["codec"], r["setting"]) for r in records(tmp_path / "out")]
    assert len(seen) == len(set(seen)) == 1 + 2 * 12


def test_two_things_of_one_name_are_refused(folder: Path, tmp_path: Path, tiny_models: dict[str, Path],
                                            capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    for name in ("jpeg420", "ours"):
        (tmp_path / f"{name}.safetensors").write_bytes(tiny_models["tiny"].read_bytes())
        given = ("--model", str(tmp_path / f"{name}.safetensors"), "--models", name, "--codecs", "jpeg420")
        assert evaluate(folder, tmp_path / "out", *given) == 1
        assert capsys.readouterr().err == f"jahp: --models: {name} is the name of something else in the report: rename the model file\n"
    assert not (tmp_path / "out").exists()


def test_metrics_and_codecs_that_are_not_installed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_version(name: str) -> str:
        raise plugins.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(plugins.metadata, "version", no_version)
    assert evaluate(folder, tmp_path / "out", "--models", "none", "--codecs", "jpeg420,heic,jxl") == 0
    assert {r["ssimulacra2"] for r in records(tmp_path / "out")} == {"nan"}
    text = (tmp_path / "out" / "report.md").read_text()
    assert "because no image has a finite figure: MS-SSIM, SSIMULACRA 2." in text
    assert "| heic | **not measured**" in text


def test_folders_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tmp_path / ("x" * 300), tmp_path / "out", *JPEG) == 1
    assert capsys.readouterr().err.endswith("no such folder\n")

    def refused(folder: Path) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.os, "listdir", refused)
    with pytest.raises(UsageError, match="this folder cannot be read: Permission denied"):
        files.find_images(tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_damaged_pictures_of_every_format(tmp_path: Path) -> None:
    """Three mutants of each; `make fuzz-pictures` takes more of them."""
    measured, failed = evaluate_mutants(tmp_path, 3, 1)
    assert measured + failed == 3 * len(FORMATS)
    assert measured > 9
    assert failed > 30
