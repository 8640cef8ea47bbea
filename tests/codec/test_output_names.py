# SPDX-License-Identifier: Apache-2.0
"""Names of outputs that cannot be, for every command that writes: one line, exit status 1, nothing left behind."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from jahp_fast import Codec
from jahp_fast.cli import main
from jahp_fast.models import registry

FILES = {
    "encode": ["encode", "photo.png", "OUT", "--model", "MODEL"],
    "decode": ["decode", "photo.jahp", "OUT", "--model", "MODEL"],
    "export": ["export", "k.pth", "OUT", "--photos", "photos", "--measure", "0", "--calibrate", "1"],
    "import-compressai": ["import-compressai", "k.pth", "OUT", "--photos", "photos"],
    "bench": ["bench", "--json", "OUT", "--image", "photo.png", "--size", "16x16", "--rounds", "1", "--model", "MODEL"],
}
FOLDERS = {
    "train": ["train", "--photos", "photos", "--work", "OUT", "--minutes", "0.01", "--no-preload"],
    "study": ["study", "--photos", "photos", "--out", "OUT", "--minutes", "0.01"],
    "demo": ["demo", "--out", "OUT"],
    "eval": ["eval", "photos", "--out", "OUT", "--models", "none", "--codecs", "jpeg"],
    "batch encode": ["batch", "encode", "photos", "OUT", "--model", "MODEL", "--workers", "1"],
    "batch decode": ["batch", "decode", "photos", "OUT", "--model", "MODEL", "--workers", "1"],
}
NEVER = {
    "empty": "", "a NUL byte": "a\0b", "below a file": "photo.png/x", "too long": "x" * 300, "a loop": "loop",
    "a path too long": "/".join(["x" * 200] * 30), "below a loop": "loop/x", "a line feed below a file": "photo.png/a\nb",
}  # fmt: skip
AS_FILES = {"a folder that is not there": "none/x", "a name that ends as a folder's": "none/", "a file with a separator": "photo.png/"}
"""What no command writes a file to."""
BUSY = {"this folder": ".", "the folder above": "..", "the root": "/", "a folder": "sub", "a link to a folder": "link"}
"""What those that put no file of its own name into a folder refuse."""


@pytest.fixture
def work(tmp_path, tiny_models, photo_crop, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    Image.fromarray(photo_crop[:40, :56]).save("photo.png")
    Path("photo.jahp").write_bytes(Codec("tiny", models=[tiny_models["tiny"]]).encode(photo_crop[:40, :56]))
    Path("photos").mkdir()
    for i in range(4):
        Image.fromarray(photo_crop).save(f"photos/{i}.png")
    Path("photos/held_out.txt").write_text("0.png\n")
    Path("sub").mkdir()
    Path("link").symlink_to("sub")
    Path("loop").symlink_to("loop")
    torch.save(registry.build("mbt2018", 4, 6, rows=1).state_dict(), "k.pth")
    return tmp_path


def refused(work, capsys, command, model, out):
    arguments = [{"OUT": out, "MODEL": str(model)}.get(a, a) for a in command]
    before = sorted(work.rglob("*"))
    assert main(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if "no --photos" not in line]
    assert len(said) == 1, said
    assert said[0].startswith("jahp: ")
    assert sorted(work.rglob("*")) == before
    return said[0]


@pytest.mark.parametrize("name", NEVER)
@pytest.mark.parametrize("command", [*FILES, *FOLDERS])
def test_names_that_cannot_be(work, tiny_models, capsys, command, name):
    refused(work, capsys, (FILES | FOLDERS)[command], tiny_models["tiny"], NEVER[name])


@pytest.mark.parametrize("name", AS_FILES)
@pytest.mark.parametrize("command", FILES)
def test_names_that_are_no_files(work, tiny_models, capsys, command, name):
    if (command, name) != ("bench", "a name that ends as a folder's"):  # --json takes that for the file none
        refused(work, capsys, FILES[command], tiny_models["tiny"], AS_FILES[name])


@pytest.mark.parametrize("name", BUSY)
@pytest.mark.parametrize("command", ["export", "import-compressai", "bench"])
def test_folders_where_a_file_is_wanted(work, tiny_models, capsys, command, name):
    assert "folder" in refused(work, capsys, FILES[command], tiny_models["tiny"], BUSY[name])


@pytest.mark.parametrize("out", ["photo.png", os.devnull])
@pytest.mark.parametrize("command", FOLDERS)
def test_files_where_a_folder_is_wanted(work, tiny_models, capsys, command, out):
    refused(work, capsys, FOLDERS[command], tiny_models["tiny"], out)
