# SPDX-License-Identifier: Apache-2.0
"""benchmarks/descent_constants.py: a few rounds save more than effort 1, and latents that hardly move save nothing."""

import subprocess
import sys
from pathlib import Path

from builders import photo
from PIL import Image

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_savings_by_constants(tmp_path):
    for i, left in enumerate((64, 300)):
        Image.fromarray(photo()[160:256, left : left + 96]).save(tmp_path / f"{i}.png")
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "descent_constants.py", "--photos", tmp_path, "--side", "80", "--qualities", "4,7",
         "8,0.08,0.05,0.15,0.5,0.95", "2,0.00001,0.00001,0.15,0.5,0.95"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()[-3:]]
    saved = [float(row[1].removesuffix(" %")) for row in rows]
    assert [row[0] for row in rows] == ["effort 1", "8,0.08,0.05,0.15,0.5,0.95", "2,0.00001,0.00001,0.15,0.5,0.95"]
    assert saved[1] < saved[0] - 1 < -1
    assert abs(saved[2]) < 0.5
    assert all(len(row) == 4 for row in rows)
