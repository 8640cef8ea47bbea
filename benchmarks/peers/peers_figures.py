# SPDX-License-Identifier: Apache-2.0
"""What peers.py measured, as entries of docs/figures.toml: a run for each measurement, under the names of its JSON."""

from __future__ import annotations

import datetime
import math
import sys
from collections.abc import Mapping
from pathlib import Path

from jahp_fast.errors import UsageError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "figures"))
import figures  # a neighbour, not a package

DIGITS = 3  # significant ones: runs of one hour differ in the third


def entry(name: str, value: float) -> tuple[float, int, str]:
    """(value, digits behind the point, unit) of a key of the JSON, for figures.write; times below a second in ms."""
    if "bytes" in name:
        return value, 0, "bytes"
    if "ns_per_symbol" in name:
        unit = "ns per symbol"
    elif name.endswith("_per_s"):
        unit = "per second"
    else:
        share = "_over_" in name or name.endswith("_ceiling")  # of g_s, too
        unit = "s" if (name.endswith("_s") or "_s_" in name) and not share else ""
    if unit == "s" and value < 1:
        value, unit = 1000 * value, "ms"
    before = math.floor(math.log10(abs(value))) + 1 if value else 1
    return value, max(0, DIGITS - before), unit


def write(path: Path, measured: Mapping[str, Mapping[str, float]], rounds: int, machine: str) -> None:
    """Puts each measurement (its name in --only -> its part of the JSON) in place of the file's run "peers-NAME"."""
    for name, result in measured.items():
        values = {key: entry(key, value) for key, value in result.items()}
        command = f"python benchmarks/peers/peers.py --only {name} --rounds {rounds}"
        try:
            figures.write(path, f"peers-{name}", values, command=command, machine=machine, date=datetime.date.today())
        except figures.FiguresError as error:
            raise UsageError(f"--figures {path}: {error}") from error
