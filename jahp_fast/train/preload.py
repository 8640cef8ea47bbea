# SPDX-License-Identifier: Apache-2.0
"""An allocator that keeps its pages, and threads that wait without spinning: both must be in place before torch is loaded.

Activations of tens of megabytes are mapped and unmapped by glibc at every layer, and zeroing fresh pages was a third of the
time of a training step; jemalloc with `dirty_decay_ms:-1` reuses them. OpenMP threads that spin at barriers cost dearly
wherever another process shares the cores.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

MALLOC_CONF = "oversize_threshold:0,background_thread:true,metadata_thp:auto,thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1"
MARK = "JAHP_TRAIN_PRELOADED"
_FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64")


def find_jemalloc() -> str | None:
    """Path of an installed libjemalloc.so.2, or None."""
    for folder in map(Path, _FOLDERS):
        for pattern in ("libjemalloc.so.2", "*-linux-gnu*/libjemalloc.so.2"):
            for path in sorted(folder.glob(pattern)):
                return str(path)
    return None


def training_environment(environment: dict[str, str], library: str | None) -> dict[str, str]:
    """`environment` with the settings that training wants; what the user has set stays."""
    changed = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"} | environment | {MARK: "1"}
    if library is not None and "jemalloc" not in environment.get("LD_PRELOAD", ""):
        changed["LD_PRELOAD"] = ":".join(filter(None, (library, environment.get("LD_PRELOAD"))))
        changed.setdefault("MALLOC_CONF", MALLOC_CONF)
    return changed


def restart_preloaded() -> None:
    """On Linux, replaces this process by the same command line in `training_environment`; prints a line without jemalloc.

    Returns where nothing has to change: on other systems, and in the process that was started so.
    """
    if not sys.platform.startswith("linux") or MARK in os.environ:
        return
    library = find_jemalloc()
    silent = os.environ.get("RANK", "0") != "0"  # of several processes one speaks
    if library is None and "jemalloc" not in os.environ.get("LD_PRELOAD", "") and not silent:
        print("jemalloc is not installed; with it a step takes about a third less (Debian: libjemalloc2)")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], training_environment(dict(os.environ), library))
