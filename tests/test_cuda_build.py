# SPDX-License-Identifier: Apache-2.0
"""What the CUDA compiler makes of the kernels, for every architecture that is built: registers, spills, memory, instructions."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CUDA = Path(__file__).parent.parent / "kernels" / "cuda"
NVCC = shutil.which("nvcc")
# Registers a thread. 256 threads could have 255 each; 128 leave room for two blocks a multiprocessor.
LIMITS = {"context_decode_cluster": 128, "context_decode_grid": 128, "checksum_kernel": 40}
STATIC_SHARED = {"context_decode_cluster": 0, "context_decode_grid": 0, "checksum_kernel": 256}
PARAMETERS = 4096  # bytes that every toolkit allows

compiled = pytest.mark.skipif(NVCC is None, reason="no CUDA compiler")


def nvcc(source, architecture, *options):
    folders = f"-I{CUDA}", f"-I{CUDA.parent.parent / 'csrc'}"
    command = [NVCC, "-std=c++17", "-O3", "-arch", architecture, *folders, *options, str(CUDA / source)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)


@compiled
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize(("source", "kernels"), [("context_decode.cu", 2), ("symbol_checksum.cu", 1)])
def test_cuda_kernels_keep_their_limits(tmp_path, source, kernels, architecture):
    report = nvcc(source, architecture, "-Xptxas", "-v", "-cubin", "-o", str(tmp_path / "kernel.cubin")).stderr
    found = re.findall(
        r"Compiling entry function '(\S+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers([^\n]*)",
        report,
        re.DOTALL,
    )
    assert len(found) == kernels, report
    for name, stack, stores, loads, registers, rest in found:
        kernel = next(k for k in LIMITS if k in name)
        assert (int(stack), int(stores), int(loads)) == (0, 0, 0), kernel
        assert int(registers) <= LIMITS[kernel], kernel
        shared = re.search(r"(\d+) bytes smem", rest)
        assert int(shared[1] if shared else 0) <= STATIC_SHARED[kernel], kernel


@compiled
def test_cuda_kernels_use_tensor_cores_and_clusters(tmp_path):
    ptx = tmp_path / "kernel.ptx"
    nvcc("context_decode.cu", "sm_90", "-ptx", "-o", str(ptx))
    entries = re.split(r"\.visible \.entry |\.entry ", ptx.read_text())[1:]
    assert len(entries) == 2
    for entry in entries:
        assert "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32" in entry
        assert int(re.search(r"_param_0\[(\d+)\]", entry)[1]) <= PARAMETERS
        cluster = "context_decode_cluster" in entry.split("(", 1)[0]
        assert ("barrier.cluster.arrive.release.aligned" in entry) == cluster
        assert ("atom.global.add" in entry or "atom.add" in entry) == (not cluster)
