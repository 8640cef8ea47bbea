# SPDX-License-Identifier: Apache-2.0
"""What every command does at a terminal: errors in one line, a line of progress, times as people read them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import NoReturn, TextIO

from jahp_fast.errors import JahpError, UsageError, one_line

_EMPTY = "\r\x1b[K"


class Parser(argparse.ArgumentParser):
    """Wrong arguments are errors like all others: one line, exit status 1."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def exit_status(run: Callable[[], int]) -> int:
    """What `run` returns, or 1 with one line on standard error where bad input, memory or Ctrl-C ended it."""
    try:
        return run()
    except JahpError as e:
        print(f"jahp: {one_line(e)}", file=sys.stderr)
    except MemoryError:
        print("jahp: there is not enough memory for this image", file=sys.stderr)
    except KeyboardInterrupt:
        print("jahp: interrupted", file=sys.stderr)
    return 1


class ProgressLine:
    """On a terminal one line that is written over; elsewhere a line now and then.

    Args:
        stream: standard error by default.
        often: seconds between two lines on a terminal, at least.
        seldom: elsewhere.
        wait: whether the first line, too, waits for `seldom` elsewhere.
    """

    def __init__(self, stream: TextIO | None = None, often: float = 0.0, seldom: float = 0.0, wait: bool = False) -> None:
        self._stream = sys.stderr if stream is None else stream
        self.live = self._stream.isatty()
        self._pause = often if self.live else seldom
        self._next = time.monotonic() + seldom if wait and not self.live else 0.0
        self._shown = False

    def show(self, line: str | Callable[[], str]) -> None:
        """A line, or what makes one, if it is time for it."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._pause
        self._shown = self.live
        text = line if isinstance(line, str) else line()
        self._write(f"{_EMPTY}{text}" if self.live else text + "\n")

    def say(self, line: str) -> None:
        """A line that stays."""
        self.clear()
        self._write(line + "\n")

    def clear(self) -> None:
        """Takes the line away again, on a terminal."""
        if self._shown:
            self._shown = False
            self._write(_EMPTY)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def clock(seconds: float) -> str:
    """h:mm:ss, or m:ss below an hour."""
    minutes, s = divmod(max(0, round(seconds)), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"
