# SPDX-License-Identifier: Apache-2.0
"""The trainer at toy sizes: it learns, goes on exactly where it stopped, and keeps held-out photos apart."""

import argparse
import csv
import io
import os
import signal
from collections import OrderedDict

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_optimizer import SOAP
from safetensors.torch import load_file, save_file

from jahp_fast.constants import LAMBDAS
from jahp_fast.errors import JahpError, ModelError, UnsupportedImage, UsageError
from jahp_fast.models.registry import ARCHITECTURES, build
from jahp_fast.train import checkpoint, command, loop, preload
from jahp_fast.train.data import Crops, Photos, find_photos, held_out_crops
from jahp_fast.train.loss import BALANCE, MS_SSIM_LAMBDAS, RateDistortion, evaluate, ladder
from jahp_fast.train.optimizer import make_optimizer, reorder, trained_names
from jahp_fast.train.report import Screen, clock, draw
from jahp_fast.train.settings import DEFAULT_LR, Settings


class Quiet(Screen):
    def __init__(self):
        super().__init__(io.StringIO())

    @property
    def text(self):
        return self._stream.getvalue()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six smooth colourful pictures of 96 x 80 pixels; one of them held out."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "shard0").mkdir()
    r, c = np.mgrid[0:80, 0:96]
    for k in range(6):
        planes = [127 + 120 * np.sin((r * (k + 1) + c * (p + 2)) / 40 + k) for p in range(3)]
        Image.fromarray(np.stack(planes, 2).astype(np.uint8)).save(folder / "shard0" / f"photo{k}.png")
    (folder / "held_out.txt").write_text("photo4.png\n")
    return folder


def tiny(photos, work, **changes):
    base = {"architecture": "mbt2018", "width": 4, "latents": 6, "batch": 2, "crop": 64, "minutes": 5.0, "precision": "float32"}
    return Settings(photos=(photos,), work=work, **{**base, **changes})


def trainer(settings):
    return loop.Trainer(settings, Quiet())


