# SPDX-License-Identifier: Apache-2.0
"""What a run says while it runs, on standard error: one line that is written over in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections import deque

from jahp_fast.system.console import ProgressLine, clock

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
        self._line = ProgressLine(often=EVERY_TTY_S, seldom=EVERY_S, wait=True)

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
        rest = f"{clock(left / rate)} left" if rate > 0 else "? left"
        parts = [f"{self.done + self.skipped + self.failed}/{self._total} files", f"{rate:.1f}/s", rest]
        return ", ".join(parts + ([f"{self.failed} failed"] if self.failed else []))

    def show(self) -> None:
        """Writes the line if it is time to."""
        self._line.show(lambda: ("" if self._line.live else "jahp batch: ") + self.line(time.monotonic()))

    def clear(self) -> None:
        """Leaves an empty line in a terminal."""
        self._line.clear()
