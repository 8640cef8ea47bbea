# SPDX-License-Identifier: Apache-2.0
"""`jahp batch`: what is done, what is left out, and what fails. Runs that are killed: test_batch_killed."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jahp_fast
from jahp_fast.batch import command
from jahp_fast.batch.jobs import jobs, sweep
from jahp_fast.batch.pool import run_here
from jahp_fast.batch.progress import Progress
from jahp_fast.batch.work import Job, Task, process
from jahp_fast.batch.written import RECORD, Record, is_done
from jahp_fast.cli import main
from jahp_fast.errors import UsageError
from jahp_fast.local import settings


@pytest.fixture
def model(tiny_models):
    return str(tiny_models["tiny"])


@pytest.fixture
def photos(tmp_path, photo_crop):
    """Six pictures in three folders, one that is no picture, and files that are none of batch's business."""
    folder = tmp_path / "photos"
    for i, name in enumerate(("a.png", "b.jpg", "sub/a.png", "sub/deep/c.webp", "sub/deep/d.PNG", "sub/ünï code\udcff.png")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo_crop[i : i + 48, i : i + 64]).save(path)
    (folder / "sub" / "broken.png").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("no picture either")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.png").write_bytes(b"")
    return folder


@pytest.fixture
def inline(monkeypatch):
    """Work is done in this process; the list has the names of what was worked on."""
    worked = []

    def here(task, todo, workers, stopped):
        for job in todo:
            worked.append(job.name)
            yield process(task, job)

    monkeypatch.setattr(command, "_executor", lambda on_ray: here)
    return worked


NAMES = ["a.png", "b.jpg", "sub/a.png", "sub/broken.png", "sub/deep/c.webp", "sub/deep/d.PNG", "sub/ünï code\udcff.png"]
OUTPUTS = {"a.jahp", "b.jahp", "sub/a.jahp", "sub/deep/c.jahp", "sub/deep/d.jahp", "sub/ünï code\udcff.jahp"}


def below(folder, suffix=".jahp"):
    return {str(p.relative_to(folder)) for p in folder.rglob(f"*{suffix}")}


def test_folders_in_folders_out(photos, tmp_path, model, inline, capsys):
    out = tmp_path / "out"
    assert main(["batch", "encode", str(photos), str(out), "-q", "5", "--model", model]) == 1
    said = capsys.readouterr()
    assert sorted(inline) == sorted(NAMES)
    assert "6 files done" in said.out
    assert "1 failed" in said.out
    assert "1 files failed" in said.err
    assert below(out) == OUTPUTS
    (line,) = (out / command.JOURNAL).read_text().splitlines()
    entry = json.loads(line)
    assert (entry["file"], entry["error"]) == ("sub/broken.png", "UnsupportedImage")
    assert "is not an image of a format that Pillow knows" in entry["message"]
    codec = jahp_fast.Codec("tiny", quality=5, models=[model], threads=1)
    for name, source in (("a.jahp", "a.png"), ("sub/deep/c.jahp", "sub/deep/c.webp")):
        assert (out / name).read_bytes() == codec.encode(Image.open(photos / source))

    back = tmp_path / "back"
    assert main(["batch", "decode", str(out), str(back), "--model", model, "--to", "bmp"]) == 0
    assert below(back, ".bmp") == {name.replace(".jahp", ".bmp") for name in OUTPUTS}
    assert np.array_equal(np.asarray(Image.open(back / "a.bmp")), codec.decode((out / "a.jahp").read_bytes()))


def test_resume(photos, tmp_path, model, inline, capsys):
    out = tmp_path / "out"
    run = ["batch", "encode", str(photos), str(out), "--model", model]
    assert main(run) == 1
    (photos / "sub" / "broken.png").unlink()
    (out / "a.jahp").unlink()
    (out / "b.jahp").write_bytes((out / "b.jahp").read_bytes()[:20])
    future = time.time() + 100
    os.utime(photos / "sub" / "a.png", (future, future))
    inline.clear()
    assert main([*run, "--resume"]) == 0
    assert sorted(inline) == ["a.png", "b.jpg", "sub/a.png"]
    assert "3 were done before" in capsys.readouterr().out
    assert len((out / command.JOURNAL).read_text().splitlines()) == 1  # --resume keeps what was written
    os.utime(photos / "sub" / "a.png", (1, 1))
    inline.clear()
    assert main([*run, "--resume", "-q", "6"]) == 0
    assert len(inline) == 6
    inline.clear()
    assert main(run) == 0
    assert len(inline) == 6
    assert (out / command.JOURNAL).read_text() == ""


