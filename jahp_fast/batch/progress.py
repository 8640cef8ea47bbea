# SPDX-License-Identifier: Apache-2.0
"""What a run says while it runs, on standard error: one line that is written over in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque

EVERY_TTY_S, EVERY_S = 0.2, 10.0
WINDOW_S = 30.0
"""The rate is that of the last so many seconds."""


class Progress:
    """Counts outcomes. total: files of the run, those done before included."""

    def __init__(self, total: int) -> None:
        self._total, self.done, self.skipped, self.failed = total, 0, 0, 0
        self.bytes_in = self.bytes_out = 0
        self.started = time.monotonic()
        self._marks: deque[tuple[float, int]] = deque([(self.started, 0)])
        self._tty = sys.stderr.isatty()
        self._next = 0.0 if self._tty else self.started + EVERY_S

    def _rate(self, now: float) -> float:
        finished = self.done + self.failed
        self._marks.append((now, finished))
        while len(self._marks) > 2 and now - self._marks[0][0] > WINDOW_S:
            self._marks.popleft()
        first, before = self._marks[0]
        return (finished - before) / max(now - first, 1e-9)

    def line(self, now: float) -> str:
        """Counts, files a second, and the time that is left at that rate."""
        left = self._total - self.done - self.skipped - self.failed
        rate = self._rate(now)
        rest = f"{_clock(left / rate)} left" if rate > 0 else "? left"
        parts = [f"{self.done + self.skipped + self.failed}/{self._total} files", f"{rate:.1f}/s", rest]
        return ", ".join(parts + ([f"{self.failed} failed"] if self.failed else []))

    def show(self) -> None:
        """Writes the line if it is time to."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (EVERY_TTY_S if self._tty else EVERY_S)
        text = self.line(now)
        print(f"\r\033[K{text}" if self._tty else f"jahp batch: {text}", end="" if self._tty else "\n", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leaves an empty line in a terminal."""
        if self._tty:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
