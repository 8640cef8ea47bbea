# SPDX-License-Identifier: Apache-2.0
"""The trainer at toy sizes: it learns, saves and ends when told, refuses what cannot work, and its command writes what it says."""

import argparse
import csv
import math
import os
import signal
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from train_toys import Quiet, run_steps, smooth_photos, tiny, trainer

from jahp_fast.errors import JahpError, ModelError, UsageError
from jahp_fast.train import checkpoint, command, loop, preload, process
from jahp_fast.train.report import draw
from jahp_fast.train.settings import Settings, default_lr


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return smooth_photos(tmp_path_factory.mktemp("photos"))


@pytest.mark.parametrize("optimizer", ["soap", "adam"])
def test_loss_falls(photos, tmp_path, optimizer):
    t = trainer(tiny(photos, tmp_path, optimizer=optimizer, lr=0.1, batch=4))
    x, q = torch.cat([t.crops.draw(), t.crops.draw()]), torch.arange(8)

    def loss():
        t.model.eval()
        with torch.no_grad():
            value = float(t.loss(t.model, x, q).total)
        t.model.train()
        return value

    before = loss()
    run_steps(t, 30)
    assert loss() < before + math.log(0.8)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch within torch
def test_compiled_steps_are_steps(photos, tmp_path):
    """The same crops, qualities and noise; sums in another order."""

    def three(compile):
        t = trainer(tiny(photos, tmp_path / str(compile), precision="float32", lr=1e-3, compile=compile))
        losses = [t.step() for _ in range(3)]
        return t, torch.tensor([(float(loss.total), float(loss.bpp), float(loss.mse)) for loss in losses])

    (eager, wanted), (compiled, figures) = three(False), three(True)
    assert torch.allclose(figures, wanted, rtol=1e-4)
    assert torch.equal(eager.crops.draw(), compiled.crops.draw())
    (tmp_path / "True").mkdir()
    compiled.save()
    going_on = trainer(tiny(photos, tmp_path / "True"))
    assert going_on.training.steps == 3


