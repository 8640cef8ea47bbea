# SPDX-License-Identifier: Apache-2.0
"""Rules of docs/reference/format.md for the text in a model file: JSON, names, dtypes, manifest. What breaks one is
refused by the package, with a word that names the trouble, and by the decoder that was written from the page alone.

Each file is a good one with one thing changed, and a manifest that is true to it, so that nothing else refuses it.
"""

import hashlib
import json
import re

import independent
import numpy as np
import pytest
from builders import Case, random_model

from jahp_fast import Codec
from jahp_fast.entropy.model_file import ModelFile, save_model
from jahp_fast.errors import ModelError

LATE = "transform.g_s.0.bias"


class Parts:
    """A model file taken apart: `header` (without metadata), `metadata`, and the bytes of each tensor."""

    def __init__(self, path):
        data = path.read_bytes()
        begin = 8 + int.from_bytes(data[:8], "little")
        self.header = json.loads(data[8:begin])
        self.metadata = dict(sorted(self.header.pop("__metadata__").items()))  # safetensors has no order of its own
        self.bytes = {name: data[slice(*(begin + at for at in entry["data_offsets"]))] for name, entry in self.header.items()}

    def add(self, name, data, dtype="U8", shape=None):
        self.bytes[name] = data
        self.header[name] = {"dtype": dtype, "shape": [len(data)] if shape is None else shape}

    def manifest(self):
        return "".join(self.line(name) + "\n" for name in sorted(self.header))

    def line(self, name):
        shape = ",".join(map(str, self.header[name]["shape"]))
        return f"{name} {self.header[name]['dtype']} [{shape}] {hashlib.sha256(self.bytes[name]).hexdigest()}"

    def text(self):
        """The JSON header, its offsets and manifest made anew."""
        at = 0
        for name, entry in self.header.items():
            entry["data_offsets"] = [at, at + len(self.bytes[name])]
            at += len(self.bytes[name])
        metadata = self.metadata | {"manifest": self.manifest()}
        return json.dumps({"__metadata__": metadata, **self.header}, separators=(",", ":")).encode()

    def file(self, text=None):
        text = self.text() if text is None else text
        return len(text).to_bytes(8, "little") + text + b"".join(self.bytes.values())


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


def replaced(old, new):
    def change(text):
        assert text.count(old) == 1
        return text.replace(old, new)

    return change


CONFIGS = {
    "a byte order mark": (lambda t: b"\xef\xbb\xbf" + t, "is not JSON in UTF-8"),
    "UTF-16": (lambda t: t.decode().encode("utf-16"), "is not JSON in UTF-8"),
    "UTF-16, without a mark": (lambda t: t.decode().encode("utf-16-le"), "is not JSON in UTF-8"),
    "UTF-16, big end first": (lambda t: t.decode().encode("utf-16-be"), "is not JSON in UTF-8"),
    "UTF-32": (lambda t: t.decode().encode("utf-32"), "is not JSON in UTF-8"),
    "UTF-32, without a mark": (lambda t: t.decode().encode("utf-32-le"), "is not JSON in UTF-8"),
    "Latin-1": (replaced(b"mbt2018", b"mbt2018\xe9"), "is not JSON in UTF-8"),
    "half of a surrogate pair": (replaced(b"mbt2018", rb"mbt2018\ud800"), "is not JSON in UTF-8.*surrogates"),
    "a name twice": (replaced(b'{"act', b'{"latents":12,"act'), "a name is there twice"),
    "a name twice, written otherwise": (replaced(b'{"act', rb'{"l\u0061tents":12,"act'), "a name is there twice"),
    "a comment": (replaced(b'{"act', b'{/**/"act'), "is not JSON in UTF-8"),
    "a comma too many": (replaced(b'"version":1', b'"version":1,'), "is not JSON in UTF-8"),
    "bytes behind it": (lambda t: t + b"\0", "is not JSON in UTF-8"),
    "NaN": (replaced(b'"latents":12', b'"latents":NaN'), "NaN is no number"),
    "Infinity": (replaced(b'"latents":12', b'"latents":Infinity'), "Infinity is no number"),
    "-Infinity among the qualities": (replaced(b"[1.0,", b"[-Infinity,"), "-Infinity is no number"),
    "a quality between two steps": (replaced(b",8.0]", b",7.99]"), "qualities must be multiples of 1/20"),
    "two qualities in one step": (replaced(b",8.0]", b",1.01]"), "qualities must be multiples of 1/20"),
    "a quality beyond float64": (replaced(b",8.0]", b",1e999]"), "qualities must lie in 1 to 8"),
    "version 1.0": (replaced(b'"version":1', b'"version":1.0'), "is not of version 1"),
    "version true": (replaced(b'"version":1', b'"version":true'), "is not of version 1"),
    "version in quotes": (replaced(b'"version":1', b'"version":"1"'), "is not of version 1"),
    **{
        f"{name} as {kind}": (
            lambda t, name=name, write=write: json.dumps(json.loads(t) | {name: "?"}).encode().replace(b'"?"', write(json.loads(t)[name])),
            "a field of the wrong type",
        )
        for name in ("latents", "hyper_latents", "activation_bits", "mean_bits", "z_bits", "prob_bits")
        for kind, write in (
            ("n.0", lambda n: f"{n}.0".encode()),
            ("an exponent", lambda n: f"{n}e0".encode()),
            ("true", lambda n: b"true"),
            ("text", lambda n: f'"{n}"'.encode()),
            ("null", lambda n: b"null"),
        )
    },
}  # fmt: skip


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


