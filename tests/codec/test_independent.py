# SPDX-License-Identifier: Apache-2.0
"""The decoder that was written from docs/reference/format.md alone (tests/independent) reads what the package writes, step by step."""

import ast
import hashlib
import importlib.util
import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import independent
import numpy as np
import pytest
from builders import SHIPPED, photo, with_crc
from in_part import one_in

from jahp_fast import Codec

GOLDEN = Path(__file__).parents[1] / "golden"
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
    "a chunk is there twice": lambda d: with_crc(d.replace(b"anci", b"exif")),
    "a chunk's type is not letters": lambda d: with_crc(d.replace(b"anci", b"anc1")),
    "a chunk is cut short": lambda d: with_crc(d.replace(b"anci\r", b"anci\xff")),
    "the layer's kind is unknown": lambda d: with_crc(in_alpha(d, 0, 4)),
    "alpha has a bound": lambda d: with_crc(in_alpha(d, 1, 1)),
    "the layer's length": lambda d: with_crc(in_alpha(d, 8, 255)),
    "a strip is not read exactly to its end": lambda d: with_crc(in_alpha(d, 600, 255)),
}


def in_alpha(data, at, value):
    """With a byte of the data of ALPH changed."""
    at += data.index(b"ALPH") + 8
    return data[:at] + bytes([value]) + data[at + 1 :]


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
    ("layers.py", "s[i] * e + 1024", "s[i] * e + 1023"),
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
    ("decode.py", "rank % self.lanes", "rank // self.lanes % self.lanes"),
    ("decode.py", "sum(coded[:m])", "m"),
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


@contextmanager
def mutant(folder, edits):
    """The second decoder as a package of its own, with (file, old, new) put into its sources."""
    name = f"mutant_{folder.name}".replace("-", "_")
    for path in HOME.glob("*.py"):
        text = path.read_text()
        for file, old, new in edits:
            if path.name == file:
                assert text.count(old) == 1, (file, old, text.count(old))
                text = text.replace(old, new)
        (folder / path.name).write_text(text)
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    try:
        spec.loader.exec_module(package)
        yield package
    finally:
        for module in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
            del sys.modules[module]


@pytest.mark.parametrize("number", one_in(4, range(len(MUTANTS))))
def test_a_changed_decoder_fails(tmp_path, number):
    with mutant(tmp_path, MUTANTS[number : number + 1]) as package:
        try:
            models = load_models(package)
            assert any(differing(package, models, stream) for stream in POINTS)
        except (package.Refused, ValueError):
            pass  # golden models refused, or shapes that do not fit


# Misreadings of the page that only one stream tells from the right reading, made for it (golden/subtle.py).
MISREADINGS = {
    "outside": ("networks.py", 'for part in ("mul", "add", "shift"))',
                'for part in ("mul", "add", "shift"))\n        self.seen += self.add >> self.shift'),
    "fraction-b": ("decode.py", "if model.means and not model.form_b:\n", "if model.form_b:\n"
                   "        rows = rows + ((means & ((1 << bits) - 1)) >> t[\"scale.drop\"][index])\n"
                   "    if model.means and not model.form_b:\n"),
    "factorized-skip": ("decode.py", "coder.get(m, m, 0) for m in", "0 if stream.skip else coder.get(m, m, 0) for m in"),
    "wide-products": ("networks.py", "scaled = total * np.where(total < 0, self.mul_neg, self.mul_pos)",
                      "scaled = (total * np.where(total < 0, self.mul_neg, self.mul_pos).astype(np.float64)).astype(np.int64)"),
    "wide-sums": ("networks.py", "return self.outputs(product(inputs, self.cells[0, 0]))",
                  "return self.outputs((inputs.astype(np.float32) @ self.cells[0, 0].astype(np.float32)).astype(np.int64))"),
    "ties": ("networks.py", "((scaled + (np.int64(1) << (self.shift - 1))) >> self.shift)",
             "np.sign(scaled) * ((np.abs(scaled) + (np.int64(1) << (self.shift - 1))) >> self.shift)"),
}  # fmt: skip


@pytest.mark.parametrize("stream", MISREADINGS)
def test_a_misreading_shows_on_the_stream_made_for_it(tmp_path, stream):
    with mutant(tmp_path, [MISREADINGS[stream]]) as package:
        assert differing(package, load_models(package), stream)


