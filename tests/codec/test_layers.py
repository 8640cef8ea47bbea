# SPDX-License-Identifier: Apache-2.0
"""Layers over the pixels: exact pixels, bounded errors and residuals, against the decoder that was written from the format's page."""

import dataclasses
import hashlib
import importlib
import itertools
import json
import struct
import sys
from pathlib import Path

import independent
import numpy as np
import pytest
from builders import SHIPPED, photo
from independent.pixels import deep_samples
from PIL import Image

import jahp_fast
from jahp_fast import Codec, FormatError, UsageError, _native
from jahp_fast.constants import LAYER_BASE, layer_quality, layer_step
from jahp_fast.files import container, layers
from jahp_fast.pipelines import shared
from jahp_fast.prepared import Prepared

GOLDEN = Path(__file__).parents[1] / "golden"
DIGESTS = json.loads((GOLDEN / "layers" / "layers.json").read_text())
SIZES = ((1, 1), (1, 9), (17, 1), (2, 3), (8, 8), (23, 41), (40, 17))


@pytest.fixture(scope="module")
def model():
    return independent.Model(SHIPPED)


@pytest.fixture(scope="module")
def fine():
    return Codec(quality=10, threads=2)


def pictures(height, width):
    """By name: (H, W, 3) of every kind that could break a predictor."""
    rng = np.random.default_rng(height * 100 + width)
    y, x = np.mgrid[:height, :width]
    board = np.where((x + y) % 2, 255, 0).astype(np.uint8)
    return {
        "noise": rng.integers(0, 256, (height, width, 3), np.uint8),
        "extremes": rng.choice(np.array([0, 255], np.uint8), (height, width, 3)),
        "board": np.stack([board, 255 - board, board], axis=2),
        "constant": np.full((height, width, 3), (7, 200, 99), np.uint8),
        "photo": np.ascontiguousarray(photo()[100 : 100 + height, 200 : 200 + width]),
    }


def read_alone(data, model=None, samples=independent.samples):
    """The second decoder's samples."""
    stream = independent.parse(data)
    y = None if model is None else independent.decode(stream, model)[1]
    return samples(stream, model, y)


@pytest.mark.parametrize("size", SIZES)
def test_exact_pixels_are_the_page_s(size, fine):
    for name, image in pictures(*size).items():
        for given in (image, image[:, :, 1]):
            for bound in (0, 1, 31):
                data = fine.encode(given, max_error=bound)
                pixels = fine.decode(data)
                assert np.abs(pixels.astype(int) - given).max() <= bound, name
                assert np.array_equal(read_alone(data), pixels), name


@pytest.mark.parametrize("size", SIZES)
def test_residual_layers_are_the_page_s(size, model):
    for quality, kinds in ((8.05, ("photo", "board")), (12, ("noise", "extremes"))):
        codec = Codec(quality=quality, threads=1, drawings=False)
        for kind in kinds:
            image = pictures(*size)[kind]
            for given in (image, image[:, :, 0]):
                data = codec.encode(given)
                assert np.array_equal(read_alone(data, model), codec.decode(data)), kind


def test_extreme_differences_and_steps():
    """All of a residual's range: black over white, the least and the largest step, and magnitudes behind the escape."""
    rng = np.random.default_rng(5)
    for step, channels, dtype in itertools.product((16, 17, 500, 4096), (1, 3), (np.uint8, np.uint16)):
        white = np.iinfo(dtype).max
        wanted = rng.choice(np.array([0, white], dtype), (19, 21, channels))
        coarse = np.ascontiguousarray(white - wanted)
        layer = layers.residual(wanted, coarse, step, 1)
        out = coarse.copy()
        layer.decode(out, 0, 1)
        alone = independent.layers.ResidualStrip(independent.layers.Bits(layer.strips[0]), coarse, step, layer.bits)
        assert np.array_equal(alone.samples, out)
        if step == 16:
            assert np.abs(out.astype(int) - wanted).max() <= 2 * white // 255


def test_a_small_step_is_nearly_exact_and_steps_order_the_error():
    image = photo()[:128, :160]
    coarse = np.ascontiguousarray(image[::-1])
    errors = []
    for step in (16, 64, 256):
        out = coarse.copy()
        layer = layers.residual(np.ascontiguousarray(image), coarse, step, 1)
        layer.decode(out, 0, 1)
        errors.append(float(np.square(out.astype(float) - image).mean()))
    assert errors[0] < 0.6
    assert errors[0] < errors[1] < errors[2]


