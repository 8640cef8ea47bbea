# SPDX-License-Identifier: Apache-2.0
"""Pillow's own calls on .jahp files: lazy opening, modes, metadata, hostile files, and imageio on top."""

import io
import struct

import imageio.v3 as iio
import numpy as np
import pytest
from builders import with_crc
from PIL import Image, UnidentifiedImageError

import jahp_fast
import jahp_fast.integrations.pillow as plugin
from jahp_fast import FormatError, JahpError
from jahp_fast.errors import UsageError


@pytest.fixture
def picture(photo_crop):
    return Image.fromarray(photo_crop[:50, :70])


def saved(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JAHP", **options)
    return buffer.getvalue()


def test_a_file_by_its_name(picture, tmp_path):
    path = tmp_path / "photo.jahp"
    picture.save(path, quality=5)
    assert jahp_fast.info(path.read_bytes()).quality == 5
    with Image.open(path) as back:
        assert (back.format, back.mode, back.size, back.get_format_mimetype()) == ("JAHP", "RGB", (70, 50), "image/jahp")
        assert np.array_equal(np.asarray(back), jahp_fast.decode(path.read_bytes()))
        assert back.copy().crop((3, 4, 20, 30)).size == (17, 26)


def test_opening_decodes_nothing(picture, monkeypatch):
    data, calls, decode = saved(picture), [], plugin._decode
    monkeypatch.setattr(plugin, "_decode", lambda d, scale: calls.append(scale) or decode(d, scale))
    image = Image.open(io.BytesIO(data))
    assert image.info["quality"] == 4
    assert calls == []
    image.load()
    image.load()
    assert calls == [1]
    Image.open(io.BytesIO(data)).verify()


@pytest.mark.parametrize(("mode", "comes_back"), [("RGB", "RGB"), ("RGBA", "RGBA"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("1", "L")])
def test_modes(picture, mode, comes_back):
    image = picture.convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = saved(image, quality=6)
    codec = jahp_fast.Codec(quality=6)
    assert data == codec.encode(image)
    back = Image.open(io.BytesIO(data))
    assert (back.mode, back.size) == (comes_back, image.size)
    assert np.array_equal(np.asarray(back.convert("RGBA")), np.asarray(codec.decode_pil(data).convert("RGBA")))
    if mode in ("RGBA", "LA"):
        assert np.array_equal(np.asarray(back.getchannel("A")), np.asarray(image.getchannel("A")))


def test_a_palette_with_transparency_becomes_rgba(picture):
    image = picture.quantize(16)
    image.info["transparency"] = 0
    assert Image.open(io.BytesIO(saved(image))).mode == "RGBA"


def test_metadata(picture):
    exif = Image.Exif()
    exif[0x010E] = "a photo"
    picture.info["icc_profile"] = b"the image's own"
    back = Image.open(io.BytesIO(saved(picture, exif=exif, xmp=b"<x/>")))
    assert back.info["icc_profile"] == b"the image's own"
    assert back.getexif()[0x010E] == "a photo"
    assert back.info["xmp"] == b"<x/>"
    assert Image.open(io.BytesIO(saved(picture, icc_profile=b"another"))).info["icc_profile"] == b"another"
    assert "icc_profile" not in Image.open(io.BytesIO(saved(picture, icc_profile=None))).info
    assert picture.info["icc_profile"] == b"the image's own"


def test_search_options_reach_the_codec(picture, monkeypatch):
    seen = {}

    class Spy:
        def encode(self, image, **options):
            seen.update(options)
            return b"coded"

    monkeypatch.setattr(plugin, "_codec", lambda model, quality: Spy())
    assert saved(picture, effort=2, max_bytes=900) == b"coded"
    assert seen == {"effort": 2, "max_bytes": 900}


def test_layers_by_pillow(picture):
    back = Image.open(io.BytesIO(saved(picture, lossless=True)))
    assert back.info["max_error"] == 0
    assert "quality" not in back.info
    assert np.array_equal(np.asarray(back), np.asarray(picture))
    fine = Image.open(io.BytesIO(saved(picture, quality=10)))
    assert fine.info["quality"] == 10
    assert np.abs(np.asarray(fine).astype(int) - np.asarray(picture)).mean() < 2


def test_what_cannot_be_written(picture):
    with pytest.raises(OSError, match="PIL mode CMYK") as caught:
        saved(picture.convert("CMYK"))
    assert isinstance(caught.value, JahpError)
    with pytest.raises(UsageError, match="quality"):
        saved(picture, quality=75)


def test_hostile_files_leave_other_formats_alone(picture):
    data = saved(picture)
    for bad in (b"JAHP", data[:60], data[:-1], data[:50] + b"\0" + data[51:], b"JAHP" + bytes(4096)):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(bad))
    png = io.BytesIO()
    picture.save(png, "PNG")
    assert Image.open(io.BytesIO(png.getvalue())).format == "PNG"


def test_errors_at_load_are_pillows_and_ours(picture):
    data = bytearray(saved(picture))
    data[8:16] = b"unknown!"
    image = Image.open(io.BytesIO(with_crc(bytes(data))))
    with pytest.raises(OSError, match=b"unknown!".hex()) as caught:
        image.load()
    assert isinstance(caught.value, FormatError)
    data = bytearray(saved(picture))
    data[36:40] = struct.pack("<I", 12345)  # the checksum of the symbols
    with pytest.raises(OSError, match="checksum"):
        Image.open(io.BytesIO(with_crc(bytes(data)))).load()


def test_decompression_bombs_are_pillows_business(picture, monkeypatch):
    data = saved(picture)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))


def test_imageio(photo_crop, tmp_path):
    path = tmp_path / "photo.jahp"
    iio.imwrite(path, photo_crop, quality=5)
    assert jahp_fast.info(path.read_bytes()).quality == 5
    back = iio.imread(path)
    assert np.array_equal(back, jahp_fast.decode(path.read_bytes()))
    assert iio.improps(path).shape == (96, 128, 3)


def test_draft_and_thumbnail_decode_small_pictures(picture, monkeypatch):
    big = picture.resize((700, 500))
    data, scales, decode = saved(big), [], plugin._decode
    monkeypatch.setattr(plugin, "_decode", lambda d, scale: scales.append(scale) or decode(d, scale))
    image = Image.open(io.BytesIO(data))
    assert image.draft("L", (80, 80)) == ("RGB", (0, 0, 700 / 4, 500 / 4))
    assert (image.size, image.mode) == ((175, 125), "RGB")
    assert image.draft(None, (20, 20)) is None
    assert np.array_equal(np.asarray(image), jahp_fast.Codec().decode(data, scale=4))
    assert image.draft(None, (20, 20)) is None
    for size, scale in (((40, 40), 4), ((20, 20), 8), ((400, 400), 1), ((9, 9), 16), ((1, 1), 16)):
        image = Image.open(io.BytesIO(data))
        image.thumbnail(size)
        assert scales[-1] == scale
        whole = Image.open(io.BytesIO(data))
        whole.load()
        whole.thumbnail(size)
        assert image.size == whole.size
        if size != (1, 1):
            assert np.abs(np.asarray(image).astype(int) - np.asarray(whole)).mean() < 2


def test_a_draft_says_nothing_of_an_image_that_is_small_enough(picture):
    image = Image.open(io.BytesIO(saved(picture)))
    assert image.draft(None, None) is None
    assert image.draft(None, (60, 60)) == ("RGB", (0, 0, 70, 50))
    assert image.size == (70, 50)