NAMES = {"none": "", "a space": "train.a b", "a space before": " train.a", "a line feed": "train.a\nb", "a tab": "train.a\tb",
         "a zero": "train.a\0", "delete": "train.a\x7f", "an umlaut": "train.ä", "a space that breaks no line": "train.a\u00a0b",
         "a line separator": "train.a\u2028b", "an emoji": "train.\U0001f600", "full width": "train.\uff41"}  # fmt: skip


@pytest.mark.parametrize("what", NAMES)
def test_names(good, tmp_path, what):
    parts = Parts(good)
    parts.add(NAMES[what], b"x")
    refused(tmp_path / "bad.safetensors", parts.file(), "is not made of printable ASCII without spaces")


ENTRY = f'"{LATE}":{{"dtype":"I16","shape":[12],'.encode()
HEADERS = {
    "a space before it": (lambda t: b" " + t, "does not start with '{'"),
    "a line feed before it": (lambda t: b"\n" + t, "does not start with '{'"),
    "a byte order mark": (lambda t: b"\xef\xbb\xbf" + t, "does not start with '{'"),
    "a list": (lambda t: b"[" + t + b"]", "does not start with '{'"),
    "nothing": (lambda t: b"", "does not start with '{'"),
    "UTF-16": (lambda t: t.decode().encode("utf-16"), "does not start with '{'"),
    "UTF-16, without a mark": (lambda t: t.decode().encode("utf-16-le"), "its header is no JSON"),
    "UTF-32, without a mark": (lambda t: t.decode().encode("utf-32-le"), "its header is no JSON"),
    "no UTF-8": (replaced(b'{"__metadata__":{', b'{"__metadata__":{"a":"\xe9",'), "its header is no JSON.*utf-8"),
    "half of a surrogate pair": (replaced(b'{"__metadata__":{', rb'{"__metadata__":{"a":"\udc00",'), "no JSON.*surrogates"),
    "another object behind it": (lambda t: t + b"{}", "its header is no JSON"),
    "a zero behind it": (lambda t: t + b"\0", "its header is no JSON"),
    "a tensor twice": (lambda t: t[:-1] + b',"config":' + re.search(rb'"config":({.*?})', t)[1] + b"}", "a name is there twice"),
    "a tensor's field twice": (replaced(ENTRY, ENTRY + b'"shape":[12],'), "a name is there twice"),
    "metadata twice": (replaced(b'{"__metadata__":{', b'{"__metadata__":{"jahp":"1"},"__metadata__":{'), "a name is there twice"),
    "an entry of the metadata twice": (replaced(b'"jahp":"1"', b'"jahp":"2","jahp":"1"'), "a name is there twice"),
    "the version as a number": (replaced(b'"jahp":"1"', b'"jahp":1'), "its metadata are not strings"),
    "the version 1.0": (replaced(b'"jahp":"1"', b'"jahp":"1.0"'), "not an exported jahp model of version 1"),
    "no version": (replaced(b'"jahp":"1",', b""), "not an exported jahp model of version 1"),
    "no metadata": (lambda t: b"{" + t[t.index(b"},") + 2 :], "not an exported jahp model of version 1"),
    "metadata null": (lambda t: b'{"__metadata__":null,' + t[t.index(b"},") + 2 :], "its metadata are not strings"),
    **{
        f"a shape of {number}": (replaced(ENTRY, ENTRY.replace(b"[12]", b"[" + number.encode() + b"]")), words)
        for number, words in (
            ("12.0", "impossible shape"), ("12e0", "impossible shape"), ('"12"', "impossible shape"), ("null", "impossible shape"),
            ("[12]", "impossible shape"), ("12,true", "impossible shape"), ("-12,-1", "impossible shape"), ("NaN", "NaN is no number"),
            ("012", "its header is no JSON"), ("+12", "its header is no JSON"), ("1,1,1,1,1,1,1,1,12", "impossible shape"),
            ("0,4611686018427387904", "impossible shape"), ("11", "another size than its shape"),
        )
    },
    "a shape that is a number": (replaced(ENTRY, ENTRY.replace(b"[12]", b"12")), "impossible shape"),
    **{
        f"an offset written {number}": (replaced(b'"data_offsets":[0,', f'"data_offsets":[{number},'.encode()), words)
        for number, words in (("0.0", "impossible offsets"), ("false", "impossible offsets"), ('"0"', "impossible offsets"),
                              ("-Infinity", "-Infinity is no number"), ("0,0", "impossible offsets"))
    },
}  # fmt: skip


@pytest.mark.parametrize("what", HEADERS)
def test_header(good, tmp_path, what):
    change, words = HEADERS[what]
    parts = Parts(good)
    refused(tmp_path / "bad.safetensors", parts.file(change(parts.text())), words)


LINES = {
    "another dtype": lambda line: line.replace(" I16 ", " U16 "),
    "no dtype": lambda line: line.replace(" I16 ", " "),
    "a dtype in small letters": lambda line: line.replace(" I16 ", " i16 "),
    "another shape": lambda line: line.replace("[12]", "[3,4]"),
    "a shape with a space": lambda line: line.replace("[12]", "[12, ]"),
    "a shape without brackets": lambda line: line.replace("[12]", "12"),
    "a zero before the size": lambda line: line.replace("[12]", "[012]"),
    "63 digits": lambda line: line[:-1],
    "65 digits": lambda line: line + "0",
    "no digits": lambda line: line[:-64],
    "capital digits": lambda line: line[:-64] + line[-64:].upper(),
    "digits beyond hexadecimal": lambda line: line[:-1] + "g",
    "other digits of Unicode": lambda line: line[:-1] + "\u0661",
    "a space behind": lambda line: line + " ",
    "two spaces": lambda line: line.replace(" I16", "  I16"),
    "a tab": lambda line: line.replace(" I16", "\tI16"),
    "another name": lambda line: line.replace(LATE, LATE + "x"),
}


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
