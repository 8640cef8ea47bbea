# SPDX-License-Identifier: Apache-2.0
"""What the CUDA compiler makes of the kernels, for every architecture that is built: registers, spills, memory, instructions.

Triton brings the disassembler that says what the compiler's own assembler has made.
"""

import importlib.util
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import sass_chain

CUDA = Path(__file__).parents[2] / "kernels" / "cuda"
NVCC = shutil.which("nvcc")
# Registers a thread. One block of 256 threads to a multiprocessor, so each could have 255.
LIMITS = {"context_decode_cluster": 200, "context_decode_grid": 200, "checksum_kernel": 40}
STATIC_SHARED = {"context_decode_cluster": 0, "context_decode_grid": 0, "checksum_kernel": 256}
ROUND = {1: (64, 285), 2: (125, 520)}
"""Instructions and cycles of a round of the coder, by states a thread: a tenth above what the compiler of today makes."""
PARAMETERS = 32764  # bytes, from CUDA 12.1 on, which extension.cmake asks for

compiled = pytest.mark.skipif(NVCC is None, reason="no CUDA compiler")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """(source, architecture) -> what ptxas says, the PTX and the binary; each pair is compiled once."""

    @cache
    def built(source, architecture):
        folder = tmp_path_factory.mktemp("nvcc")
        command = [NVCC, "-std=c++17", "-O3", "-arch", architecture, f"-I{CUDA}", f"-I{CUDA.parent.parent / 'csrc'}",
                   "-Xptxas", "-v", "-cubin",
                   "--keep", "--keep-dir", str(folder), "-o", str(folder / "kernel.cubin"), str(CUDA / source)]  # fmt: skip
        report = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stderr
        return report, next(folder.glob("*.ptx")).read_text(), folder / "kernel.cubin"

    return built


@pytest.mark.slow
@compiled
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize(("source", "kernels"), [("context_decode.cu", 2), ("symbol_checksum.cu", 1)])
def test_cuda_kernels_keep_their_limits(build, source, kernels, architecture):
    report, _, _ = build(source, architecture)
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


def listed(binary, *options):
    tool = Path(importlib.util.find_spec("triton").origin).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    return subprocess.run([tool, "-c", *options, binary], capture_output=True, text=True, timeout=100, check=True).stdout


def disassembled(binary):
    """Name -> SASS of each kernel."""
    text = listed(binary)
    parts = re.split(r"^\.text\.(\S+):$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.slow
@compiled
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_cuda_kernels_use_tensor_cores(build, architecture):
    _, _, binary = build("context_decode.cu", architecture)
    kernels = {name: sass for name, sass in disassembled(binary).items() if "context_decode" in name}
    assert len(kernels) == 2
    for name, sass in kernels.items():
        if architecture == "sm_80" and "context_decode_cluster" in name:
            continue  # there are no clusters; it is never launched
        assert set(re.findall(r"IMMA[\w.]*", sass)) == {"IMMA.16832.S8.S8"}
        assert sass.count("IMMA") >= 32
        assert "LDL" not in sass  # nothing in local memory


@pytest.mark.slow
@compiled
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_rounds_of_the_coder_keep_their_budget(build, architecture):
    """Instructions and predicted cycles (benchmarks/gpu/sass_chain.py) of every loop whose tables lie in shared memory."""
    _, _, binary = build("context_decode.cu", architecture)
    latencies, seen = sass_chain.LATENCIES[architecture], set()
    for name, code in sass_chain.parse(listed(binary, "-hex")).items():
        for one in sass_chain.measured(code, name, 0.0, latencies):
            if not one.shared:
                continue
            seen.add((name, one.halves))
            instructions, cycles = ROUND[one.halves]
            assert one.instructions <= instructions, one
            assert one.cycles <= cycles, one
    assert {halves for _, halves in seen} == {1, 2}


@pytest.mark.slow
@compiled
def test_cuda_kernels_use_clusters(build):
    _, ptx, _ = build("context_decode.cu", "sm_90")
    entries = re.split(r"\.visible \.entry |\.entry ", ptx)[1:]
    assert len(entries) == 2
    for entry in entries:
        assert int(re.search(r"_param_0\[(\d+)\]", entry)[1]) <= PARAMETERS
        cluster = "context_decode_cluster" in entry.split("(", 1)[0]
        for instruction in ("barrier.cluster.arrive.release.aligned", "barrier.cluster.wait.acquire.aligned", "mapa.shared::cluster.u32",
                            "st.shared::cluster.u32"):  # fmt: skip
            assert (instruction in entry) == cluster, instruction
        assert ("atom.global.add" in entry or "atom.add" in entry) == (not cluster)
