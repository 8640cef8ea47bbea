# SPDX-License-Identifier: Apache-2.0
"""Integer transforms at export: as near to the floats as their rounding, within all bounds, for models of any size and any weights."""

import numpy as np
import pytest
import torch
from builders import ARCHITECTURES
from in_part import one_in

from jahp_fast import library
from jahp_fast.entropy.model_file import CURVATURE, ROOTS, ModelConfig, ModelFile, save_model
from jahp_fast.errors import ModelError
from jahp_fast.export import transforms
from jahp_fast.export.calibration import calibrate
from jahp_fast.export.command import SYNTHETIC, extremes
from jahp_fast.export.loss import format_loss_table, integer_latents, transform_losses
from jahp_fast.export.model import dequantise, export_calibrated
from jahp_fast.export.ranges import LEAST, TINIEST, Ranges, patterns, transform_ranges
from jahp_fast.export.transforms import IntegerTransforms, logarithms
from jahp_fast.models import registry
from jahp_fast.train.synthetic import KINDS
from jahp_fast.transforms.cpu import CpuTransforms
from jahp_fast.transforms.layers import LEAST_LOG, MOST_LOG, TransformLayers, multipliers


def toy(architecture, N=8, M=12, rows=8, seed=0):
    """A model whose latents are a few units, and whose pixels lie about the middle."""
    torch.manual_seed(seed)
    model = registry.build(architecture, N, M, rows).eval().requires_grad_(False)
    model.gain.copy_(torch.linspace(3, 6, rows)[:, None].expand(rows, M))
    model.inv_gain.copy_(-model.gain)
    for layer in list(model.g_s[6].children()) or [model.g_s[6]]:
        layer.bias.fill_(0.5)
        layer.weight.mul_(4)
    return model


def config_of(model):
    hyper = model.N if hasattr(model, "h_a") else 0
    qualities = (4.0,) if model.rows == 1 else tuple(float(q) for q in range(1, model.rows + 1))
    return ModelConfig(model.architecture, model.M, hyper, "A", 8, 6, 0, 15, qualities)


@pytest.fixture(scope="module")
def crop(photo_crop):
    return photo_crop[:64, :80]


@pytest.fixture(scope="module")
def exported(tmp_path_factory, crop):
    folder, made = tmp_path_factory.mktemp("exported"), {}
    for architecture in ARCHITECTURES:
        model = toy(architecture)
        export_calibrated(model, folder / f"{architecture}.safetensors", photos=[crop])
        made[architecture] = model, ModelFile(folder / f"{architecture}.safetensors")
    return made


@pytest.mark.parametrize("quality", one_in(2, [1.0, 8.0, 2.55, 5.0]))
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_integers_do_what_the_floats_do(exported, crop, architecture, quality):
    model, file = exported[architecture]
    nets, q = CpuTransforms(file, True), torch.tensor([quality - 1])
    x = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255
    y = model.analysis(x, q)
    got = nets.analysis([crop], 64, 80, quality)
    want = y[0].permute(1, 2, 0).numpy()
    assert np.abs(got / 256 - want).max() < 0.004 + 0.003 * np.abs(want).max()
    if file.config.hyper_latents:
        z = model.hyper_analysis(y)[0].permute(1, 2, 0).numpy()
        assert np.abs(nets.hyper_analysis(got) / 256 - z).max() < 0.01 + 0.01 * np.abs(z).max()
    symbols = np.ascontiguousarray(np.rint(want), np.int32)
    pixels = np.concatenate(list(nets.synthesis([symbols], 64, 80, quality))).astype(int)
    floats = (model.synthesis(y.round(), q)[0].clamp(0, 1) * 255).permute(1, 2, 0).numpy()
    assert np.ptp(floats) > 5
    assert np.abs(pixels - floats).max() < 1
    assert np.array_equal(integer_latents(nets, file, crop, quality)[1], (got + 128) >> 8)


