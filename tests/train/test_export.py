# SPDX-License-Identifier: Apache-2.0
"""Export: integer nets close to their float ones, files that load, and weights that come back."""

import numpy as np
import pytest
import torch
from builders import ARCHITECTURES, CASES, Case
from hypothesis import given, settings
from hypothesis import strategies as st
from in_part import one_in

from jahp_fast import Codec
from jahp_fast.entropy import reference
from jahp_fast.entropy.check import check_entropy
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import JahpError, ModelError, UsageError
from jahp_fast.export import chain
from jahp_fast.export.calibration import calibrate
from jahp_fast.export.model import SCALE_BITS, dequantise, multiplier
from jahp_fast.export.state import export_state
from jahp_fast.models import registry


def float_state(architecture, seed=0, rows=8):
    """A state dict with latents of a few units, as after training."""
    torch.manual_seed(seed)
    model = registry.build(architecture, 8, 12, rows=rows)
    with torch.no_grad():
        model.gain.copy_(torch.linspace(4, 6, rows)[:, None].expand(rows, 12))
        model.inv_gain.copy_(-model.gain)
        for name, p in model.named_parameters():
            if name.split(".")[0] in ("h_a", "h_s", "context_prediction", "entropy_parameters") and name.endswith("weight"):
                p.mul_(2.0)  # fresh layers fade the signal out
    return model.state_dict()


@pytest.fixture(scope="module")
def crop(photo_crop):
    return photo_crop[:64, :80]


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.floats(2.0**-31, 2.0**29))
def test_multiplier(factor):
    mul, shift = (int(a[0]) for a in multiplier(np.array([factor])))
    assert 0 < mul < 2**31
    assert 1 <= shift <= 62
    assert mul / 2**shift == pytest.approx(factor, rel=2**-30)


def test_multipliers_beyond_the_range():
    mul, shift = multiplier(np.array([2.0**-40, 1e-30]))
    assert (mul / 2.0**shift).tolist() == [pytest.approx(2.0**-40, rel=1e-6), 0]
    assert shift.tolist() == [62, 62]
    with pytest.raises(ModelError, match="too fine"):
        multiplier(np.array([2.0**31]))


@pytest.mark.parametrize("case", one_in(2, [Case("mbt2018", "A", 8, 16), *(c for c in CASES if c.prob_bits == 15)]), ids=str)
def test_every_form_exports_and_codes(tmp_path, crop, case):
    path = tmp_path / "m.safetensors"
    export_state(float_state(case.architecture), path, photos=[crop], form=case.form, activation_bits=case.activation_bits,
                 prob_bits=case.prob_bits)  # fmt: skip
    file = ModelFile(path)
    file.verify()
    check_entropy(file.config, file.entropy)
    c = file.config
    assert (c.architecture, c.form, c.activation_bits, c.prob_bits) == (case.architecture, case.form, case.activation_bits, case.prob_bits)
    assert (c.latents, c.qualities) == (12, tuple(range(1, 9)))
    native, slow = (Codec("m", 4, backend=b, threads=1, models=[path]) for b in ("native", "reference"))
    data = native.encode(crop)
    assert slow.encode(crop) == data
    latents = slow.decode_latents(data)
    assert np.array_equal(native.decode_latents(data).y, latents.y)
    assert np.abs(latents.y).max() > 1 << c.frac_bits
    assert native.decode(data).shape == crop.shape


