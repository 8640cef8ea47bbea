# SPDX-License-Identifier: Apache-2.0
"""The container: what is packed comes back, and every lie in a header is refused by a message that names it."""

import struct
from dataclasses import replace

import pytest
from builders import with_crc
from fuzz_container import run
from hypothesis import given, settings
from hypothesis import strategies as st

from jahp_fast import _native, info
from jahp_fast.entropy import reference
from jahp_fast.entropy.layout import LANE_COUNTS
from jahp_fast.errors import FormatError
from jahp_fast.files import container
from jahp_fast.files.container import Stream, pack, unpack

GOOD = Stream(17, 31, "RGB", 4.25, b"model id", 8, 3, 0xDEADBEEF, b"payload bytes", {b"iccp": b"profile", b"ALPH": b"\1alpha"})


def chunk(kind, data):
    return struct.pack("<4sI", kind, len(data)) + data


def patched(offset, fmt, *values):
    """A good file with other header bytes and an honest CRC."""
    data = bytearray(pack(GOOD))
    struct.pack_into(fmt, data, offset, *values)
    return with_crc(bytes(data))


def test_crc32c_known_answers():
    # RFC 3720, B.4, and the check value of the CRC catalogue.
    known = {b"123456789": 0xE3069283, bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E, b"": 0}
    for data, crc in known.items():
        assert _native.crc32c(data) == crc
        assert reference.crc32c(data) == crc


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(st.binary(max_size=100), st.binary(max_size=50))
def test_crc32c_continues(a, b):
    assert _native.crc32c(a) == reference.crc32c(a)
    assert _native.crc32c(b, _native.crc32c(a)) == _native.crc32c(a + b)
    assert _native.crc32c(memoryview(a)) == _native.crc32c(bytearray(a))


streams = st.builds(
    Stream,
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    mode=st.sampled_from(("RGB", "L")),
    quality=st.integers(20, 160).map(lambda q: q / 20),
    model=st.binary(min_size=8, max_size=8),
    lanes=st.sampled_from(LANE_COUNTS),
    skip=st.integers(0, 255),
    checksum=st.integers(0, 2**32 - 1),
    payload=st.binary(min_size=3, max_size=60),
    chunks=st.dictionaries(st.sampled_from((b"ALPH", b"iccp", b"exif", b"xmp_", b"anci")), st.binary(max_size=30)),
)


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(streams)
def test_round_trip(stream):
    data = pack(stream)
    for kind in (bytes, bytearray, memoryview):
        assert unpack(kind(data)) == stream
    assert len(data) == 44 + len(stream.payload) + sum(8 + len(c) for c in stream.chunks.values())


def test_the_fixed_part_is_at_most_48_bytes():
    assert container.HEADER_BYTES <= 48
    assert len(pack(replace(GOOD, chunks={}))) == container.HEADER_BYTES + len(GOOD.payload)


def test_bytes_of_a_header():
    """The layout of the page, spelled out a second time."""
    data = pack(GOOD)
    assert data[:8] == b"JAHP" + bytes([1, 0, 3, 3])
    assert data[8:16] == b"model id"
    assert struct.unpack("<II", data[16:24]) == (17, 31)
    assert struct.unpack("<HH", data[24:28]) == (85, 0)
    assert struct.unpack("<III", data[28:40]) == (13, 15 + 14, 0xDEADBEEF)
    assert data[40:44] == struct.pack("<I", reference.crc32c(data[:40] + data[44:]))
    assert data[44:] == b"payload bytes" + b"iccp\7\0\0\0profile" + b"ALPH\6\0\0\0\1alpha"


