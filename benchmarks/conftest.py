# SPDX-License-Identifier: Apache-2.0
"""Benchmarks share the helpers of the tests, and run on small images where timing is disabled."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # NumPy's: the oracle is timed on one core


@pytest.fixture(scope="session")
def timing(request):
    """False under --benchmark-disable, where the benchmarks are tests."""
    return not request.config.getoption("benchmark_disable")
