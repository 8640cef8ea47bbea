# SPDX-License-Identifier: Apache-2.0
"""Rules of docs/reference/format.md for the text in a model file: JSON, names, dtypes, manifest. What breaks one is
refused by the package, with a word that names the trouble, and by the decoder that was written from the page alone.

Each file is a good one with one thing changed, and a manifest that is true to it, so that nothing else refuses it.
"""

import json

import independent
import numpy as np
import pytest
from broken_models import CONFIGS, HEADERS, LATE, LINES, NAMES, Parts, replaced
from builders import Case, random_model

from jahp_fast import Codec
from jahp_fast.entropy.model_file import ModelFile, save_model
from jahp_fast.errors import ModelError


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A model file with a tensor of twelve numbers that latents do not need."""
    folder = tmp_path_factory.mktemp("good")
    model = random_model(folder / "entropy.safetensors", Case("mbt2018"), seed=5)
    save_model(folder / "good.safetensors", model.config, model.entropy, {"g_s.0.bias": np.arange(12, dtype=np.int16)}, {})
    return folder / "good.safetensors"


def refused(path, data, words):
    path.write_bytes(data)
    for opened in (ModelFile, lambda p: Codec("bad", models=[p])):
        with pytest.raises(ModelError, match=words) as caught:
            opened(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(independent.Refused):
        independent.Model(path)


def test_what_the_rules_allow(good, tmp_path):
    """The file as it was taken apart; other orders of names and tensors; white space; either kind of number; a tensor of no known group."""
    parts = Parts(good)
    spaced = json.dumps(json.loads(parts.text()), indent=1).encode() + b"  \n\t "
    files = {"again": parts.file(), "white space": parts.file(spaced)}
    turned = Parts(good)
    turned.header = dict(reversed(turned.header.items()))
    turned.bytes = {name: turned.bytes[name] for name in turned.header}
    files["another order"] = turned.file()
    turned.metadata["note"] = "größer"
    files["more metadata"] = turned.file()
    for what, data in files.items():
        path = tmp_path / f"{what}.safetensors"
        path.write_bytes(data)
        assert ModelFile(path).id == ModelFile(good).id == independent.Model(path).id, what
    for what, text in {"white space": b"\n {", "integers among the qualities": b"{"}.items():
        other = Parts(good)
        other.add("config", other.bytes["config"].replace(b"{", text).replace(b"[1.0,8.0]", b"[1,8e0]"))
        (tmp_path / "config.safetensors").write_bytes(other.file())
        assert ModelFile(tmp_path / "config.safetensors").id == independent.Model(tmp_path / "config.safetensors").id, what
    more = Parts(good)
    more.add("other", b"")
    more.header["other"]["shape"] = [3, 0]
    (tmp_path / "more.safetensors").write_bytes(more.file())
    assert ModelFile(tmp_path / "more.safetensors").id == independent.Model(tmp_path / "more.safetensors").id


@pytest.mark.parametrize("what", CONFIGS)
def test_config(good, tmp_path, what):
    change, words = CONFIGS[what]
    parts = Parts(good)
    parts.add("config", change(parts.bytes["config"]))
    refused(tmp_path / "bad.safetensors", parts.file(), words)


@pytest.mark.parametrize("dtype", ["F64", "BF16", "I64", "BOOL", "U32", "U64", "F8_E4M3", "C64", "f32", " F32", ""])
@pytest.mark.parametrize("name", ["transform.more", "entropy.more", "train.more", "more"])
def test_dtypes(good, tmp_path, dtype, name):
    parts = Parts(good)
    parts.add(name, bytes(16), dtype, [16 // {"F64": 8, "I64": 8, "U64": 8, "C64": 8, "BF16": 2, "BOOL": 1}.get(dtype, 4)])
    refused(tmp_path / "bad.safetensors", parts.file(), f"{name}' has the dtype '{dtype}', not one of U8, I8, U16, I16, I32, F16, F32")


@pytest.mark.parametrize("dtype", ["I8", "F16", "F32"])
def test_transforms_are_integers(good, tmp_path, dtype):
    parts = Parts(good)
    parts.add(LATE, bytes(16), dtype, [16 // {"F16": 2, "F32": 4}.get(dtype, 1)])
    (tmp_path / "bad.safetensors").write_bytes(parts.file())
    with pytest.raises(ModelError, match=f"tensor {LATE} has the dtype {dtype}; transforms have one of U8, U16, I16, I32"):
        ModelFile(tmp_path / "bad.safetensors")
    parts = Parts(good)
    parts.add("train.more", bytes(16), dtype, [16 // {"F16": 2, "F32": 4}.get(dtype, 1)])
    (tmp_path / "fine.safetensors").write_bytes(parts.file())
    assert ModelFile(tmp_path / "fine.safetensors").id == independent.Model(tmp_path / "fine.safetensors").id


@pytest.mark.parametrize("what", NAMES)
def test_names(good, tmp_path, what):
    parts = Parts(good)
    parts.add(NAMES[what], b"x")
    refused(tmp_path / "bad.safetensors", parts.file(), "is not made of printable ASCII without spaces")


@pytest.mark.parametrize("what", HEADERS)
def test_header(good, tmp_path, what):
    change, words = HEADERS[what]
    parts = Parts(good)
    refused(tmp_path / "bad.safetensors", parts.file(change(parts.text())), words)


@pytest.mark.parametrize("what", LINES)
def test_lines_of_tensors_that_are_read_later(good, tmp_path, what):
    """They are checked with the file, although the tensor is not read."""
    parts = Parts(good)
    line = parts.line(LATE)
    changed = LINES[what](line)
    assert changed != line
    text = replaced(json.dumps(line)[1:-1].encode(), json.dumps(changed)[1:-1].encode())(parts.text())
    refused(tmp_path / "bad.safetensors", parts.file(text), r"does not match the manifest|manifest does not list the tensors")


def test_a_tensor_of_another_hash_is_refused_when_it_is_read(good, tmp_path):
    """A latent decoder need not read it (docs/reference/format.md); `verify` and whatever wants pixels do."""
    parts = Parts(good)
    text = parts.text()
    parts.bytes[LATE] = bytes(24)
    path = tmp_path / "late.safetensors"
    path.write_bytes(parts.file(text))
    model = ModelFile(path)
    assert model.id == independent.Model(path).id
    for read in (model.verify, lambda: model.read_transforms("g_s.")):
        with pytest.raises(ModelError, match=f"tensor {LATE} does not match the manifest"):
            read()
