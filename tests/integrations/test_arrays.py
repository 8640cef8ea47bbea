# SPDX-License-Identifier: Apache-2.0
"""Array chunks: numcodecs, zarr 2 and 3."""

import asyncio
import json
import struct
import tracemalloc

import numcodecs
import numpy as np
import pytest
import zarr
from builders import with_crc

import jahp_fast
from jahp_fast.errors import FormatError, UnknownModel, UnsupportedImage, UsageError
from jahp_fast.integrations.chunks import decode_chunk, decode_part, encode_chunk
from jahp_fast.integrations.numcodecs import Jahp
from jahp_fast.integrations.zarr import JahpCodec
from jahp_fast.local import settings

PLAIN = settings()


@pytest.fixture
def frames(photo_crop):
    """(2, 2, 40, 48, 3)."""
    return np.stack([photo_crop[i : i + 40, j : j + 48] for i in (0, 20) for j in (0, 30)]).reshape(2, 2, 40, 48, 3)


def one_by_one(frames, quality=4.0):
    codec = jahp_fast.Codec(quality=quality)
    flat = frames.reshape(-1, *frames.shape[-3:])
    return np.stack([codec.decode(codec.encode(np.ascontiguousarray(f))) for f in flat]).reshape(frames.shape)


def test_chunks_are_what_the_codec_makes_of_each_image(frames):
    data = encode_chunk(frames, PLAIN)
    assert np.array_equal(decode_chunk(data, PLAIN), one_by_one(frames))
    strided = np.empty((*frames.shape[:-1], 6), np.uint8)[..., ::2]
    decode_chunk(memoryview(data), PLAIN, out=strided)
    assert np.array_equal(strided, one_by_one(frames))
    swapped = frames.swapaxes(2, 3)
    assert np.array_equal(decode_chunk(encode_chunk(swapped, PLAIN), PLAIN), one_by_one(swapped))


def test_a_single_image_is_not_copied(frames, monkeypatch):
    data = encode_chunk(frames[0, :1], PLAIN)
    made = []
    decode = jahp_fast.Codec.decode
    monkeypatch.setattr(jahp_fast.Codec, "decode", lambda self, d, **how: made.append(decode(self, d, **how)) or made[-1])
    assert np.shares_memory(decode_chunk(data, PLAIN), made[0])


def test_damaged_chunks(frames):
    data = encode_chunk(frames[0], PLAIN)
    shape = struct.pack("<4I", 2, 40, 48, 3)
    assert data[8:24] == shape
    other = encode_chunk(frames[0].swapaxes(1, 2), PLAIN)
    for bad, message in (
        (b"", "not a chunk"),
        (b"JAHP" + data[4:], "not a chunk"),
        (data[:4] + b"\2" + data[5:], "version 2"),
        (data[:5] + b"\2" + data[6:], "2 dimensions"),
        (data[:20], "cannot have 4 dimensions"),
        (data.replace(shape, struct.pack("<4I", 2**31, 40, 48, 3)), "cannot have the shape"),
        (data.replace(shape, struct.pack("<4I", 2, 2**31, 2**31, 3)), "is not 2147483648 x 2147483648 pixels"),
        (data.replace(shape, struct.pack("<4I", 2, 40, 48, 4)), "cannot have the shape"),
        (data.replace(shape, struct.pack("<4I", 0, 40, 48, 3)), "cannot have the shape"),
        (data[:-1], "image 1 of the chunk is cut short"),
        (data + b"\0", "1 bytes follow"),
        (other.replace(struct.pack("<4I", 2, 48, 40, 3), shape), "image 0 of the chunk is not 48 x 40"),
    ):
        with pytest.raises(FormatError, match=message):
            decode_chunk(bad, PLAIN)
    with pytest.raises(FormatError, match="is needed"):
        decode_chunk(data, PLAIN, out=np.empty((40, 48, 3), np.uint8))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((4, 4), np.uint8), "height, width, 3"),
        (np.zeros((4, 4, 4), np.uint8), "height, width, 3"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
    ],
)
def test_what_is_no_chunk(array, message):
    with pytest.raises(UnsupportedImage, match=message):
        Jahp().encode(array)


