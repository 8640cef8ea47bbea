# SPDX-License-Identifier: Apache-2.0
"""Six photos of 384x256: one at a time with all threads, and as a batch, several at a time with a share of the threads each."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jahp_fast import Codec

PHOTO = Path(__file__).resolve().parent.parent / "examples" / "photo.png"


@pytest.fixture(scope="module")
def codec():
    return Codec()


@pytest.fixture(scope="module")
def images():
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))
    return [photo[128 * (i % 3) :, 192 * (i // 3) :][:256, :384].copy() for i in range(6)]


@pytest.mark.parametrize("how", ["one at a time", "batch"])
@pytest.mark.benchmark(group="encode six photos")
def test_encode(benchmark, codec, images, how):
    streams = benchmark(codec.encode_batch if how == "batch" else lambda images: [codec.encode(i) for i in images], images)
    for data, image in zip(streams, images, strict=True):
        assert np.abs(codec.decode(data).astype(int) - image).mean() < 8


@pytest.mark.parametrize("how", ["one at a time", "batch"])
@pytest.mark.benchmark(group="decode six photos")
def test_decode(benchmark, codec, images, how):
    streams = codec.encode_batch(images)
    decoded = benchmark(codec.decode_batch if how == "batch" else lambda streams: [codec.decode(s) for s in streams], streams)
    for pixels, image in zip(decoded, images, strict=True):
        assert pixels.shape == image.shape
        assert np.abs(pixels.astype(int) - image).mean() < 8
