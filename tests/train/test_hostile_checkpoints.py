# SPDX-License-Identifier: Apache-2.0
"""Checkpoints made to do harm: each field of another type, tensors that are none, files of changed bytes. One line each, exit status 1."""

import copy
import io
import os
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from train_toys import run_steps, smooth_photos, tiny, trainer

from jahp_fast.cli import main
from jahp_fast.errors import JahpError, ModelError
from jahp_fast.models import registry
from jahp_fast.models.state_file import read_state
from jahp_fast.train import checkpoint
from jahp_fast.train.optimizer import checked, make_optimizer, make_quantile_optimizer


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return smooth_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def contents(photos, tmp_path_factory):
    """By optimiser, what a checkpoint of two steps holds."""
    out = {}
    for kind in ("soap", "adam"):
        work = tmp_path_factory.mktemp("work")
        t = trainer(tiny(photos, work, optimizer=kind))
        run_steps(t, 2)
        t.save()
        out[kind] = torch.load(work / "last.pt", weights_only=True)
    return out


@pytest.fixture(scope="module")
def content(contents):
    return contents["soap"]


WRONG = {
    "None": None, "a truth value": True, "a number": 3, "a negative number": -1, "a huge number": 10**30, "a fraction": 0.5,
    "nan": float("nan"), "text": "soap?", "bytes": b"xy", "a list": [1, "a"], "an empty list": [], "nested lists": [[[]]],
    "a pair": (1, 2), "a mapping": {"a": 1}, "an empty mapping": {}, "numbers as keys": {1: {}}, "a set": {1}, "a tensor": torch.ones(3),
    "bytes as a tensor": torch.zeros(5056, dtype=torch.uint8), "a scalar": torch.tensor(1.0),
}  # fmt: skip
FINE = {
    "steps": {"a number"}, "crops": {"a number"}, "warm_steps": {"a number"}, "minutes": {"a number", "a fraction"},
    "optimizer": {"None"}, "optimizer_names": {"None"}, "quantile_optimizer": {"None"}, "metric": {"None"},
    "lambdas": {"None", "an empty list"},
    "noise_state": {"None"}, "crops_state": {"None"},
}  # fmt: skip
"""What a field may be, beside what it was."""


FIELDS = ("model", "average", *checkpoint.Training.__dataclass_fields__)
SOON = ("model",)
"""Fields that the fast tests try; together all take a minute."""


@pytest.mark.parametrize("field", [field if field in SOON else pytest.param(field, marks=pytest.mark.slow) for field in FIELDS])
def test_every_field_of_every_wrong_type(content, tmp_path, field):
    path = tmp_path / "k.pt"
    for what, value in WRONG.items():
        torch.save(content | {field: value}, path)
        if what in FINE.get(field, ()):
            checkpoint.load(path)
            continue
        with pytest.raises(JahpError) as caught:
            checkpoint.load(path)
        assert str(caught.value).startswith(str(path)), what
        assert "\n" not in str(caught.value)


