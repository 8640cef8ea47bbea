# SPDX-License-Identifier: Apache-2.0
"""`jahp batch` in a tree that is not all pictures, and beside somebody's files: nothing hangs, ends the run, or is lost."""

import io
import json
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jahp_fast import Codec
from jahp_fast.batch import command
from jahp_fast.batch.jobs import has_pixels, input_suffixes, jobs, sweep
from jahp_fast.batch.work import Job, Outcome, Task, process
from jahp_fast.batch.written import RECORD, Record, is_whole
from jahp_fast.cli import main
from jahp_fast.errors import UsageError
from jahp_fast.local import settings
from jahp_fast.system.atomic import write_atomically

ENCODE, DECODE = Task("encode", settings(), ".jahp"), Task("decode", settings(), ".png")
NAMES = ("a.png", "b.png", "sub/c.png")


@pytest.fixture
def tiny(tiny_models):
    return str(tiny_models["tiny"])


@pytest.fixture
def photos(tmp_path, photo_crop, monkeypatch):
    """A folder "photos" with three pictures, in the folder in which the commands run."""
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(NAMES):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo_crop[i : i + 32, i : i + 48]).save(path)
    return tmp_path / "photos"


@pytest.fixture
def batch(monkeypatch, tiny):
    """Runs `jahp batch` with the work done in this process: (exit status, names worked on, lines of the journal)."""
    worked = []

    def here(task, todo, workers, stopped):
        for job in todo:
            worked.append(job.name)
            yield process(task, job)

    def run(direction, source, target, *more):
        worked.clear()
        status = main(["batch", direction, str(source), str(target), "--model", tiny, *more])
        journal = [json.loads(line) for line in (Path(target) / command.JOURNAL).read_text().splitlines()]
        return status, sorted(worked), journal

    monkeypatch.setattr(command, "_executor", lambda on_ray: here)
    return run


def touch(path, later=100):
    """Makes a file younger than it is."""
    when = os.stat(path).st_mtime + later
    os.utime(path, (when, when))


# Somebody's files


@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_originals_are_not_replaced_by_their_copies(photos, batch, resume):
    originals = {name: (photos / name).read_bytes() for name in NAMES}
    assert batch("encode", photos, photos)[0] == 0
    for name in NAMES:
        touch(photos / name, -100)
    status, worked, journal = batch("decode", photos, photos, *resume)
    assert (status, worked) == (1, [])
    assert {line["file"] for line in journal} == {name.replace(".png", ".jahp") for name in NAMES}
    assert all(line["error"] == "NotWritten" and "--overwrite replaces it" in line["message"] for line in journal)
    assert {name: (photos / name).read_bytes() for name in NAMES} == originals
    status, worked, _ = batch("decode", photos, photos, "--overwrite")
    assert (status, len(worked)) == (0, 3)
    assert {name: (photos / name).read_bytes() for name in NAMES} != originals


@pytest.mark.parametrize(("direction", "suffix"), [("encode", ".jahp"), ("decode", ".png")])
def test_only_what_was_written_here_is_written_again(photos, batch, tiny, direction, suffix):
    """Own files are replaced in every later run; one that somebody else made or changed is not."""
    source, out = photos, Path("out")
    if direction == "decode":
        assert batch("encode", photos, "coded")[0] == 0
        source = Path("coded")
    more = ["-q", "5"] if direction == "encode" else []
    (out / "sub").mkdir(parents=True)
    foreign = out / f"a{suffix}"
    if direction == "encode":
        foreign.write_bytes(Codec("tiny", quality=2, models=[tiny]).encode(np.zeros((8, 8, 3), np.uint8)))
    else:
        Image.new("RGB", (8, 8)).save(foreign)
    theirs = foreign.read_bytes()
    status, worked, journal = batch(direction, source, out)
    assert (status, len(worked), len(journal)) == (1, 2, 1)
    status, worked, _ = batch(direction, source, out, *more)
    assert (status, len(worked)) == (1, 2)
    assert foreign.read_bytes() == theirs
    changed = out / "sub" / f"c{suffix}"
    changed.write_bytes(theirs)
    assert len(batch(direction, source, out)[1]) == 1
    assert changed.read_bytes() == theirs
    status, worked, journal = batch(direction, source, out, "--overwrite")
    assert (status, len(worked), journal) == (0, 3, [])
    status, worked, journal = batch(direction, source, out)  # they are its own now
    assert (status, len(worked), journal) == (0, 3, [])
    shutil.move("out", "elsewhere")  # the record goes along, and holds
    assert batch(direction, source, "elsewhere")[0] == 0


