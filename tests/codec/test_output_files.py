# SPDX-License-Identifier: Apache-2.0
"""What a command does to the name of its output: devices, pipes, links, modes, folders, and its own input."""

import io
import os
import re
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from jahp_fast import Codec
from jahp_fast.cli import main
from jahp_fast.errors import JahpError
from jahp_fast.system.atomic import TEMPORARY, atomic_file, write_atomically

ROOT_ONLY = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives files away")


@pytest.fixture
def tiny(tiny_models):
    return str(tiny_models["tiny"])


@pytest.fixture
def work(tmp_path, tiny, photo_crop, monkeypatch):
    """A folder with photo.png and photo.jahp, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo_crop[:40, :56]).save("photo.png")
    Path("photo.jahp").write_bytes(Codec("tiny", models=[tiny]).encode(photo_crop[:40, :56]))
    return tmp_path


def size(path):
    """Of a picture: width and height."""
    with Image.open(path) as image:
        return image.size


def contents():
    return {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()}


def refused(capsys, *arguments):
    """Runs a command that must fail and change nothing; its one line."""
    before = contents()
    assert main([str(a) for a in arguments]) == 1
    out, err = capsys.readouterr()
    assert (out, err[:6], err.count("\n")) == ("", "jahp: ", 1)
    assert contents() == before
    return err


# What is no regular file


def test_a_device_is_written_into(work, tiny):
    Path("void").symlink_to(os.devnull)
    for name in ("void", os.devnull):
        for command in (["encode", "photo.png"], ["decode", "photo.jahp"]):
            assert main([*command, name, "--model", tiny]) == 0
    assert Path("void").is_symlink()
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@ROOT_ONLY
def test_a_device_of_its_own_stays(tmp_path):
    node = tmp_path / "node"
    try:
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        write_atomically(node, b"x")
    except (PermissionError, JahpError):
        pytest.skip("no device can be made or opened here")
    assert stat.S_ISCHR(node.stat().st_mode)
    assert list(tmp_path.iterdir()) == [node]


@pytest.mark.parametrize("linked", [False, True])
def test_a_named_pipe_is_written_into(work, tiny, linked):
    os.mkfifo("pipe")
    Path("link").symlink_to("pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_bytes()), daemon=True)
    reader.start()
    assert main(["encode", "photo.png", "link" if linked else "pipe", "--model", tiny]) == 0
    reader.join(20)
    assert got == [Path("photo.jahp").read_bytes()]
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)


def test_a_full_device_is_one_line(work, tiny, capsys):
    assert "cannot write /dev/full: No space left" in refused(capsys, "encode", "photo.png", "/dev/full", "--model", tiny)


def test_a_socket_is_refused(work, tiny, capsys):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("sock")
        assert "it is a socket" in refused(capsys, "encode", "photo.png", "sock", "--model", tiny)
        assert stat.S_ISSOCK(Path("sock").stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1", "link"])
def test_standard_output_by_its_name(work, tiny, name):
    """As a pipe, and as a file to which something has been written already."""
    Path("link").symlink_to("/dev/stdout")
    command = [sys.executable, "-m", "jahp_fast", "decode", "photo.jahp", name, "--model", tiny]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert size(io.BytesIO(done.stdout)) == (56, 40)
    with open("all", "wb") as file:
        file.write(b"before")
        file.flush()
        subprocess.run(command, stdout=file, check=True)
    assert Path("all").read_bytes() == b"before" + done.stdout


# Links, modes, owners


def test_links_stay(work):
    (work / "sub").mkdir()
    Path("file").write_bytes(b"old")
    Path("link").symlink_to("file")
    Path("dangling").symlink_to("sub/new")
    Path("chain").symlink_to("dangling")
    write_atomically("link", b"new")
    write_atomically("chain", b"made")
    assert (Path("file").read_bytes(), Path("sub/new").read_bytes()) == (b"new", b"made")
    assert all(Path(name).is_symlink() for name in ("link", "dangling", "chain"))
    Path("nowhere").symlink_to("none/file")
    Path("loop").symlink_to("loop")
    for name, words in ("nowhere", "there is no folder .*none"), ("loop", "symbolic links"):
        with pytest.raises(JahpError, match=f"cannot write '?{name}'?: .*{words}"):
            write_atomically(name, b"")
    assert not [p for p in work.rglob("*") if p.name.endswith(".tmp")]


def test_a_hard_link_keeps_the_old_content(work):
    Path("file").write_bytes(b"old")
    os.link("file", "other")
    write_atomically("file", b"new")
    assert (Path("file").read_bytes(), Path("other").read_bytes()) == (b"new", b"old")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_the_mode_is_kept_and_new_files_obey_the_umask(work, mode):
    Path("file").write_bytes(b"old")
    Path("file").chmod(mode)
    before = os.umask(0o027)
    try:
        write_atomically("file", b"new")
        write_atomically("new", b"new")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(os.stat(name).st_mode) for name in ("file", "new")] == [mode, 0o640]


@ROOT_ONLY
def test_the_owner_is_kept(work):
    Path("file").write_bytes(b"old")
    os.chown("file", 1234, 2345)
    Path("file").chmod(0o4755)
    write_atomically("file", b"new")
    there = os.stat("file")
    assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (1234, 2345, 0o4755)


def test_an_owner_that_cannot_be_kept_gives_nothing_away(work, monkeypatch):
    Path("file").write_bytes(b"old")
    Path("file").chmod(0o6774)
    fstat = os.fstat
    real = os.stat("file")

    def not_permitted(*_):
        raise PermissionError(1, "Operation not permitted")

    def foreign(fd):
        return os.stat_result([*fstat(fd)[:4], real.st_uid + 1, *fstat(fd)[5:]])

    monkeypatch.setattr(os, "fchown", not_permitted)
    monkeypatch.setattr(os, "fstat", foreign)
    write_atomically("file", b"new")
    monkeypatch.undo()
    assert (work / "file").read_bytes() == b"new"
    assert stat.S_IMODE((work / "file").stat().st_mode) == 0o744


def test_a_write_protected_file_needs_a_word(work, tiny, capsys):
    Path("kept").write_bytes(b"old")
    Path("kept").chmod(0o444)
    arguments = ["encode", "photo.png", "kept", "--model", tiny]
    assert "cannot write kept: it is write-protected; --force replaces it" in refused(capsys, *arguments)
    with pytest.raises(JahpError, match="write-protected; chmod"):
        write_atomically("kept", b"new")
    assert main([*arguments, "--force"]) == 0
    assert Path("kept").read_bytes() == Path("photo.jahp").read_bytes()
    assert stat.S_IMODE(os.stat("kept").st_mode) == 0o444


# Names


@pytest.mark.parametrize(("name", "words"), [
    ("", "argument 3 is empty"), ("a\0b", "argument 3 has a NUL byte"),
    ("none/", "there is no folder none/"), ("none/x", "there is no folder"),
    ("photo.png/", "Not a directory"), ("photo.png/x", "Not a directory"), ("x" * 300, "File name too long"),
])  # fmt: skip
def test_names_that_cannot_be(work, tiny, capsys, name, words):
    for command in (["encode", "photo.png"], ["decode", "photo.jahp"]):
        assert words in refused(capsys, *command, name, "--model", tiny)


@pytest.mark.parametrize("name", ["", ".", "/", "a\0b", "none/"])
def test_names_that_cannot_be_in_python(work, name):
    with pytest.raises(JahpError, match="cannot write"):
        write_atomically(name, b"")


@pytest.mark.parametrize("folder", ["sub", "sub/", ".", "link"])
def test_a_folder_takes_a_file_of_the_same_name(work, tiny, folder, capsys):
    Path("in").mkdir()
    Path("sub").mkdir()
    Path("link").symlink_to("sub")
    (work / "in" / "a.b.png").write_bytes(Path("photo.png").read_bytes())
    assert main(["encode", "in/a.b.png", folder, "--model", tiny]) == 0
    assert (Path(folder) / "a.b.jahp").read_bytes() == Path("photo.jahp").read_bytes()
    assert main(["decode", str(Path(folder) / "a.b.jahp"), folder, "--model", tiny]) == 0
    assert size(Path(folder) / "a.b.png") == (56, 40)
    assert "standard input has no name" in refused(capsys, "encode", "-", folder, "--model", tiny)


def test_names_of_any_length_fit(work):
    for length in (238, 250, 255):
        write_atomically("é" * (length // 2) + "x" * (length % 2), b"x")
    assert len(list(work.iterdir())) == 3 + 2


def test_the_name_of_a_file_that_is_being_written(work):
    with atomic_file("file"):
        (name,) = {p.name for p in work.iterdir()} - {"photo.png", "photo.jahp"}
        assert TEMPORARY.fullmatch(name)


# The input itself


@pytest.mark.parametrize("kind", ["itself", "dotted", "absolute", "symbolic link", "hard link", "folder"])
def test_an_input_is_never_replaced(work, tiny, capsys, kind):
    for command, photo in ("encode", "photo.png"), ("decode", "photo.jahp"):
        name = photo if kind != "folder" else {"encode": "same.jahp", "decode": "same.png"}[command]
        other = {"itself": name, "dotted": f"./{name}", "absolute": str(work / name), "folder": "."}.get(kind)
        if other is None:
            other = f"other-{name}"
            (os.link if kind == "hard link" else os.symlink)(name, other)
        if kind == "folder":  # the file in it would have the name of the input
            Path(name).write_bytes(Path(photo).read_bytes())
        assert "are the same file: choose another output" in refused(capsys, command, name, other, "--model", tiny, "--force")


def test_standard_input_and_output_that_are_files(work, tiny):
    jahp = [sys.executable, "-m", "jahp_fast", "encode"]
    before = contents()
    with open("photo.png", "rb") as given:
        done = subprocess.run([*jahp, "-", "photo.png", "--model", tiny], stdin=given, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1, "jahp: standard input and photo.png are the same file: choose another output\n")  # fmt: skip
    with open("photo.png", "ab") as taken:
        done = subprocess.run([*jahp, "photo.png", "-", "--model", tiny], stdout=taken, stderr=subprocess.PIPE, text=True, check=False)
    assert "photo.png and standard output are the same file" in done.stderr
    assert contents() == before


def test_the_model_is_an_input_too(work, tiny, capsys):
    Path("m.safetensors").write_bytes(Path(tiny).read_bytes())
    assert "m.safetensors are the same file" in refused(capsys, "encode", "photo.png", "m.safetensors", "--model", "m.safetensors")


@pytest.mark.parametrize("command", ["export", "import-compressai"])
def test_a_checkpoint_is_never_replaced(work, tiny, capsys, command):
    checkpoint = Path("k.safetensors")
    checkpoint.write_bytes(Path(tiny).read_bytes())
    os.link(checkpoint, "hard")
    photos = ["--photos", "."]
    for out, words in (
        ("./k.safetensors", "are the same file"), ("hard", "are the same file"), ("photo.png", "are the same file"),
        (os.devnull, "no regular file"), (".", "it is a folder"), ("none/x", "there is no folder"),
    ):  # fmt: skip
        assert re.search(words, refused(capsys, command, checkpoint, out, *photos)), out
    Path("kept").write_bytes(b"old")
    Path("kept").chmod(0o444)
    assert "--force replaces it" in refused(capsys, command, checkpoint, "kept", *photos)


# Terminals


def test_names_that_the_terminal_lacks(work, tiny):
    """Neither of a character set nor of an encoding that it has: escaped, not a traceback."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    folder = work / "ünï"
    folder.mkdir()
    (folder / os.fsdecode(b"\xff.safetensors")).write_bytes(Path(tiny).read_bytes())
    for more in (
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "utf-8:strict"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
    ):
        options = {"env": environment | more | {"JAHP_FAST_MODELS": str(folder)}, "capture_output": True}
        done = subprocess.run([sys.executable, "-m", "jahp_fast", "models"], check=False, **options)
        assert (done.returncode, done.stderr) == (0, b""), more
        assert b".safetensors" in done.stdout
        done = subprocess.run([sys.executable, "-m", "jahp_fast", "info", "ünï\udcfe"], check=False, **options)
        assert done.returncode == 1
        assert done.stderr.startswith(b"jahp: cannot read ")
        assert done.stderr.count(b"\n") == 1


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "jahp_fast", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[0]) == (0, "jahp_fast")


