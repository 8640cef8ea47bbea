# SPDX-License-Identifier: Apache-2.0
"""What a run goes on from: checkpoints of its own and of the earlier script, bare weights, exported models; and bad ones."""

import io
import os
from collections import OrderedDict

import numpy as np
import pytest
import torch
from in_part import one_in
from PIL import Image
from pytorch_optimizer import SOAP
from safetensors.torch import load_file, save_file
from train_toys import assert_same, run_steps, smooth_photos, tiny, trainer

from jahp_fast.cli import main
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import ModelError, UsageError
from jahp_fast.export.state import export_state
from jahp_fast.models.registry import ARCHITECTURES, build
from jahp_fast.train import loop
from jahp_fast.train.checkpoint import load
from jahp_fast.train.loss import evaluate, ladder
from jahp_fast.train.optimizer import make_optimizer, reorder, trained_names
from jahp_fast.train.settings import DEFAULT_LR, Settings


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return smooth_photos(tmp_path_factory.mktemp("photos"))


@pytest.mark.parametrize("name", one_in(2, reversed(ARCHITECTURES)))
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


def test_tables_of_a_model_file_anew(tmp_path, capsys):
    photos, path, out = tmp_path / "photos", tmp_path / "m.safetensors", tmp_path / "o.safetensors"
    photos.mkdir()
    rng = np.random.default_rng(1)
    for i in range(3):
        Image.fromarray(np.kron(rng.integers(0, 256, (22, 24, 3), np.uint8), np.ones((8, 8, 1), np.uint8))).save(photos / f"{i}.png")
    torch.manual_seed(1)
    crop = np.asarray(Image.open(photos / "0.png"))[:64, :64]
    before = export_state(build("mbt2018", 4, 6, rows=2).eval().state_dict(), path, photos=[crop])
    assert main([*map(str, ("export", path, out, "--tables", "--photos", photos))]) == 0
    assert "on 3 photos" in capsys.readouterr().out
    old, new = ModelFile(path), ModelFile(out)
    assert old.id == before
    assert new.id != before
    assert set(new.names) - set(old.names) == {"entropy.z_rows", "entropy.scale.skip"}
    tables = {"tables.low", "tables.size", "tables.starts"}
    assert all(np.array_equal(new.entropy[name], old.entropy[name]) for name in old.entropy.keys() - tables)
    assert new.entropy["scale.skip"].shape == (2,)
    assert main([*map(str, ("export", tmp_path / "none.pt", tmp_path / "p.safetensors", "--tables", "--photos", photos))]) == 1
    capsys.readouterr()
    assert main([*map(str, ("export", path, tmp_path / "p.safetensors", "--tables", "--finetune", 5, "--photos", photos))]) == 1
    assert "--tables leaves the nets as they are" in capsys.readouterr().err
    assert not (tmp_path / "p.safetensors").exists()


@pytest.mark.slow
def test_weights_say_what_they_were_trained_for(photos, tmp_path):
    old = trainer(tiny(photos, tmp_path / "old"))
    old.training.metric = "ms-ssim"  # as a run on crops of 176 pixels leaves it
    (tmp_path / "old").mkdir(exist_ok=True)
    old.save()
    average, exported = tmp_path / "old" / "average.safetensors", tmp_path / "m.safetensors"
    export = ["export", average, exported, "--photos", photos, "--calibrate", 2, "--measure", 0]
    for more, metric in (((), "ms-ssim"), (("--metric", "mse"), "mse")):
        assert main([str(a) for a in (*export, *more)]) == 0
        assert ModelFile(exported).metric == metric
        assert len(ModelFile(exported).read_views("")) == 15  # heads of small pictures: with every export
        for path, expected in ((average, "ms-ssim"), (exported, metric)):
            again = trainer(Settings(photos=(photos,), work=tmp_path / "new", minutes=5, batch=2, crop=64, resume=path))
            assert again.training.metric == expected
            assert again.training.lambdas == pytest.approx(ladder(expected, 8).tolist())
            assert "trade-offs" not in again.screen.text
    tensors = load_file(average)
    save_file(tensors, tmp_path / "bare.safetensors")
    assert load(tmp_path / "bare.safetensors").training.metric is None
    save_file(tensors, tmp_path / "other.safetensors", {"metric": "lpips"})
    with pytest.raises(ModelError, match=r"other\.safetensors was trained for 'lpips'"):
        load(tmp_path / "other.safetensors")


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
    from jahp_fast.export.state import export_state

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
