# SPDX-License-Identifier: Apache-2.0
"""Ray on a real cluster of two nodes on the loopback address, with worker processes killed in the middle: `make ray` runs this.

Each node has one CPU. A worker is caught at work without a clock: it reads a picture from a named pipe into which nobody writes yet, so
what else is done meanwhile is done by the other node.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import jahp_fast
from jahp_fast.batch import command
from jahp_fast.batch.written import RECORD
from jahp_fast.integrations import ray as integration
from jahp_fast.integrations.ray import decode_dataset

ray = pytest.importorskip("ray", reason="Ray is not installed: make ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own

PATIENCE_S = 240
APPEARS_S = 5
PICTURES = 16
SIDE = 48


def wait_until(condition, what):
    """The first value of `condition` that is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
    return value


def start_node(*arguments):
    options = ["--num-cpus=1", "--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--disable-usage-stats", "--block"]
    line = [Path(sys.executable).with_name("ray"), "start", *arguments, *options]
    return subprocess.Popen([str(part) for part in line], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)


@pytest.fixture(scope="module")
def cluster():
    """Its address, and the processes of its nodes; this process is connected to it."""
    folder = tempfile.mkdtemp(prefix="jahp-ray-")  # short, for the names of sockets
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    nodes = [start_node("--head", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false")]
    try:
        wait_until(lambda: answers(port), "the head node does not start")
        nodes.append(start_node(f"--address={address}"))
        ray.init(address, log_to_driver=False, logging_level="error")
        wait_until(lambda: ray.cluster_resources().get("CPU") == 2, "the second node does not join")
        yield SimpleNamespace(address=address, nodes=nodes)
    finally:
        ray.shutdown()
        for process in [p for node in nodes if node.poll() is None for p in descendants(node.pid)]:  # a polite end takes Ray half a minute
            os.kill(process, signal.SIGKILL)
        for node in nodes:
            node.wait(timeout=PATIENCE_S)
        shutil.rmtree(folder, ignore_errors=True)


def descendants(process):
    """The process and all that it started, itself first, so that it does not mourn them."""
    below = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(p for child in below for p in descendants(int(child)))]


def answers(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def pictures(tmp_path, photo_crop):
    """PICTURES in two folders; {name without ending: pixels}."""
    made = {}
    for i in range(PICTURES):
        name = f"{'ab'[i % 2]}/{i:02d}"
        made[name] = photo_crop[i : i + SIDE, 2 * i : 2 * i + SIDE]
        path = tmp_path / "in" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(made[name]).save(path)
    return made


TAKES_PIPES = "from jahp_fast import cli; from jahp_fast.batch import jobs; jobs._special = lambda _: ''; raise SystemExit(cli.main())"
"""`jahp` that takes a named pipe for a picture: what a worker waits at until the test lets it go on."""


def encode(tmp_path, address, *more):
    line = [sys.executable, "-c", TAKES_PIPES, "batch", "encode", tmp_path / "in", tmp_path / "out", "--ray", *more]
    return subprocess.Popen([str(part) for part in line], env=os.environ | {"RAY_ADDRESS": address}, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip


def reader_of(pipe):
    """(process, descriptor): who reads from the named pipe, and an end to write to; None while nobody does."""
    try:
        end = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
    deadline = time.monotonic() + APPEARS_S  # the reader's descriptor is there a little after its call has been let through
    while time.monotonic() < deadline:
        if others := holders(pipe) - {os.getpid()}:
            return min(others), end
    os.close(end)  # it has just gone
    return None


def holders(pipe):
    """The processes that have it open."""
    found = set()
    for held in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(held) == str(pipe):
                found.add(int(held.parts[2]))
        except OSError:
            continue
    return found


def feed(end, pixels):
    """Writes the picture that a worker waits for."""
    os.set_blocking(end, True)
    with os.fdopen(end, "wb") as f:
        Image.fromarray(pixels).save(f, "png")


def finished(out):
    return {str(p.relative_to(out))[: -len(".jahp")] for p in out.rglob("*.jahp")} if out.exists() else set()


def killed_reader(pipe):
    """Kills whoever reads from the pipe, and waits until it is gone."""
    process, end = wait_until(lambda: reader_of(pipe), "no worker takes the picture")
    os.kill(process, signal.SIGKILL)
    os.close(end)
    wait_until(lambda: not Path(f"/proc/{process}").exists(), "it is not gone")
    return process


def test_batch_survives_killed_workers_and_a_killed_run(cluster, tmp_path, pictures):
    pipe, out = tmp_path / "in" / "a" / "00.png", tmp_path / "out"
    pipe.unlink()
    os.mkfifo(pipe)
    run = encode(tmp_path, cluster.address, "--workers", "4")
    first = killed_reader(pipe)
    second, end = wait_until(lambda: reader_of(pipe), "the picture is not given to another worker")
    assert second != first
    wait_until(lambda: len(finished(out)) >= PICTURES // 2, "the other node does nothing")
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate(timeout=PATIENCE_S)
    os.close(end)
    wait_until(lambda: not Path(f"/proc/{second}").exists(), "the worker outlives the run")
    kept = {name: (out / f"{name}.jahp").stat().st_mtime_ns for name in finished(out)}
    assert "a/00" not in kept

    run = encode(tmp_path, cluster.address, "--resume")
    feed(wait_until(lambda: reader_of(pipe), "the picture is not tried again")[1], pictures["a/00"])
    said, complaints = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0, complaints
    assert f"{PICTURES - len(kept)} files done" in said
    codec = jahp_fast.Codec(threads=1)
    assert finished(out) == set(pictures)
    for name, pixels in pictures.items():
        assert (out / f"{name}.jahp").read_bytes() == codec.encode(pixels), name
    for name, when in kept.items():
        assert (out / f"{name}.jahp").stat().st_mtime_ns == when
    assert {p.name for p in out.rglob("*") if p.is_file()} == {
        *(f"{Path(n).name}.jahp" for n in pictures), command.JOURNAL, RECORD}  # fmt: skip
    assert (out / command.JOURNAL).read_text() == ""


def test_a_picture_that_kills_every_worker_is_told(cluster, tmp_path, pictures):
    pipe = tmp_path / "in" / "b" / "01.png"
    pipe.unlink()
    os.mkfifo(pipe)
    run = encode(tmp_path, cluster.address)
    processes = [killed_reader(pipe) for _ in range(1 + integration.RETRIES)]
    assert len(set(processes)) == 1 + integration.RETRIES
    _, complaints = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 1
    assert "1 files failed" in complaints
    (line,) = (tmp_path / "out" / command.JOURNAL).read_text().splitlines()
    assert (json.loads(line)["file"], json.loads(line)["error"]) == ("b/01.png", "WorkerCrashedError")
    assert finished(tmp_path / "out") == set(pictures) - {"b/01"}


def test_dataset_with_a_killed_worker(cluster, tmp_path, pictures):
    codec = jahp_fast.Codec(threads=1)
    streams = {name: codec.encode(pixels) for name, pixels in pictures.items()}
    for name, data in streams.items():
        path = tmp_path / "coded" / f"{name}.jahp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    caught = tmp_path / "caught"

    def stay_once(row):
        """The first worker that comes here says who it is and waits to be killed."""
        try:
            with open(caught, "x") as f:
                f.write(str(os.getpid()))
        except FileExistsError:
            return row | {"node": ray.get_runtime_context().get_node_id()}
        time.sleep(600)
        raise AssertionError("not killed")

    killed = []

    def kill_it():
        killed.append(int(wait_until(lambda: caught.exists() and caught.read_text(), "no worker comes")))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_it)
    killer.start()
    rows = decode_dataset(tmp_path / "coded", override_num_blocks=8).map(stay_once, num_cpus=1).take_all()
    killer.join()
    assert len(killed) == 1
    assert len({row["node"] for row in rows}) == 2
    decoded = {str(Path(row["path"]).relative_to(tmp_path / "coded"))[: -len(".jahp")]: row["image"] for row in rows}
    assert decoded.keys() == streams.keys()
    assert len(rows) == PICTURES
    for name, data in streams.items():
        assert np.array_equal(decoded[name], codec.decode(data)), name


def test_dataset_names_a_damaged_file(cluster, tmp_path):
    (tmp_path / "bad.jahp").write_bytes(b"JAHP")
    with pytest.raises(Exception, match=r"FormatError: \S*bad\.jahp: file of 4 bytes"):
        decode_dataset(tmp_path).take_all()


def test_a_node_that_dies(cluster, tmp_path, pictures):
    """Both nodes hold a picture; one of them is killed with all its processes, and the other does its share."""
    pipes = [tmp_path / "in" / "a" / "00.png", tmp_path / "in" / "b" / "01.png"]
    for pipe in pipes:
        pipe.unlink()
        os.mkfifo(pipe)
    run = encode(tmp_path, cluster.address)
    readers = [wait_until(lambda pipe=pipe: reader_of(pipe), "no worker takes the picture") for pipe in pipes]
    second = descendants(cluster.nodes[1].pid)
    (lost,) = [i for i in (0, 1) if readers[i][0] in second]
    for process in second:
        os.kill(process, signal.SIGKILL)
    cluster.nodes[1].wait()
    os.close(readers[lost][1])
    # A dying process closes its files late: what is written until then is lost with it, and the next reader waits for ever.
    wait_until(lambda: not holders(pipes[lost]), "the killed worker keeps the picture")
    feed(readers[1 - lost][1], list(pictures.values())[1 - lost])
    feed(wait_until(lambda: reader_of(pipes[lost]), "the picture of the dead node is not taken up")[1], list(pictures.values())[lost])
    _, complaints = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0, complaints
    assert finished(tmp_path / "out") == set(pictures)
    codec = jahp_fast.Codec(threads=1)
    for name, pixels in list(pictures.items())[:2]:
        assert (tmp_path / "out" / f"{name}.jahp").read_bytes() == codec.encode(pixels)
    assert (tmp_path / "out" / command.JOURNAL).read_text() == ""
