# SPDX-License-Identifier: Apache-2.0
"""Model files that break a rule: taken apart and put together with one thing changed, and such as were made to do harm. For each the words
that the refusal has."""

import hashlib
import json
import re

from jahp_fast.entropy.tensor_file import MAX_HEADER

LATE = "transform.g_s.0.bias"
"""A tensor that latents do not need: twelve numbers of int16."""


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
    "half of a surrogate pair": (replaced(b"mbt2018", rb"mbt2018\ud800"), "is not JSON in UTF-8: it breaks a rule"),
    "a name twice": (replaced(b'{"act', b'{"latents":12,"act'), "a name is there twice"),
    "a name twice, written otherwise": (replaced(b'{"act', rb'{"l\u0061tents":12,"act'), "a name is there twice"),
    "a comment": (replaced(b'{"act', b'{/**/"act'), "is not JSON in UTF-8"),
    "a comma too many": (replaced(b'"version":1', b'"version":1,'), "is not JSON in UTF-8"),
    "bytes behind it": (lambda t: t + b"\0", "is not JSON in UTF-8"),
    "NaN": (replaced(b'"latents":12', b'"latents":NaN'), "breaks a rule of RFC 8259"),
    "Infinity": (replaced(b'"latents":12', b'"latents":Infinity'), "breaks a rule of RFC 8259"),
    "-Infinity among the qualities": (replaced(b"[1.0,", b"[-Infinity,"), "breaks a rule of RFC 8259"),
    "a quality between two steps": (replaced(b",8.0]", b",7.99]"), "qualities must be multiples of 1/20"),
    "two qualities in one step": (replaced(b",8.0]", b",1.01]"), "qualities must be multiples of 1/20"),
    "a quality beyond float64": (replaced(b",8.0]", b",1e999]"), "a number is beyond what 64 bits"),
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

NAMES = {"none": "", "a space": "train.a b", "a space before": " train.a", "a line feed": "train.a\nb", "a tab": "train.a\tb",
         "a zero": "train.a\0", "delete": "train.a\x7f", "an umlaut": "train.ä", "a space that breaks no line": "train.a\u00a0b",
         "a line separator": "train.a\u2028b", "an emoji": "train.\U0001f600", "full width": "train.\uff41"}  # fmt: skip

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
    "no UTF-8": (replaced(b'{"__metadata__":{', b'{"__metadata__":{"a":"\xe9",'), "its header is no JSON: it breaks a rule"),
    "half of a surrogate pair": (replaced(b'{"__metadata__":{', rb'{"__metadata__":{"a":"\udc00",'), "no JSON: it breaks a rule"),
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
            ("[12]", "impossible shape"), ("12,true", "impossible shape"), ("-12,-1", "impossible shape"),
            ("NaN", "breaks a rule of RFC 8259"),
            ("012", "its header is no JSON"), ("+12", "its header is no JSON"), ("1,1,1,1,1,1,1,1,12", "impossible shape"),
            ("0,4611686018427387904", "impossible shape"), ("11", "another size than its shape"),
        )
    },
    "a shape that is a number": (replaced(ENTRY, ENTRY.replace(b"[12]", b"12")), "impossible shape"),
    **{
        f"an offset written {number}": (replaced(b'"data_offsets":[0,', f'"data_offsets":[{number},'.encode()), words)
        for number, words in (("0.0", "impossible offsets"), ("false", "impossible offsets"), ('"0"', "impossible offsets"),
                              ("-Infinity", "breaks a rule of RFC 8259"), ("0,0", "impossible offsets"))
    },
}  # fmt: skip

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


def file_of(header, body=b"", length=None):
    """A safetensors file with that header, as an object or as text."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def tensor(begin, end, shape=None, dtype="U8"):
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


HOSTILE = {
    "nothing": b"",
    "seven bytes": bytes(7),
    "a header of 2^64 - 1 bytes": file_of({}, length=2**64 - 1),
    "a header of 2^63 bytes": file_of({}, length=2**63),
    "a header of a terabyte": file_of({"a": tensor(0, 1)}, b"x", length=2**40),
    "a header beyond the file": file_of({}, length=3),
    "a header larger than any model's": file_of(b" " * (MAX_HEADER + 1)),
    "no JSON": file_of(b"{not json"),
    "no UTF-8": file_of(b'{"\xff\xfe": 1}'),
    "half of a surrogate pair": file_of(rb'{"\ud800": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}', b"x"),
    "nested a hundred thousand deep": file_of(b"[" * 100_000),
    "nested in a tensor": file_of(b'{"a": ' + b'{"b": ' * 50_000 + b"1" + b"}" * 50_001),
    "a list": file_of([1, 2]),
    "a number": file_of(b"3"),
    "a number of a million digits": file_of(b'{"a": {"dtype": "U8", "shape": [' + b"9" * 1_000_000 + b'], "data_offsets": [0, 1]}}', b"x"),
    "a tensor that is a list": file_of({"a": []}),
    "a tensor without shape": file_of({"a": {"dtype": "U8", "data_offsets": [0, 1]}}, b"x"),
    "a field too many": file_of({"a": tensor(0, 1) | {"more": 1}}, b"x"),
    "an unknown dtype": file_of({"a": tensor(0, 1, dtype="Q4")}, b"x"),
    "a dtype that is a list": file_of({"a": tensor(0, 1, dtype=["U8"])}, b"x"),
    "bfloat16": file_of({"a": tensor(0, 2, [1], "BF16")}, b"xx"),
    "overlapping tensors": file_of({"a": tensor(0, 2), "b": tensor(1, 3)}, b"xxx"),
    "the same bytes twice": file_of({"a": tensor(0, 2), "b": tensor(0, 2)}, b"xx"),
    "a gap": file_of({"a": tensor(0, 1), "b": tensor(2, 3)}, b"xxx"),
    "a gap at the start": file_of({"a": tensor(1, 2)}, b"xx"),
    "bytes behind the tensors": file_of({"a": tensor(0, 1)}, b"xx"),
    "bytes missing": file_of({"a": tensor(0, 5)}, b"xx"),
    "offsets that fall": file_of({"a": tensor(1, 0, [1])}, b"x"),
    "negative offsets": file_of({"a": tensor(-1, 0, [1])}, b"x"),
    "offsets that are not numbers": file_of({"a": {"dtype": "U8", "shape": [1], "data_offsets": ["0", "1"]}}, b"x"),
    "offsets of truth values": file_of({"a": {"dtype": "U8", "shape": [1], "data_offsets": [False, True]}}, b"x"),
    "fractional offsets": file_of({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1.0]}}, b"x"),
    "offsets that are NaN": file_of(b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, NaN]}}', b"x"),
    "one offset": file_of({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0]}}, b"x"),
    "a shape that overflows 64 bits": file_of({"a": tensor(0, 0, [2**32, 2**32], "U8")}),
    "a shape of zero times too much": file_of({"a": tensor(0, 0, [0, 2**62], "U8")}),
    "a shape that is negative": file_of({"a": tensor(0, 1, [-1, -1])}, b"x"),
    "a thousand dimensions": file_of({"a": tensor(0, 1, [1] * 1000)}, b"x"),
    "a name twice": file_of(b"{" + b",".join([b'"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}'] * 2) + b"}", b"x"),
    "metadata that are no strings": file_of({"__metadata__": {"jahp": 1}}),
    "metadata that are a list": file_of({"__metadata__": ["jahp"]}),
}  # fmt: skip
