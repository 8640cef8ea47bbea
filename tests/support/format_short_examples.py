# SPDX-License-Identifier: Apache-2.0
"""The short examples of docs/reference/format.md, computed. Run it to write them into the page anew, each between its two marks.

python tests/support/format_short_examples.py
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import format_example as example
import numpy as np
from numpy.typing import NDArray

from jahp_fast.entropy import reference
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.entropy.model_file import ModelFile, save_model
from jahp_fast.files import container
from jahp_fast.files.alpha import pack_alpha

SKIP = 1
PADDED_SIDE = 1024
ALPHA = [[255, 255, 128, 0], [255, 254, 127, 0], [0, 1, 130, 0]]
TAPS = ([1, 2, 3, 2, 1], [1, -1, 2, 3, 1])
"""Of a kernel of g_s, by row and by column: kernel(a, b) is their product."""
LAYERS = [([[20]], [[5000]], 6), ([[10]], [[-3000]], 7), ([[8], [11]], [[0], [100]], 7), ([[4, 2, -2]] * 2, [[16384, 32768, 49152]] * 2, 8)]
"""Of each transposed convolution of g_s: by row and output the factor of the kernel, and the bias; the shift."""
GAMMA, BETA, GDN_SHIFT = 100, 1_000_000, 10
LATENT, QUALITY, LOGS = 3, 4.5, (32768, 25810)


def fields(**config: Any) -> dict[str, Any]:
    """The page's model with other fields of its config."""
    made = copy.deepcopy(json.loads(example.block("json")))
    made["config"] |= config
    return dict(made)


def packed(model: ModelFile, z: Any, y: Any, width: int, height: int, lanes: int, skip: int) -> tuple[bytes, NDArray[np.int32]]:
    """A file without chunks at quality 4, and Y as a decoder gets it."""
    layout = StreamLayout(*y.shape[:2], lanes, skip, container.min_payload_bytes(width, height))
    payload, seen, _ = reference.encode(reference.ReferenceModel(model), z, y, layout)
    checksum = reference.symbol_checksum(z, seen)
    return container.pack(container.Stream(width, height, "RGB", 4.0, model.id, lanes, skip, checksum, payload)), seen


def hex_block(data: bytes) -> str:
    return f"```hexdump\n{example.hex_dump(data)}```\n"


def skipped(folder: Path, form: str) -> tuple[ModelFile, bytes, NDArray[np.int32]]:
    """The worked example's latents with a skip threshold of 1: model, file and Y."""
    model = example.build(folder, fields(form=form))
    z, y = example.arrays()
    return model, *packed(model, z, y << (model.config.frac_bits), example.WIDTH, example.HEIGHT, example.LANES, SKIP)


def symbol_rows(model: ModelFile, y: NDArray[np.int32]) -> list[list[str]]:
    """Place, scale, mean, scale index, what was coded, and Y, of each symbol of y in coding order."""
    config, integer = model.config, reference.ReferenceModel(model)
    both, rows = example.parameters(model, y), []
    for r, q in itertools.chain.from_iterable(reference.wavefront(*y.shape[:2], 3)):
        for m in range(config.latents):
            scale, mean, value = (int(n) for n in (both[r, q, m], both[r, q, config.latents + m], y[r, q, m]))
            s = int(np.searchsorted(integer.thresholds, scale, side="right"))
            coded = str((value - mean) >> config.mean_bits if config.form == "B" else value) if s >= SKIP else "skipped"
            rows.append([f"y({r}, {q}, {m})", f"{scale}", f"{mean}", f"{s}", coded, f"{value}"])
    return rows


