# SPDX-License-Identifier: Apache-2.0
"""Picture files as people have them: what is kept of each, what is said of what is not, and damage of every format."""

import copy
import io
import pickle
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
from fuzz_pictures import FORMATS, mutants, sample
from PIL import Image, ImageOps

import jahp_fast
from jahp_fast import Codec, cli
from jahp_fast.errors import FormatError, LossWarning, UnsupportedImage
from jahp_fast.files import container, pictures
from jahp_fast.files.image import split

GREY = Image.radial_gradient("L").resize((96, 64))
RGB = Image.merge("RGB", (GREY, GREY.rotate(90), GREY.rotate(45)))


def turned(value=6):
    exif = Image.Exif()
    exif[274] = value
    return exif


def file_of(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def lost(function):
    """The words of the LossWarnings that a call gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return " ".join(str(w.message) for w in caught if w.category is LossWarning)


def jahp(*words):
    done = subprocess.run([sys.executable, "-m", "jahp_fast.cli", *map(str, words)], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def damaged_avif():
    data = file_of(RGB, "AVIF")
    at = data.index(b"mdat") + 4
    return data[:at] + bytes(len(data) - at)


@pytest.mark.parametrize("kind", FORMATS)
def test_sound_files_of_every_format_are_read(kind):
    """Else their mutants would show nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = pictures.read(sample(kind), "it")
        assert min(image.size) > 0
        if kind == "SPIDER":
            with pytest.raises(UnsupportedImage, match="PIL mode F cannot be encoded"):
                split(image)
        else:
            split(image)


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_of_every_format_are_refused_or_taken(kind):
    """Never another error; `python tests/checks/fuzz_pictures.py` tries thousands."""
    taken, said = 0, []
    for data in mutants(sample(kind), 40, seed=1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                split(pictures.read(data, "it"))
            taken += 1
        except UnsupportedImage as e:
            said.append(str(e))
    assert taken + len(said) == 40
    assert all(words and "\n" not in words for words in said)
    assert said


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyError("tag"), struct.error("unpack"), NotImplementedError(), SyntaxError("a\nb")])
def test_whatever_a_library_raises_becomes_one_line(error):
    with pytest.raises(UnsupportedImage, match=r"^it is damaged: .") as caught, pictures.library_errors("it is damaged"):
        raise error
    assert "\n" not in str(caught.value)


def test_one_damaged_picture_is_one_line_of_the_journal(tmp_path, damaged_avif):
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.avif").write_bytes(damaged_avif)
    (source / "b.png").write_bytes(file_of(RGB, "PNG"))
    done = jahp("batch", "encode", source, tmp_path / "out", "--workers", 1)
    assert done.returncode == 1
    journal = (tmp_path / "out" / "jahp-batch.jsonl").read_text().splitlines()
    assert len(journal) == 1
    assert '"a.avif"' in journal[0]
    assert (tmp_path / "out" / "b.jahp").is_file()
    done = jahp("encode", source / "a.avif", tmp_path / "a.jahp")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "a.avif is not an image that can be read" in done.stderr


def test_damage_that_shows_when_pixels_are_read_is_ours(damaged_avif):
    image = Image.open(io.BytesIO(damaged_avif))
    with pytest.raises(UnsupportedImage, match="cannot be read"):
        split(image)


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


def transparent():
    bits = GREY.convert("1")
    yield "bits", pictures.read(file_of(bits, "PNG", transparency=0), "it"), "L"
    grey = pictures.read(file_of(GREY, "PNG", transparency=int(np.asarray(GREY)[10, 10])), "it")
    yield "grey", grey, "L"
    cut = RGB.copy()
    cut.putalpha(GREY)
    yield "palette", pictures.read(file_of(cut.quantize(32), "TGA"), "it"), "RGB"
    yield "pa", cut.convert("PA"), "RGB"


@pytest.mark.parametrize(("name", "image", "mode"), [pytest.param(*x, id=x[0]) for x in transparent()])
def test_transparency_is_kept(name, image, mode):
    parts = split(image)
    assert parts.mode == mode
    assert np.array_equal(parts.alpha, np.asarray(image.convert("RGBA"))[:, :, 3])
    assert parts.alpha.min() < 255


def profile(space):
    data = bytearray(200)
    data[16:20], data[36:40] = space, b"acsp"
    return bytes(data)


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


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with(*chunks):
    data = file_of(RGB, "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def deep_png():
    row = b"\0" + bytes(range(96))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 8, 16, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(row * 8))
            + chunk(b"IEND", b""))  # fmt: skip


def animation(kind):
    return file_of(RGB, kind, save_all=True, append_images=[RGB.rotate(90), RGB.rotate(180)], duration=50)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png_with(chunk(b"gAMA", struct.pack(">I", 100000))), "gAMA and cHRM"),
        (png_with(chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600))), "gAMA and cHRM"),
        (deep_png(), "more than 8 bits"),
        (b"P6 4 2 65535\n" + bytes(48), "more than 8 bits"),
        (animation("GIF"), "3 frames, of which number 1 alone"),
        (animation("PNG"), "3 frames"),
        (animation("WEBP"), "3 frames"),
        (animation("TIFF"), "3 frames"),
    ],
)
def test_what_a_file_does_not_hold_is_said(data, words):
    assert words in lost(lambda: pictures.read(data, "it"))
    if "bits" in words or "frames" in words:  # by way of the API alone
        assert words in lost(lambda: split(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize(
    "data",
    [
        file_of(RGB, "PNG"),
        png_with(chunk(b"gAMA", struct.pack(">I", 45455))),
        png_with(chunk(b"cICP", bytes([1, 13, 0, 1]))),
        png_with(chunk(b"cICP", bytes([9, 16, 0, 1])), chunk(b"gAMA", struct.pack(">I", 100000))),
        png_with(chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 45455))),
        file_of(RGB, "JPEG"), file_of(RGB, "AVIF"), file_of(RGB, "GIF"), file_of(RGB, "TIFF"), file_of(RGB, "WEBP"), file_of(RGB, "PPM"),
        file_of(RGB, "JPEG2000"),
    ],
)  # fmt: skip
def test_ordinary_files_lose_nothing(data):
    assert lost(lambda: split(pictures.read(data, "it"))) == ""


