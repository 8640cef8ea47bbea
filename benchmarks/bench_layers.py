# SPDX-License-Identifier: Apache-2.0
"""Layers over the pixels beside what Pillow has: a photo without loss beside WebP, near 45 dB beside AVIF, and drawings; on two threads."""

import io

import numpy as np
import pytest
from builders import photo
from PIL import Image

from jahp_fast import Codec
from jahp_fast.train import synthetic

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


@pytest.mark.parametrize("name", ["ours", "ours, nets alone", "AVIF", "WebP"])
@pytest.mark.parametrize("kind", ["interface", "page"])
def test_encode_drawings(benchmark, timing, kind, name):
    """A screen, and one with a photo on it, each by the codec's own quality: bytes stand beside the times, and all have 20 dB."""
    benchmark.group = f"encode a synthetic {kind}"
    size = (1000, 1500) if timing else (96, 128)
    image = np.ascontiguousarray(synthetic.picture(kind, 4, size, [photo()]))
    codec = Codec(threads=2, drawings=name == "ours")
    encode = {
        "AVIF": lambda x: saved(x, "AVIF", quality=60, subsampling="4:4:4", max_threads=2),
        "WebP": lambda x: saved(x, "WEBP", quality=60),
    }
    data = benchmark(encode.get(name, codec.encode), image)
    back = codec.decode(data) if name.startswith("ours") else opened(data)
    assert np.square(image.astype(float) - back).mean() < 65025 / 100
    benchmark.extra_info["bytes"] = len(data)