def test_smooth_pictures_stand_on_a_finer_base():
    """In fewer bytes, and no worse, up to 10.5; what is coarse of a busy one stays so. Batches do as single pictures."""
    y, x = np.mgrid[:200, :300]
    ramp = np.stack([40 + x // 3, 90 + y // 2, 200 - (x + y) // 5], 2).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for quality, base in ((8.05, 7), (9, 7), (10.5, 7), (10.55, 5), (12, 5)):
        codec = Codec(quality=quality, threads=2, drawings=False)
        data, busy = codec.encode(ramp), codec.encode(noise)
        assert jahp_fast.info(data).base_quality == base
        assert jahp_fast.info(busy).base_quality == LAYER_BASE
        assert (jahp_fast.info(data).quality, codec.encode_batch([ramp, noise])) == (quality, [data, busy])
        if quality > 9:
            continue
        encoding, prepared = codec._encoding(), Prepared.of(ramp, 1 << 28, False)
        plain = encoding.finished(prepared, encoding.nearest(prepared, LAYER_BASE, 1), 1)
        errors = [np.square(codec.decode(one).astype(float) - ramp).mean() for one in (data, plain)]
        assert len(data) < len(plain)
        assert errors[0] < 1.05 * errors[1]


@pytest.mark.parametrize("threads", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3)), 5])
def test_threads_and_strips_change_nothing(threads, fine):
    image = np.tile(photo(), (2, 1, 1))[:900]  # several strips
    codec = Codec(quality=9, threads=threads)
    for options in ({"lossless": True}, {}):
        data = codec.encode(image, **options)
        assert len(container.unpack(data).layer.strips) == 4
        assert data == Codec(quality=9, threads=2).encode(image, **options)
        whole = codec.decode(data)
        blocks = list(codec.decode_rows(data))
        assert len(blocks) > 1 or threads > 3
        assert np.array_equal(np.concatenate(blocks), whole)
        assert np.array_equal(whole, fine.decode(data))


def test_lossless_keeps_every_kind_of_picture(fine):
    rng = np.random.default_rng(8)
    image = Image.fromarray(rng.integers(0, 256, (20, 30, 4), np.uint8))
    back = fine.decode_pil(fine.encode(image, lossless=True))
    assert back.mode == "RGBA"
    assert np.array_equal(np.asarray(back), np.asarray(image))
    grey = image.convert("LA")
    assert np.array_equal(np.asarray(fine.decode_pil(fine.encode(grey, lossless=True))), np.asarray(grey))
    batch = [np.asarray(image)[:, :, :3], np.asarray(image)[:7, :9, 0]]
    files = fine.encode_batch(batch, lossless=True)
    mixed = [*files, fine.encode(batch[0])]
    for given, pixels in zip(batch, fine.decode_batch(mixed), strict=False):
        assert np.array_equal(given, pixels)
    assert np.array_equal(fine.decode_batch(mixed)[2], fine.decode(mixed[2]))


def test_lossless_photo_is_smaller_than_png_and_flat_pictures_are_tiny(fine, tmp_path):
    image = photo()[:256, :256]
    Image.fromarray(image).save(tmp_path / "photo.png", optimize=True)
    assert len(fine.encode(image, lossless=True)) < 0.85 * (tmp_path / "photo.png").stat().st_size
    assert len(fine.encode(np.full((512, 512, 3), 9, np.uint8), lossless=True)) < 600


def test_qualities_above_8_order_bytes_and_errors():
    image = photo()[:256, :256]
    sizes, errors = [], []
    for quality in (8.05, 9, 10, 11, 12):
        codec = Codec(quality=quality)
        data = codec.encode(image)
        info = jahp_fast.info(data)
        assert (info.quality, info.base_quality, info.max_error) == (quality, 4.0, None)
        sizes.append(len(data))
        errors.append(float(np.square(codec.decode(data).astype(float) - image).mean()))
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 2  # above 45 dB


def test_steps_name_qualities():
    for code in range(161, 241):
        assert layer_quality(layer_step(code / 20)) == code / 20
    assert layer_step(9) == 192
    assert layer_step(10) == 144


def test_checksum_of_the_pixels(fine, model):
    image = photo()[:64, :80]
    for options in ({}, {"max_error": 2}):
        data = Codec(quality=10, pixel_checksum=True).encode(image, **options)
        pixels = fine.decode(data)  # held to the checksum
        stream = container.unpack(data)
        assert stream.chunks[b"pcrc"] == _native.crc32c(pixels.tobytes()).to_bytes(4, "little")
        read_alone(data, None if options else model)
        wrong = container.pack(dataclasses.replace(stream, chunks={**stream.chunks, b"pcrc": bytes(4)}))
        with pytest.raises(FormatError, match="checksum of the pixels"):
            fine.decode(wrong)


