# SPDX-License-Identifier: Apache-2.0
"""What `jahp batch` wrote below a folder, so that it replaces nothing else, and takes for done only what is whole."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from jahp_fast import _native
from jahp_fast.batch.work import Job, Outcome, Task
from jahp_fast.errors import FormatError, JahpError, UnsupportedImage
from jahp_fast.files import container
from jahp_fast.files.pictures import library_errors, noted
from jahp_fast.system.atomic import write_atomically

RECORD = "jahp-batch.written.jsonl"
"""Below the target: a line of JSON for each file, {"file", "bytes", "crc32c", "asked"}; of several for one the last holds."""

_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


class Record:
    """Size and CRC-32C of the files that were written, and what was asked for (`asked`), by their paths below `target`; some 200 bytes of
    memory each."""

    def __init__(self, target: Path) -> None:
        """Raises JahpError if there is a record that cannot be read. Lines that are damaged are passed over."""
        self._target, self.path = target, target / RECORD
        self._files: dict[str, tuple[int, int, str]] = {}
        try:
            with open(self.path, encoding="ascii", errors="replace") as lines:
                for line in lines:
                    self._take(line)
        except FileNotFoundError:
            pass
        except OSError as e:
            raise JahpError(f"cannot read {self.path}: {e.strerror}") from None

    def _take(self, line: str) -> None:
        try:
            fields = json.loads(line)
            asked = sys.intern(str(fields.get("asked", "")))  # nothing is of what decoding wrote
            self._files[str(fields["file"])] = int(fields["bytes"]), int(fields["crc32c"]), asked
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Within, `add` writes. Begins with the lines that hold, without what was written over or cut."""
        write_atomically(self.path, "".join(self._line(name) for name in self._files).encode("ascii"))
        try:
            self._file = open(self.path, "a", encoding="ascii")  # noqa: SIM115
        except OSError as e:
            raise JahpError(f"cannot write {self.path}: {e.strerror}") from None
        with self._file:
            yield

    def add(self, outcome: Outcome, asked: str = "") -> None:
        """Of a file that was written just now. Raises JahpError where the disk is full."""
        name = self._name(outcome.job)
        self._files[name] = outcome.bytes_out, outcome.crc32c, asked
        try:
            self._file.write(self._line(name))
            self._file.flush()
        except OSError as e:
            raise JahpError(f"cannot write {self.path}: {e.strerror}") from None

    def knows(self, job: Job) -> bool:
        """Whether a file of this name was written."""
        return self._name(job) in self._files

    def matches(self, job: Job, data: bytes, asked: str | None = None) -> bool:
        """Whether these bytes are what was written, when that was asked for."""
        size, crc, said = self._files.get(self._name(job), (-1, 0, ""))
        return (size, crc) == (len(data), _native.crc32c(data)) and asked in (None, said)

    def _name(self, job: Job) -> str:
        return os.path.relpath(job.target, self._target)

    def _line(self, name: str) -> str:
        size, crc, asked = self._files[name]
        return json.dumps({"file": name, "bytes": size, "crc32c": crc} | ({"asked": asked} if asked else {})) + "\n"


def asked_of(task: Task, model: bytes) -> str:
    """What of a file that encoding makes: a bound on errors, or a model and a quality. Files of drawings do not always say it: kept by
    themselves they have neither model nor quality, and often a lower bound."""
    if task.direction == "decode":
        return ""
    return f"{model.hex()} {task.codec[1]:g}" if task.max_error is None else f"max_error {task.max_error}"


def is_whole(task: Task, data: bytes) -> bool:
    """Whether a file that nothing is known of is complete: lengths and CRC of a .jahp file, all pixels of a picture."""
    if task.direction == "encode":
        try:
            container.unpack(data)
        except FormatError:
            return False
        return True
    try:
        with noted(), library_errors("it"):
            with Image.open(io.BytesIO(data)) as image:
                image.verify()  # every chunk of a PNG: loading stops at the last pixel; neither looks at its very end
                if image.format == "PNG" and _PNG_END not in data:
                    return False
            with Image.open(io.BytesIO(data)) as image:
                image.load()
    except UnsupportedImage:
        return False
    return True


def is_done(task: Task, job: Job, model: bytes, record: Record) -> bool:
    """Whether the target is there, whole, not older than its source and, when encoding, of this model and quality."""
    try:
        made, given = os.stat(job.target), os.stat(job.source)
        if not stat.S_ISREG(made.st_mode) or made.st_mtime_ns < given.st_mtime_ns:
            return False
        data = Path(job.target).read_bytes()
    except OSError:
        return False
    if task.direction == "encode":
        try:
            stream = container.unpack(data)
        except FormatError:
            return False
        if stream.exact is None:
            if task.max_error is not None or stream.model != model or stream.asked_quality != task.codec[1]:
                return False
        elif stream.exact.bound != task.max_error and not record.matches(job, data, asked_of(task, model)):
            return False
    return record.matches(job, data) or is_whole(task, data)


def why_not(task: Task, job: Job, record: Record, overwrite: bool) -> str:
    """Why the target must not be written; "" where it may.

    It may where there is nothing, or an empty file, or what this command wrote, be it damaged since; with `overwrite`
    any file but the source itself. What was written here and is another whole file by now belongs to whoever made that.
    """
    try:
        made = os.stat(job.target)
        if stat.S_ISDIR(made.st_mode):
            return ""  # the writer says so
        if os.path.samestat(made, os.stat(job.source)):
            return f"{job.target} is the same file"
        if not stat.S_ISREG(made.st_mode):
            return f"{job.target} is no regular file"
        if overwrite or made.st_size == 0:
            return ""
        data = Path(job.target).read_bytes()
    except FileNotFoundError:
        return ""
    except OSError as e:
        return f"cannot read {job.target}: {e.strerror}"
    if record.matches(job, data) or (record.knows(job) and not is_whole(task, data)):
        return ""
    return f"{job.target} is there, and is not what jahp batch wrote: --overwrite replaces it"


def may_be_drawn(task: Task, job: Job, record: Record) -> bool:
    """Whether the target, which is nothing recorded, may be a drawing's that a run wrote just before it was killed: encoding tells."""
    if task.direction == "decode" or record.knows(job):
        return False
    try:
        return container.unpack(Path(job.target).read_bytes()).exact is not None
    except (OSError, FormatError):
        return False
