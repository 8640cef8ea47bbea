# SPDX-License-Identifier: Apache-2.0
"""What is done to one file, in whatever process it is done."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jahp_fast import _native
from jahp_fast.errors import JahpError, LossWarning, UsageError
from jahp_fast.files import pictures
from jahp_fast.files.container import unpack
from jahp_fast.files.png import PngWriter
from jahp_fast.files.view import View
from jahp_fast.local import Settings, codec_for
from jahp_fast.system.atomic import write_atomically


@dataclass(frozen=True)
class Task:
    """What is done to every file. Can be pickled.

    Attributes:
        codec: of jahp_fast.local.
        suffix: of the files that are written, with its dot.
        auto_orient: pixels are turned as the orientation says before they are encoded.
        max_error: encode exact pixels, to within so much; 0 is lossless, None is none of it.
        save_options: Pillow's, name and value, of the files that decoding writes.
    """

    direction: Literal["encode", "decode"]
    codec: Settings
    suffix: str
    auto_orient: bool = False
    max_error: int | None = None
    save_options: Sequence[tuple[str, Any]] = ()


@dataclass(frozen=True)
class Job:
    """One file.

    Attributes:
        name: its path below the source folder, for the reader.
        otherwise: what is wrong if the target, which is there and stays, is not what comes out; "" where the target is written.
    """

    name: str
    source: str
    target: str
    otherwise: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a job. error: the class of what was wrong, "" where nothing was; sizes in bytes.

    crc32c: of what was written. notes: what it is not, and somebody may want to know.
    """

    job: Job
    error: str = ""
    message: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    crc32c: int = 0
    notes: Sequence[str] = ()


def process(task: Task, job: Job) -> Outcome:
    """Reads, codes, and writes the target whole or not at all. What is wrong with the file or the disk is told, not raised."""
    try:
        with pictures.noted() as notes:
            data = Path(job.source).read_bytes()
            out = _encoded(task, job, data) if task.direction == "encode" else _decoded(task, job, data)
        if job.otherwise:
            if Path(job.target).read_bytes() != out:
                return Outcome(job, "NotWritten", job.otherwise)
        else:
            os.makedirs(os.path.dirname(job.target), exist_ok=True)
            write_atomically(job.target, out)
    except JahpError as e:
        return Outcome(job, type(e).__name__, str(e))
    except OSError as e:
        return Outcome(job, type(e).__name__, f"cannot read or write: {e.strerror or e}")
    except MemoryError:
        return Outcome(job, "MemoryError", "not enough memory")
    return Outcome(job, bytes_in=len(data), bytes_out=len(out), crc32c=_native.crc32c(out), notes=tuple(notes))


def _encoded(task: Task, job: Job, data: bytes) -> bytes:
    image = pictures.read_all(data, job.name)
    if task.auto_orient:
        image = pictures.turned(image, job.name)
    return codec_for(task.codec).encode(image, max_error=task.max_error)


def _decoded(task: Task, job: Job, data: bytes) -> bytes:
    kind = pictures.format_of(task.suffix)
    if kind is None:
        raise UsageError(f"Pillow writes no format of the ending {task.suffix}; png always works")
    stream, codec = unpack(data), codec_for(task.codec)
    if stream.depth > 8 and kind == "PNG" and not task.save_options:
        written = io.BytesIO()
        writer = PngWriter.of_view(written.write, stream, View.whole(stream.height, stream.width), 16)
        for block in codec.decode_rows(data):
            writer.take(block)
        return written.getvalue()
    if stream.depth > 8:
        warnings.warn(LossWarning(pictures.CUT.format(kind)), stacklevel=1)
    return pictures.saved(codec.decode_pil(data), kind, job.name, dict(task.save_options))
