# SPDX-License-Identifier: Apache-2.0
"""The processor, as far as the system tells."""

from __future__ import annotations

import platform
from pathlib import Path

from jahp_fast.system.parallel import available_cores


def _listing() -> str:
    """What Linux says of its processors; "" elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return ""


def cpu_name() -> str:
    """The processor's model, or its architecture."""
    names = (line.partition(":")[2].strip() for line in _listing().splitlines() if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (Linux on x86: avx512_bf16 or amx_bf16)."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_listing().split())


def describe_machine() -> str:
    """Where times were measured: CPU model, cores this process may use, system and Python, as one phrase."""
    return f"{cpu_name()}, {available_cores()} cores, {platform.system()}, Python {platform.python_version()}"
