# SPDX-License-Identifier: Apache-2.0
"""Synthetic pictures: the same for a seed in every process, each kind what its name says; and their command."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jahp_fast.errors import UsageError
from jahp_fast.train import canvas, synthetic
from jahp_fast.train.synthetic import HELD_OUT_SEED, KINDS, picture

SMALL = (64, 96)


def photo(seed=0, size=(150, 200)):
    """Noise: no two neighbours are alike, as in no synthetic picture but grain."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def steps(pixels):
    """The largest difference of two neighbours in any channel."""
    p = pixels.astype(int)
    return max(np.abs(np.diff(p, axis=0)).max(), np.abs(np.diff(p, axis=1)).max())


def packed(pixels):
    return pixels.reshape(-1, 3).astype(int) @ (65536, 256, 1)


def colours(pixels):
    return len(np.unique(packed(pixels)))


def edges(pixels):
    """The share of neighbours in a row that differ by more than 40 levels."""
    return (np.abs(np.diff(pixels.astype(int), axis=1)).max(axis=2) > 40).mean()


def digests():
    return {kind: hashlib.sha256(picture(kind, 0, SMALL, [photo()]).tobytes()).hexdigest() for kind in KINDS}


def test_pictures_are_the_same_in_another_process_and_order():
    here = digests()
    code = "import test_synthetic as t; [t.picture(k, 5, (40, 40), [t.photo()]) for k in reversed(t.KINDS)]; print(t.digests())"
    env = os.environ | {"PYTHONPATH": os.path.dirname(__file__), "PYTHONHASHSEED": "7"}
    there = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60).stdout
    assert there == f"{here}\n"
    assert len(set(here.values())) == len(KINDS)  # every kind is different from every other


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_every_size_and_another_picture_for_every_seed(kind):
    seen = set()
    for seed, size in enumerate([(32, 32), (33, 95), (120, 32), (64, 64), (64, 64), (64, 64)]):
        pixels = picture(kind, seed, size, [photo(), photo(1, (3, 5))])
        assert pixels.shape == (*size, 3)
        assert pixels.dtype == np.uint8
        seen.add(pixels.tobytes())
    assert len(seen) == 6
    assert picture(kind, HELD_OUT_SEED, SMALL, [photo()]).tobytes() != picture(kind, 0, SMALL, [photo()]).tobytes()


