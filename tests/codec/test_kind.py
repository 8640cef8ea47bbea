# SPDX-License-Identifier: Apache-2.0
"""Drawings are told from photos."""

import numpy as np
import pytest
from PIL import Image

from jahp_fast.cli import main
from jahp_fast.files.image import Rows
from jahp_fast.files.kind import is_drawing, looks_drawn
from jahp_fast.train import synthetic


def drawing(pixels):
    """Of all forms that rows come in."""
    seen = {looks_drawn(rows) for rows in (Rows(pixels), Rows(Image.fromarray(pixels)))}
    assert len(seen) == 1
    assert is_drawing(Rows(pixels)) or seen == {False}
    return seen.pop()


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


def test_a_row_or_a_column_is_none():
    for shape in ((1, 1, 3), (1, 50), (40, 1, 3)):
        assert not drawing(np.full(shape, 7, np.uint8))
        assert not is_drawing(Rows(np.full(shape, 7, np.uint8)))
    for shape in ((2, 2), (100, 90, 3), (3000, 20, 3)):
        assert drawing(np.full(shape, 7, np.uint8))


def test_tall_pictures_are_looked_at_all_over():
    tall = np.random.default_rng(0).integers(0, 256, (6000, 64, 3), dtype=np.uint8)
    assert not drawing(tall)
    tall[600:] = 9
    assert drawing(tall)
    tall[3000:] = np.random.default_rng(1).integers(0, 256, (3000, 64, 3), dtype=np.uint8)
    assert not drawing(tall)


def test_the_command_says_so_where_it_is_blurred(tmp_path, capsys):
    drawn, shot = tmp_path / "map.png", tmp_path / "photo.png"
    Image.fromarray(synthetic.picture("map", 1, (192, 256))).save(drawn)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(shot)
    out = str(tmp_path / "out.jahp")
    assert main(["encode", str(drawn), out, "-q", "1"]) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "looks like a drawing: a higher quality, or --lossless, keeps its lines sharp" in said
    for arguments in (["-q", "1", "--quiet"], ["-q", "8"], ["--lossless"], ["--max-error", "2"]):
        assert main(["encode", str(drawn), out, *arguments]) == 0
        assert capsys.readouterr().err == ""
    assert main(["encode", str(shot), out]) == 0
    assert capsys.readouterr().err == ""
