# SPDX-License-Identifier: Apache-2.0
"""C++ core of jahp_fast; not public, see jahp_fast.Codec. Contracts stand in csrc/core/*.hpp."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

_Int32 = NDArray[np.int32]

def crc32c(data: Buffer, crc: int = 0) -> int: ...
def symbol_checksum(z: _Int32, y: _Int32) -> int: ...
def isa_names() -> list[str]: ...
def peak_macs(isa: str, bits: int, threads: int, seconds: float = 0.1) -> float: ...
def range_encode(
    tables: CdfTables, lanes: int, lane: _Int32, row: _Int32, value: _Int32, shift: _Int32, min_bytes: int = 0, oracle: bool = False
) -> bytes: ...
def range_decode(
    tables: CdfTables,
    lanes: int,
    payload: Buffer,
    lane: _Int32,
    row: _Int32,
    shift: _Int32,
    min_bytes: int = 0,
    oracle: bool = False,
    isa: str = "",
) -> _Int32: ...

class CdfTables:
    def __init__(self, prob_bits: int, low: _Int32, size: _Int32, starts: NDArray[np.uint16]) -> None: ...
    @property
    def rows(self) -> int: ...

class EntropyModel:
    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], isa: str = "") -> None: ...
    def decode(
        self, payload: Buffer, height: int, width: int, lanes: int, skip: int, min_bytes: int, threads: int
    ) -> tuple[_Int32, _Int32, dict[str, float]]: ...
    def encode(
        self, z: _Int32, y: _Int32, lanes: int, skip: int, min_bytes: int, threads: int
    ) -> tuple[bytes, _Int32, int, dict[str, float]]: ...
    def symbols(self, z: _Int32, y: _Int32, threads: int) -> tuple[_Int32, _Int32]: ...