def test_exact_pixels_need_no_model_and_have_no_latents(fine):
    data = fine.encode(photo()[:16, :16], lossless=True)
    info = jahp_fast.info(data)
    assert (info.quality, info.max_error, info.model) == (None, 0, "00" * 8)
    with pytest.raises(UsageError, match="no latents"):
        fine.decode_latents(data)
    pixels, laps = fine.decode_timed(data)
    assert set(laps) == {"layer"}
    assert np.array_equal(pixels, photo()[:16, :16])
    finer = fine.encode(photo()[:16, :16])
    assert "layer" in fine.decode_timed(finer)[1]
    assert "layer" in fine.encode_timed(photo()[:16, :16])[1]
    assert fine.decode_latents(finer).y.shape == (192, 1, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lossless": True, "max_error": 2}, "ask for one"),
        ({"max_error": 32}, "max_error must be 0 to 31"),
        ({"max_error": 1.5}, "max_error must be 0 to 255"),
        ({"lossless": 1}, "lossless must be True or False"),
        ({"lossless": True, "max_bytes": 100}, "up to 8"),
        ({"max_bytes": 100}, "up to 8: leave them out with quality 10"),
        ({"effort": 1}, "up to 8"),
    ],
)
def test_arguments_that_do_not_fit(fine, options, words):
    with pytest.raises(UsageError, match=words):
        fine.encode(photo()[:8, :8], **options)


def damaged(data, edit):
    """The file with its layer edited, and a right CRC."""
    stream = container.unpack(data)
    return container.pack(dataclasses.replace(stream, chunks={**stream.chunks, container.LAYER: edit(stream.chunks[container.LAYER])}))