@pytest.mark.parametrize(
    ("offset", "fmt", "value", "what"),
    [
        (0, "<4s", b"JAHQ", "does not start with 'JAHP'"),
        (4, "<B", 0, "version 0 is unknown"),
        (4, "<B", 2, "version 2 is unknown"),
        (5, "<B", 2, "image mode 2 is unknown"),
        (6, "<B", 7, "2\\^7 lanes are too many"),
        (16, "<I", 0, "image of 0 x 31 pixels: sides must be 1 to 16777216"),
        (20, "<I", 0, "image of 17 x 0 pixels: sides must be 1 to 16777216"),
        (16, "<I", 2**32 - 1, "image of 4294967295 x 31 pixels: sides must be 1 to 16777216"),
        (16, "<I", 2**24, "16777216 x 31 pixels are too many for 13 bytes"),
        (20, "<I", 13 * 16384 // 17 + 1, "17 x 12529 pixels are too many for 13 bytes"),
        (24, "<H", 19, "quality code 19"),
        (24, "<H", 161, "quality code 161"),
        (26, "<H", 1, "reserved field"),
        (28, "<I", 12, "header speaks of"),
        (28, "<I", 2**32 - 1, "header speaks of"),
        (32, "<I", 2**32 - 1, "header speaks of"),
        (32, "<I", 0, "header speaks of"),
    ],
)
def test_a_lie_in_the_header_is_named(offset, fmt, value, what):
    with pytest.raises(FormatError, match=what):
        unpack(patched(offset, fmt, value))


def test_pixels_a_payload_byte():
    most = replace(GOOD, width=16384, height=13)
    assert unpack(pack(most)).width == 16384
    with pytest.raises(FormatError, match="too many for 13 bytes"):
        unpack(pack(replace(most, width=16385)))
    assert container.min_payload_bytes(16384, 13) == 13
    assert container.min_payload_bytes(16385, 13) == 14
    assert container.min_payload_bytes(1, 1) == 1


def test_max_pixels():
    assert unpack(pack(GOOD), max_pixels=17 * 31)
    with pytest.raises(FormatError, match="17 x 31 pixels are more than max_pixels = 526"):
        unpack(pack(GOOD), max_pixels=526)


def test_every_changed_byte_and_bit_is_noticed():
    data = pack(GOOD)
    for at in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            with pytest.raises(FormatError):
                unpack(damaged)


def test_truncated_and_trailing():
    data = pack(GOOD)
    for n in range(len(data)):
        with pytest.raises(FormatError):
            unpack(data[:n])
    for extra in (b"\0", b"JAHP", data):
        with pytest.raises(FormatError, match="header speaks of"):
            unpack(data + extra)
    with pytest.raises(FormatError, match="shorter than a header"):
        unpack(b"JAHP")


def with_chunks(raw):
    data = bytearray(pack(replace(GOOD, chunks={})) + raw)
    struct.pack_into("<I", data, 32, len(raw))
    return with_crc(bytes(data))


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"anci\1\0\0", "chunk header is cut short"),
        (b"anci\5\0\0\0four", "'anci' claims 5 bytes, more than there are"),
        (b"anci\xff\xff\xff\xff", "'anci' claims 4294967295 bytes"),
        (chunk(b"exif", b"a") + chunk(b"exif", b"b"), "'exif' is there twice"),
        (chunk(b"anci", b"a") + chunk(b"anci", b"b"), "'anci' is there twice"),
        (chunk(b"Zzzz", b""), "critical chunk 'Zzzz' is unknown"),
        (chunk(b"an i", b""), "not made of letters"),
        (chunk(b"\xff\0\n\x07", b""), "not made of letters"),
        (chunk(b"anc1", b""), "not made of letters"),
    ],
)
def test_bad_chunks(raw, what):
    with pytest.raises(FormatError, match=what) as caught:
        unpack(with_chunks(raw))
    assert "\n" not in str(caught.value)


def test_unknown_ancillary_chunks_are_ignored(photo_crop, tiny_models):
    import numpy as np

    from jahp_fast import Codec

    codec = Codec("tiny", 4, models=[tiny_models["tiny"]])
    data = codec.encode(photo_crop[:20, :30])
    stream = unpack(data)
    more = pack(replace(stream, chunks={b"anci": b"whatever", b"iccp": b"p"}))
    assert unpack(more).chunks[b"anci"] == b"whatever"
    assert np.array_equal(codec.decode(more), codec.decode(data))
    assert info(more).chunks == {"anci": 8, "iccp": 1}


def test_info_tells_what_the_header_says():
    said = info(pack(GOOD))
    assert (said.width, said.height, said.mode, said.alpha, said.quality) == (17, 31, "RGB", True, 4.25)
    assert (said.model, said.lanes, said.skip, said.payload_bytes) == (b"model id".hex(), 8, 3, 13)
    assert said.bytes == len(pack(GOOD))
    assert said.chunks == {"iccp": 7, "ALPH": 6}


def test_mutated_files():
    """A slice of tests/checks/fuzz_container.py; every refusal of the parser, and of alpha, is reached."""
    outcomes = run(20_000)
    for ending, least in {
        "accepted": 3000, "not a .jahp": 300, "file of": 50, "version": 100, "file has": 300, "CRC": 100, "image mode": 100,
        "#^# lanes": 100, "a reserved": 100, "quality code": 100, "image of": 100, "# x # pixels are too many": 50,
        "# x # pixels are more": 1, "a chunk header": 100, "chunk type": 300, "chunk # claims": 100, "chunk # is there twice": 30,
        "critical chunk": 100, "alpha has": 30, "a strip of samples": 8, "the layer over the pixels has": 5,
    }.items():  # fmt: skip
        assert sum(n for ended, n in outcomes.items() if ended.startswith(ending)) >= least, (ending, outcomes)
