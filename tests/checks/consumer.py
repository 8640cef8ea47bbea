# SPDX-License-Identifier: Apache-2.0
"""A program that uses the package, as its author sees it: `mypy --strict` must find nothing here, and these are the types it must find.

check_packages.py checks and runs it beside the installed wheel; test_consumer.py checks it beside this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import jahp_fast
from jahp_fast import Codec, FormatError, Info, JahpError, Latents
from jahp_fast.integrations.webdataset import decoder


def photo() -> NDArray[np.uint8]:
    return (np.add.outer(np.arange(70), np.arange(50))[:, :, None] * [1, 2, 1] % 256).astype(np.uint8)


def main() -> None:
    codec = Codec("mbt2018", quality=6.0, threads=1)
    image = photo()
    data = assert_type(codec.encode(image), bytes)
    assert codec.encode(Image.fromarray(image)) == data
    decoded = assert_type(codec.decode(data), NDArray[Any])
    assert decoded.shape == image.shape
    pil = assert_type(codec.decode_pil(memoryview(data)), Image.Image)
    assert pil.size == (50, 70)
    latents = assert_type(codec.decode_latents(data), Latents)
    assert_type(latents.y, NDArray[np.int32])
    rows = assert_type(codec.decode_rows(data), Iterator[NDArray[Any]])
    assert sum(len(block) for block in rows) == 70
    info = assert_type(jahp_fast.info(data), Info)
    assert (info.width, info.height) == (50, 70)
    many = assert_type(codec.encode_batch([image, image[:32]]), list[bytes])
    both = assert_type(codec.decode_batch(many), list[NDArray[Any]])
    assert len(both) == 2
    timed, seconds = codec.decode_timed(data)
    assert timed.shape == image.shape
    assert assert_type(seconds["g_s"], float) > 0
    assert_type(jahp_fast.decode(jahp_fast.encode(image, quality=4)), NDArray[Any])
    assert decoder("numpy")("0.cls", b"7") is None
    try:
        codec.decode(data[:-1])
    except FormatError as error:
        failure: JahpError = error
        print(failure)
    else:
        raise AssertionError("a truncated file was decoded")


if __name__ == "__main__":
    main()
