# SPDX-License-Identifier: Apache-2.0
"""libjahp beside the Python package, whose core is the same: what reading a model, encoding and decoding a photo take in each."""

import numpy as np
import pytest
from builders import SHIPPED, photo
from libjahp import Decoder, Encoder, Model

from jahp_fast import Codec
from jahp_fast.entropy.model_file import ModelFile


@pytest.fixture(scope="module")
def image(timing):
    return np.ascontiguousarray(photo() if timing else photo()[:48, :64])


def coders(name, threads):
    """encode and decode."""
    if name == "package":
        codec = Codec(threads=threads)
        return codec.encode, codec.decode
    model = Model(SHIPPED)
    return Encoder(model, threads=threads).encode, Decoder([model], threads=threads).decode


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["package", "library"])
def test_encode(benchmark, image, name, threads):
    benchmark.group = f"encode a photo on {threads} threads"
    encode, _ = coders(name, threads)
    assert benchmark(encode, image) == Codec().encode(image)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["package", "library"])
def test_decode(benchmark, image, name, threads):
    benchmark.group = f"decode a photo on {threads} threads"
    encode, decode = coders(name, threads)
    data = encode(image)
    assert np.array_equal(benchmark(decode, data), Codec().decode(data))


@pytest.mark.parametrize("what", ["encode", "decode"])
@pytest.mark.parametrize("side", [64, 128, 256])
@pytest.mark.parametrize("name", ["package", "library"])
def test_small(benchmark, name, side, what):
    benchmark.group = f"{what} {side} x {side}, one thread"
    picture = np.ascontiguousarray(photo()[200 : 200 + side, 300 : 300 + side])
    encode, decode = coders(name, 1)
    data = Codec().encode(picture)
    wanted, work = (data, lambda: encode(picture)) if what == "encode" else (Codec().decode(data), lambda: decode(data))
    assert memoryview(benchmark(work)) == memoryview(wanted)


@pytest.mark.parametrize("name", ["package", "library"])
def test_read_a_model(benchmark, name):
    benchmark.group = "read and check a model file"
    if name == "package":
        assert len(benchmark(ModelFile, SHIPPED).id) == 8
    else:
        assert benchmark(Model, SHIPPED).info.architecture == b"mbt2018"
