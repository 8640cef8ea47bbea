# SPDX-License-Identifier: Apache-2.0
"""docs/reference/format.md says what the code does: its header table, its constants and every number of its worked example."""

import dataclasses
import inspect
import json
import re
import struct

import builders as support
import format_example as example
import independent
import numpy as np
import pytest

from jahp_fast import Codec, _native, constants
from jahp_fast.entropy import check, reference, tensor_file
from jahp_fast.entropy.layout import MAX_SYMBOL, StreamLayout
from jahp_fast.files import container
from jahp_fast.integrations import pillow

PAGE = example.PAGE.read_text()
TITLES = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
SHOWN_BYTES = bytes.fromhex("".join(line[6:] for line in example.block("hexdump").splitlines()))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return example.build(tmp_path_factory.mktemp("example"), json.loads(example.block("json")))


def table(heading):
    """The rows of the page's table under that header line, as lists of cells."""
    assert PAGE.count(heading) == 1, heading
    lines = PAGE[PAGE.index(heading) :].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_header_table_is_the_container(model):
    rows = [row for row in table("| offset | size | field | value |") if row[1]]
    sizes = [int(size) for _, size, _, _ in rows]
    offsets = [int(offset) for offset, _, _, _ in rows]
    assert offsets == [sum(sizes[:i]) for i in range(len(sizes))]
    assert sum(sizes) == container.HEADER_BYTES
    # Each field lies where the page says: written values that differ everywhere are found again at the offsets.
    stream = container.Stream(0x01020304, 0x05060708, "L", 6.35, b"modelid8", 64, 9, 0x0A0B0C0D, b"", {})
    data = container.pack(stream)
    at = {row[2]: (int(row[0]), int(row[1])) for row in rows}
    wanted = {"magic": b"JAHP", "version": 1, "mode": 1, "lanes": 6, "skip": 9, "model": b"modelid8", "width": 0x01020304,
              "height": 0x05060708, "quality": 127, "reserved": 0, "payload bytes": 0, "chunk bytes": 0,
              "symbol checksum": 0x0A0B0C0D}  # fmt: skip
    assert set(at) == {*wanted, "crc"}
    for name, value in wanted.items():
        start, size = at[name]
        expected = value if isinstance(value, bytes) else value.to_bytes(size, "little")
        assert data[start : start + size] == expected, name
    start, size = at["crc"]
    crc = reference.crc32c(data[:start] + data[start + size :])
    assert struct.unpack_from("<I", data, start) == (crc,)


def test_constants_of_the_page():
    assert f"{container.PIXELS_PER_BYTE:,} · payload bytes" in PAGE
    assert constants.QUALITY_STEPS == 20
    assert "20 (quality 1) to 160 (quality 8)" in PAGE
    assert int(re.search(r"it is\s`(0x[0-9A-F]{8})`", PAGE)[1], 16) == reference.crc32c(b"123456789") == _native.crc32c(b"123456789")
    chunks = {row[0].strip("`").encode() for row in table("| type | data |")}
    assert chunks == container.KNOWN_CHUNKS
    assert f"at most {MAX_SYMBOL}." in PAGE
    assert f"`{pillow.MIME}`" in PAGE
    text = " ".join(PAGE.split())
    assert tensor_file.MAX_HEADER == container.MAX_SIDE == check.MAX_STARTS == 1 << 24
    for sentence in (
        f"A shape has at most {tensor_file._MAX_DIMENSIONS} sizes",
        "The dtypes are " + ", ".join(f"`{dtype}`" for dtype in list(tensor_file._DTYPES)[:-1]) + " and `F32`",
        f"A layer has 1 to {check.MAX_CHANNELS:,} outputs.",
        f"at most {check.MAX_SCALES:,} scales, {check.MAX_ROWS:,} rows of tables and 2^24 entries",
        "u64, at most 2^24",
        "`W`, 1 to 2^24",
        f"refuses more than 2^{inspect.signature(Codec).parameters['max_pixels'].default.bit_length() - 1} pixels",
    ):
        assert sentence in text, sentence
    for constant in ("0x9E3779B1", "0x85EBCA77", "0x2C1B3C6D", "0x297A2D39"):
        assert constant in PAGE


def test_titles_that_the_code_cites_exist():
    titles = {re.sub(r"^[0-9.]+ ", "", title) for title in TITLES}
    root = example.PAGE.parents[2]
    sources = [*root.glob("csrc/**/*.?pp"), *root.glob("jahp_fast/**/*.py"), *root.glob("kernels/**/*.py"), *root.glob("tests/**/*.py")]
    cites = re.compile(r'docs/reference/format\.md,\s+"([^"]+)"')
    cited = {" ".join(title.split()) for path in sources for title in cites.findall(path.read_text())}
    assert len(cited) >= 5
    assert cited <= titles


