# SPDX-License-Identifier: Apache-2.0
"""NumPy alone: slow, obvious, and the proof that the others are right."""

from __future__ import annotations

import time

from jahp_fast.backends import Ints, WholeDecode
from jahp_fast.entropy import reference
from jahp_fast.entropy.layout import Part, StreamLayout
from jahp_fast.entropy.model_file import ModelFile


class ReferenceBackend:
    name = "reference"

    def __init__(self, model: ModelFile) -> None:
        self._model = reference.ReferenceModel(model)

    def decode(self, payload: bytes, layout: StreamLayout, threads: int) -> tuple[Ints, Ints, dict[str, float]]:
        start = time.perf_counter()
        z, y = reference.decode(self._model, payload, layout)
        return z, y, {"all": time.perf_counter() - start}

    def start_rows(self, payload: bytes, layout: StreamLayout, threads: int, part: Part) -> WholeDecode:
        return WholeDecode(*self.decode(payload, layout, threads)[:2], part)

    def encode(self, z: Ints, y: Ints, layout: StreamLayout, threads: int) -> tuple[bytes, Ints, int, dict[str, float]]:
        start = time.perf_counter()
        payload, seen, lanes = reference.encode(self._model, z, y, layout)
        return payload, seen, lanes, {"all": time.perf_counter() - start}
