# SPDX-License-Identifier: Apache-2.0
"""Cores of this process, and several images at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from jahp_fast.errors import JahpError

T = TypeVar("T")
R = TypeVar("R")
MOST_THREADS = 16
"""More do not help one image's wavefront."""


def available_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def shared_out(threads: int, images: int) -> tuple[int, int]:
    """(images at a time, threads for each) of so many threads in all."""
    at_once = max(1, min(images, threads))
    return at_once, max(1, threads // at_once)


def each(
    function: Callable[[T], R],
    items: Sequence[T],
    workers: int = 1,
    labels: Sequence[int] | None = None,
) -> list[R]:
    """function of each item, in order, `workers` at a time; where there are several, an error says which.

    Args:
        labels: the items' numbers in errors, also for a single one; by default from 0, and none for a single one.

    Raises the error of the first item that has one, as its own class; items behind it may not have been started.
    """
    if labels is None and len(items) != 1:
        labels = range(len(items))

    def one(index: int) -> R:
        try:
            return function(items[index])
        except JahpError as e:
            if labels is None:
                raise
            error = type(e)(f"image {labels[index]}: {e}")
        raise error

    if workers <= 1 or len(items) <= 1:
        return [one(i) for i in range(len(items))]
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(one, i) for i in range(len(items))]
        try:
            return [f.result() for f in futures]
        finally:
            for f in futures:
                f.cancel()
