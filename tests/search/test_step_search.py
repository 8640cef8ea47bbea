# SPDX-License-Identifier: Apache-2.0
"""The search for steps: the native one against the plain one to the bit, what it takes and leaves, and its interactions against g_s."""

import numpy as np
import pytest
from builders import SHIPPED

from jahp_fast import _native
from jahp_fast.entropy.model_file import ROOTS, ModelFile
from jahp_fast.errors import UsageError
from jahp_fast.search.greedy import Searcher
from jahp_fast.search.step_search import best_steps


def problem(height, width, channels, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return (scale * rng.normal(0, 3, shape)).astype(np.float32)

    answer = np.exp(rng.normal(0, 0.5, (height, width))).astype(np.float32)
    size = height, width, channels
    return [normal(*size), np.abs(normal(channels)), answer, normal(*size), normal(*size), normal(channels, 3, 3, channels) / 3]


@pytest.mark.parametrize(("height", "width", "channels"), [(1, 1, 1), (1, 9, 5), (7, 1, 16), (6, 5, 37), (12, 11, 192)])
@pytest.mark.parametrize("margin", [0.0, 1.75, 20.0])
def test_native_steps_are_the_plain_ones(height, width, channels, margin):
    arrays = problem(height, width, channels, seed=channels)
    wanted = best_steps(*arrays, margin)
    got = _native.best_steps(*arrays, margin)
    assert np.array_equal(got, wanted)
    assert got.dtype == np.int32
    assert set(np.unique(got)) <= {-1, 0, 1}
    if margin == 0 and height * width * channels > 30:
        slope, curvature, answer, down, up, _ = arrays
        alone = curvature * answer[..., None] + np.minimum(down - 2 * slope, up + 2 * slope)
        assert 0 < (got != 0).sum() < (alone < 0).sum()  # some that pay at first do not any more


def test_extreme_and_equal_values():
    arrays = problem(5, 6, 20, seed=3, scale=1e37)
    with np.errstate(all="ignore"):
        assert np.array_equal(_native.best_steps(*arrays, 1.0), best_steps(*arrays, 1.0))
    even = [np.round(a) for a in problem(6, 6, 24, seed=4)]  # many costs are equal: then places decide
    assert np.array_equal(_native.best_steps(*even, 0.0), best_steps(*even, 0.0))
    nothing = [np.zeros_like(a) for a in even]
    assert not _native.best_steps(*nothing, 0.0).any()


def test_a_step_that_another_has_made_needless_is_not_taken():
    # Two channels that do the same: each alone would earn 4, and after one of them the slope is gone.
    slope, bits = np.full((1, 1, 2), 2.5, np.float32), np.zeros((1, 1, 2), np.float32)
    interaction = np.zeros((2, 3, 3, 2), np.float32)
    interaction[:, 1, 1] = 2.5
    for search in (best_steps, _native.best_steps):
        steps = search(slope, np.ones(2, np.float32), np.ones((1, 1), np.float32), bits, bits, interaction, 1.0)
        assert steps.tolist() == [[[-1, 0]]]
        steps = search(slope, np.ones(2, np.float32), np.ones((1, 1), np.float32), bits, bits, 0 * interaction, 1.0)
        assert steps.tolist() == [[[-1, -1]]]


def test_neighbours_are_where_they_should_be():
    slope, bits = np.zeros((3, 3, 1), np.float32), np.zeros((3, 3, 1), np.float32)
    slope[1, 1] = -5
    for row in range(3):
        for column in range(3):
            interaction = np.zeros((1, 3, 3, 1), np.float32)
            interaction[0, row, column] = 1
            beside = slope.copy()
            beside[row, column] -= 1.4
            one = np.ones(1, np.float32), np.ones((3, 3), np.float32)
            for search in (best_steps, _native.best_steps):
                steps = search(beside, *one, bits, bits, interaction, 0.5)
                assert steps.sum() == 1  # the neighbour paid, and does not now
                assert steps[1, 1] == 1


def test_arrays_of_other_sizes_are_refused():
    arrays = problem(3, 4, 5)
    for i, name in ((1, "curvature"), (2, "answer"), (3, "down"), (4, "up"), (5, "interaction")):
        wrong = list(arrays)
        wrong[i] = np.ascontiguousarray(arrays[i][:-1])
        with pytest.raises(UsageError, match=f"{name} has .* values, not"):
            _native.best_steps(*wrong, 1.0)
    with pytest.raises(UsageError, match="slope must be a C-contiguous array of float32"):
        _native.best_steps(arrays[0].astype(np.float64), *arrays[1:], 1.0)
    with pytest.raises(UsageError, match="a position and a channel"):
        _native.best_steps(*(np.zeros(s, np.float32) for s in ((0, 3, 2), (2,), (0, 3), (0, 3, 2), (0, 3, 2), (2, 3, 3, 2))), 1.0)


@pytest.mark.slow
def test_interactions_are_those_of_the_linear_chain():
    import torch
    import torch.nn.functional as F

    model = ModelFile(SHIPPED)
    fast, plain = Searcher(model, reference=False), Searcher(model, reference=True)
    curvature = np.exp(np.random.default_rng(0).normal(0, 1, 192)).astype(np.float32)
    got = fast.interaction(curvature)
    assert np.array_equal(got, plain.interaction(curvature))
    np.testing.assert_allclose(np.diagonal(got[:, 1, 1]), curvature, rtol=1e-4)  # on itself
    np.testing.assert_allclose(got, got[:, ::-1, ::-1].transpose(3, 1, 2, 0), rtol=0, atol=0.02 * got.max())  # there and back are alike
    quality = model.config.qualities[4]
    layers = fast._transforms.g_s_layers(quality)
    weights = []
    for i, layer in enumerate(layers):  # the linear chain in floats, at the mean roots
        factor = 2.0 ** -layer.shift.astype(float)
        if i < 3:
            factor *= model.search[ROOTS[i]][4] * 2.0 ** -layer.extras[2].astype(float)
        weights.append(torch.from_numpy(layer.weight * factor[:, None, None]))

    def image_of(channel):
        x = torch.zeros(1, 192, 9, 9, dtype=torch.float64)
        x[0, channel, 4, 4] = 1
        for weight in weights:
            x = F.conv_transpose2d(x, weight, None, 2, 2, 1)
        return x

    images = torch.cat([image_of(channel)[:, :, 32:112, 32:112] for channel in range(192)])
    own = images.square().sum((1, 2, 3)).numpy()
    x = image_of(17)
    for weight in reversed(weights):
        x = F.conv2d(x, weight, None, 2, 2)
    answer = x[0].permute(1, 2, 0).numpy()
    near = answer[3:6, 3:6]
    assert np.square(near).sum() > 0.999 * np.square(answer).sum()
    np.testing.assert_allclose(own[17], answer[4, 4, 17], rtol=1e-3)
    wanted = near * np.sqrt(curvature[17] * curvature / (own[17] * own))
    np.testing.assert_allclose(got[17], wanted, rtol=0, atol=0.03 * np.abs(wanted).max())
