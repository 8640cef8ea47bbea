# SPDX-License-Identifier: Apache-2.0
"""The blocks of docs/integrations.md run, in order, in one folder; its links lead somewhere; the tests that it names exist."""

import os
import re
import sys
from pathlib import Path

from PIL import Image
from test_readme import FENCED, run_shell

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "integrations.md").read_text()


def test_blocks_run(tmp_path, photo_crop, monkeypatch):
    Image.fromarray(photo_crop).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    namespace: dict[str, object] = {"__name__": "integrations"}
    ran = []
    for match in FENCED.finditer(PAGE):
        language, code = match.groups()
        line = PAGE.count("\n", 0, match.start()) + 1
        if language == "python":
            exec(compile("\n" * line + code, "docs/integrations.md", "exec"), namespace)
        elif language == "sh":
            run_shell(code, f"docs/integrations.md line {line}")
        ran.append(language)
    assert ran.count("python") == 5
    assert ran.count("sh") == 1
    assert set(ran) <= {"python", "sh", "text"}


def test_links_and_tests_exist():
    headings = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^## (.*)$", PAGE, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= headings
    named = set(re.findall(r"`((?:tests|benchmarks)/\w+\.py)`", PAGE))
    assert len(named) >= 5
    for name in named:
        assert (ROOT / name).is_file(), name


