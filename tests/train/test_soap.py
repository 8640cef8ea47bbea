# SPDX-License-Identifier: Apache-2.0
"""Our SOAP against pytorch_optimizer's, step by step, and its pieces against loops."""

import copy

import pytest
import torch
from pytorch_optimizer import SOAP as Original
from torch.utils._python_dispatch import TorchDispatchMode

from jahp_fast.models.registry import build
from jahp_fast.train.captured import clip
from jahp_fast.train.optimizer import trained_names
from jahp_fast.train.soap import SOAP, coordinates, gram_matrices, rotate, stacked_planes


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 5, 2, 2),
        torch.nn.Tanh(),
        torch.nn.ConvTranspose2d(6, 4, 3, 2, 1, 1),
        torch.nn.Tanh(),
        torch.nn.Conv2d(4, 3, 1),
        torch.nn.Flatten(2),
        torch.nn.Linear(16, 5),
    ).double()


def descend(model, optimizer, first, last):
    for k in range(first, last):
        x = torch.randn(16, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(k))
        optimizer.zero_grad()
        (model(x) - x.flatten(2)[:, :, :5]).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("channels_last", [False, True])
def test_walks_with_the_original(channels_last, monkeypatch):
    """35 steps in float64, three changes of basis among them. The original's QR decompositions are in float32; ours are made so here."""
    qr = torch.linalg.qr
    monkeypatch.setattr(torch.linalg, "qr", lambda x: tuple(v.double() for v in qr(x.float())))
    ours = network()
    if channels_last:
        ours = ours.to(memory_format=torch.channels_last)
    theirs = copy.deepcopy(ours)
    mine = SOAP(ours.parameters(), lr=1e-2)
    other = Original(theirs.parameters(), lr=1e-2, weight_decay=0.0, precondition_frequency=10)
    start = [p.detach().clone() for p in ours.parameters()]
    descend(ours, mine, 0, 35)
    descend(theirs, other, 0, 35)
    for s, a, b in zip(start, ours.parameters(), theirs.parameters(), strict=True):
        moved = float((b - s).detach().abs().max())
        assert moved > 0.01
        assert float((a - b).detach().abs().max()) < 1e-9 * moved


def test_goes_on_from_the_originals_state():
    whole = network()
    descend(whole, Original(whole.parameters(), lr=1e-2, weight_decay=0.0), 0, 25)
    part = network()
    first = Original(part.parameters(), lr=1e-2, weight_decay=0.0)
    descend(part, first, 0, 13)
    second = SOAP(part.parameters(), lr=1.0)
    second.load_state_dict(first.state_dict())
    descend(part, second, 13, 25)
    for a, b in zip(whole.parameters(), part.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_half_precision_walks_beside_full():
    """35 steps in float32: rounding changes the way a little, and the loss at its end hardly."""

    def walk(half):
        model = network().float()
        start = [p.detach().clone() for p in model.parameters()]
        optimizer = SOAP(model.parameters(), lr=1e-2, half=half)
        for k in range(35):
            x = torch.randn(16, 3, 4, 4, generator=torch.Generator().manual_seed(k))
            optimizer.zero_grad()
            loss = (model(x) - x.flatten(2)[:, :, :5]).square().mean()
            loss.backward()
            optimizer.step()
        return loss.item(), torch.cat([(p.detach() - s).flatten() for s, p in zip(start, model.parameters(), strict=True)])

    (loss, way), (half_loss, half_way) = walk(False), walk(True)
    assert not torch.equal(way, half_way)
    assert torch.nn.functional.cosine_similarity(way, half_way, dim=0) > 0.98
    assert half_loss == pytest.approx(loss, rel=0.02)


def test_first_step_only_measures():
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    descend(model, SOAP(model.parameters(), lr=1.0), 0, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2), (4, 3, 5, 5), (2, 3, 3, 5), (4, 3, 1, 1)])
def test_rotation_and_gram_matrices(shape):
    torch.manual_seed(1)
    x = torch.randn(shape, dtype=torch.float64)
    bases = [torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0] for n in shape]
    want = x
    for dimension, q in enumerate(bases):
        want = torch.tensordot(want, q, dims=([dimension], [0])).movedim(-1, dimension)
    turned = [q.flip(1) for q in bases]
    there = coordinates([bases, turned])
    both, backwards = rotate(stacked_planes([x, 2 * x]), there, shape), [want, 2 * want.flip(list(range(len(shape))))]
    for got, wanted in zip(both, backwards, strict=True):
        assert torch.allclose(got, wanted)
    assert torch.allclose(rotate(stacked_planes(both), there, shape, back=True)[1], 2 * x)
    for factor, grams in zip((1, 4), gram_matrices(stacked_planes([x, 2 * x]), shape), strict=True):
        for dimension, gram in enumerate(grams):
            slices = x.movedim(dimension, 0).flatten(1)
            assert torch.allclose(gram, factor * slices @ slices.T)


def test_refuses_other_weights():
    p = torch.nn.Parameter(torch.zeros(2, 2, 2, 2, 2))
    p.grad = torch.ones_like(p)
    with pytest.raises(ValueError, match="1 to 4 dimensions"):
        SOAP([p], lr=1.0).step()


class Calls(TorchDispatchMode):
    """Counts what would be launched on a device: calls that compute something."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        views = function.is_view or function._schema.name in ("aten::_unsafe_view", "aten::empty_like", "aten::_reshape_alias")
        self.number += not views
        return out


def test_a_step_of_the_shipped_widths_takes_few_calls():
    """Before weights of equal shapes went together, clipping took 470 and the descent 1709."""
    torch.manual_seed(0)
    model = build("mbt2018", 64, 192, rows=8)
    parameters = dict(model.named_parameters())
    weights = [parameters[name] for name in trained_names(model)]
    optimizer = SOAP(weights, lr=1e-4)
    for p in weights:
        p.grad = torch.full_like(p, 1e-3).normal_()
    optimizer.step()
    optimizer.step()
    with Calls() as calls:
        clip(weights, 2.0)
        optimizer.descend([torch.tensor(size) for size in optimizer.advance()])
    assert 100 < calls.number < 400


def test_weights_of_equal_shapes_go_as_they_would_alone():
    """Two groups of equal shapes and vectors, against an optimiser for each weight, changes of basis included."""
    torch.manual_seed(0)
    shapes = [(6, 4, 3, 3), (4,), (6, 4, 3, 3), (5, 6), (6, 4, 3, 3), (5, 6), (4,)]
    together = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    alone = [torch.nn.Parameter(p.detach().clone()) for p in together]
    one, several = SOAP(together, lr=1e-2, frequency=3), [SOAP([p], lr=1e-2, frequency=3) for p in alone]
    start = [p.detach().clone() for p in together]
    for _ in range(12):
        for p, q in zip(together, alone, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        one.step()
        for optimizer in several:
            optimizer.step()
    for begun, p, q in zip(start, together, alone, strict=True):
        assert float((p - begun).detach().abs().max()) > 0.01
        assert torch.allclose(p, q, rtol=1e-5, atol=1e-5)