@pytest.mark.parametrize("rows", one_in(2, [1, 2]))
@pytest.mark.parametrize(("N", "M"), [(1, 1), (2, 1), (1, 3), (5, 7)])
@pytest.mark.parametrize("architecture", ["bmshj2018-hyperprior", "mbt2018-mean"])
def test_models_of_any_size_without_photos(tmp_path, crop, architecture, N, M, rows):
    model = toy(architecture, N, M, rows)
    integers = IntegerTransforms(model, transform_ranges(model, []), config_of(model))
    again = IntegerTransforms(model, transform_ranges(model, []), config_of(model))
    assert all(np.array_equal(array, again.tensors[name]) for name, array in integers.tensors.items())
    export_calibrated(model, tmp_path / "m.safetensors", photos=[crop])
    layers = TransformLayers(ModelFile(tmp_path / "m.safetensors"))
    assert [len(layers.g_a()), len(layers.h_a()), len([*layers.g_s().common, *layers.g_s().at(1.0)])] == [4, 3, 4]


def held(weight, bias, transposed, reach):
    """Whether no sum leaves `reach`, and Winograd's combinations 16 bits. weight: outputs first."""
    phases = [weight[:, :, a::2, b::2].astype(np.int64) for a in (0, 1) for b in (0, 1)]
    parts = phases if transposed else [weight.astype(np.int64)]
    sums = max(int((np.abs(part).sum((1, 2, 3)) * 8191 + np.abs(bias.astype(np.int64))).max()) for part in parts)
    combined = 0
    for phase in phases:
        rows, columns = (transforms._WINOGRAD[n] * (1 if transposed or n == 3 else 2) for n in phase.shape[2:])
        combined = max(combined, int(np.abs(np.einsum("ia,oxab,jb->oxij", rows, phase, columns)).max()))
    return sums < reach and combined <= 32767


