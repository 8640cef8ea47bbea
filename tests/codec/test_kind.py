# SPDX-License-Identifier: Apache-2.0
"""Drawings are told from photos."""

import numpy as np
import pytest
from PIL import Image

from jahp_fast.cli import main
from jahp_fast.files.kind import is_drawing
from jahp_fast.train import synthetic


def drawing(pixels):
    return is_drawing(Image.fromarray(pixels))


DRAWINGS = ("text", "interface", "chart", "map", "lineart", "pixelart")


@pytest.mark.parametrize("kind", DRAWINGS)
def test_drawings(kind):
    for seed in range(3):
        picture = synthetic.picture(kind, seed, (200, 300))
        assert drawing(picture)
        assert drawing(picture[:, :, 0])
        assert drawing(np.dstack([picture, np.full((200, 300), 255, np.uint8)]))


def test_photos_and_noise_are_none(photo_crop):
    assert not drawing(photo_crop)
    assert not drawing(photo_crop[:, :, 1])
    assert not drawing(np.random.default_rng(0).integers(0, 2, (64, 64, 3), dtype=np.uint8))
    for seed in range(3):
        assert not drawing(synthetic.picture("grain", seed, (200, 300)))


def test_one_colour_is_none():
    for shape in ((1, 1, 3), (1, 50), (40, 1, 3), (100, 90, 3), (3000, 20, 3)):
        assert not drawing(np.full(shape, 7, np.uint8))


def test_tall_pictures_are_looked_at_all_over():
    tall = np.random.default_rng(0).integers(0, 256, (6000, 64, 3), dtype=np.uint8)
    assert not drawing(tall)
    tall[600:] = 9
    assert drawing(tall)
    tall[3000:] = np.random.default_rng(1).integers(0, 256, (3000, 64, 3), dtype=np.uint8)
    assert not drawing(tall)


def test_the_command_says_it_once(tmp_path, capsys):
    drawn, shot = tmp_path / "chart.png", tmp_path / "photo.png"
    Image.fromarray(synthetic.picture("chart", 0, (96, 128))).quantize().save(drawn)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(shot)
    out = str(tmp_path / "out.jahp")
    assert main(["encode", str(drawn), out]) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "looks like a drawing" in said
    for arguments in (["--quiet"], ["--lossless"], ["--max-error", "2"]):
        assert main(["encode", str(drawn), out, *arguments]) == 0
        assert capsys.readouterr().err == ""
    assert main(["encode", str(shot), out]) == 0
    assert capsys.readouterr().err == ""
