# SPDX-License-Identifier: Apache-2.0
"""benchmarks/drawing_rates.py: what a file is compared with, and that drawings gain where they are kept and photos do not change."""

import re

import drawing_rates
import numpy as np
from builders import photo
from PIL import Image

from jahp_fast.train import synthetic


def test_the_smallest_file_that_is_no_worse():
    points = [(10, 9.0), (30, 4.0), (20, 4.0), (50, 1.0)]
    assert drawing_rates.no_worse(points, 9.5) == (10, True)
    assert drawing_rates.no_worse(points, 4.0) == (20, True)
    assert drawing_rates.no_worse(points, 0.5) == (50, False)


def test_rates(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(drawing_rates, "STEPS", (20, 60, 95))
    for name, pixels in (("drawn", synthetic.picture("text", 1, (96, 128))), ("shot", np.ascontiguousarray(photo()[:64, :96]))):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "a.png")
    drawing_rates.main([str(tmp_path / "drawn"), str(tmp_path / "shot")])
    rows = {line.split("|")[1].strip(): re.findall(r"[+-]\d+\.\d", line) for line in capsys.readouterr().out.splitlines()[2:]}
    assert list(rows) == ["drawn", "shot", "all"]
    avif, kept, webp, kept_webp = map(float, rows["drawn"])
    assert kept < avif
    assert kept_webp < webp
    assert rows["shot"][0] == rows["shot"][1]
    assert rows["shot"][2] == rows["shot"][3]