@pytest.mark.parametrize(("N", "M", "rows"), [(8, 12, 8), (192, 192, 1), (192, 320, 1)])
def test_bounds(N, M, rows):
    model = toy("bmshj2018-factorized", N, M, rows)
    if rows > 1:
        for i in (4, 6):
            for row, layer in enumerate(model.g_s[i].children()):
                layer.weight.copy_(torch.randn_like(layer.weight) * (1 + row))
    t = IntegerTransforms(model, transform_ranges(model, []), config_of(model)).tensors
    for i in (2, 4, 6):
        assert held(t[f"g_a.{i}.weight"], t[f"g_a.{i}.bias"], False, 2**33)
    for i in (0, 2, 4):
        weight, bias = t[f"g_s.{i}.weight"], t[f"g_s.{i}.bias"]
        for w, b in zip(weight, bias, strict=True) if weight.ndim == 5 else ((weight, bias),):
            assert held(w.swapaxes(0, 1), b, True, 2**31)
        if weight.ndim == 5:  # what lies between two rows, at its largest
            for a, b in zip(weight[:-1].astype(int), weight[1:].astype(int), strict=True):
                assert held(((a * 7 + b * 13 + 10) // 20).swapaxes(0, 1), bias[0] * 0, True, 2**31)
    for net in ("g_a", "g_s"):
        for i in (1, 3, 5):
            gamma, beta = t[f"{net}.{i}.gamma"].astype(np.int64), t[f"{net}.{i}.beta"].astype(np.int64)
            assert gamma.min() >= 0
            assert gamma.max() <= 4095
            assert beta.min() >= 1
            assert (gamma.sum(1) * 65535 + beta).max() < 2**31
    assert t["g_s.6.shift"].min() >= 8


def test_weights_use_their_bits(exported):
    """Where nothing else binds, the largest weight is near the limit; so a scale that is too coarse is noticed."""
    t = exported["mbt2018"][1].read_transforms("")
    assert min(int(np.abs(t[f"g_s.{i}.weight"]).max()) for i in (0, 2, 4)) > 4000
    assert min(int(np.abs(t[f"g_a.{i}.weight"]).max()) for i in (0, 2, 4, 6)) > 4000


# Weights that no training gives


def changed(part, change):
    model = toy("mbt2018-mean")
    for name, value in model.named_parameters():
        if name.startswith(part):
            change(value)
    return model


@pytest.mark.parametrize("part", ["g_a.", "g_s.", "h_a.", "g_a.0.", "g_s.6.", "g_a.1.gamma", "g_s.3.beta", "g_s.3.gamma", "h_a.4.weight"])
def test_zeros_export(part, crop):
    model = changed(part, torch.Tensor.zero_)
    IntegerTransforms(model, transform_ranges(model, [crop]), config_of(model))


@pytest.mark.parametrize("factor", one_in(3, [1e-20, 1e-6, 1e6, 1e20]))
@pytest.mark.parametrize("part", ["0.", "1.beta", "1.gamma", "6."])
@pytest.mark.parametrize("net", ["g_a", "g_s", "h_a"])
def test_weights_of_any_size_export_or_say_why_not(net, part, factor, crop):
    part = "4." if (net, part) == ("h_a", "6.") else part
    model = changed(f"{net}.{part}", lambda value: value.mul_(factor))
    try:
        made = IntegerTransforms(model, transform_ranges(model, [crop]), config_of(model))
    except ModelError as e:
        assert factor > 1
        assert "too large for integers" in str(e) or "not finite" in str(e)  # noqa: PT017
    else:
        assert all(np.isfinite(unit).all() and unit.min() > 0 for unit in made.units.values())


@pytest.mark.parametrize("part", ["gain", "inv_gain"])
def test_gains_beyond_reason_are_refused(part, crop):
    model = changed(part, lambda value: value.fill_(87.0))
    with pytest.raises(ModelError, match=r"too large for integers|not finite"):
        IntegerTransforms(model, transform_ranges(model, [crop]), config_of(model))


def test_activations_that_overflow_are_named(crop):
    model = changed("g_a.2.weight", lambda value: value.fill_(3e38))
    with pytest.raises(ModelError, match=r"what g_a\.2 gives is not finite"):
        transform_ranges(model, [crop])


# What they are made of


def test_ranges(crop):
    """The most of photos and of the hardest pictures, each with its room; silent channels keep a share of their layer's."""
    usual, hardest = {"a": np.array([4.0, 0.0, 1.0])}, {"a": np.array([8.0, 0.0, 5.0])}
    assert Ranges(usual, hardest).above("a", 3, 1).tolist() == [12, 12 * LEAST, 5]
    assert Ranges({"a": np.zeros(2)}, {"a": np.zeros(2)}).above("a", 3, 1).tolist() == [TINIEST, TINIEST]
    model = toy("mbt2018-mean")
    found = transform_ranges(model, [crop[:40, :33]], [crop])
    padded = np.pad(crop[:40, :33], ((0, 8), (0, 15), (0, 0)), "edge")
    y = calibrate(model, [padded]).y
    np.testing.assert_allclose(found.usual["h_a"], torch.stack(y).abs().amax((0, 1, 3, 4)).numpy(), rtol=1e-6)
    assert (found.hardest["g_a.0"] >= transform_ranges(model, [], [crop]).usual["g_a.0"]).all()


def test_hard_pictures():
    pictures = [*patterns(), *extremes([patterns()[0]])]
    assert len(pictures) == len(patterns()) + SYNTHETIC * len(KINDS)
    assert all(p.dtype == np.uint8 and p.ndim == 3 and p.shape[2] == 3 for p in pictures)
    assert len({p.tobytes() for p in pictures}) == len(pictures)


def test_logarithms_are_what_a_decoder_makes_of_them():
    factors = np.exp(np.linspace(-30, 9, 4001))[None]
    mul, shift = multipliers(logarithms(factors, "it")[0].astype(np.int64))
    np.testing.assert_allclose(mul / 2.0**shift, factors[0], rtol=1.5e-4)
    assert logarithms(np.array([0.0, 1e-30]), "it").tolist() == [LEAST_LOG, LEAST_LOG]
    assert logarithms(np.array([32760.0]), "it")[0] <= MOST_LOG
    with pytest.raises(ModelError, match="the gain is too large"):
        logarithms(np.array([70000.0]), "the gain")


def test_what_a_search_reads(exported):
    model, file = exported["mbt2018"]
    unit = dequantise(file.path)[1]
    assert {name: array.dtype.name for name, array in file.search.items()} == dict.fromkeys(ROOTS, "uint16") | {CURVATURE: "float32"}
    assert [file.search[name].shape for name in (*ROOTS, CURVATURE)] == [(8, 8)] * 3 + [(8, 12)]
    roots, shift = file.search[ROOTS[0]].astype(float), file.read_transforms("g_s.1.shift")["g_s.1.shift"].astype(float)
    assert (roots >= 1).all()
    assert (roots * 16383 / 2**shift).min() > 100  # it moves activations that fill a good part of their range
    assert unit["inv_gain"].shape == (8, 12)
    torch.testing.assert_close(unit["inv_gain"], model.inv_gain.detach(), atol=1e-3, rtol=0)


def test_floats_that_come_back_give_the_same_integers_within_one(exported, tmp_path, crop):
    model, file = exported["mbt2018-mean"]
    again = registry.from_state_dict(dequantise(file.path)[1])
    x = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255
    q = torch.tensor([7])
    with torch.no_grad():
        y = model.analysis(x, q)
        torch.testing.assert_close(again.analysis(x, q), y, atol=0.1, rtol=1e-3)
        torch.testing.assert_close(again.hyper_analysis(y), model.hyper_analysis(y), atol=0.05, rtol=1e-2)
        torch.testing.assert_close(again.synthesis(y.round(), q), model.synthesis(y.round(), q), atol=1e-3, rtol=0)


@pytest.mark.parametrize("cut", ["missing", "short"])
def test_units_that_do_not_fit_are_refused(exported, tmp_path, cut):
    file = exported["mbt2018-mean"][1]
    train = dict(file.train)
    if cut == "missing":
        del train["g_s.unit"]
    else:
        train["g_s.unit"] = train["g_s.unit"][:-1]
    save_model(tmp_path / "m.safetensors", file.config, file.entropy, file.read_transforms(""), train)
    with pytest.raises(ModelError, match=r"tensor train\.g_s\.unit is missing, or too short"):
        dequantise(tmp_path / "m.safetensors")


def test_the_table_of_losses(exported, crop):
    model, file = exported["mbt2018"]
    rows = transform_losses(model, file, [crop, crop[:50, :70]])
    assert [row.quality for row in rows] == list(file.config.qualities)
    for row in rows:
        assert row.worst <= row.mean
        assert abs(row.mean) < 0.02
        assert abs(row.rate) < 0.05
    lines = format_loss_table(rows).splitlines()
    assert len(lines) == 9
    assert lines[0].split() == ["quality", "float", "dB", "mean", "worst", "bytes", "at", "equal", "PSNR"]


@pytest.mark.parametrize("name", ["mbt2018", "mbt2018-ms-ssim"])
def test_shipped_weights_let_a_decoder_use_minimal_filters(name):
    """At every quality, or transforms take twice as long."""
    layers = TransformLayers(library.by_name(name, ()))
    for layer in layers.g_a()[1:]:
        assert held(layer.weight, layer.bias, False, 2**34)
    g_s = layers.g_s()
    for quality in (1, 2.5, 4.85, 8):
        for layer in [*g_s.common, *g_s.at(quality)][:3]:
            assert held(layer.weight.swapaxes(0, 1), layer.bias, True, 2**31)
