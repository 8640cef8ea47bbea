# SPDX-License-Identifier: Apache-2.0
"""docs/reference/cli.md: every command with its arguments, out of the parsers of `jahp` themselves.

python docs/site/cli_page.py     # needs the package; writes the page, which is committed; a test says when it is stale
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from jahp_fast import cli

PAGE = Path(__file__).resolve().parents[1] / "reference" / "cli.md"
HEAD = """# Command line

<!-- Written by `python docs/site/cli_page.py` out of the parsers; change their texts, not this page. -->

`jahp COMMAND --help` says the same. `python -m jahp_fast` is `jahp`. The exit status is 0, or 1
with one line on standard error that begins with `jahp:`.

| variable | means |
|---|---|
| `JAHP_FAST_MODELS` | folders of model files, separated by `:` |
| `JAHP_FAST_BACKEND` | the backend that `auto` stands for |
| `JAHP_FAST_ISA` | the instruction set of the CPU's kernels, such as `scalar` |

"""


def commands() -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Name -> what it does, and its parser; in the order of `jahp --help`."""
    parser = cli._parser(cli._MODULES)
    (group,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    texts = {a.dest: a.help or "" for a in group._choices_actions}
    return {name: (texts[name], found) for name, found in group.choices.items()}


def named(action: argparse.Action) -> str:
    """An argument as it is typed: `-q Q`, `--quality Q`."""
    if isinstance(action.metavar, str):
        value = action.metavar.replace("|", " or ")
    else:
        value = " or ".join(map(str, action.choices)) if action.choices else action.dest.rstrip("_").upper()
    many = " ..." if action.nargs in ("+", "*") else ""
    if not action.option_strings:
        return f"`{value}{many}`"
    return ", ".join(f"`{name}`" if action.nargs == 0 else f"`{name} {value}{many}`" for name in action.option_strings)


def rows(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Lines of a table: positional arguments first, then options; `--help` is left out."""
    actions = [a for a in parser._actions if not isinstance(a, argparse._HelpAction)]
    for action in sorted(actions, key=lambda a: bool(a.option_strings)):
        text = re.sub(r"\s+", " ", (action.help or "").replace("%%", "%")).replace("|", "\\|")
        needed = "(required)" if action.required and action.option_strings else ""
        yield f"| {named(action)} | {' '.join(filter(None, (text, needed)))} |".replace("|  |", "| |")


def page() -> str:
    """The page's text."""
    found = commands()
    parts = [HEAD + "| command | does |\n|---|---|"]
    parts[0] += "".join(f"\n| [`jahp {name}`](#jahp-{name}) | {text} |" for name, (text, _) in found.items())
    parts += [f"## jahp {name}\n\n| argument | means |\n|---|---|\n" + "\n".join(rows(p)) for name, (_, p) in found.items()]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
