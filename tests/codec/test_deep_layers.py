# SPDX-License-Identifier: Apache-2.0
"""Exact pixels of 9 to 16 bits: kept to their bound, against the decoder that was written from the page, and what is refused."""

import dataclasses
import io

import independent
import numpy as np
import pytest
from independent.pixels import deep_samples
from PIL import Image

import jahp_fast
from jahp_fast import Codec, FormatError, UsageError, _native, cli
from jahp_fast.arguments import most_error
from jahp_fast.files import container, deep_layers, layers
from jahp_fast.files.deep import DEPTHS, narrowed, of_bytes, widened
from jahp_fast.files.view import averaged

SIZES = ((1, 1), (1, 9), (17, 1), (2, 3), (9, 11))


@pytest.fixture(scope="module")
def codec():
    return Codec(quality=6, threads=2)


def pictures(height, width, depth):
    """By name: (H, W, 3) of every kind that could break a predictor, in all of the depth's range."""
    rng = np.random.default_rng(height * 100 + width + depth)
    most = (1 << depth) - 1
    y, x = np.mgrid[:height, :width]
    board = np.where((x + y) % 2, most, 0)
    ramp = (x * 37 + y * 91) * (most + 1) // 4096 + rng.integers(-3, 4, (height, width))
    found = {
        "noise": rng.integers(0, most + 1, (height, width, 3)),
        "extremes": rng.choice(np.array([0, most]), (height, width, 3)),
        "board": np.stack([board, most - board, board], axis=2),
        "constant": np.full((height, width, 3), most - 3),
        "ramp": np.clip(np.stack([ramp, ramp + most // 5, most - ramp], axis=2), 0, most),
        "few": rng.choice(rng.integers(0, most + 1, 5), (height, width, 3)),
    }
    return {name: image.astype(np.uint16) for name, image in found.items()}


def read_alone(data):
    """The second decoder's samples of 16 bits."""
    return deep_samples(independent.parse(data), None, None)


def off(pixels, given, depth):
    """The largest difference in units of the depth."""
    return int(np.abs((pixels >> (16 - depth)).astype(int) - given).max())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("depth", [9, 16])
def test_exact_pixels_are_the_page_s(size, depth, codec):
    for name, image in pictures(*size, depth).items():
        grey = np.ascontiguousarray(image[:, :, 1])
        for given, bound in ((image, 0), (grey, 0), (image, 2), (grey, most_error(depth))):
            data = codec.encode(given, max_error=bound, depth=depth)
            pixels = codec.decode(data)
            assert pixels.dtype == np.uint16
            assert off(pixels, given, depth) <= bound, name
            if name != "few" or bound:  # whose values take the second decoder their time: below
                assert np.array_equal(read_alone(data), pixels), name


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_depth_is_kept(depth, codec):
    most = (1 << depth) - 1
    samples = np.arange(most + 1, dtype=np.uint16)
    assert np.array_equal(widened(samples, depth) >> (16 - depth), samples)
    image = pictures(20, 31, depth)["ramp"]
    data = codec.encode(image, lossless=True, depth=depth)
    info = jahp_fast.info(data)
    assert (info.depth, info.max_error, info.quality) == (depth, 0, None)
    assert np.array_equal(codec.decode(data), widened(image, depth))
    for bound in (1, most_error(depth)):
        bounded = codec.encode(image, max_error=bound, depth=depth)
        assert off(codec.decode(bounded), image, depth) <= bound
        assert jahp_fast.info(bounded).max_error == bound
        assert len(bounded) < len(data)


def test_the_bound_is_reached(codec):
    """A bound that allowed less than it says would take more bytes than it need."""
    image = pictures(40, 40, 16)["noise"]
    for bound in (1, 7, 255):
        assert off(codec.decode(codec.encode(image, max_error=bound)), image, 16) == bound


def test_alpha_and_grey(codec):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 65536, (12, 17, 4), np.uint16)
    data = codec.encode(image, lossless=True)
    assert np.array_equal(codec.decode(data), image)
    assert np.array_equal(read_alone(data), image[:, :, :3])
    assert np.array_equal(codec.decode(data, dtype=np.uint8)[:, :, :3], narrowed(image[:, :, :3]))
    files = codec.encode_batch([image, image[:, :, 0].copy(), image[:5, :5, :3].copy()], lossless=True)
    for given, pixels in zip((image, image[:, :, 0], image[:5, :5, :3]), codec.decode_batch(files), strict=True):
        assert np.array_equal(given, pixels)


def test_every_way_gives_the_same(codec):
    """Threads, rows, regions, scales, 8 bits: of a picture of several strips."""
    image = np.tile(pictures(128, 96, 12)["ramp"][:, :, 1], (8, 8))[:900, :640]
    data = codec.encode(image, lossless=True, depth=12)
    assert len(container.unpack(data).layer.strips) == 4
    whole = widened(image, 12)
    for threads in (1, 3):
        other = Codec(threads=threads)
        assert other.encode(image, lossless=True, depth=12) == data
        assert np.array_equal(other.decode(data), whole)
        assert np.array_equal(np.concatenate(list(other.decode_rows(data))), whole)
    assert np.array_equal(codec.decode(data, region=(5, 300, 40, 310)), whole[300:610, 5:45])
    small = narrowed(whole)
    assert np.array_equal(codec.decode(data, dtype=np.uint8), small)
    assert np.array_equal(codec.decode(data, region=(5, 9, 40, 31), dtype=np.uint8), small[9:40, 5:45])
    assert np.array_equal(np.asarray(codec.decode_pil(data)), small)
    assert np.array_equal(codec.decode_timed(data)[0], small)
    for scale in (2, 16):
        assert np.array_equal(codec.decode(data, scale=scale), averaged(small, scale))


def of_few_values(kind):
    """A picture of 16 bits; and one of fewer bits, and their number, that says as much."""
    rng = np.random.default_rng(2)
    ramp = pictures(64, 80, 12)["ramp"]
    if kind == "shifted":
        return ramp << 4, ramp, 12
    if kind == "bytes":
        return of_bytes(narrowed(widened(ramp, 12))), narrowed(widened(ramp, 12)), None
    if kind == "drawing":
        boxes = np.kron(rng.integers(0, 9, (8, 10, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        return boxes * np.uint16(6000) + np.uint16(77), boxes, None
    if kind == "ends":
        ends = rng.integers(0, 2, (64, 80)).astype(np.uint8)
        return ends * np.uint16(65535), ends, None
    return np.full((64, 80, 3), 999, np.uint16), np.full((64, 80, 3), 9, np.uint8), None


@pytest.mark.parametrize("kind", ["shifted", "bytes", "drawing", "one", "ends"])
def test_few_values_are_named(kind, codec):
    """Pictures that fill few of their values take about what they take without the empty ones, and come back."""
    image, plain, depth = of_few_values(kind)
    data = codec.encode(image, lossless=True)
    chunks = container.unpack(data).chunks
    assert deep_layers.VALUES in chunks
    assert len(data) < len(codec.encode(plain, lossless=True, depth=depth)) + 100
    assert np.array_equal(codec.decode(data), image)
    if kind in ("drawing", "shifted"):
        assert container.unpack(data).layer.kind == ("colours" if kind == "drawing" else "exact")
        assert np.array_equal(read_alone(data), image)


def test_values_come_back():
    rng = np.random.default_rng(3)
    for bits in DEPTHS:
        for count in (1, 2, 100, 1 << bits):
            values = np.sort(rng.choice(1 << bits, count, replace=False)).astype(np.uint16)
            assert np.array_equal(_native.unpack_values(_native.pack_values(values, bits), bits), values)
    assert len(_native.pack_values(np.arange(0, 65536, 16, dtype=np.uint16), 16)) < 100


def test_checksum_of_the_pixels(codec):
    image = pictures(20, 30, 12)["ramp"]
    data = Codec(pixel_checksum=True).encode(image, max_error=2, depth=12)
    pixels = codec.decode(data)
    stream = container.unpack(data)
    assert stream.chunks[b"pcrc"] == _native.crc32c(pixels.astype("<u2").tobytes()).to_bytes(4, "little")
    assert np.array_equal(read_alone(data), pixels)
    wrong = container.pack(dataclasses.replace(stream, chunks={**stream.chunks, b"pcrc": bytes(4)}))
    for dtype in (np.uint8, np.uint16):
        with pytest.raises(FormatError, match="checksum of the pixels"):
            codec.decode(wrong, dtype=dtype)
    assert codec.decode(wrong, region=(0, 0, 4, 4)).shape == (4, 4, 3)  # of the whole alone


def test_arguments_that_do_not_fit(codec):
    image = pictures(8, 8, 10)["ramp"]
    for bits, most in ((9, 63), (10, 127), (11, 255), (16, 255)):
        given = image >> max(0, 10 - bits)
        assert codec.encode(given, max_error=most, depth=bits)
        if most < 255:
            with pytest.raises(UsageError, match=f"max_error must be 0 to {most} with samples of {bits} bits, not {most + 1}"):
                codec.encode(given, max_error=most + 1, depth=bits)
    with pytest.raises(UsageError, match="max_error must be 0 to 255"):
        codec.encode(image, max_error=256)


def rebuilt(data, **changes):
    """The file with chunks replaced, and a right CRC."""
    stream = container.unpack(data)
    return container.pack(dataclasses.replace(stream, chunks={**stream.chunks, **{k.encode(): v for k, v in changes.items()}}))


def test_lying_chunks_are_refused(codec):
    y, x = np.mgrid[:16, :16]
    image = (5 * x + 3 * y + np.random.default_rng(6).integers(0, 30, (16, 16))).astype(np.uint16)
    data = codec.encode(image, lossless=True, depth=12)
    few = codec.encode(image << 4, lossless=True)
    layer, values = container.unpack(data).chunks[b"LAYR"], container.unpack(few).chunks[b"VALS"]
    coarse = rebuilt(Codec().encode(image, depth=12), VALS=values)
    plain = rebuilt(codec.encode(narrowed(widened(image, 12)), lossless=True), VALS=values)
    bad = {
        "kind 3": rebuilt(data, LAYR=b"\3" + layer[1:]),
        "a step of 15": rebuilt(data, LAYR=b"\1\0\x0f" + layer[3:]),
        "kind 2": rebuilt(data, LAYR=b"\2" + layer[1:]),
        "an error of 255": rebuilt(codec.encode(image >> 3, lossless=True, depth=9), LAYR=b"\0\xff" + layer[2:]),
        "shorter than their number": rebuilt(few, VALS=b"\1"),
        "4097 values": rebuilt(data, VALS=b"\0\x10" + values[2:]),
        "no pixels without any error": rebuilt(few, LAYR=b"\0\1" + container.unpack(few).chunks[b"LAYR"][2:]),
        "chunk 'deep' is not": plain,
        "no pixels without any": coarse,
    }
    for words, file in bad.items():
        with pytest.raises(FormatError, match=words):
            container.unpack(file)
        with pytest.raises(independent.Refused):
            independent.parse(file)
    for file in (
        rebuilt(few, VALS=values + b"\0"),
        rebuilt(few, VALS=values[:-1]),
        rebuilt(few, VALS=bytes([values[0] ^ 1]) + values[1:]),
    ):
        with pytest.raises(FormatError, match="values of the samples do not end"):
            codec.decode(file)
        with pytest.raises(independent.Refused):
            read_alone(file)
    fewer = _native.pack_values(_native.unpack_values(values, 16)[:-1], 16)  # as many bits, and a place that there is not
    with pytest.raises(FormatError, match="none of the values that the file names"):
        codec.decode(rebuilt(few, VALS=fewer))


def test_damaged_strips_are_refused_or_give_pixels(codec):
    rng = np.random.default_rng(4)
    refused = 0
    for options in ({"lossless": True, "depth": 12}, {"max_error": 200}, {"lossless": True}):
        data = codec.encode(pictures(24, 20, 12)["ramp"] << (0 if "depth" in options else 4), **options)
        layer = bytearray(container.unpack(data).chunks[b"LAYR"])
        for i in range(30):
            body = bytearray(layer)
            if i % 3 == 0:
                body[12:] = rng.integers(0, 256, len(layer) - 12, np.uint8).tobytes()
            elif i % 3 == 1:
                body[int(rng.integers(12, len(layer)))] ^= 1 << int(rng.integers(0, 8))
            else:
                body[12:] = bytes([255 * (i % 2)]) * (len(layer) - 12)
            try:
                pixels = codec.decode(rebuilt(data, LAYR=bytes(body)))
            except FormatError:
                refused += 1
            else:
                assert (pixels.shape, pixels.dtype) == ((24, 20, 3), np.uint16)
    assert refused > 20


def test_native_arguments_are_checked():
    pixels = np.zeros((8, 8, 3), np.uint16)
    (strip,) = _native.encode_deep(pixels, 10, 0, 8, 1)
    for call in (
        lambda: _native.encode_deep(pixels, 8, 0, 8, 1),
        lambda: _native.encode_deep(pixels, 17, 0, 8, 1),
        lambda: _native.encode_deep(pixels, 10, 128, 8, 1),
        lambda: _native.encode_deep(pixels + np.uint16(1024), 10, 0, 8, 1),
        lambda: _native.encode_deep(pixels.astype(np.uint8), 10, 0, 8, 1),
        lambda: _native.decode_deep([strip], pixels.copy(), 8, 0, 8, 1),
        lambda: _native.decode_deep([strip, strip], pixels.copy(), 10, 0, 8, 1),
        lambda: _native.pack_values(np.array([3, 3], np.uint16), 10),
        lambda: _native.pack_values(np.array([], np.uint16), 10),
        lambda: _native.pack_values(np.array([1024], np.uint16), 10),
        lambda: _native.unpack_values(b"\0\0", 8),
    ):
        with pytest.raises(UsageError):
            call()


def test_deep_samples_are_decoded_as_deep_by_layers():
    """What `exact` gives decodes in place, whichever of its two ways was shorter."""
    for depth, name in ((12, "ramp"), (12, "few"), (16, "noise")):
        image = pictures(9, 14, depth)[name]
        layer = deep_layers.exact(image, depth, 0, 1)
        out = np.empty_like(image)
        layer.decode(out, 0, 1)
        assert np.array_equal(out, widened(image, depth))
        again = deep_layers.DeepLayer.of(layers.Layer.parsed(layer.chunks()[b"LAYR"], 9, bits=layer.layer.bits), layer.chunks(), depth)
        again.decode(out, 0, 1)
        assert np.array_equal(out, widened(image, depth))


def test_command_line(tmp_path, capsys):
    image = pictures(20, 31, 16)["ramp"][:, :, 0]
    Image.fromarray(image).save(tmp_path / "x16.png")
    given, coded, back = (str(tmp_path / name) for name in ("x16.png", "x.jahp", "back.png"))
    assert cli.main(["encode", "--lossless", given, coded]) == 0
    assert cli.main(["decode", coded, back]) == 0
    assert np.array_equal(np.asarray(Image.open(back)), image)
    assert cli.main(["encode", "--max-error", "200", given, coded]) == 0
    assert cli.main(["decode", coded, back]) == 0
    assert np.abs(np.asarray(Image.open(back)).astype(int) - image).max() <= 200
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "x8.png")
    assert cli.main(["encode", "--max-error", "32", str(tmp_path / "x8.png"), coded]) == 1
    error = capsys.readouterr().err
    assert error == "jahp: max_error must be 0 to 31 with samples of 8 bits, not 32\n"


def test_deep_colour_files(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    image = pictures(20, 31, 16)["ramp"]
    for suffix, encode in (("png", imagecodecs.png_encode), ("tif", imagecodecs.tiff_encode)):
        given, coded, back = (str(tmp_path / f"{suffix}.{name}") for name in (suffix, "jahp", "png"))
        (tmp_path / f"{suffix}.{suffix}").write_bytes(encode(image))
        assert cli.main(["encode", "--lossless", given, coded]) == 0
        assert cli.main(["decode", coded, back]) == 0
        with open(back, "rb") as file:
            assert np.array_equal(imagecodecs.png_decode(io.BytesIO(file.read()).getvalue()), image)
