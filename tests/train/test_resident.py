# SPDX-License-Identifier: Apache-2.0
"""Crops drawn on a device, on the CPU: those of data.Crops out of the same numbers, repeatable, and all photos in their turn."""

import numpy as np
import pytest
import torch
from PIL import Image

from jahp_fast.errors import UnsupportedImage, UsageError
from jahp_fast.train import resident
from jahp_fast.train.data import Crops, Photos
from jahp_fast.train.resident import ResidentCrops

CPU = torch.device("cpu")


@pytest.fixture
def files(tmp_path):
    """Six noisy photos of different sizes."""
    rng = np.random.default_rng(0)
    paths = []
    for k, (height, width) in enumerate(((64, 64), (64, 90), (100, 70), (80, 85), (70, 120), (120, 66))):
        coarse = Image.fromarray(rng.integers(0, 256, (height // 3, width // 3, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int) + rng.integers(
            -20, 20, (height, width, 3)
        )
        paths.append(tmp_path / f"p{k}.png")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(paths[-1])
    return Photos(paths, 64, 0)


def test_crops_are_those_of_the_host(files):
    """Cuts pixel for pixel; enlarged and shrunk ones within two levels of Pillow's, whose weights are rounded."""
    there, here = ResidentCrops(files, 60, 64, 7, 2**20, CPU), Crops(files, 60, 64, 7)
    exact = 0
    for _ in range(3):
        x, want = there.draw(), here.draw()
        assert x.shape == want.shape
        assert x.is_contiguous(memory_format=torch.channels_last)
        off = (x - want).abs().mul(255).round().amax((1, 2, 3))
        exact += int((off == 0).sum())
        assert off.max() <= 2, off
        assert float((x - want).abs().mean()) * 255 < 0.1
    assert exact > 0.3 * 180


def test_the_distribution(files):
    """Two in five enlarged; every photo, each symmetry; scaled ones are smoother than cuts."""
    numbers = torch.rand(4000, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cuts, offsets = [], []

    def spy(cut, offset, side, reach):
        cuts.append(cut)
        offsets.append(offset)
        return torch.zeros(len(cut), side, reach)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resident, "resampling", spy)
        packed = resident.pack([files[i] for i in range(len(files))])
        for part in numbers.split(500):
            resident.crops(packed, part, 64)
    cut, offset = torch.cat(cuts), torch.cat(offsets)
    assert float((cut < 64).double().mean()) == pytest.approx(0.4, abs=0.03)
    assert 38 <= int(cut.min()) <= 39
    assert int(cut.max()) == 80
    shrunk, cut_out = (cut > 64) & (offset < 0), (cut > 64) & (offset >= 0)
    assert float(shrunk.double().sum() / cut_out.sum()) == pytest.approx(1, abs=0.15)
    assert bool((offset[cut == 64] == 0).all())
    assert bool((offset[cut_out] <= cut[cut_out] - 64).all())


def test_weights_are_a_mean():
    cut = torch.tensor([38, 50, 64, 70, 85, 85])
    offset = torch.tensor([-1, -1, 0, -1, -1, 21])
    weights = resident.resampling(cut, offset, 64, 85)
    torch.testing.assert_close(weights.sum(2), torch.ones(6, 64))
    assert all(bool((w[:, c:] == 0).all()) for w, c in zip(weights, cut.tolist(), strict=True))
    assert torch.equal(weights[5], torch.eye(85)[21:])
    assert torch.equal(weights[2, :, :64], torch.eye(64))


def test_a_seed_repeats(files):
    a, b, c = (ResidentCrops(files, 4, 64, seed, 2**20, CPU) for seed in (1, 1, 2))
    for _ in range(3):
        x = a.draw()
        assert torch.equal(x, b.draw())
        assert not torch.equal(x, c.draw())


def test_photos_without_room_come_by_and_by(files, monkeypatch):
    monkeypatch.setattr(resident, "TURNOVER", 2)
    sizes = [files[i].nbytes for i in range(6)]
    room = sum(sizes) // 2
    a, b = (ResidentCrops(files, 3, 64, 5, room, CPU) for _ in range(2))
    seen = set()
    for _ in range(24):
        assert torch.equal(a.draw(), b.draw())
        held = 3 * len(a._there.pixels)
        assert held <= room
        seen |= {(h, w) for _, h, w in a._there.table.tolist()}
    assert seen == {files[i].shape[:2] for i in range(6)}
    one = ResidentCrops(files, 3, 64, 5, 1, CPU)
    one.draw()
    assert len(one._there.table) == 1


def test_a_photo_that_breaks_off_is_named(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:3000])
    with pytest.raises(UnsupportedImage, match=r"^.*half\.jpg cannot be read as a photo: [^\n]*$"):
        ResidentCrops(Photos([tmp_path / "half.jpg"], 64, 0), 2, 64, 0, 2**20, CPU)
    with pytest.raises(UsageError, match="need --memory"):
        ResidentCrops(Photos([tmp_path / "whole.jpg"], 64, 0), 2, 64, 0, 0, CPU)
