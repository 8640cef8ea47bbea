# SPDX-License-Identifier: Apache-2.0
"""The C++ core. `JAHP_FAST_ISA` forces an instruction set."""

from __future__ import annotations

import os

import numpy as np

from jahp_fast import _native
from jahp_fast.backends import Ints
from jahp_fast.entropy.layout import Part, StreamLayout
from jahp_fast.entropy.model_file import ModelFile


class NativeBackend:
    name = "native"

    def __init__(self, model: ModelFile) -> None:
        self._model = _native.EntropyModel(model.config.as_native(), model.entropy, os.environ.get("JAHP_FAST_ISA", ""))

    def decode(self, payload: bytes, layout: StreamLayout, threads: int) -> tuple[Ints, Ints, dict[str, float]]:
        return self._model.decode(payload, *_fields(layout), threads, layout.copies, layout.z_row)

    def start_rows(self, payload: bytes, layout: StreamLayout, threads: int, part: Part) -> _native.LatentDecode:
        """`decode` in threads of its own, which holds no more of y than it must."""
        return self._model.start_decode(payload, *_fields(layout), threads, layout.copies, layout.z_row, *part)

    def encode(self, z: Ints, y: Ints, layout: StreamLayout, threads: int) -> tuple[bytes, Ints, int, dict[str, float]]:
        z, y = np.ascontiguousarray(z), np.ascontiguousarray(y)
        return self._model.encode(z, y, layout.lanes, layout.skip, layout.min_bytes, threads, layout.copies, layout.z_row)


def _fields(layout: StreamLayout) -> tuple[int, int, int, int, int]:
    return layout.height, layout.width, layout.lanes, layout.skip, layout.min_bytes