def run_steps(t, count):
    for _ in range(count):
        assert t.step() is not None


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
    assert loss() < 0.8 * before


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("optimizer", ["soap", "adam"])
def test_resume_is_bit_identical(photos, tmp_path, name, optimizer):
    """Three steps, a checkpoint and three more are the same as six: weights, average, optimiser, counters, random numbers."""
    settings = tiny(photos, tmp_path / "a", architecture=name, optimizer=optimizer, seed=5)
    whole = trainer(settings)
    run_steps(whole, 6)
    part = trainer(settings)
    run_steps(part, 3)
    settings.work.mkdir()
    part.save()
    torch.manual_seed(99)
    again = trainer(Settings(photos=(photos,), work=settings.work, minutes=5, batch=2, crop=64, precision="float32"))
    run_steps(again, 3)
    assert (again.training.steps, again.training.crops, again.training.warm_steps) == (6, 12, 6)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key]), key
    for key, value in whole.average.state_dict().items():
        assert torch.equal(value, again.average.state_dict()[key]), key
    buffers = []
    for t in (whole, again):
        torch.save([t.optimizer.state_dict(), t.crops.state], buffer := io.BytesIO())
        buffers.append(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    assert_same(*buffers)


@pytest.mark.parametrize("name", ["bmshj2018-factorized", "mbt2018-mean"])
def test_new_model_with_the_transforms_of_another(photos, tmp_path, name):
    old = trainer(tiny(photos, tmp_path / "old"))
    run_steps(old, 2)
    (tmp_path / "old").mkdir(exist_ok=True)
    old.save()
    source = tmp_path / "old" / "average.safetensors"
    new = trainer(tiny(photos, tmp_path / "new", architecture=name, transforms=source))
    assert new.model.architecture == name
    for key, value in old.average.state_dict().items():
        if key.startswith(("g_a.", "g_s.", "gain", "inv_gain")):
            assert torch.equal(value, new.model.state_dict()[key]), key
    run_steps(new, 1)
    with pytest.raises(UsageError, match="does not agree"):
        trainer(tiny(photos, tmp_path / "other", latents=32, transforms=source))
    with pytest.raises(UsageError, match="not both"):
        tiny(photos, tmp_path / "both", resume=source, transforms=source)
    with pytest.raises(UsageError, match="no such file"):
        trainer(tiny(photos, tmp_path / "none", transforms=tmp_path / "no.pt"))


def test_clock_of_cpu_time(photos, tmp_path, monkeypatch):
    t = trainer(tiny(photos, tmp_path, clock="cpu", minutes=0.5))
    now = iter([t.started + s for s in (0.0, 0.0, 0.0, 10.0, 31.0, 31.0, 31.0)])
    monkeypatch.setattr(t, "clock", lambda: next(now))
    assert t.train()
    assert t.training.steps == 1
    assert t.training.minutes == pytest.approx(10 / 60)


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


def earlier_name(key):
    for new, old in (("matrices.", "_matrix"), ("biases.", "_bias"), ("factors.", "_factor")):
        key = key.replace(f"entropy_bottleneck.{new}", f"entropy_bottleneck.{old}")
    return key


def test_goes_on_from_the_earlier_scripts_checkpoint(photos, tmp_path):
    """That script's factorised prior had its parameters in another order and under older names; SOAP's state must follow them."""
    torch.manual_seed(1)
    model = build("mbt2018", 4, 6)
    names = trained_names(model)
    bottleneck = [n for n in names if n.startswith("entropy_bottleneck")]
    interleaved = [f"entropy_bottleneck.{kind}.{i}" for i in range(5) for kind in ("matrices", "biases", "factors")]
    order = [n for n in names if n not in bottleneck] + [n for n in interleaved if n in bottleneck]
    assert sorted(order) == sorted(names)
    assert order != names
    parameters = dict(model.named_parameters())
    soap = SOAP([parameters[n] for n in order], lr=1e-3, weight_decay=0.0, precondition_frequency=10)
    for _ in range(3):
        out = model(torch.rand(2, 3, 64, 64), torch.tensor([0, 7]))
        soap.zero_grad()
        (out.bpp.sum() + out.x_hat.square().sum()).backward()
        soap.step()
    state = model.state_dict()
    keys = [*order, *(k for k in state if k not in order)]
    content = OrderedDict((earlier_name(k), state[k]) for k in keys)
    quantiles = torch.optim.Adam([model.entropy_bottleneck.quantiles], lr=1e-3)
    torch.save(
        {
            "model": content,
            "average": content,
            "optimizer": soap.state_dict(),
            "quantile_optimizer": quantiles.state_dict(),
            "steps": 1234,
            "crops": 9876,
        },
        tmp_path / "old.pt",
    )
    t = trainer(tiny(photos, tmp_path / "work", resume=tmp_path / "old.pt"))
    assert (t.training.steps, t.training.crops, t.training.warm_steps) == (1234, 9876, 1234)
    loaded = dict(t.model.named_parameters())
    for name in order:
        assert torch.equal(loaded[name], parameters[name])
        for key, value in soap.state[parameters[name]].items():
            assert_same(t.optimizer.state[loaded[name]][key], value)
    assert t.optimizer.param_groups[0]["step"] == 3
    run_steps(t, 1)
    assert t.optimizer.param_groups[0]["lr"] == pytest.approx(DEFAULT_LR["soap"])  # warm already


def test_reorder_refuses_another_models_state():
    a, b = build("mbt2018-mean", 4, 6), build("mbt2018-context", 4, 6)
    state = make_optimizer("adam", a, 1e-3).state_dict()
    with pytest.raises(ModelError, match="not made for this model"):
        reorder(state, trained_names(a), trained_names(b))


def test_starts_from_bare_weights(photos, tmp_path):
    model = build("mbt2018-context", 4, 6, 3)
    save_file({k: v.half() for k, v in model.state_dict().items()}, tmp_path / "w.safetensors")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "w.pth.tar")
    for name in ("w.safetensors", "w.pth.tar"):
        t = trainer(tiny(photos, tmp_path / "work", architecture=None, resume=tmp_path / name))
        assert (t.model.architecture, t.model.rows, t.training.steps) == ("mbt2018-context", 3, 0)
        assert torch.equal(t.model.g_a[0].weight.half(), model.g_a[0].weight.half())
        run_steps(t, 1)
        assert t.optimizer.param_groups[0]["lr"] == pytest.approx(DEFAULT_LR["soap"] / loop.WARM_UP)


