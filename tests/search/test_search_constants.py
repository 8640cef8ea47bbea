# SPDX-License-Identifier: Apache-2.0
"""benchmarks/search_constants.py: effort 1 as shipped saves, and with steps made dear it changes next to nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
from builders import photo
from PIL import Image

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.slow
def test_savings_by_constants(tmp_path):
    for i, left in enumerate((64, 200, 300)):
        Image.fromarray(photo()[160:288, left : left + 128]).save(tmp_path / f"{i}.png")
    (tmp_path / "held_out.txt").write_text("1.png\n2.png\n")
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "search_constants.py", "--photos", tmp_path, "--photo-count", "2", "0.3,2.5,0.6", "0.3,200,0.6"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()[-2:]]
    saved = [float(row[3].removesuffix(" %")) for row in rows]
    assert [row[:3] for row in rows] == [["0.3", "2.5", "0.6"], ["0.3", "200", "0.6"]]
    assert saved[0] < -1
    assert abs(saved[1]) < 0.2
    assert all(len(row) == 12 for row in rows)
