# SPDX-License-Identifier: Apache-2.0
"""`torchrun ... jahp train`: two processes take the steps of one, write as one, and end as one."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from train_rank import TINY
from train_toys import Quiet, smooth_photos

from jahp_fast.errors import UsageError
from jahp_fast.train import checkpoint, loop, ranks
from jahp_fast.train.settings import Settings

STEPS = 3
PATIENCE_S = 100


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return smooth_photos(tmp_path_factory.mktemp("photos"))


def torchrun(*arguments):
    options = ["--standalone", "--nproc-per-node=2"]
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    return subprocess.Popen([sys.executable, "-m", "torch.distributed.run", *options, *map(str, arguments)], env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)  # fmt: skip


def command(photos, work, *more):
    tiny = ["--width", 4, "--latents", 6, "--batch", 2, "--crop", 64, "--precision", "float32", "--threads", 1, "--no-preload"]
    jahp = Path(sys.executable).with_name("jahp")
    return ["--no-python", jahp, "train", "--photos", photos, "--work", work, "--minutes", 5, *tiny, *more]


@pytest.fixture(scope="module")
def two(photos, tmp_path_factory):
    """What two ranks recorded of STEPS steps."""
    out = tmp_path_factory.mktemp("two")
    run = torchrun(Path(__file__).parents[1] / "support" / "train_rank.py", photos, out, STEPS)
    said, _ = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0, said
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.slow
def test_ranks_hold_the_same_bits_and_draw_different_crops(two):
    first, second = two
    for part in ("model", "average"):
        for name, value in first[part].items():
            assert torch.equal(value, second[part][name]), name
    assert first["losses"] == second["losses"]
    assert first["crops"] == second["crops"] == 2 * 2 * STEPS
    for (x, noise), (other, other_noise) in zip(first["drawn"], second["drawn"], strict=True):
        assert not torch.equal(x, other)
        assert not torch.equal(noise, other_noise)


@pytest.mark.slow
def test_two_ranks_are_one_process_on_the_joint_batch(two, photos, tmp_path, monkeypatch):
    """One process takes the ranks' crops as one batch, each half with the qualities and noise that its rank drew."""
    one = loop.Trainer(Settings(photos=(photos,), work=tmp_path, optimizer="adam", lr=0.05, **TINY), Quiet())
    start = [p.detach().clone() for p in one.weights]
    generators = [torch.Generator(), torch.Generator()]

    def halves(tensor):
        return torch.cat([torch.empty_like(part).uniform_(generator=g) for part, g in zip(tensor.chunk(2), generators, strict=True)])

    def qualities(low, high, shape):
        return torch.cat([torch.empty(shape[0] // 2, dtype=torch.int64).random_(low, high, generator=g) for g in generators])

    monkeypatch.setattr(torch, "rand_like", halves)
    monkeypatch.setattr(torch, "randint", qualities)
    for step in range(STEPS):
        joint = []
        for generator, rank in zip(generators, two, strict=True):
            x, state = rank["drawn"][step]
            joint.append(x)
            generator.set_state(state)
        monkeypatch.setattr(one.crops, "draw", lambda x=joint: torch.cat(x))
        loss = one.step()
        assert [float(loss.total), float(loss.bpp), float(loss.mse)] == pytest.approx(two[0]["losses"][step], rel=1e-4)
        for gradient, averaged in zip((p.grad for p in one.weights), two[0]["gradients"][step], strict=True):
            assert float((gradient - averaged).norm()) <= 2e-3 * float(gradient.norm()) + 1e-6
    names = [n for n, _ in one.model.named_parameters() if not n.endswith("quantiles")]
    moved = sum(float((p.detach() - s).square().sum()) for p, s in zip(one.weights, start, strict=True))
    apart = sum(float((p.detach() - two[0]["model"][n]).square().sum()) for n, p in zip(names, one.weights, strict=True))
    assert apart < 1e-4 * moved


@pytest.mark.slow
def test_the_command_writes_once_and_goes_on_alone(photos, tmp_path):
    run = torchrun(*command(photos, tmp_path, "--steps", 4))
    said, _ = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0, said
    assert said.count("1 threads in each of 2 processes") == said.count("at step 4") == 1
    (row,) = csv.DictReader((tmp_path / "log.csv").read_text().splitlines())
    assert (row["step"], row["crops"]) == ("4", "16")
    measured = [r["quality"] for r in csv.DictReader((tmp_path / "held_out.csv").read_text().splitlines())]
    assert measured == [str(q) for q in range(1, 9)]
    alone = loop.Trainer(Settings(photos=(photos,), work=tmp_path, minutes=5, batch=2, crop=64, precision="float32"), Quiet())
    assert (alone.training.steps, alone.training.crops) == (4, 16)
    assert alone.step() is not None


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["torchrun", "rank 1"])
def test_sigterm_ends_both_and_saves(photos, tmp_path, whom):
    run = torchrun(*command(photos, tmp_path, "--checkpoint-minutes", 0.001))
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "held_out.csv").exists():  # it is under way
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    ranks_running = [int(n) for n in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
    first = int((tmp_path / "pid").read_text())
    assert first in ranks_running
    (second,) = [n for n in ranks_running if n != first and b"train" in Path(f"/proc/{n}/cmdline").read_bytes()]
    os.kill(run.pid if whom == "torchrun" else second, signal.SIGTERM)
    said, _ = run.communicate(timeout=PATIENCE_S)
    assert "SIGTERM: saved" in said
    if whom == "rank 1":  # torchrun itself ends with an error of its own when a signal comes to it
        assert run.returncode == 0, said
    steps = int(said.split("SIGTERM: saved")[1].split("at step ")[1].split()[0])
    assert checkpoint.load(tmp_path / "last.pt").training.steps == steps > 0
    assert not any(Path(f"/proc/{n}").exists() for n in (first, second))


def test_a_clock_of_one_process_is_refused(photos, tmp_path):
    for change, message in (({"clock": "cpu"}, "--clock cpu is for one process"), ({"device": "cuda"}, "--device cuda is for one process")):
        with pytest.raises(UsageError, match=message):
            loop.Trainer(Settings(photos=(photos,), work=tmp_path, **{**TINY, **change}), Quiet(), ranks.Ranks(0, 2))


def test_half_an_environment_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UsageError, match="RANK is not set: start several processes with torchrun"), ranks.joined():
        pass
    monkeypatch.setenv("WORLD_SIZE", "1")
    with ranks.joined() as alone:
        assert alone == ranks.Ranks(0, 1)


@pytest.mark.slow
def test_a_rank_that_drifts_or_dies_is_told(tmp_path):
    script = tmp_path / "rank.py"
    script.write_text(
        "import os, json, sys, torch\nfrom jahp_fast.errors import JahpError\nfrom jahp_fast.train.ranks import joined\n"
        "with joined() as r:\n"
        "    r.require_same([torch.zeros(3)])\n"
        "    for weights in (torch.full((3,), float(r.rank)), torch.zeros(3)):\n"
        "        try:\n            r.require_same([weights])\n"
        f"        except JahpError as e:\n            print(json.dumps([r.rank, str(e)]), file=open({str(tmp_path / 'told')!r}, 'a'))\n"
        "        if r.rank == 1:\n            os._exit(0)\n"
    )
    run = torchrun(script)
    said, _ = run.communicate(timeout=PATIENCE_S)
    told = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert sorted(rank for rank, _ in told) == [0, 0, 1], said
    assert sum("no longer hold the same weights" in message for _, message in told) == 2
    assert "rank 0 has lost the others" in [message for rank, message in told if rank == 0][-1]
