# SPDX-License-Identifier: Apache-2.0
"""What is installed is what is pinned: hashes stand beside every pin of the package and of the test runner."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", re.MULTILINE)


def pins(name):
    """Package, as indexes spell it -> version."""
    return {re.sub(r"[-_.]+", "-", p).lower(): v for p, v in PIN.findall((ROOT / name).read_text())}


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_locks_agree_with_the_pins(name):
    wanted, locked = pins(f"{name}.txt"), pins(f"{name}.lock")
    if name == "requirements-dev":
        wanted = {p: v for p, v in wanted.items() if p in ("pytest", "pytest-benchmark", "pytest-xdist", "hypothesis")}
        assert len(wanted) == 4
    assert {p: locked.get(p) for p in wanted} == wanted, "run `make lock`"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_locked_package_has_hashes(name):
    text = (ROOT / name).read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) == len(pins(name)) > 3
    for entry in entries:
        assert PIN.match(entry), entry[:80]
        assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry)) >= 2, entry[:80]  # a wheel and the sources, or more


def test_the_locks_have_what_the_package_declares():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    assert {re.split(r"[><=!~ ;\[]", d)[0].lower().replace("_", "-") for d in declared} <= set(pins("requirements.lock"))


def test_both_locks_install_together():
    one, two = pins("requirements.lock"), pins("requirements-dev.lock")
    assert {p: v for p, v in one.items() if p in two} == {p: v for p, v in two.items() if p in one}
