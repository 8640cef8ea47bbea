# SPDX-License-Identifier: Apache-2.0
"""What callers hand in as numbers, switches and bytes, brought to Python's own types; everything else is an error with a sentence."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Sequence
from typing import Any

from jahp_fast.errors import UnsupportedImage, UsageError

PathLike = str | os.PathLike[str]


def most_error(bits: int) -> int:
    """The largest max_error of samples of so many bits: 31 with 8, and 255 from 11 on."""
    return min(255, (1 << (bits - 3)) - 1)


def _plain(value: Any) -> Any:
    """The Python number in a scalar of NumPy's or torch's; anything else as it is."""
    if getattr(value, "shape", None) != () or not hasattr(value, "item"):
        return value
    try:
        return value.item()
    except RuntimeError:  # torch's meta tensors have no value
        return value


def number(name: str, value: Any) -> float:
    """A finite number: Python's, or a scalar of NumPy's or torch's. Raises UsageError, with the argument's name."""
    plain = _plain(value)
    fine = not isinstance(plain, bool) and hasattr(type(plain), "__float__") and not hasattr(plain, "shape")
    try:
        converted = float(plain) if fine else math.nan
    except (OverflowError, TypeError, ValueError):
        converted = math.nan
    if not math.isfinite(converted):
        raise UsageError(f"{name} must be a number, not {shown(value)}")
    return converted


def whole(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """A whole number from `least` to `most`: Python's, or a scalar of NumPy's or torch's. Raises UsageError, with the argument's name."""
    plain = _plain(value)
    converted = operator.index(plain) if hasattr(type(plain), "__index__") and not hasattr(plain, "shape") else None
    inside = converted is not None and (least is None or converted >= least) and (most is None or converted <= most)
    if converted is None or isinstance(plain, bool) or not inside:
        if least is None or most is None:
            wanted = "a positive whole number" if least == 1 else "a whole number"
            raise UsageError(f"{name} must be {wanted}, not {shown(value)}")
        raise UsageError(f"{name} must be {least} to {most}, a whole number, not {shown(value)}")
    return converted


def switch(name: str, value: Any) -> bool:
    """True or False, NumPy's too. Raises UsageError: of other values Python would make a guess."""
    plain = _plain(value)
    if not isinstance(plain, bool):
        raise UsageError(f"{name} must be True or False, not {shown(value)}")
    return plain


def bound_of(lossless: Any, max_error: Any) -> int | None:
    """The bound on errors that they ask for, None for no such file. Raises UsageError."""
    exact = switch("lossless", lossless)
    bound = None if max_error is None else whole("max_error", max_error, 0, most_error(16))
    if exact and bound:
        raise UsageError(f"lossless allows no error, and max_error={bound} does: ask for one of them")
    return 0 if exact else bound


def file_bytes(data: Any) -> bytes:
    """The bytes of a .jahp file, out of anything that has Python's buffers. Raises UsageError, with what to do about a path or a file."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, (str, os.PathLike)):
        raise UsageError(f"a .jahp file is wanted as bytes, not as a path: read it, with pathlib.Path({os.fspath(data)!r}).read_bytes()")
    if hasattr(data, "read"):
        raise UsageError(f"a .jahp file is wanted as bytes, not as {shown(data)}: read it, with its read()")
    try:
        return memoryview(data).tobytes()
    except TypeError:
        raise UsageError(f"a .jahp file is wanted as bytes, a bytearray or a memoryview, not as {shown(data)}") from None


def refuse_path(image: Any) -> None:
    """Raises UnsupportedImage for a path, an open file or a file's bytes where an image is wanted, with what to do about it."""
    if isinstance(image, (str, os.PathLike)):
        raise UnsupportedImage(f"an image is wanted, not a path: open it, with PIL.Image.open({os.fspath(image)!r})")
    if isinstance(image, (bytes, bytearray, memoryview)):
        raise UnsupportedImage(f"an image is wanted, not {type(image).__name__}: open a file's bytes with PIL.Image.open(io.BytesIO(data))")
    if hasattr(image, "read") and not hasattr(image, "getbands"):
        raise UnsupportedImage(f"an image is wanted, not {shown(image)}: open it, with PIL.Image.open(file)")


def several(items: Any, what: str) -> list[Any]:
    """A list of them. Raises UsageError for a single one, and for what is none at all."""
    if isinstance(items, (str, bytes, bytearray, memoryview, os.PathLike)) or not isinstance(items, Iterable):
        raise UsageError(f"several {what} are wanted, in a list, not {shown(items)}")
    return list(items)


def model_name(name: Any) -> str:
    """Raises UsageError for what is no string, with what to do about a path."""
    if isinstance(name, os.PathLike):
        raise UsageError(f"a model is named by a string, its file by models=: Codec({_stem(name)!r}, models=[{os.fspath(name)!r}])")
    if not isinstance(name, str):
        raise UsageError(f"a model is named by a string, not by {shown(name)}")
    return name


def model_files(models: Any) -> tuple[PathLike, ...]:
    """Raises UsageError for what is no sequence of paths; a single path is none."""
    if isinstance(models, (str, os.PathLike)):
        raise UsageError(f"models must be a list of files: models=[{os.fspath(models)!r}]")
    if not isinstance(models, Sequence) or not all(isinstance(m, (str, os.PathLike)) for m in models):
        raise UsageError(f"models must be a list of files, not {shown(models)}")
    return tuple(models)


def shown(value: Any) -> str:
    """How an error speaks of a value: short ones as they are written, others by their type."""
    if value is None or isinstance(value, (bool, int, float, complex, str)):
        text = repr(value)
        return text if len(text) <= 60 else f"{text[:56]} ..."
    text = f"a {type(value).__name__}"
    return f"{text} of {_plain(value)!r}" if _plain(value) is not value else text


def _stem(path: os.PathLike[str]) -> str:
    return os.path.splitext(os.path.basename(os.fspath(path)))[0]
