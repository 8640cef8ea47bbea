# SPDX-License-Identifier: Apache-2.0
"""Photos and crops: what is held out is never drawn, a crop is a piece of its photo, bad files are named."""

import itertools

import numpy as np
import pytest
from PIL import Image

from jahp_fast.errors import UnsupportedImage, UsageError
from jahp_fast.train import data
from jahp_fast.train.data import Crops, Photos, find_photos, held_out_crops, load_photo


def solid(folder, name, level, size=(80, 64)):
    folder.mkdir(exist_ok=True)
    Image.new("RGB", size, (level,) * 3).save(folder / name)


def test_held_out_photos_are_never_drawn(tmp_path):
    for k in range(10):
        solid(tmp_path / f"shard{k % 2}", f"p{k}.png", 20 * k)
    (tmp_path / "held_out.txt").write_text("p3.png\np8.png\np_of_another_shard.png\n")
    files = find_photos([tmp_path])
    assert [p.name for p in files.held_out] == ["p3.png", "p8.png"]
    crops = Crops(Photos(files.train, 64, 2**20), 16, 64, seed=0)
    levels = {round(float(v) * 255) for _ in range(20) for v in crops.draw()[:, 0, 0, 0]}
    assert levels == {20 * k for k in range(10)} - {60, 160}
    assert [p.name for p in find_photos([tmp_path / "shard1"]).held_out] == ["p3.png"]  # the list lies in the folder above


def test_held_out_by_hash_without_a_list(tmp_path):
    for k in range(30):
        solid(tmp_path / "a", f"p{k}.png", k)
    files = find_photos([tmp_path / "a"])
    assert len(files.held_out) == 3
    (tmp_path / "a").rename(tmp_path / "b")
    assert [p.name for p in find_photos([tmp_path / "b"]).held_out] == [p.name for p in files.held_out]
    (tmp_path / "list").write_text("p0.png")
    assert [p.name for p in find_photos([tmp_path / "b"], tmp_path / "list").held_out] == ["p0.png"]


def test_a_crop_is_a_symmetry_of_its_photo(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    crops = Crops(Photos([tmp_path / "p.png"], 64, 0), 80, 64, seed=1)
    flips = [pixels, pixels[::-1], pixels[:, ::-1], pixels[::-1, ::-1]]
    symmetries = {v.tobytes() for a in flips for v in (a, a.transpose(1, 0, 2))}
    x = crops.draw()
    assert x.shape == (80, 3, 64, 64)
    seen = [(v.permute(1, 2, 0) * 255).round().byte().numpy() for v in x]
    whole = [v for v in seen if v.tobytes() in symmetries]
    assert {v.tobytes() for v in whole} == symmetries
    enlarged = [v for v in seen if v.tobytes() not in symmetries]
    assert 0.25 < len(enlarged) / len(seen) < 0.55
    roughness = [np.abs(np.diff(v.astype(int), axis=0)).mean() for v in (*enlarged, pixels)]
    assert max(roughness[:-1]) < 0.9 * roughness[-1]


def test_small_and_broken_photos(tmp_path):
    solid(tmp_path, "small.png", 3, (60, 200))
    with pytest.raises(UsageError, match="none of the 1 photos"):
        Photos([tmp_path / "small.png"], 64, 0)
    solid(tmp_path, "good.png", 3)
    kept = Photos([tmp_path / "small.png", tmp_path / "good.png"], 64, 0)
    assert (len(kept), kept.too_small) == (1, 1)
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8nothing")
    with pytest.raises(UnsupportedImage, match=r"bad\.jpg"):
        Photos([tmp_path / "bad.jpg"], 64, 0)
    assert [tuple(c.shape) for c in held_out_crops([tmp_path / "small.png"])] == [(3, 192, 48)]


def test_photos_are_kept_while_memory_lasts(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SLAB_BYTES", 50_000)
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{k}.png" for k in range(5)]
    for path, side in zip(paths, (64, 100, 150, 70, 65), strict=True):  # 12, 30, 68 (more than a slab), 15 and 13 thousand bytes
        Image.fromarray(rng.integers(0, 256, (side, 64 if side != 150 else 150, 3), dtype=np.uint8)).save(path)
    sizes = [load_photo(p).nbytes for p in paths]
    photos = Photos(paths, 64, sum(sizes[:4]))
    first = [photos[k] for k in range(5)]
    for _ in range(2):
        assert all(np.array_equal(photos[k], load_photo(p)) for k, p in enumerate(paths))
    assert [photos[k] is first[k] for k in range(5)] == [True] * 4 + [False]
    assert [np.shares_memory(a, b) for a, b in itertools.combinations(first, 2)] == [False] * 10
    assert first[0].base is first[1].base  # one piece for both
