# SPDX-License-Identifier: Apache-2.0
"""Which files there are to do, folder by folder, so that memory does not grow with their number."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from jahp_fast.batch.work import Job, Outcome, Task
from jahp_fast.errors import UsageError
from jahp_fast.files.pictures import has_pixels
from jahp_fast.system.atomic import TEMPORARY

JAHP = ".jahp"


def input_suffixes(task: Task) -> set[str]:
    """Of the files that are taken, in lower case: all whose pixels Pillow reads, or .jahp."""
    if task.direction == "decode":
        return {JAHP}
    known = Image.registered_extensions().items()
    read = {*Image.OPEN, "MPO"}  # which the plugin of JPEG reads
    return {suffix for suffix, kind in known if kind in read and has_pixels(kind)} - {JAHP}


def _ignore(_: str) -> None:
    pass


def jobs(task: Task, source: Path, target: Path, linked: Callable[[str], None] = _ignore) -> Iterator[Job | Outcome]:
    """Every file below `source` with such a suffix, folder by folder in order of the names.

    Hidden files and folders and `target` are left out. A folder that cannot be read, and what is no file for all its
    name, is an outcome. Folders behind symbolic links are left out, since they may lead in circles or lie in the source
    as well.

    Args:
        linked: is told each of those.

    Raises UsageError where `source` itself cannot be read, and where two files of a folder would become one.
    """
    suffixes = input_suffixes(task)
    avoid = target.resolve() if target.resolve() != source.resolve() else None
    unreadable: list[Outcome] = []

    def note(error: OSError) -> None:
        if error.filename == os.fspath(source):
            raise UsageError(f"cannot read {error.filename}: {error.strerror}")
        job = Job(os.path.relpath(error.filename, source), error.filename, "")
        unreadable.append(Outcome(job, type(error).__name__, f"cannot read this folder: {error.strerror}"))

    for folder, below, files in os.walk(source, onerror=note):
        yield from unreadable
        unreadable.clear()
        below[:] = sorted(d for d in below if not d.startswith(".") and (avoid is None or Path(folder, d).resolve() != avoid))
        for path in (os.path.join(folder, d) for d in below):
            if os.path.islink(path):
                linked(path)
        inside = os.path.relpath(folder, source)
        seen: dict[str, str] = {}
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)
            if name.startswith(".") or suffix.lower() not in suffixes:
                continue
            job = Job(os.path.normpath(os.path.join(inside, name)), os.path.join(folder, name),
                      os.path.normpath(target / inside / (stem + task.suffix)))  # fmt: skip
            kind = _special(job.source)
            if kind:
                yield Outcome(job, "NoFile", f"this is a {kind}, not a file")
                continue
            out = stem + task.suffix
            if out in seen:
                raise UsageError(f"{os.path.join(folder, seen[out])} and {name} would both become {out}: rename one of them")
            seen[out] = name
            yield job
    yield from unreadable


def _special(path: str) -> str:
    """What a path is that is no regular file; "" where it is one, or where reading it will tell."""
    with contextlib.suppress(OSError):
        mode = os.stat(path).st_mode
        if stat.S_ISFIFO(mode):
            return "pipe"
        if stat.S_ISSOCK(mode):
            return "socket"
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            return "device"
    return ""


def sweep(target: Path) -> int:
    """Removes what writers that were killed left below `target`; returns how many files. Nobody may be writing there.

    What may not be removed stays.
    """
    removed = 0
    for folder, _, files in os.walk(target):
        for path in (os.path.join(folder, name) for name in files if TEMPORARY.fullmatch(name)):
            with contextlib.suppress(OSError):
                if stat.S_ISREG(os.lstat(path).st_mode):
                    os.unlink(path)
                    removed += 1
    return removed
