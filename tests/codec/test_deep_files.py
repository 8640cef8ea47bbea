# SPDX-License-Identifier: Apache-2.0
"""Picture files of more than 8 bits, from the command line and back."""

import io

import numpy as np
import pytest
from PIL import Image

from jahp_fast import Codec, info
from jahp_fast.cli import main
from jahp_fast.errors import LossWarning, UnsupportedImage, UsageError
from jahp_fast.files import deep_pictures, pictures
from jahp_fast.files.deep import DeepPicture

imagecodecs = pytest.importorskip("imagecodecs")


def deep_image(channels, height=24, width=40):
    rng = np.random.default_rng(channels)
    smooth = np.linspace(9000, 30000, width)[None, :, None] + np.linspace(0, 4000, height)[:, None, None] + rng.integers(0, 9000, channels)
    image = smooth.round().astype(np.uint16)
    return image[:, :, 0].copy() if channels == 1 else image


def written(path, image):
    path.write_bytes(imagecodecs.png_encode(image) if path.suffix == ".png" else imagecodecs.tiff_encode(image))
    return str(path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_there_and_back(tmp_path, suffix, channels, capsys):
    if (suffix, channels) == (".tif", 4):
        pytest.skip("imagecodecs writes four channels as CMYK or as RGB and something else")
    image, coded = deep_image(channels), str(tmp_path / "a.jahp")
    assert main(["encode", written(tmp_path / f"a{suffix}", image), coded, "-q", "8"]) == 0
    data = (tmp_path / "a.jahp").read_bytes()
    assert np.array_equal(Codec().decode(data), Codec().decode(Codec(quality=8).encode(image)))
    assert info(data).depth == 16
    assert main(["decode", coded, str(tmp_path / "b.png")]) == 0
    back = imagecodecs.png_decode((tmp_path / "b.png").read_bytes())
    assert np.array_equal(back, Codec().decode(data))
    assert main(["decode", coded, str(tmp_path / "c.png"), "--bits", "8"]) == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "c.png")), Codec().decode(data, dtype=np.uint8))
    assert capsys.readouterr().err == ""


def test_sixteen_bits_of_a_file_of_eight(tmp_path):
    image = (deep_image(3) >> 8).astype(np.uint8)
    (tmp_path / "a.jahp").write_bytes(Codec().encode(image))
    assert main(["decode", str(tmp_path / "a.jahp"), str(tmp_path / "a.png"), "--bits", "16"]) == 0
    back = imagecodecs.png_decode((tmp_path / "a.png").read_bytes())
    assert np.array_equal(back, Codec().decode((tmp_path / "a.jahp").read_bytes(), dtype=np.uint16))


def test_metadata_and_orientation(tmp_path):
    """Turned as Pillow turns 8 bits, for all eight orientations; profile and EXIF come along."""
    image = deep_image(3, 20, 36)
    narrow = Image.fromarray((image >> 8).astype(np.uint8))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        narrow.save(buffer, "PNG", exif=exif, icc_profile=b"not a profile")
        opened = Image.open(buffer)
        opened.load()
        turned = pictures.turned(DeepPicture(image, opened), "a.png")
        assert np.array_equal(turned.samples >> 8, np.asarray(pictures.oriented(narrow_with(narrow, exif), "a.png"))), orientation
        assert turned.image.getexif().get(0x0112, 1) == 1
        assert turned.size == turned.image.size


def narrow_with(image, exif):
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    return Image.open(buffer)


def test_other_formats_hold_eight_bits(tmp_path, capsys):
    coded = tmp_path / "a.jahp"
    coded.write_bytes(Codec().encode(deep_image(3)))
    assert main(["decode", str(coded), str(tmp_path / "a.webp")]) == 0
    assert "WEBP is written with 8 bits a channel, rounded from 16; png without options has all" in capsys.readouterr().err


def test_batches_keep_sixteen_bits(tmp_path):
    (tmp_path / "in").mkdir()
    image = deep_image(4)
    written(tmp_path / "in" / "a.png", image)
    for arguments in (["encode", "in", "coded"], ["decode", "coded", "out"]):
        command, source, target = arguments
        assert main(["batch", command, str(tmp_path / source), str(tmp_path / target), "--workers", "1"]) == 0
    data = (tmp_path / "coded" / "a.jahp").read_bytes()
    back = imagecodecs.png_decode((tmp_path / "out" / "a.png").read_bytes())
    assert np.array_equal(back, Codec().decode(data))
    assert np.array_equal(back[:, :, 3], image[:, :, 3])


def test_without_a_reader_it_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(deep_pictures, "find_spec", lambda name: None)
    path = written(tmp_path / "a.png", deep_image(3))
    assert main(["encode", path, str(tmp_path / "a.jahp")]) == 0
    assert "of which 8 are kept; the extra jahp_fast[deep] keeps them" in capsys.readouterr().err
    assert info((tmp_path / "a.jahp").read_bytes()).depth == 8


def test_a_layer_over_coarse_pixels_keeps_all_bits(tmp_path):
    """The PNG that comes back has values between those of 8 bits."""
    image = deep_image(3)
    path, data, back = written(tmp_path / "a.png", image), tmp_path / "a.jahp", tmp_path / "back.png"
    assert main(["encode", path, str(data), "-q", "10"]) == 0
    assert main(["decode", str(data), str(back)]) == 0
    assert np.array_equal(imagecodecs.png_decode(back.read_bytes()), Codec().decode(data.read_bytes()))
    assert len(np.unique(Codec().decode(data.read_bytes()) % 257)) > 100


def test_images_of_pillow_of_sixteen_bits():
    image = deep_image(1)
    pil = Image.fromarray(image)
    assert pil.mode == "I;16"
    codec = Codec()
    assert codec.encode(pil) == codec.encode(image)
    assert codec.encode(Image.fromarray(image >> 4), depth=12) == codec.encode(image >> 4, depth=12)
    with pytest.raises(UsageError, match="depth can be 8"):
        codec.encode(Image.fromarray((image >> 8).astype(np.uint8)), depth=10)


def test_twelve_bits_of_a_tiff_file():
    """Pillow gives them as they are; white must be white."""
    pil = Image.fromarray(np.full((48, 48), 4095, np.uint16))
    pil.tag_v2 = {258: (12,)}
    data = Codec(quality=8).encode(pil)
    assert info(data).depth == 12
    assert Codec().decode(data)[16:32, 16:32].min() > 64000


@pytest.mark.parametrize("damage", [RuntimeError, ValueError, "others"])
def test_readers_that_disagree(tmp_path, monkeypatch, damage):
    data = imagecodecs.png_encode(deep_image(3))
    if damage != "others":

        def broken(_):
            raise damage("cut short")

        monkeypatch.setattr(imagecodecs, "png_decode", broken)
    else:
        monkeypatch.setattr(imagecodecs, "png_decode", lambda _: np.zeros((24, 40, 3), np.uint16))
    with pytest.raises(UnsupportedImage, match="convert it to 8 bits first"):
        pictures.read_all(data, "a.png")


def test_read_keeps_eight_bits():
    with pytest.warns(LossWarning, match="of which 8 are kept"):
        image = pictures.read(imagecodecs.png_encode(deep_image(3)), "a.png")
    assert image.mode == "RGB"
