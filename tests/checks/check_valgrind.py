# SPDX-License-Identifier: Apache-2.0
"""Whole runs of `jahp` under Valgrind: encoding, decoding, and decoding of a damaged file.

    PYTHONPATH=tests/support:tests python tests/checks/check_valgrind.py

Needs the program valgrind; minutes. The interpreter and its other extensions have reports of their own; those with a frame of this
package's extension are printed and make the exit status 1. What is never freed (names of an interpreter's modules) is no error
here. Valgrind knows no AVX-512, so that AVX2 kernels run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
ISA = {"JAHP_FAST_ISA": "avx2"}


def jahp(*arguments: str | Path) -> list[str | Path]:
    return [sys.executable, "-c", "import sys; from jahp_fast.cli import main; sys.exit(main())", *arguments]


def ours(report: Path) -> tuple[int, list[str]]:
    """The number of errors in a report but leaks, and those that pass through the extension, a frame a line."""
    errors = [e for e in ET.parse(report).getroot().findall("error") if not e.findtext("kind", "").startswith("Leak_")]
    found = []
    for error in errors:
        frames = [f"{frame.findtext('fn', '?')} in {frame.findtext('obj', '?')}" for frame in error.iter("frame")]
        if any("_native" in frame for frame in frames):
            found.append("\n".join([error.findtext("kind", "?"), *(f"    {frame}" for frame in frames)]))
    return len(errors), found


def watched(folder: Path, status: int, *arguments: str | Path) -> list[str]:
    """Runs `jahp` under Valgrind, which must end with that status; the errors of ours."""
    report = folder / "report.xml"
    command = ["valgrind", "--xml=yes", f"--xml-file={report}", "--child-silent-after-fork=yes", "--num-callers=40", *jahp(*arguments)]
    done = subprocess.run(command, env=os.environ | ISA | {"PYTHONMALLOC": "malloc"}, check=False)
    if done.returncode != status:
        sys.exit(f"jahp {arguments[0]} under Valgrind ended with {done.returncode}, not {status}")
    total, found = ours(report)
    print(f"jahp {arguments[0]}: {total} reports, {len(found)} of them with a frame of the extension", flush=True)
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image, stream, damaged, out, plain = (folder / f for f in ("in.png", "a.jahp", "b.jahp", "out.png", "plain.png"))
        Image.open(ROOT / "examples" / "photo.png").convert("RGB").crop((300, 200, 370, 248)).save(image)
        found = watched(folder, 0, "encode", image, stream)
        found += watched(folder, 0, "decode", stream, out)
        subprocess.run(jahp("decode", stream, plain), env=os.environ | ISA, check=True)
        if not np.array_equal(np.asarray(Image.open(out)), np.asarray(Image.open(plain))):
            sys.exit("other pixels under Valgrind")
        data = bytearray(stream.read_bytes())
        data[len(data) // 2] ^= 1
        damaged.write_bytes(data)
        found += watched(folder, 1, "decode", damaged, out)
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
