# SPDX-License-Identifier: Apache-2.0
"""Integer layers against their formulas in Python's unbounded integers, and the order of the wavefront."""

import numpy as np
import pytest
from builders import Case, random_layer, random_model

from jahp_fast.entropy import reference
from jahp_fast.entropy.check import check_entropy
from jahp_fast.entropy.integer_net import IntegerLayer
from jahp_fast.errors import ModelError


def make_layer(outputs, inputs, kernel, mode="typical", limit=127, seed=0):
    rng = np.random.default_rng(seed)
    return IntegerLayer.from_tensors(random_layer(rng, "l", outputs, inputs, kernel, limit, limit, limit / 2, mode), "l", limit)


def requantised(layer, o, products):
    """One output, in Python integers: the sentence of the specification."""
    total = products + int(layer.bias[o])
    mul = int(layer.mul_neg[o] if total < 0 else layer.mul_pos[o])
    shift = int(layer.shift[o])
    value = (total * mul + (1 << (shift - 1)) >> shift) + int(layer.zero[o])
    return max(-layer.out_limit, min(layer.out_limit, value))


def taps(layer, x, positions):
    """Sum of products of one output position over (input position, kernel cell) pairs that lie inside."""
    h, w, _ = x.shape
    return [
        requantised(layer, o, sum(
            int(x[r, c] @ layer.weight[o, :, ky, kx].astype(np.int64)) for (r, c), (ky, kx) in positions if 0 <= r < h and 0 <= c < w
        ))
        for o in range(len(layer.bias))
    ]  # fmt: skip


@pytest.mark.parametrize("limit", [127, 4095])
@pytest.mark.parametrize("mode", ["typical", "saturated", "edge"])
def test_requantise(mode, limit):
    layer = make_layer(40, 3, 1, mode, limit)
    rng = np.random.default_rng(1)
    x = rng.integers(-limit, limit + 1, (60, 3))
    x[0], x[1], x[2] = 0, limit, -limit
    got = layer.dense(x)
    products = x @ layer.weight[:, :, 0, 0].T.astype(np.int64)
    for i in range(len(x)):
        assert got[i].tolist() == [requantised(layer, o, int(products[i, o])) for o in range(40)]
    assert np.abs(got).max() <= limit


def test_rounding_is_add_half_then_floor():
    one = np.ones(1, np.int32)
    layer = IntegerLayer(np.ones((1, 1, 1, 1), np.int8), 0 * one, one, one, 2 * one, 0 * one, 127)
    assert layer.dense(np.arange(-10, 11)[:, None])[:, 0].tolist() == [(v + 2) // 4 for v in range(-10, 11)]
    shifted = IntegerLayer(layer.weight, layer.bias, one, 0 * one, one, 5 * one, 7)
    assert shifted.dense(np.array([[-9], [0], [2], [3], [90]]))[:, 0].tolist() == [5, 5, 6, 7, 7]


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (4, 3)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_convolution(kernel, size):
    layer = make_layer(4, 3, kernel)
    x = np.random.default_rng(2).integers(-127, 128, (*size, 3))
    got = layer.convolve(x)
    half = kernel // 2
    for r in range(size[0]):
        for c in range(size[1]):
            cells = [((r + i - half, c + j - half), (i, j)) for i in range(kernel) for j in range(kernel)]
            assert got[r, c].tolist() == taps(layer, x, cells)


@pytest.mark.parametrize("size", [(1, 1), (2, 3)])
def test_transposed_convolution(size):
    """out(2 i + k - 2) += in(i) * weight(k), cut to twice the input: torch's padding 2, output padding 1."""
    layer = make_layer(3, 2, 5)
    x = np.random.default_rng(3).integers(-127, 128, (*size, 2))
    got = layer.transposed(x)
    assert got.shape == (2 * size[0], 2 * size[1], 3)
    for r in range(2 * size[0]):
        for c in range(2 * size[1]):
            cells = [((i, j), (r + 2 - 2 * i, c + 2 - 2 * j)) for i in range(size[0]) for j in range(size[1])]
            cells = [(at, k) for at, k in cells if 0 <= k[0] < 5 and 0 <= k[1] < 5]
            assert got[r, c].tolist() == taps(layer, x, cells)


def test_transposed_convolution_is_torch_s():
    import torch
    from torch.nn import functional as F

    layer = make_layer(3, 2, 5)
    x = np.random.default_rng(4).integers(-127, 128, (3, 4, 2))
    weight = torch.from_numpy(layer.weight.astype(np.float64)).transpose(0, 1)
    products = F.conv_transpose2d(torch.from_numpy(x.transpose(2, 0, 1)[None].astype(np.float64)), weight, None, 2, 2, 1)
    assert np.array_equal(layer.transposed(x), layer.requantise(products[0].permute(1, 2, 0).numpy()))


def test_the_causal_matrix_is_the_masked_half():
    layer = make_layer(4, 3, 5)
    x = np.random.default_rng(5).integers(-127, 128, (6, 7, 3))
    masked = layer.weight.copy()
    masked.reshape(4, 3, 25)[:, :, 12:] = 0
    whole = IntegerLayer(masked, layer.bias, layer.mul_pos, layer.mul_neg, layer.shift, layer.zero, 127).convolve(x)
    padded = np.pad(x, ((2, 0), (2, 2), (0, 0)))
    for r in range(6):
        for c in range(7):
            patch = padded[r : r + 3, c : c + 5].reshape(-1, 3)[:12].ravel()
            assert layer.requantise(patch @ layer.causal_matrix()).tolist() == whole[r, c].tolist()


@pytest.mark.parametrize("slope", [0, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (5, 8), (7, 2)])
def test_the_wavefront_visits_all_in_causal_order(size, slope):
    h, w = size
    steps = list(reference.wavefront(h, w, slope))
    assert sorted(p for step in steps for p in step) == [(r, c) for r in range(h) for c in range(w)]
    assert len(steps) == (h if slope == 0 else w + slope * (h - 1))
    when = {p: t for t, step in enumerate(steps) for p in step}
    half = slope - 1
    for (r, c), t in when.items() if slope else []:
        assert t == c + slope * r
        for dr in range(-half, 1):
            for dc in range(-half, half + 1):
                if (dr, dc) < (0, 0) and (r + dr, c + dc) in when:
                    assert when[r + dr, c + dc] < t
    for step in steps:
        assert [r for r, _ in step] == sorted(r for r, _ in step)


def test_sums_are_counted_where_they_are_made(tmp_path):
    """The check of 31 bits takes the cells that are summed together: the causal half, or those of one phase, not the whole kernel."""
    model = random_model(tmp_path / "m.safetensors", Case("mbt2018"), seed=1)
    c = model.config
    for name, used in (("context_prediction", 12), ("h_s.0", 9)):
        weight = model.entropy[f"{name}.weight"].copy()
        weight[:] = 127
        outputs, inputs = weight.shape[:2]
        room = (1 << 31) - 1 - used * inputs * 127 * c.activation_limit
        for bias, fits in ((room, True), (room + 1, False), (-room, True), (-room - 1, False)):
            tensors = model.entropy | {f"{name}.weight": weight, f"{name}.bias": np.full(outputs, bias, np.int32)}
            if fits:
                check_entropy(c, tensors)
                native_model(c, tensors)
            else:
                for build in (check_entropy, native_model):
                    with pytest.raises(ModelError, match=f"{name}: output 0 could overflow 32 bits"):
                        build(c, tensors)


def native_model(config, tensors):
    from jahp_fast import _native

    return _native.EntropyModel(config.as_native(), tensors)
