# SPDX-License-Identifier: Apache-2.0
"""The worked example of docs/reference/format.md, built from the model that the page prints. Run it to print the
blocks that the page shows.

    python tests/support/format_example.py
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jahp_fast.entropy import reference
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.entropy.model_file import ModelConfig, ModelFile, save_model
from jahp_fast.files import container

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "format.md"
WIDTH, HEIGHT, LANES, QUALITY = 40, 20, 2, 4.0
Z = [2]
Y = [[[0, 1], [-1, 0], [2, -3]], [[1, 0], [40, 2], [0, -1]]]  # row, column, channel; 40 is an escape
_DTYPES = {"weight": np.int8, "starts": np.uint16}


@dataclass(frozen=True)
class Traced:
    """One symbol on its way through the range coder."""

    lane: int
    row: reference.TableRow
    shift: int
    before: int
    value: int
    after: int


def block(language: str, number: int = 0) -> str:
    """A fenced block of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[number]


def build(folder: Path, fields: dict[str, Any]) -> ModelFile:
    """The model file of the page's JSON: {"config": ..., "entropy": {name: nested lists}}."""
    fields = json.loads(json.dumps(fields))
    fields["config"].pop("version")
    fields["config"]["qualities"] = tuple(fields["config"]["qualities"])
    config = ModelConfig(**fields["config"])
    entropy = {name: np.array(values, _DTYPES.get(name.rsplit(".", 1)[-1], np.int32)) for name, values in fields["entropy"].items()}
    save_model(folder / "example.safetensors", config, entropy, {}, {})
    return ModelFile(folder / "example.safetensors")


def arrays() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    return np.array(Z, np.int32).reshape(1, 1, 1), np.array(Y, np.int32)


def stream(model: ModelFile) -> bytes:
    """The example's file."""
    z, y = arrays()
    layout = StreamLayout(2, 3, LANES, 0, container.min_payload_bytes(WIDTH, HEIGHT))
    payload, _, _ = reference.encode(reference.ReferenceModel(model), z, y, layout)
    checksum = reference.symbol_checksum(z, y)
    return container.pack(container.Stream(WIDTH, HEIGHT, "RGB", QUALITY, model.id, LANES, 0, checksum, payload, {b"note": b"hi"}))


class _TracingDecoder(reference.RangeDecoder):
    traced: list[Traced]

    def get(self, lane: int, row: reference.TableRow, shift: int = 0) -> int:
        before = self._states[lane]
        value = super().get(lane, row, shift)
        type(self).traced.append(Traced(lane, row, shift, before, value, self._states[lane]))
        return value


def trace(model: ModelFile, data: bytes) -> list[Traced]:
    """Every symbol of the example in coding order."""
    parsed = container.unpack(data)
    _TracingDecoder.traced = []
    usual = reference.RangeDecoder
    try:
        reference.RangeDecoder = _TracingDecoder  # type: ignore[misc]
        layout = StreamLayout(2, 3, parsed.lanes, parsed.skip, container.min_payload_bytes(WIDTH, HEIGHT))
        reference.decode(reference.ReferenceModel(model), parsed.payload, layout)
    finally:
        reference.RangeDecoder = usual  # type: ignore[misc]
    return _TracingDecoder.traced


def parameters(model: ModelFile, y: NDArray[np.int32] | None = None) -> NDArray[np.int64]:
    """(h, w, 2M) scales and means of the example, or of another Y, computed for all positions at once: what the page's tables show."""
    y = arrays()[1] if y is None else y
    integer = reference.ReferenceModel(model)
    x = np.concatenate([hyper(integer), context(integer, y)], axis=2).reshape(y.shape[0] * y.shape[1], -1)
    for layer in integer.parameters:
        x = layer.dense(x)
    return x.reshape(*y.shape[:2], -1)


def hyper(integer: reference.ReferenceModel) -> NDArray[np.int64]:
    z, y = arrays()
    return integer.hyper_features(z.astype(np.int64), *y.shape[:2])


def context(integer: reference.ReferenceModel, y: NDArray[np.int32]) -> NDArray[np.int64]:
    """The masked convolution at every position, by its formula and not by the decoder's code."""
    x = integer.context_input(y.astype(np.int64))
    h, w, _ = x.shape
    weight = integer.context.weight.astype(np.int64)
    half = weight.shape[2] // 2
    total = np.zeros((h, w, weight.shape[0]))
    for r, q in np.ndindex(h, w):
        for cell in range(weight.shape[2] ** 2 // 2):
            i, j = r + cell // weight.shape[2] - half, q + cell % weight.shape[2] - half
            if 0 <= i < h and 0 <= j < w:
                total[r, q] += weight[:, :, cell // weight.shape[2], cell % weight.shape[2]] @ x[i, j]
    return integer.context.requantise(total)


def hex_dump(data: bytes) -> str:
    """Sixteen bytes a line behind their offset."""
    return "".join(f"{at:4d}  {data[at : at + 16].hex(' ')}\n" for at in range(0, len(data), 16))


def symbol_table(model: ModelFile, data: bytes) -> str:
    """The page's table of symbols."""
    integer, means = reference.ReferenceModel(model), parameters(model)
    lines = ["| what | scale, mean | row | shift | lane | state before | value | state after |", "|---|---|---|---|---|---|---|---|"]
    places = [("z", 0, 0, 0)]
    for t, step in enumerate(reference.wavefront(2, 3, 3)):
        places += [(f"step {t}: y", r, q, m) for r, q in step for m in range(2)]
    for (what, r, q, m), s in zip(places, trace(model, data), strict=True):
        row = integer.rows.index(s.row)
        pair = "" if what == "z" else f"{means[r, q, m]}, {means[r, q, 2 + m]}"
        lines.append(f"| {what}({r}, {q}, {m}) | {pair} | {row} | {s.shift} | {s.lane} | {s.before} | {s.value} | {s.after} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        example = build(Path(temporary), json.loads(block("json")))
        example_data = stream(example)
        print(example.id.hex(), example.config.to_json().decode(), example.manifest, sep="\n")
        print(hex_dump(example_data))
        print(hyper(reference.ReferenceModel(example)).tolist())
        print(context(reference.ReferenceModel(example), arrays()[1]).tolist())
        print(symbol_table(example, example_data))
