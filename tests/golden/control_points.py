# SPDX-License-Identifier: Apache-2.0
"""Writes control_points.json: digests of every golden stream at the control points of docs/reference/format.md, by the reference decoder.

    python tests/golden/control_points.py

Streams are read, never written. A stream that stands in the file already must keep its digests; only new ones are added.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from jahp_fast.entropy import reference
from jahp_fast.entropy.model_file import ModelFile, read_id
from jahp_fast.files import container
from jahp_fast.pipelines.entropy_path import layout_of

HERE = Path(__file__).parent


def digest(array: np.ndarray) -> str:
    """SHA-256 of int32, little-endian, row-major."""
    return hashlib.sha256(np.ascontiguousarray(array, "<i4").tobytes()).hexdigest()


class Watched(reference.ReferenceModel):
    """The reference model, keeping what passes: `hyper`, and the parameters of each step that has positions."""

    def __init__(self, model: ModelFile) -> None:
        super().__init__(model)
        self.hyper: np.ndarray = np.zeros((0, 0, 0), np.int64)
        self.parameters_seen: list[np.ndarray] = []

    def hyper_features(self, z: np.ndarray, height: int, width: int) -> np.ndarray:
        self.hyper = super().hyper_features(z, height, width)
        return self.hyper

    def symbols(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.parameters_seen.append(features)
        return super().symbols(features)


def control_points(data: bytes, models: dict[bytes, Path]) -> dict[str, Any]:
    stream = container.unpack(data)
    file = ModelFile(models[stream.model])
    model = Watched(file)
    h, w = -(-stream.height // 16), -(-stream.width // 16)
    z, y = reference.decode(model, stream.payload, layout_of(stream, file))
    slope = model.context.weight.shape[2] // 2 + 1 if model.config.context else 0
    parameters, steps = iter(model.parameters_seen), []
    nothing = np.zeros(0, np.int32)
    for positions in reference.wavefront(h, w, slope):
        given = next(parameters) if positions and model.config.conditional else nothing
        values = y[tuple(np.array(positions).T)] if positions else nothing
        steps.append([digest(given)[:16], digest(values)[:16]])
    return {"z": digest(z), "hyper": digest(model.hyper), "steps": steps, "y": digest(y)}


def main() -> None:
    path = HERE / "control_points.json"
    old = json.loads(path.read_text()) if path.exists() else {}
    models = {read_id(p): p for p in HERE.glob("*.safetensors")}
    new = {p.stem: control_points(p.read_bytes(), models) for p in sorted(HERE.glob("*.jahp"))}
    changed = sorted(name for name in old if old[name] != new.get(name))
    if changed:
        sys.exit(f"control points of released streams differ: {', '.join(changed)}")
    lines = (f" {json.dumps(name)}: {json.dumps(points, separators=(',', ':'))}" for name, points in new.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    steps = sum(len(points["steps"]) for points in new.values())
    print(f"{len(new)} streams, {len(new) - len(old)} of them new, {steps} steps, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
