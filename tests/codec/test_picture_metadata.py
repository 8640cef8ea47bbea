# SPDX-License-Identifier: Apache-2.0
"""Metadata of picture files: profiles, EXIF, XMP and code points of colours, on the way into a .jahp file and out of it."""

import io
import warnings
from dataclasses import replace

import numpy as np
import pytest
from picture_files import GREY, RGB, chunk, file_of, jahp, lost, png_with, profile, turned
from PIL import Image

import jahp_fast
from jahp_fast import Codec
from jahp_fast.errors import FormatError, LossWarning
from jahp_fast.files import container, pictures
from jahp_fast.files.image import split


@pytest.mark.parametrize("value", ["<x/>", b"<x/>", 17, None, ["a"]])
def test_xmp_of_any_type(value):
    image = RGB.copy()
    image.info["xmp"] = value
    assert split(image).chunks.get(b"xmp_") == (b"<x/>" if value in ("<x/>", b"<x/>") else None)


def test_structure_tags_are_no_metadata():
    exif = Image.Exif()
    exif[256], exif[257], exif[270] = 4000, 3000, "a lake"
    plain = {270: "a lake"}
    for data in (file_of(RGB, "JPEG", exif=exif), file_of(RGB, "PNG", exif=exif), file_of(RGB, "WEBP", exif=exif),
                 file_of(RGB, "TIFF", tiffinfo=plain), file_of(RGB, "TIFF", big_tiff=True, tiffinfo=plain),
                 file_of(RGB, "TIFF", compression="tiff_lzw", tiffinfo=plain | {278: 1})):  # fmt: skip
        chunk = split(pictures.read(data, "it")).chunks[b"exif"]
        kept = Image.Exif()
        kept.load(chunk)
        assert set(kept) <= {270, 282, 283, 296}
        assert kept[270] == "a lake"
        assert len(chunk) < 200
    strips = file_of(RGB.resize((32, 4000)), "TIFF", compression="raw", tiffinfo={278: 1})
    assert sum(map(len, split(pictures.read(strips, "it")).chunks.values())) < 200


def test_a_description_is_kept_byte_by_byte():
    exif = Image.Exif()
    exif[270], exif[274] = "a lake", 3
    block = exif.tobytes()
    for kind in ("JPEG", "PNG", "WEBP"):
        chunk = split(pictures.read(file_of(RGB, kind, exif=block), "it")).chunks[b"exif"]
        assert chunk.removeprefix(b"Exif\0\0") == block.removeprefix(b"Exif\0\0")


def test_tiff_comes_back_right(tmp_path):
    for name, options in (("o", {"exif": turned()}), ("b", {"big_tiff": True}), ("p", {"compression": "tiff_lzw"})):
        path = tmp_path / f"{name}.tif"
        RGB.save(path, **options)
        assert jahp("encode", path, tmp_path / f"{name}.jahp").returncode == 0
        assert jahp("decode", tmp_path / f"{name}.jahp", tmp_path / f"{name}-back.tif").returncode == 0
        with Image.open(tmp_path / f"{name}-back.tif") as back:
            assert back.size == (RGB.size if name != "o" else RGB.size[::-1])  # Pillow turns TIFF files as it reads them
            assert np.array_equal(np.asarray(back), jahp_fast.decode((tmp_path / f"{name}.jahp").read_bytes()))
            assert back.getexif().get(274) is None


def test_dates_and_places_go_through_tiff():
    exif = Image.Exif()
    exif[270] = "a lake"
    exif.get_ifd(0x8769)[36867], exif.get_ifd(0x8825)[1] = "2020:01:01 00:00:00", "N"
    image = RGB.copy()
    image.info["exif"] = split(pictures.read(file_of(RGB, "TIFF", exif=exif.tobytes()), "it")).chunks[b"exif"]
    image.info["xmp"] = b"<x/>"  # which is a tag of the same directory there
    kept = Image.open(io.BytesIO(pictures.saved(image, "TIFF", "it"))).getexif()
    assert (kept[270], kept.get_ifd(0x8769), kept.get_ifd(0x8825)) == ("a lake", {36867: "2020:01:01 00:00:00"}, {1: "N"})