def test_reports_do_not_replace_what_they_are_about(work, tiny, capsys, photo_crop):
    """A photo where the report's plot would be; figures in place of the photo or the model."""
    Path("held.txt").write_text("photo.png\n")
    Path("m.safetensors").write_bytes(Path(tiny).read_bytes())
    for name in ("plot.png", "factors.png"):
        Image.fromarray(photo_crop).save(name)
    Path("report").mkdir()
    os.link("plot.png", "report/plot.png")
    for arguments in (
        ["eval", ".", "--out", "report", "--codecs", "jpeg", "--models", "none"],
        ["bench", "--image", "photo.png", "--json", "./photo.png"],
        ["bench", "--image", "photo.png", "--model", "m.safetensors", "--json", "m.safetensors"],
        ["study", "--photos", ".", "--out", ".", "--minutes", "1"],
    ):
        assert "are the same file: choose another output" in refused(capsys, *arguments)


def test_training_does_not_replace_what_it_begins_with(work, tiny):
    from jahp_fast.train import report
    from jahp_fast.train.settings import Settings
    from jahp_fast.train.start import load_start

    Path("average.safetensors").write_bytes(Path(tiny).read_bytes())
    for given in ("resume", "transforms"):
        settings = Settings(photos=(Path(),), work=Path(), minutes=1, **{given: Path("average.safetensors")})
        with pytest.raises(JahpError, match="are the same file"):
            load_start(settings, report.Screen())


def test_a_report_on_names_that_are_no_utf8(work):
    """Measured, kept, and taken over by the next run."""
    folder = work / os.fsdecode(b"\xfe")
    folder.mkdir()
    (folder / os.fsdecode(b"\xff.png")).write_bytes(Path("photo.png").read_bytes())
    command = [
        sys.executable,
        "-m",
        "jahp_fast",
        "eval",
        folder,
        "--out",
        folder / "out",
        "--codecs",
        "jpeg",
        "--models",
        "none",
    ]
    for measured in (b"1 of 24 measured", b""):
        done = subprocess.run(command, capture_output=True, check=False)
        assert (done.returncode, measured in done.stderr, b"measured" in done.stderr) == (0, True, bool(measured)), done.stderr
    assert b"\xff.png" in (folder / "out" / "results.csv").read_bytes()