def form_b(folder: Path) -> str:
    model, data, y = skipped(folder, "B")
    lines = [f"The model's id is `{model.id.hex()}`. The file has {len(data)} bytes:", "", hex_block(data)]
    lines += ["| symbol | scale | mean | s | coded | Y |", "|---|---|---|---|---|---|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in symbol_rows(model, y))]) + "\n"


def skip_in_form_a(folder: Path) -> str:
    model, data, y = skipped(folder, "A")
    lines = [f"The file has {len(data)} bytes and the checksum of the symbols `0x{container.unpack(data).checksum:08x}`.", ""]
    lines += ["| skipped symbol | mean | ŷ = (mean + 2) >> 2 |", "|---|---|---|"]
    for place, _, mean, _, coded, value in symbol_rows(model, y):
        if coded == "skipped":
            assert (int(mean) + 2) >> 2 == int(value)
            lines.append(f"| {place} | {mean} | {value} |")
    return "\n".join(lines) + "\n"


def padded(folder: Path) -> tuple[ModelFile, bytes, NDArray[np.int32]]:
    """A large picture whose latents cost next to nothing: z is 0, and all of y is skipped. Model, file and Y."""
    model, side = example.build(folder, fields()), PADDED_SIDE // 16
    z, y = np.zeros((side // 4, side // 4, 1), np.int32), np.zeros((side, side, 2), np.int32)
    return model, *packed(model, z, y, PADDED_SIDE, PADDED_SIDE, 1, 2)


def padding(folder: Path) -> str:
    _, data, _ = padded(folder)
    payload = data[container.HEADER_BYTES :]
    least = container.min_payload_bytes(PADDED_SIDE, PADDED_SIDE)
    zeros = len(payload) - len(payload.rstrip(b"\0"))
    assert len(payload) == least
    text = f"`least` is ⌈{PADDED_SIDE} · {PADDED_SIDE} / 16384⌉ = {least} bytes. The payload, with {zeros} zeros at its end, is"
    return f"{text}\n\n{hex_block(payload)}\nand the checksum of the symbols `0x{container.unpack(data).checksum:08x}`.\n"


def alpha_chunk() -> bytes:
    """The chunk of ALPHA."""
    data = pack_alpha(np.array(ALPHA, np.uint8))
    return struct.pack("<4sI", b"ALPH", len(data)) + data


def alpha(_: Path) -> str:
    table = ["| alpha |", "|---|", *(f"| {' '.join(map(str, row))} |" for row in ALPHA)]
    return "\n".join([*table, "", hex_block(alpha_chunk())])


def kernel() -> NDArray[np.int64]:
    return np.outer(*TAPS)


def transform_tensors() -> dict[str, NDArray[Any]]:
    """g_s of one channel within, as a model file stores it."""
    tensors: dict[str, NDArray[Any]] = {
        "inv_gain": np.array([[log] * 2 for log in LOGS], np.int32),
    }
    for i, (factors, bias, shift) in enumerate(LAYERS):
        weight = np.array(factors)[:, None, :, None, None] * kernel()  # (rows, 1, outputs, 5, 5)
        if i == 0:  # two latents; the second is 0 in the example, so that its weights show nothing
            weight = np.concatenate([weight, weight], 1)
        rows = slice(None) if i >= 2 else 0
        tensors |= {f"g_s.{2 * i}.weight": weight[rows].astype(np.int16), f"g_s.{2 * i}.bias": np.array(bias, np.int32)[rows]}
        tensors[f"g_s.{2 * i}.shift"] = np.full(len(bias[0]), shift, np.uint8)
        if i < 3:
            gdn = {"gamma": np.array([[GAMMA]], np.int16), "beta": np.array([BETA], np.int32), "shift": np.array([GDN_SHIFT], np.uint8)}
            tensors |= {f"g_s.{2 * i + 1}.{part}": value for part, value in gdn.items()}
    return tensors


def transforms_model(folder: Path) -> ModelFile:
    """The page's model with `transform_tensors`."""
    model = example.build(folder, fields())
    save_model(folder / "pixels.safetensors", model.config, model.entropy, transform_tensors(), {})
    return ModelFile(folder / "pixels.safetensors")


def between(low: int, high: int) -> int:
    """At QUALITY, between rows of quality 1 and 8."""
    t, d = round(20 * (QUALITY - 1)), 140
    return (low * (d - t) + high * t + d // 2) // d


def transposed(x: list[list[int]], rows: list[int], bias: list[int]) -> list[list[int]]:
    """One channel, by the page's formula: (h, w) -> sums (2 h, 2 w). `rows`: factors of the kernel, of one or of two rows."""
    h, w = len(x), len(x[0])
    cells = [[between(rows[0] * int(k), rows[-1] * int(k)) for k in line] for line in kernel()]
    out = [[between(bias[0], bias[-1])] * (2 * w) for _ in range(2 * h)]
    for i, j, a, b in itertools.product(range(h), range(w), range(5), range(5)):
        r, q = 2 * i + a - 2, 2 * j + b - 2
        if 0 <= r < 2 * h and 0 <= q < 2 * w:
            out[r][q] += cells[a][b] * x[i][j]
    return out


def gain() -> tuple[int, int, int]:
    """The mixed logarithm at QUALITY, its multiplier and its shift."""
    log = between(*LOGS)
    coarse, fine = (round(2 ** (15 + i / steps)) for i, steps in ((log >> 6 & 63, 64), (log & 63, 4096)))
    return log, (coarse * fine + (1 << 14)) >> 15, 15 - (log >> 12)


def shifted(a: int, s: int) -> int:
    return (a + (1 << s >> 1)) >> s


def limited(a: int, low: int, high: int) -> int:
    return max(low, min(a, high))


def root(n: int) -> int:
    r = math.isqrt(n)
    return r + (n > r * r + r)


def synthesis() -> tuple[int, list[tuple[str, list[list[int]]]], list[list[list[int]]]]:
    """The input of g_s, the outputs of its layers (2 h, 2 w), and the last ones, 3 of (16, 16), not limited."""
    first = shifted(LATENT * gain()[1], gain()[2])
    x, steps = [[first]], []
    for i, (factors, bias, shift) in enumerate(LAYERS[:3]):
        sums = transposed(x, [row[0] for row in factors], [row[0] for row in bias])
        x = [[limited(shifted(n, shift), -16383, 16383) for n in line] for line in sums]
        steps.append((f"`g_s.{2 * i}`", x))
        x = [[limited(shifted(n * root(BETA + GAMMA * shifted(n * n, 12)), GDN_SHIFT), -8191, 8191) for n in line] for line in x]
        steps.append((f"`g_s.{2 * i + 1}`", x))
    factors, bias, shift = LAYERS[3]
    colours = [transposed(x, [row[c] for row in factors], [row[c] for row in bias]) for c in range(3)]
    return first, steps, [[[shifted(n, shift) for n in line] for line in colour] for colour in colours]


def one_value(_: Path) -> str:
    first, steps, last = synthesis()
    lines = [
        "The mixed logarithm is {}, its multiplier {} and its shift {}. So the input of `g_s.0` is".format(*gain()),
        f"shifted({LATENT} · {gain()[1]}, {gain()[2]}) = {first}. The upper left 2 x 2 values behind each layer:",
        "",
        "| layer | (0, 0) | (0, 1) | (1, 0) | (1, 1) |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, x in [*steps, *((f"`g_s.6`, {c}", x) for c, x in zip(("red", "green", "blue"), last, strict=True))]:
        lines.append(f"| {name} | " + " | ".join(str(n) for line in x[:2] for n in line[:2]) + " |")
    corner = [limited(colour[0][0], 0, 255) for colour in last]
    lines += ["", f"So the pixel at (0, 0) is {tuple(corner)}; in mode 1 it is {(sum(corner) + 1) // 3}."]
    return "\n".join(lines) + "\n"


EXAMPLES: dict[str, Callable[[Path], str]] = {
    "form B": form_b,
    "skip in form A": skip_in_form_a,
    "padding": padding,
    "alpha": alpha,
    "g_s": one_value,
}


def made(name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return "\n" + EXAMPLES[name](Path(folder)) + "\n"


def on_page(name: str) -> str:
    """What stands between the marks now."""
    found = re.findall(region(name), example.PAGE.read_text(), re.DOTALL)
    assert len(found) == 1, name
    return str(found[0][1])


def region(name: str) -> str:
    return rf"(<!-- example {re.escape(name)} -->\n)(.*?)(<!-- end of example -->\n)"


def write(name: str) -> None:
    """Puts the example into the page."""
    text = made(name)
    page = re.sub(region(name), lambda m: m[1] + text + m[3], example.PAGE.read_text(), flags=re.DOTALL)
    example.PAGE.write_text(page)


if __name__ == "__main__":
    for each in EXAMPLES:
        write(each)
