# SPDX-License-Identifier: Apache-2.0
"""Copied positions: which are found, what a map in a file may be, and that all backends leave out the same symbols."""

import numpy as np
import pytest
from builders import CASES, random_kinds, random_latents, random_model

from jahp_fast import Codec, FormatError, UsageError, _native
from jahp_fast.backends.device import refuse_copies
from jahp_fast.entropy import copies, reference
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.files import container


def test_find():
    latents = np.array([[1, 1, 2], [1, 3, 2], [1, 1, 1]], np.int32)[:, :, None].repeat(2, axis=2)
    assert copies.find(latents).tolist() == [[0, 1, 0], [2, 0, 2], [2, 1, 1]]
    latents[0, 1, 1] = 5  # one channel is enough to differ
    assert copies.find(latents).tolist() == [[0, 0, 0], [2, 0, 2], [2, 1, 1]]


@pytest.mark.parametrize("seed", range(8))
def test_what_is_found_gives_the_latents_again(seed):
    rng = np.random.default_rng(seed)
    wanted = rng.integers(0, 2, (*rng.integers(1, 9, 2), rng.integers(1, 3)))
    kinds, out = copies.find(wanted.astype(np.int32)), np.full_like(wanted, 99)
    for position in np.ndindex(kinds.shape):
        if not copies.apply(kinds, position, out):
            out[position] = wanted[position]
    assert np.array_equal(out, wanted)


def test_copies_are_chosen_where_they_may_pay():
    rng = np.random.default_rng(0)
    noise = rng.integers(-9, 9, (20, 30, 4), dtype=np.int32)
    assert copies.choose(noise[:5, :8], noise) is None
    flat = noise.copy()
    flat[:, 10:] = flat[0, 10]
    maps, packed, sure = copies.choose(noise[:5, :8], flat)
    assert sure
    assert copies.unpack(packed, (5, 8), (20, 30)) == maps == bytes(40) + copies.find(flat).tobytes()
    few = noise.copy()
    few[3, 4:20] = few[3, 4]
    assert copies.choose(noise[:5, :8], few) is None
    assert not copies.choose(noise[:2, :2], flat[:8, 6:14]).sure  # many of few
    assert copies.choose(np.zeros((0, 0, 0), np.int32), flat).maps == copies.find(flat).tobytes()


def test_pack():
    maps = bytes([0, 1, 2, 1]) + bytes([0, 1, 1, 2, 0, 2])
    data = bytes([0, 1, 2, 1, 0, 4, 2, 0, 2])
    assert copies.pack(maps) == data
    assert copies.unpack(data, (2, 2), (2, 3)) == maps
    assert copies.unpack(data[4:], (0, 0), (2, 3)) == maps[4:]
    flat = bytes([0]) + bytes([2]) * 99_999  # a run of more than two bytes
    assert copies.pack(flat) == bytes([0]) + bytes([3 * 99_998 + 2 & 127 | 128, (3 * 99_998 + 2) >> 7 & 127 | 128, 299_996 >> 14])
    assert copies.unpack(copies.pack(flat), (0, 0), (100_000, 1)) == flat


@pytest.mark.parametrize("seed", range(5))
def test_packed_maps_come_back(seed):
    rng = np.random.default_rng(seed)
    sizes = tuple(map(tuple, rng.integers(1, 40, (2, 2)).tolist()))
    maps = b"".join(random_kinds(size, seed).tobytes() for size in sizes)
    assert copies.unpack(copies.pack(maps), *sizes) == maps


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "does not have 6 values"),
        (bytes([12]), "does not have 6 values"),
        (bytes([18]), "does not have 6 values"),
        (bytes([15, 0]), "does not have 6 values"),
        (bytes([12, 128]), "does not have 6 values"),
        (b"\xff" * 4 + b"\x0f", "does not have 6 values"),
        (b"\x8f\x80\x80\x80\x80\0", "does not have 6 values"),
        (bytes([1, 12]), "as one that there is not"),
        (bytes([6, 1, 3]), "as one that there is not"),
        (bytes([3, 2, 6]), "as one that there is not"),
    ],
)
def test_a_map_that_cannot_be_is_refused(data, said):
    with pytest.raises(FormatError, match=said):
        copies.unpack(data, (0, 0), (2, 3))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(("height", "width", "skip"), [(1, 1, 0), (6, 9, 0), (9, 2, 0), (5, 6, 2)])
