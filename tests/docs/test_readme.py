# SPDX-License-Identifier: Apache-2.0
"""The README's blocks run, in order, in one folder with a small photo, and leave what they say; the Makefile has the targets named."""

import re

from doc_blocks import ROOT, prepare, run_page
from PIL import Image

README = (ROOT / "README.md").read_text()


def test_blocks_run(tmp_path, photo_crop, monkeypatch):
    prepare(tmp_path, photo_crop, monkeypatch)
    ran = [block.language for block in run_page("README.md")]
    assert ran.count("python") >= 1
    assert ran.count("sh") >= 1
    written = {path.name for path in tmp_path.iterdir()}
    assert {"photo.jahp", "small.jahp", "back.png", "encoded", "decoded.png"} <= written
    with Image.open("back.png") as back, Image.open("photo.png") as original:
        assert back.size == original.size


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text() + (ROOT / "checks.mk").read_text()
    targets = set(re.findall(r"^([\w-]+(?: [\w-]+)*):", makefile, re.MULTILINE))
    names = {name for group in targets for name in group.split()}
    pages = [README, (ROOT / "CONTRIBUTING.md").read_text()]
    mentioned = {name for page in pages for name in re.findall(r"(?:^|`)make ([a-z0-9-]+)", page, re.MULTILINE)}
    assert {"demo", "test"} <= mentioned
    assert mentioned <= names