def test_numcodecs_contract(frames):
    codec = numcodecs.get_codec(json.loads(json.dumps(Jahp(quality=5).get_config())))
    assert codec == Jahp(quality=5)
    assert codec != Jahp(quality=6)
    want = one_by_one(frames, 5)
    data = codec.encode(frames)
    assert np.array_equal(codec.decode(data), want)
    assert np.array_equal(codec.decode(np.frombuffer(data, np.uint8)), want)
    assert np.array_equal(codec.decode(bytearray(data)), want)
    out = np.empty(frames.nbytes, np.uint8)
    assert codec.decode(data, out) is out
    assert np.array_equal(out.reshape(want.shape), want)
    with pytest.raises(FormatError, match="place for it has 8 bytes"):
        codec.decode(data, np.empty(8, np.uint8))
    with pytest.raises(UnknownModel):
        Jahp(model="none such").encode(frames)


def test_entry_points_find_the_codecs():
    from importlib.metadata import entry_points

    assert {e.name: e.load() for e in entry_points(group="numcodecs.codecs") if e.name == "jahp"} == {"jahp": Jahp}
    assert {e.name: e.load() for e in entry_points(group="zarr.codecs") if e.name == "jahp"} == {"jahp": JahpCodec}


def test_zarr_3(frames, tmp_path):
    movie = frames.reshape(4, 40, 48, 3)
    array = zarr.create_array(tmp_path / "a.zarr", shape=movie.shape, chunks=(2, 40, 48, 3), dtype="uint8",
                              serializer=JahpCodec(quality=5), compressors=None)  # fmt: skip
    array[:] = movie
    again = zarr.open_array(tmp_path / "a.zarr", mode="r")
    assert again.metadata.codecs[0] == JahpCodec(quality=5)
    assert np.array_equal(again[:], one_by_one(movie, 5))
    assert np.array_equal(again[3, 5:9, :, 1], one_by_one(movie, 5)[3, 5:9, :, 1])
    assert sum(f.stat().st_size for f in (tmp_path / "a.zarr").rglob("c/*/*/*/*")) < movie.nbytes / 4


def test_zarr_2(frames, tmp_path):
    movie = frames.reshape(4, 40, 48, 3)[:3]  # the last chunk is half empty
    array = zarr.create_array(tmp_path / "b.zarr", shape=movie.shape, chunks=(2, 40, 48, 3), dtype="uint8", zarr_format=2,
                              compressors=Jahp(quality=5))  # fmt: skip
    array[:] = movie
    assert np.array_equal(zarr.open_array(tmp_path / "b.zarr", mode="r")[:], one_by_one(movie, 5))


def test_zarr_refuses_other_arrays(tmp_path):
    with pytest.raises(UnsupportedImage, match="height, width, 3"):
        zarr.create_array(tmp_path / "c.zarr", shape=(8, 8), chunks=(4, 4), dtype="uint8", serializer=JahpCodec(), compressors=None)
    with pytest.raises(UnsupportedImage, match="not uint16"):
        zarr.create_array(tmp_path / "d.zarr", shape=(8, 8, 3), chunks=(8, 8, 3), dtype="uint16", serializer=JahpCodec(), compressors=None)
    with pytest.raises(UsageError, match="no setting 'speed'"):
        JahpCodec.from_dict({"name": "jahp", "configuration": {"speed": 3}})


def test_damage_inside_a_chunk_is_found(frames):
    data = bytearray(encode_chunk(frames[0, 0], PLAIN))
    stream = bytearray(data[24:])
    stream[36] ^= 1  # the checksum of the symbols
    with pytest.raises(FormatError, match="checksum"):
        decode_chunk(bytes(data[:24]) + with_crc(bytes(stream)), PLAIN)


def peak(work):
    """Bytes that NumPy and Python hold at most at a time because of `work`."""
    work()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_chunks_are_copied_once_at_most(photo_crop):
    """Seven images more take the room of their pixels once, or none where there is a place for them; encoding takes none."""
    slack = 15_000
    one, eight = (np.repeat(photo_crop[None], n, 0) for n in (1, 8))
    more = eight.nbytes - one.nbytes
    coded = [Jahp().encode(a) for a in (one, eight)]
    places = [np.empty_like(a) for a in (one, eight)]
    growth = [b - a for a, b in (
        [peak(lambda data=data: Jahp().decode(data)) for data in coded],
        [peak(lambda data=data, out=out: Jahp().decode(data, out)) for data, out in zip(coded, places, strict=True)],
        [peak(lambda a=a: Jahp().encode(a)) for a in (one, eight)],
    )]  # fmt: skip
    streams = len(coded[1]) - len(coded[0])
    assert more <= growth[0] < more + one.nbytes + slack
    assert growth[1] < slack
    assert growth[2] < 2 * streams + slack
    assert np.array_equal(places[1][7], jahp_fast.decode(jahp_fast.encode(photo_crop)))


