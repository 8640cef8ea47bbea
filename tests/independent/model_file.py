# SPDX-License-Identifier: Apache-2.0
"""The model file of docs/reference/format.md: its config and integer tensors, checked. Written from that page alone."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .rules import Refused, require

DTYPES = {"U8": "<u1", "I8": "<i1", "U16": "<u2", "I16": "<i2", "I32": "<i4", "F16": "<f2", "F32": "<f4"}
#                   z and h_s, context, means
ARCHITECTURES = {
    "bmshj2018-factorized": (False, False, False),
    "bmshj2018-hyperprior": (True, False, False),
    "mbt2018-mean": (True, False, True),
    "mbt2018-context": (False, True, True),
    "mbt2018": (True, True, True),
}
FIELDS = {
    "version", "architecture", "latents", "hyper_latents", "form", "activation_bits", "mean_bits", "z_bits", "prob_bits", "qualities",
}  # fmt: skip


def read_json(data: bytes) -> dict[str, Any]:
    """An object of RFC 8259 in UTF-8: no byte order mark, no name twice, no NaN, no half of a surrogate pair."""

    def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        require(len({name for name, _ in pairs}) == len(pairs), "a name is there twice")
        return dict(pairs)

    def no_number(text: str) -> None:
        raise Refused(f"{text} is no number")

    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=without_doubles, parse_constant=no_number)
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refused("no JSON") from error
    require(isinstance(found, dict), "no object")
    return dict(found)


def whole(value: object, low: int, high: int) -> bool:
    """An integer, written as one, from low to high."""
    return type(value) is int and low <= value <= high


def read_tensors(data: bytes) -> tuple[dict[str, bytes], dict[str, tuple[str, list[int]]], dict[str, str]]:
    """Bytes, (dtype, shape) and metadata strings of a safetensors file."""
    require(len(data) >= 8, "no safetensors file")
    length = int.from_bytes(data[:8], "little")
    require(length <= min(len(data) - 8, 1 << 24), "the JSON header is cut short")
    require(data[8:9] == b"{", "the JSON header is no object")
    header = read_json(data[8 : 8 + length])
    body = data[8 + length :]
    metadata = header.pop("__metadata__", {})
    require(isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values()), "metadata are no strings")
    for name, entry in header.items():
        require(re.fullmatch("[!-~]+", name) is not None, "a tensor's name")
        require(isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}, f"{name} is no tensor")
        require(entry["dtype"] in tuple(DTYPES), f"{name} has an unknown dtype")
        for numbers, most in ((entry["shape"], 8), (entry["data_offsets"], 2)):
            fine = isinstance(numbers, list) and len(numbers) <= most and all(whole(n, 0, len(data)) for n in numbers)
            require(fine, f"{name} has an impossible shape or offsets")
        require(len(entry["data_offsets"]) == 2, f"{name} has impossible offsets")
    raw, kinds, covered = {}, {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        size = int(np.prod(entry["shape"], dtype=object)) * np.dtype(DTYPES[entry["dtype"]]).itemsize
        require(begin == covered and end - begin == size and end <= len(body), f"{name} does not lie where it must")
        covered = end
        raw[name], kinds[name] = body[begin:end], (entry["dtype"], entry["shape"])
    require(covered == len(body), "bytes behind the tensors")
    return raw, kinds, metadata


class Model:
    """`config` (fields of the page), `id` (8 bytes), `tensors` (names without `entropy.`, int64) and what they say of the flow.

    `transforms`: dtype, shape, hash by the manifest and bytes of each `transform.*` tensor, its hash not checked.
    """

    def __init__(self, path: Path) -> None:
        raw, kinds, metadata = read_tensors(path.read_bytes())
        require(metadata.get("jahp") == "1", "no model file of version 1")
        manifest = metadata.get("manifest", "")
        require(manifest.endswith("\n"), "the manifest has no last line feed")
        lines = [line.split(" ") for line in manifest.removesuffix("\n").split("\n")]
        require(all(len(line) == 4 and re.fullmatch("[0-9a-f]{64}", line[3]) for line in lines), "a line of the manifest")
        listed = sorted(name for name in kinds if not name.startswith("view."))
        require([line[0] for line in lines] == listed, "the manifest lists other tensors")
        for name, dtype, shape, digest in lines:
            require((dtype, shape) == (kinds[name][0], f"[{','.join(map(str, kinds[name][1]))}]"), f"{name}: the manifest differs")
            if name == "config" or name.startswith("entropy."):
                require(hashlib.sha256(raw[name]).hexdigest() == digest, f"{name}: the manifest has another hash")
        self.transforms = {line[0]: (*kinds[line[0]], line[3], raw[line[0]]) for line in lines if line[0].startswith("transform.")}
        self.id = hashlib.sha256(manifest.encode()).digest()[:8]
        require("config" in kinds and kinds["config"][0] == "U8" and len(kinds["config"][1]) == 1, "no config")
        self.config: dict[str, Any] = read_json(raw["config"])
        self.tensors = {
            name.removeprefix("entropy."): np.frombuffer(raw[name], DTYPES[dtype]).reshape(shape).astype(np.int64)
            for name, (dtype, shape) in kinds.items()
            if name.startswith("entropy.")
        }
        self._kinds = {name.removeprefix("entropy."): kind for name, kind in kinds.items() if name.startswith("entropy.")}
        c = self.config
        require(set(c) == FIELDS and whole(c["version"], 1, 1) and c["architecture"] in tuple(ARCHITECTURES), "config: unknown fields")
        self.hyper, self.context, self.means = ARCHITECTURES[c["architecture"]]
        self.conditional = self.hyper or self.context
        self.M, self.N, self.B, self.P = c["latents"], c["hyper_latents"], c["mean_bits"], c["prob_bits"]
        self.form_b = c["form"] == "B"
        require(whole(c["activation_bits"], 8, 16) and c["activation_bits"] in (8, 16), "config: activation_bits")
        self.limit = {8: 127, 16: 4095}[c["activation_bits"]]
        require(c["form"] == "A" or (self.form_b and self.means), "config: form")
        require(whole(self.M, 1, 4096) and whole(self.N, *((1, 4096) if self.hyper else (0, 0))), "config: channels")
        require(whole(self.B, 0, 8) and whole(c["z_bits"], 0, 8) and whole(self.P, 15, 16), "config: bits")
        q = c["qualities"]
        require(isinstance(q, list) and bool(q) and all(type(n) in (int, float) for n in q), "config: qualities")
        require(q == sorted(set(q)) and q[0] >= 1 and q[-1] <= 8, "config: qualities")
        require(all(round(20 * n) / 20 == n for n in q), "config: qualities are no multiples of 1/20")
        self._check_layers()
        self._check_tables()

    def _take(self, name: str, dtype: str, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
        require(name in self.tensors, f"{name} is missing")
        require(self._kinds[name] == (dtype, list(shape)), f"{name} has another dtype or shape")
        array = self.tensors[name]
        require(array.size == 0 or (low <= array.min() and array.max() <= high), f"{name} leaves its range")
        return array

    def _layer(self, name: str, inputs: int, kernel: int | None, outputs: int | None = None, used: str = "all") -> int:
        """Checks a layer and returns its number of outputs. `kernel` None: an odd one, 3 to 15."""
        require(f"{name}.weight" in self.tensors, f"{name} is missing")
        shape = self.tensors[f"{name}.weight"].shape
        require(len(shape) == 4 and 1 <= shape[0] <= 16384, f"{name}.weight has another shape")
        k = shape[2] if kernel is None else kernel
        require(kernel is not None or (k % 2 == 1 and 3 <= k <= 15), f"{name}: kernel")
        o = shape[0] if outputs is None else outputs
        weight = np.abs(self._take(f"{name}.weight", "I8", (o, inputs, k, k), -127, 127))
        bias = np.abs(self._take(f"{name}.bias", "I32", (o,), -(2**31), 2**31 - 1))
        for part, low, high in (("mul_pos", 0, 2**31 - 1), ("mul_neg", 0, 2**31 - 1), ("shift", 1, 62), ("zero", -4095, 4095)):
            self._take(f"{name}.{part}", "I32", (o,), low, high)
        if used == "masked":
            sums = [weight.reshape(o, inputs, k * k)[:, :, : k * k // 2].sum((1, 2))]
        elif used == "phase":
            sums = [weight[:, :, a::2, b::2].sum((1, 2, 3)) for a in (0, 1) for b in (0, 1)]
        else:
            sums = [weight.sum((1, 2, 3))]
        require(all((bias + self.limit * s < 2**31).all() for s in sums), f"{name}: sums leave 32 bits")
        return o

    def _check_layers(self) -> None:
        parameters = (2 if self.means else 1) * self.M
        outputs = 0
        if self.hyper:
            inner = self._layer("h_s.2", self._layer("h_s.0", self.N, 5, used="phase"), 5, used="phase")
            outputs = self._layer("h_s.4", inner, 3, None if self.context else parameters)
            self._take("z_offset", "I32", (self.N,), -(2**20) + 1, 2**20 - 1)
        if self.context:
            outputs += self._layer("context_prediction", self.M, None, used="masked")
            for i in (0, 2, 4):
                outputs = self._layer(f"entropy_parameters.{i}", outputs, 1, parameters if i == 4 else None)
            self._take("context_input.mul", "I32", (self.M,), -32768, 32768)
            self._take("context_input.add", "I32", (self.M,), -(2**31), 2**31 - 1)
            self._take("context_input.shift", "I32", (self.M,), 0, 31)

    def _check_tables(self) -> None:
        t = self.tensors
        for name in ("tables.low", "tables.size", "tables.starts"):
            require(name in t and t[name].ndim == 1 and len(t[name]) >= 1, f"{name} is missing")
        rows = len(t["tables.low"])
        require(rows <= 1 << 16 and len(t["tables.starts"]) <= 1 << 24, "too many tables")
        low = self._take("tables.low", "I32", (rows,), -65535, 65535)
        size = self._take("tables.size", "I32", (rows,), 1, 65535)
        starts = self._take("tables.starts", "U16", (int((size + 1).sum()),), 0, 65535)
        require(rows >= self.N and (self.conditional or rows >= self.M), "too few rows of tables")
        self.z_rows = [0] * len(self.config["qualities"])
        if self.hyper and "z_rows" in t:
            self.z_rows = self._take("z_rows", "I32", (len(self.z_rows),), 0, rows - self.N).tolist()
        self.rows: list[tuple[int, int, list[int]]] = []
        at = 0
        for i in range(rows):
            row = [*starts[at : at + size[i] + 1].tolist(), 1 << self.P]
            at += int(size[i]) + 1
            require(row[0] == 0 and all(a < b for a, b in pairwise(row)), f"row {i} of the tables does not rise")
            self.rows.append((int(low[i]), int(size[i]), row))
        if self.conditional:
            require("scale.row" in t and t["scale.row"].ndim == 1, "scale.row is missing")
            s = len(t["scale.row"])
            require(1 <= s <= 1 << 16, "no scales, or too many")
            first = self._take("scale.row", "I32", (s,), 0, rows - 1)
            drop = self._take("scale.drop", "I32", (s,), 0, self.B)
            thresholds = self._take("scale.thresholds", "I32", (s - 1,), -(2**31), 2**31 - 1)
            require(bool((np.diff(thresholds) >= 0).all()), "thresholds fall")
            if self.means and not self.form_b:
                require(bool((first + ((2**self.B - 1) >> drop) < rows).all()), "a fraction's row is outside of the tables")
