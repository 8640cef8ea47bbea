# SPDX-License-Identifier: Apache-2.0
"""`reference` and `native` must give the same integers and the same bytes: every model form, instruction set and thread count."""

from functools import cache
from itertools import product

import numpy as np
import pytest
from builders import CASES, SHIPPED, Case, photo, random_latents, random_model

from jahp_fast import Codec, _native
from jahp_fast.entropy import reference
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import JahpError, UsageError

THREADS = (1, 2, 3, 8)
ISAS = _native.isa_names()


def native(model, isa="scalar"):
    return _native.EntropyModel(model.config.as_native(), model.entropy, isa)


def outcome(function):
    """What a call gave, or the class of its refusal: both backends must refuse the same input."""
    try:
        return function()
    except JahpError as e:
        return type(e)


def check(model, height, width, *, seed, lanes, skip, threads=THREADS, isas=ISAS, wild=0.02):
    """Encodes and decodes random latents with everything there is; returns the payload, or the class of the common refusal."""
    z, y = random_latents(model, height, width, seed, wild)
    slow = reference.ReferenceModel(model)
    z_row = seed % (len(model.entropy["tables.low"]) - model.config.hyper_latents + 1)
    want = outcome(lambda: reference.encode(slow, z, y, StreamLayout(height, width, lanes, skip, z_row=z_row)))
    if isinstance(want, tuple):
        payload, seen, chosen = want
        layout = StreamLayout(height, width, chosen, skip, z_row=z_row)
        z_back, y_back = reference.decode(slow, payload, layout)
        assert np.array_equal(z_back, z)
        assert np.array_equal(y_back, seen)
        if model.config.form == "A" and skip == 0:
            assert np.array_equal(seen, y)
    for isa in isas:
        fast = native(model, isa)
        for n in threads:
            got = outcome(lambda fast=fast, n=n: fast.encode(z, y, lanes, skip, 0, n, z_row=z_row))
            if not isinstance(want, tuple):
                assert got is want, (isa, n)
                continue
            assert got[0] == payload, (isa, n)
            assert np.array_equal(got[1], seen), (isa, n)
            assert got[2] == chosen
            z_back, y_back, _ = fast.decode(payload, height, width, chosen, skip, 0, n, z_row=z_row)
            assert np.array_equal(z_back, z), (isa, n)
            assert np.array_equal(y_back, seen), (isa, n)
    return payload if isinstance(want, tuple) else want


@pytest.mark.parametrize("skip", [0, 3])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_form(tmp_path, case, skip):
    model = random_model(tmp_path / "m.safetensors", case, seed=len(str(case)) + skip, M=13, z_bits=3 * (skip > 0))
    for i, (height, width) in enumerate([(1, 1), (5, 7), (9, 4)]):
        assert isinstance(check(model, height, width, seed=i, lanes=(0, 4, 64)[i], skip=skip), bytes)


@pytest.mark.parametrize("mode", ["saturated", "edge"])
@pytest.mark.parametrize("case", [c for c in CASES if c.prob_bits == 15], ids=str)
def test_clamps_and_limits(tmp_path, case, mode):
    for seed in range(3):
        model = random_model(tmp_path / f"{seed}.safetensors", case, seed=seed, mode=mode)
        check(model, 4, 6, seed=seed, lanes=2, skip=0, threads=(1, 3), wild=0.2)
        check(model, 3, 5, seed=seed, lanes=1, skip=2, threads=(2,), wild=0.0)


@pytest.mark.parametrize("size", [(1, 188), (188, 1), (2, 2), (1, 3), (3, 1), (17, 2), (6, 33)], ids=str)
@pytest.mark.parametrize("case", [Case("mbt2018"), Case("mbt2018", "B", 16), Case("bmshj2018-hyperprior")], ids=str)
def test_odd_sizes(tmp_path, case, size):
    model = random_model(tmp_path / "m.safetensors", case, seed=7, N=5, M=9)
    assert isinstance(check(model, *size, seed=1, lanes=0, skip=0, isas=("scalar", ISAS[-1])), bytes)


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("mean_bits", [0, 4, 8])
@pytest.mark.parametrize("form", ["A", "B"])
def test_kernel_and_mean_bits(tmp_path, form, mean_bits, kernel):
    model = random_model(tmp_path / "m.safetensors", Case("mbt2018", form), seed=3, kernel=kernel, mean_bits=mean_bits)
    for skip in (0, 2):
        assert isinstance(check(model, 7, 9, seed=2, lanes=8, skip=skip, threads=(1, 2), wild=0.0), bytes)


@pytest.mark.parametrize("M", [1, 31, 32, 33, 70])
def test_channels_beside_the_vector_width(tmp_path, M):
    model = random_model(tmp_path / "m.safetensors", Case("mbt2018", "A", 16), seed=M, N=33, M=M)
    assert isinstance(check(model, 3, 4, seed=M, lanes=32, skip=0, threads=(1, 2)), bytes)


