# SPDX-License-Identifier: Apache-2.0
"""The backend `cuda` on a CPU: its own bindings and kernels, with the emulator of csrc/tests/emulator as the device.

The extension is built by the C++ compiler when it is first asked for (half a minute), and kept in build/emulated while its sources stay as
they are.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from types import ModuleType

import pybind11
import torch

from jahp_fast.backends.cuda import CudaBackend

ROOT = Path(__file__).parents[2]
CSRC, CUDA = ROOT / "csrc", ROOT / "kernels" / "cuda"
EMULATOR = CSRC / "tests" / "emulator"
SOURCES = (CUDA / "bindings.cpp", CUDA / "context_plan.cpp", CUDA / "device_model.cpp", EMULATOR / "launch.cpp", EMULATOR / "emulator.cpp")
FOLDERS = (EMULATOR, EMULATOR / "runtime", CSRC, CUDA, Path(pybind11.get_include()), Path(sysconfig.get_paths()["include"]))


def _digest() -> str:
    found = hashlib.sha256(sys.version.encode() + pybind11.__version__.encode())
    for folder in (CUDA, EMULATOR, CSRC / "core", CSRC / "bindings"):
        for path in sorted(p for p in folder.rglob("*") if p.suffix in (".cpp", ".hpp", ".cuh", ".h")):
            found.update(path.read_bytes())
    return found.hexdigest()[:16]


def _build(folder: Path, library: Path) -> None:
    own = folder / str(os.getpid())
    own.mkdir()
    command = [shutil.which("c++") or "g++", "-std=c++20", "-O2", "-fPIC", "-fvisibility=hidden", *(f"-I{f}" for f in FOLDERS)]

    def compiled(source: Path) -> str:
        out = own / f"{source.stem}.o"
        subprocess.run([*command, "-c", str(source), "-o", str(out)], check=True, timeout=500)
        return str(out)

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, SOURCES))
    subprocess.run([*command, "-shared", *objects, "-o", str(own / library.name)], check=True, timeout=500)
    for old in folder.glob("_cuda-*.so"):
        old.unlink()
    (own / library.name).rename(library)
    shutil.rmtree(own)


@cache
def extension() -> ModuleType:
    """The emulated `_cuda`. Raises CalledProcessError where it does not compile."""
    folder = ROOT / "build" / "emulated"
    library = folder / f"_cuda-{_digest()}.so"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # of tests side by side one builds, and the others wait
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            _build(folder, library)
    spec = importlib.util.spec_from_file_location("_cuda", library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def last_counts() -> dict[str, int]:
    """Of the last launch: blocks an image, whether they were clusters, barriers of a group, products (mma), words stored in blocks."""
    out = (ctypes.c_int64 * 5)()
    ctypes.CDLL(extension().__file__).jahp_emulated_counts(out)
    return dict(zip(("blocks", "cluster", "barriers", "products", "remote_words"), out, strict=True))


class EmulatedCuda(CudaBackend):
    """The device is the CPU."""

    @staticmethod
    def _open(device: str) -> tuple[ModuleType, torch.device]:
        return extension(), torch.device("cpu")

    def _current(self):
        return nullcontext()

    def _stream(self) -> int:
        return 0
