# SPDX-License-Identifier: Apache-2.0
"""What the packages say of themselves agrees: versions, Pythons, the citation. check_packages.py builds and installs them."""

import re
import tomllib

from builders import ROOT

import jahp_fast

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_one_version():
    cmake = re.search(r"project\(jahp_fast VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert {cmake[1], citation[1], PROJECT["project"]["version"]} == {jahp_fast.__version__}


def test_wheels_are_built_for_every_python_that_is_claimed():
    built = set(re.findall(r"cp3(\d+)-\*", PROJECT["tool"]["cibuildwheel"]["build"]))
    claimed = {m[1] for c in PROJECT["project"]["classifiers"] if (m := re.fullmatch(r"Programming Language :: Python :: 3\.(\d+)", c))}
    assert claimed <= built
    assert min(map(int, built)) == int(PROJECT["project"]["requires-python"].removeprefix(">=3."))
    command = " ".join(PROJECT["tool"]["cibuildwheel"]["test-command"])
    for name in re.findall(r"\{project\}/(\S+)", command):
        assert (ROOT / name).is_file()


def test_wheels_are_built_for_musl_and_for_python_without_its_lock():
    settings = PROJECT["tool"]["cibuildwheel"]
    assert "cp314t-*" in settings["build"].split()
    assert not re.search(r"musllinux|t-\*|cp314", settings["skip"])
    assert {settings["linux"][f"{kind}-{cpu}-image"] for kind in ("manylinux", "musllinux") for cpu in settings["linux"]["archs"]} == {
        "manylinux_2_28", "musllinux_1_2"
    }  # fmt: skip


def test_the_sdist_leaves_environments_and_builds_out():
    assert {".venv*", "build"} <= set(PROJECT["tool"]["scikit-build"]["sdist"]["exclude"])
