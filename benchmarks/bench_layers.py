# SPDX-License-Identifier: Apache-2.0
"""Layers over the pixels beside what Pillow has: a photo without loss beside WebP, and near 45 dB beside AVIF; on two threads."""

import io

import numpy as np
import pytest
from builders import photo
from PIL import Image

from jahp_fast import Codec

QUALITIES = {"ours": 11, "AVIF": 94}
"""Both are near 45 dB on the photo."""


@pytest.fixture(scope="module")
def image(timing):
    return np.ascontiguousarray(photo() if timing else photo()[:48, :64])


def saved(image, kind, **options):
    out = io.BytesIO()
    Image.fromarray(image).save(out, kind, **options)
    return out.getvalue()


def opened(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def ways(loss):
    """By name: encode and decode."""
    codec = Codec(quality=QUALITIES["ours"], threads=2)
    if loss:
        return {
            "ours": (codec.encode, codec.decode),
            "AVIF": (lambda image: saved(image, "AVIF", quality=QUALITIES["AVIF"], subsampling="4:4:4", max_threads=2), opened),
        }
    return {
        "ours": (lambda image: codec.encode(image, lossless=True), codec.decode),
        "WebP": (lambda image: saved(image, "WEBP", lossless=True), opened),
    }


def check(image, back, loss):
    error = np.square(image.astype(float) - back).mean()
    assert error < 65025 / 10**4.2 if loss else error == 0


@pytest.mark.parametrize(("name", "loss"), [("ours", False), ("WebP", False), ("ours", True), ("AVIF", True)])
def test_encode(benchmark, image, name, loss):
    benchmark.group = "encode a photo " + ("at 45 dB" if loss else "without loss")
    encode, decode = ways(loss)[name]
    data = benchmark(encode, image)
    check(image, decode(data), loss)
    benchmark.extra_info["bytes"] = len(data)


@pytest.mark.parametrize(("name", "loss"), [("ours", False), ("WebP", False), ("ours", True), ("AVIF", True)])
def test_decode(benchmark, image, name, loss):
    benchmark.group = "decode a photo " + ("at 45 dB" if loss else "without loss")
    encode, decode = ways(loss)[name]
    data = encode(image)
    check(image, benchmark(decode, data), loss)


def test_decode_at_quality_4(benchmark, image):
    """What a layer's coarse picture takes."""
    benchmark.group = "decode a photo at 45 dB"
    codec = Codec(threads=2)
    data = codec.encode(image)
    assert benchmark(codec.decode, data).shape == image.shape
