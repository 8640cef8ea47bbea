# SPDX-License-Identifier: Apache-2.0
"""What commands ask of the name of an output before they begin to work."""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
import sys
from collections.abc import Iterable

from jahp_fast.atomic import place
from jahp_fast.errors import JahpError, UsageError

FORCE = "--force replaces it, or chmod u+w"


def force_option(parser: argparse.ArgumentParser) -> None:
    """Declares --force, without which a file that is write-protected is not replaced."""
    parser.add_argument("-f", "--force", action="store_true", help="replace a file that is write-protected, too")


def checked_output(
    path: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str] | None], *, force: bool = False, hint: str = FORCE
) -> None:
    """Sees to it that an output can be written and is none of the inputs, by whatever name, link or hard link.

    Args:
        path: "-" is standard output.
        inputs: files that the command reads; "-" is standard input, None is none.
        force: a regular file that is write-protected may be replaced.
        hint: what to do about a file that is write-protected.

    Raises:
        JahpError: as atomic.place.
        UsageError: the output is one of the inputs.
    """
    name = os.fspath(path)
    there = _standard(sys.stdout) if name == "-" else place(path, force, hint).status
    if there is None or not stat.S_ISREG(there.st_mode):
        return
    for given in inputs:
        if given is None:
            continue
        with contextlib.suppress(OSError, ValueError):  # reading it will tell
            other = _standard(sys.stdin) if given == "-" else os.stat(given)
            if other is not None and os.path.samestat(there, other):
                raise UsageError(f"{_called(given, 'input')} and {_called(name, 'output')} are the same file: choose another output")


def checked_file(path: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str] | None], *, force: bool = False) -> None:
    """As checked_output, for a file that the command reads again: what is there must be a regular file, or nothing."""
    at = place(path, force, FORCE)
    if at.straight:
        raise JahpError(f"cannot write {os.fspath(path)}: it is no regular file, and is to be read again")
    checked_output(path, inputs, force=force)


def in_folder(output: str, source: str, suffix: str) -> str:
    """An existing folder as an output stands for a file in it, with the name of the input and another ending, as for cp.

    Raises UsageError where standard input has no name to go by.
    """
    if output == "-" or not os.path.isdir(output):
        return output
    if source == "-":
        raise UsageError(f"{output} is a folder, and standard input has no name: name a file in it")
    return os.path.join(output, os.path.splitext(os.path.basename(source))[0] + suffix)


def takes_bytes(output: str) -> bool:
    """Whether it is standard output, a device or a pipe, which need no ending. Raises as atomic.place."""
    return output == "-" or place(output, force=True).straight


def _standard(stream: object) -> os.stat_result | None:
    """Of a standard stream; None where it is closed or is no file."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.fstat(stream.fileno())  # type: ignore[attr-defined]
    return None


def _called(name: str | os.PathLike[str], kind: str) -> str:
    return f"standard {kind}" if name == "-" else os.fspath(name)
