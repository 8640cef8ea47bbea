# SPDX-License-Identifier: Apache-2.0
"""The pipelines of a codec: one a model file, shared between all codecs of a process that want the same."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from jahp_fast import backends, library
from jahp_fast.errors import UsageError
from jahp_fast.pipelines.contract import Pipeline
from jahp_fast.pipelines.cpu import CpuPipeline
from jahp_fast.system import devices
from jahp_fast.system.extras import require_torch

if TYPE_CHECKING:
    import torch

    from jahp_fast.entropy.model_file import ModelFile
    from jahp_fast.files.container import Stream


@lru_cache(maxsize=4)
def shared(file: ModelFile, backend: str, device: str, graphs: bool, isa: str, exact: bool, batches: str | None = None) -> Pipeline:
    """One for all codecs of a process: making a codec anew for each image costs next to nothing. batches: see DevicePipeline."""
    if device == "cpu" and backend not in backends.ON_DEVICE:
        return CpuPipeline(file, backend)
    require_torch(f"device {device!r}" if device != "cpu" else f"backend {backend!r}")
    from jahp_fast.pipelines.device import DevicePipeline

    return DevicePipeline(file, backend, device, graphs, exact, batches)


class Pipelines:
    """Those that one codec has needed so far. Safe to share between threads. Arguments and errors are the codec's.

    Attributes:
        device: "cpu" or "cuda:N".
        models: model files, looked through before the library's folders.
    """

    def __init__(
        self, device: str | torch.device, backend: str, graphs: bool, exact: bool, models: Sequence[str | os.PathLike[str]]
    ) -> None:
        self.device, self.models = devices.checked(device), tuple(models)
        name = backends.resolve(backend, self.device)
        self._asked = backend if backend == "auto" and not os.environ.get("JAHP_FAST_BACKEND") else name
        self._graphs, self._exact = graphs, exact
        if not exact and self.device == "cpu" and name not in backends.ON_DEVICE:
            raise UsageError("exact=False is for transforms on a GPU; on a CPU nothing is faster than the exact ones")
        if graphs and not (self.device != "cpu" and name in backends.ON_DEVICE):
            raise UsageError(f"graphs need a GPU and a backend that computes there, not {name} on {self.device}")
        self._lock = threading.Lock()
        self._loaded: dict[tuple[bytes, bool], Pipeline] = {}

    def of_file(self, file: ModelFile, exact: bool = False) -> Pipeline:
        """The pipeline of a model; `exact`: also where the codec itself does not ask for that."""
        exact = exact or self._exact
        name = backends.resolve(self._asked, self.device)
        batches = backends.for_batches(self._asked, name, self.device)
        loaded = shared(file, name, self.device, self._graphs, os.environ.get("JAHP_FAST_ISA", ""), exact, batches)
        with self._lock:
            return self._loaded.setdefault((file.id, exact), loaded)

    def on_host(self, file: ModelFile) -> Pipeline:
        """The pipeline of a model on the CPU: what knows samples of 16 bits."""
        if self.device == "cpu" and backends.resolve(self._asked, "cpu") not in backends.ON_DEVICE:
            return self.of_file(file)
        return shared(file, "native", "cpu", False, os.environ.get("JAHP_FAST_ISA", ""), True)

    def of_stream(self, stream: Stream, deep: bool = False) -> Pipeline:
        """The pipeline of the model that a stream names, exact where it has a layer; deep: for samples of 16 bits. Raises UnknownModel."""
        if deep:
            return self.on_host(library.by_id(stream.model, self.models))
        exact = self._exact or stream.layer is not None
        return self._loaded.get((stream.model, exact)) or self.of_file(library.by_id(stream.model, self.models), exact)
