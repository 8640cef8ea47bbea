# SPDX-License-Identifier: Apache-2.0
"""Checkpoints and model files that are none: one line each, and no harm to the files beside them."""

import os
import re
import shutil
from pathlib import Path

import pytest
import torch

import jahp_fast
from jahp_fast import library
from jahp_fast.cli import main
from jahp_fast.errors import ModelError
from jahp_fast.models import registry
from jahp_fast.train import checkpoint

SHIPPED = Path(jahp_fast.__file__).parent / "weights" / "mbt2018.safetensors"


@pytest.mark.parametrize("ending", [".pth", ".pth.tar", ".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"\0", b"PK\3\4"])
def test_checkpoints_of_no_bytes_or_few(tmp_path, capsys, ending, content):
    path = tmp_path / f"k{ending}"
    path.write_bytes(content)
    assert main(["import-compressai", str(path), str(tmp_path / "o.safetensors")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(path) in said
    with pytest.raises(ModelError, match=re.escape(str(path))):
        checkpoint.load(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def state():
    return dict(registry.build("mbt2018", N=8, M=12).state_dict())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s | {3: torch.zeros(1)}, "key 3"),
        (lambda s: s | {"g_a.0.bias": s["g_a.0.bias"].to("meta")}, "meta tensor"),
        (lambda s: s | {"g_a.0.bias": s["g_a.0.bias"].to_sparse()}, "sparse tensor"),
        (lambda s: s | {"g_a.0.bias": s["g_a.0.bias"].to(torch.complex64)}, "complex tensor"),
        (lambda s: s | {"g_a.0.bias": torch.quantize_per_tensor(s["g_a.0.bias"], 0.1, 0, torch.qint8)}, "quantised tensor"),
        (lambda s: s | {"g_a.0.bias": torch.full((8,), 1e300, dtype=torch.float64)}, "not finite"),
        (lambda s: s | {"g_a.0.bias": torch.full((8,), float("nan"))}, "not finite"),
        (list, "maps names to tensors"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*quantize:UserWarning", "ignore:.*quantiz:DeprecationWarning")
def test_states_of_strange_tensors(change, words):
    with pytest.raises(ModelError, match=words):
        registry.from_state_dict(change(state()))
    assert registry.from_state_dict(state()).N == 8


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copy(SHIPPED, tmp_path / "mine.safetensors")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "dir.safetensors").mkdir()
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "dangling.safetensors").symlink_to(tmp_path / "nothing")
    monkeypatch.setenv("JAHP_FAST_MODELS", str(tmp_path))
    return tmp_path


def test_strays_among_the_models_stop_nothing_else(folder, capsys):
    codec = jahp_fast.Codec("mine")
    assert library.by_id(bytes.fromhex(codec.model_id)).path.stem in ("mine", "mbt2018")
    assert main(["models"]) == 0
    said = capsys.readouterr()
    assert {line.split()[0] for line in said.out.splitlines() if line.strip() and not line.startswith(" ")} >= {"mine", "mbt2018"}
    left_out = [line.split()[1] for line in said.err.splitlines() if "is left out" in line]
    assert sorted(left_out) == ["dangling", "dir", "empty", "pipe"]
    assert main(["models", "--verify"]) == 1
    for name in left_out:
        with pytest.raises(ModelError, match=f"{name}.safetensors"):
            jahp_fast.Codec(name)
