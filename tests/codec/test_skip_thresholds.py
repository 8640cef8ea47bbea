# SPDX-License-Identifier: Apache-2.0
"""Skip thresholds by quality: which an encoder takes, what a model file may say, and choosing them."""

import math
from dataclasses import replace

import golden_pictures
import numpy as np
import pytest
from builders import Case, random_model

from jahp_fast import Codec, library
from jahp_fast.entropy.model_file import ModelFile, replace_entropy, save_model
from jahp_fast.errors import ModelError, UsageError
from jahp_fast.export.skipping import MOST, Point, choose_skip, saving
from jahp_fast.files import container


def with_thresholds(path, thresholds, qualities=(1.0, 2.95, 8.0), architecture="mbt2018"):
    model = random_model(path, Case(architecture), seed=1)
    save_model(path, replace(model.config, qualities=qualities), model.entropy | {"scale.skip": thresholds}, {}, {})
    return ModelFile(path)


def test_an_encoder_takes_the_threshold_of_the_nearest_quality(tmp_path):
    model = with_thresholds(tmp_path / "model.safetensors", np.array([3, 0, 5], np.int32))
    taken = {q: model.skip(q) for q in (1.0, 1.95, 2.0, 2.95, 5.45, 5.5, 8.0)}
    assert taken == {1.0: 3, 1.95: 3, 2.0: 0, 2.95: 0, 5.45: 0, 5.5: 5, 8.0: 5}
    assert with_thresholds(tmp_path / "one.safetensors", np.array([3], np.int32), (4.0,)).skip(4.0) == 3
    assert random_model(tmp_path / "none.safetensors", Case("mbt2018"), seed=1).skip(2.0) == 0
    factorized = with_thresholds(tmp_path / "f.safetensors", np.array([3, 3, 3], np.int32), architecture="bmshj2018-factorized")
    assert factorized.skip(2.0) == 0


@pytest.mark.parametrize(
    "thresholds",
    [np.zeros(2, np.int32), np.zeros((3, 1), np.int32), np.zeros(3, np.int16), np.full(3, -1, np.int32), np.full(3, 256, np.int32)],
)
def test_thresholds_that_cannot_be(tmp_path, thresholds):
    with pytest.raises(ModelError, match=r"scale\.skip"):
        with_thresholds(tmp_path / "model.safetensors", thresholds)


def test_a_threshold_is_at_most_the_number_of_scales(tmp_path):
    scales = len(random_model(tmp_path / "plain.safetensors", Case("mbt2018"), seed=1).entropy["scale.row"])
    assert with_thresholds(tmp_path / "all.safetensors", np.full(3, scales, np.int32)).skip(1.0) == scales
    with pytest.raises(ModelError, match=rf"scale\.skip is out of range: it is not in 0\.\.{scales}"):
        with_thresholds(tmp_path / "more.safetensors", np.full(3, scales + 1, np.int32))


@pytest.fixture(scope="module")
def skipping(tmp_path_factory):
    """The model of golden pictures that names thresholds, and a picture."""
    model = golden_pictures.model(tmp_path_factory.mktemp("models"), "pictures-skip")
    return model, golden_pictures.picture(7, 70, 90, 3)


@pytest.mark.parametrize(("quality", "row"), [(1.0, 0), (1.7, 0), (1.75, 1), (8.0, 2)])
def test_files_hold_it_and_decode_everywhere(skipping, quality, row):
    model, picture = skipping
    codec = Codec("pictures-skip", quality, models=[model.path])
    for data in (
        codec.encode(picture),
        *codec.encode_batch([picture]),
        Codec("pictures-skip", quality, models=[model.path], for_gpu=True).encode(picture),
    ):
        assert container.unpack(data).skip == model.entropy["scale.skip"][row]
        assert np.array_equal(codec.decode(data), Codec(models=[model.path], backend="reference").decode(data))


def test_a_saving_is_by_the_line_between_two_qualities():
    low, high = Point(1.0, 30.0), Point(2.0, 34.0)
    assert saving(low, high, high) == 0
    assert math.isclose(saving(low, high, Point(1.7, 34.0)), -0.3)
    assert math.isclose(saving(low, high, Point(1.5, 33.0)), -0.25)
    assert saving(low, high, Point(1.9, 33.0)) > 0


@pytest.mark.slow
def test_choosing_saves_rate_at_equal_psnr(tmp_path, photo_crop):
    """Of the shipped model, on pictures that thresholds were not chosen on."""
    path = tmp_path / "chosen.safetensors"
    path.write_bytes(library.by_name("mbt2018").path.read_bytes())
    plain = replace_entropy(path, {"scale.skip": np.zeros(8, np.int32)})
    photos = [photo_crop[:176, :176], photo_crop[:176, -176:]]
    assert choose_skip(path, photos) != plain
    model = ModelFile(path)
    chosen = model.entropy["scale.skip"]
    assert chosen.shape == (8,)
    assert len(set(chosen.tolist())) == 1
    assert 0 < chosen[0] <= MOST


def test_choosing_wants_photos_qualities_and_scales(tmp_path):
    model = golden_pictures.model(tmp_path, "pictures")
    with pytest.raises(UsageError, match="and there are none"):
        choose_skip(model.path, [])
    for name in ("pictures-factorized", "pictures-b"):
        other = golden_pictures.model(tmp_path, name)
        assert choose_skip(other.path, []) == other.id == ModelFile(other.path).id


def test_choosing_again_replaces_the_thresholds(tmp_path):
    model = golden_pictures.model(tmp_path, "pictures-skip")
    photos = [golden_pictures.picture(i, 64, 80, 3) for i in range(2)]
    identity = choose_skip(model.path, photos)
    again = ModelFile(model.path)
    assert again.id == identity
    assert again.names == model.names
    assert len(set(again.entropy["scale.skip"].tolist())) == 1
    assert all(np.array_equal(again.entropy[n], model.entropy[n]) for n in model.entropy if n != "scale.skip")
