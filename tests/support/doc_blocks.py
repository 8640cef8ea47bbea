# SPDX-License-Identifier: Apache-2.0
"""The code blocks of a page: what runs, and what says why it does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCED = re.compile(r"^(?:<!-- not run: (?P<reason>[^\n]+?) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = ("sh", "console")
EXECUTED = ("python", *SHELL)
COMMAND = re.compile(r"^(?:\$ )?(?:\S+=\S+ )*(?:\.venv/bin/)?(?:jahp|make|pip|python3?|pytest|cmake|ray|torchrun)\s+\S", re.MULTILINE)
"""A line that somebody would type."""


@dataclass(frozen=True)
class Block:
    """reason: why it does not run, or None."""

    page: str
    line: int
    language: str
    code: str
    reason: str | None


def pages() -> list[str]:
    """Every page that readers get, by its path from the root."""
    root = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "benchmarks/README.md", "examples/README.md")
    return [*root, *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    return [
        Block(page, text.count("\n", 0, m.start("code")), m["language"], m["code"], m["reason"])
        for m in FENCED.finditer(text)
    ]  # fmt: skip


def indented_commands(page: str) -> list[str]:
    """Commands in blocks without a fence, where no test would see them."""
    rest = FENCED.sub("", (ROOT / page).read_text())
    return [line.strip() for line in re.findall(r"^    (\S.*)$", rest, re.MULTILINE) if COMMAND.match(line)]


def run_shell(code: str, place: str) -> None:
    commands = "\n".join(line.removeprefix("$ ") for line in code.splitlines())
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{place}:\n{code}\n{done.stdout}{done.stderr}"


def run_page(page: str) -> list[Block]:
    """Runs the page's blocks in order, Python in one namespace, in the current folder; returns those that ran."""
    namespace: dict[str, object] = {"__name__": Path(page).stem}
    ran = []
    for block in blocks(page):
        if block.language not in EXECUTED or block.reason:
            continue
        if block.language == "python":
            exec(compile("\n" * block.line + block.code, page, "exec"), namespace)
        else:
            run_shell(block.code, f"{page} line {block.line}")
        ran.append(block)
    return ran


def prepare(folder: Path, photo: object, monkeypatch: object) -> None:
    """A folder with photo.png in it becomes the current one; the `jahp` of this environment stands first on PATH."""
    from PIL import Image

    Image.fromarray(photo).save(folder / "photo.png")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
