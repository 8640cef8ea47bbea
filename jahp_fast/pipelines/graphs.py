# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs of functions over tensors of fixed shapes: recorded when a shape comes back, kept while it is in use.

Replaying a graph starts all its kernels by one call. Its tensors lie at fixed addresses, so inputs are copied in and outputs out, and
replays of one graph follow each other even when they are queued on different streams.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Protocol

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]
Function = Callable[..., Tensors]


class Recording(Protocol):
    """A function recorded for inputs of certain shapes."""

    def replay(self, inputs: Tensors) -> Tensors:
        """Fresh outputs for inputs of the recorded shapes and types; waits for nothing."""

    def close(self) -> None:
        """Waits for the last replay, after which the memory may be given to others."""


class GraphCache:
    """At most `capacity` recordings, the least recently used dropped first. Safe to share between threads.

    A shape that is seen once is run as it is: recording costs several runs.

    Args:
        record: makes a Recording of a function and sample inputs; CudaRecording on a GPU.
    """

    def __init__(self, record: Callable[[Function, Tensors], Recording], capacity: int = 8) -> None:
        self._record, self._capacity = record, capacity
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, Recording | None] = OrderedDict()  # None: seen, not recorded

    def run(self, key: Hashable, function: Function, *inputs: Tensor) -> Tensors:
        """function(*inputs), by its recording where there is one.

        Args:
            key: stands for all that the function's kernels depend on but the inputs' values: shapes, types and constants.
        """
        with self._lock:
            recording = self._entries.get(key)
            seen = key in self._entries
            dropped = None
            if seen and recording is None:
                recording = self._record(function, inputs)
            self._entries[key] = recording
            self._entries.move_to_end(key)
            if len(self._entries) > self._capacity:
                dropped = self._entries.popitem(last=False)[1]
            # Inside the lock: a recording that is being queued must not be dropped.
            outputs = None if recording is None else recording.replay(inputs)
        if dropped is not None:
            dropped.close()
        return function(*inputs) if outputs is None else outputs

    def clear(self) -> None:
        """Drops all recordings."""
        with self._lock:
            entries, self._entries = self._entries, OrderedDict()
        for recording in entries.values():
            if recording is not None:
                recording.close()


class CudaRecording:
    """A torch.cuda.CUDAGraph with its tensors. The inputs' device must be the current one."""

    WARM_UP = 2
    """Runs before recording: kernels are compiled and loaded, and cuDNN plans chosen, outside of the graph."""

    def __init__(self, function: Function, inputs: Tensors) -> None:
        self._inputs = tuple(t.clone() for t in inputs)
        self._lock = threading.Lock()
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        current = torch.cuda.current_stream()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(self.WARM_UP):
                function(*self._inputs)
        current.wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        # thread_local: what other threads allocate meanwhile must not end the recording.
        with torch.cuda.graph(self._graph, stream=side, capture_error_mode="thread_local"):
            self._outputs = function(*self._inputs)
        self._done.record(current)

    def replay(self, inputs: Tensors) -> Tensors:
        with self._lock:
            stream = torch.cuda.current_stream()
            stream.wait_event(self._done)  # the last replay may have been queued on another stream
            for fixed, given in zip(self._inputs, inputs, strict=True):
                fixed.copy_(given, non_blocking=True)
            self._graph.replay()
            outputs = tuple(t.clone() for t in self._outputs)
            self._done.record(stream)
        return outputs

    def close(self) -> None:
        self._done.synchronize()