def test_starts_from_an_exported_model(photos, tmp_path):
    from jahp_fast.entropy.export import export_state

    model = build("mbt2018", 4, 6)
    picture = np.asarray(Image.open(photos / "shard0" / "photo0.png"))[:64, :64]
    export_state(model.state_dict(), tmp_path / "m.safetensors", photos=[picture])
    t = trainer(tiny(photos, tmp_path / "work", resume=tmp_path / "m.safetensors"))
    assert "from an exported model" in t.screen.text
    assert torch.allclose(t.model.g_a[2].weight, model.g_a[2].weight, atol=1e-3)
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255
    (before,), (after,) = (evaluate(m, [x], [7], torch.device("cpu")) for m in (model, t.model))
    assert after.bpp == pytest.approx(before.bpp, rel=0.03)
    assert after.psnr == pytest.approx(before.psnr, abs=0.05)
    run_steps(t, 1)


def test_another_optimizer_starts_afresh(photos, tmp_path):
    t = trainer(tiny(photos, tmp_path))
    run_steps(t, 2)
    t.save()
    again = trainer(tiny(photos, tmp_path, optimizer="adam"))
    assert (again.training.steps, again.training.warm_steps) == (2, 0)
    assert "adam starts afresh" in again.screen.text


@pytest.mark.parametrize("damage", ["text", "cut", "list", "foreign"])
def test_damaged_checkpoints_are_named(photos, tmp_path, damage):
    path = tmp_path / "bad.pt"
    if damage == "list":
        torch.save([1, 2], path)
    elif damage == "foreign":
        torch.save({"fc.weight": torch.zeros(2, 2)}, path)
    else:
        torch.save({"fc.weight": torch.zeros(2, 2)}, path)
        path.write_bytes(b"not a checkpoint" if damage == "text" else path.read_bytes()[:300])
    with pytest.raises(ModelError, match=r"mbt2018 family" if damage == "foreign" else r"bad\.pt"):
        trainer(tiny(photos, tmp_path / "work", resume=path))