# Streams that every decoder refuses (golden/make_invalid.py): the rule of each, and the one check of the second decoder that refuses it.
INVALID = json.loads((GOLDEN / "invalid" / "invalid.json").read_text())
LATENT = ("decode.py", "int(np.abs(y).max()) <= bound", "True")
CHECKS = {
    "magic": [("stream_file.py", 'data[:4] == b"JAHP"', "True")],
    "version": [("stream_file.py", "version == 1", "True")],
    "crc": [("stream_file.py", "crc32c(data[:40] + data[44:]) == crc", "True")],
    "mode": [("stream_file.py", "mode <= 1 and ", "")],
    "reserved-low": [("stream_file.py", "reserved == 0", "reserved & 255 <= 1")],
    "reserved-high": [("stream_file.py", "reserved == 0", "reserved >> 8 in (0, 128)")],
    "quality-below-model": [("decode.py", "qualities[0] <= stream.quality", "1 <= stream.quality")],
    "quality-above-model": [("decode.py", "<= qualities[-1]", "<= 8")],
    "pixels-a-byte": [("stream_file.py", "width * height <= 16384 * payload_bytes and ", "")],
    "critical-chunk": [("stream_file.py", 'kind in (b"ALPH", b"COPY", b"LAYR", b"VALS") or not 0x41 <= kind[0] <= 0x5A', "True")],
    "chunk-twice": [("stream_file.py", "kind not in chunks", "True")],
    "chunk-type": [("stream_file.py", "all(c == 0x5F or 0x41 <= c <= 0x5A or 0x61 <= c <= 0x7A for c in kind)", "True")],
    "chunk-cut": [("stream_file.py", "len(data) >= 8 + length", "True")],
    "needless-escape": [("decode.py", "not low <= value - shift < low + size", "True")],
    "escapes-left": [("decode.py", "next(self.escapes, None) is None", "True")],
    "words-left": [("decode.py", "not rest or (len(self.data) == self.least and not any(rest))", "True")],
    "final-state": [("decode.py", "all(state == LOWEST for state in self.states)", "True")],
    "padding-not-zero": [("decode.py", " and not any(rest)", "")],
    "padding-not-allowed": [("decode.py", "len(self.data) == self.least and ", "")],
    "checksum": [("decode.py", "checksum(z, y) == stream.checksum", "True")],
    "minus-32768": [("decode.py", "abs(value) <= FURTHEST", "value <= FURTHEST"), LATENT],
    "coded-beyond": [("decode.py", "abs(value) <= FURTHEST", "True"), LATENT],
    "skipped-beyond": [LATENT],
    "copy-cut": [("decode.py", "place == 0", "True")],
    "copy-number": [("decode.py", "place < 5", "True")],
    "copy-left-of-nothing": [("decode.py", "not (kinds[-1][:, :1] == 1).any()", "True")],
    "copy-above-nothing": [("decode.py", "not (kinds[-1][:1] == 2).any()", "True")],
    "latent-beyond-in-form-b": [LATENT],
}
SEVERAL = {"short", "bytes-missing", "bytes-behind", "lanes", "quality-low", "quality-high", "no-width", "wide", "short-payload",
           "escapes-of-no-symbols", "escapes-beyond-payload", "state-too-low", "words-missing", "escapes-missing",
           "copy-short", "copy-long"}  # fmt: skip
"""What cannot be read on without the check, or what another rule refuses too."""


def read_invalid(package, name):
    stream = package.parse((GOLDEN / "invalid" / f"{name}.jahp").read_bytes())
    return package.decode(stream, package.Model(GOLDEN / f"{INVALID[name]['model']}.safetensors"))


@pytest.mark.parametrize("name", sorted(INVALID))
def test_invalid_streams_are_refused(name):
    with pytest.raises(independent.Refused):
        read_invalid(independent, name)


@pytest.mark.parametrize("name", one_in(4, CHECKS))
def test_one_check_alone_refuses_an_invalid_stream(tmp_path, name):
    with mutant(tmp_path, CHECKS[name]) as package:
        assert read_invalid(package, name)[1].size > 0


def test_every_invalid_stream_is_accounted_for():
    assert set(CHECKS) | SEVERAL == set(INVALID) == {p.stem for p in (GOLDEN / "invalid").glob("*.jahp")}
    assert not set(CHECKS) & SEVERAL