def test_backends_agree(tmp_path, case, height, width, skip):
    """Payloads, and what decoders see of them, with maps that hold any mixture of kinds and latents that do not fit them."""
    model = random_model(tmp_path / "m.safetensors", case, seed=height, N=3, M=5)
    slow = reference.ReferenceModel(model)
    z, y = random_latents(model, height, width, seed=width, wild=0.0 if skip else 0.02)
    maps = b"".join(random_kinds(a.shape[:2], i).tobytes() for i, a in enumerate((z, y)))
    payload, seen, lanes = reference.encode(slow, z, y, StreamLayout(height, width, 0, skip, 0, maps))
    layout = StreamLayout(height, width, lanes, skip, 0, maps)
    want = reference.decode(slow, payload, layout)
    assert np.array_equal(want[1], seen)
    for values, kinds in zip(want, copies.maps(maps, *want), strict=True):
        for row, column in np.argwhere(kinds):
            other = (row, column - 1) if kinds[row, column] == copies.LEFT else (row - 1, column)
            assert np.array_equal(values[row, column], values[other])
    for isa in _native.isa_names():
        fast = _native.EntropyModel(model.config.as_native(), model.entropy, isa)
        for threads in (1, 3):
            coded = fast.encode(z, y, 0, skip, 0, threads, maps)
            assert (coded[0], coded[2]) == (payload, lanes)
            assert np.array_equal(coded[1], seen)
            for got, wanted in zip(fast.decode(payload, height, width, lanes, skip, 0, threads, maps)[:2], want, strict=True):
                assert np.array_equal(got, wanted)
            started = fast.start_decode(payload, height, width, lanes, skip, 0, threads, maps, 0, (0, height), (0, width))
            assert np.array_equal(started.rows(height), seen)
            assert started.finish() == _native.symbol_checksum(*want)


def test_native_and_devices_refuse_what_they_cannot_do(tmp_path):
    model = random_model(tmp_path / "m.safetensors", CASES[0], seed=1, M=3)
    fast = _native.EntropyModel(model.config.as_native(), model.entropy, "")
    z, y = random_latents(model, 2, 2, seed=1)
    for maps, said in ((bytes(5), "one element a position"), (bytes([1, 0, 0, 0]), "copy of none"), (bytes([0, 0, 0, 3]), "copy of none")):
        with pytest.raises(UsageError, match=said):
            fast.encode(z, y, 1, 0, 0, 1, maps)
    with pytest.raises(UsageError, match="native backend"):
        refuse_copies(StreamLayout(2, 2, 1, 0, 0, bytes(4)))
    refuse_copies(StreamLayout(2, 2, 1))


@pytest.mark.parametrize("quality", [1, pytest.param(4, marks=pytest.mark.slow), 8])
def test_flat_pictures_are_small_and_photos_stay_as_they_are(quality, photo_crop):
    codec = Codec(quality=quality, threads=2, drawings=False)
    for colour in ((255, 255, 255), (250, 240, 10), (20, 30, 200), (0, 255, 0)):
        data = codec.encode(np.full((1024, 1024, 3), colour, np.uint8))
        assert len(data) <= (400 if quality < 6 else 800)
        assert container.COPIES in container.unpack(data).chunks
        assert np.abs(codec.decode(data).astype(int)[64:-64, 64:-64] - colour).max() < 16
    assert container.COPIES not in container.unpack(codec.encode(photo_crop)).chunks


def test_whole_files(photo_crop):
    """A photo on a flat ground: by rows, by batches, by both backends that a CPU has; a checksum of the pixels holds them to it."""
    image = np.full((144, 336, 3), (30, 90, 200), np.uint8)
    image[:96, :40] = photo_crop[:96, :40]
    codec = Codec(quality=3, threads=2, pixel_checksum=True, drawings=False)
    data = codec.encode(image)
    assert container.COPIES in container.unpack(data).chunks
    want = codec.decode(data)
    assert np.array_equal(np.concatenate(list(codec.decode_rows(data))), want)
    assert np.array_equal(codec.decode_batch([data, data])[1], want)
    assert np.array_equal(Codec(backend="reference").decode(data), want)
    assert data == Codec(quality=3, threads=1, pixel_checksum=True, drawings=False).encode(image)
    assert codec.decode(codec.encode(image, effort=1)).shape == want.shape


def test_a_changed_map_is_told(photo_crop):
    image = np.full((160, 160, 3), 77, np.uint8)
    codec = Codec(quality=4, threads=1, drawings=False)
    stream = container.unpack(codec.encode(image))
    maps = bytearray(copies.unpack(stream.chunks[container.COPIES], (3, 3), (10, 10)))
    maps[-1] = 0 if maps[-1] else copies.ABOVE
    other = container.Stream(**{**stream.__dict__, "chunks": {container.COPIES: copies.pack(bytes(maps))}})
    with pytest.raises(FormatError):
        codec.decode(container.pack(other))