def places(value, path=()):
    """Of everything inside of a state dict of an optimiser: the keys that lead to it."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


@contextmanager
def replaced(state, path, value):
    """The state with one thing in it replaced, for as long."""
    inner = state
    for key in path[:-1]:
        inner = inner[key]
    was, inner[path[-1]] = inner[path[-1]], value
    yield
    inner[path[-1]] = was


@pytest.mark.parametrize(("kind", "field"), [("soap", "optimizer"), ("adam", "optimizer"), ("soap", "quantile_optimizer")])
def test_everything_inside_an_optimiser(contents, kind, field):
    """It is refused, or a step can be taken with it: never an error that only a step finds."""
    content = contents[kind]
    model = registry.from_state_dict(content["model"])
    make = (lambda: make_quantile_optimizer(model)) if field == "quantile_optimizer" else (lambda: make_optimizer(kind, model, 1e-3))
    fresh, state, refused = make(), copy.deepcopy(content[field]), 0
    for p in fresh.param_groups[0]["params"]:
        p.grad = torch.ones_like(p)
    for place in list(places(state)):
        if place[0] == "state" and len(place) > 1 and place[1] > 1:
            continue  # a weight and a bias stand for the others
        for value in WRONG.values():
            with replaced(state, place, value):
                try:
                    good = checked(state, fresh, "the state")
                except ModelError as e:
                    assert str(e).startswith("the state")  # noqa: PT017
                    refused += 1
                else:
                    optimizer = make()
                    optimizer.load_state_dict(good)
                    optimizer.step()
    assert refused > 200


SAVED = {
    "meta": lambda t: t.to("meta"), "sparse": lambda t: t.to_sparse(), "complex": lambda t: t.to(torch.complex64),
    "quantised": lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "fewer": lambda t: torch.ones(1).expand(t.shape),
    "not finite": lambda t: torch.full_like(t, torch.nan), "not a tensor": lambda t: t.tolist(),
}  # fmt: skip


@pytest.mark.parametrize("kind", SAVED)
@pytest.mark.parametrize("command", ["export", "import-compressai", "train"])
@pytest.mark.filterwarnings("ignore:.*quantiz:")
def test_strange_tensors_are_one_line(photos, tmp_path, capsys, kind, command):
    state = dict(registry.build("mbt2018", 4, 6, rows=1).state_dict())
    path = tmp_path / "k.pth"
    torch.save({"state_dict": state | {"g_a.0.bias": SAVED[kind](state["g_a.0.bias"])}}, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = refused(capsys, tmp_path, command, path, photos)
    assert kind in said
    assert "g_a.0.bias" in said


def refused(capsys, folder, command, path, photos):
    """Runs a command on a checkpoint that it must refuse, leaving nothing; its line."""
    before = sorted(folder.rglob("*"))
    rest = {"export": [path, folder / "o.safetensors", "--photos", photos], "import-compressai": [path, folder / "o.safetensors"],
            "train": ["--resume", path, "--work", folder / "w", "--photos", photos, "--minutes", 0.01, "--no-preload"]}  # fmt: skip
    capsys.readouterr()
    assert main([command, *map(str, rest[command])]) == 1
    _out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if "no --photos" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("jahp: ")
    assert len(lines[0]) < 600
    # A working folder keeps the name of the process that had it.
    assert [p for p in sorted(folder.rglob("*")) if p.is_file() and p not in before and p != folder / "w" / "pid"] == []
    return lines[0]


@pytest.mark.parametrize("command", ["export", "train"])
@pytest.mark.parametrize("field", ["steps", "optimizer", "optimizer_names", "noise_state", "lambdas", "model"])
def test_commands_say_one_line_of_a_field(content, photos, tmp_path, capsys, command, field):
    torch.save(content | {field: {1: "x"}}, tmp_path / "k.pt")
    assert str(tmp_path / "k.pt") in refused(capsys, tmp_path, command, tmp_path / "k.pt", photos)


@pytest.mark.parametrize("what", ["no bytes", "cut", "folder", "pipe", "missing", "list", "class", "text", "loop", "other model"])
@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
@pytest.mark.parametrize("command", ["export", "import-compressai", "train"])
def test_files_that_are_none(photos, tmp_path, capsys, what, ending, command):
    path = tmp_path / f"k{ending}"
    buffer = io.BytesIO()
    torch.save([1, 2] if what == "list" else {"a": np.dtype("f4"), "b": torch.nn.Linear(1, 1)} if what == "class" else
               {"fc.weight": torch.ones(2)}, buffer)  # fmt: skip
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "loop":
        path.symlink_to(path)
    elif what != "missing":
        data = {"no bytes": b"", "text": b"no checkpoint", "cut": buffer.getvalue()[:-200]}
        path.write_bytes(data.get(what, buffer.getvalue()))
    said = refused(capsys, tmp_path, command, path, photos)
    assert "weights_only" not in said  # torch's advice, to let the file run code, is none
    assert what == "other model" or str(path) in said


@pytest.mark.slow
def test_changed_bytes(tmp_path):
    """Of a file in either of torch's formats: some mapping, or a ModelError."""
    rng, path = np.random.default_rng(0), tmp_path / "k.pt"
    originals = []
    for new in (True, False):
        buffer = io.BytesIO()
        torch.save({"state_dict": {"a": torch.zeros(3)}, "x": [1, 2.5, None, "s"]}, buffer, _use_new_zipfile_serialization=new)
        originals.append(buffer.getvalue())
    read = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for i in range(3000):
            data = bytearray(originals[i % 2])
            for at in rng.integers(0, min(len(data), 1000), rng.integers(1, 4)):
                data[at] = rng.integers(256)
            path.write_bytes(data)
            try:
                read_state(path)
                read += 1
            except ModelError as e:
                assert "\n" not in str(e)  # noqa: PT017
    assert 100 < read < 2900


@pytest.mark.parametrize("sizes", [(0, 6), (100_000, 6), (4, 10**7)])
def test_sizes_that_would_take_all_memory(sizes):
    n, m = sizes
    state = {"g_a.0.weight": torch.empty(n, 1, 1, 0), "g_a.6.weight": torch.empty(m, 0, 1, 1)}
    with pytest.raises(ModelError, match="is not within 1 to 4096"):
        registry.from_state_dict(state)
    with pytest.raises(ModelError, match=r"missing g_a\.0\.bias"):  # by names and shapes alone: this one would take 70 GB
        registry.from_state_dict({"g_a.0.weight": torch.empty(4096, 1, 1, 0), "g_a.6.weight": torch.empty(4096, 0, 1, 1),
                                  "h_a.0.weight": torch.empty(0), "context_prediction.weight": torch.empty(0)})  # fmt: skip