def test_a_checkpoint_runs_no_code(photos, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({"model": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
        trainer(tiny(photos, tmp_path / "work", resume=tmp_path / "trap.pt"))
    assert not (tmp_path / "sprung").exists()


def solid(folder, name, level, size=(80, 64)):
    folder.mkdir(exist_ok=True)
    Image.new("RGB", size, (level,) * 3).save(folder / name)


def test_held_out_photos_are_never_drawn(tmp_path):
    for k in range(10):
        solid(tmp_path / f"shard{k % 2}", f"p{k}.png", 20 * k)
    (tmp_path / "held_out.txt").write_text("p3.png\np8.png\np_of_another_shard.png\n")
    files = find_photos([tmp_path])
    assert [p.name for p in files.held_out] == ["p3.png", "p8.png"]
    crops = Crops(Photos(files.train, 64, 2**20), 16, 64, seed=0)
    levels = {round(float(v) * 255) for _ in range(20) for v in crops.draw()[:, 0, 0, 0]}
    assert levels == {20 * k for k in range(10)} - {60, 160}
    assert [p.name for p in find_photos([tmp_path / "shard1"]).held_out] == ["p3.png"]  # the list lies in the folder above


def test_held_out_by_hash_without_a_list(tmp_path):
    for k in range(30):
        solid(tmp_path / "a", f"p{k}.png", k)
    files = find_photos([tmp_path / "a"])
    assert len(files.held_out) == 3
    (tmp_path / "a").rename(tmp_path / "b")
    assert [p.name for p in find_photos([tmp_path / "b"]).held_out] == [p.name for p in files.held_out]
    (tmp_path / "list").write_text("p0.png")
    assert [p.name for p in find_photos([tmp_path / "b"], tmp_path / "list").held_out] == ["p0.png"]


def test_a_crop_is_a_symmetry_of_its_photo(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    crops = Crops(Photos([tmp_path / "p.png"], 64, 0), 40, 64, seed=1)
    flips = [pixels, pixels[::-1], pixels[:, ::-1], pixels[::-1, ::-1]]
    symmetries = {v.tobytes() for a in flips for v in (a, a.transpose(1, 0, 2))}
    x = crops.draw()
    assert x.shape == (40, 3, 64, 64)
    seen = {(v.permute(1, 2, 0) * 255).round().byte().numpy().tobytes() for v in x}
    assert seen == symmetries


def test_small_and_broken_photos(tmp_path):
    solid(tmp_path, "small.png", 3, (60, 200))
    with pytest.raises(UsageError, match="none of the 1 photos"):
        Photos([tmp_path / "small.png"], 64, 0)
    solid(tmp_path, "good.png", 3)
    kept = Photos([tmp_path / "small.png", tmp_path / "good.png"], 64, 0)
    assert (len(kept), kept.too_small) == (1, 1)
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8nothing")
    with pytest.raises(UnsupportedImage, match=r"bad\.jpg"):
        Photos([tmp_path / "bad.jpg"], 64, 0)
    assert [tuple(c.shape) for c in held_out_crops([tmp_path / "small.png"])] == [(3, 192, 48)]


def test_loss_is_its_formula():
    torch.manual_seed(0)
    model = build("bmshj2018-factorized", 4, 6).eval()
    x, q = torch.rand(2, 3, 32, 32), torch.tensor([1, 6])
    with torch.no_grad():
        out = model(x, q)
        loss = RateDistortion("mse", ladder("mse", 8))(model, x, q)
    want = 0.0
    for i, row in enumerate(q.tolist()):
        mse = float(((x[i] - out.x_hat[i]) * 255).square().mean())
        want += (LAMBDAS[row] * mse + float(out.bpp[i])) * (LAMBDAS[row] / 0.013) ** BALANCE / 2
    assert float(loss.total) == pytest.approx(want, rel=1e-5)


def test_ms_ssim_agrees_with_the_evaluations():
    pytest.importorskip("pytorch_msssim")
    from jahp_fast.evaluate.metrics import ms_ssim as independent
    from jahp_fast.train.loss import ms_ssim

    rng = np.random.default_rng(0)
    a = np.asarray(Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).resize((192, 192)))
    b = np.clip(a + rng.normal(0, 12, a.shape), 0, 255).astype(np.uint8)
    x, y = (torch.from_numpy(v.copy()).permute(2, 0, 1)[None].float() / 255 for v in (a, b))
    assert float(ms_ssim(x, y)) == pytest.approx(independent(a, b), abs=2e-3)
    assert float(ms_ssim(x, x)) == pytest.approx(1.0)
    assert ladder("ms-ssim", 8).tolist() == pytest.approx(MS_SSIM_LAMBDAS)


def test_evaluate_uses_eight_bit_output():
    torch.manual_seed(0)
    model = build("mbt2018-mean", 4, 6, 2)
    photo = torch.rand(3, 32, 48)
    (_, second) = evaluate(model, [photo, photo], [0, 1], torch.device("cpu"))
    assert model.training
    model.eval()
    with torch.no_grad():
        out = model(photo[None], torch.tensor([1]))
    mse = float((out.x_hat.clamp(0, 1).mul(255).round().div(255) - photo).square().mean())
    assert (second.quality, second.bpp) == (2, pytest.approx(float(out.bpp), rel=1e-5))
    assert second.psnr == pytest.approx(-10 * np.log10(mse), abs=1e-4)


def test_a_signal_saves_and_ends(photos, tmp_path):
    class Killer(Quiet):
        def progress(self, line):
            if line.startswith("step 3,"):
                os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    screen = Killer()
    assert loop.train(tiny(photos, tmp_path), screen) is False
    assert signal.getsignal(signal.SIGTERM) is before
    assert "SIGTERM: saved" in screen.text
    assert checkpoint.load(tmp_path / "last.pt").training.steps == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["average.safetensors", "last.pt", "log.csv", "pid"]


def test_two_trainers_do_not_share_a_folder(photos, tmp_path):
    with loop.sole_user(tmp_path), pytest.raises(UsageError, match=f"process {os.getpid()} is training"):
        loop.train(tiny(photos, tmp_path), Quiet())


def test_infinite_gradients_change_nothing_and_are_not_saved(photos, tmp_path):
    t = trainer(tiny(photos, tmp_path))
    with torch.no_grad():
        t.model.g_s[6].bias[0] = torch.nan
    before = t.model.g_a[0].weight.detach().clone()
    for _ in range(loop.MAX_SKIPPED):
        assert t.step() is None
    with pytest.raises(loop.Diverged, match="smaller --lr"):
        t.step()
    assert torch.equal(before, t.model.g_a[0].weight)
    with pytest.raises(ModelError, match=r"g_s\.6\.bias is no longer finite"):
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
    ],
)
def test_bad_settings(photos, tmp_path, changes, message):
    with pytest.raises(JahpError, match=message):
        trainer(tiny(photos, tmp_path, **changes))


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


def test_clock():
    assert [clock(s) for s in (0, 61, 3600 + 62)] == ["0:00", "1:01", "1:01:02"]
