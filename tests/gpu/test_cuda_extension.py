# SPDX-License-Identifier: Apache-2.0
"""The optional extension `_cuda`: what it says without a device, that it agrees with the CPU on one, and a build without it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jahp_fast import _native
from jahp_fast.errors import UsageError

ROOT = Path(__file__).parents[2]

built = pytest.mark.skipif(importlib.util.find_spec("jahp_fast._cuda") is None, reason="built without a CUDA compiler")


def module():
    from jahp_fast import _cuda

    return _cuda


@built
def test_devices():
    devices = module().devices()
    assert len(devices) == module().device_count() >= 0
    for d in devices:
        assert d.keys() == {"name", "major", "minor", "total_memory"}
        assert d["name"]
        assert d["major"] >= 5
        assert d["total_memory"] > 1 << 28


@built
def test_no_device_is_said_clearly():
    code = """
from jahp_fast import _cuda
from jahp_fast.errors import JahpError
assert _cuda.device_count() == 0 and _cuda.devices() == []
for _ in range(2):  # an error that CUDA keeps must not hide the next one
    try:
        _cuda.symbol_checksum(0, 0, 0, 0)
    except JahpError as e:
        print(e)
"""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}  # hides what there is
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("symbol_checksum: ") and len(line.split()) > 2 for line in lines)


@built
def test_impossible_addresses():
    with pytest.raises(UsageError, match="y_ptr is null"):
        module().symbol_checksum(0, 0, 0, 5)
    with pytest.raises(UsageError, match="z_ptr is not the address of an int32 array"):
        module().symbol_checksum(4098, 5, 0, 0)
    with pytest.raises(TypeError):
        module().symbol_checksum(0, -1, 0, 0)


@built
@pytest.mark.gpu
@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (0, 1), (31, 33), (255, 257), (3000, 1 << 20)], ids=str)
def test_checksum_equals_the_cpu(counts):
    import torch

    rng = np.random.default_rng(sum(counts))
    z, y = (rng.integers(-32767, 32768, (1, 1, n), dtype=np.int32) for n in counts)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        z_dev, y_dev = (torch.from_numpy(a).to("cuda") for a in (z, y))
    got = module().symbol_checksum(z_dev.data_ptr(), z.size, y_dev.data_ptr(), y.size, stream=stream.cuda_stream)
    assert got == _native.symbol_checksum(z, y)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["option off", "no compiler"])
def test_build_without_cuda_configures_silently(tmp_path, how):
    pybind11 = pytest.importorskip("pybind11")
    keep = ("cmake", "ninja", "c++", "g++", "gcc", "cc", "as", "ld", "ar", "ranlib", "nm", "sh")
    tools = tmp_path / "bin"
    tools.mkdir()
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for name in keep:  # a PATH on which nvcc is certainly not found
        for folder in search.split(os.pathsep):
            if (Path(folder) / name).exists():
                (tools / name).symlink_to(Path(folder) / name)
                break
    if not (tools / "cmake").exists() or not (tools / "ninja").exists():
        pytest.skip("cmake or ninja is not installed")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CUDA")} | {"PATH": str(tools)}
    command = [str(tools / "cmake"), "-S", str(ROOT), "-B", str(tmp_path / "build"), "-G", "Ninja",
               f"-DPYTHON_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
               f"-DJAHP_CUDA={'OFF' if how == 'option off' else 'ON'}"]  # fmt: skip
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    ninja = (tmp_path / "build" / "build.ninja").read_text()
    assert "_native.cpython" in ninja
    assert "_cuda.cpython" not in ninja
    assert ".cu.o" not in ninja
