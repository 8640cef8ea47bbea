# SPDX-License-Identifier: Apache-2.0
"""benchmarks/quality_steps.py: falls are counted and measured, and real files rise (one crop, coarse steps)."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_falls():
    from quality_steps import Falls, Point

    points = [Point(1, 100, 30.0), Point(2, 90, 31.0), Point(3, 95, 30.5), Point(4, 93.1, 30.4), Point(5, 94, 32.0)]
    falls = Falls.of(points)
    assert (falls.bytes, falls.psnr) == (2, 2)
    assert falls.most_bytes == pytest.approx(0.1)
    assert falls.most_psnr == pytest.approx(0.5)


def test_real_files_rise(tmp_path, photo_crop):
    Image.fromarray(photo_crop).save(tmp_path / "a.png")
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "quality_steps.py", tmp_path, "--step", "1", "--csv", tmp_path / "a.csv"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("1 pictures, 7 steps each: 0 steps the wrong way\n")
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 9