def test_zarr_hands_on_what_was_decoded(frames):
    """Its codec adds no copy of its own: the buffer that it gives is the array that was decoded."""
    codec, made = JahpCodec(), []
    one = frames[0, :1]
    spec = zarr.core.array_spec.ArraySpec(one.shape, zarr.dtype.UInt8(), 0, zarr.core.array_spec.ArrayConfig.from_dict({}),
                                          zarr.core.buffer.default_buffer_prototype())  # fmt: skip
    coded = asyncio.run(codec._encode_single(spec.prototype.nd_buffer.from_numpy_array(one), spec))
    decode = jahp_fast.Codec.decode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jahp_fast.Codec, "decode", lambda self, data, **how: made.append(decode(self, data, **how)) or made[-1])
        given = asyncio.run(codec._decode_single(coded, spec))
    assert np.shares_memory(given.as_numpy_array(), made[0])


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_order_in_memory_is_kept(frames, order):
    """Stores that keep bytes read a chunk back in the order in which it lay (zarr 2): other pixels came of it once."""
    codec, wanted = Jahp(), one_by_one(frames)
    array = np.asarray(frames, order=order)
    data = codec.encode(array)
    made = codec.decode(data)
    assert made.flags["C_CONTIGUOUS" if order == "C" else "F_CONTIGUOUS"]
    assert np.array_equal(made, wanted)
    flat = np.zeros(array.size, np.uint8)
    codec.decode(data, out=flat)
    assert np.array_equal(flat, wanted.ravel(order))
    for place in (np.zeros(frames.shape, np.uint8, "F"), np.zeros(frames.shape, np.uint8), np.zeros(frames.shape[::-1], np.uint8).T,
                  np.zeros((*frames.shape[:-1], 6), np.uint8)[..., ::2], np.zeros(frames.shape, np.uint8)[:, ::-1]):  # fmt: skip
        codec.decode(data, out=place)
        assert np.array_equal(place, wanted)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("chunk", [(1, 40, 48, 3), (2, 40, 48, 3)])
def test_zarr_2_arrays_of_both_orders(tmp_path, frames, order, chunk):
    images = frames.reshape(-1, *frames.shape[-3:])
    array = zarr.create_array(tmp_path / "a", shape=images.shape, chunks=chunk, dtype="uint8", zarr_format=2, order=order, filters=None,
                              compressors=Jahp())  # fmt: skip
    array[:] = images
    assert np.array_equal(zarr.open_array(tmp_path / "a")[:], one_by_one(images))


def test_an_order_that_is_none_is_refused(frames):
    data = bytearray(encode_chunk(frames, PLAIN))
    data[6] = 2
    with pytest.raises(FormatError, match="order 2 is unknown"):
        decode_chunk(bytes(data), PLAIN)


SELECTIONS = {
    "a corner": np.s_[1, 0, 3:9, 40:48],
    "strided": np.s_[:, 1, 5:40:7, ::11, 1:],
    "a point": np.s_[0, 1, 20, 30, 2],
    "nothing": np.s_[0, 0, 5:5],
    "across chunks": np.s_[0:2, :, 30:, 7],
}


@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)
def test_zarr_makes_no_more_than_the_part_that_is_read(frames, selection, monkeypatch):
    array = zarr.create_array({}, shape=frames.shape, chunks=(1, 2, 40, 48, 3), dtype="uint8", serializer=JahpCodec(), compressors=None)
    array[:] = frames
    whole = array[:]
    made = []
    decode = jahp_fast.Codec.decode
    monkeypatch.setattr(
        jahp_fast.Codec, "decode", lambda self, d, region, dtype: made.append(region) or decode(self, d, region, dtype=dtype)
    )
    assert np.array_equal(array[selection], whole[selection])
    if selection == SELECTIONS["a corner"]:
        assert made == [(40, 3, 8, 6)]
    points = ([0, 1, 1], [1, 0, 1], [3, 39, 20], [5, 5, 47], [0, 2, 1])
    assert np.array_equal(array.vindex[points], whole[points])
    assert np.array_equal(array.oindex[[1], [0, 1], [2, 30], 4:6, :], whole[[1]][:, :, [2, 30], 4:6])
    with pytest.raises(FormatError, match=r"the chunk is \(2, 40, 48, 3\), where"):
        decode_part(encode_chunk(frames[0], PLAIN), PLAIN, (1, 2, 40, 48, 3), [])
