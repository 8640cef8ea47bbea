# SPDX-License-Identifier: Apache-2.0
"""The decoder that was written from docs/format.md alone (tests/independent) reads what the package writes, step by step."""

import ast
import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import independent
import numpy as np
import pytest
from support import SHIPPED, photo, with_crc

from jahp_fast import Codec

GOLDEN = Path(__file__).parent / "golden"
HOME = Path(independent.__file__).parent
POINTS = json.loads((GOLDEN / "control_points.json").read_text())
ENTRIES = json.loads((GOLDEN / "golden.json").read_text())


def load_models(package):
    return {model.id: model for model in map(package.Model, sorted(GOLDEN.glob("*.safetensors")))}


@pytest.fixture(scope="module")
def models():
    return load_models(independent)


def differing(package, models, name):
    """Names of the control points at which a decoder differs; its own word if it refuses the stream."""
    try:
        stream = package.parse((GOLDEN / f"{name}.jahp").read_bytes())
        points = package.decode(stream, models[stream.model])[2]
    except package.Refused as refused:
        return [f"refused: {refused}"]
    if ENTRIES[name].get("alpha") != (None if stream.alpha is None else hashlib.sha256(stream.alpha).hexdigest()):
        return ["alpha"]
    wrong = [key for key in ("z", "hyper", "y") if points[key] != POINTS[name][key]]
    steps = zip(points["steps"], POINTS[name]["steps"], strict=True)
    return wrong + [f"step {t}" for t, (mine, wanted) in enumerate(steps) if mine != wanted]


def test_every_golden_stream_has_control_points():
    assert set(POINTS) == set(ENTRIES) == {p.stem for p in GOLDEN.glob("*.jahp")}


@pytest.mark.parametrize("name", sorted(POINTS))
def test_control_points(models, name):
    assert differing(independent, models, name) == []


def test_photo():
    """768 x 512 pixels with the shipped model: every latent is the package's."""
    data = Codec("mbt2018", quality=4).encode(photo())
    z, y, _ = independent.decode(independent.parse(data), independent.Model(SHIPPED))
    latents = Codec("mbt2018").decode_latents(data)
    assert np.array_equal(y.transpose(2, 0, 1), latents.y)
    assert np.array_equal(z.transpose(2, 0, 1), latents.z)
    assert y.shape == (32, 48, 192)


