# SPDX-License-Identifier: Apache-2.0
"""Where models are looked for: the files named by the caller, then the folders of JAHP_FAST_MODELS, then the package's own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from jahp_fast.entropy.model_file import ARCHITECTURES, ModelFile, read_id
from jahp_fast.errors import ModelError, UnknownModel

PathLike = str | os.PathLike[str]
_PACKAGE = Path(__file__).parent / "weights"


def folders() -> list[Path]:
    """The folders of JAHP_FAST_MODELS (separated as in PATH), then the package's."""
    return [Path(p) for p in os.environ.get("JAHP_FAST_MODELS", "").split(os.pathsep) if p] + [_PACKAGE]


def _in_folders() -> Iterator[Path]:
    for folder in folders():
        yield from sorted(folder.glob("*.safetensors"))


def installed() -> list[Path]:
    """Every model file in the folders; the first of a name hides later ones."""
    found: dict[str, Path] = {}
    for path in _in_folders():
        found.setdefault(path.stem, path)
    return list(found.values())


@lru_cache(maxsize=8)
def _load(path: Path, mtime_ns: int, size: int) -> ModelFile:
    return ModelFile(path)


def load(path: PathLike) -> ModelFile:
    """A model file, from memory if it has not changed on disk since.

    Raises:
        ModelError: it cannot be read or is no model file.
    """
    path = Path(path).absolute()
    try:
        stat = path.stat()
    except OSError as e:
        raise ModelError(f"cannot read the model file {path}: {e.strerror}") from None
    return _load(path, stat.st_mtime_ns, stat.st_size)


def by_name(name: str, models: Sequence[PathLike] = ()) -> ModelFile:
    """The model called `name`: a file of that stem or, among `models`, of that architecture.

    Raises:
        UnknownModel: there is none; the message says where it was looked for and how to get one.
    """
    for path in models:
        model = load(path)
        if name in (model.path.stem, model.config.architecture):
            return model
    for path in _in_folders():
        if path.stem == name:
            return load(path)
    if name in ARCHITECTURES:
        raise UnknownModel(f"no weights for {name} are installed: train some (jahp train), export a checkpoint (jahp export, "
                           "jahp import-compressai), or name a file with models= or --model")  # fmt: skip
    places = ", ".join(str(p) for p in [*models, *folders()])
    raise UnknownModel(f"no model is called {name!r} (looked in {places}); the architectures are {', '.join(ARCHITECTURES)}")


def by_id(identity: bytes, models: Sequence[PathLike] = ()) -> ModelFile:
    """The model that a stream names by its 8-byte id.

    Raises:
        UnknownModel: it is not at hand; the message has the id. ModelError: one of `models` cannot be read.
    """
    for path in models:
        if read_id(path) == identity:
            return load(path)
    unreadable = []  # a broken file in a folder must not hide the others
    for path in _in_folders():
        try:
            found = read_id(path) == identity
        except ModelError:
            unreadable.append(str(path))
            continue
        if found:
            return load(path)
    places = ", ".join(str(p) for p in [*models, *folders()])
    broken = f" ({', '.join(unreadable)} cannot be read)" if unreadable else ""
    raise UnknownModel(f"the stream was written by model {identity.hex()}, which is not in {places}{broken}; "
                       "name its file with models= or --model")  # fmt: skip
