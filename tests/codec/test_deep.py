# SPDX-License-Identifier: Apache-2.0
"""Samples of more than 8 bits: both ways, against the decoder that was written from the page, and what is refused."""

import dataclasses

import numpy as np
import pytest
from builders import with_crc
from independent.decode import decode as decoded_latents
from independent.model_file import Model
from independent.pixels import deep_samples
from independent.stream_file import parse

from jahp_fast import Codec, _native
from jahp_fast.errors import FormatError, UnsupportedImage, UsageError
from jahp_fast.files import container, layers
from jahp_fast.files.deep import DEPTHS, QUARTERS, narrowed, of_bytes, of_sums, quarters, widened
from jahp_fast.files.pixel_proof import checksum_bytes


def sky(height, width):
    """A slow ramp of three colours, uint16."""
    across, down = np.linspace(0.2, 0.35, width), np.linspace(0, 0.05, height)
    return ((across[None, :, None] + down[:, None, None] + np.array([0, 0.02, 0.1])) * 65535).round().astype(np.uint16)


@pytest.fixture(scope="module")
def codec():
    return Codec(quality=6, threads=2)


@pytest.mark.parametrize("quality", [6, 7])
def test_a_sky_has_no_steps(quality):
    """A ramp over 38 grey levels has ten times as many in between, is nearer than 8 bits are, and from quality 7 on rises all the way."""
    image, codec = sky(128, 384), Codec(quality=quality, threads=2)
    deep, plain = codec.decode(codec.encode(image)), codec.decode(codec.encode(narrowed(image)))
    assert (deep.dtype, deep.shape, plain.dtype) == (np.uint16, image.shape, np.uint8)
    row, coarse = deep[64, 32:-32, 0].astype(int), plain[64, 32:-32, 0]
    assert len(np.unique(row)) > 4 * len(np.unique(coarse)) > 4 * 30
    smooth = np.convolve(row, np.ones(16) / 16, "valid")
    assert quality < 7 or (np.diff(smooth) > 0).all()
    errors = [np.square(a.astype(np.float64) - image).mean() for a in (deep, of_bytes(plain))]
    assert errors[0] < errors[1]


def test_a_finer_sky_has_no_steps_either():
    """Above quality 8, and nearer to it the higher the quality is."""
    image, last = sky(128, 384), np.inf
    for quality in (8.5, 10, 12):
        codec = Codec(quality=quality, threads=2)
        data = codec.encode(image)
        deep, narrow = codec.decode(data), codec.decode(data, dtype=np.uint8)
        assert container.unpack(data).layer.kind == "residual"
        assert len(np.unique(deep[:, :, 0])) > 10 * len(np.unique(narrow[:, :, 0]))
        error = np.square(deep.astype(np.float64) - image).mean()
        assert error < min(last, np.square(of_bytes(narrow).astype(np.float64) - image).mean())
        last = error


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("quality", [1, 4.35, 8, 8.05, 12])
def test_against_the_page(channels, quality, tmp_path):
    rng = np.random.default_rng(channels)
    image = rng.integers(0, 65536, (37, 50) if channels == 1 else (37, 50, channels), np.uint16)
    codec = Codec(quality=quality, threads=1)
    data = codec.encode(image)
    stream, model = parse(data), Model(codec._encoder.file.path)
    _, y, _ = decoded_latents(stream, model)
    want = deep_samples(stream, model, y)
    got = codec.decode(data)
    assert np.array_equal(got[..., :3] if channels == 4 else got, want)
    if channels == 4:
        assert np.array_equal(got[..., 3], image[..., 3])
        assert np.array_equal(codec.decode(data, dtype=np.uint8)[..., 3], image[..., 3] >> 8)
    plain = codec.encode(narrowed(image))
    seen = parse(plain)
    assert np.array_equal(codec.decode(plain, dtype="uint16")[..., :3] if channels > 1 else codec.decode(plain, dtype="uint16"),
                          deep_samples(seen, model, decoded_latents(seen, model)[1]))  # fmt: skip


@pytest.mark.parametrize("quality", [6, 10])
def test_every_way_gives_the_same(quality, monkeypatch):
    codec = Codec(quality=quality, threads=2)
    image = np.random.default_rng(3).integers(0, 65536, (70, 90, 4), np.uint16)
    data = codec.encode(image)
    whole = codec.decode(data)
    for isa in _native.isa_names():
        monkeypatch.setenv("JAHP_FAST_ISA", isa)
        for threads in (1, 3):
            other = Codec(quality=quality, threads=threads)
            assert other.encode(image) == data
            assert np.array_equal(other.decode(data), whole)
    monkeypatch.delenv("JAHP_FAST_ISA")
    plain = Codec(quality=quality, backend="reference")
    assert plain.encode(image) == data
    assert np.array_equal(plain.decode(data), whole)
    assert codec.encode_batch([image, narrowed(image[:, :, :3])])[0] == data
    assert np.array_equal(codec.decode_batch([data, data])[1], whole)
    assert np.array_equal(np.concatenate(list(codec.decode_rows(data))), whole)
    assert np.array_equal(codec.decode(data, region=(5, 9, 40, 31)), whole[9:40, 5:45])
    narrow = codec.decode(data, dtype=np.uint8)
    assert np.array_equal(np.asarray(codec.decode_pil(data)), narrow)
    assert np.array_equal(codec.decode(data, region=(5, 9, 40, 31), dtype="uint8"), narrow[9:40, 5:45])
    assert np.array_equal(codec.decode_timed(data)[0], narrow)
    assert codec.decode(data, scale=4).dtype == np.uint8


