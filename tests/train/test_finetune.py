# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning with rounding in the loop: it lowers the real rate, and what it models is what the exporter writes."""

import copy

import numpy as np
import pytest
import torch
from in_part import one_in

from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.export.calibration import activation_ranges, calibrate
from jahp_fast.export.chain import run
from jahp_fast.export.finetune import Latents, QuantisedNets, _rate, finetune
from jahp_fast.export.model import export_model
from jahp_fast.export.payload import payload_table
from jahp_fast.models import registry

N, M = 8, 12


def small_model(architecture):
    """Latents of a few units, as after training; entropy nets as they start."""
    torch.manual_seed(3)
    model = registry.build(architecture, N, M, rows=2)
    with torch.no_grad():
        model.gain.copy_(torch.tensor([4.0, 5.0])[:, None].expand(2, M))
        model.inv_gain.copy_(-model.gain)
    return model.eval()


def batches(model, photo, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(photo.copy()).permute(2, 0, 1).float() / 255

    def draw():
        rows = torch.randint(2, (4,), generator=generator)
        corner = torch.randint(0, x.shape[1] - 64 + 1, (4,), generator=generator).tolist()
        crops = torch.stack([x[:, c : c + 64, c : c + 64] for c in corner])
        with torch.no_grad():
            y = model.analysis(crops, rows)
            return Latents(y.round(), model.hyper_analysis(y).round() if hasattr(model, "h_a") else None, rows)

    return draw


@pytest.mark.parametrize("architecture", one_in(2, ["mbt2018", "mbt2018-mean", "bmshj2018-hyperprior", "mbt2018-context"]))
def test_real_files_shrink(tmp_path, photo_crop, architecture):
    model = small_model(architecture)
    calibration = calibrate(model, [photo_crop])
    activations = activation_ranges(model, calibration).activations(model, "A", 127)
    before = copy.deepcopy(model)
    said = []
    draw = batches(model, photo_crop)
    learned = finetune(model, activations, draw, calibration, activation_bits=8, steps=80, lr=3e-3, report=said.append)

    sizes = []
    for name, weights, acts in (("before", before, activations), ("after", model, learned)):
        export_model(weights, tmp_path / f"{name}.safetensors", acts)
        rows = payload_table(before, ModelFile(tmp_path / f"{name}.safetensors"), [photo_crop])
        sizes.append(sum(r.payload_bytes for r in rows))
    assert sizes[1] < 0.9 * sizes[0]
    # What the loop sees is what the exporter writes: the rest is tables and the coder.
    nets, seen = QuantisedNets(model, learned, 127), 0.0
    with torch.no_grad():
        for y, z in zip(calibration.y, calibration.z, strict=True):
            z_bits = 0.0 if z is None else -float(model.entropy_bottleneck.likelihood(z).log2().sum())
            seen += float(nets.bits(z, y.round())) + z_bits
    assert 8 * sizes[1] == pytest.approx(seen, rel=0.05)
    assert said[0].startswith("fine-tuning: rate +0.") or said[0].startswith("fine-tuning: rate -0.0")
    assert said[-1].startswith("fine-tuning: step 80 of 80, rate -")
    for name, tensor in before.state_dict().items():  # what encodes and decodes pixels is not touched
        if name.split(".")[0] in ("g_a", "g_s", "h_a", "gain", "inv_gain"):
            assert torch.equal(tensor, model.state_dict()[name])


def test_latents_beyond_the_context_models_limit(photo_crop):
    """They are coded as they are, and seen no larger than int8 holds: in the loop as in a file."""
    model = small_model("mbt2018")
    with torch.no_grad():
        model.gain.add_(5.5)
    calibration = calibrate(model, [photo_crop])
    nets = QuantisedNets(model, activation_ranges(model, calibration).activations(model, "A", 127), 127)
    beyond = 0
    with torch.no_grad():
        for y, z in zip(calibration.y, calibration.z, strict=True):
            y_hat = y.round()
            beyond += int((y_hat.abs() > 127).sum())
            clamped = run(model, z, y_hat.clamp(-127, 127), nets._weight, nets._activation)
            as_it_is = run(model, z, y_hat, nets._weight, nets._activation)
            assert torch.equal(nets.bits(z, y_hat), _rate(clamped, y_hat))
            assert not torch.equal(nets.bits(z, y_hat), _rate(as_it_is, y_hat))
    assert beyond > 10


def test_nothing_to_train():
    model = registry.build("bmshj2018-factorized", N, M, rows=1).eval()
    calibration = calibrate(model, [np.zeros((32, 32, 3), np.uint8)])

    def draw():
        raise AssertionError("no batch is needed")

    assert finetune(model, {}, draw, calibration, activation_bits=8, steps=5) == {}