def test_resume_knows_layers(photos, tmp_path, model, inline, capsys):
    (photos / "sub" / "broken.png").unlink()
    run = ["batch", "encode", str(photos), str(tmp_path / "out"), "--model", model, "--resume"]
    for options in (["--lossless"], ["--max-error", "2"], ["-q", "9"], ["-q", "10"], []):
        for worked in (6, 0):
            inline.clear()
            assert main([*run, *options]) == 0
            assert len(inline) == worked, options
    assert main([*run, "--lossless", "-q", "9"]) == 1
    assert "-q has no say" in capsys.readouterr().err
    assert main(["batch", "decode", str(tmp_path / "out"), str(tmp_path / "back"), "--lossless"]) == 1
    assert "are for encode" in capsys.readouterr().err


def test_resume_knows_drawings(photos, tmp_path, model, inline):
    """Whose files say neither model nor quality."""
    for path in photos.rglob("*.*"):
        path.unlink() if path.is_file() else None
    out, drawing = tmp_path / "out", np.zeros((40, 60), np.uint8)
    drawing[10:20, 5:50] = 200
    Image.fromarray(drawing).save(photos / "drawing.png")
    run = ["batch", "encode", str(photos), str(out), "--model", model, "--resume"]
    for options, first in (([], 1), (["-q", "6"], 1), (["--lossless"], 0), (["--max-error", "9"], 1), (["-q", "6"], 1)):
        for worked in (first, 0):  # exact pixels are what --lossless asks for, whoever made them
            inline.clear()
            assert main([*run, *options]) == 0
            assert len(inline) == worked, options
            assert jahp_fast.info((out / "drawing.jahp").read_bytes()).max_error is not None


def test_resume_after_a_drawing_that_was_not_recorded(photos, tmp_path, model, inline):
    """A run that is killed may have written it and not yet said so. Whether it is that run's is found out; it is never replaced."""
    for path in photos.rglob("*.*"):
        path.unlink() if path.is_file() else None
    out, drawing = tmp_path / "out", np.zeros((40, 60), np.uint8)
    drawing[10:20, 5:50] = 200
    Image.fromarray(drawing).save(photos / "drawing.png")
    run = ["batch", "encode", str(photos), str(out), "--model", model]
    assert main(run) == 0
    ours = (out / "drawing.jahp").read_bytes()
    for data, left_out in ((ours, True), (jahp_fast.Codec().encode(drawing[:, ::-1], lossless=True), False)):
        (out / RECORD).write_text("")
        (out / "drawing.jahp").write_bytes(data)
        for worked in (1, 0 if left_out else 1):
            inline.clear()
            assert main([*run, "--resume"]) == (0 if left_out else 1)
            assert len(inline) == worked
            assert (out / "drawing.jahp").read_bytes() == data
    (out / RECORD).write_text("")
    assert main(run) == 1  # without --resume: as ever


def test_source_and_target_may_be_one_folder(photos, model, inline):
    (photos / "sub" / "broken.png").unlink()
    assert main(["batch", "encode", str(photos), str(photos), "--model", model]) == 0
    assert below(photos) == OUTPUTS
    assert main(["batch", "encode", str(photos), str(photos / "again"), "--model", model]) == 0
    assert below(photos / "again") == OUTPUTS
    inline.clear()
    assert main(["batch", "encode", str(photos), str(photos / "again"), "--model", model]) == 0
    assert len(inline) == 6  # not what lies in the target


def test_arguments(photos, tmp_path, model, capsys):
    out = str(tmp_path / "out")
    for arguments, message in (
        (["encode", str(tmp_path / "none"), out], "is not a folder"),
        (["encode", str(photos), out, "-q", "13"], "quality 13"),
        (["decode", str(photos), out, "-q", "4"], "-q is for encode"),
        (["encode", str(photos), out, "--to", "png"], "--to is for decode"),
        (["decode", str(photos), out, "--to", "nope"], "no format of the ending .nope"),
        (["encode", str(photos), out, "--workers", "0"], "--workers must be"),
        (["encode", str(photos), out, "--model", "none"], "no model is called"),
        (["encode", str(photos), str(photos / "a.png")], "cannot make"),
    ):
        assert main(["batch", *arguments]) == 1, arguments
        assert message in capsys.readouterr().err
    (photos / "a.jpeg").write_bytes((photos / "b.jpg").read_bytes())
    assert main(["batch", "encode", str(photos), out, "--model", model]) == 1
    assert "a.jpeg and a.png would both become a.jahp" in capsys.readouterr().err
    assert below(Path(out)) == set()


