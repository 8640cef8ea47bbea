# SPDX-License-Identifier: Apache-2.0
"""Training runs compared by their rate at equal PSNR."""

import math
import subprocess
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


def test_weights_on_sets_of_pictures(tmp_path):
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
    command = [sys.executable, SCRIPT, *(tmp_path / name for name in ("same.pt", "other.pt", "same.pt")), "--sets"]
    done = subprocess.run([*command, tmp_path / "light", tmp_path / "dark"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith("|")] == ["light, pictures: 2", "dark, pictures: 1"]
    means = [(line.split("|")[1].strip(), float(line.split("|")[-2].strip(" %"))) for line in lines if "| all |" in line]
    assert [name for name, _ in means] == [f"{tmp_path.name}/{name}" for name in ("other.pt", "same.pt")] * 2
    assert means[0][1] < 0 < means[2][1]  # of a little more light
    assert means[1][1] == means[3][1] == 0
    (tmp_path / "none").mkdir()
    done = subprocess.run([*command, tmp_path / "none"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "there is no picture below" in done.stderr


def test_part_of_the_way_to_weights(tmp_path, photo_crop):
    """Half of it is another decoder; all of it is that of the weights themselves, and 0.3 lighter."""
    model = registry.build("mbt2018", 4, 6, rows=2)
    export_state(model.state_dict(), tmp_path / "reference.safetensors", photos=[photo_crop[:64, :64]])
    own = registry.from_state_dict(dequantise(tmp_path / "reference.safetensors")[1])
    with torch.no_grad():
        for layer in own.g_s[6].children():
            layer.bias.add_(0.3)
    torch.save(own.state_dict(), tmp_path / "other.pt")
    (tmp_path / "set").mkdir()
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(tmp_path / "set/0.png")
    command = [sys.executable, SCRIPT, tmp_path / "reference.safetensors", tmp_path / "other.pt"]

    def figures(*options):
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return {
            line.split("|")[1].strip(): float(line.split("|")[-2].strip(" %")) for line in done.stdout.splitlines() if "| all |" in line
        }

    name = f"{tmp_path.name}/other.pt"
    parts, whole = figures("--sets", tmp_path / "set", "--shares", "0.5,1"), figures("--sets", tmp_path / "set")
    assert list(parts) == [f"{name}, 0.5", f"{name}, 1"]
    assert parts[f"{name}, 1"] == whole[name] < parts[f"{name}, 0.5"] < 0
    done = subprocess.run([*command, "--shares", "0.5"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--shares is for --sets" in done.stderr
