# SPDX-License-Identifier: Apache-2.0
"""benchmarks/search_costs.py: rounds that are left out are counted, others cost what they cost, and the command prints a row a codec."""

import subprocess
import sys
from itertools import count

import pytest
import search_costs
from builders import ROOT

from jahp_fast import Codec
from jahp_fast.search import descent

SHAPE = 48, 64


@pytest.fixture
def ticking(monkeypatch):
    """A clock that goes on by one a look, and schedules that are put back."""
    ticks = count()
    monkeypatch.setattr(search_costs, "process_time", lambda: float(next(ticks)))
    for effort, schedule in descent.SCHEDULES.items():
        monkeypatch.setitem(descent.SCHEDULES, effort, schedule)


@pytest.mark.parametrize(("search", "rounds", "seconds"), [("0", 4, 1), ("1", 4, 1), ("2-eye", 3, 4 + 15), ("3", 2, 3 + 88)])
def test_what_is_left_out_is_counted(ticking, search, rounds, seconds):
    assert search_costs.ours(SHAPE, search, 1, 4.0, rounds).seconds == seconds


def test_files_are_those_of_the_codec(ticking):
    image = search_costs.tiled(*SHAPE)
    for effort, tune in ((0, None), (1, None), (2, "eye")):
        search = f"{effort}-{tune}" if tune else str(effort)
        cost = search_costs.ours(SHAPE, search, 1, 5.0, descent.SCHEDULES[2].rounds)
        assert cost.size == len(Codec(quality=5.0).encode(image, effort, tune=tune))
        assert 2e7 < cost.peak < 2e9


@pytest.mark.slow
def test_command():
    command = [sys.executable, ROOT / "benchmarks" / "search_costs.py", "--megapixels", "0.4", "--searches", "0", "--codecs", "avif"]
    out = subprocess.run([*command, "--threads", "1,2"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split(" |")[0] for line in out[2:]] == [
        "| effort 0, 1 thread",
        "| effort 0, 2 threads",
        "| avif, speed 2, quality 40",
    ]
    assert all(line.count("MB") == 1 for line in out[2:])