def test_searches_and_limits(codec):
    image = sky(64, 64)
    image[20:40, 20:40] = np.random.default_rng(0).integers(0, 65536, (20, 20, 3))
    plain = codec.encode(image)
    searched, limited = codec.encode(image, effort=1), codec.encode(image, max_bytes=len(plain) // 2)
    assert searched not in (plain, limited)
    assert len(limited) <= len(plain) // 2
    assert {codec.decode(d).dtype for d in (searched, limited)} == {np.dtype(np.uint16)}
    checked = Codec(quality=6, pixel_checksum=True).encode(image)
    assert np.array_equal(codec.decode(checked), codec.decode(plain))
    assert np.array_equal(codec.decode(checked, dtype=np.uint8), codec.decode(plain, dtype=np.uint8))


@pytest.mark.parametrize("depth", DEPTHS)
def test_depths(codec, depth):
    image = sky(20, 30) >> (16 - depth)
    data = codec.encode(image, depth=depth)
    assert container.unpack(data).depth == depth
    assert np.array_equal(codec.decode(data), codec.decode(codec.encode(widened(image, depth))))
    if depth < 16:
        with pytest.raises(UnsupportedImage, match=f"a sample of {1 << depth} has more than depth = {depth} bits"):
            codec.encode(np.full((3, 3), 1 << depth, np.uint16), depth=depth)


def test_white_is_white():
    for depth in DEPTHS:
        ends = widened(np.array([0, (1 << depth) - 1], np.uint16), depth)
        assert ends.tolist() == [0, 65535]
    assert quarters(np.array([0, 65535], np.uint16)).tolist() == [0, QUARTERS]
    assert narrowed(np.array([0, 128, 129, 65535], np.uint16)).tolist() == [0, 0, 1, 255]
    assert of_sums(np.array([-(2**29), 0, 65280, 2**29], np.int32)).tolist() == [0, 0, 65535, 65535]
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(of_sums(levels.astype(np.int32) << 8), of_bytes(levels))
    assert np.array_equal(narrowed(of_bytes(levels)), levels)
    assert np.array_equal(quarters(of_bytes(levels)), 4 * levels.astype(np.int16))


def test_layers_over_eight_bits_have_no_more(codec):
    image = np.random.default_rng(5).integers(0, 256, (40, 30, 3), np.uint8)
    for data in (codec.encode(image, lossless=True), Codec(quality=10).encode(image)):
        assert np.array_equal(codec.decode(data, dtype=np.uint16), of_bytes(codec.decode(data)))


def test_a_checksum_is_of_what_a_layer_gives():
    image = sky(70, 50)
    codec = Codec(quality=9, pixel_checksum=True)
    data = codec.encode(image)
    stream = container.unpack(data)
    whole = codec.decode(data)
    assert stream.chunks[container.PIXEL_CHECKSUM] == checksum_bytes(whole)
    assert np.array_equal(codec.decode(data, dtype="uint8"), narrowed(whole))
    wrong = container.pack(dataclasses.replace(stream, chunks={**stream.chunks, container.PIXEL_CHECKSUM: b"\1\2\3\4"}))
    for dtype in (None, "uint8"):
        with pytest.raises(FormatError, match="the checksum of the pixels does not match"):
            codec.decode(wrong, dtype=dtype)


def test_refusals(codec):
    image, small = sky(20, 20), np.zeros((4, 4), np.uint8)
    for depth in (8, 17, 0):
        with pytest.raises(UsageError, match="depth can be 9 to 16 with pixels of uint16"):
            codec.encode(image, depth=depth)
    with pytest.raises(UsageError, match="depth can be 8 with pixels of uint8"):
        codec.encode(small, depth=10)
    for dtype in (np.float32, "int16", "no type", object()):
        with pytest.raises(UsageError, match="dtype must be uint8 or uint16"):
            codec.decode(codec.encode(small), dtype=dtype)
    with pytest.raises(UsageError, match="a picture at scale 4 has 8 bits"):
        codec.decode(codec.encode(image), scale=4, dtype=np.uint16)
    with pytest.raises(UnsupportedImage, match="pixels must be uint8 or uint16, not float32"):
        codec.encode(np.zeros((4, 4, 3), np.float32))


@pytest.mark.parametrize(
    ("chunk", "what"),
    [(b"", "has 0 bytes, not 1"), (b"\x0a\x0a", "has 2 bytes, not 1"), (b"\x08", "samples of 8 bits"), (b"\x11", "samples of 17 bits")],
)
def test_damaged_files(codec, chunk, what):
    stream = container.unpack(codec.encode(np.zeros((4, 4), np.uint8)))
    data = container.pack(container.Stream(**vars(stream) | {"chunks": {container.DEEP: chunk}}))
    with pytest.raises(FormatError, match=what):
        codec.decode(with_crc(data))


def test_deep_files_have_no_overlay(codec):
    stream = container.unpack(codec.encode(np.zeros((4, 4), np.uint16)))
    layer = layers.overlay(np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4), np.uint8), 1)
    data = container.pack(dataclasses.replace(stream, chunks={**stream.chunks, **layer.chunks()}))
    with pytest.raises(FormatError, match="kind 3, which has samples of 8 bits, and not of 16"):
        codec.decode(data)
