# SPDX-License-Identifier: Apache-2.0
"""Builds the sdist and, from it, the wheel; installs the wheel into an empty environment and uses it from an empty folder.

    python tests/check_packages.py

The new environment has NumPy, Pillow and safetensors beside the wheel, and no torch. They are not installed again: their folders in
this environment are linked into it.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from support import DEPENDENCIES, link_packages, size_of

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("jahp_fast/py.typed", "jahp_fast/_native.pyi", "jahp_fast/weights/mbt2018.safetensors", "jahp_fast/kernels/__init__.py")
LARGEST = 60e6
"""Bytes that the package may take in site-packages, beside NumPy and Pillow."""
USE = """
import sys, numpy as np, jahp_fast
assert "site-packages" in jahp_fast.__file__, jahp_fast.__file__
image = (np.add.outer(np.arange(70), np.arange(50))[:, :, None] * [1, 2, 1] % 256).astype(np.uint8)
decoded = jahp_fast.decode(jahp_fast.encode(image, quality=6.0))
assert decoded.shape == image.shape, decoded.shape
assert not {"torch", "triton", "PIL"} & set(sys.modules)
"""


def run(*command: str | Path, cwd: Path | None = None) -> None:
    print("+", *command, flush=True)
    subprocess.run([str(c) for c in command], check=True, cwd=cwd)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        build = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-q"]
        run(sys.executable, "-c", f"import scikit_build_core.build as b; b.build_sdist({str(work)!r})", cwd=ROOT)
        sdist = next(work.glob("*.tar.gz"))
        with tarfile.open(sdist) as archive:
            names = archive.getnames()
        assert any(n.endswith("csrc/core/range_coder.cpp") for n in names), "the sdist lacks the C++ sources"
        run(*build, "-w", work, "-C", f"build-dir={work / 'build'}", sdist)
        wheel = next(work.glob("*.whl"))
        with zipfile.ZipFile(wheel) as zipped:
            inside = zipped.namelist()
        for name in NEEDED:
            assert name in inside, f"the wheel lacks {name}"
        assert not any(n.endswith((".cu", ".cuh")) for n in inside), "the wheel holds CUDA sources"
        print(f"{sdist.name} {sdist.stat().st_size / 1e6:.1f} MB, {wheel.name} {wheel.stat().st_size / 1e6:.1f} MB")

        environment = work / "venv"
        venv.create(environment, with_pip=True)
        python = environment / "bin" / "python"
        site = next((environment / "lib").glob("python*/site-packages"))
        run(python, "-m", "pip", "install", "-q", "--no-deps", wheel)
        links = link_packages(site, DEPENDENCIES)
        own = size_of(site / "jahp_fast")
        beside = sum(size_of(link) for link in links if link.name.startswith("safetensors"))
        print(f"in site-packages, MB: jahp_fast {own / 1e6:.1f}, safetensors {beside / 1e6:.1f}, "
              f"NumPy and Pillow {sum(map(size_of, links)) / 1e6 - beside / 1e6:.1f}")  # fmt: skip
        assert own + beside < LARGEST, "the install has grown"
        empty = work / "empty"
        empty.mkdir()
        run(python, "-c", USE, cwd=empty)
        jahp = environment / "bin" / "jahp"
        run(jahp, "models", "--verify", cwd=empty)
        run(jahp, "encode", ROOT / "examples" / "photo.png", "photo.jahp", cwd=empty)
        run(jahp, "decode", "photo.jahp", "back.png", cwd=empty)
        run(jahp, "demo", "--out", "demo", cwd=empty)
    print("packages are sound")


if __name__ == "__main__":
    main()
