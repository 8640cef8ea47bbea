# SPDX-License-Identifier: Apache-2.0
"""What the tests of the trainer share: a handful of small photos, a model of toy sizes, a silent screen."""

import io

import numpy as np
import torch
from PIL import Image

from jahp_fast.train import loop
from jahp_fast.train.report import Screen
from jahp_fast.train.settings import Settings


class Quiet(Screen):
    def __init__(self):
        super().__init__(io.StringIO())

    @property
    def text(self):
        return self._stream.getvalue()


def smooth_photos(folder):
    """Six smooth colourful pictures of 96 x 80 pixels in `folder`/shard0; one of them held out. Returns the folder."""
    (folder / "shard0").mkdir()
    r, c = np.mgrid[0:80, 0:96]
    for k in range(6):
        planes = [127 + 120 * np.sin((r * (k + 1) + c * (p + 2)) / 40 + k) for p in range(3)]
        Image.fromarray(np.stack(planes, 2).astype(np.uint8)).save(folder / "shard0" / f"photo{k}.png")
    (folder / "held_out.txt").write_text("photo4.png\n")
    return folder


def tiny(photos, work, **changes):
    base = {"architecture": "mbt2018", "width": 4, "latents": 6, "batch": 2, "crop": 64, "minutes": 5.0, "precision": "float32"}
    return Settings(photos=(photos,), work=work, **{**base, **changes})


def trainer(settings):
    return loop.Trainer(settings, Quiet())


def run_steps(t, count):
    for _ in range(count):
        assert t.step() is not None


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b