def test_losses_are_lines_on_standard_error(tmp_path):
    (tmp_path / "a.gif").write_bytes(animation("GIF"))
    done = jahp("encode", tmp_path / "a.gif", tmp_path / "a.jahp")
    assert done.returncode == 0
    assert done.stderr.count("3 frames") == done.stderr.count("\n") == 1
    done = jahp("batch", "encode", tmp_path, tmp_path / "out")
    assert done.returncode == 0
    assert "jahp batch: a.gif: it has 3 frames" in done.stderr


@pytest.mark.parametrize(("ending", "bound"), [("jpg", 40), ("webp", 99), ("avif", 38)])
def test_lossy_targets_lose_little_and_say_so(tmp_path, ending, bound):
    data = jahp_fast.encode(RGB)
    (tmp_path / "a.jahp").write_bytes(data)
    done = jahp("decode", tmp_path / "a.jahp", tmp_path / f"a.{ending}")
    assert done.returncode == 0
    with Image.open(tmp_path / f"a.{ending}") as image:
        error = np.mean((np.asarray(image.convert("RGB"), float) - jahp_fast.decode(data)) ** 2)
    assert 10 * np.log10(65025 / max(error, 1e-6)) > bound
    assert ("--save-option" in done.stderr) == (ending != "webp")
    options = ("--save-option", "quality=10", "--save-option", "lossless=false")
    small = jahp("decode", tmp_path / "a.jahp", tmp_path / f"small.{ending}", *options)
    assert (small.returncode, small.stderr) == (0, "")
    assert (tmp_path / f"small.{ending}").stat().st_size < (tmp_path / f"a.{ending}").stat().st_size
    assert "NAME=VALUE" in jahp("decode", tmp_path / "a.jahp", tmp_path / "b.jpg", "--save-option", "quality").stderr


@pytest.mark.parametrize("ending", ["ico", "icns", "xbm", "h5", "spider", "palm"])
def test_targets_that_would_change_the_picture_are_refused(tmp_path, ending):
    (tmp_path / "a.jahp").write_bytes(jahp_fast.encode(RGB))
    done = jahp("decode", tmp_path / "a.jahp", tmp_path / f"a.{ending}")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "png always works" in done.stderr
    assert not (tmp_path / f"a.{ending}").exists()


def test_damaged_metadata_is_written_or_left_out(tmp_path):
    """EXIF that is none goes through .jahp as it stood; what a target cannot hold of it is said, and is no error."""
    (tmp_path / "j.jpg").write_bytes(file_of(RGB, "JPEG", exif=b"Exif\0\0junkjunk"))
    assert jahp("encode", tmp_path / "j.jpg", tmp_path / "j.jahp").returncode == 0
    for ending in ("png", "jpg", "webp", "tif", "avif", "bmp", "jp2"):
        done = jahp("decode", tmp_path / "j.jahp", tmp_path / f"back.{ending}")
        assert done.returncode == 0, done.stderr
        with Image.open(tmp_path / f"back.{ending}") as back:
            assert back.size == RGB.size


def shape_of(image):
    return np.asarray(image).shape


def test_jahp_images_can_be_pickled_and_copied():
    import jahp_fast.integrations.pillow

    data = file_of(RGB, "JAHP")
    wanted = jahp_fast.decode(data)
    for made in (pickle.loads(pickle.dumps(Image.open(io.BytesIO(data)))), copy.deepcopy(Image.open(io.BytesIO(data)))):
        assert np.array_equal(np.asarray(made), wanted)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(shape_of, Image.open(io.BytesIO(data))).result() == wanted.shape


def test_cli_main_shows_no_warning_twice(tmp_path, capsys):
    (tmp_path / "a.gif").write_bytes(animation("GIF"))
    assert cli.main(["encode", str(tmp_path / "a.gif"), str(tmp_path / "a.jahp")]) == 0
    assert capsys.readouterr().err.count("frames") == 1


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


def test_a_loss_is_an_error_to_whoever_makes_errors_of_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(LossWarning, match="3 frames"):
            split(Image.open(io.BytesIO(animation("GIF"))))


@pytest.mark.parametrize(
    ("kind", "mark", "offset", "value", "words"),
    [
        ("AVIF", b"av1C", 6, b"\x4c", "more than 8 bits"),
        ("JPEG2000", b"ihdr", 14, b"\x0b", "more than 8 bits"),
    ],
)
def test_what_the_head_of_a_file_says(kind, mark, offset, value, words):
    """No encoder here writes these: a sound file's head is changed as such a file has it."""
    data = file_of(RGB, kind)
    at = data.index(mark) + offset
    changed = data[:at] + value + data[at + len(value) :]
    image = Image.open(io.BytesIO(data))
    assert pictures.colour_losses(image, data) == []
    (said,) = pictures.colour_losses(image, changed)
    assert words in said


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
