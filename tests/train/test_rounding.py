# SPDX-License-Identifier: Apache-2.0
"""Rounding of weights by what a layer will see: which inputs meet in which output, and that outputs change less so."""

import numpy as np
import pytest
import torch
from foreign import tiny
from torch.nn import functional as F

from jahp_fast.export.calibration import Calibration
from jahp_fast.export.chain import nodes_of
from jahp_fast.export.rounding import Moments, _groups, moments, round_weights


def identity(n):
    return Moments(np.zeros(n), np.eye(n))


@pytest.mark.parametrize("kind", ["transposed", "conv", "masked", "dense"])
def test_the_groups_are_the_layers_own_sums(kind):
    rng = np.random.default_rng(0)
    k = {"transposed": 5, "conv": 3, "masked": 5, "dense": 1}[kind]
    x, weight = torch.from_numpy(rng.normal(size=(1, 3, 4, 6))), torch.from_numpy(rng.normal(size=(2, 3, k, k)))
    if kind == "masked":
        weight.view(2, 3, -1)[:, :, 12:] = 0
    side = 3 if kind == "transposed" else k
    patches = F.unfold(x, side, padding=side // 2)[0].numpy()
    sums = [weight.reshape(2, -1).numpy()[:, places] @ patches[columns] for places, columns in _groups(kind, 3, k)]
    if kind == "transposed":
        want = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2, padding=2, output_padding=1)[0].numpy()
        got = np.stack(sums).reshape(2, 2, 2, 4, 6).transpose(2, 3, 0, 4, 1).reshape(2, 8, 12)
    else:
        want = F.conv2d(x, weight, padding=k // 2)[0].numpy()
        (only,) = sums
        got = only.reshape(2, 4, 6)
    np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.parametrize("kind", ["transposed", "conv", "masked", "dense"])
def test_independent_inputs_are_rounded_to_the_nearest(kind):
    k, window = {"transposed": (5, 9), "conv": (3, 9), "masked": (5, 25), "dense": (1, 1)}[kind]
    weight = np.random.default_rng(1).uniform(-127, 127, (4, 5, k, k))
    if kind == "masked":
        weight.reshape(4, 5, -1)[:, :, 12:] = 0
    rounded, shift = round_weights(weight, np.ones(5), kind, identity(5 * window))
    assert rounded.dtype == np.int8
    assert np.array_equal(rounded, np.rint(weight))
    assert np.array_equal(shift, np.zeros(4))


def test_outputs_change_less_than_by_nearest_integers_and_not_on_average():
    rng = np.random.default_rng(2)
    seen = rng.normal(size=(4000, 6)) @ rng.normal(size=(6, 40)) + 0.1 * rng.normal(size=(4000, 40)) + 3
    scale = rng.uniform(0.5, 2, 40)
    weight = rng.uniform(-127, 127, (8, 40, 1, 1))
    rounded, shift = round_weights(weight, scale, "dense", Moments(seen.mean(0), np.cov(seen.T)))
    u = seen / scale
    wanted = u @ weight[:, :, 0, 0].T
    nearest = u @ np.rint(weight[:, :, 0, 0]).T - wanted
    error = u @ rounded[:, :, 0, 0].T + shift - wanted
    assert np.abs(error.mean(0)).max() < 1e-9 * np.abs(wanted).max()
    assert error.var() < 0.25 * nearest.var(axis=0).mean()


def test_moments_are_those_of_each_layers_inputs():
    model = tiny("mbt2018")
    y, z = 5 * torch.randn(1, 12, 8, 8), torch.randn(1, 8, 2, 2).round()
    found = moments(model, Calibration([y, y], [z, z]))
    assert set(found) == {node.name for node in nodes_of("mbt2018")}
    patches = F.unfold(y.round(), 5, padding=2)[0].double().numpy()
    np.testing.assert_allclose(found["context_prediction"].mean, patches.mean(1), atol=1e-9)
    np.testing.assert_allclose(found["context_prediction"].covariance, np.cov(patches, bias=True), atol=1e-9)
    with torch.no_grad():
        features = torch.cat([model.h_s(z), model.context_prediction(y.round())], 1)[0].flatten(1).double().numpy()
    np.testing.assert_allclose(found["entropy_parameters.0"].mean, features.mean(1), atol=1e-5)