def with_a_bit_turned(data, bit):
    body = bytearray(data)
    body[bit // 8] ^= 1 << bit % 8
    return bytes(body)


HEADS = {
    "kind": lambda d: b"\4" + d[1:],
    "an overlay's bound": lambda d: b"\3\1\0\0" + d[4:],
    "an overlay's step": lambda d: b"\3\0\20\0" + d[4:],
    "bound": lambda d: d[:1] + b"\x20" + d[2:],
    "step": lambda d: d[:2] + struct.pack("<H", 15) + d[4:],
    "rows": lambda d: d[:4] + struct.pack("<I", 12) + d[8:],
    "too many rows": lambda d: d[:4] + struct.pack("<I", (1 << 24) + 8) + d[8:],
    "no rows": lambda d: d[:4] + bytes(4) + d[8:],
    "many strips": lambda d: d[:4] + struct.pack("<I", 8) + d[8:],
    "length": lambda d: d[:8] + struct.pack("<I", 2**32 - 1) + d[12:],
    "short": lambda d: d[:5],
    "empty": lambda d: b"",
    "cut": lambda d: d[:-1],
    "more": lambda d: d + b"\0",
}


@pytest.mark.parametrize("edit", HEADS.values(), ids=HEADS)
def test_a_lying_head_is_refused_before_any_pixel(fine, edit):
    for options in ({"lossless": True}, {}):
        data = damaged(fine.encode(photo()[:64, :64], **options), edit)
        with pytest.raises(FormatError):
            container.unpack(data)
        with pytest.raises(independent.Refused):
            independent.layers.parse_layer(independent.parse(data))


def test_a_model_or_a_payload_beside_exact_pixels_is_refused(fine):
    stream = container.unpack(fine.encode(photo()[:8, :8], lossless=True))
    copies = {"chunks": {**stream.chunks, b"COPY": b""}}
    for change in ({"model": b"12345678"}, {"payload": b"\1"}, {"payload": bytes(2)}, copies):
        data = container.pack(dataclasses.replace(stream, **change))
        with pytest.raises(FormatError, match="zeros"):
            container.unpack(data)
        with pytest.raises(independent.Refused):
            independent.layers.parse_layer(independent.parse(data))


def test_damaged_strips_are_refused_or_give_pixels(fine):
    """Random bytes, a bit turned, zeros: an error or a picture of the right shape, and never anything else."""
    rng = np.random.default_rng(3)
    refused = 0
    image = photo()[:24, :32]
    for options in ({"lossless": True}, {"max_error": 2}, {}):
        good = fine.encode(image, **options)
        edits = (
            lambda d: d[:12] + rng.integers(0, 256, len(d) - 12, np.uint8).tobytes(),
            lambda d: with_a_bit_turned(d, int(rng.integers(96, 8 * len(d)))),
            lambda d: d[:12] + bytes(len(d) - 12),
        )
        for i in range(30):
            try:
                pixels = fine.decode(damaged(good, edits[i % 3]))
            except FormatError:
                refused += 1
            else:
                assert pixels.shape == image.shape
    assert refused > 20


def test_a_truncated_strip_is_refused(fine):
    for options in ({"lossless": True}, {}):
        good = fine.encode(photo()[:24, :32], **options)

        def edit(data):
            return data[:8] + struct.pack("<I", len(data) - 13) + data[12:-1]

        with pytest.raises(FormatError, match="strip"):
            fine.decode(damaged(good, edit))
        blocks = fine.decode_rows(damaged(good, edit))
        with pytest.raises(FormatError, match="strip"):
            list(blocks)


def test_native_arguments_are_checked():
    pixels = np.zeros((8, 8, 3), np.uint8)
    (strip,) = _native.encode_exact(pixels, 0, 8, 1)
    for call in (
        lambda: _native.encode_exact(pixels, 32, 8, 1),
        lambda: _native.encode_exact(pixels, 0, 12, 1),
        lambda: _native.encode_exact(pixels, 0, 8, 0),
        lambda: _native.encode_exact(pixels[:, :, :2].copy(), 0, 8, 1),
        lambda: _native.encode_residual(pixels, pixels[:4].copy(), 16, 8, 1),
        lambda: _native.encode_residual(pixels, pixels, 15, 8, 1),
        lambda: _native.decode_exact([strip, strip], pixels.copy(), 0, 8, 1),
        lambda: _native.decode_residual([strip], pixels.copy(), 4097, 8, 1),
    ):
        with pytest.raises(UsageError):
            call()


def digest(pixels, dtype):
    return hashlib.sha256(np.ascontiguousarray(pixels[:, :, :3] if pixels.ndim == 3 else pixels).astype(dtype).tobytes()).hexdigest()


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_golden_streams(name):
    """Both decoders give the golden pixels; and the encoder, where it is asked for that file, the golden bytes."""
    sys.path.insert(0, str(GOLDEN))
    try:
        golden = importlib.import_module("make_layers")
    finally:
        sys.path.remove(str(GOLDEN))
    data = (GOLDEN / "layers" / f"{name}.jahp").read_bytes()
    path = GOLDEN / "pictures.safetensors"
    assert digest(Codec("pictures", models=[path]).decode(data), "<u2" if name in golden.DEEP else "u1") == DIGESTS[name]
    exact = jahp_fast.info(data).max_error is not None
    alone = None if exact else independent.Model(path)
    if name in golden.DEEP:
        assert digest(read_alone(data, alone, deep_samples), "<u2") == DIGESTS[name]
        assert (b"VALS" in container.unpack(data).chunks) == name.startswith("deep-values")
        _, quality, options = golden.DEEP[name]
        assert Codec("pictures", quality, models=[path], drawings=False).encode(golden.deep_picture(name), **options) == data
        return
    assert digest(read_alone(data, alone), "u1") == DIGESTS[name]
    if name in golden.STREAMS:
        _, quality, options = golden.STREAMS[name]
        assert container.unpack(data).layer.kind == ("colours" if name.startswith("colours") else container.unpack(data).layer.kind)
        codec = Codec("pictures", quality=quality, models=[path])
        assert codec.encode(golden.of_name(name), **options) == data
    else:
        assert (golden.overlay(name) if name in golden.OVERLAYS else golden.several_strips()) == data


def test_every_golden_stream_has_a_digest():
    assert {path.stem for path in (GOLDEN / "layers").glob("*.jahp")} == set(DIGESTS)


def test_a_layer_wants_exact_pixels_below_it(fine, monkeypatch):
    """Also of a codec whose own transforms are not: then they are two pipelines."""
    plain, layered = (container.unpack(Codec(quality=quality).encode(photo()[:16, :16])) for quality in (4, 10))
    asked = []
    monkeypatch.setattr(shared, "shared", lambda *arguments: asked.append(arguments[5]) or object())
    pipelines = shared.Pipelines("cpu", "auto", False, True, ())
    monkeypatch.setattr(pipelines, "_exact", False)  # as on a GPU
    first = pipelines.of_stream(plain)
    assert pipelines.of_stream(layered) is not first
    assert pipelines.of_stream(plain) is first
    assert asked == [False, True]


def test_tensors(fine):
    torch = pytest.importorskip("torch")
    image = photo()[:20, :24]
    alpha = np.dstack([image, image[:, :, 0]])
    for given in (image, image[:, :, 0], alpha):
        for options in ({}, {"lossless": True}):
            data = fine.encode(np.ascontiguousarray(given), **options)
            wanted = fine.decode(data)
            tensor = fine.decode_tensor(data)
            assert tensor.dtype == torch.uint8
            assert np.array_equal(tensor.numpy(), wanted[None] if wanted.ndim == 2 else wanted.transpose(2, 0, 1))