def test_a_target_that_is_the_source_is_refused(photos, batch):
    """Through a link: not even with --overwrite."""
    (photos / "a.jahp").symlink_to("a.png")
    os.link(photos / "b.png", photos / "b.jahp")
    before = (photos / "a.png").read_bytes()
    status, worked, journal = batch("encode", photos, photos, "--overwrite")
    assert (status, worked) == (1, ["sub/c.png"])
    assert all("is the same file" in line["message"] for line in journal)
    assert (photos / "a.png").read_bytes() == before


def test_targets_that_are_no_files(photos, batch):
    Path("out/b.jahp").mkdir(parents=True)
    os.mkfifo("out/a.jahp")
    Path("out/sub").mkdir()
    Path("out/sub/c.jahp").write_bytes(b"")  # there is nothing in it to be lost
    status, worked, journal = batch("encode", photos, "out", "--overwrite")
    assert (status, worked) == (1, ["b.png", "sub/c.png"])
    assert ["no regular file" in journal[0]["message"], "it is a folder" in journal[1]["message"]] == [True, True]


# --resume


@pytest.mark.parametrize("damage", ["cut", "end", "flipped", "other"])
@pytest.mark.parametrize(("direction", "suffix"), [("encode", ".jahp"), ("decode", ".png")])
def test_a_damaged_target_is_not_done(photos, batch, direction, suffix, damage):
    source = photos
    if direction == "decode":
        assert batch("encode", photos, "coded")[0] == 0
        source = Path("coded")
    assert batch(direction, source, "out")[0] == 0
    path = Path("out") / f"a{suffix}"
    good = path.read_bytes()
    middle = len(good) // 2
    flipped = good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]
    path.write_bytes({"cut": good[:-20], "end": good[:-1], "flipped": flipped, "other": b"\0" * len(good)}[damage])
    touch(path)
    status, worked, journal = batch(direction, source, "out", "--resume")
    assert (status, [Path(name).stem for name in worked], journal) == (0, ["a"], [])
    assert path.read_bytes() == good
    assert batch(direction, source, "out", "--resume")[1] == []


def test_pixels_of_a_format_without_checksums_are_known(photos, batch):
    """A BMP says nothing of its pixels: the record does."""
    assert batch("encode", photos, "coded")[0] == 0
    assert batch("decode", "coded", "out", "--to", "bmp")[0] == 0
    path = Path("out/a.bmp")
    good = path.read_bytes()
    path.write_bytes(good[:-100])
    touch(path)
    assert batch("decode", "coded", "out", "--to", "bmp", "--resume")[1] == ["a.jahp"]
    assert path.read_bytes() == good


@pytest.mark.parametrize("kind", ["PNG", "AVIF", "IM", "TIFF", "GIF"])
@pytest.mark.filterwarnings("ignore")  # Pillow's own, about damage
def test_damaged_pictures_raise_nothing(kind, photo_crop):
    rng = np.random.default_rng(1)
    buffer = io.BytesIO()
    if kind not in Image.SAVE:
        pytest.skip("this Pillow has no such format")
    Image.fromarray(photo_crop[:20, :30]).save(buffer, kind)
    good = np.frombuffer(buffer.getvalue(), np.uint8)
    assert is_whole(DECODE, good.tobytes())
    for _ in range(300):
        bad = good.copy()
        bad[rng.integers(0, min(len(bad), 300), 3)] = rng.integers(0, 256, 3)
        assert is_whole(DECODE, bad.tobytes()) in (True, False)


def test_resuming_without_a_record(photos, batch):
    """As after a death between a file and its line: what is whole is done, what is damaged is not its to replace."""
    assert batch("encode", photos, "coded")[0] == 0
    for direction, source, name in ("encode", photos, "b.jahp"), ("decode", "coded", "b.png"):
        assert batch(direction, source, "out")[0] == 0
        (Path("out") / RECORD).unlink()
        path = Path("out") / name
        path.write_bytes(path.read_bytes()[:-30])
        touch(path)
        status, worked, journal = batch(direction, source, "out", "--resume")
        assert (status, worked, len(journal)) == (1, [], 1)
        status, worked, _ = batch(direction, source, "out", "--resume", "--overwrite")
        assert (status, [Path(name).stem for name in worked]) == (0, ["b"])


