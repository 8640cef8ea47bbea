# SPDX-License-Identifier: Apache-2.0
"""Builds the wheel twice, from copies of the sources in two folders of other names and another time of day, and compares the bytes.

    PYTHONPATH=tests/support:tests python tests/checks/check_reproducible.py

The wheel of CPUs, without the CUDA extension. SOURCE_DATE_EPOCH is the time of the last commit, as a release sets it. Exits with 1,
naming the files that differ, if any does.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def output(*command: str) -> str:
    return subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout


def build(folder: Path, commit: str, epoch: str, mask: int) -> Path:
    """A wheel of a commit's sources, built in that folder under that umask."""
    source = folder / "sources"
    source.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", commit], check=True, cwd=ROOT, capture_output=True).stdout
    old = os.umask(mask)
    subprocess.run(["tar", "-x", "-m"], check=True, cwd=source, input=archive)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-Ccmake.define.JAHP_CUDA=OFF",
               "-w", str(folder), str(source)]  # fmt: skip
    subprocess.run(command, check=True, env=os.environ | {"SOURCE_DATE_EPOCH": epoch})
    os.umask(old)
    return next(folder.glob("*.whl"))


def contents(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as zipped:
        return {i.filename: f"{hashlib.sha256(zipped.read(i)).hexdigest()} {i.date_time} {i.external_attr}" for i in zipped.infolist()}


def main() -> None:
    commit, epoch = output("git", "log", "-1", "--format=%H %ct").split()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory(prefix="another-") as two:
        places = ((Path(one) / "a", 0o022), (Path(two) / "somewhere" / "else", 0o077))
        wheels = [build(folder, commit, epoch, mask) for folder, mask in places]
        if wheels[0].read_bytes() != wheels[1].read_bytes():
            first, second = map(contents, wheels)
            differing = sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
            sys.exit(f"the wheels differ in {', '.join(differing) or 'their order or compression'}")
        digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
        print(f"{wheels[0].name}: the same {wheels[0].stat().st_size} bytes twice, SHA-256 {digest}")


if __name__ == "__main__":
    main()