def test_sections_are_numbered_and_have_anchors_that_last():
    """Sections count from 1, parts of them likewise; each has an anchor without its number, and the contents link to all."""
    numbers = [title.split(" ", 1)[0] for title in TITLES[1:]]
    wanted, section, part = [], 0, 0
    for number in numbers:
        section, part = (section + 1, 0) if number.endswith(".") else (section, part + 1)
        wanted.append(f"{section}.{part}" if part else f"{section}.")
    assert numbers == wanted
    anchors = re.findall(r'^<a id="([^"]+)"></a>\n\n## [0-9]+\. (.*)$', PAGE, re.MULTILINE)
    assert [anchor for anchor, _ in anchors] == [title.lower().replace(" ", "-") for _, title in anchors]
    assert len(anchors) == section
    contents = PAGE[: PAGE.index("## 1. ")]
    listed = {int(n): (title, anchor) for n, title, anchor in re.findall(r"\| ([0-9]+) \[([^]]+)\]\(#([^)]+)\)", contents)}
    assert listed == {n: (title, anchor) for n, (anchor, title) in enumerate(anchors, 1)}
    named = re.findall(r"\[section ([0-9]+)(?:\.([0-9]+))?\]\(#([^)]+)\)", PAGE)
    assert len(named) >= 10
    for number, inner, anchor in named:
        assert anchors[int(number) - 1][0] == anchor
        assert not inner or f"{number}.{inner}" in numbers
    for number in re.findall(r"[Ss]ections? ([0-9]+(?:\.[0-9]+)?)", re.sub(r"RFC 1951, section 3.2.4", "", PAGE)):
        assert number in numbers or f"{number}." in numbers


def words(text):
    return sum(re.search("[A-Za-z]", word) is not None for word in text.split())


def test_prose_is_short():
    """No line over 100 columns, no paragraph over 70 words, no sentence over 40. Tables, blocks and formulas are free."""
    text = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^ {4,}.*$|^\|.*$|^#.*$|^<.*$", "", text, flags=re.MULTILINE)
    assert [line for line in text.splitlines() if len(line) > 100] == []
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*- )", text):
        plain = " ".join(re.sub(r"`[^`]*`", "code", paragraph).split())
        assert words(plain) <= 70, paragraph
        for sentence in re.split(r"(?<=[.?]) ", plain):
            assert words(sentence) <= 40, sentence


def test_example_model_has_the_shown_id_and_manifest(model):
    lines = model.manifest.splitlines()
    assert f"has {len(lines)} lines" in PAGE
    assert example.block("text").splitlines() == lines[:2]
    assert model.id == SHOWN_BYTES[8:16]


def test_example_bytes_are_what_the_encoder_writes(model):
    assert example.stream(model) == SHOWN_BYTES
    assert f"has {len(SHOWN_BYTES)} bytes" in PAGE
    assert example.hex_dump(SHOWN_BYTES) == example.block("hexdump")


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_example_bytes_decode_to_the_shown_latents(model, backend):
    from jahp_fast import backends

    stream = container.unpack(SHOWN_BYTES)
    least = container.min_payload_bytes(stream.width, stream.height)
    layout = StreamLayout(2, 3, stream.lanes, stream.skip, least)
    z, y, _ = backends.load(backend, model).decode(stream.payload, layout, 1)
    shown = [[[int(v) for v in cell.split(",")] for cell in row[1:]] for row in table("| ŷ | column 0 | column 1 | column 2 |")]
    assert y.tolist() == shown
    assert z.ravel().tolist() == [int(PAGE.split("`z = (")[1].split(")")[0])]
    assert reference.symbol_checksum(z, y) == stream.checksum


def test_field_table_of_the_example():
    stream, names = container.unpack(SHOWN_BYTES), {}
    next_byte = 0
    for span, field, value in table("| bytes | field | value |"):
        first, _, last = span.partition("-")
        assert int(first) == next_byte, field
        next_byte = int(last or first) + 1
        names[field] = (SHOWN_BYTES[int(first) : next_byte], value)
    assert next_byte == len(SHOWN_BYTES)
    for field in ("version", "width", "height", "payload bytes", "chunk bytes", "escapes", "state of lane 0", "state of lane 1"):
        raw, value = names[field]
        assert int.from_bytes(raw, "little") == int(value), field
    for field in ("symbol checksum", "crc"):
        raw, value = names[field]
        assert int.from_bytes(raw, "little") == int(value.strip("`"), 16), field
    for field, kind in (("escaped values", "h"), ("words", "H")):
        raw, value = names[field]
        assert list(struct.unpack(f"<{len(raw) // 2}{kind}", raw)) == [int(v) for v in value.split(",")], field
    assert names["model"][1] == f"`{stream.model.hex()}`"
    assert names["quality"][1] == f"{round(stream.quality * 20)}: {stream.quality:g}"
    assert stream.chunks == {b"note": b"hi"}
    assert stream.lanes == 2


def test_symbol_table_of_the_example(model):
    assert example.symbol_table(model, SHOWN_BYTES) in PAGE


