# SPDX-License-Identifier: Apache-2.0
"""Files appear whole under their final name, or not at all; what is no regular file is written into as it is.

A symbolic link stays: the file behind it is replaced, or made where the link points to nothing. A file that is
replaced hands on its mode and owner; a new one has what the umask leaves. Where the owner cannot be handed on, because
the writer is not root, the file is the writer's own, without set-user-id and set-group-id; where the group cannot be
handed on either, the group may do no more than everybody may. Access lists and extended attributes are not handed on.
Other names of the file (hard links) keep the old content.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from jahp_fast.errors import JahpError

TEMPORARY = re.compile(r"\.jahp-[0-9a-f]{16}\.tmp")
"""Names of files that are being written, beside the file that they become. They are short, so that they fit wherever
that one does."""
_MOST_LINKS = 40
_BINARY = getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class Place:
    """Where the bytes of an output go.

    Attributes:
        path: the file itself, behind all links.
        status: of what is there; None where nothing is.
        straight: it is written into, not replaced: a device, a pipe, or a file that this process was started with.
        descriptor: of a file that this process has open already, as /dev/stdout; else None.
    """

    path: str
    status: os.stat_result | None
    straight: bool = False
    descriptor: int | None = None


def place(path: str | os.PathLike[str], force: bool = False, hint: str = "chmod u+w makes it writable") -> Place:
    """Looks where `path` leads to. Nothing is opened or changed.

    Args:
        force: a regular file may be write-protected.
        hint: what the message says to do about one that is.

    Raises:
        JahpError: an empty name, a folder, a folder that is missing, a socket, or a file that is write-protected by its
            mode (for root, too).
    """
    name = os.fspath(path)
    try:
        status = os.stat(name)
    except FileNotFoundError:
        status = None
    except (OSError, ValueError) as e:  # ValueError: a NUL byte
        raise JahpError(f"cannot write {name!r}: {e.strerror if isinstance(e, OSError) else e}") from None
    real = os.path.realpath(name)
    if status is None:
        folder = name if not name or name.endswith(("/", os.sep)) else os.path.dirname(real)
        if not name:
            raise JahpError("cannot write a file without a name")
        if folder == name or not os.path.isdir(folder):
            raise JahpError(f"cannot write {name}: there is no folder {folder}")
        return Place(real, None)
    if stat.S_ISDIR(status.st_mode):
        raise JahpError(f"cannot write {name}: it is a folder")
    if stat.S_ISSOCK(status.st_mode):
        raise JahpError(f"cannot write {name}: it is a socket; a program that connects to it can take the bytes from a pipe")
    descriptor = _descriptor(name)
    if descriptor is not None or not stat.S_ISREG(status.st_mode) or not _leads_to(real, status):
        return Place(name, status, True, descriptor)
    if not force and _is_protected(status):
        raise JahpError(f"cannot write {name}: it is write-protected; {hint}")
    return Place(real, status)


def _leads_to(real: str, status: os.stat_result) -> bool:
    """Whether the resolved name is that of the file; it is not for what only /proc still names."""
    with suppress(OSError):
        return os.path.samestat(os.stat(real), status)
    return False


def _descriptor(path: str) -> int | None:
    """N where `path` is, or links to, /dev/fd/N, which on Linux is /proc/self/fd/N."""
    for _ in range(_MOST_LINKS):
        folder, name = os.path.split(os.path.abspath(path))
        folder = os.path.realpath(folder)
        if folder in (f"/proc/{os.getpid()}/fd", "/dev/fd") and name.isdecimal():
            return int(name)
        path = os.path.join(folder, name)
        if not os.path.islink(path):
            return None
        path = os.path.join(folder, os.readlink(path))
    return None


def _is_protected(status: os.stat_result) -> bool:
    """Whether the bits of the mode keep this process from writing; for root: whether they keep everybody."""
    if sys.platform == "win32":
        return not status.st_mode & stat.S_IWRITE
    me = os.geteuid()
    if me == 0:
        wanted = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
    elif me == status.st_uid:
        wanted = stat.S_IWUSR
    else:
        wanted = stat.S_IWGRP if status.st_gid in {os.getegid(), *os.getgroups()} else stat.S_IWOTH
    return not status.st_mode & wanted


def _hand_on(fd: int, old: os.stat_result) -> None:
    """Gives an open file the mode and the owner of the one that it replaces, as far as that is allowed."""
    if sys.platform == "win32":
        return
    mode = stat.S_IMODE(old.st_mode)
    new = os.fstat(fd)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.fchown(fd, old.st_uid, old.st_gid)
        except OSError:
            mode &= ~(stat.S_ISUID | stat.S_ISGID)
            try:
                os.fchown(fd, -1, old.st_gid)
            except OSError:
                mode &= ~0o070 | (mode & 0o007) << 3
    os.fchmod(fd, mode)


@contextmanager
def atomic_file(path: str | os.PathLike[str], force: bool = False) -> Iterator[BinaryIO]:
    """A temporary file beside the file that `path` means, to be written; renamed over it at the end.

    On any failure nothing is left behind. What is no regular file is opened instead and keeps what it got (see the head
    of this module).

    Args:
        force: replace a file that is write-protected, too.

    Raises:
        JahpError: as `place`; the folder cannot be written, the disk is full, or nobody reads the pipe.
    """
    at = place(path, force)
    name = os.fspath(path)
    temporary = None
    try:
        if at.descriptor is not None:
            fd = os.dup(at.descriptor)
        elif at.straight:
            fd = os.open(at.path, os.O_WRONLY | _BINARY)
        else:
            temporary = os.path.join(os.path.dirname(at.path), f".jahp-{secrets.token_hex(8)}.tmp")
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666 if at.status is None else 0o600)
    except OSError as e:
        raise JahpError(f"cannot write {name}: {e.strerror}") from None
    try:
        with os.fdopen(fd, "wb") as f:
            if temporary is not None and at.status is not None:
                _hand_on(fd, at.status)
            yield f
        if temporary is not None:
            os.replace(temporary, at.path)
    except BaseException as e:
        if temporary is not None:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        if isinstance(e, OSError):
            raise JahpError(f"cannot write {name}: {e.strerror}") from None
        raise


def write_atomically(path: str | os.PathLike[str], data: bytes, force: bool = False) -> None:
    """Writes `data` as the whole of a file; see atomic_file."""
    with atomic_file(path, force) as f:
        f.write(data)
