# SPDX-License-Identifier: Apache-2.0
"""Files for decoders on a GPU: 64 lanes, and symbols of small scales that are not coded."""

import pickle

import numpy as np
import pytest
from PIL import Image

from jahp_fast import Codec, JahpError
from jahp_fast.cli import main
from jahp_fast.constants import trade_off
from jahp_fast.files import container


def cost(data, shown, image, quality):
    """Bits, and squared errors weighed as training weighs them; states of lanes do not count."""
    stream = container.unpack(data)
    errors = np.square(shown.astype(float) - image).sum() / 3
    return 8 * (len(data) - 4 * stream.lanes) + trade_off(quality) * errors


@pytest.fixture(scope="module")
def crop(photo_crop):
    return photo_crop[:96, :128]


@pytest.mark.parametrize("quality", [2.0, 6.0, 9.5])
def test_files_decode_everywhere_and_are_no_worse(crop, quality):
    plain, codec = Codec(quality=quality), Codec(quality=quality, for_gpu=True)
    data, usual = codec.encode(crop), plain.encode(crop)
    stream = container.unpack(data)
    assert (stream.lanes, stream.skip) == (64, 6)
    assert container.unpack(usual).skip == 0
    shown = plain.decode(data)
    assert np.array_equal(shown, codec.decode(data))
    assert np.array_equal(shown, Codec(backend="reference").decode(data))
    if quality <= 8:
        assert cost(data, shown, crop, quality) < 1.003 * cost(usual, plain.decode(usual), crop, quality)


def test_searches_batches_and_pickles_take_it_too(crop):
    codec = pickle.loads(pickle.dumps(Codec(quality=3.0, for_gpu=True)))
    for data in (codec.encode(crop, effort=1), codec.encode(crop, max_bytes=2000), *codec.encode_batch([crop])):
        stream = container.unpack(data)
        assert (stream.lanes, stream.skip) == (64, 6)
        assert codec.decode(data).shape == crop.shape
    assert codec.encode_batch([crop])[0] == codec.encode(crop)


@pytest.mark.parametrize("name", ["tiny", "tiny-b16", "tiny-factorized"])
def test_other_models_skip_as_large_a_share_of_their_scales(tiny_models, crop, name):
    codec = Codec(name, 5, models=[tiny_models[name]], for_gpu=True)
    stream = container.unpack(codec.encode(crop))
    entropy = codec._encoder.file.entropy
    assert stream.skip == (6 * len(entropy["scale.row"]) // 64 if "scale.row" in entropy else 0)
    assert codec.decode(codec.encode(crop)).shape == crop.shape


def test_it_is_a_switch():
    with pytest.raises(JahpError, match="for_gpu must be True or False, not 1"):
        Codec(for_gpu=1)


def test_the_command_takes_it(crop, tmp_path):
    Image.fromarray(crop).save(tmp_path / "a.png")
    assert main(["encode", str(tmp_path / "a.png"), str(tmp_path / "a.jahp"), "--for-gpu"]) == 0
    assert (tmp_path / "a.jahp").read_bytes() == Codec(for_gpu=True).encode(crop)
