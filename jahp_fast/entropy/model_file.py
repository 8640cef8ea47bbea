# SPDX-License-Identifier: Apache-2.0
"""Exported models: one safetensors file with the integer entropy path, the integer transforms and a manifest (docs/reference/format.md).

Tensor names: `config` (canonical JSON as uint8), `entropy.*` (integers, all that decoding latents needs), `transform.*` (integers: g_a,
h_a, g_s and gains), `search.*` (what an encoder's search goes by), `train.*` (floats: what only training needs to go on from the file), and
`view.*` (integers: what small pictures are made with). The model id is a hash of the manifest, the manifest a list of the tensors' names,
types, shapes and hashes, so the id names every value in the file; but for `view.*`, which no file's symbols and pixels depend on. They
stand in a list of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jahp_fast.constants import QUALITY_STEPS
from jahp_fast.entropy.check import check_entropy, check_floats
from jahp_fast.entropy.tensor_file import JsonError, TensorFile, strict_json
from jahp_fast.errors import ModelError
from jahp_fast.system.atomic import write_atomically

Array = NDArray[Any]
Form = Literal["A", "B"]

FORMAT_VERSION = 1
ROOTS = ("search.root.0", "search.root.1", "search.root.2")
CURVATURE = "search.curvature"
"""Tensors that decoders do not read, with a row a quality: what an encoder's search wants to know of g_s. See export.sensitivity."""
ARCHITECTURES = ("bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean", "mbt2018-context", "mbt2018")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FLOATS = ("search.", "train.")
"""Groups of tensors that may be floats, whose values are checked when they are read."""
_INTEGER_TYPES = ("U8", "U16", "I16", "I32")
_INTEGERS = ("transform.", "view.")
_VIEW = "view."
_DTYPES = {"uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "int32": "I32", "float16": "F16", "float32": "F32"}


@dataclass(frozen=True)
class ModelConfig:
    """What the tensors of a model file mean.

    Attributes:
        latents, hyper_latents: M and N; N is 0 without hyperprior.
        form: "A": ŷ = round(y), the mean chooses the table. "B": ŷ = round(y - mean) + mean.
        activation_bits: 8 (|a| <= 127) or 16 (|a| <= 4095).
        mean_bits: fractional bits of means, and of ŷ in form B.
        z_bits: fractional bits of `z_offset`.
        prob_bits: 15 or 16, the precision of the tables.
        qualities: rising; one row of the gains each.
    """

    architecture: str
    latents: int
    hyper_latents: int
    form: Form
    activation_bits: int
    mean_bits: int
    z_bits: int
    prob_bits: int
    qualities: tuple[float, ...]

    @property
    def conditional(self) -> bool:
        return self.architecture != "bmshj2018-factorized"

    @property
    def means(self) -> bool:
        return self.architecture in ("mbt2018-mean", "mbt2018-context", "mbt2018")

    @property
    def context(self) -> bool:
        return self.architecture in ("mbt2018-context", "mbt2018")

    @property
    def activation_limit(self) -> int:
        return 127 if self.activation_bits == 8 else 4095

    @property
    def frac_bits(self) -> int:
        """Fractional bits of decoded latents."""
        return self.mean_bits if self.form == "B" else 0

    def between(self, quality: float) -> tuple[int, int, int]:
        """(row, t, steps): a quality lies t of `steps` twentieths above the row's; t is 0 only at the first row."""
        if len(self.qualities) == 1:
            return 0, 0, 1
        high = min(max(bisect_left(self.qualities, quality), 1), len(self.qualities) - 1)
        steps = round((self.qualities[high] - self.qualities[high - 1]) * QUALITY_STEPS)
        return high - 1, round((quality - self.qualities[high - 1]) * QUALITY_STEPS), steps

    def as_native(self) -> dict[str, Any]:
        """The dictionary that `_native.EntropyModel` takes."""
        names = (
            "latents",
            "hyper_latents",
            "conditional",
            "means",
            "context",
            "form",
            "activation_bits",
            "mean_bits",
            "z_bits",
            "prob_bits",
        )
        return {name: getattr(self, name) for name in names}

    def to_json(self) -> bytes:
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields["qualities"] = list(self.qualities)
        return json.dumps({"version": FORMAT_VERSION, **fields}, sort_keys=True, separators=(",", ":")).encode()

    @staticmethod
    def from_json(text: bytes) -> ModelConfig:
        try:
            fields = strict_json(text)
        except JsonError as e:
            raise ModelError(f"model config is not JSON in UTF-8: {e}") from None
        version = fields.pop("version", None) if isinstance(fields, dict) else None
        if type(version) is not int or version != FORMAT_VERSION:
            raise ModelError(f"model config is not of version {FORMAT_VERSION}")
        if set(fields) != set(ModelConfig.__dataclass_fields__):
            raise ModelError(f"model config has the fields {sorted(fields)!a}, not {sorted(ModelConfig.__dataclass_fields__)}")
        integers = ("latents", "hyper_latents", "activation_bits", "mean_bits", "z_bits", "prob_bits")
        qualities = fields["qualities"]
        if any(type(fields[name]) is not int for name in integers) or not isinstance(qualities, list) or not qualities:
            raise ModelError("model config has a field of the wrong type")
        if any(type(q) not in (int, float) for q in qualities) or sorted(set(qualities)) != qualities:
            raise ModelError("model config: qualities must rise")
        if qualities[0] < 1 or qualities[-1] > 8:
            raise ModelError("model config: qualities must lie in 1 to 8")
        if any(round(q * QUALITY_STEPS) / QUALITY_STEPS != q for q in qualities):
            raise ModelError(f"model config: qualities must be multiples of 1/{QUALITY_STEPS}, as those of files are")
        for name, allowed, wrong in (
            ("architecture", ARCHITECTURES, "unknown architecture"),
            ("form", ("A", "B"), "form must be A or B, not"),
        ):
            if fields[name] not in allowed:
                said = ascii(fields[name]) if isinstance(fields[name], str) else "what is no string"
                raise ModelError(f"model config: {wrong} {said}")
        hyper = fields["architecture"] not in ("bmshj2018-factorized", "mbt2018-context")
        for name, values in {
            "latents": range(1, 4097),
            "hyper_latents": range(1, 4097) if hyper else (0,),
            "activation_bits": (8, 16),
            "mean_bits": range(9),
            "z_bits": range(9),
            "prob_bits": (15, 16),
        }.items():
            if fields[name] not in values:
                raise ModelError(f"model config: {name} cannot be {fields[name]} in {fields['architecture']}")
        if fields["form"] == "B" and fields["architecture"] in ("bmshj2018-factorized", "bmshj2018-hyperprior"):
            raise ModelError(f"model config: {fields['architecture']} predicts no means, so its form must be A")
        fields["qualities"] = tuple(float(q) for q in qualities)
        return ModelConfig(**fields)


def tensor_line(name: str, array: Array) -> str:
    """One line of the manifest: name, dtype, shape and SHA-256 of the little-endian bytes, separated by single spaces."""
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    shape = ",".join(str(n) for n in array.shape)
    return f"{name} {_DTYPES[array.dtype.name]} [{shape}] {hashlib.sha256(little.tobytes()).hexdigest()}"


def model_id(manifest: str) -> bytes:
    """The first 8 bytes of the manifest's SHA-256."""
    return hashlib.sha256(manifest.encode()).digest()[:8]


def read_id(path: str | os.PathLike[str]) -> bytes:
    """The id that a model file claims, from its header alone, without reading or verifying tensors."""
    return model_id(TensorFile(path).metadata.get("manifest", ""))


class ModelFile:
    """An exported model. The config and the `entropy.*` tensors are read and checked at once, all others when asked for.

    The file stays open: it may be replaced or removed meanwhile. A copy or pickle of this object holds the config and the entropy path
    alone, since an open file belongs to one process; whatever needs another tensor of it raises ModelError.

    Attributes:
        path: where it came from.
        config: a ModelConfig.
        manifest: the manifest's text.
        id: the 8 bytes by which streams name the model.
        entropy: the integer tensors, without their prefix.
        metric: the distortion that the weights were trained for, "mse" or "ms-ssim". A hint for encoders, not part of the id.

    Raises:
        ModelError: the file is no model file, a tensor is missing, has the wrong type, does not match its hash or breaks a rule of
            docs/reference/format.md, "Model file".
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: TensorFile | None = TensorFile(path)
        self.names, metadata = self._file.names, self._file.metadata
        if metadata.get("jahp") != str(FORMAT_VERSION):
            raise ModelError(f"{self.path}: is a safetensors file, but not an exported jahp model of version {FORMAT_VERSION}")
        self.manifest = metadata.get("manifest", "")
        self.metric = metadata.get("metric", "mse")
        self.id = model_id(self.manifest)
        self._lines: dict[str, str] = {}
        for listed, views in ((self.manifest, False), (metadata.get("views", ""), True)):
            lines = {line.split(" ", 1)[0]: line for line in listed.splitlines()}
            names = [name for name in self.names if name.startswith(_VIEW) == views]
            if sorted(lines) != names or listed != "".join(f"{lines[n]}\n" for n in names):
                raise ModelError(f"{self.path}: the manifest does not list the tensors of the file")
            self._lines |= lines
        for name, line in self._lines.items():
            kind = f"{name} {self._file.kind(name)} "
            if not line.startswith(kind) or not _SHA256.fullmatch(line[len(kind) :]):
                raise ModelError(f"{self.path}: tensor {name} does not match the manifest")
            if name.startswith(_INTEGERS) and kind.split(" ")[1] not in _INTEGER_TYPES:
                wanted = ", ".join(_INTEGER_TYPES)
                raise ModelError(f"{self.path}: tensor {name} has the dtype {kind.split(' ')[1]}; transforms have one of {wanted}")
        tensors = {name: self._read(name) for name in self.names if name == "config" or name.startswith("entropy.")}
        config = tensors.pop("config", None)
        if config is None or config.dtype != np.uint8 or config.ndim != 1:
            raise ModelError(f"{self.path}: has no config")
        self.entropy = {name.removeprefix("entropy."): array for name, array in tensors.items()}
        try:
            self.config = ModelConfig.from_json(config.tobytes())
            check_entropy(self.config, self.entropy)
        except ModelError as e:
            raise ModelError(f"{self.path}: {e}") from None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "search"} | {"_file": None}

    def z_row(self, quality: float) -> int:
        """The table row of z's first channel in files of a quality: that of the nearest of the model's, of two the higher."""
        return self.z_row_of(self._nearest(quality))

    def z_row_of(self, row: int) -> int:
        """The same of a row of the gains."""
        return int(self.entropy["z_rows"][row]) if self.config.hyper_latents and "z_rows" in self.entropy else 0

    def skip(self, quality: float) -> int:
        """The skip threshold that an encoder takes in files of a quality: that of the nearest of the model's, of two the higher."""
        thresholds = self.entropy.get("scale.skip") if self.config.conditional else None
        return 0 if thresholds is None else int(thresholds[self._nearest(quality)])

    def _nearest(self, quality: float) -> int:
        row, t, steps = self.config.between(quality)
        return row + (2 * t >= steps)

    def _read(self, name: str) -> Array:
        """A tensor as it is stored. Raises ModelError for one that does not match the manifest, or breaks a rule of float tensors."""
        if self._file is None:
            raise ModelError(f"{self.path}: this copy of it holds the entropy path alone, not {name}")
        array = self._file.read(name)
        if tensor_line(name, array) != self._lines[name]:
            raise ModelError(f"{self.path}: tensor {name} does not match the manifest")
        if name.startswith(_FLOATS):
            try:
                check_floats(name, array)
            except ModelError as e:
                raise ModelError(f"{self.path}: {e}") from None
        return array

    def read_transforms(self, prefix: str) -> dict[str, Array]:
        """The integer tensors of transforms whose name starts with `prefix`, without `transform.`; no others are read. Raises ModelError
        for one that does not match the manifest."""
        return {name.removeprefix("transform."): self._read(name) for name in self.names if name.startswith(f"transform.{prefix}")}

    def read_views(self, prefix: str) -> dict[str, Array]:
        """The same of what small pictures are made with, without `view.`."""
        return {name.removeprefix(_VIEW): self._read(name) for name in self.names if name.startswith(f"{_VIEW}{prefix}")}

    @cached_property
    def search(self) -> dict[str, Array]:
        """The tensors `search.*`, by their whole names. Raises ModelError for one that does not match the manifest, or has a number that
        is not finite."""
        return {name: self._read(name) for name in self.names if name.startswith("search.")}

    @property
    def train(self) -> dict[str, Array]:
        """What only training needs, float32, without prefix. Raises ModelError as `search` does."""
        return {name.removeprefix("train."): self._read(name).astype(np.float32) for name in self.names if name.startswith("train.")}

    def verify(self) -> None:
        """Checks every tensor against the manifest and for numbers that are not finite; raises ModelError naming the
        first that is wrong."""
        for name in self.names:
            self._read(name)


def save_model(
    path: str | os.PathLike[str],
    config: ModelConfig,
    entropy: Mapping[str, Array],
    transforms: Mapping[str, Array],
    train: Mapping[str, Array],
    search: Mapping[str, Array] | None = None,
    metric: str = "mse",
    force: bool = False,
) -> bytes:
    """Writes a model file atomically and returns its id.

    Args:
        entropy, transforms, train: without their prefixes, of any type that a model file has.
        search: by their whole names.
        metric: see ModelFile. force: see atomic_file.

    Raises:
        ModelError: a float is not finite, or a gain is beyond all use; nothing is written.
    """
    tensors: dict[str, Array] = {"config": np.frombuffer(config.to_json(), np.uint8)}
    for prefix, group in (("entropy.", entropy), ("transform.", transforms), ("train.", train), ("", search or {})):
        tensors |= {prefix + name: np.ascontiguousarray(array) for name, array in group.items()}
    for name, array in tensors.items():
        if name.startswith(_FLOATS):
            check_floats(name, array)
    return _write(path, tensors, metric, force)


def save_views(path: str | os.PathLike[str], views: Mapping[str, Array], force: bool = False) -> None:
    """Writes a model file anew, with these tensors `view.*`, without their prefix, in place of any that it has. Its id stays. Raises
    ModelError for a file that is none."""
    model = ModelFile(path)
    kept = {name: model._read(name) for name in model.names if not name.startswith(_VIEW)}
    _write(path, kept | {_VIEW + name: np.ascontiguousarray(array) for name, array in views.items()}, model.metric, force)


def replace_entropy(path: str | os.PathLike[str], entropy: Mapping[str, Array], force: bool = False) -> bytes:
    """Writes a model file anew, with these tensors `entropy.*`, without their prefix, in place of those of the same names or beside
    all; returns the new id. Raises ModelError for a file that is none."""
    model = ModelFile(path)
    kept = {name: model._read(name) for name in model.names}
    return _write(path, kept | {f"entropy.{name}": np.ascontiguousarray(array) for name, array in entropy.items()}, model.metric, force)


def replace_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Array], out: str | os.PathLike[str], force: bool = False) -> bytes:
    """Writes a model file to `out` with these tensors, by their whole names, in the place of its own, and without any `view.*`, which
    would be of its own; returns the new id. Raises ModelError for a file that is none."""
    model = ModelFile(path)
    kept = {name: model._read(name) for name in model.names if not name.startswith(_VIEW)}
    return _write(out, kept | {name: np.ascontiguousarray(array) for name, array in tensors.items()}, model.metric, force)


def _write(path: str | os.PathLike[str], tensors: Mapping[str, Array], metric: str, force: bool) -> bytes:
    """By their whole names; returns the id."""
    from safetensors.numpy import save

    lists = {
        views: "".join(f"{tensor_line(name, tensors[name])}\n" for name in sorted(tensors) if name.startswith(_VIEW) == views)
        for views in (False, True)
    }
    metadata = {"jahp": str(FORMAT_VERSION), "manifest": lists[False], "metric": metric} | ({"views": lists[True]} if lists[True] else {})
    write_atomically(path, save(dict(tensors), metadata), force)
    return model_id(lists[False])
