# SPDX-License-Identifier: Apache-2.0
"""benchmarks/gpu/gpu_check.py without a GPU: its one line, its arguments, its files, its budget, and its rows with a stand-in."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gpu_check
import gpu_rows
import numpy as np
import pytest
import torch

from jahp_fast import DeviceError, JahpError, UsageError, backends
from jahp_fast.pipelines.shared import shared

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def no_gpu():
    raise RuntimeError("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU")


def test_without_a_gpu_one_line_and_status_1(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "init", no_gpu)
    monkeypatch.setattr(sys, "argv", ["gpu_check.py"])
    assert gpu_check.main() == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "gpu-check: device 'cuda' cannot be used: Found no NVIDIA driver on your system\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_script_itself(tmp_path):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu" / "gpu_check.py")], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("gpu-check: device 'cuda' cannot be used: ")
    assert len(done.stderr.splitlines()) == 1


def test_arguments(tmp_path):
    for arguments, what in (
        (["--rounds", "0"], "must be positive"), (["--budget", "-3"], "must be positive"), (["--device", "cpu"], "this checks a GPU"),
        (["--json", str(tmp_path / "no" / "x.json")], "no such folder"), (["--markdown", str(tmp_path / "no" / "x.md")], "no such folder"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=what):
            gpu_check.run(arguments)
    with pytest.raises(UsageError, match="'gpu' is not supported"):
        gpu_check.run(["--device", "gpu"])


def row(**fields):
    return gpu_rows.Row(**{"what": "decode", "model": "shipped 64/192", "backend": "cuda", "width": 768, "height": 512, "batch": 1,
                           "wall_ms": 2.5, "device_ms": 1.25, "least_ms": 2.0, "rounds": 20, "payload_bytes": 22000} | fields)  # fmt: skip


FACTS = {"name": "a card", "capability": "9.0", "torch": "2.13.0", "triton": "3.7.1", "cuda_extension": True}


def test_the_table():
    report = gpu_check.Report(1, FACTS, {"status": 0, "last_line": "40 passed in 60.00s"}, seconds=200.0)
    report.rows = [row(), row(backend="native", device_ms=None, wall_ms=40.0)]
    report.left_out = [gpu_rows.Skip("triton, decode", "triton is not installed")]
    lines = gpu_check.markdown(report).splitlines()
    assert lines[0] == "a card (capability 9.0), torch 2.13.0, triton 3.7.1, extension `_cuda` built; 200 s in all."
    assert lines[1] == "Tests: 40 passed in 60.00s."
    assert lines[5] == "| decode | shipped 64/192 | 768x512 | 1 | cuda | 2.500 | 1.250 | 400 |"
    assert lines[6] == "| decode | shipped 64/192 | 768x512 | 1 | native | 40.000 |  | 25 |"
    assert lines[-1] == "- triton, decode: triton is not installed"
    assert {line.count("|") for line in lines[3:7]} == {9}
    assert report.failed == []


def test_what_the_budget_does_not_reach_is_named():
    now = [0.0]
    budget = gpu_check.Budget(20, lambda: now[0])

    def job(seconds, result):
        def run():
            now[0] += seconds
            if isinstance(result, Exception):
                raise result
            return result

        return run

    report = gpu_check.Report(1, FACTS)
    jobs = [("a", job(8, row())), ("b", job(1, gpu_rows.Absent("no triton"))), ("c", job(1, gpu_rows.WrongAnswer("pixels"))),
            ("d", job(6, row())), ("e", job(1, row())), ("f", job(1, row()))]  # fmt: skip
    gpu_check.measure(report, jobs, budget)
    assert len(report.rows) == 2
    assert [(s.name, s.failed) for s in report.left_out] == [("b", False), ("c", True), ("e", False), ("f", False)]
    assert report.left_out[2].reason == "the budget was spent (16 s)"
    assert report.failed == ["c: pixels"]
    report.tests = {"status": 1, "last_line": "1 failed"}
    assert report.failed[0] == "pytest -m gpu ended with status 1"


@pytest.fixture
def load(tiny_models, photo_crop):
    return gpu_rows.workload("tiny", tiny_models["tiny"], photo_crop[:48, :64])


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setitem(backends._CLASSES, "triton", ("fake_device", "FakeBackend"))
    shared.cache_clear()
    yield
    shared.cache_clear()


def test_rows_of_each_backend(load, stand_in, monkeypatch):
    monkeypatch.setattr(gpu_rows, "SIZES", ((64, 48), (9, 9)))
    monkeypatch.setattr(gpu_rows, "BATCH", 3)
    jobs = gpu_rows.rows_of(load, "triton", "cpu", 2)
    assert [name for name, _ in jobs] == [
        f"triton, {what} of 64x48, tiny" for what in ("latents", "decode", "encode latents", "latents, batch of 3", "decode, batch of 3")
    ]
    rows = [job() for _, job in jobs]
    assert [(r.what, r.batch) for r in rows] == [
        ("latents", 1), ("decode", 1), ("encode latents", 1), ("latents", 3), ("decode to arrays", 3)]  # fmt: skip
    assert all(0 < r.least_ms <= r.wall_ms and r.device_ms is None and r.payload_bytes > 50 for r in rows)
    assert [name.split(" of")[0] for name, _ in gpu_rows.rows_of(load, "native", "cpu", 2)] == ["native, latents", "native, decode"]
    assert [job().backend for _, job in gpu_rows.rows_of(load, "native", "cpu", 1)] == ["native", "native"]
    with pytest.raises(gpu_rows.Absent, match="needs device='cuda'"):
        gpu_rows.rows_of(load, "cuda", "cpu", 1)[0][1]()


def test_wrong_answers_are_noticed(load, stand_in, monkeypatch):
    for name, part in (("y", "latents of"), ("pixels", "decode of")):
        wrong = getattr(load, name).copy()
        wrong[0, 0, 0] ^= 2
        changed = gpu_rows.Workload(**{**load.__dict__, name: wrong})
        jobs = [row for backend in ("triton", "native") for row in gpu_rows.rows_of(changed, backend, "cpu", 1)]
        jobs = [job for what, job in jobs if f", {part}" in what]
        assert len(jobs) == 2
        for job in jobs:
            with pytest.raises(gpu_rows.WrongAnswer):
                job()
    monkeypatch.setattr("fake_device.FakeBackend.encode", lambda *arguments: (b"other bytes", None, 1, {}))
    with pytest.raises(gpu_rows.WrongAnswer, match="not the CPU's bytes"):
        next(job for what, job in gpu_rows.rows_of(load, "triton", "cpu", 1) if "encode latents" in what)()


def test_loads_are_what_they_say(tmp_path):
    made = gpu_rows.workloads(tmp_path, lambda text: None, [(256, 192), (50, 40)], widths=12, bpp=0.12)
    assert [(w.model, w.width, w.height) for w in made] == [
        ("12/12 random", 256, 192), ("12/12 random", 50, 40), ("shipped 64/192", 256, 192), ("shipped 64/192", 50, 40)
    ]  # fmt: skip
    assert made[0].y.shape == (12, 12, 16)
    assert made[1].pixels.shape == (40, 50, 3)
    assert np.abs(made[0].y).max() > 5


def test_the_peer_is_left_out_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_rows, "DEFAULT_ENV", tmp_path)
    with pytest.raises(gpu_rows.Absent, match="peers' environment is not there; `make peers` makes it"):
        gpu_rows.peer_row("cuda:0", tmp_path)


def test_a_whole_run(tmp_path, monkeypatch, load, stand_in, capsys):
    """All of run() with a GPU that is not there: tests, rows, files and status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu_check.devices, "checked", lambda name: "cpu")
    monkeypatch.setattr(gpu_check, "machine_facts", lambda device: FACTS)
    monkeypatch.setattr(gpu_check, "workloads", lambda folder, say: [load])
    done = SimpleNamespace(returncode=0, stdout="...\n3 passed in 0.1s\n", stderr="")
    commands = []
    monkeypatch.setattr(gpu_check.subprocess, "run", lambda command, **_: commands.append(command) or done)
    monkeypatch.setattr(gpu_rows, "DEFAULT_ENV", tmp_path / "none")
    assert gpu_check.run(["--rounds", "1"]) == 0
    assert commands[0][1:6] == ["-m", "pytest", "-q", "-m", "gpu"]
    report = json.loads(Path("gpu-check.json").read_text())
    assert report["version"] == 1
    assert report["tests"]["last_line"] == "3 passed in 0.1s"
    assert {r["backend"] for r in report["rows"]} == {"triton", "native"}
    assert {s["name"].split(",")[0] for s in report["left_out"]} == {"cuda", "CompressAI"}
    assert Path("gpu-check.md").read_text() == capsys.readouterr().out.removesuffix("\n")
    done.returncode = 1
    assert gpu_check.run(["--rounds", "1"]) == 1
    assert "gpu-check: pytest -m gpu ended with status 1" in capsys.readouterr().err


def test_errors_are_the_packages():
    assert issubclass(gpu_rows.Absent, JahpError)
    assert issubclass(DeviceError, JahpError)
