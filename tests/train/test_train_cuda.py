# SPDX-License-Identifier: Apache-2.0
"""What training on a GPU adds: rows shared by neighbours, steps as CUDA graphs. For crops see test_resident.py."""

import copy
import shutil

import pytest
import torch
from train_toys import Quiet, run_steps, smooth_photos, tiny, trainer

from jahp_fast.models.registry import build
from jahp_fast.train import loop
from jahp_fast.train.captured import clip
from jahp_fast.train.loss import RateDistortion, ladder
from jahp_fast.train.soap import SOAP


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    return smooth_photos(tmp_path / "photos")


def test_photos_that_come_later(photos, tmp_path):
    t = trainer(tiny(photos, tmp_path / "work"))
    crops = t.crops
    t._look_again()
    assert t.crops is crops
    shutil.copytree(photos / "shard0", photos / "shard1")
    state = crops.state
    t._look_again()
    assert len(crops.photos) == 5
    assert len(t.crops.photos) == 10
    assert torch.equal(t.crops.state, state)
    assert "10 photos to train on now, 2 held out" in t.screen.text
    assert all(len(t.crops.photos[i]) == 80 for i in range(10))  # decoded, and kept from now on
    (photos / "shard1" / "half.png").write_bytes((photos / "shard0" / "photo0.png").read_bytes()[:20])  # being copied
    t._look_again()
    assert "half.png cannot be read as a photo" in t.screen.text
    assert len(t.crops.photos) == 10
    photos.rename(tmp_path / "elsewhere")
    t._look_again()
    assert "is not a folder of photos: going on with the photos of before" in t.screen.text
    run_steps(t, 1)


@pytest.mark.parametrize("rows", [[0, 7], [3], [1, 1, 6, 2], range(2, 4)])
def test_neighbours_share_a_row(rows):
    torch.manual_seed(1)
    model = build("mbt2018", 4, 6).double().eval()
    for p in model.parameters():
        torch.nn.init.uniform_(p, 0.02, 0.5)
    loss = RateDistortion("mse", ladder("mse", 8).double())
    x = torch.rand(4, 3, 64, 64, dtype=torch.float64)
    shared = rows if isinstance(rows, range) else torch.tensor(rows)
    each = torch.tensor(rows).repeat_interleave(4 // len(rows))
    gradients = []
    for q in (shared, each):
        model.zero_grad()
        out = loss(model, x, q)
        out.total.backward()
        gradients.append(
            [out.total.detach(), out.bpp, *(torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters())]
        )
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_clipping_without_waiting():
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.zeros(5, 7)), torch.nn.Parameter(torch.zeros(3))]
    for scale, sound in ((0.1, True), (10.0, True), (float("inf"), False)):
        for p in weights:
            p.grad = torch.rand_like(p) * scale
        others = copy.deepcopy(weights)
        for mine, other in zip(weights, others, strict=True):
            other.grad = mine.grad.clone()
        torch.nn.utils.clip_grad_norm_(others, 2.0)
        assert bool(clip(weights, 2.0)) is sound
        for mine, other in zip(weights, others, strict=True):
            torch.testing.assert_close(mine.grad, other.grad if sound else torch.zeros_like(other))


def test_soap_takes_the_size_of_its_step_from_a_tensor_and_moves_none_of_its_state():
    """As a graph has it: after two steps everything is written where it lies."""
    torch.manual_seed(0)
    models = [torch.nn.Conv2d(3, 5, 3), torch.nn.Conv2d(3, 5, 3)]
    models[1].load_state_dict(models[0].state_dict())
    eager, graphed = (SOAP(m.parameters(), lr=0.01, frequency=2) for m in models)
    places = None
    for step in range(7):
        for p, q in zip(*(m.parameters() for m in models), strict=True):
            p.grad = torch.rand_like(p)
            q.grad = p.grad.clone()
        eager.step()
        graphed.descend([torch.tensor(size) for size in graphed.advance()])
        graphed.turn()
        flat = [v for s in graphed.state.values() for w in s.values() for v in (w if isinstance(w, list) else [w])]
        now = [v.data_ptr() for v in flat if isinstance(v, torch.Tensor)]
        if step > 1:
            assert now == places
        places = now
    for p, q in zip(*(m.parameters() for m in models), strict=True):
        torch.testing.assert_close(p, q)


def test_bases_turn_as_often_as_this_device_wants(photos, tmp_path):
    """Whatever the checkpoint's device wanted."""
    (tmp_path / "work").mkdir()
    t = trainer(tiny(photos, tmp_path / "work"))
    run_steps(t, 1)
    t.optimizer.param_groups[0]["precondition_frequency"] = 40
    t.save()
    again = trainer(tiny(photos, tmp_path / "work"))
    assert again.optimizer.param_groups[0]["precondition_frequency"] == 40
    run_steps(again, 1)
    assert again.optimizer.param_groups[0]["precondition_frequency"] == 10


@pytest.mark.gpu
def test_steps_as_a_graph(photos, tmp_path):
    t = loop.Trainer(tiny(photos, tmp_path / "work", device="cuda", batch=8, width=8, latents=16), Quiet())
    with t._on_its_stream():
        run_steps(t, loop.EAGER_STEPS)
        assert t.captured is not None
        first = float(t.step().total)
        run_steps(t, 120)
        assert float(t.step().total) < first
        assert float(t.captured.unsound) == 0
        before = [p.detach().clone() for p in t.weights]
        x = torch.full((8, 3, 64, 64), torch.inf, device="cuda").contiguous(memory_format=torch.channels_last)
        t.captured(x, t._qualities(8))
        assert float(t.captured.unsound) == 1
        assert all(torch.equal(a, b) for a, b in zip(before, t.weights, strict=True))
    (tmp_path / "work").mkdir()
    t.save()
    assert trainer(tiny(photos, tmp_path / "work")).training.steps == t.training.steps
