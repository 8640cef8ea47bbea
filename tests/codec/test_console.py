# SPDX-License-Identifier: Apache-2.0
"""The line of progress: on a terminal it is written over, elsewhere it comes seldom."""

import io
import time

from jahp_fast.system.console import ProgressLine, clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_a_line_replaces_the_one_before(monkeypatch):
    now, stream = [50.0], Terminal()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    line = ProgressLine(stream, often=1.0, seldom=30.0)
    for text in ("a", "b"):
        line.show(text)  # the second comes too early
    now[0] += 1
    line.show(lambda: "c")
    line.say("stays")
    line.clear()
    assert stream.getvalue() == "\r\x1b[Ka\r\x1b[Kc\r\x1b[Kstays\n"


def test_elsewhere_a_line_comes_now_and_then(monkeypatch):
    now, stream = [50.0], io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    line = ProgressLine(stream, often=1.0, seldom=30.0, wait=True)
    line.show("early")
    now[0] += 30
    line.show("in time")
    line.clear()
    assert stream.getvalue() == "in time\n"


def test_times_are_read_as_people_write_them():
    assert [clock(s) for s in (-1, 0, 61, 3600 + 62)] == ["0:00", "0:00", "1:01", "1:01:02"]
