# SPDX-License-Identifier: Apache-2.0
"""Which way up: EXIF and XMP say it, and what becomes of them when somebody turns or edits a picture."""

import io
import pickle
import warnings

import numpy as np
import pytest
from picture_files import RGB, file_of, jahp, lost, turned
from PIL import Image, ImageOps

import jahp_fast
from jahp_fast.errors import LossWarning
from jahp_fast.files import pictures
from jahp_fast.files.image import split


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("target", ["jpg", "png", "webp", "tif", "avif", "bmp", "ppm", "tga"])
def test_orientation_of_all_pairs(source, target):
    """Whoever shows the result turns it as the source was to be shown; where nothing can say so the pixels are turned."""
    codec = jahp_fast.Codec(quality=7)
    data = file_of(RGB, source, exif=turned())
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    kind = pictures.format_of("." + target)
    image = codec.decode_pil(codec.encode(pictures.read(data, "it")))
    said = lost(lambda: pictures.saved(image, kind, "it"))
    back = Image.open(io.BytesIO(pictures.saved(image, kind, "it"))) if not said else None
    if back is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LossWarning)
            back = Image.open(io.BytesIO(pictures.saved(image, kind, "it")))
    upright = ImageOps.exif_transpose(back).convert("RGB")
    assert upright.size == shown.size == (64, 96)
    assert np.abs(np.asarray(upright, int) - np.asarray(shown, int)).mean() < 6
    assert ("the pixels are turned" in said) == (target in ("bmp", "ppm", "tga") and source != "TIFF")


def test_the_tag_that_somebody_edited_counts():
    image = Image.open(io.BytesIO(file_of(RGB, "JPEG", exif=turned(6))))
    image.getexif()[274] = 3
    kept = Image.Exif()
    kept.load(split(image).chunks[b"exif"])
    assert kept[274] == 3
    assert split(Image.open(io.BytesIO(file_of(RGB, "JPEG", exif=turned(6))))).chunks[b"exif"] != split(image).chunks[b"exif"]


def test_a_tag_does_not_follow_pixels_that_were_made_of_the_file_s():
    image = Image.open(io.BytesIO(file_of(RGB, "JPEG", exif=turned(6))))
    with pytest.warns(LossWarning, match="exif_transpose first"):
        assert b"exif" not in split(image.transpose(Image.Transpose.ROTATE_270)).chunks
    assert lost(lambda: split(ImageOps.exif_transpose(image))) == ""
    assert b"exif" not in split(ImageOps.exif_transpose(image)).chunks


def test_xmp_alone_makes_no_exif():
    image = Image.open(io.BytesIO(file_of(RGB, "JPEG", xmp=b'<x tiff:Orientation="6"/>')))
    assert image.getexif()[274] == 6  # Pillow's reading
    assert set(split(image).chunks) == {b"xmp_"}


XMP_FORMS = [b'<x tiff:Orientation="6"/>', b"<x><tiff:Orientation>6</tiff:Orientation></x>"]


@pytest.mark.parametrize("xmp", XMP_FORMS)
def test_the_orientation_of_xmp_does_not_follow_either(xmp, tmp_path):
    import jahp_fast.integrations.pillow  # noqa: F401

    image = Image.open(io.BytesIO(file_of(RGB, "JPEG", xmp=xmp)))
    turned_by_hand = image.transpose(Image.Transpose.ROTATE_270)
    with pytest.warns(LossWarning, match="XMP orientation is left out"):
        kept = split(turned_by_hand).chunks
    assert set(kept) == {b"xmp_"}
    assert b"Orientation" not in kept[b"xmp_"]
    assert kept[b"xmp_"].startswith(b"<x")
    del image.getexif()[274]
    assert b"Orientation" not in split(image).chunks[b"xmp_"]  # taken out by hand, and so without a word
    turned_by_hand.save(tmp_path / "a.jahp", xmp=xmp)  # given for these pixels
    with Image.open(tmp_path / "a.jahp") as back:
        assert back.info["xmp"] == xmp


@pytest.mark.parametrize("value", [3, None])
def test_edits_of_a_decoded_image_count(value):
    codec = jahp_fast.Codec(threads=1)
    image = codec.decode_pil(codec.encode(Image.open(io.BytesIO(file_of(RGB, "JPEG", exif=turned(6))))))
    if value is None:
        del image.getexif()[274]
    else:
        image.getexif()[274] = value
    kept = Image.Exif()
    kept.load(split(image).chunks.get(b"exif", b""))
    assert kept.get(274) == value


@pytest.mark.parametrize("block", ["exif", "xmp"])
def test_a_decoded_image_is_as_it_was_opened(block):
    codec = jahp_fast.Codec(threads=1)
    given = turned(6).tobytes() if block == "exif" else XMP_FORMS[0]
    data = codec.encode(Image.open(io.BytesIO(file_of(RGB, "JPEG", **{block: given}))))
    image = codec.decode_pil(data)
    assert lost(lambda: split(image)) == ""
    assert jahp_fast.info(codec.encode(image)).chunks == jahp_fast.info(data).chunks
    with pytest.warns(LossWarning, match="is left out"):
        split(image.transpose(Image.Transpose.ROTATE_270))
    again = pickle.loads(pickle.dumps(image))
    assert again.info[block] == image.info[block]
    assert type(again.info[block]) is bytes


def test_exif_given_to_save_holds(tmp_path):
    import jahp_fast.integrations.pillow  # noqa: F401

    RGB.save(tmp_path / "a.jahp", exif=turned(8))
    with Image.open(tmp_path / "a.jahp") as back:
        assert back.getexif()[274] == 8


def test_auto_orient(tmp_path):
    (tmp_path / "w.webp").write_bytes(file_of(RGB, "WEBP", exif=turned(6)))
    assert jahp("encode", tmp_path / "w.webp", tmp_path / "w.jahp", "--auto-orient").returncode == 0
    info = jahp_fast.info((tmp_path / "w.jahp").read_bytes())
    assert (info.width, info.height, info.chunks) == (64, 96, {})
    done = jahp("batch", "encode", tmp_path, tmp_path / "out", "--auto-orient")
    assert done.returncode == 0
    assert jahp_fast.info((tmp_path / "out" / "w.jahp").read_bytes()).width == 64
