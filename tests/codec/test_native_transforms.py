# SPDX-License-Identifier: Apache-2.0
"""The native transforms beside their plain version in NumPy, bit for bit. csrc/tests/test_transform_net.cpp has the rest."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from integer_layers import LARGEST_WEIGHT, WINOGRAD_WEIGHT, random_input, random_layer, random_net

from jahp_fast import ModelError, UsageError, _native
from jahp_fast.transforms.layers import Layer
from jahp_fast.transforms.reference import ReferenceNet, ReferenceTrace, scaled

ISAS = _native.isa_names()
KINDS = [("conv", 5), ("conv", 3), ("conv", 1), ("deconv", 5)]
ACTIVATIONS = ["gdn", "igdn", "relu", "leaky_relu", "none", "pixels"]


def by_strips(net, x, strip, threads, trace=None):
    stream = net.stream(*x.shape[:2], trace)
    rows = [stream.push(x[first : first + strip], threads) for first in range(0, len(x), strip)]
    return np.concatenate([*rows, stream.finish(threads)])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("kind", "kernel"), KINDS)
def test_layers_are_the_plain_ones(kind, kernel, activation):
    rng = np.random.default_rng([kernel, ACTIVATIONS.index(activation), len(kind)])
    for height, width in ((1, 1), (1, 9), (2, 3), (6, 5), (13, 1), (9, 14)):
        for inputs, outputs in ((1, 1), (3, 8), (9, 16), (17, 5), (8, 33)):
            extreme = bool(rng.integers(2))
            limit = LARGEST_WEIGHT if extreme and rng.integers(2) else WINOGRAD_WEIGHT
            layer = random_layer(rng, kind, inputs, outputs, kernel, activation, limit, extreme)
            x = random_input(rng, height, width, inputs, 8191 if extreme else 32767)
            if extreme:
                x = np.where(x < 0, -8191, 8191).astype(np.int16)
            plain = ReferenceNet([layer])
            want = plain.run(x)
            for isa in ISAS:
                net = _native.TransformNet([layer], isa)
                got = net.run(x)
                assert got.dtype == plain.dtype
                assert np.array_equal(got, want), isa
                assert np.array_equal(by_strips(net, x, 2, 2), want), isa


@pytest.mark.parametrize("seed", range(4))
def test_nets_and_traces_are_the_plain_ones(seed):
    rng = np.random.default_rng(seed)
    N, M = [(8, 12), (5, 9), (17, 33), (16, 24)][seed]
    height, width = (int(n) for n in rng.integers(1, 6, 2))
    y, image = random_input(rng, height, width, M), random_input(rng, 16 * height - 5, 16 * width - 11, 3, 255)
    error = random_input(rng, 16 * height, 16 * width, 3)
    g_a, h_a, g_s, adjoint = (random_net(rng, name, N, M) for name in ("g_a", "h_a", "g_s", "adjoint"))
    trace = ReferenceTrace()
    pixels, slopes = ReferenceNet(g_s).run(y, 1, trace), ReferenceNet(adjoint).run(error, 1, trace)
    sums, hyper = ReferenceNet(g_a).run(image), ReferenceNet(h_a).run(y)
    for isa in ISAS:
        assert np.array_equal(by_strips(_native.TransformNet(g_a, isa), image, 7, 3), sums), isa
        assert np.array_equal(by_strips(_native.TransformNet(h_a, isa), y, 2, 1), hyper), isa
        for threads in (1, 3):
            ours = _native.GainTrace()
            assert np.array_equal(by_strips(_native.TransformNet(g_s, isa), y, 1, threads, ours), pixels), isa
            assert np.array_equal(by_strips(_native.TransformNet(adjoint, isa), error, 5, threads, ours), slopes), isa
            for got, want in zip(ours.squares(), trace.squares(), strict=True):
                assert got.dtype == want.dtype
                assert np.array_equal(got, want)


@pytest.mark.parametrize("seed", range(4))
def test_derivatives_are_the_plain_ones(seed):
    rng = np.random.default_rng(seed)
    N, M = [(8, 12), (5, 9), (17, 33), (64, 40)][seed]
    height, width = (int(n) for n in rng.integers(1, 6, 2))
    y, error = random_input(rng, height, width, M), random_input(rng, 16 * height, 16 * width, 3)
    g_s, derivative = random_net(rng, "g_s", N, M), random_net(rng, "derivative", N, M)
    trace = ReferenceTrace()
    ReferenceNet(g_s).run(y, 1, trace)
    slopes = ReferenceNet(derivative).run(error, 1, trace)
    assert slopes.any()
    for isa in ISAS:
        for threads in (1, 3):
            ours = _native.GainTrace(inputs=True)
            by_strips(_native.TransformNet(g_s, isa), y, 1, threads, ours)
            assert np.array_equal(by_strips(_native.TransformNet(derivative, isa), error, 5, threads, ours), slopes), isa


def test_derivatives_need_what_went_in():
    rng = np.random.default_rng(0)
    derivative = random_net(rng, "derivative", 8, 12)
    traces = [(None, "needs a trace"), (_native.GainTrace(), "a trace that keeps inputs"), (_native.GainTrace(True), "is left")]
    for trace, message in traces:
        with pytest.raises(UsageError, match=message):
            _native.TransformNet(derivative).stream(32, 32, trace)
    with pytest.raises(UsageError, match="needs a trace"):
        ReferenceNet(derivative).run(random_input(rng, 32, 32, 3))
    gamma, *factors = derivative[0].extras
    for wrong in (gamma - np.int16(1000), np.full((8, 8), 32767, np.int16)):
        with pytest.raises(ModelError, match="adds up to more than 65535"):
            _native.TransformNet([derivative[0]._replace(extras=(wrong, *factors))])
    with pytest.raises(ModelError, match="does not have the layer's 8 channels"):
        _native.TransformNet([derivative[0]._replace(extras=(gamma, *factors[:2], factors[2][:7].copy()))])


def test_a_net_in_parts():
    rng = np.random.default_rng(0)
    first, second = (random_net(rng, "g_s", 9, 13) for _ in range(2))
    x = random_input(rng, 5, 6, 13)
    for isa in ISAS:
        head = _native.TransformNet(first[:2], isa)
        for tail in (first[2:], second[2:], []):
            assert np.array_equal(head.followed_by(tail).run(x), ReferenceNet([*first[:2], *tail]).run(x))
    with pytest.raises(ModelError, match="13 input channels; the layer before it has 9"):
        head.followed_by([second[0]])
    with pytest.raises(UsageError, match=r"layer 0 must be \(kind"):
        head.followed_by([second[3][:4]])
    with pytest.raises(ModelError, match="gives no activations, but pixels or sums"):
        _native.TransformNet(first).followed_by([random_layer(rng, "conv", 3, 4)])


@pytest.mark.parametrize("limit", [1, 8191, 32767, 32768, 2**31 - 1])
def test_scaled(limit):
    rng = np.random.default_rng(limit)
    for height, width, channels in ((1, 1, 1), (0, 4, 7), (5, 3, 37), (2, 9, 192)):
        x = rng.integers(-(2**31), 2**31, (height, width, channels)).astype(np.int32)
        mul, shift = rng.integers(0, 65536, channels).astype(np.int32), rng.integers(1, 63, channels).astype(np.uint8)
        got = _native.scaled(x, mul, shift, limit)
        assert got.dtype == (np.int16 if limit < 32768 else np.int32)
        assert np.array_equal(got, scaled(x, mul, shift, limit))
    for bad_mul, bad_shift, bad_limit in (
        (mul[1:], shift, 9),
        (mul, shift[1:], 9),
        (mul, 0 * shift, 9),
        (mul, 0 * shift + 63, 9),
        (mul, shift, 0),
    ):
        with pytest.raises(UsageError):
            _native.scaled(x, bad_mul, bad_shift, bad_limit)


def test_what_is_refused():
    rng = np.random.default_rng(0)
    layer = random_layer(rng, "conv", 4, 8, 5, "gdn")
    gamma, beta, shift = layer.extras
    net = _native.TransformNet([layer])
    assert net.run(np.zeros((3, 6, 4), np.int16)).shape == (2, 3, 8)

    def changed(**fields: object) -> Layer:
        return layer._replace(**fields)  # type: ignore[arg-type]

    for bad, error, what in (
        (changed(kind="conf"), UsageError, "layer 0: kind conf"),
        (changed(activation="tanh"), UsageError, "activation tanh"),
        (changed(extras=(gamma, beta)), UsageError, "2 extras where 3 are wanted"),
        (changed(activation="relu"), UsageError, "3 extras where 0 are wanted"),
        (changed(activation="local"), UsageError, "3 extras where 4 are wanted"),
        (changed(weight=layer.weight.astype(np.float32)), UsageError, "layer 0: weight must be .* of int16"),
        (changed(bias=layer.bias.astype(np.int64)), UsageError, "layer 0: bias must be .* of int32"),
        (changed(shift=layer.shift.astype(np.int8)), UsageError, "layer 0: shift must be .* of uint8"),
        (changed(extras=(gamma.astype(np.int32), beta, shift)), UsageError, "layer 0: gamma must be .* of int16"),
        (changed(weight=layer.weight[..., :3]), UsageError, "C-contiguous"),
        (changed(weight=layer.weight[..., :3].copy()), ModelError, "not square"),
        (changed(bias=layer.bias[:4]), ModelError, "weight, bias and shift differ"),
        (changed(shift=layer.shift[:4]), ModelError, "weight, bias and shift differ"),
        (changed(shift=np.full(8, 30, np.uint8)), ModelError, "a shift is not 0 to 29"),
        (changed(extras=(gamma[:4], beta, shift)), ModelError, "gamma, beta and shift of GDN"),
        (changed(extras=(gamma, 0 * beta, shift)), ModelError, "gamma or beta is out of range"),
        (changed(extras=(gamma | 32767, beta, shift)), ModelError, "could leave 31 bits"),
        (changed(extras=(gamma, beta, 0 * shift + 15)), ModelError, "a shift of GDN is not 16 to 31"),
        (changed(kind="deconv", weight=layer.weight[:, :, :3, :3].copy()), ModelError, "kernel of 3"),
    ):
        with pytest.raises(error, match=what):
            _native.TransformNet([bad])
    with pytest.raises(ModelError, match="needs a layer"):
        _native.TransformNet([])
    stream = net.stream(4, 6)
    for rows in (
        np.zeros((2, 5, 4), np.int16),
        np.zeros((2, 6, 3), np.int16),
        np.zeros((5, 6, 4), np.int16),
        np.zeros((2, 6, 4), np.int32),
    ):
        with pytest.raises(UsageError):
            stream.push(rows)
    with pytest.raises(UsageError, match="threads"):
        stream.push(np.zeros((1, 6, 4), np.int16), threads=0)
    with pytest.raises(UsageError, match="4 of the 4 rows of the map are missing"):
        stream.finish()
    with pytest.raises(UsageError, match="impossible"):
        net.stream(0, 4)


def test_what_changes_is_of_one_thread_at_a_time():
    """Of eight threads that push all rows into one stream at once one is let in: the others hear of it, or that there are no rows left."""
    rng = np.random.default_rng(3)
    layers = random_net(rng, "g_s", 32, 48)
    x, net = random_input(rng, 40, 40, 48), _native.TransformNet(layers, "scalar")
    stream, barrier, refused = net.stream(40, 40), threading.Barrier(8), []

    def push(_):
        barrier.wait()
        try:
            return stream.push(x)
        except UsageError as e:
            refused.append(str(e))
            return None

    with ThreadPoolExecutor(8) as pool:
        (pushed,) = [rows for rows in pool.map(push, range(8)) if rows is not None]
    assert "a TransformStream is at work in another thread: give each thread its own" in refused
    assert len(refused) == 7
    assert np.array_equal(np.concatenate([pushed, stream.finish()]), net.run(x))
