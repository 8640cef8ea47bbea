# SPDX-License-Identifier: Apache-2.0
"""Where models are looked for, and in which order."""

import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from builders import SHIPPED, Case, random_model

from jahp_fast import library
from jahp_fast.cli import main
from jahp_fast.entropy.model_file import read_id
from jahp_fast.errors import ModelError, UnknownModel


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Folders one and two of JAHP_FAST_MODELS: `a` in both, with other weights, `b` in the second."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    random_model(tmp_path / "one/a.safetensors", Case("mbt2018-mean"), seed=1, N=3, M=4)
    random_model(tmp_path / "two/a.safetensors", Case("mbt2018-mean"), seed=2, N=3, M=4)
    random_model(tmp_path / "two/b.safetensors", Case("mbt2018-context"), seed=3, N=3, M=4)
    (tmp_path / "two/notes.txt").write_text("not a model")
    monkeypatch.setenv("JAHP_FAST_MODELS", os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two"), str(tmp_path / "none"), ""]))
    return tmp_path


def test_folders(shelf):
    assert library.folders() == [shelf / "one", shelf / "two", shelf / "none", SHIPPED.parent]
    assert library.installed()[:2] == [shelf / "one/a.safetensors", shelf / "two/b.safetensors"]
    assert SHIPPED in library.installed()


def test_by_name(shelf):
    assert library.by_name("a").path == shelf / "one/a.safetensors"
    assert library.by_name("b").path == shelf / "two/b.safetensors"
    assert library.by_name("mbt2018").path == SHIPPED
    second = shelf / "two/a.safetensors"
    assert library.by_name("a", [second]).path == second
    assert library.by_name("mbt2018-mean", [second]).path == second  # among `models`, the architecture will do
    with pytest.raises(UnknownModel, match="no weights for mbt2018-mean"):
        library.by_name("mbt2018-mean")
    with pytest.raises(UnknownModel, match=f"no model is called 'c' .*{shelf / 'one'}"):
        library.by_name("c")


def test_by_id(shelf):
    for path in (shelf / "two/a.safetensors", shelf / "two/b.safetensors", SHIPPED):
        assert library.by_id(read_id(path)).path == path
    with pytest.raises(UnknownModel, match="model 0101010101010101, which is not in"):
        library.by_id(b"\1" * 8)
    elsewhere = shelf / "elsewhere.safetensors"
    shutil.move(shelf / "two/b.safetensors", elsewhere)
    assert library.by_id(read_id(elsewhere), [elsewhere]).path == elsewhere


def test_models_of_all_releases(shelf, monkeypatch):
    """Files name models that another release had: they are found in their package, if it is there, and by their ids alone."""
    kept = shelf / "site/jahp_fast_models"
    (kept / "kept").mkdir(parents=True)
    (kept / "__init__.py").touch()
    old = kept / "kept/old.safetensors"
    random_model(old, Case("mbt2018-context"), seed=4, N=3, M=4)
    with pytest.raises(UnknownModel, match="install jahp_fast_models, which has the models of all releases, or name its file with models="):
        library.by_id(read_id(old))
    monkeypatch.syspath_prepend(shelf / "site")
    assert library.by_id(read_id(old)).path == old
    assert old not in library.installed()
    with pytest.raises(UnknownModel, match="no model is called 'old'"):
        library.by_name("old")


def test_the_package_of_all_releases(shelf, monkeypatch):
    """As it is built; here it has what the package itself has."""
    sources = Path(__file__).parents[2] / "packaging/models"
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-w", shelf, sources], check=True)
    with zipfile.ZipFile(next(shelf.glob("jahp_fast_models-*.whl"))) as wheel:
        wheel.extractall(shelf / "site")
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())
    monkeypatch.syspath_prepend(shelf / "site")
    monkeypatch.setattr(library, "_PACKAGE", shelf / "one")
    for path in SHIPPED.parent.glob("*.safetensors"):
        assert library.by_id(read_id(path)).path == shelf / "site/jahp_fast_models/weights" / path.name


def test_a_model_is_read_once(shelf):
    path = shelf / "one/a.safetensors"
    first = library.load(path)
    assert library.load(str(path)) is first
    shutil.copy(shelf / "two/a.safetensors", path)
    os.utime(path, (time.time() + 5, time.time() + 5))
    assert library.load(path).id != first.id


