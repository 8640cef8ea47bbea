# SPDX-License-Identifier: Apache-2.0
"""Files for decoders on a GPU: 64 lanes."""

import pickle

import numpy as np
import pytest
from PIL import Image

from jahp_fast import Codec, JahpError
from jahp_fast.cli import main
from jahp_fast.files import container


@pytest.fixture(scope="module")
def crop(photo_crop):
    return photo_crop[:96, :128]


@pytest.mark.parametrize("quality", [2.0, 6.0, 9.5])
def test_the_same_picture_in_more_lanes(crop, quality):
    plain, codec = Codec(quality=quality), Codec(quality=quality, for_gpu=True)
    data, usual = codec.encode(crop), plain.encode(crop)
    stream, other = container.unpack(data), container.unpack(usual)
    assert (stream.lanes, stream.skip) == (64, other.skip)
    assert other.lanes < 64
    assert len(data) <= len(usual) + 4 * 64
    shown = plain.decode(data)
    assert np.array_equal(shown, plain.decode(usual))
    assert np.array_equal(shown, Codec(backend="reference").decode(data))


def test_searches_batches_and_pickles_take_it_too(crop):
    codec = pickle.loads(pickle.dumps(Codec(quality=3.0, for_gpu=True)))
    for data in (codec.encode(crop, effort=1), codec.encode(crop, max_bytes=2000), *codec.encode_batch([crop])):
        assert container.unpack(data).lanes == 64
        assert codec.decode(data).shape == crop.shape
    assert codec.encode_batch([crop])[0] == codec.encode(crop)


@pytest.mark.parametrize("name", ["tiny", "tiny-b16", "tiny-factorized"])
def test_other_models(tiny_models, crop, name):
    codec = Codec(name, 5, models=[tiny_models[name]], for_gpu=True)
    assert container.unpack(codec.encode(crop)).lanes == 64
    assert codec.decode(codec.encode(crop)).shape == crop.shape


def test_it_is_a_switch():
    with pytest.raises(JahpError, match="for_gpu must be True or False, not 1"):
        Codec(for_gpu=1)


def test_the_command_takes_it(crop, tmp_path):
    Image.fromarray(crop).save(tmp_path / "a.png")
    assert main(["encode", str(tmp_path / "a.png"), str(tmp_path / "a.jahp"), "--for-gpu"]) == 0
    assert (tmp_path / "a.jahp").read_bytes() == Codec(for_gpu=True).encode(crop)
