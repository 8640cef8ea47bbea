# SPDX-License-Identifier: Apache-2.0
"""docs/lab: every experiment has its sections, stands in the index, names a machine that is defined, and a command."""

import re
from datetime import date

import pytest
from doc_blocks import ROOT, blocks

LAB = ROOT / "docs" / "lab"
SECTIONS = ["Question", "Setup", "Command", "Result", "Decision", "Date"]


def experiments(lab):
    return sorted(path for path in lab.glob("*.md") if path.name[0].isdigit())


def sections(text):
    return dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))


def faults(path, machines):
    """What an experiment's page lacks, in words."""
    parts = sections(path.read_text(encoding="utf-8"))
    found = []
    if list(parts) != SECTIONS:
        found.append(f"sections {list(parts)}")
    found += [f"nothing below {name}" for name, text in parts.items() if not text.strip()]
    if not any(block.language == "sh" for block in blocks(path)):
        found.append("no command")
    if not re.search(r"^\|", parts.get("Result", ""), re.MULTILINE):
        found.append("no table")
    named = re.findall(r"\[`([a-z0-9-]+)`\]\(machines\.md\)", parts.get("Setup", ""))
    if set(named) - machines:
        found.append(f"machines {named}")
    days = re.findall(r"\d{4}-\d\d-\d\d", parts.get("Date", ""))
    if not days or not all(date.fromisoformat(day) for day in days):
        found.append("no date")
    return found


def defined(lab):
    return set(re.findall(r"^## `([a-z0-9-]+)`", (lab / "machines.md").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("path", experiments(LAB), ids=lambda path: path.stem)
def test_an_experiment_has_its_parts(path):
    assert faults(path, defined(LAB)) == []


def test_numbers_follow_one_another_and_the_index_has_them_all():
    pages = experiments(LAB)
    assert [int(path.name[:3]) for path in pages] == list(range(1, len(pages) + 1))
    index = (LAB / "index.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d{3}) \| \[(.*?)\]\((.*?)\) \| \S.* \|$", index, re.MULTILINE)
    titles = [path.read_text(encoding="utf-8").split("\n")[0].removeprefix("# ") for path in pages]
    assert rows == [(path.name[:3], title, path.name) for path, title in zip(pages, titles, strict=True)]


def test_dates_rise_with_the_numbers():
    days = [sections(path.read_text(encoding="utf-8"))["Date"].strip()[:10] for path in experiments(LAB)]
    assert days == sorted(days)


GOOD = """# Does it?

## Question

Does it?

## Setup

Machine [`a1`](machines.md).

## Command

<!-- not run: a timing, minutes -->
```sh
pytest benchmarks
```

## Result

| a | b |
|---|---|
| 1 | 2 |

## Decision

It does.

## Date

2026-11-24
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Machine", "Machine", None),
        ("## Decision", "## Conclusion", "sections"),
        ("It does.", "", "nothing below Decision"),
        ("```sh", "```text", "no command"),
        ("| 1 | 2 |", "1 and 2", None),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "1 and 2", "no table"),
        ("`a1`", "`b2`", "machines"),
        ("2026-11-24", "today", "no date"),
    ],
)
def test_what_lacks_is_named(tmp_path, old, new, said):
    page = tmp_path / "001-does-it.md"
    page.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    found = faults(page, {"a1"})
    assert not found if said is None else any(said in fault for fault in found)
