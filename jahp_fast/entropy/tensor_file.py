# SPDX-License-Identifier: Apache-2.0
"""Reading safetensors files that nobody vouches for (docs/reference/format.md, "Model file").

The file stays open, so what is read later is of the file that was checked, even if its name is gone or another's by then. Bytes are read,
not mapped: a file that is cut short under a mapping ends the process.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import threading
import weakref
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import ModelError

Array = NDArray[Any]
MAX_HEADER = 1 << 24
"""Bytes of the JSON header: a thousand times what a model needs."""
_MAX_DIMENSIONS = 8
_MAX_NESTING, _TOO_DEEP = 64, "it is nested too deep"
_DTYPES = {"U8": "<u1", "I8": "<i1", "U16": "<u2", "I16": "<i2", "I32": "<i4", "F16": "<f2", "F32": "<f4"}
_NAME = re.compile(r"[!-~]+", re.ASCII)
"""Names of tensors: printable ASCII without spaces, so that a manifest has one reading."""


class JsonError(ValueError):
    """What is no JSON of model files; a message goes on with it."""


def strict_json(data: bytes) -> Any:
    """JSON of RFC 8259 in UTF-8, without what Python adds to it: other encodings, a byte order mark, names that stand twice, NaN.

    Raises:
        JsonError: it is none, is nested deeper than 64 levels, or has a number beyond float64.
    """

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise JsonError("a name is there twice")
        return dict(pairs)

    def number(kind: type[int] | type[float], text: str) -> int | float:
        if math.isinf(float(text)):
            raise JsonError("a number is beyond what 64 bits of floating point hold")
        return kind(text)

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    whole, real = partial(number, int), partial(number, float)
    try:
        value = json.loads(data.decode(), object_pairs_hook=object_of, parse_constant=constant, parse_int=whole, parse_float=real)
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no character
    except JsonError:
        raise
    except ValueError:
        raise JsonError("it breaks a rule of RFC 8259, or is not UTF-8") from None
    except RecursionError:
        raise JsonError(_TOO_DEEP) from None
    level = [value]
    for _ in range(_MAX_NESTING):
        level = [inner for outer in level for inner in _inside(outer)]
    if any(isinstance(inner, (dict, list)) for inner in level):
        raise JsonError(_TOO_DEEP)
    return value


def _inside(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


class TensorFile:
    """Names, metadata and tensors of a safetensors file. Safe to share between threads and with forked processes.

    Attributes:
        names: of the tensors, sorted.
        metadata: name -> string.

    Raises:
        ModelError: it cannot be read, or breaks a rule of safetensors.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        try:
            self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
        except (OSError, ValueError) as e:  # ValueError: a name with a zero in it
            raise ModelError(f"cannot read the model file {path}: {getattr(e, 'strerror', None) or e}") from None
        self._lock = threading.Lock()
        self._close = weakref.finalize(self, os.close, self._fd)
        try:
            status = os.fstat(self._fd)
            if not stat.S_ISREG(status.st_mode):  # a pipe would have had nobody wait: it is opened without
                raise ModelError(f"cannot read the model file {path}: it is no regular file")
            self._size = status.st_size
            length = int.from_bytes(self._bytes(0, 8), "little")
            self._require(length <= min(MAX_HEADER, self._size - 8), f"claims a header of {length} bytes")
            self._begin = 8 + length
            self._parse(self._bytes(8, length))
        except ModelError:
            self._close()
            raise
        self.names = tuple(sorted(self._tensors))

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            raise ModelError(f"{self._path}: is not a safetensors file: {what}")

    def _bytes(self, at: int, count: int) -> bytes:
        parts = []
        while count:
            try:
                parts.append(self._pread(count, at))
            except OSError as e:
                raise ModelError(f"cannot read the model file {self._path}: {e.strerror}") from None
            self._require(bool(parts[-1]), "it ends early")
            at, count = at + len(parts[-1]), count - len(parts[-1])
        return b"".join(parts)

    def _pread(self, count: int, at: int) -> bytes:
        if hasattr(os, "pread"):
            data: bytes = os.pread(self._fd, count, at)
            return data
        with self._lock:  # Windows: threads share the file's position; there is no fork
            os.lseek(self._fd, at, os.SEEK_SET)
            return os.read(self._fd, count)

    def _parse(self, text: bytes) -> None:
        self._require(text[:1] == b"{", "its header does not start with '{'")
        try:
            header = strict_json(text)
        except JsonError as e:
            raise ModelError(f"{self._path}: is not a safetensors file: its header is no JSON: {e}") from None
        metadata = header.pop("__metadata__", {})
        fine = isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
        self._require(fine, "its metadata are not strings")
        self.metadata: dict[str, str] = metadata
        self._tensors: dict[str, tuple[str, tuple[int, ...], int]] = {}
        spans = []
        for name, entry in header.items():
            dtype, shape, begin, end = self._entry(name, entry)
            self._tensors[name] = dtype, shape, begin
            spans.append((begin, end))
        at = 0
        for begin, end in sorted(spans):
            self._require(begin == at, "its tensors overlap, or leave gaps")
            at = end
        self._require(self._begin + at == self._size, f"it has {self._size} bytes, but its header speaks of {self._begin + at}")

    def _entry(self, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
        """dtype, shape and offsets of a tensor, checked alone."""
        self._require(_NAME.fullmatch(name) is not None, f"the name {name!a:.80} is not made of printable ASCII without spaces")
        self._require(isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}, f"{name!a:.80} is no tensor")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        self._require(isinstance(dtype, str), f"{name!a:.80} has a dtype that is no string")
        self._require(dtype in _DTYPES, f"{name!a:.80} has the dtype {dtype!a:.40}, not one of {', '.join(_DTYPES)}")
        for what, numbers, most in (("shape", shape, _MAX_DIMENSIONS), ("offsets", offsets, 2)):
            fine = isinstance(numbers, list) and len(numbers) <= most and all(type(n) is int and 0 <= n <= self._size for n in numbers)
            self._require(fine, f"{name!a:.80} has impossible {what}")
        self._require(len(offsets) == 2, f"{name!a:.80} has impossible offsets")
        size = prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
        self._require(offsets[1] - offsets[0] == size, f"{name!a:.80} has another size than its shape")
        return dtype, tuple(shape), offsets[0], offsets[1]

    def kind(self, name: str) -> str:
        """Type and shape of a tensor as a manifest writes them, `I8 [2,3]`."""
        dtype, shape, _ = self._tensors[name]
        return f"{dtype} [{','.join(map(str, shape))}]"

    def read(self, name: str) -> Array:
        """A tensor by its name, which must be one of `names`. Raises ModelError if the file has been cut short since."""
        dtype, shape, begin = self._tensors[name]
        kind = np.dtype(_DTYPES[dtype])
        return np.frombuffer(self._bytes(self._begin + begin, prod(shape) * kind.itemsize), kind).reshape(shape)
