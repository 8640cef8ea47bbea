# SPDX-License-Identifier: Apache-2.0
"""The blocks of docs/guide/integrations.md run, in order, in one folder; the tests that it names exist."""

import re

from doc_blocks import ROOT, prepare, run_page

PAGE = (ROOT / "docs" / "guide" / "integrations.md").read_text()


def test_blocks_run(tmp_path, photo_crop, monkeypatch):
    prepare(tmp_path, photo_crop, monkeypatch)
    ran = [block.language for block in run_page("docs/guide/integrations.md")]
    assert ran.count("python") == 5
    assert ran.count("sh") == 1


def test_the_tests_that_it_names_exist():
    named = set(re.findall(r"`((?:tests|benchmarks)/\w+\.py)`", PAGE))
    assert len(named) >= 5
    for name in named:
        assert (ROOT / name).is_file(), name
