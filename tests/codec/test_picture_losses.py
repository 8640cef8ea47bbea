# SPDX-License-Identifier: Apache-2.0
"""What is said of what a .jahp file, or the file that it is decoded to, does not hold."""

import io
import struct
import warnings

import numpy as np
import pytest
from picture_files import RGB, animation, chunk, deep_png, file_of, jahp, lost, png_with
from PIL import Image

import jahp_fast
from jahp_fast import cli
from jahp_fast.errors import LossWarning
from jahp_fast.files import pictures
from jahp_fast.files.image import split


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png_with(chunk(b"gAMA", struct.pack(">I", 100000))), "gAMA and cHRM"),
        (png_with(chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600))), "gAMA and cHRM"),
        (deep_png(), "more than 8 bits"),
        (b"P6 4 2 65535\n" + bytes(48), "more than 8 bits"),
        (animation("GIF"), "3 frames, of which number 1 alone"),
        (animation("PNG"), "3 frames"),
        (animation("WEBP"), "3 frames"),
        (animation("TIFF"), "3 frames"),
    ],
)
def test_what_a_file_does_not_hold_is_said(data, words):
    assert words in lost(lambda: pictures.read(data, "it"))
    if "bits" in words or "frames" in words:  # by way of the API alone
        assert words in lost(lambda: split(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize(
    "data",
    [
        file_of(RGB, "PNG"),
        png_with(chunk(b"gAMA", struct.pack(">I", 45455))),
        png_with(chunk(b"cICP", bytes([1, 13, 0, 1]))),
        png_with(chunk(b"cICP", bytes([9, 16, 0, 1])), chunk(b"gAMA", struct.pack(">I", 100000))),
        png_with(chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 45455))),
        file_of(RGB, "JPEG"), file_of(RGB, "AVIF"), file_of(RGB, "GIF"), file_of(RGB, "TIFF"), file_of(RGB, "WEBP"), file_of(RGB, "PPM"),
        file_of(RGB, "JPEG2000"),
    ],
)  # fmt: skip
def test_ordinary_files_lose_nothing(data):
    assert lost(lambda: split(pictures.read(data, "it"))) == ""


def test_losses_are_lines_on_standard_error(tmp_path):
    (tmp_path / "a.gif").write_bytes(animation("GIF"))
    done = jahp("encode", tmp_path / "a.gif", tmp_path / "a.jahp")
    assert done.returncode == 0
    assert done.stderr.count("3 frames") == done.stderr.count("\n") == 1
    done = jahp("batch", "encode", tmp_path, tmp_path / "out")
    assert done.returncode == 0
    assert "jahp batch: a.gif: it has 3 frames" in done.stderr


@pytest.mark.parametrize(("ending", "bound"), [("jpg", 40), ("webp", 99), ("avif", 38)])
def test_lossy_targets_lose_little_and_say_so(tmp_path, ending, bound):
    data = jahp_fast.encode(RGB)
    (tmp_path / "a.jahp").write_bytes(data)
    done = jahp("decode", tmp_path / "a.jahp", tmp_path / f"a.{ending}")
    assert done.returncode == 0
    with Image.open(tmp_path / f"a.{ending}") as image:
        error = np.mean((np.asarray(image.convert("RGB"), float) - jahp_fast.decode(data)) ** 2)
    assert 10 * np.log10(65025 / max(error, 1e-6)) > bound
    assert ("--save-option" in done.stderr) == (ending != "webp")
    options = ("--save-option", "quality=10", "--save-option", "lossless=false")
    small = jahp("decode", tmp_path / "a.jahp", tmp_path / f"small.{ending}", *options)
    assert (small.returncode, small.stderr) == (0, "")
    assert (tmp_path / f"small.{ending}").stat().st_size < (tmp_path / f"a.{ending}").stat().st_size
    assert "NAME=VALUE" in jahp("decode", tmp_path / "a.jahp", tmp_path / "b.jpg", "--save-option", "quality").stderr


@pytest.mark.parametrize("ending", ["ico", "icns", "xbm", "h5", "spider", "palm"])
def test_targets_that_would_change_the_picture_are_refused(tmp_path, ending):
    (tmp_path / "a.jahp").write_bytes(jahp_fast.encode(RGB))
    done = jahp("decode", tmp_path / "a.jahp", tmp_path / f"a.{ending}")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "png always works" in done.stderr
    assert not (tmp_path / f"a.{ending}").exists()


def test_cli_main_shows_no_warning_twice(tmp_path, capsys):
    (tmp_path / "a.gif").write_bytes(animation("GIF"))
    assert cli.main(["encode", str(tmp_path / "a.gif"), str(tmp_path / "a.jahp")]) == 0
    assert capsys.readouterr().err.count("frames") == 1


def test_a_loss_is_an_error_to_whoever_makes_errors_of_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(LossWarning, match="3 frames"):
            split(Image.open(io.BytesIO(animation("GIF"))))


@pytest.mark.parametrize(
    ("kind", "mark", "offset", "value", "words"),
    [
        ("AVIF", b"av1C", 6, b"\x4c", "more than 8 bits"),
        ("JPEG2000", b"ihdr", 14, b"\x0b", "more than 8 bits"),
    ],
)
def test_what_the_head_of_a_file_says(kind, mark, offset, value, words):
    """No encoder here writes these: a sound file's head is changed as such a file has it."""
    data = file_of(RGB, kind)
    at = data.index(mark) + offset
    changed = data[:at] + value + data[at + len(value) :]
    image = Image.open(io.BytesIO(data))
    assert pictures.colour_losses(image, data) == []
    (said,) = pictures.colour_losses(image, changed)
    assert words in said
