# SPDX-License-Identifier: Apache-2.0
"""tools/figures/worst_photos.py, card_table.py: the worst photos, and other codecs at our rates."""

import numpy as np
from card_table import card_table
from worst_photos import SIDE, fitting, spoiled, worst

from jahp_fast.evaluate.results import Row, means


def rows(image, codec, factor):
    """A curve of five settings at `factor` times the rate of the other codec."""
    rate = [factor * 2**q for q in range(5)]
    return [
        Row(codec, f"q={q}", image, int(1000 * r), 0.1 * r, 25 + 3 * q, 0.9 + 0.01 * q, float("nan"), 0, 0, f"{image}{codec}{q}")
        for q, r in enumerate(rate)
    ]


def test_others_at_our_rates():
    """Ours take twice the rate: at each quality the other codec stands where its next setting is; the last is beyond it."""
    lines = card_table(means([*rows("0.png", "ours", 2), *rows("0.png", "theirs", 1)]), "ours", ["theirs"])
    assert lines[2] == "| 0 | 0.200 | 25.00 | 0.9000 | 28.00 dB, 0.9100 |"
    cells = [line.split(" | ")[4].removesuffix(" |") for line in lines[2:]]
    assert cells == [*(f"{28 + 3 * q:.2f} dB, {0.91 + 0.01 * q:.4f}" for q in range(4)), "-"]


def test_the_worst_come_first():
    table = [r for i, factor in enumerate((1.1, 1.5, 0.8)) for r in (*rows(f"{i}.png", "ours", factor), *rows(f"{i}.png", "theirs", 1))]
    for metric in ("psnr", "ms_ssim"):
        found = worst(table, "ours", "theirs", metric, count=2)
        assert [name for name, _ in found] == ["1.png", "0.png"]
        np.testing.assert_allclose([rate for _, rate in found], [50, 10], atol=0.1)


def test_the_place_that_ours_spoils_most():
    original = np.full((3 * SIDE, 2 * SIDE, 3), 100, np.uint8)
    ours, theirs = original.copy(), original.copy()
    ours[SIDE : 2 * SIDE, SIDE:] = 110
    ours[:SIDE, :SIDE], theirs[:SIDE, :SIDE] = 130, 130  # both spoil it: not ours alone
    assert spoiled(original, ours, theirs) == (slice(SIDE, 2 * SIDE), slice(SIDE, 2 * SIDE))


def test_the_largest_file_that_is_not_larger():
    class Theirs:
        name, settings = "theirs", (0, 1, 2, 3, 4)

        def label(self, setting):
            return f"q={setting}"

    table = rows("a.png", "theirs", 1)
    assert [fitting(Theirs(), table, "a.png", most) for most in (500, 1000, 3999, 4000, 99999)] == [0, 0, 1, 2, 4]
