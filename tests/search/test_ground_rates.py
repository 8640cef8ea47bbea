# SPDX-License-Identifier: Apache-2.0
"""benchmarks/ground_rates.py: drawings never cost more than nets alone, and a sharp object's ground comes back."""

import sys

import ground_rates
import pytest
from builders import photo
from PIL import Image


def test_a_table_by_edge_and_quality(tmp_path, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo()[:200, :300]).save(tmp_path / "photos/a.png")
    monkeypatch.setattr(ground_rates, "QUALITIES", (4, 8))
    monkeypatch.setattr(sys, "argv", ["ground_rates.py", str(tmp_path / "photos"), "--side", "256", "--edges", "0,3"])
    ground_rates.main()
    rows = [[cell.strip(" %") for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["0", "4"], ["0", "8"], ["3", "4"], ["3", "8"]]
    assert all(float(row[3]) <= 0 for row in rows)
    assert all(float(row[4]) < 70 for row in rows)
    assert [row[5] for row in rows[:2]] == ["100", "100"]
    (tmp_path / "none").mkdir()
    monkeypatch.setattr(sys, "argv", ["ground_rates.py", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="there is no picture in"):
        ground_rates.main()
