# SPDX-License-Identifier: Apache-2.0
"""What is taken as an image, what is refused with which word, and the lossless alpha channel."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from jahp_fast.errors import FormatError, UnsupportedImage
from jahp_fast.files import layers
from jahp_fast.files.alpha import AlphaReader, pack_alpha, unpack_alpha
from jahp_fast.files.image import join, split


@pytest.fixture(scope="module")
def rgba():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)


def test_arrays(rgba):
    parts = split(rgba[:, :, :3])
    assert np.array_equal(parts.rgb, rgba[:, :, :3])
    assert (parts.mode, parts.alpha, parts.chunks) == ("RGB", None, {})
    parts = split(rgba)
    assert np.array_equal(parts.rgb, rgba[:, :, :3])
    assert np.array_equal(parts.alpha, rgba[:, :, 3])
    parts = split(rgba[:, :, 0])
    assert parts.mode == "L"
    assert np.array_equal(parts.rgb, np.repeat(rgba[:, :, :1], 3, axis=2))


def test_memory_layout_does_not_matter(rgba):
    rgb = rgba[:, :, :3]
    for same in (np.asfortranarray(rgb), rgba[::-1, :, :3][::-1], np.repeat(rgb, 2, axis=1)[:, ::2]):
        assert np.array_equal(split(same).rgb, rgb)
        assert split(same).rgb.flags.c_contiguous
    rgb = rgb.copy()
    rgb.flags.writeable = False
    assert np.array_equal(split(rgb).rgb, rgb)


def test_tensors(rgba):
    import torch

    rgb = rgba[:, :, :3]
    tensor = torch.from_numpy(rgb.transpose(2, 0, 1).copy())
    assert np.array_equal(split(tensor).rgb, rgb)
    assert np.array_equal(split(torch.from_numpy(rgb.copy()).permute(2, 0, 1)).rgb, rgb)
    for shape in ((5, 7, 3), (1, 3, 5, 7), (4, 5, 7), (5, 7)):
        with pytest.raises(UnsupportedImage, match="tensor must be \\(3, H, W\\)"):
            split(torch.zeros(shape, dtype=torch.uint8))
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.int64):
        with pytest.raises(UnsupportedImage, match="must be uint8"):
            split(torch.zeros((3, 5, 7), dtype=dtype))


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64, np.int64, bool])
def test_other_types_are_refused(dtype):
    with pytest.raises(UnsupportedImage, match=r"pixels must be uint8 or uint16, not .*scale to 0"):
        split(np.zeros((4, 4, 3), dtype))


@pytest.mark.parametrize("shape", [(4,), (4, 4, 1), (4, 4, 2), (4, 4, 5), (1, 4, 4, 3), ()])
def test_other_shapes_are_refused(shape):
    with pytest.raises(UnsupportedImage, match="an array must be"):
        split(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0), (0, 0, 4)])
def test_empty_images_are_refused(shape):
    with pytest.raises(UnsupportedImage, match="empty"):
        split(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("thing", [None, 3, "photo.png", b"bytes", [[1, 2], [3, 4]]])
def test_other_things_are_refused(thing):
    with pytest.raises(UnsupportedImage, match="an image must be a PIL image"):
        split(thing)


def test_pil_modes(rgba):
    image = Image.fromarray(rgba)
    assert np.array_equal(split(image).alpha, rgba[:, :, 3])
    la = split(image.convert("LA"))
    assert la.mode == "L"
    assert np.array_equal(la.alpha, rgba[:, :, 3])
    assert split(image.convert("1")).mode == "L"
    rgb = image.convert("RGB")
    palette = rgb.convert("P")
    parts = split(palette)
    assert parts.mode == "RGB"
    assert np.array_equal(parts.rgb, np.asarray(palette.convert("RGB")))
    palette.info["transparency"] = 0
    assert np.array_equal(split(palette).alpha, np.asarray(palette.convert("RGBA"))[:, :, 3])
    rgb.info["transparency"] = tuple(rgba[0, 0, :3].tolist())
    assert split(rgb).alpha[0, 0] == 0


@pytest.mark.parametrize(
    ("mode", "what"),
    [("I", "of 32 bits"), ("F", "float"), ("CMYK", "convert\\('RGB'\\)"), ("YCbCr", "convert\\('RGB'\\)"),
     ("LAB", "convert\\('RGB'\\)"), ("HSV", "convert\\('RGB'\\)"), ("RGBa", "convert\\('RGBA'\\)"), ("RGBX", "convert\\('RGB'\\)")],
)  # fmt: skip
def test_other_pil_modes_are_refused(mode, what):
    with pytest.raises(UnsupportedImage, match=f"PIL mode {mode} cannot be encoded.*{what}"):
        split(Image.new(mode, (4, 4)))


def test_metadata_becomes_chunks(rgba):
    image = Image.fromarray(rgba[:, :, :3])
    exif = Image.Exif()
    exif[0x010E] = "a description"
    image.info |= {"icc_profile": b"profile", "xmp": b"<x/>", "exif": exif.tobytes(), "comment": b"not kept"}
    chunks = split(image).chunks
    assert set(chunks) == {b"iccp", b"exif", b"xmp_"}
    assert (chunks[b"iccp"], chunks[b"xmp_"]) == (b"profile", b"<x/>")
    again = Image.Exif()
    again.load(chunks[b"exif"])
    assert again[0x010E] == "a description"


def test_exif_without_raw_bytes_and_damaged_exif(rgba):
    image = Image.fromarray(rgba)
    image.getexif()[0x0112] = 6
    again = Image.Exif()
    again.load(split(image).chunks[b"exif"])
    assert again[0x0112] == 6
    assert b"exif" not in split(Image.fromarray(rgba)).chunks
    for damaged in (b"garbage", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff"):
        image = Image.fromarray(rgba)
        image.info["exif"] = damaged
        assert split(image).chunks[b"exif"] == damaged


@settings(max_examples=80, deadline=None, database=None, derandomize=True)
@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_alpha_is_lossless(alpha):
    assert np.array_equal(unpack_alpha(pack_alpha(alpha), *alpha.shape), alpha)


def test_alpha_by_rows():
    """Across strips, which an encoder that makes smaller ones would write."""
    alpha = np.random.default_rng(4).integers(0, 256, (45, 7), np.uint8)
    strips = [strip for top in range(0, 45, 8) for strip in layers.exact(alpha[top : top + 8, :, None].copy(), 0, 1).strips]
    reader = AlphaReader(layers.Layer("exact", 0, 0, 8, strips).packed(), 45, 7)
    assert np.array_equal(np.concatenate([reader.rows(n) for n in (1, 2, 13, 16, 8, 5)]), alpha)


def test_damaged_alpha():
    alpha = np.arange(24, dtype=np.uint8).reshape(4, 6)
    data = pack_alpha(alpha)
    residual = layers.residual(alpha[:, :, None], alpha[:, :, None], 16, 1).packed()
    for bad in (b"", b"\3" + data[1:], data[:1], data[:1] + b"\1" + data[2:], residual):
        with pytest.raises(FormatError, match="alpha"):
            unpack_alpha(bad, 4, 6)
    for n in range(1, len(data)):
        with pytest.raises(FormatError, match="alpha"):
            unpack_alpha(data[:n], 4, 6)
    with pytest.raises(FormatError, match="alpha has"):
        unpack_alpha(data + b"\0", 4, 6)
    with pytest.raises(FormatError, match="does not end"):
        unpack_alpha(data[:8] + struct.pack("<I", len(data) - 11) + data[12:] + b"\0", 4, 6)
    with pytest.raises(FormatError, match="too few for the lengths of"):
        unpack_alpha(data, 4000, 6)


def test_join():
    rgb = np.array([[[10, 11, 13], [0, 0, 1], [255, 255, 255]]], np.uint8)
    alpha = np.array([[1, 2, 3]], np.uint8)
    assert np.array_equal(join(rgb, "RGB", None), rgb)
    assert np.array_equal(join(rgb, "RGB", alpha), np.dstack([rgb, alpha]))
    assert join(rgb, "L", None).tolist() == [[11, 0, 255]]
    assert join(rgb, "L", alpha).tolist() == [[[11, 11, 11, 1], [0, 0, 0, 2], [255, 255, 255, 3]]]
