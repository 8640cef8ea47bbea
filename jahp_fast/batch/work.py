# SPDX-License-Identifier: Apache-2.0
"""What is done to one file, in whatever process it is done."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError

from jahp_fast import _native
from jahp_fast.atomic import write_atomically
from jahp_fast.errors import JahpError, UnsupportedImage
from jahp_fast.integrations.local import Settings, codec_for

METADATA = ("icc_profile", "exif", "xmp")


@dataclass(frozen=True)
class Task:
    """What is done to every file. Can be pickled.

    Attributes:
        codec: of integrations.local.
        suffix: of the files that are written, with its dot.
    """

    direction: Literal["encode", "decode"]
    codec: Settings
    suffix: str


@dataclass(frozen=True)
class Job:
    """One file. name: its path below the source folder, for the reader."""

    name: str
    source: str
    target: str


@dataclass(frozen=True)
class Outcome:
    """What became of a job. error: the class of what was wrong, "" where nothing was; sizes in bytes.

    crc32c: of what was written.
    """

    job: Job
    error: str = ""
    message: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    crc32c: int = 0


def process(task: Task, job: Job) -> Outcome:
    """Reads, codes, and writes the target whole or not at all. What is wrong with the file or the disk is told, not raised."""
    try:
        data = Path(job.source).read_bytes()
        out = _encoded(task, job, data) if task.direction == "encode" else _decoded(task, job, data)
        os.makedirs(os.path.dirname(job.target), exist_ok=True)
        write_atomically(job.target, out)
    except JahpError as e:
        return Outcome(job, type(e).__name__, str(e))
    except OSError as e:
        return Outcome(job, type(e).__name__, f"cannot read or write: {e.strerror or e}")
    except MemoryError:
        return Outcome(job, "MemoryError", "not enough memory")
    return Outcome(job, bytes_in=len(data), bytes_out=len(out), crc32c=_native.crc32c(out))


def _encoded(task: Task, job: Job, data: bytes) -> bytes:
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as e:
        reason = "Pillow knows no such format" if isinstance(e, UnidentifiedImageError) else e
        raise UnsupportedImage(f"not an image that can be read: {reason}") from None
    return codec_for(task.codec).encode(image)


def _decoded(task: Task, job: Job, data: bytes) -> bytes:
    image = codec_for(task.codec).decode_pil(data)
    buffer = io.BytesIO()
    kind = Image.registered_extensions()[task.suffix]
    try:
        image.save(buffer, kind, **{name: value for name, value in image.info.items() if name in METADATA})
    except (OSError, ValueError) as e:
        raise UnsupportedImage(f"cannot be written as {kind}: {e}; png always works") from None
    return buffer.getvalue()