@pytest.mark.parametrize("activation_bits", [8, 16])
@pytest.mark.parametrize("form", ["A", "B"])
@pytest.mark.parametrize("architecture", one_in(2, reversed(ARCHITECTURES[1:])))
def test_integer_parameters_are_close_to_float_ones(tmp_path, crop, architecture, form, activation_bits):
    """Scales and means of every position, from the integer nets and from the float nets that they were made of."""
    if form == "B" and architecture == "bmshj2018-hyperprior":
        return
    path = tmp_path / "m.safetensors"
    state = float_state(architecture)
    export_state(state, path, photos=[crop], form=form, activation_bits=activation_bits)
    model = registry.from_state_dict(state)
    file = ModelFile(path)
    slow = reference.ReferenceModel(file)
    c = file.config
    latents = calibrate(model, [crop])
    y, z = latents.y[3].round(), latents.z[3]
    with torch.no_grad():
        want = chain.run(model, z, y)[0].permute(1, 2, 0).double().numpy()
    h, w = want.shape[:2]
    z_hat = np.zeros((0, 0, 0), np.int64) if z is None else z[0].permute(1, 2, 0).numpy().astype(np.int64)
    y_hat = y[0].permute(1, 2, 0).numpy().astype(np.int64) << c.frac_bits
    got = np.empty((h, w, want.shape[2]))
    seen = reference.ReferenceModel.symbols

    def keep(self, features):
        got[tuple(np.array(steps.current).T)] = features
        return seen(self, features)

    steps = reference._Steps(slow, z_hat, StreamLayout(h, w, 1))
    slow.symbols = keep.__get__(slow)
    order = [p for p in reference.wavefront(h, w, steps.half + 1 if c.context else 0) if p]
    walk = iter(steps)
    for positions in order:
        steps.current = positions
        next(walk)
        for position in positions:
            steps.reveal(position, y_hat[position])
    scale_error = got[:, :, :12] / 2**SCALE_BITS - want[:, :, :12]
    assert np.sqrt(np.mean(scale_error**2)) < (0.1 if activation_bits == 8 else 0.02) * max(want[:, :, :12].std(), 0.05)
    if c.means:
        offset = 0.5 if form == "A" else 0.0  # form A's means are floors
        mean_error = (got[:, :, 12:] + offset) / 2**c.mean_bits - want[:, :, 12:]
        assert np.sqrt(np.mean(mean_error**2)) < (0.1 if activation_bits == 8 else 0.02) * want[:, :, 12:].std() + 0.6 / 2**c.mean_bits
        assert abs(mean_error.mean()) < 0.3 / 2**c.mean_bits + 0.02 * want[:, :, 12:].std()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_come_back(tmp_path, crop, architecture):
    """dequantise gives a state dict that loads, each weight within half a step of its integer, and that exports again."""
    path = tmp_path / "m.safetensors"
    state = float_state(architecture)
    export_state(state, path, photos=[crop])
    name, back = dequantise(path)
    assert name == architecture
    model = registry.from_state_dict(back)
    assert (model.N, model.M, model.gain.shape[0]) == (8, 12, 8)
    file = ModelFile(path)
    for key, tensor in model.state_dict().items():
        if key.endswith("mask"):
            continue
        want = state[key]
        layer = key.rsplit(".", 1)[0]
        if f"{layer}.unit" in file.train and key.endswith("weight"):
            step = file.train[f"{layer}.unit"][:, None, None, None] / file.train[f"{layer}.in_scale"][None, :, None, None]
            step = torch.from_numpy(step if layer not in ("h_s.0", "h_s.2") else step.transpose(1, 0, 2, 3))
            if layer == "context_prediction":
                want = want * model.context_prediction.mask
            assert bool(((tensor - want).abs() <= 0.51 * step + 1e-7).all()), key
        elif f"{layer}.unit" in file.train:
            assert torch.allclose(tensor, want, atol=1.01 * float(file.train[f"{layer}.unit"].max()) + 1e-6), key
        else:
            assert torch.allclose(tensor, want, rtol=1e-3, atol=5e-3), key  # what a weight is rounded to depends on what it meets
    again = tmp_path / "again.safetensors"
    export_state(back, again, photos=[crop])
    assert np.array_equal(ModelFile(again).entropy["tables.starts"], file.entropy["tables.starts"])


def test_a_checkpoint_without_gains(tmp_path, crop):
    state = {k: v for k, v in float_state("mbt2018-mean", rows=1).items() if k not in ("gain", "inv_gain")}
    export_state({"state_dict": state}, tmp_path / "m.safetensors", photos=[crop])
    assert ModelFile(tmp_path / "m.safetensors").config.qualities == (4.0,)


@pytest.mark.parametrize(
    ("architecture", "options", "error", "what"),
    [
        ("mbt2018", {"photos": []}, UsageError, "at least one photo"),
        ("mbt2018", {"photos": [np.zeros((15, 40, 3), np.uint8)]}, UsageError, "16 x 16"),
        ("mbt2018", {"form": "C"}, UsageError, "form must be A or B"),
        ("mbt2018", {"activation_bits": 12}, UsageError, "activation_bits 8 or 16"),
        ("mbt2018", {"prob_bits": 12}, UsageError, "prob_bits 15 or 16"),
        ("mbt2018", {"qualities": [1, 2]}, UsageError, "8 rows of gains, but 2 qualities"),
        ("bmshj2018-hyperprior", {"form": "B"}, UsageError, "predicts no means"),
        ("bmshj2018-factorized", {"form": "B"}, UsageError, "predicts no means"),
    ],
)
def test_wrong_options(tmp_path, crop, architecture, options, error, what):
    out = tmp_path / "m.safetensors"
    with pytest.raises(error, match=what):
        export_state(float_state(architecture), out, **{"photos": [crop], **options})
    assert not out.exists()


def test_wrong_states(tmp_path, crop):
    good = float_state("mbt2018")
    for state in ({}, {"x": torch.zeros(1)}, {k: v for k, v in good.items() if k != "h_s.2.bias"}, good | {"h_s.9.bias": torch.zeros(1)},
                  good | {"h_s.0.weight": torch.full_like(good["h_s.0.weight"], float("nan"))}, good | {"gain": "text"}):  # fmt: skip
        with pytest.raises(JahpError):
            export_state(state, tmp_path / "m.safetensors", photos=[crop])
    assert list(tmp_path.iterdir()) == []
