# SPDX-License-Identifier: Apache-2.0
"""Every Triton kernel compiles for compute capabilities 8.0 and 9.0 and stays within the resources stated here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Of an SM's shared memory 99 KB on the smallest of these devices are a block's; of 65,536 registers, 256 threads can have 255 each.
SHARED, REGISTERS = 99 * 1024, 255

pytestmark = pytest.mark.slow


def worker(name, cache):
    """What a process without TRITON_INTERPRET prints; its cache is empty, so that it does compile."""
    env = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(cache)}
    path = Path(__file__).parents[1] / "support" / name
    done = subprocess.run([sys.executable, path], env=env, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return worker("aot_worker.py", tmp_path_factory.mktemp("cache"))


def test_aot_every_kernel(compiled):
    for capability in (80, 90):
        stems = {r["name"].split()[0] for r in compiled if r["capability"] == capability}
        decoding = {"context_decode", "conv_i8", "range_decode", "symbol_rows", "reveal", "requantise"}
        training = {"gdn", "gdn_backward", "gdn_sums", "gaussian", "gaussian_backward", "factorised", "factorised_backward"}
        assert stems == decoding | training


def test_aot_int8_tensor_cores(compiled):
    for r in compiled:
        assert (r["products"] > 0) == (r["name"].split()[0] in ("context_decode", "conv_i8")), r
        assert r["async"] or not r["products"], r


def test_aot_shared_memory_and_registers(compiled):
    for r in compiled:
        assert r["shared"] <= SHARED, r
        assert r["reg"] <= REGISTERS, r
        assert r["local"] == 0, r
        spills = 512 if (r["name"], r["capability"]) == ("gdn_backward", 80) else 128 if r["name"].endswith("ones") else 16
        assert r["stack"] <= spills, r  # bytes


def test_aot_launches(tmp_path):
    """The launchers' own arguments compile, and a batch takes the launches of one image: the wavefront of all takes one."""
    one, batch, rows = worker("aot_launches.py", tmp_path)
    assert one == batch == ["range_decode_kernel", *["conv_i8_kernel"] * 4, "context_decode_kernel"]
    assert rows == ["reveal_kernel", *["conv_i8_kernel"] * 4, "reveal_kernel", *["conv_i8_kernel"] * 4, "symbol_rows_kernel"]
