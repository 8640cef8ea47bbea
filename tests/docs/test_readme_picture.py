# SPDX-License-Identifier: Apache-2.0
"""tools/figures/readme_picture.py: crops where they belong, curves and captions in their colours, files that keep the size."""

import numpy as np
import pytest
import readme_picture as tool

STYLE = """
:root { --jahp-ours: #00ff00; --jahp-jpeg: #ff0000; --jahp-webp: #0000ff; --jahp-jp2: #ff00ff; }
[data-md-color-scheme="slate"] { --jahp-ours: #00aa00; --jahp-jpeg: #aa0000; --jahp-webp: #0000aa; --jahp-jp2: #aa00aa; }
"""
POINTS = {
    "mbt2018": [(0.2, 29.0), (1.4, 37.0)],
    "WebP": [(0.2, 28.0), (1.4, 36.9)],
    "JPEG": [(0.2, 24.0), (1.4, 34.0)],
}


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == colour).all(-1).any())


def test_crops_captions_and_curves_are_in_the_picture():
    theme = tool.themes(STYLE)["light"]
    greys = [np.full((14, 20, 3), level, np.uint8) for level in (40, 80, 120, 160)]
    points = {name: POINTS["JPEG"] for name in tool.drawings.CURVES} | {"mbt2018": POINTS["mbt2018"]}
    crops = [("original", "", greys[0]), ("ours", "ours", greys[1]), ("JPEG", "jpeg", greys[2]), ("WebP", "webp", greys[3])]
    picture = tool.compose(crops, points, theme)
    assert picture.size == tool.PIXELS
    pixels = np.asarray(picture)
    for grey, (x, y) in zip(greys, tool.TILES, strict=True):
        tile = pixels[y + tool.CAPTION : y + tool.CAPTION + tool.TILE[1], x : x + tool.TILE[0]]
        assert (tile == grey[0, 0]).all()
    plot = pixels[:, tool.TILES[1][0] + tool.TILE[0] :]
    assert has(plot, (0, 255, 0))
    assert has(pixels[: tool.CAPTION, tool.TILES[1][0] : tool.TILES[1][0] + 500], (0, 255, 0))
    assert not has(pixels[: tool.CAPTION, :500], (0, 255, 0))


def test_colours_come_from_the_style_and_must_be_there():
    themes = tool.themes(STYLE)
    assert (themes["light"].codecs["ours"], themes["dark"].codecs["ours"]) == ("#00ff00", "#00aa00")
    for broken in (STYLE.replace("--jahp-jp2", "--jahp-gone"), "", STYLE + STYLE):
        with pytest.raises(ValueError, match=r"style\.css"):
            tool.themes(broken)


def test_no_other_file_is_larger_than_ours():
    ramp = np.add.outer(np.arange(96), np.arange(128))
    noise = np.random.default_rng(3).integers(0, 60, (96, 128))
    photo = np.repeat((ramp // 2 + noise).astype(np.uint8)[..., None], 3, axis=2)
    found = tool.variants(photo)
    assert set(found) == {"jahp_fast", *tool.OTHERS}
    assert all(size <= found["jahp_fast"][0] and pixels.shape == photo.shape for size, pixels in found.values())
