# SPDX-License-Identifier: Apache-2.0
"""benchmarks/gpu/gpu_train.py without a GPU: phases that fail cost no other, what comes along, and a rehearsal on the CPU."""

import io
import json
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import gpu_train
import numpy as np
import pack_photos
import pytest
from PIL import Image
from train_toys import smooth_photos

from jahp_fast.train.data import find_photos

SCRIPT = Path(gpu_train.__file__)


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    return smooth_photos(tmp_path / "photos")


def say(text):
    return [sys.executable, "-c", text]


def test_a_command_that_fails_and_one_that_does_not_end():
    log = io.BytesIO()
    assert gpu_train.command_in(60, say("print('a'); print('the last')"), log) == ("done", "the last", "a\nthe last\n")
    assert gpu_train.command_in(60, say("raise SystemExit('no compiler')"), log)[:2] == ("failed", "no compiler")
    start = time.monotonic()
    slow = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(600)"
    assert gpu_train.command_in(5, say(slow), log, grace=0.5)[:2] == ("stopped", "here")
    assert time.monotonic() - start < 60
    assert b"no compiler" in log.getvalue()


def test_a_phase_that_fails_costs_no_other(photos, tmp_path, monkeypatch, capsys):
    """All phases with stand-ins for the commands: one fails, one is stopped, one writes nothing, and training still runs as chosen."""
    seen = []

    def command_in(limit, command, log, grace=0):
        seen.append((limit, command))
        words = " ".join(command)
        if "pip install" in words:
            return "failed", "no compiler", "no compiler"
        if "-m pytest" in words:
            return "stopped", "...", "..."
        if "gpu_variants" in words:
            found = {
                "tables": {"Ways of training": [{"way": "w", "crops a second": 3.0}]},
                "chosen": {"name": "w", "options": ["--compile"]},
            }
            Path(command[command.index("--json") + 1]).write_text(json.dumps(found))
            return "stopped", "", ""
        work = Path(command[command.index("--work") + 1])
        work.mkdir()
        (work / "held_out.csv").write_text("step,quality,bpp\n5,1,0.25\n")
        (work / "average.safetensors").write_bytes(bytes(range(256)) * 8192)
        (work / "last.pt").write_bytes(bytes(4 << 20))
        return "done", "saved", "saved"

    monkeypatch.setattr(gpu_train, "command_in", command_in)
    out = tmp_path / "out"
    arguments = ["--photos", str(photos), "--out", str(out), "--minutes", "10", "--results-mib", "3", "--part-mib", "0.75"]
    assert gpu_train.run(arguments) == 1
    summary = json.loads((out / "summary.json").read_text())
    assert [(p["name"], p["status"]) for p in summary["phases"]] == [
        ("build", "failed"), ("tests", "stopped"), ("variants", "stopped"), ("train", "done")]  # fmt: skip
    assert [round(limit) for limit, _ in seen[:3]] == [60, 60, 120]
    train = seen[3][1]
    assert train[-1] == "--compile"
    assert train[train.index("--device") + 1] == "cuda"
    assert 9.3 < float(train[train.index("--minutes") + 1]) < 9.7
    assert summary["packed"] == {"held_out.csv": 26, "average.safetensors": 2 << 20}
    assert summary["not_packed"] == ["last.pt (4.0 MiB)"]
    parts = sorted(out.glob("run.tar.*"))
    assert len(parts) == 3
    assert all(p.stat().st_size <= 0.75 * 2**20 for p in parts)
    with tarfile.open(fileobj=io.BytesIO(b"".join(p.read_bytes() for p in parts))) as archive:
        assert archive.extractfile("average.safetensors").read() == bytes(range(256)) * 8192
    text = (out / "summary.md").read_text()
    assert "| build | failed | 0 | 60 | no compiler |" in text
    assert "| 5 | 1 | 0.25 |" in text
    assert "Trained with: w." in text
    assert capsys.readouterr().out == text + "\n"
    assert {p.name for p in out.iterdir()} == {"log.txt", "summary.json", "summary.md", *(p.name for p in parts)}