def test_a_broken_file_among_the_folders(shelf):
    """It is named when it is asked for, and does not hide others."""
    (shelf / "one/broken.safetensors").write_bytes(b"nonsense")
    wanted = shelf / "two/b.safetensors"
    assert library.by_name("b").path == wanted
    assert library.by_id(read_id(wanted)).path == wanted
    with pytest.raises(UnknownModel, match=r"broken.safetensors cannot be read"):
        library.by_id(b"\1" * 8)
    with pytest.raises(ModelError, match=r"broken.safetensors"):
        library.by_name("broken")
    with pytest.raises(ModelError, match=r"broken.safetensors"):
        library.by_id(read_id(wanted), [shelf / "one/broken.safetensors"])
    with pytest.raises(ModelError, match="cannot read the model file"):
        library.load(shelf / "one/none.safetensors")


ODD = {
    "nothing": ("", []), "only separators": (os.pathsep * 3, []), "dot": (".", ["here"]), "relative": ("one", ["a"]),
    "empty parts": (f"{os.pathsep}one{os.pathsep * 2}two{os.pathsep}", ["a", "b"]), "home": (f"~{os.sep}models", ["homely"]),
    "no such user": ("~nobody-of-that-name", []), "a folder with strange files": ("strays", ["good"]),
    "bytes that are no UTF-8": (os.fsdecode(b"\xff"), ["odd"]),
    "what looks like a pattern": ("[ab]*", ["pattern"]), "a file": ("file", []), "a model file": ("one/a.safetensors", []),
    "below a file": ("file/x", []), "nowhere": ("nowhere", []), "a loop": ("loop", []), "a dangling link": ("dangling", []),
    "a long name": ("x" * 300, []), "a long path": (os.sep.join(["x" * 200] * 30), []), "a space": (" ", []), "two lines": ("a\nb", []),
    "a name too long and a good one": ("x" * 300 + os.pathsep + "one", ["a"]),
}  # fmt: skip


@pytest.mark.parametrize("what", ODD)
def test_odd_values_of_the_variable(shelf, monkeypatch, capsys, what):
    """Folders that can be read are; the others hide nothing, and are named in one line."""
    value, names = ODD[what]
    monkeypatch.chdir(shelf)
    monkeypatch.setenv("HOME", str(shelf))
    for folder, name in ("", "here"), ("models", "homely"), ("strays", "good"), (os.fsdecode(b"\xff"), "odd"), ("[ab]*", "pattern"):
        (shelf / folder).mkdir(exist_ok=True)
        shutil.copy(shelf / "two/b.safetensors", shelf / folder / f"{name}.safetensors")
    (shelf / "file").write_bytes(b"x")
    (shelf / "strays" / "dir.safetensors").mkdir()
    for link in ("loop", "strays/loop.safetensors"):
        (shelf / link).symlink_to((shelf / link).name)
    for link in ("dangling", "strays/dangling.safetensors"):
        (shelf / link).symlink_to("nothing")
    monkeypatch.setenv("JAHP_FAST_MODELS", value)
    for name in names:
        assert library.by_name(name).path.stem == name
    assert library.by_name("mbt2018").path == SHIPPED
    with pytest.raises(UnknownModel, match="no model is called 'c'") as caught:
        library.by_name("c")
    assert str(caught.value).isprintable() or what == "bytes that are no UTF-8"
    assert len(str(caught.value)) < 600 + len(str(SHIPPED))
    with pytest.raises(UnknownModel, match="which is not in"):
        library.by_id(b"\1" * 8)
    assert library.by_id(read_id(SHIPPED)).path == SHIPPED
    assert main(["models"]) == 0
    out, err = capsys.readouterr()
    assert {line.split()[0] for line in out.splitlines() if not line.startswith(" ")} == {*names, "mbt2018", "mbt2018-ms-ssim"}
    bad = [line for line in err.splitlines() if "of JAHP_FAST_MODELS cannot be read: " in line]
    assert len(bad) == ((not names and value.strip(os.pathsep) != "") or what.endswith("a good one"))
    assert [line for line in err.splitlines() if not line.startswith("jahp: ")] == []