def test_the_record(tmp_path):
    """Damaged lines are passed over, of several for one file the last one holds, and names of any bytes survive."""
    job = Job("x", "x", str(tmp_path / os.fsdecode(b"\xff\xc3\xa9.png")))
    record = Record(tmp_path)
    with record.kept():
        record.add(Outcome(job, bytes_out=1, crc32c=1))
        record.add(Outcome(job, bytes_out=3, crc32c=0x364B3FB7))  # CRC-32C of b"abc"
    with open(tmp_path / RECORD, "ab") as file:
        file.write(b'{"file": "y"}\n[]\n\xff\n{"file": "z", "bytes": 1, "crc')
    again = Record(tmp_path)
    assert (again.knows(job), again.matches(job, b"abc"), again.matches(job, b"abd")) == (True, True, False)
    with again.kept():
        pass
    assert len((tmp_path / RECORD).read_text("ascii").splitlines()) == 1
    assert Record(tmp_path).matches(job, b"abc")


# The tree


def test_a_folder_that_cannot_be_read_is_a_line_in_the_journal(photos, batch, monkeypatch):
    scandir = os.scandir

    def forbidding(path):
        if os.fspath(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidding)
    status, worked, (line,) = batch("encode", photos, "out")
    assert (status, worked) == (1, ["a.png", "b.png"])
    assert (line["file"], line["error"], line["message"]) == (
        "sub",
        "PermissionError",
        "cannot read this folder: Permission denied",
    )
    with pytest.raises(UsageError, match=r"cannot read .*sub: Permission denied"):
        list(jobs(ENCODE, photos / "sub", Path("out")))


def test_special_files_are_lines_in_the_journal(photos, batch):
    os.mkfifo(photos / "pipe.png")
    (photos / "zero.png").symlink_to("/dev/zero")
    (photos / "gone.png").symlink_to("nothing")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("photos/sock.png")
        status, worked, journal = batch("encode", photos, "out")
    assert (status, worked) == (1, ["a.png", "b.png", "gone.png", "sub/c.png"])
    assert {line["file"]: line["message"] for line in journal} == {
        "pipe.png": "this is a pipe, not a file",
        "zero.png": "this is a device, not a file",
        "sock.png": "this is a socket, not a file",
        "gone.png": "cannot read or write: No such file or directory",
    }


def test_linked_folders_are_left_out_with_a_word(photos, batch, capsys):
    (photos / "link").symlink_to("sub")
    (photos / "circle").symlink_to(".")
    (photos / "file.png").symlink_to("a.png")
    status, worked, journal = batch("encode", photos, "out")
    assert (status, worked, journal) == (0, ["a.png", "b.png", "file.png", "sub/c.png"], [])
    said = capsys.readouterr().err
    assert [said.count(f"photos/{name} is a link to a folder, and left out") for name in ("link", "circle", "file.png")] == [1, 1, 0]


def test_formats_without_pixels_are_none_of_its_business(photos, batch, capsys):
    for name in (
        "film.mpg",
        "film.mpeg",
        "data.h5",
        "data.hdf",
        "weather.grib",
        "weather.bufr",
        "drawing.wmf",
        "drawing.emf",
    ):
        (photos / name).write_bytes(b"\0" * 50)
    assert batch("encode", photos, "out")[0] == 0
    assert {".png", ".jpg", ".webp", ".tif", ".bmp", ".gif", ".jp2"} <= input_suffixes(ENCODE)
    assert input_suffixes(DECODE) == {".jahp"}
    assert has_pixels("PNG")
    capsys.readouterr()
    assert main(["batch", "decode", "out", "back", "--to", "wmf"]) == 1
    assert "Pillow writes no format of the ending .wmf" in capsys.readouterr().err


def test_long_names(photos, batch):
    """Up to what a file system takes; a picture whose .jahp file would be longer is a line in the journal."""
    names = ["x" * length for length in (238, 246, 250, 251)]
    for name in names:
        (photos / f"{name}.png").write_bytes((photos / "a.png").read_bytes())
    status, _, (line,) = batch("encode", photos, "out")
    assert (status, line["file"]) == (1, f"{names[-1]}.png")
    assert "File name too long" in line["message"]
    assert {p.stem for p in Path("out").glob("x*.jahp")} == set(names[:-1])


def test_sweeping_takes_what_writers_leave_and_nothing_else(tmp_path, monkeypatch):
    def dies(source, target):
        raise KeyboardInterrupt

    unlink = os.unlink
    monkeypatch.setattr(os, "replace", dies)
    monkeypatch.setattr(os, "unlink", lambda path: None)  # as if killed
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "some name.png", b"half")
    monkeypatch.setattr(os, "unlink", unlink)
    (tmp_path / ".jahp-0123456789abcdef.tmp").mkdir()
    spared = [tmp_path / name for name in (".jahp-0123456789abcde.tmp", ".a.jahp-0123456789abcdef.tmp", ".jahp-0123456789ABCDEF.tmp")]
    for path in spared:
        path.write_bytes(b"")
    assert sweep(tmp_path) == 1
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in spared} | {".jahp-0123456789abcdef.tmp"}
