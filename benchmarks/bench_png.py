# SPDX-License-Identifier: Apache-2.0
"""Writing a decoded photo as PNG: by rows with Paeth's predictor and runs alone, and by Pillow."""

import io

import numpy as np
import pytest
from builders import photo
from PIL import Image

from jahp_fast import Codec
from jahp_fast.files.png import PngWriter


@pytest.fixture(scope="module")
def image(timing):
    codec = Codec()
    return codec.decode(codec.encode(photo() if timing else photo()[:48, :64]))


def by_rows(image):
    out = io.BytesIO()
    writer = PngWriter(out.write, image.shape[1], image.shape[0], 3)
    for row in range(0, len(image), 64):
        writer.rows(image[row : row + 64])
    return out.getvalue()


def by_pillow(level):
    def write(image):
        out = io.BytesIO()
        Image.fromarray(image).save(out, "PNG", compress_level=level)
        return out.getvalue()

    return write


@pytest.mark.parametrize("how", ["ours", "Pillow", "Pillow, level 1"])
@pytest.mark.benchmark(group="a decoded photo as PNG")
def test_write(benchmark, image, how):
    data = benchmark({"ours": by_rows, "Pillow": by_pillow(6), "Pillow, level 1": by_pillow(1)}[how], image)
    with Image.open(io.BytesIO(data)) as back:
        assert np.array_equal(np.asarray(back), image)
    benchmark.extra_info["bytes"] = len(data)
