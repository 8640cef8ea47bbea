# SPDX-License-Identifier: Apache-2.0
"""Where models are looked for: the files named by the caller, then the folders of JAHP_FAST_MODELS, then the package's own.

What a file was encoded with is looked for once more in `jahp_fast_models`, a package of the models of all releases.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from jahp_fast.entropy.model_file import ARCHITECTURES, ModelFile, read_id
from jahp_fast.errors import ModelError, UnknownModel

PathLike = str | os.PathLike[str]
_SHOWN = 160
"""Characters of a path in a message, at most."""
_PACKAGE = Path(__file__).parent / "weights"
RELEASED = "jahp_fast_models"
"""The package of the models of all releases; its sources are packaging/models."""


def folders() -> list[Path]:
    """The folders of JAHP_FAST_MODELS (separated as in PATH, with ~ for the home folder), then the package's."""
    return [Path(os.path.expanduser(p)) for p in os.environ.get("JAHP_FAST_MODELS", "").split(os.pathsep) if p] + [_PACKAGE]


def _names_in(folder: Path) -> list[str]:
    """Names of the model files in a folder, sorted. Raises OSError where it cannot be listed."""
    return sorted(name for name in os.listdir(folder) if name.endswith(".safetensors"))


def _in_folders() -> Iterator[Path]:
    for folder in folders():
        with contextlib.suppress(OSError):  # unreadable() says why, wherever it matters
            yield from [folder / name for name in _names_in(folder)]


def _released() -> list[Path]:
    """Model files of the package of all releases, where it is installed."""
    spec = importlib.util.find_spec(RELEASED)
    homes = (spec.submodule_search_locations if spec else None) or ()
    return sorted(path for home in homes for path in Path(home).rglob("*.safetensors"))


def _everywhere() -> Iterator[Path]:
    yield from _in_folders()
    yield from _released()


def unreadable() -> dict[str, str]:
    """Folders of JAHP_FAST_MODELS that cannot be listed, as `shown`, and why."""
    out = {}
    for folder in folders():
        try:
            _names_in(folder)
        except OSError as e:
            out[shown(folder)] = e.strerror or str(e)
    return out


def shown(path: PathLike) -> str:
    """A path for a message of one line: without what moves a terminal, and not longer than a line or two."""
    text = os.fspath(path)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}...{text[-_SHOWN // 2 :]}"


def _places(models: Sequence[PathLike]) -> str:
    faults = unreadable()
    names = [shown(p) for p in [*models, *folders()]]
    return ", ".join(f"{name} ({faults[name]})" if name in faults else name for name in names)


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


@lru_cache(maxsize=64)
def _read_id(path: Path, mtime_ns: int, size: int) -> bytes:
    return read_id(path)


def _id_of(path: PathLike) -> bytes:
    """The id that a model file has, from memory if it has not changed on disk since: whoever sends files that name no model here must not
    have all that are here read each time. Raises ModelError as read_id does."""
    try:
        stat = os.stat(path)
    except OSError:
        return read_id(path)  # which says what is wrong
    return _read_id(Path(path).absolute(), stat.st_mtime_ns, stat.st_size)


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
    raise UnknownModel(f"no model is called {name!r} (looked in {_places(models)}); the architectures are {', '.join(ARCHITECTURES)}")


def by_id(identity: bytes, models: Sequence[PathLike] = ()) -> ModelFile:
    """The model that a stream names by its 8-byte id.

    Raises:
        UnknownModel: it is not found; the message has the id. ModelError: one of `models` cannot be read.
    """
    for path in models:
        if _id_of(path) == identity:
            return load(path)
    broken = []  # a broken file in a folder must not hide the others
    for path in _everywhere():
        try:
            found = _id_of(path) == identity
        except ModelError:
            broken.append(shown(path))
            continue
        if found:
            return load(path)
    left_out = f" ({', '.join(broken)} cannot be read)" if broken else ""
    raise UnknownModel(f"the stream was written by model {identity.hex()}, which is not in {_places(models)}{left_out}; "
                       f"install {RELEASED}, which has the models of all releases, or name its file with models= or --model")  # fmt: skip
