# SPDX-License-Identifier: Apache-2.0
"""Files appear whole under their final name, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from jahp_fast.errors import JahpError


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A temporary file beside `path`, to be written; renamed over `path` at the end. On any failure nothing is left behind.

    Raises:
        JahpError: the folder is missing or cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as e:
        raise JahpError(f"cannot write {path}: {e.strerror}") from None
    try:
        with os.fdopen(fd, "wb") as f:
            yield f
        os.replace(temporary, path)
    except BaseException as e:
        os.unlink(temporary)
        if isinstance(e, OSError):
            raise JahpError(f"cannot write {path}: {e.strerror}") from None
        raise


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes `data` as the whole of a file; see atomic_file."""
    with atomic_file(path) as f:
        f.write(data)
