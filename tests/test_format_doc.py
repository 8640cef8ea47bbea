# SPDX-License-Identifier: Apache-2.0
"""docs/format.md says what the code does: its header table, its constants and every number of its worked example."""

import json
import re
import struct

import format_example as example
import numpy as np
import pytest

from jahp_fast import _native, container
from jahp_fast.entropy import reference

PAGE = example.PAGE.read_text()
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
    assert container.QUALITY_STEPS == 20
    assert "20 (quality 1) to 160 (quality 8)" in PAGE
    assert int(re.search(r"it is `(0x[0-9A-F]{8})`", PAGE)[1], 16) == reference.crc32c(b"123456789") == _native.crc32c(b"123456789")
    chunks = {row[0].strip("`").encode() for row in table("| type | data |")}
    assert chunks == set(container.KNOWN_CHUNKS)
    assert f"at most {reference.MAX_SYMBOL}." in PAGE
    for constant in ("0x9E3779B1", "0x85EBCA77", "0x2C1B3C6D", "0x297A2D39"):
        assert constant in PAGE


def test_titles_that_the_code_cites_exist():
    titles = set(re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE))
    root = example.PAGE.parent.parent
    sources = [*root.glob("csrc/**/*.?pp"), *root.glob("jahp_fast/**/*.py")]
    cited = {title for path in sources for title in re.findall(r'docs/format\.md,\s+"([^"]+)"', path.read_text())}
    assert len(cited) >= 5
    assert cited <= titles
    links = re.findall(r"\]\(#([^)]+)\)", PAGE)
    assert set(links) <= {title.lower().replace(" ", "-") for title in titles}


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
    layout = reference.StreamLayout(2, 3, stream.lanes, stream.skip, least)
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
