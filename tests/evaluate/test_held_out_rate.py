# SPDX-License-Identifier: Apache-2.0
"""Training runs compared by their rate at equal PSNR."""

import math
import runpy
import sys

import numpy as np
import pytest
import torch
from builders import ROOT
from PIL import Image

from jahp_fast.export.model import dequantise
from jahp_fast.export.state import export_state
from jahp_fast.models import registry

SCRIPT = ROOT / "benchmarks" / "held_out_rate.py"
HEAD = "step,crops,minutes,quality,bpp,psnr\n"


@pytest.fixture
def run(monkeypatch, capsys):
    """The script, in this process: its exit status, and what it said on each stream."""

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as e:
            said = capsys.readouterr()
            return (e.code, said.out, said.err) if isinstance(e.code, int) else (1, said.out, str(e.code))
        said = capsys.readouterr()
        return 0, said.out, said.err

    return called


def written(folder, *rows):
    folder.mkdir()
    (folder / "held_out.csv").write_text(HEAD + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return folder


def test_rates_at_equal_psnr(run, tmp_path):
    reference = written(tmp_path / "a", "1,10,1,1,9,9", "2,20,2,1,0.25,30", "2,20,2,2,0.5,33", "2,20,2,3,1.0,35")
    # half the rate; the reference's own curve between two points; beyond its end, along the last slope
    other = written(tmp_path / "b", "7,70,3,1,0.125,30", f"7,70,3,2,{0.5 * 2**0.5},34", "7,70,3,3,2.2,37")
    status, out, _ = run(reference, other)
    assert status == 0
    *each, mean = [[part.strip(" %") for part in line.split("|")[2:-1]] for line in out.splitlines()[2:]]
    assert [float(row[3]) for row in each] == pytest.approx([-50, 0, 10], abs=0.01)
    # quality 1: 0.0018 * 65.025 + 0.125 over 0.0018 * 65.025 + 0.25
    assert float(each[0][4]) == pytest.approx(100 * (0.242045 / 0.367045 - 1), abs=0.01)
    assert mean[:1] == ["all"]
    assert math.log1p(float(mean[4]) / 100) == pytest.approx(sum(math.log1p(float(row[4]) / 100) for row in each) / 3, abs=1e-4)


def test_a_reference_of_one_quality(run, tmp_path):
    one = written(tmp_path / "a", "2,20,2,1,0.25,30")
    status, _, said = run(one, one)
    assert status == 1
    assert "two qualities or more" in said
    status, _, said = run(one, tmp_path)
    assert status == 1
    assert "has no held_out.csv" in said
    alike = written(tmp_path / "c", "2,20,2,1,0.25,30", "2,20,2,2,0.5,30")
    status, _, said = run(alike, one)
    assert status == 1
    assert "two qualities or more, of different PSNR" in said
    two = written(tmp_path / "b", "2,20,2,2,0.25,30", "2,20,2,3,0.5,33")
    status, _, said = run(two, one)
    assert status == 1
    assert "the reference has not been measured at quality 1" in said


def test_weights_on_sets_of_pictures(run, tmp_path):
    torch.manual_seed(0)
    model = registry.build("mbt2018", 4, 6, rows=2)
    torch.save(model.state_dict(), tmp_path / "same.pt")
    with torch.no_grad():
        for layer in model.g_s[6].children():
            layer.bias.add_(0.3)
    torch.save(model.state_dict(), tmp_path / "other.pt")
    for name, pictures in (("light", 2), ("dark", 1)):
        (tmp_path / name).mkdir()
        for i in range(pictures):
            Image.fromarray(np.full((64, 64, 3), 200 if name == "light" else 20 + i, np.uint8)).save(tmp_path / name / f"{i}.png")
    weights = [tmp_path / name for name in ("same.pt", "other.pt", "same.pt")]
    status, out, said = run(*weights, "--sets", tmp_path / "light", tmp_path / "dark")
    assert status == 0, said
    lines = out.splitlines()
    assert [line for line in lines if not line.startswith("|")] == ["light, pictures: 2", "dark, pictures: 1"]
    means = [(line.split("|")[1].strip(), float(line.split("|")[-2].strip(" %"))) for line in lines if "| all |" in line]
    assert [name for name, _ in means] == [f"{tmp_path.name}/{name}" for name in ("other.pt", "same.pt")] * 2
    assert means[0][1] < 0 < means[2][1]  # of a little more light
    assert means[1][1] == means[3][1] == 0
    (tmp_path / "none").mkdir()
    status, _, said = run(*weights, "--sets", tmp_path / "none")
    assert status == 1
    assert "there is no picture below" in said


def test_part_of_the_way_to_weights(run, tmp_path, photo_crop):
    """Half of it is another decoder; all of it is that of the weights themselves, and 0.3 lighter."""
    torch.manual_seed(0)
    model = registry.build("mbt2018", 4, 6, rows=2)
    export_state(model.state_dict(), tmp_path / "reference.safetensors", photos=[photo_crop[:64, :64]])
    own = registry.from_state_dict(dequantise(tmp_path / "reference.safetensors")[1])
    with torch.no_grad():
        for layer in own.g_s[6].children():
            layer.bias.add_(0.3)
    torch.save(own.state_dict(), tmp_path / "other.pt")
    (tmp_path / "set").mkdir()
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(tmp_path / "set/0.png")
    weights = [tmp_path / "reference.safetensors", tmp_path / "other.pt"]

    def figures(*options):
        status, out, said = run(*weights, *options)
        assert status == 0, said
        return {line.split("|")[1].strip(): float(line.split("|")[-2].strip(" %")) for line in out.splitlines() if "| all |" in line}

    name = f"{tmp_path.name}/other.pt"
    parts, whole = figures("--sets", tmp_path / "set", "--shares", "0.5,1"), figures("--sets", tmp_path / "set")
    assert list(parts) == [f"{name}, 0.5", f"{name}, 1"]
    assert parts[f"{name}, 1"] == whole[name] < parts[f"{name}, 0.5"] < 0
    status, _, said = run(*weights, "--shares", "0.5")
    assert status == 2
    assert "--shares is for --sets" in said