def test_grey_with_alpha_stays_grey_with_its_profile(tmp_path):
    image = Image.merge("LA", (GREY, GREY.rotate(180)))
    image.info["icc_profile"] = profile(b"GRAY")
    codec = jahp_fast.Codec()
    data = codec.encode(image)
    back = codec.decode_pil(data)
    assert (back.mode, back.info["icc_profile"]) == ("LA", profile(b"GRAY"))
    assert np.array_equal(np.asarray(back.getchannel("A")), np.asarray(image.getchannel("A")))
    assert codec.decode(data).shape == (64, 96, 4)
    (tmp_path / "a.jahp").write_bytes(data)
    assert jahp("decode", tmp_path / "a.jahp", tmp_path / "a.png").returncode == 0
    with Image.open(tmp_path / "a.png") as png:
        assert (png.mode, png.info["icc_profile"]) == ("LA", profile(b"GRAY"))
        assert np.array_equal(np.asarray(png), np.asarray(back))


def test_a_profile_of_other_colours_is_left_out():
    image = RGB.copy()
    image.info["icc_profile"] = profile(b"CMYK")
    with pytest.warns(LossWarning, match="for CMYK, not for RGB"):
        assert b"iccp" not in split(image).chunks


def test_damaged_metadata_is_written_or_left_out(tmp_path):
    """EXIF that is none goes through .jahp as it stood; what a target cannot hold of it is said, and is no error."""
    (tmp_path / "j.jpg").write_bytes(file_of(RGB, "JPEG", exif=b"Exif\0\0junkjunk"))
    assert jahp("encode", tmp_path / "j.jpg", tmp_path / "j.jahp").returncode == 0
    for ending in ("png", "jpg", "webp", "tif", "avif", "bmp", "jp2"):
        done = jahp("decode", tmp_path / "j.jahp", tmp_path / f"back.{ending}")
        assert done.returncode == 0, done.stderr
        with Image.open(tmp_path / f"back.{ending}") as back:
            assert back.size == RGB.size


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif", "avif"])
def test_all_metadata_reach_the_file_that_is_written(ending):
    image = RGB.copy()
    image.info |= {"icc_profile": profile(b"RGB "), "xmp": b"<x/>", "exif": turned(3).tobytes()}
    kind = pictures.format_of(f".{ending}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossWarning)
        back = Image.open(io.BytesIO(pictures.saved(image, kind, "it")))
    assert (back.info["icc_profile"], back.info["xmp"]) == (profile(b"RGB "), b"<x/>")
    assert back.getexif()[274] == 3
    assert "holds no" not in lost(lambda: pictures.saved(image, kind, "it"))


def test_metadata_that_a_format_lacks_are_named():
    image = RGB.copy()
    image.info |= {"icc_profile": profile(b"RGB "), "xmp": b"<x/>", "exif": turned(1).tobytes()}
    said = lost(lambda: pictures.saved(image, "PPM", "it"))
    assert "PPM holds no ICC profile, no XMP, no EXIF" in said


def test_code_points_of_colours_travel(tmp_path):
    """BT.2020 with PQ from a PNG file to another, by way of Pillow's images too; from AVIF; what is sRGB says nothing."""
    points = bytes([9, 16, 0, 1])
    data = png_with(chunk(b"cICP", points))
    (tmp_path / "a.png").write_bytes(data)
    assert jahp("encode", tmp_path / "a.png", tmp_path / "a.jahp").stderr == ""
    coded = (tmp_path / "a.jahp").read_bytes()
    assert container.unpack(coded).chunks[container.CICP] == points
    assert jahp("decode", tmp_path / "a.jahp", tmp_path / "b.png").stderr == ""
    assert b"cICP" + points in (tmp_path / "b.png").read_bytes()
    shown = Codec().decode_pil(coded)
    assert shown.info["cicp"] == points
    assert container.unpack(Codec().encode(shown)).chunks[container.CICP] == points
    done = jahp("decode", tmp_path / "a.jahp", tmp_path / "b.webp")
    assert "described by cicp, which WEBP does not hold" in done.stderr
    avif = file_of(RGB, "AVIF")
    at = avif.index(b"colrnclx") + 8
    wide = avif[:at] + b"\0\x09\0\x10" + avif[at + 4 :]
    assert pictures.cicp_of(Image.open(io.BytesIO(wide)), wide) == points
    for ordinary in (avif, file_of(RGB, "PNG"), png_with(chunk(b"cICP", bytes([1, 13, 0, 1]))), png_with(chunk(b"cICP", b"\x09"))):
        assert pictures.cicp_of(Image.open(io.BytesIO(ordinary)), ordinary) == b""


def test_code_points_have_four_bytes():
    stream = container.unpack(Codec().encode(RGB))
    data = container.pack(replace(stream, chunks={container.CICP: bytes(3)}))
    with pytest.raises(FormatError, match="chunk 'cicp' has 3 bytes, not 4"):
        Codec().decode(data)
