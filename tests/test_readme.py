# SPDX-License-Identifier: Apache-2.0
"""The README's `python` and `sh` blocks run, in order, in one folder with a small photo; its links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXECUTED = ("python", "sh", "console")


@pytest.fixture
def folder(tmp_path, photo_crop, monkeypatch):
    """A folder with photo.png in it; the `jahp` of this environment stands first on PATH."""
    Image.fromarray(photo_crop).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def run_shell(code, place):
    commands = "\n".join(line.removeprefix("$ ") for line in code.splitlines())
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{place}:\n{code}\n{done.stdout}{done.stderr}"


def test_blocks_run(folder):
    namespace: dict[str, object] = {"__name__": "readme"}
    counts = dict.fromkeys(EXECUTED, 0)
    for match in FENCED.finditer(README):
        language, code = match.groups()
        place = f"README.md line {README.count(chr(10), 0, match.start()) + 1}"
        if language == "python":
            exec(compile("\n" * README.count("\n", 0, match.start() + 1) + code, "README.md", "exec"), namespace)
        elif language in EXECUTED:
            run_shell(code, place)
        if language in counts:
            counts[language] += 1
    assert counts["python"] >= 4
    assert counts["sh"] >= 3
    written = {path.name for path in folder.iterdir()}
    assert {"photo.jahp", "back.png", "decoded.png", "reference.png", "scalar.png", "piped.png"} <= written
    with Image.open("back.png") as back, Image.open("photo.png") as original:
        assert back.size == original.size


def test_every_block_has_a_known_language():
    assert {language for language, _ in FENCED.findall(README)} <= {*EXECUTED, "text"}


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([\w-]+(?: [\w-]+)*):", makefile, re.MULTILINE))
    names = {name for group in targets for name in group.split()}
    pages = [README, (ROOT / "CONTRIBUTING.md").read_text()]
    mentioned = {name for page in pages for name in re.findall(r"(?:^|`)make ([a-z-]+)", page, re.MULTILINE)}
    assert {"demo", "test"} <= mentioned
    assert mentioned <= names


@pytest.mark.parametrize(
    "page",
    ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "docs/design.md", "docs/format.md", "docs/training.md",
     "docs/integrations.md"],
)
def test_links_lead_to_files(page):
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if not target.startswith("https://"):
            assert (path.parent / target).exists(), f"{page}: {target}"
