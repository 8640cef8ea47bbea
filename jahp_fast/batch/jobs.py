# SPDX-License-Identifier: Apache-2.0
"""Which files there are to do, folder by folder, so that memory does not grow with their number."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from jahp_fast import container
from jahp_fast.batch.work import Job, Task
from jahp_fast.errors import UsageError

JAHP = ".jahp"
_TEMPORARY = re.compile(r"^\..+\.[0-9a-f]{12}\.tmp$")


def input_suffixes(task: Task) -> set[str]:
    """Of the files that are taken, in lower case: all that Pillow opens, or .jahp."""
    if task.direction == "decode":
        return {JAHP}
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN} - {JAHP}


def jobs(task: Task, source: Path, target: Path) -> Iterator[Job]:
    """Every file below `source` with such a suffix, folder by folder in order of the names; hidden ones and `target` are left out.

    Raises UsageError for a folder that cannot be read, and where two files of a folder would become one.
    """
    suffixes = input_suffixes(task)
    avoid = target.resolve() if target.resolve() != source.resolve() else None

    def unreadable(error: OSError) -> None:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}")

    for folder, below, files in os.walk(source, onerror=unreadable):
        below[:] = sorted(d for d in below if not d.startswith(".") and (avoid is None or Path(folder, d).resolve() != avoid))
        inside = os.path.relpath(folder, source)
        seen: dict[str, str] = {}
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)
            if name.startswith(".") or suffix.lower() not in suffixes:
                continue
            out = stem + task.suffix
            if out in seen:
                raise UsageError(f"{os.path.join(folder, seen[out])} and {name} would both become {out}: rename one of them")
            seen[out] = name
            yield Job(os.path.normpath(os.path.join(inside, name)), os.path.join(folder, name), os.path.normpath(target / inside / out))


def is_done(task: Task, job: Job, model: bytes) -> bool:
    """Whether the target is there, not older than its source and, when encoding, of this model and quality."""
    try:
        made, given = os.stat(job.target), os.stat(job.source)
        if made.st_size == 0 or made.st_mtime_ns < given.st_mtime_ns:
            return False
        if task.direction == "decode":
            return True
        with open(job.target, "rb") as f:
            head = f.read(container.HEADER_BYTES)
    except OSError:
        return False
    quality = int.from_bytes(head[24:26], "little")
    return head[:4] == container.MAGIC and head[8:16] == model and quality == container.quality_code(task.codec[1])


def sweep(target: Path) -> int:
    """Removes what writers that were killed left below `target`; returns how many files. Nobody may be writing there."""
    removed = 0
    for folder, _, files in os.walk(target):
        for name in files:
            if _TEMPORARY.match(name):
                os.unlink(os.path.join(folder, name))
                removed += 1
    return removed
