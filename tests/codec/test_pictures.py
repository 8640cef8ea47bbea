# SPDX-License-Identifier: Apache-2.0
"""Picture files as people have them: every format and its damage, transparency, and images that are copied."""

import copy
import io
import pickle
import struct
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from fuzz_pictures import FORMATS, mutants, sample
from picture_files import GREY, RGB, file_of, jahp
from PIL import Image

from jahp_fast.errors import UnsupportedImage
from jahp_fast.files import pictures
from jahp_fast.files.image import split


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
