# SPDX-License-Identifier: Apache-2.0
"""Table rows of z by quality: which a file uses, what a model file may say, and counting them."""

from contextlib import suppress
from dataclasses import replace

import golden_pictures
import numpy as np
import pytest
from builders import Case, random_model

from jahp_fast import Codec
from jahp_fast.backends.native import NativeBackend
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.entropy.model_file import ModelFile, save_model
from jahp_fast.errors import FormatError, ModelError, UsageError
from jahp_fast.export.hyper_tables import count_hyper_tables


def with_rows(path, rows, qualities=(1.0, 2.95, 8.0)):
    model = random_model(path, Case("mbt2018"), seed=1, N=5, M=7)
    save_model(path, replace(model.config, qualities=qualities), model.entropy | {"z_rows": rows}, {}, {})
    return ModelFile(path)


def test_a_file_uses_the_rows_of_the_nearest_quality(tmp_path):
    model = with_rows(tmp_path / "model.safetensors", np.array([7, 0, 3], np.int32))
    used = {q: model.z_row(q) for q in (1.0, 1.95, 2.0, 2.95, 5.45, 5.5, 8.0)}
    assert used == {1.0: 7, 1.95: 7, 2.0: 0, 2.95: 0, 5.45: 0, 5.5: 3, 8.0: 3}
    one = with_rows(tmp_path / "one.safetensors", np.array([7], np.int32), (4.0,))
    assert one.z_row(4.0) == 7
    assert random_model(tmp_path / "none.safetensors", Case("mbt2018"), seed=1).z_row(2.0) == 0


@pytest.mark.parametrize(
    "rows",
    [np.zeros(2, np.int32), np.zeros((3, 1), np.int32), np.zeros(3, np.int16), np.full(3, -1, np.int32), np.full(3, 10_000, np.int32)],
)
def test_rows_that_cannot_be(tmp_path, rows):
    with pytest.raises(ModelError, match="z_rows"):
        with_rows(tmp_path / "model.safetensors", rows)


def test_rows_up_to_the_last(tmp_path):
    model = random_model(tmp_path / "model.safetensors", Case("mbt2018"), seed=1, N=5, M=7)
    last = len(model.entropy["tables.low"]) - 5
    z, y, native = np.ones((1, 1, 5), np.int32), np.zeros((2, 3, 7), np.int32), NativeBackend(model)
    payload, _, lanes, _ = native.encode(z, y, StreamLayout(2, 3, 1, z_row=last), 1)
    assert np.array_equal(native.decode(payload, StreamLayout(2, 3, lanes, z_row=last), 1)[0], z)
    for row in (-1, last + 1):
        with pytest.raises(UsageError, match="z_row must be"):
            native.encode(z, y, StreamLayout(2, 3, 1, z_row=row), 1)
        with pytest.raises(UsageError, match="z_row must be"):
            native.decode(payload, StreamLayout(2, 3, 1, z_row=row), 1)


def test_other_rows_are_other_files(tmp_path):
    """A decoder that takes the rows of another quality gives other symbols, or an error."""
    model = random_model(tmp_path / "model.safetensors", Case("mbt2018"), seed=1, N=5, M=7)
    native = NativeBackend(model)
    z, y = np.arange(-20, 20, dtype=np.int32).reshape(2, 4, 5) % 3, np.zeros((8, 16, 7), np.int32)
    payload, _, lanes, _ = native.encode(z, y, StreamLayout(8, 16, 1, z_row=3), 1)
    with suppress(FormatError):
        assert not np.array_equal(native.decode(payload, StreamLayout(8, 16, lanes, z_row=0), 1)[0], z)


@pytest.fixture
def counted(tmp_path):
    """The model of golden pictures before and after counting, and the pictures."""
    before = golden_pictures.model(tmp_path, "pictures")
    photos = [golden_pictures.picture(i, 80 + 16 * i, 120, 3) for i in range(6)]
    path = tmp_path / "counted.safetensors"
    path.write_bytes(before.path.read_bytes())
    return before, path, count_hyper_tables(path, photos), photos


def test_counting(counted):
    before, path, identity, photos = counted
    after = ModelFile(path)
    assert after.id == identity != before.id
    n, rows = before.config.hyper_latents, len(before.entropy["tables.low"])
    more = np.arange(1, len(before.config.qualities)) * n + rows - n
    assert after.entropy["z_rows"].tolist() == [0, *more]
    assert len(after.entropy["tables.low"]) == rows + n * len(more)
    changed = {"z_rows", "tables.low", "tables.size", "tables.starts"}
    assert after.entropy.keys() - before.entropy.keys() == {"z_rows"}
    assert all(np.array_equal(after.entropy[name], before.entropy[name]) for name in before.entropy.keys() - changed)
    assert set(after.names) - {"entropy.z_rows"} == set(before.names)
    for name in ("low", "size"):  # of the scales
        assert np.array_equal(after.entropy[f"tables.{name}"][n:rows], before.entropy[f"tables.{name}"][n:])
    sizes = []
    for model in (before, after):
        codec = Codec(model.path.stem, 2.0, models=[model.path], threads=1)
        data = [codec.encode(photo) for photo in photos]
        sizes.append(sum(map(len, data)))
    assert sizes[1] <= sizes[0]


def test_counting_again_replaces_the_rows(counted):
    _, path, _, photos = counted
    once = ModelFile(path)
    count_hyper_tables(path, photos[:2])
    again = ModelFile(path)
    assert len(again.entropy["tables.low"]) == len(once.entropy["tables.low"])
    assert np.array_equal(again.entropy["z_rows"], once.entropy["z_rows"])


def test_rows_that_stand_elsewhere_are_not_counted_anew(tmp_path):
    model = with_rows(tmp_path / "model.safetensors", np.array([7, 0, 3], np.int32))
    data = model.path.read_bytes()
    with pytest.raises(UsageError, match="were not counted by jahp export"):
        count_hyper_tables(model.path, [np.zeros((16, 16, 3), np.uint8)])
    assert model.path.read_bytes() == data


def test_counting_on_nothing(tmp_path):
    before = golden_pictures.model(tmp_path, "pictures")
    data = before.path.read_bytes()
    with pytest.raises(UsageError, match="16 x 16 pixels or more"):
        count_hyper_tables(before.path, [np.zeros((15, 99, 3), np.uint8)])
    assert before.path.read_bytes() == data
