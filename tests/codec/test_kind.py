# SPDX-License-Identifier: Apache-2.0
"""Drawings are told from photos."""

import numpy as np
import pytest

from jahp_fast.files.kind import is_drawing
from jahp_fast.train import synthetic

DRAWINGS = ("text", "interface", "chart", "map", "lineart", "pixelart")


@pytest.mark.parametrize("kind", DRAWINGS)
def test_drawings(kind):
    for seed in range(3):
        picture = synthetic.picture(kind, seed, (200, 300))
        assert is_drawing(picture)
        assert is_drawing(picture[:, :, 0])
        assert is_drawing(np.dstack([picture, np.full((200, 300), 255, np.uint8)]))


def test_photos_and_noise_are_none(photo_crop):
    assert not is_drawing(photo_crop)
    assert not is_drawing(photo_crop[:, :, 1])
    assert not is_drawing(np.random.default_rng(0).integers(0, 2, (64, 64, 3), dtype=np.uint8))
    for seed in range(3):
        assert not is_drawing(synthetic.picture("grain", seed, (200, 300)))


def test_one_colour_is_none():
    for shape in ((1, 1, 3), (1, 50), (40, 1, 3), (100, 90, 3), (3000, 20, 3)):
        assert not is_drawing(np.full(shape, 7, np.uint8))


def test_tall_pictures_are_looked_at_all_over():
    tall = np.random.default_rng(0).integers(0, 256, (6000, 64, 3), dtype=np.uint8)
    assert not is_drawing(tall)
    tall[600:] = 9
    assert is_drawing(tall)
    tall[3000:] = np.random.default_rng(1).integers(0, 256, (3000, 64, 3), dtype=np.uint8)
    assert not is_drawing(tall)