def test_networks_of_the_example(model):
    integer = reference.ReferenceModel(model)

    def rows(values):
        return "(" + " / ".join(" ".join(str(v) for v in row) for row in np.asarray(values).tolist()) + ")"

    z = np.array(example.Z).reshape(1, 1, 1)
    first = integer.h_s[0].transposed(z)
    second = integer.h_s[1].transposed(first)
    text = " ".join(PAGE.split())
    assert f"`h_s.0` gives {rows(first[..., 0])}" in text
    assert f"`h_s.2` gives {rows(second[..., 0])}" in text
    assert f"`hyper` = {rows(example.hyper(integer)[..., 0])}" in text


def test_arithmetic_of_the_one_symbol(model):
    """Every requantisation that the page writes out, `((sum · mul + half) >> shift) + zero = out`, is right."""
    text = PAGE[PAGE.index("**Hyperprior.** From") : PAGE.index("All symbols, in coding order")]
    text = " ".join(text.replace("−", "-").replace("- ", "-").split())
    number = r"(-?\d+)"
    found = re.findall(rf"\({number}(?: · {number})? \+ {number}\) >> {number}\)?(?: ([-+] ?\d+))? = {number}", text)
    assert len(found) == 8
    for total, multiplier, half, shift, zero, out in found:
        plus = int(zero.replace(" ", "") or 0)
        assert ((int(total) * int(multiplier or 1) + int(half)) >> int(shift)) + plus == int(out)
    assert example.parameters(model)[0, 1].tolist() == [9, 29, 1, 0]
    assert "scales 9 and 29" in text


def second_decoder(path, data):
    """z and Y, channels last, of the decoder that knows the page alone."""
    return independent.decode(independent.parse(data), independent.Model(path))[:2]


def test_second_decoder_reads_the_example(model):
    z, y = second_decoder(model.path, SHOWN_BYTES)
    assert z.tolist() == [[example.Z]]
    assert y.tolist() == example.Y


# In edge models means go beyond 32767, which form B cannot code and a skipped symbol cannot be.
ENCODABLE = [
    pytest.param(number, case, mode, 0 if mode == "edge" else number // 2 % 2 * 2, id=f"{case}-{mode}")
    for number, case in enumerate(support.CASES)
    for mode in ("typical", "saturated", "edge")
    if (case.form, mode) != ("B", "edge")
]


@pytest.mark.parametrize(("number", "case", "mode", "skip"), ENCODABLE)
def test_second_decoder_reads_what_the_encoder_writes(tmp_path, number, case, mode, skip):
    """The page is complete: a decoder written from it agrees for all architectures, forms and widths, lanes, skips and sizes."""
    seed = 10 * number + len(mode)
    model = support.random_model(tmp_path / "model.safetensors", case, seed=seed, N=3, M=4, mode=mode, kernel=(3, 5)[number % 2],
                                 mean_bits=(6, 0, 8)[number % 3], z_bits=number % 3)  # fmt: skip
    width, height = [(70, 40), (16, 90), (1, 1), (100, 17)][number % 4]
    h, w = -(-height // 16), -(-width // 16)
    z, y = support.random_latents(model, h, w, seed)
    layout = StreamLayout(h, w, (1, 2, 8, 64)[seed % 4], skip, container.min_payload_bytes(width, height))
    payload, seen, lanes = reference.encode(reference.ReferenceModel(model), z, y, layout)
    checksum = reference.symbol_checksum(z, seen)
    stream = container.Stream(width, height, "RGB", 4.0, model.id, lanes, layout.skip, checksum, payload, {})
    z_read, y_read = second_decoder(model.path, container.pack(stream))
    assert np.array_equal(z_read, z)
    assert np.array_equal(y_read, seen)


def test_second_decoder_and_the_package_refuse_the_same_payloads(model):
    """Payloads with one byte changed and the checksums of the file repaired: both read the same, or both refuse."""
    from jahp_fast import backends
    from jahp_fast.errors import FormatError

    decoder, native = independent.Model(model.path), backends.load("native", model)
    stream = container.unpack(SHOWN_BYTES)
    layout = StreamLayout(2, 3, 2, 0, container.min_payload_bytes(stream.width, stream.height))
    read = refused = 0
    for at, bit in np.ndindex(len(stream.payload), 8):
        payload = bytearray(stream.payload)
        payload[at] ^= 1 << bit
        try:
            z, y, _ = native.decode(bytes(payload), layout, 1)
            checksum = reference.symbol_checksum(z, y)
        except FormatError:
            z, y, checksum = None, None, 0
        data = container.pack(dataclasses.replace(stream, payload=bytes(payload), checksum=checksum))
        if y is None:
            refused += 1
            with pytest.raises(independent.Refused):
                independent.decode(independent.parse(data), decoder)
        else:
            read += 1
            assert np.array_equal(independent.decode(independent.parse(data), decoder)[1], y)
    assert read > 0
    assert refused > 100
