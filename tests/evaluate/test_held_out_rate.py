# SPDX-License-Identifier: Apache-2.0
"""Training runs compared by their rate at equal PSNR."""

import math
import subprocess
import sys

import pytest
from builders import ROOT

SCRIPT = ROOT / "benchmarks" / "held_out_rate.py"
HEAD = "step,crops,minutes,quality,bpp,psnr\n"


def written(folder, *rows):
    folder.mkdir()
    (folder / "held_out.csv").write_text(HEAD + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return folder


def test_rates_at_equal_psnr(tmp_path):
    reference = written(tmp_path / "a", "1,10,1,1,9,9", "2,20,2,1,0.25,30", "2,20,2,2,0.5,33", "2,20,2,3,1.0,35")
    # half the rate; the reference's own curve between two points; beyond its end, along the last slope
    other = written(tmp_path / "b", "7,70,3,1,0.125,30", f"7,70,3,2,{0.5 * 2**0.5},34", "7,70,3,3,2.2,37")
    out = subprocess.run([sys.executable, SCRIPT, reference, other], capture_output=True, text=True, check=True).stdout
    *each, mean = [[part.strip(" %") for part in line.split("|")[2:-1]] for line in out.splitlines()[2:]]
    assert [float(row[3]) for row in each] == pytest.approx([-50, 0, 10], abs=0.01)
    # quality 1: 0.0018 * 65.025 + 0.125 over 0.0018 * 65.025 + 0.25
    assert float(each[0][4]) == pytest.approx(100 * (0.242045 / 0.367045 - 1), abs=0.01)
    assert mean[:1] == ["all"]
    assert math.log1p(float(mean[4]) / 100) == pytest.approx(sum(math.log1p(float(row[4]) / 100) for row in each) / 3, abs=1e-4)


def test_a_reference_of_one_quality(tmp_path):
    one = written(tmp_path / "a", "2,20,2,1,0.25,30")
    done = subprocess.run([sys.executable, SCRIPT, one, one], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "two qualities or more" in done.stderr
    done = subprocess.run([sys.executable, SCRIPT, one, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "has no held_out.csv" in done.stderr
    two = written(tmp_path / "b", "2,20,2,2,0.25,30", "2,20,2,3,0.5,33")
    done = subprocess.run([sys.executable, SCRIPT, two, one], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the reference has not been measured at quality 1" in done.stderr