def test_phases_that_are_left_out(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_train, "command_in", lambda *arguments: ("done", "", ""))
    out = tmp_path / "out"
    assert gpu_train.run(["--photos", str(photos), "--out", str(out), "--skip", "build", "tests", "variants"]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert [p["status"] for p in summary["phases"]] == ["left out"] * 3 + ["done"]


def test_arguments(photos, tmp_path, monkeypatch, capsys):
    (tmp_path / "photo.tar").write_bytes(b"no archive")
    for arguments, what in (
        (["--photos", str(photos), "--minutes", "0"], "must be positive"),
        (["--photos", str(photos), "--resume", str(tmp_path / "none")], "no such file"),
        (["--photos", str(photos), "--out", str(tmp_path / "photo.tar")], "cannot make the folder"),
        (["--photos", str(tmp_path / "photo.tar")], "no archive of pack_photos.py"),
    ):
        monkeypatch.setattr(sys, "argv", ["gpu_train.py", "--out", str(tmp_path / "o"), *arguments])
        assert gpu_train.main() == 1
        err = capsys.readouterr().err
        assert what in err
        assert err.startswith("gpu-train: ")
        assert len(err.splitlines()) == 1


def test_photos_travel(photos, tmp_path):
    """What is unpacked splits as the folder did, in parts within the size."""
    rng = np.random.default_rng(0)
    for k in range(6):
        Image.fromarray(rng.integers(0, 256, (90, 90, 3), dtype=np.uint8)).save(photos / f"noise{k}.jpg", quality=90)
    split = find_photos([photos])
    archives = pack_photos.pack(photos, tmp_path, 50_000, 9, None)
    assert sum(count for _, count in archives) == 12
    assert len(archives) > 1
    assert all(path.stat().st_size <= 50_000 for path, _ in archives)
    folders = gpu_train.unpacked([path for path, _ in archives], tmp_path / "there")
    there = find_photos(folders)
    assert {p.stem for p in there.train} == {p.stem for p in split.train}
    assert [p.stem for p in there.held_out] == [p.stem for p in split.held_out] == ["photo4"]
    for path in there.train:
        if path.stem.startswith("noise"):
            assert path.read_bytes() == (photos / path.name).read_bytes()
    assert len(pack_photos.pack(photos, tmp_path, 50_000, 1, 60)) == 1
    with pytest.raises(pack_photos.UsageError, match="held-out photos alone"):
        pack_photos.pack(photos, tmp_path, 12_000, 1, None)
    (photos / "other").mkdir()
    (photos / "other" / "noise3.jpg").write_bytes((photos / "noise3.jpg").read_bytes())
    with pytest.raises(pack_photos.UsageError, match=r"several photos would be called noise3\.jpg"):
        pack_photos.pack(photos, tmp_path, 50_000, 9, None)


@pytest.mark.slow
def test_a_rehearsal(photos, tmp_path):
    """One minute on the CPU, with the code of every phase but the build."""
    out, packed = tmp_path / "out", tmp_path / "packed"
    packed.mkdir()
    ((archive, _),) = pack_photos.pack(photos, packed, 1 << 20, 1, None)
    done = subprocess.run(
        [sys.executable, SCRIPT, "--photos", archive, "--out", out, "--device", "cpu", "--minutes", "5", "--batch", "2", "--crop", "64",
         "--skip", "build", "--tests", str(Path(__file__)), "--measuring", "60"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    phases = {p["name"]: p for p in summary["phases"]}
    assert phases["tests"]["status"] in ("done", "failed")  # pytest has no status 0 where nothing was selected
    assert phases["variants"]["data"]["chosen"]["crops_per_second"] > 0, done.stderr
    assert {row["backend"] for row in phases["variants"]["data"]["tables"].get("Latents by backend", [])} <= {"native"}
    assert phases["train"]["status"] == "done", (out / "log.txt").read_text()[-3000:]
    assert "average.safetensors" in summary["packed"]
    assert phases["train"]["data"]["tables"]["Held-out photos"][0]["quality"] == "1"
