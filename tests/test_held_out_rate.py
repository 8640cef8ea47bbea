# SPDX-License-Identifier: Apache-2.0
"""Training runs compared by their rate at equal PSNR."""

import subprocess
import sys

import pytest
from support import ROOT

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
    rates = [float(line.split("|")[5].strip(" %")) for line in out.splitlines()[2:]]
    assert rates == pytest.approx([-50, 0, 10], abs=0.01)


def test_a_reference_of_one_quality(tmp_path):
    one = written(tmp_path / "a", "2,20,2,1,0.25,30")
    done = subprocess.run([sys.executable, SCRIPT, one, one], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "two qualities or more" in done.stderr
    done = subprocess.run([sys.executable, SCRIPT, one, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "has no held_out.csv" in done.stderr
