# SPDX-License-Identifier: Apache-2.0
"""Pictures in files of other formats, made here, and what is said of them."""

import io
import struct
import subprocess
import sys
import warnings
import zlib

from PIL import Image

from jahp_fast.errors import LossWarning

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


def profile(space):
    data = bytearray(200)
    data[16:20], data[36:40] = space, b"acsp"
    return bytes(data)


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
