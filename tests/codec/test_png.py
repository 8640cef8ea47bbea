# SPDX-License-Identifier: Apache-2.0
"""PNG files written by rows, as Pillow reads them."""

import io
import struct
import zlib

import numpy as np
import pytest
from builders import photo
from PIL import Image

from jahp_fast import Codec
from jahp_fast.files.png import PngWriter, paeth

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def written(image, blocks=(1000,), **metadata):
    """The file of an image whose rows come in blocks of those sizes, the last one repeated."""
    out = io.BytesIO()
    height, width = image.shape[:2]
    writer = PngWriter(out.write, width, height, 1 if image.ndim == 2 else image.shape[2], **metadata)
    row, sizes = 0, list(blocks)
    while row < height:
        count = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        writer.rows(image[row : row + count])
        row += count
    return out.getvalue()


def opened(data):
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


@pytest.mark.parametrize("channels", MODES)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (33, 50)], ids=str)
@pytest.mark.parametrize("kind", ["noise", "flat", "photo"])
def test_every_mode(channels, size, kind):
    rng = np.random.default_rng(0)
    image = np.dstack([photo()[: size[0], : size[1]], photo()[: size[0], : size[1], :1]])
    if kind == "noise":
        image = rng.integers(0, 256, image.shape).astype(np.uint8)
    elif kind == "flat":
        image = np.full_like(image, 200)
    image = image[:, :, 0] if channels == 1 else image[:, :, :channels]
    for blocks in ((1000,), (1,), (3, 1, 16)):
        back = opened(written(image, blocks))
        assert (back.mode, back.size) == (MODES[channels], size[::-1])
        assert np.array_equal(np.asarray(back), image)


def test_prediction_is_the_one_of_the_standard():
    """ISO/IEC 15948, 9.4, a byte at a time."""
    image = np.random.default_rng(1).integers(0, 6, (7, 5, 3)).astype(np.uint8)
    above = np.random.default_rng(2).integers(0, 6, (5, 3)).astype(np.uint8)
    rows = np.concatenate([above[None], image]).astype(int)
    want = np.empty_like(image)
    for r, column, channel in np.ndindex(image.shape):
        b = rows[r, column, channel]
        a, c = (rows[r + 1, column - 1, channel], rows[r, column - 1, channel]) if column else (0, 0)
        p = a + b - c
        distances = [abs(p - a), abs(p - b), abs(p - c)]
        want[r, column, channel] = (rows[r + 1, column, channel] - (a, b, c)[distances.index(min(distances))]) % 256
    assert np.array_equal(paeth(image, above), want)


def test_metadata_as_pillow_reads_it():
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    metadata = {"icc": b"an ICC profile", "exif": exif.tobytes(), "xmp": b"<x:xmpmeta/>"}
    image = opened(written(photo()[:4, :5], **metadata))
    assert image.info["icc_profile"] == b"an ICC profile"
    assert image.info["xmp"] == b"<x:xmpmeta/>"
    assert image.getexif()[0x010F] == "a camera"
    by_pillow = io.BytesIO()
    Image.fromarray(photo()[:4, :5]).save(by_pillow, "PNG", icc_profile=metadata["icc"], exif=metadata["exif"])
    ours, theirs = (dict(chunks_of(data)) for data in (written(photo()[:4, :5], **metadata), by_pillow.getvalue()))
    for kind in (b"IHDR", b"iCCP", b"eXIf", b"IEND"):
        assert ours[kind] == theirs[kind]


def chunks_of(data):
    """(type, content) of each chunk; the CRCs are checked."""
    at, out = 8, []
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + content)
        out.append((kind, content))
        at += 12 + length
    assert at == len(data)
    return out


def test_a_photo_is_as_small_as_pillow_makes_it():
    """Z_RLE on Paeth's residuals loses nothing to a filter a row and a search for matches, on what our decoder gives."""
    image = Codec(threads=1).decode(Codec(threads=1).encode(photo()))
    by_pillow = io.BytesIO()
    Image.fromarray(image).save(by_pillow, "PNG")
    assert len(written(image, (64,))) < 1.01 * len(by_pillow.getvalue())


def test_rows_leave_as_they_come():
    image = photo()
    sizes = []
    out = io.BytesIO()
    writer = PngWriter(out.write, 768, 512, 3)
    for row in range(0, 512, 64):
        writer.rows(image[row : row + 64])
        sizes.append(out.tell())
    assert sizes[1] - sizes[0] > 10_000
    assert sizes[-2] - sizes[0] > 0.6 * (sizes[-1] - sizes[0])
