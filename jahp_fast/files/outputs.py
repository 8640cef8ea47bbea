# SPDX-License-Identifier: Apache-2.0
"""What commands ask of the name of an output before they begin to work."""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
import sys
from collections.abc import Iterable
from typing import TextIO

from jahp_fast.arguments import bound_of
from jahp_fast.errors import JahpError, UsageError
from jahp_fast.system.atomic import place

FORCE = "--force replaces it, or chmod u+w"


def save_option(parser: argparse.ArgumentParser) -> None:
    """--save-option, of commands that write pictures."""
    parser.add_argument("--save-option", metavar="NAME=VALUE", action="append", default=[],
                        help="an option of Pillow's writer, like quality=90 for .jpg (default: nearly lossless)")  # fmt: skip


def bound_options(parser: argparse.ArgumentParser) -> None:
    """--lossless and --max-error, of commands that encode; `asked_bound` reads them."""
    parser.add_argument("--lossless", action="store_true", help="keep every pixel")
    parser.add_argument("--max-error", type=int, metavar="K", help="no sample differs by more than K, to 31 (16 bits: 255)")


def asked_bound(args: argparse.Namespace) -> int | None:
    """The bound on errors that a command's options ask for. Raises UsageError, also where there is a quality besides."""
    bound = bound_of(args.lossless, args.max_error)
    if bound is not None and args.quality is not None:
        raise UsageError("-q has no say where --lossless or --max-error has: leave one of them out")
    return bound


def force_option(parser: argparse.ArgumentParser) -> None:
    """Declares --force, without which a file that is write-protected is not replaced."""
    parser.add_argument("-f", "--force", action="store_true", help="replace a file that is write-protected, too")


def checked_output(path: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str] | None], *, force: bool = False) -> None:
    """Sees to it that an output can be written and is none of the inputs.

    Args:
        path: "-" is standard output.
        inputs: as for `apart`.
        force: a regular file that is write-protected may be replaced.

    Raises:
        JahpError: as atomic.place.
        UsageError: as `apart`.
    """
    if path != "-":
        place(path, force, FORCE)
    apart(path, inputs)


def apart(path: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str] | None]) -> None:
    """Raises UsageError where an output is one of the inputs, by whatever name, link or hard link.

    Args:
        path: "-" is standard output.
        inputs: files that the command reads; "-" is standard input, None is none.
    """
    there = _status(path, sys.stdout)
    if there is None or not stat.S_ISREG(there.st_mode):
        return
    for given in inputs:
        other = None if given is None else _status(given, sys.stdin)
        if given is not None and other is not None and os.path.samestat(there, other):
            raise UsageError(f"{_called(given, 'input')} and {_called(path, 'output')} are the same file: choose another output")


def checked_file(path: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str] | None], *, force: bool = False) -> None:
    """As checked_output, for a file that the command reads again: what is there must be a regular file, or nothing."""
    at = place(path, force, FORCE)
    if at.straight:
        raise JahpError(f"cannot write {os.fspath(path)}: it is no regular file, and is to be read again")
    checked_output(path, inputs, force=force)


def in_folder(output: str, source: str, suffix: str) -> str:
    """An existing folder as an output stands for a file in it, named as the input with another ending, as for cp.

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


def _status(path: str | os.PathLike[str], stream: TextIO | None) -> os.stat_result | None:
    """Of a file, or for "-" of a standard stream; None where there is none."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream may be closed, or no file
        return os.stat(path) if path != "-" else os.fstat(stream.fileno()) if stream is not None else None
    return None


def _called(name: str | os.PathLike[str], kind: str) -> str:
    return f"standard {kind}" if name == "-" else os.fspath(name)