def test_values_at_and_beyond_the_limit(tmp_path):
    model = random_model(tmp_path / "m.safetensors", Case("mbt2018"), seed=0)
    z, y = random_latents(model, 2, 3, 0)
    y[0, 0, :2] = 32767, -32767
    z[0, 0, :2] = -32767, 32767
    payload, seen, lanes, _ = native(model).encode(z, y, 1, 0, 0, 1)
    assert np.array_equal(seen, y)
    assert np.array_equal(native(model).decode(payload, 2, 3, lanes, 0, 0, 1)[0], z)
    for array, value in ((y, 32768), (y, -32768), (z, 32768), (z, -(2**31))):
        bad = array.copy()
        bad[0, 0, 0] = value
        pair = (z, bad) if array is y else (bad, y)
        with pytest.raises(UsageError, match="beyond 32767"):
            native(model).encode(*pair, 1, 0, 0, 1)
        with pytest.raises(UsageError, match="beyond 32767"):
            reference.encode(reference.ReferenceModel(model), *pair, StreamLayout(2, 3, 1))


def test_symbol_checksum(tmp_path):
    model = random_model(tmp_path / "m.safetensors", Case("mbt2018"), seed=0)
    z, y = random_latents(model, 5, 7, 1)
    assert _native.symbol_checksum(z, y) == reference.symbol_checksum(z, y)
    moved = y.copy()
    moved[0, 0, :2] = y[0, 0, 1::-1]
    assert moved[0, 0, 0] != y[0, 0, 0]
    assert _native.symbol_checksum(z, moved) != _native.symbol_checksum(z, y)
    none = np.zeros((0, 0, 0), np.int32)
    assert _native.symbol_checksum(none, none) == reference.symbol_checksum(none, none) == 0


def test_random_models_are_not_dull(tmp_path):
    """The tests above are worth something only if their models reach many tables, means and features."""
    for case in (c for c in CASES if c.architecture == "mbt2018" and c.prob_bits == 15):
        model = random_model(tmp_path / f"{case}.safetensors", case, seed=1, M=13)
        z, y = random_latents(model, 8, 9, 2)
        slow = reference.ReferenceModel(model)
        hyper = slow.hyper_features(z.astype(np.int64), 8, 9)
        assert (np.abs(hyper) < model.config.activation_limit).mean() > 0.5
        assert hyper.std() > model.config.activation_limit / 8
        steps = reference._Steps(slow, z.astype(np.int64), StreamLayout(8, 9, 1))
        rows, means, scales = [], [], []
        for positions, row, mean, scale in steps:
            rows.append(row), means.append(mean), scales.append(scale)
            for position in positions:
                steps.reveal(position, y[position].astype(np.int64))
        assert len(np.unique(np.concatenate(scales))) == 6
        assert len(np.unique(np.concatenate(means))) > 200
        assert len(np.unique(np.concatenate(rows))) >= (6 if case.form == "B" else 15)


def images(height, width, kind):
    if kind == "flat":
        return np.full((height, width, 3), 117, np.uint8)
    if kind == "noise":
        return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "extreme":
        checker = (np.add.outer(np.arange(height), np.arange(width)) % 2 * 255).astype(np.uint8)
        return np.repeat(checker[:, :, None], 3, axis=2)
    reps = (-(-height // 512), -(-width // 768), 1)
    return np.tile(photo(), reps)[:height, :width].copy()


@cache
def shared_codec(backend, threads):
    return Codec(threads=threads, backend=backend, drawings=False)


def same_latents(height, width, kind, quality, threads):
    """Encodes with `native`, and checks streams and latents of both backends with every number of threads."""
    image = images(height, width, kind)
    first = shared_codec("native", threads[0])
    first.quality = quality
    data = first.encode(image)
    want = shared_codec("reference", 1).decode_latents(data)
    assert want.y.shape[1:] == (-(-height // 16), -(-width // 16))
    for n in threads:
        codec = shared_codec("native", n)
        codec.quality = quality
        got = codec.decode_latents(data)
        assert np.array_equal(got.y, want.y), n
        assert np.array_equal(got.z, want.z), n
        if n != threads[0]:
            assert codec.encode(image) == data, n


@pytest.mark.parametrize("kind", ["flat", "noise", "extreme", "photo"])
@pytest.mark.parametrize("size", [(1, 1), (17, 31), (64, 64)], ids=str)
def test_codec_small_images(size, kind):
    for quality in (1, 2.5, 4, 8):
        same_latents(*size, kind, quality, THREADS)


def test_reference_encodes_the_same_bytes(photo_crop):
    for quality in (1, 8):
        streams = {Codec(quality=quality, backend=b).encode(photo_crop) for b in ("native", "reference")}
        assert len(streams) == 1


KINDS, QUALITIES = ("flat", "noise", "extreme", "photo"), (1, 2.5, 4, 8)
LARGE = [*product([(1, 3000), (333, 500), (768, 512)], KINDS, QUALITIES)]
LARGE += [((2048, 1365), kind, quality) for kind, quality in zip(KINDS, (4, 8, 1, 2.5), strict=True)]
"""Every kind at every quality; the largest, which NumPy takes a minute for, with each kind and each quality once."""


@pytest.mark.slow
@pytest.mark.parametrize(("size", "kind", "quality"), LARGE, ids=str)
def test_codec_large_images(size, kind, quality):
    same_latents(size[1], size[0], kind, quality, THREADS)


@pytest.mark.parametrize("isa", ISAS)
def test_shipped_model_on_every_isa(isa):
    model = ModelFile(SHIPPED)
    z, y = random_latents(model, 3, 9, 5)
    want = native(model).encode(z, y, 8, 0, 0, 1)[0]
    for n in THREADS:
        assert native(model, isa).encode(z, y, 8, 0, 0, n)[0] == want
        assert np.array_equal(native(model, isa).decode(want, 3, 9, 8, 0, 0, n)[1], y)