def test_two_runs_cannot_share_a_target(photos, tmp_path, model, capsys):
    (tmp_path / "out").mkdir()
    with command._journal(tmp_path / "out" / command.JOURNAL, False):
        assert main(["batch", "encode", str(photos), str(tmp_path / "out"), "--model", model]) == 1
    assert "another jahp batch is writing" in capsys.readouterr().err


def test_jobs_are_found_lazily_and_sweeping_spares_other_files(tmp_path):
    task = Task("decode", settings(), ".png")
    for i in range(3):
        (tmp_path / f"{i}").mkdir()
        (tmp_path / f"{i}" / "x.jahp").write_bytes(b"")
    found = jobs(task, tmp_path, tmp_path / "out")
    assert next(found).name == "0/x.jahp"
    (tmp_path / "2" / "y.jahp").write_bytes(b"")  # found, because its folder has not been read yet
    assert [job.name for job in found] == ["1/x.jahp", "2/x.jahp", "2/y.jahp"]
    names = (".jahp-0123456789abcdef.tmp", "x.tmp", ".x.png.0123456789ab.tmp", ".jahp-0123456789abcdef.tmp~")
    left = [tmp_path / "1" / name for name in names]
    for path in left:
        path.write_bytes(b"half")
    assert sweep(tmp_path) == 1
    assert [path.exists() for path in left] == [False, True, True, True]
    with pytest.raises(UsageError, match="cannot read"):
        list(jobs(task, tmp_path / "nothing", tmp_path))


def test_an_empty_target_is_not_done(tmp_path, photo_crop):
    job = Job("a", str(tmp_path / "a.jahp"), str(tmp_path / "a.png"))
    Path(job.source).write_bytes(b"x")
    task, record = Task("decode", settings(), ".png"), Record(tmp_path)
    assert not is_done(task, job, b"", record)
    Path(job.target).write_bytes(b"")
    assert not is_done(task, job, b"", record)
    Path(job.target).write_bytes(b"png")
    assert not is_done(task, job, b"", record)
    Image.fromarray(photo_crop).save(job.target)
    assert is_done(task, job, b"", record)


def test_a_full_or_forbidden_disk_is_told(tmp_path, photos, model):
    task = Task("encode", settings("tiny", 4, [model]), ".jahp")
    (tmp_path / "file").write_bytes(b"")
    outcome = process(task, Job("a.png", str(photos / "a.png"), str(tmp_path / "file" / "a.jahp")))
    assert outcome.error in ("NotADirectoryError", "FileExistsError")
    outcome = process(task, Job("a.png", str(photos / "gone.png"), str(tmp_path / "a.jahp")))
    assert (outcome.error, outcome.message) == ("FileNotFoundError", "cannot read or write: No such file or directory")


def test_progress_counts_and_estimates(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress(100)
    now[0], progress.done, progress.failed, progress.skipped = 105.0, 18, 2, 10
    assert progress.line(now[0]) == "30/100 files, 4.0/s, 0:18 left, 2 failed"
    progress.show()
    assert capsys.readouterr().err == ""
    now[0] = 111.0
    progress.show()
    assert capsys.readouterr().err.startswith("jahp batch: 30/100 files, ")
    now[0], progress.done = 7300.0, 20
    assert progress.line(7300.0).endswith("left, 2 failed")


@pytest.mark.parametrize(("fatal", "error"), [(1, None), (2, "WorkerDied")])
def test_a_worker_that_dies_costs_at_most_its_file(tmp_path, monkeypatch, fatal, error):
    """Workers that are shell scripts: they answer each job, and die of the one called "bad" the first `fatal` times."""
    script = tmp_path / "python"
    script.write_text(
        "#!/bin/sh\nwhile read -r job; do case $job in\n"
        f'*\'"bad"\'*) if [ "$(ls {tmp_path}/died-* 2>/dev/null | wc -l)" -lt {fatal} ]; then\n'
        f"mktemp {tmp_path}/died-XXXXXX >&2; kill -9 $$; fi;;\n"
        'esac; printf \'{"job": %s, "error": "", "message": "", "bytes_in": 1, "bytes_out": 1}\\n\' "$job"; done\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    names = ["one", "bad", "two", "three"]
    task = Task("decode", settings(), ".png")
    outcomes = [o for o in run_here(task, iter([Job(n, n, n) for n in names]), 1, lambda: False) if o is not None]
    assert sorted(o.job.name for o in outcomes) == sorted(names)
    assert {o.job.name: o.error for o in outcomes}["bad"] == (error or "")
    assert sum(bool(o.error) for o in outcomes) == (error is not None)