@pytest.mark.slow
def test_compiling_needs_a_compiler(photos, tmp_path):
    line = [sys.executable, "-m", "jahp_fast.cli", "train", "--photos", photos, "--work", tmp_path / "run", "--minutes", 5, "--crop", 64]
    line += ["--no-preload", "--compile"]
    environment = os.environ | {"CXX": "/nowhere", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([str(part) for part in line], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--compile: torch cannot compile here: InvalidCxxCompiler" in done.stderr
    assert "Traceback" not in done.stderr


def test_clock_of_cpu_time(photos, tmp_path, monkeypatch):
    t = trainer(tiny(photos, tmp_path, clock="cpu", minutes=0.5))
    now = iter([t.started + s for s in (0.0, 0.0, 0.0, 10.0, 31.0, 31.0, 31.0)])
    monkeypatch.setattr(t, "clock", lambda: next(now))
    assert t.train()
    assert t.training.steps == 1
    assert t.training.minutes == pytest.approx(10 / 60)


def test_a_signal_saves_and_ends(photos, tmp_path):
    class Killer(Quiet):
        def show(self, line):
            if line().startswith("step 3,"):
                os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    screen = Killer()
    assert loop.train(tiny(photos, tmp_path), screen) is False
    assert signal.getsignal(signal.SIGTERM) is before
    assert "SIGTERM: saved" in screen.text
    assert checkpoint.load(tmp_path / "last.pt").training.steps == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["average.safetensors", "last.pt", "log.csv", "pid"]


def test_two_trainers_do_not_share_a_folder(photos, tmp_path):
    with process.sole_user(tmp_path), pytest.raises(UsageError, match=f"process {os.getpid()} is training"):
        loop.train(tiny(photos, tmp_path), Quiet())


def test_infinite_gradients_change_nothing_and_are_not_saved(photos, tmp_path):
    t = trainer(tiny(photos, tmp_path))
    with torch.no_grad():
        t.model.g_s[0].bias[0] = torch.nan
    before = t.model.g_a[0].weight.detach().clone()
    for _ in range(loop.MAX_SKIPPED):
        assert t.step() is None
    with pytest.raises(loop.Diverged, match="smaller --lr"):
        t.step()
    assert torch.equal(before, t.model.g_a[0].weight)
    with pytest.raises(ModelError, match=r"g_s\.0\.bias is no longer finite"):
        t.save()
    assert not any(tmp_path.iterdir())


def parse(*arguments):
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args([str(a) for a in arguments])


def test_the_command_from_end_to_end(photos, tmp_path, capsys):
    common = ["--photos", photos, "--work", tmp_path, "--minutes", 5, "--no-preload", "--batch", 2, "--crop", 64]
    new = ["--architecture", "mbt2018-mean", "--width", 4, "--latents", 6, "--lambda", 0.02, "--decay", "--steps", 4]
    assert command.run(parse(*common, *new)) == 0
    assert command.run(parse(*common, "--steps", 2)) == 0
    out = capsys.readouterr().out
    assert "5 photos to train on (0 smaller than a crop), 1 held out" in out
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [(r["step"], r["crops"]) for r in rows] == [("4", "8"), ("6", "12")]
    assert all(float(r["loss"]) > 0 and float(r["mse"]) > 0 for r in rows)
    measured = list(csv.DictReader((tmp_path / "held_out.csv").read_text().splitlines()))
    assert [(r["step"], r["quality"]) for r in measured] == [("4", "1"), ("6", "1")]
    average = load_file(tmp_path / "average.safetensors")
    assert average["gain"].shape == (1, 6)
    assert checkpoint.load(tmp_path / "last.pt").training.lambdas == pytest.approx([0.02])
    pytest.importorskip("matplotlib")
    with Image.open(tmp_path / "rd.png") as picture:
        assert picture.size == (840, 600)
    assert draw(tmp_path).startswith("wrote ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 0.0}, "--minutes must be a positive"),
        ({"minutes": float("nan")}, "--minutes must be a positive"),
        ({"crop": 100}, "--crop must be a multiple of 16"),
        ({"batch": -1}, "--batch must be"),
        ({"metric": "psnr"}, "--metric must be one of mse, ms-ssim"),
        ({"metric": "ms-ssim"}, "MS-SSIM needs --crop 176"),
        ({"lambda_": 0.1, "lambda_row": 2}, "not both"),
        ({"lambda_row": 9}, "--lambda-row 9 is outside 1 to 8"),
        ({"device": "tpu"}, "--device tpu: not here"),
        ({"architecture": "vtm"}, "no model is called 'vtm'"),
        ({"crop": 96}, "none of the 5 photos"),
        ({"kernels": "fast"}, "--kernels must be one of auto, torch"),
        ({"only": "h_s"}, "--only must be one of g_s"),
        ({"only": "g_s"}, "--only g_s is for a model that is there: give it with --resume"),
    ],
)
def test_bad_settings(photos, tmp_path, changes, message):
    with pytest.raises(JahpError, match=message):
        trainer(tiny(photos, tmp_path, **changes))


def test_larger_batches_have_larger_learning_rates(photos, tmp_path):
    """By their root, beyond the default batch; what is given wins."""
    assert [default_lr("soap", n) for n in (1, 10, 40, 1000)] == pytest.approx([6e-4, 6e-4, 1.2e-3, 6e-3])
    assert default_lr("adam", 90) == pytest.approx(3e-4)
    assert trainer(tiny(photos, tmp_path / "a", batch=40)).lr == pytest.approx(1.2e-3)
    assert trainer(tiny(photos, tmp_path / "b", batch=40, lr=1e-3)).lr == 1e-3


def test_settings_that_contradict_the_checkpoint(photos, tmp_path):
    trainer(tiny(photos, tmp_path)).save()
    for changes, message in (
        ({"width": 5}, "--width 5 does not agree"),
        ({"architecture": "mbt2018-mean"}, "--architecture mbt2018-mean does not agree"),
        ({"lambda_": 0.01}, "--lambda is for a model of one row, and this one has 8"),
    ):
        with pytest.raises(UsageError, match=message):
            trainer(tiny(photos, tmp_path, **changes))
    with pytest.raises(UsageError, match="no such file"):
        trainer(tiny(photos, tmp_path / "new", resume=tmp_path / "none.pt"))
    with pytest.raises(UsageError, match="not a folder"):
        trainer(Settings(photos=(tmp_path / "none",), work=tmp_path, minutes=1))


def test_one_row_of_a_variable_rate_model(photos, tmp_path):
    t = trainer(tiny(photos, tmp_path, lambda_row=3))
    before = t.model.gain.detach().clone()
    run_steps(t, 3)
    changed = (t.model.gain.detach() != before).any(1).tolist()
    assert changed[2]
    t.optimizer.zero_grad()
    t.loss(t.model, t.crops.draw(), torch.tensor([2, 2])).total.backward()
    assert (t.model.gain.grad != 0).any(1).tolist() == [False, False, True, False, False, False, False, False]


def test_the_decoder_alone(photos, tmp_path):
    """What is coded stays as it was, bit for bit; the picture comes nearer; a run goes on, and its weights serve one of all parts."""
    whole = trainer(tiny(photos, tmp_path))
    run_steps(whole, 3)
    whole.save()
    (tmp_path / "only").mkdir()
    t = trainer(tiny(photos, tmp_path / "only", resume=tmp_path / "last.pt", only="g_s", lr=0.02, batch=4))
    x, q = torch.cat([t.crops.draw(), t.crops.draw()]), torch.arange(8)

    def figures(model):
        with torch.no_grad():
            out = model.eval()(x, q)
        return out.bpp, float((x - out.x_hat).square().mean())

    (coded, far), before = figures(t.model), {name: value.clone() for name, value in t.model.state_dict().items()}
    t.model.train()
    run_steps(t, 20)
    again, near = figures(t.model)
    assert torch.equal(again, coded)
    assert near < far
    changed = {name.split(".")[0] for name, value in t.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"g_s"}
    assert all(torch.equal(value, before[name]) for name, value in t.average.state_dict().items() if not name.startswith("g_s."))
    t.save()
    on = trainer(tiny(photos, tmp_path / "only", batch=4))
    assert (on.training.only, on.training.steps, len(on.weights)) == ("g_s", 23, len(t.weights))
    run_steps(on, 1)
    run_steps(trainer(tiny(photos, tmp_path / "all", resume=tmp_path / "only/last.pt")), 1)
    with pytest.raises(UsageError, match=r"--only g_s is for a new --work, with --resume .*: this one trains all parts"):
        trainer(tiny(photos, tmp_path, only="g_s"))


def test_the_average_leaves_where_a_falling_rate_began(photos, tmp_path):
    start = trainer(tiny(photos, tmp_path))
    start.training.steps = 5000
    start.average.gain.data.fill_(100.0)
    start.save()
    for decay in (False, True):
        t = trainer(tiny(photos, tmp_path / str(decay), resume=tmp_path / "last.pt", decay=decay))
        run_steps(t, 5)
        far = (t.average.gain - t.model.gain).abs().max().item()
        assert far < 1 if decay else far > 90


def test_environment_for_training():
    own = preload.training_environment({"PATH": "/bin", "OMP_WAIT_POLICY": "active"}, "/usr/lib/libjemalloc.so.2")
    assert own["LD_PRELOAD"] == "/usr/lib/libjemalloc.so.2"
    assert own["MALLOC_CONF"] == preload.MALLOC_CONF
    assert own["OMP_WAIT_POLICY"] == "active"  # what the user set stays
    assert own[preload.MARK] == "1"
    shared = preload.training_environment({"LD_PRELOAD": "/opt/x.so"}, "/usr/lib/libjemalloc.so.2")
    assert shared["LD_PRELOAD"] == "/usr/lib/libjemalloc.so.2:/opt/x.so"
    assert "LD_PRELOAD" not in preload.training_environment({}, None)
    loaded = preload.training_environment({"LD_PRELOAD": "/opt/libjemalloc.so.2"}, "/usr/lib/libjemalloc.so.2")
    assert loaded["LD_PRELOAD"] == "/opt/libjemalloc.so.2"
    assert "MALLOC_CONF" not in loaded


def test_restart_happens_once(monkeypatch):
    calls = []
    monkeypatch.setattr(preload.os, "execve", lambda *a: calls.append(a))
    monkeypatch.setattr(preload.sys, "platform", "linux")
    monkeypatch.setattr(preload, "find_jemalloc", lambda: None)
    monkeypatch.delenv(preload.MARK, raising=False)
    preload.restart_preloaded()
    (program, arguments, environment) = calls[0]
    assert arguments[0] == program
    assert arguments[1:] == preload.sys.orig_argv[1:]
    monkeypatch.setenv(preload.MARK, environment[preload.MARK])
    preload.restart_preloaded()
    assert len(calls) == 1
