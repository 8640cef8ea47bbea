# SPDX-License-Identifier: Apache-2.0
"""benchmarks/tuned_rates.py: weights that are all one change nothing, and those of the package do."""

import re
import subprocess
import sys

import pytest
from builders import ROOT, photo
from PIL import Image


@pytest.mark.slow
def test_tuned_rates(tmp_path):
    pytest.importorskip("ssimulacra2")
    Image.fromarray(photo()[128:304, 256:432]).save(tmp_path / "a.png")
    command = [sys.executable, ROOT / "benchmarks" / "tuned_rates.py", "--photos", tmp_path, "--constants", "1e12,0", "30,1.5"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = {tuple(cell.strip() for cell in line.split("|")[1:3]): re.findall(r"[+-]\d+\.\d\d", line) for line in out.splitlines()[2:]}
    assert rows["tuned, 1e12,0", "effort 2"] == ["+0.00"] * 6
    assert rows["tuned, 1e12,0", "effort 0"] == rows["effort 2", "effort 0"]
    assert float(rows["tuned, 30,1.5", "effort 2"][4]) > 0.1  # PSNR pays
