# SPDX-License-Identifier: Apache-2.0
"""`jahp batch`, killed in the middle: its workers end with it, what has its name is whole, and the next run finishes.

Each kill comes when more files have appeared, never after a time, and counts only where it hit a run in progress. Where a run was done
before its kill, its output is looked at and the work starts again in an empty folder, so that the number of kills is always reached.
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jahp_fast
from jahp_fast.batch import command
from jahp_fast.batch.written import RECORD

PATIENCE_S = 120
KINDS = ("parent", "group", "SIGTERM", "SIGINT to the group")
"""SIGKILL to the parent alone; SIGKILL to its whole process group; a request to end, to the parent; Ctrl-C in a terminal."""


@pytest.fixture
def model(tiny_models):
    return str(tiny_models["tiny"])


def arguments(source, out, model, *more):
    return [sys.executable, "-m", "jahp_fast.cli", "batch", "encode", str(source), str(out), "--model", model, "--workers", "2", *more]


def make_pictures(folder, count, crop, scale):
    """`count` different pictures of 64 x 48 pixels times `scale`, in four folders."""
    rng = np.random.default_rng(1)
    for i in range(count):
        r, c = rng.integers(0, (48, 64))
        path = folder / f"{i % 4}" / f"{i:04d}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crop[r : r + 48, c : c + 64]).resize((64 * scale, 48 * scale)).save(path)


def digests(folder):
    """Of every file below `folder` but the journal and the record, whatever its name."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name not in (command.JOURNAL, RECORD))
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def children(pid):
    """Its worker processes, or none where it has ended."""
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.001)


def finished_files(out):
    return sum(name.endswith(".jahp") for _, _, names in os.walk(out) for name in names)


def progressed(run, out, more):
    """Waits for so many finished files more; whether the run is still in progress then."""
    wanted = finished_files(out) + more
    wait_until(lambda: run.poll() is not None or finished_files(out) >= wanted, "the run makes no progress")
    return run.poll() is None


def kill(run, kind):
    if kind in ("parent", "SIGTERM"):
        run.send_signal(signal.SIGKILL if kind == "parent" else signal.SIGTERM)
    else:
        os.killpg(run.pid, signal.SIGKILL if kind == "group" else signal.SIGINT)


def one_run(line, out, kind, kill_worker_first, more):
    """Starts a run and kills it when `more` files have been finished; what was hit."""
    run = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    hits = []
    going = progressed(run, out, more)
    if going and kill_worker_first and (workers := children(run.pid)):
        os.kill(workers[0], signal.SIGKILL)
        hits.append("worker")
        going = progressed(run, out, more)
    workers = children(run.pid) if going else []
    if workers:
        kill(run, kind)
    said = run.communicate(timeout=PATIENCE_S)[1]
    if workers and run.returncode == (1 if kind.startswith("SIG") else -signal.SIGKILL):
        assert kind in ("parent", "group") or said.strip().endswith("goes on"), said
        hits.append(kind)
    else:
        assert run.returncode == 0, said
    wait_until(lambda: not any(map(is_running, workers)), "workers outlive their run")
    return hits


def killed(tmp_path, crop, model, *, count, kills, scale):
    """Encodes `count` pictures in runs of which `kills` are killed; counts what was hit."""
    source, calm, out = tmp_path / "pictures", tmp_path / "calm", tmp_path / "out"
    make_pictures(source, count, crop, scale)
    subprocess.run(arguments(source, calm, model), check=True, capture_output=True, timeout=PATIENCE_S)
    wanted = digests(calm)
    assert len(wanted) == count
    line = arguments(source, out, model, "--resume")
    hits = Counter()
    laps, runs = 1, 0
    while sum(hits[kind] for kind in KINDS) < kills:
        assert runs < 3 * kills, f"too few runs are hit in progress: {hits}"
        runs += 1
        hit = one_run(line, out, KINDS[sum(hits[kind] for kind in KINDS) % len(KINDS)], runs % 3 == 1, 1 + runs % 5)
        hits.update(hit)
        found = digests(out)
        assert {name: d for name, d in found.items() if name.endswith(".jahp")}.items() <= wanted.items()  # whole, and none changed
        if not set(hit) & set(KINDS):
            assert found == wanted
            laps += 1
            out = tmp_path / f"out{laps}"
            line = arguments(source, out, model, "--resume")
    last = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert last.returncode == 0, last.stderr
    assert digests(out) == wanted  # every file, and no temporary
    assert (out / command.JOURNAL).read_text() == ""
    print(f"{count} files, {runs} runs of which were hit: {dict(hits)}; laps: {laps}; all {len(wanted)} files as of a calm run")
    return hits


def test_killed_runs_lose_nothing(tmp_path, photo_crop, model):
    hits = killed(tmp_path, photo_crop, model, count=80, kills=2, scale=2)
    assert hits["parent"] == hits["group"] == 1
    codec = jahp_fast.Codec("tiny", models=[model], threads=1)
    for i in (0, 79):
        picture = Image.open(tmp_path / "pictures" / f"{i % 4}" / f"{i:04d}.bmp")
        assert (tmp_path / "calm" / f"{i % 4}" / f"{i:04d}.jahp").read_bytes() == codec.encode(picture)


@pytest.mark.slow
def test_twenty_kills_over_a_thousand_files(tmp_path, photo_crop, model):
    hits = killed(tmp_path, photo_crop, model, count=1000, kills=20, scale=5)
    assert [hits[kind] for kind in KINDS] == [5, 5, 5, 5]
    assert hits["worker"] >= 5


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker finishes its job first")
def test_a_worker_ends_when_its_parent_is_killed(tmp_path, model, photo_crop):
    """In the middle of a job, too: here it is stopped, and does not go on by itself."""
    make_pictures(tmp_path / "in", 80, photo_crop, 4)
    line = [*arguments(tmp_path / "in", tmp_path / "out", model), "--workers", "1"]
    run = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert progressed(run, tmp_path / "out", 1)
    (worker,) = children(run.pid)
    os.kill(worker, signal.SIGSTOP)
    try:
        blocked = int(Path(f"/proc/{worker}/status").read_text().split("SigBlk:")[1].split()[0], 16)
        assert blocked == 1 << (signal.SIGINT - 1) | 1 << (signal.SIGTERM - 1)  # Ctrl-C is for the parent
        run.kill()
        run.wait()
        wait_until(lambda: not is_running(worker), "the worker outlives its parent")
    finally:
        if is_running(worker):
            os.kill(worker, signal.SIGKILL)