def test_flats_are_one_colour_and_reach_every_corner_of_the_cube():
    seen = [picture("flat", seed, (32, 32)) for seed in range(500)]
    assert all(colours(p) == 1 for p in seen)
    first = {tuple(int(c) for c in p[0, 0]) for p in seen}
    assert {(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)} <= first
    assert {tuple(c // 64 for c in f) for f in first} >= {(r, g, b) for r in (0, 1, 3) for g in (0, 2, 3) for b in (0, 1, 3)}


@pytest.mark.parametrize("kind", ["ramp", "radial"])
def test_ramps_have_no_two_neighbours_more_than_a_step_apart(kind):
    several = 0
    for seed in range(40):
        pixels = picture(kind, seed, (96, 128))
        assert steps(pixels) <= 1
        several += colours(pixels) > 8
    assert several > 30


def test_linear_ramps_are_constant_along_a_line_and_radial_ones_are_not():
    straight = [picture("ramp", seed, SMALL) for seed in range(20)]
    assert sum((p == p[:1]).all() or (p == p[:, :1]).all() for p in straight) >= 5
    assert not any((p == p[:1]).all() or (p == p[:, :1]).all() for p in (picture("radial", seed, SMALL) for seed in range(20)))


def test_vignettes_darken_towards_the_corners():
    darker = 0
    for seed in range(40):
        p = picture("vignette", seed, (96, 96)).astype(float).mean(axis=2)
        darker += p[[0, 0, -1, -1], [0, -1, 0, -1]].mean() < 0.95 * p[36:60, 36:60].mean()
        assert steps(picture("vignette", seed, (96, 96))) < 24
    assert darker > 35


def test_grain_is_noise_around_a_smooth_picture():
    deviations = []
    for seed in range(30):
        p = picture("grain", seed, (96, 96)).astype(float)
        blocks = p.reshape(12, 8, 12, 8, 3)
        deviations.append(blocks.std(axis=(1, 3)).mean())
        means = blocks.mean(axis=(1, 3))
        assert np.abs(np.diff(means, axis=0)).max() < 40
    assert 0.2 < min(deviations) < 3 < max(deviations) < 20


def test_objects_come_out_of_photos_on_a_constant_border():
    white = 0
    for seed in range(40):
        p = picture("objects", seed, (96, 120), [photo()])
        ground = p[0, 0]
        rim = np.concatenate([p[:3].reshape(-1, 3), p[-3:].reshape(-1, 3), p[:, :3].reshape(-1, 3), p[:, -3:].reshape(-1, 3)])
        assert (rim == ground).all()
        assert edges(p) > 0.02  # the noise of the photo
        white += bool((ground == 255).all())
    assert 8 < white < 32


def test_pages_are_drawings_with_rectangles_of_photos():
    shares = []
    for seed in range(12):
        p = picture("page", seed, (96, 120), [photo()])
        repeated = (p[1:, 1:] == p[:-1, 1:]).all(axis=2) & (p[1:, 1:] == p[1:, :-1]).all(axis=2)
        shares.append(repeated.mean())
        assert np.array_equal(p, picture("page", seed, (96, 120), [photo()]))
    assert 0.1 < min(shares) < 0.6 < max(shares) < 0.98
    assert np.ptp(shares) > 0.2


def test_objects_take_pixels_of_the_photos_that_are_given():
    one, other = (np.full((90, 90, 3), level, np.uint8) for level in ((1, 254, 3), (254, 3, 1)))
    found = set()
    for seed in range(12):
        p = picture("objects", seed, (96, 96), [one, other]).reshape(-1, 3)
        found |= {name for name, photo_ in (("one", one), ("other", other)) if (p == photo_[0, 0]).all(axis=1).any()}
    assert found == {"one", "other"}


def test_text_has_few_colours_and_many_edges_dark_on_light_and_light_on_dark():
    light = 0
    for seed in range(20):
        p = picture("text", seed, (192, 192))
        assert colours(p) < 800
        assert edges(p) > 0.03
        values, counts = np.unique(packed(p), return_counts=True)
        assert counts.max() > 0.3 * counts.sum()  # the paper
        light += canvas.light(tuple(int(values[counts.argmax()]).to_bytes(3, "big")))
    assert 4 < light < 18


@pytest.mark.parametrize(("kind", "flat", "edged"), [("interface", 0.6, 0.01), ("chart", 0.6, 0.004), ("map", 0.35, 0.002)])
def test_graphics_are_flat_areas_with_sharp_edges(kind, flat, edged):
    shares = []
    for seed in range(8):
        p = picture(kind, seed, (192, 192))
        shares.append((edges(p), (p[:, 1:] == p[:, :-1]).all(axis=2).mean()))
        assert colours(p) > 3
    assert np.median([e for e, _ in shares]) > edged
    assert np.mean([f for _, f in shares]) > flat


def test_charts_have_axes():
    with_axes = 0
    for seed in range(12):
        p = picture("chart", seed, (192, 192)).astype(int)
        rows = (np.abs(np.diff(p, axis=0)).max(axis=2) > 10).mean(axis=1)
        with_axes += rows.max() > 0.4
    assert with_axes >= 6  # a pie has none


def test_line_art_is_mostly_paper_with_smooth_edges():
    papers = []
    for seed in range(8):
        p = picture("lineart", seed, (192, 192))
        counts = np.unique(packed(p), return_counts=True)[1]
        papers.append(counts.max() / counts.sum())
        assert colours(p) > 10  # edges are blended
    assert np.median(papers) > 0.5


def test_pixel_art_has_blocks_of_few_colours():
    for seed in range(20):
        p = picture("pixelart", seed, (96, 144))
        assert 2 <= colours(p) <= 12
        changes = np.flatnonzero((p[:, 1:] != p[:, :-1]).any(axis=(0, 2))) + 1
        assert any((changes % block == 0).all() for block in range(2, 9))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("photos", 0), "there is no kind 'photos'"),
        ((["flat"], 0), "there is no kind a list"),
        (("flat", -1), "seed must be 0 to"),
        (("flat", 1.5), "seed must be 0 to"),
        (("flat", 0, (16, 64)), "the height must be 32 to 8192"),
        (("flat", 0, (64, 9000)), "the width must be 32 to 8192"),
        (("flat", 0, 64), "size must be a height and a width"),
        (("objects", 0), r"give some \(photos=, --photos\)"),
        (("objects", 0, SMALL, [np.zeros((64, 64, 3))]), r"arrays of uint8, \(H, W, 3\)"),
        (("objects", 0, SMALL, [np.zeros((64, 64), np.uint8)]), r"arrays of uint8, \(H, W, 3\)"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        picture(*arguments)


def command(*words):
    return synthetic.main([*map(str, words), "--size", "48x32"])


def test_the_command_writes_what_picture_makes(tmp_path, capsys):
    folder = tmp_path / "new" / "pictures"
    assert command(folder, "--count", 2, "--kinds", "flat,text", "--seed", 7) == 0
    assert {p.name for p in folder.iterdir()} == {"flat-7.png", "flat-8.png", "text-7.png", "text-8.png"}
    for path in folder.iterdir():
        kind, seed = path.stem.split("-")
        assert (np.asarray(Image.open(path)) == picture(kind, int(seed), (32, 48))).all()
    assert capsys.readouterr().err.splitlines()[-1] == f"4 pictures written to {folder}"


def test_the_command_goes_on_where_it_was_and_replaces_nothing_without_force(tmp_path, capsys):
    assert command(tmp_path, "--count", 2, "--kinds", "flat") == 0
    kept = picture("text", 3, (32, 48))
    Image.fromarray(kept).save(tmp_path / "flat-1.png")
    (tmp_path / "flat-0.png").unlink()
    assert command(tmp_path, "--count", 3, "--kinds", "flat") == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"2 pictures written to {tmp_path}, 1 were there"
    assert (np.asarray(Image.open(tmp_path / "flat-1.png")) == kept).all()
    assert command(tmp_path, "--count", 3, "--kinds", "flat", "--force") == 0
    assert (np.asarray(Image.open(tmp_path / "flat-1.png")) == picture("flat", 1, (32, 48))).all()


def test_an_interrupted_run_leaves_whole_pictures_only(tmp_path, capsys, monkeypatch):
    def stopped(kind, seed, size, photos):
        if seed == 2:
            raise KeyboardInterrupt
        return picture(kind, seed, size, photos)

    monkeypatch.setattr(synthetic, "picture", stopped)
    assert command(tmp_path, "--count", 5, "--kinds", "ramp") == 1
    assert capsys.readouterr().err.endswith("jahp: interrupted\n")
    assert {p.name for p in tmp_path.iterdir()} == {"ramp-0.png", "ramp-1.png"}
    for path in tmp_path.iterdir():
        Image.open(path).load()


def test_progress_is_one_line_on_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert command(tmp_path, "--count", 2, "--kinds", "flat") == 0
    shown = capsys.readouterr().err
    assert "1 of 2 pictures, 0:00 left" in shown
    assert shown.count("\n") == 1


def test_objects_of_held_out_seeds_are_cut_from_held_out_photos(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    levels = {"train.png": (1, 254, 3), "kept.png": (254, 3, 1)}
    for name, level in levels.items():
        Image.new("RGB", (64, 64), level).save(photos / name)
    (photos / "held_out.txt").write_text("kept.png\n")
    for seed, name in ((0, "train.png"), (HELD_OUT_SEED, "kept.png")):
        folder = tmp_path / str(seed)
        assert command(folder, "--count", 6, "--kinds", "objects", "--seed", seed, "--photos", photos) == 0
        pixels = np.concatenate([np.asarray(Image.open(p)).reshape(-1, 3) for p in folder.iterdir()])
        assert {n for n, level in levels.items() if (pixels == level).all(axis=1).any()} == {name}


def test_held_out_objects_need_held_out_photos(tmp_path, capsys):
    Image.new("RGB", (64, 64)).save(tmp_path / "one.png")
    words = ("--count", 1, "--kinds", "objects", "--photos", tmp_path)
    assert command(tmp_path / "new", *words, "--seed", HELD_OUT_SEED) == 1
    assert "need some: name them in held_out.txt there" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_without_photos_every_other_kind_is_written(tmp_path):
    assert command(tmp_path, "--count", 1) == 0
    assert {p.name for p in tmp_path.iterdir()} == {f"{kind}-0.png" for kind in KINDS if kind not in ("objects", "page")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--count", 2, "--seed", HELD_OUT_SEED - 1], "seeds 999999 to 1000000 mix pictures to train on with held-out ones"),
        (["--count", 0], "--count must be a positive whole number"),
        (["--count", "x"], "--help"),
        ([], "--count; see python -m jahp_fast.train.synthetic --help"),
        (["--count", 1, "--seed", -1], "--seed must be"),
        (["--count", 1, "--kinds", "flat,photos"], "there is no kind 'photos'"),
        (["--count", 1, "--kinds", "objects"], "give a folder of them by --photos"),
        (["--count", 1, "--photos", "nowhere"], "nowhere is not a folder of photos"),
    ],
)
def test_the_command_refuses_in_one_line_and_writes_nothing(tmp_path, capsys, words, message):
    folder = tmp_path / "pictures"
    assert command(folder, *words) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("jahp: ")
    assert said.count("\n") == 1
    assert not folder.exists()


def test_the_two_ranges_meet_at_the_held_out_seed(tmp_path):
    assert command(tmp_path, "--count", 1, "--kinds", "flat", "--seed", HELD_OUT_SEED - 1) == 0
    assert command(tmp_path, "--count", 1, "--kinds", "flat", "--seed", HELD_OUT_SEED) == 0


def test_pictures_that_cannot_be_what_is_asked_for_are_refused(tmp_path, capsys):
    Image.new("RGB", (40, 40)).save(tmp_path / "flat-0.png")
    (tmp_path / "flat-1.png").write_bytes(b"no picture")
    assert command(tmp_path, "--count", 1, "--kinds", "flat") == 1
    assert "of 40x40 pixels: choose another folder or --size" in capsys.readouterr().err
    assert command(tmp_path, "--count", 1, "--kinds", "flat", "--seed", 1) == 1
    assert "flat-1.png cannot be read as a picture" in capsys.readouterr().err
    for size in ("48", "48x", "x48", "48x8", "9999x48", "-4x48"):
        assert synthetic.main([str(tmp_path / "new"), "--count", "1", f"--size={size}"]) == 1
        assert f"--size {size} is not like 384x256" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert command(tmp_path / "file", "--count", 1) == 1
    assert "cannot make the folder" in capsys.readouterr().err