def test_command():
    command = [sys.executable, "-m", "tests.independent", GOLDEN / "grey.jahp", "--model", GOLDEN / "mbt2018-A-a8-p15.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=GOLDEN.parent.parent)
    assert json.loads(done.stdout) == POINTS["grey"]


def test_it_shares_no_code_with_the_package():
    for path in HOME.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names | {"numpy"}, path


REFUSED = {
    "not a .jahp file": lambda d: b"JAHQ" + d[4:],
    "shorter than the header": lambda d: d[:43],
    "unknown version": lambda d: with_crc(d[:4] + b"\2" + d[5:]),
    "the length is not what the header says": lambda d: d + b"\0",
    "the CRC does not match": lambda d: d[:50] + bytes([d[50] ^ 1]) + d[51:],
    "a field is out of its range": lambda d: with_crc(d[:26] + b"\1" + d[27:]),
    "a side is out of its range": lambda d: with_crc(d[:16] + bytes(4) + d[20:]),
    "too many pixels": lambda d: with_crc(d[:16] + b"\0\0\1\0\0\0\1\0" + d[24:]),
    "a critical chunk is unknown": lambda d: with_crc(d.replace(b"anci", b"Anci")),
    "a chunk stands twice": lambda d: with_crc(d.replace(b"anci", b"exif")),
    "a chunk's type is not letters": lambda d: with_crc(d.replace(b"anci", b"anc1")),
    "a chunk is cut short": lambda d: with_crc(d.replace(b"anci\r", b"anci\xff")),
    "alpha has an unknown method": lambda d: with_crc(d.replace(b"\1\x78", b"\2\x78")),
    "alpha does not inflate to W x H bytes": lambda d: with_crc(d[:16] + b"\x27" + d[17:]),
}


@pytest.mark.parametrize("rule", REFUSED)
def test_refusals(rule):
    data = (GOLDEN / "alpha.jahp").read_bytes()
    damaged = REFUSED[rule](data)
    assert damaged != data
    with pytest.raises(independent.Refused, match=rule):
        independent.parse(damaged)


# One constant or one sign of the decoder, and what it becomes: each must make at least one golden stream fail.
MUTANTS = [
    ("stream_file.py", "0x82F63B78", "0x82F63B79"),
    ("stream_file.py", "lanes <= 6", "lanes <= 5"),
    ("stream_file.py", "a + d) & 255", "a - d) & 255"),
    ("stream_file.py", "1 << lanes", "2 << lanes"),
    ("stream_file.py", "width * height // 16384", "width * height // 16383"),
    ("model_file.py", "16: 4095", "16: 4094"),
    ("model_file.py", "8: 127", "8: 126"),
    ("model_file.py", "1 << self.P]", "(1 << self.P) - 1]"),
    ("model_file.py", '"mbt2018-mean": (True, False, True)', '"mbt2018-mean": (True, False, False)'),
    ("networks.py", "1 << 23", "1 << 22"),
    ("networks.py", "total < 0", "total > 0"),
    ("networks.py", "(np.int64(1) << (self.shift - 1))", "0"),
    ("networks.py", "+ self.zero, self.limit", "+ self.zero, self.limit - 1"),
    ("networks.py", "canvas[2 : 2 + 2 * h, 2", "canvas[1 : 1 + 2 * h, 2"),
    ("networks.py", "a * k + b < k * k // 2", "a * k + b < k * k // 2 - 1"),
    ("networks.py", 'model.config["z_bits"]', "0"),
    ("networks.py", "y * self.mul + self.add) >>", "y * self.mul) >>"),
    ("networks.py", "else PARAMETER_LIMIT)\n    return", "else model.limit)\n    return"),
    ("decode.py", "LOWEST = 1 << 16", "LOWEST = 1 << 15"),
    ("decode.py", "FURTHEST = 32767", "FURTHEST = 32766"),
    ("decode.py", "channel % self.lanes", "channel // self.lanes % self.lanes"),
    ("decode.py", "x << 16 |", "x << 15 |"),
    ("decode.py", "0x9E3779B1", "0x9E3779B3"),
    ("decode.py", "np.uint32(12)", "np.uint32(13)"),
    ("decode.py", '// 2 + 1\n', '// 2 + 2\n'),
    ("decode.py", 'side="right"', 'side="left"'),
    ("decode.py", "means >> bits", "(means + 1) >> bits"),
    ("decode.py", "((1 << bits) >> 1)", "0"),
    ("decode.py", "index >= skip, (y << bits) + means", "index >= skip, (y << bits) - means"),
    ("decode.py", "index >= skip).tolist", "index > skip).tolist"),
    ("decode.py", "low + k + shift", "low + k - shift"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(MUTANTS)))
def test_a_changed_decoder_fails(tmp_path, monkeypatch, number):
    file, old, new = MUTANTS[number]
    name = f"mutant_{number}"
    for path in HOME.glob("*.py"):
        text = path.read_text()
        if path.name == file:
            assert text.count(old) == 1, (file, old, text.count(old))
            text = text.replace(old, new)
        (tmp_path / path.name).write_text(text)
    spec = importlib.util.spec_from_file_location(name, tmp_path / "__init__.py", submodule_search_locations=[str(tmp_path)])
    package = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, package)
    spec.loader.exec_module(package)
    try:
        models = load_models(package)
        assert any(differing(package, models, stream) for stream in POINTS)
    except (package.Refused, ValueError):
        pass  # golden models refused, or shapes that do not fit
    finally:
        for module in [m for m in sys.modules if m.startswith(f"{name}.")]:
            del sys.modules[module]
