# SPDX-License-Identifier: Apache-2.0
"""docs/figures.toml, the one home of every current figure: how pages and README read it, and how commands write it.

A table is one run of one command, and gives what all its figures share:

    [kodak]
    command = "jahp eval KODAK --out REPORT"
    machine = "zen4"
    date = 2026-11-26
    [kodak.figures]
    jpeg420_psnr = { value = -51.8, unit = "%" }

A page of docs/ says {figure:kodak.jpeg420_psnr} and the site has "-51.8 %" there. A cell of a table in README.md is
`-51.8 % <!-- figure:kodak.jpeg420_psnr -->`, with the unit or without it; `stale` names the cells that differ.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

PLACEHOLDER = re.compile(r"\{figure:([a-z0-9_.-]+)\}")
CELL = re.compile(r"([^|\n]*?)[ ]*<!-- figure:([a-z0-9_.-]+) -->")
HEAD = re.compile(r"^\[([^\]\n]+)\][ \t]*$", re.MULTILINE)
RUN_NAME = re.compile(r"[a-z][a-z0-9_-]*")
RUN_FIELDS = {"command", "machine", "date", "figures"}


class FiguresError(ValueError):
    """The file, or what was asked of it, is not as this module's text says. The message names the entry."""


@dataclass(frozen=True)
class Figure:
    """One figure.

    value: with the digits that are in the file; unit: "" for a plain number; machine: a name of docs/lab/machines.md.
    """

    value: Decimal
    unit: str
    command: str
    machine: str
    date: datetime.date

    @property
    def number(self) -> str:
        return f"{self.value:,}"

    def __str__(self) -> str:
        return f"{self.number} {self.unit}".rstrip()


def read(path: Path) -> dict[str, Figure]:
    """ "run.figure" -> Figure. Raises FiguresError where a field is missing, empty, unknown or of another kind."""
    try:
        runs = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise FiguresError(f"{path.name}: {error}") from error
    found = {}
    for name, run in runs.items():
        if not RUN_NAME.fullmatch(name) or not isinstance(run, dict) or run.keys() != RUN_FIELDS:
            raise FiguresError(f"{path.name}: [{name}] wants {', '.join(sorted(RUN_FIELDS))}, and nothing else")
        for field in ("command", "machine"):
            if not isinstance(run[field], str) or not run[field].strip():
                raise FiguresError(f"{path.name}: [{name}] has no {field}")
        if type(run["date"]) is not datetime.date:
            raise FiguresError(f"{path.name}: the date of [{name}] is no date")
        if not isinstance(run["figures"], dict) or not run["figures"]:
            raise FiguresError(f"{path.name}: [{name}] has no figures")
        for key, entry in run["figures"].items():
            if not RUN_NAME.fullmatch(key) or not isinstance(entry, dict) or entry.keys() != {"value", "unit"}:
                raise FiguresError(f"{path.name}: {name}.{key} wants value and unit, and nothing else")
            value, unit = entry["value"], entry["unit"]
            if isinstance(value, bool) or not isinstance(value, int | Decimal) or not isinstance(unit, str):
                raise FiguresError(f"{path.name}: {name}.{key} wants a number and a text as its unit")
            found[f"{name}.{key}"] = Figure(Decimal(value), unit, run["command"], run["machine"], run["date"])
    return found


def filled(text: str, figures: Mapping[str, Figure], page: str) -> str:
    """`text` with each placeholder as value and unit. Raises FiguresError where there is no such figure."""

    def one(match: re.Match[str]) -> str:
        if match[1] not in figures:
            raise FiguresError(f"{page}: docs/figures.toml has no {match[1]}")
        return str(figures[match[1]])

    return PLACEHOLDER.sub(one, text)


def stale(text: str, figures: Mapping[str, Figure]) -> list[str]:
    """Cells of a page's tables that carry a figure's name and say something else, each in a sentence."""
    found = []
    for said, name in CELL.findall(text):
        if name not in figures:
            found.append(f"docs/figures.toml has no {name}")
        elif said.strip(" *") not in {str(figures[name]), figures[name].number}:
            found.append(f"{name} is {figures[name]}, not {said.strip(' *')!r}")
    return found


def write(
    path: Path,
    run: str,
    values: Mapping[str, tuple[float, int, str]],
    *,
    command: str,
    machine: str,
    date: datetime.date,
) -> None:
    """Puts one run in place of the one of that name, or at the end; the rest of the file stays as it is.

    values: name -> (value, digits behind the point, unit). Raises FiguresError where a name or a value cannot be read
    back; the file is then as it was.
    """
    for key, (value, _, _) in values.items():
        if not RUN_NAME.fullmatch(key) or not math.isfinite(value):
            raise FiguresError(f"{run}.{key}: {value} cannot be written")
    if not RUN_NAME.fullmatch(run) or not values:
        raise FiguresError(f"[{run}] cannot be written: a name of lower-case letters and a figure are wanted")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    heads = [*HEAD.finditer(text)]
    ours = [i for i, head in enumerate(heads) if head[1].split(".")[0] == run]
    start = heads[ours[0]].start() if ours else len(text)
    after = [head.start() for head in heads[ours[-1] + 1 :]] if ours else []
    entry = [
        f"[{run}]",
        f"command = {json.dumps(command, ensure_ascii=False)}",
        f"machine = {json.dumps(machine, ensure_ascii=False)}",
        f"date = {date}",
        f"[{run}.figures]",
    ]
    for key, (value, digits, unit) in values.items():
        entry.append(f"{key} = {{ value = {value:.{digits}f}, unit = {json.dumps(unit, ensure_ascii=False)} }}")
    before, rest = text[:start].rstrip(), text[after[0] :].rstrip() if after else ""
    new = path.with_name(f"{path.name}.tmp")
    try:
        new.write_text("\n\n".join(part for part in (before, "\n".join(entry), rest) if part) + "\n", encoding="utf-8")
        read(new)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
