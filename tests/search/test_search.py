# SPDX-License-Identifier: Apache-2.0
"""The encoder's search: rates against real payloads, rows against the plain model, what each effort earns, and what it refuses."""

import sys
from functools import partial

import numpy as np
import pytest
from builders import CASES, SHIPPED, photo, random_model

import jahp_fast
from jahp_fast import Codec, _native, library
from jahp_fast.backends import load
from jahp_fast.constants import trade_off
from jahp_fast.entropy.model_file import CURVATURE, ROOTS, ModelFile, replace_entropy
from jahp_fast.errors import UnsupportedImage, UsageError
from jahp_fast.search import greedy
from jahp_fast.search.bits import SymbolBits
from jahp_fast.search.descent import SCHEDULES, descended
from jahp_fast.search.greedy import Searcher
from jahp_fast.train import synthetic

FORM_A = [case for case in CASES if case.form == "A" and case.prob_bits == 15]


def latents(config, height, width, seed=0):
    rng = np.random.default_rng(seed)
    z_shape = ((height + 3) // 4, (width + 3) // 4, config.hyper_latents) if config.hyper_latents else (0, 0, 0)
    y = np.rint(rng.normal(0, 2, (height, width, config.latents))).astype(np.int32)
    return np.rint(rng.normal(0, 1, z_shape)).astype(np.int32), y


@pytest.mark.parametrize("case", FORM_A, ids=str)
def test_rows_are_the_plain_models_and_bits_are_the_payloads(case, tmp_path):
    model = random_model(tmp_path / "m.safetensors", case, seed=1)
    z, y = latents(model.config, 9, 6)
    y[0, 0, 0], y[3, 4, 1] = 3000, -3000  # escapes
    fast, plain = SymbolBits(model, reference=False), SymbolBits(model, reference=True)
    rows, shifts = fast.rows(z, y, threads=3)
    for one, other in zip((rows, shifts), plain.rows(z, y), strict=True):
        assert np.array_equal(one, other)
    bits = fast.of(rows, y - shifts).sum()
    if z.size:
        z_rows = np.broadcast_to(np.arange(z.shape[2], dtype=np.int32), z.shape)
        bits += fast.of(z_rows, z).sum()
    from jahp_fast.entropy.layout import StreamLayout

    payload, _, _, _ = load("native", model).encode(z, y, StreamLayout(9, 6, 1, 0, 0), 1)
    # One state of 32 bits, of which 16 are the coder's own, and the number of escapes.
    assert 8 * len(payload) == pytest.approx(bits + 32 + 16, abs=24)


def test_form_b_is_refused(tiny_models, photo_crop):
    codec = Codec("tiny-b16", models=[tiny_models["tiny-b16"]])
    with pytest.raises(UsageError, match="form B"):
        codec.encode(photo_crop, effort=1)


@pytest.mark.parametrize("effort", [1, 2, 3])
def test_a_model_for_ms_ssim_is_refused(photo_crop, effort):
    """Steps that pay in squared error undo what it was trained for (docs/reference/models.md)."""
    codec = Codec("mbt2018-ms-ssim")
    with pytest.raises(UsageError, match="mbt2018-ms-ssim was trained for ms-ssim"):
        codec.encode(photo_crop, effort=effort)
    assert codec.encode(photo_crop, max_bytes=1500)


@pytest.mark.parametrize("effort", [-1, 4, 1.5, True])
def test_what_is_no_effort(effort):
    with pytest.raises(UsageError, match="effort must be 0 to 3, a whole number"):
        Codec().encode(photo()[:32, :32], effort=effort)


@pytest.mark.parametrize("effort", [1, 2])
def test_no_effort_needs_torch(monkeypatch, photo_crop, effort):
    wanted = Codec().encode(photo_crop, effort=effort)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert Codec().encode(photo_crop, effort=effort) == wanted


def test_a_model_without_search_tensors_says_so(tmp_path, photo_crop):
    model = random_model(tmp_path / "old.safetensors", FORM_A[-1], seed=1)
    assert CURVATURE not in model.names
    with pytest.raises(UsageError, match=r"old has no tensors for searching.*jahp export"):
        greedy.check(model, 1)


def test_lambdas_are_the_papers():
    from jahp_fast.constants import LAMBDAS

    assert [trade_off(q) for q in range(1, 9)] == pytest.approx(LAMBDAS)
    assert trade_off(4.5) == pytest.approx((LAMBDAS[3] * LAMBDAS[4]) ** 0.5)


@pytest.mark.parametrize("quality", [1, 4, 8])
def test_the_adjoint_correlates_with_the_gradient_and_the_derivative_is_it(quality):
    import torch

    from jahp_fast.export.model import dequantise
    from jahp_fast.models import registry
    from jahp_fast.transforms.device import Transforms

    image = photo()[128:256, 256:448].copy()
    model = ModelFile(SHIPPED)
    transforms = Transforms(model)
    y = transforms.analysis(torch.from_numpy(image).permute(2, 0, 1)[None], quality)
    symbols = ((y + 128) >> 8).float().requires_grad_(True)
    module = registry.from_state_dict(dequantise(SHIPPED)[1])
    decoded = module.synthesis(symbols, torch.tensor([quality - 1])).clamp(0, 1)
    error = (decoded - torch.from_numpy(image).permute(2, 0, 1)[None] / 255).square().sum()
    (gradient,) = torch.autograd.grad(error, symbols)
    wanted = gradient[0].permute(1, 2, 0).numpy() / 2
    integers = symbols.detach()[0].permute(1, 2, 0).contiguous().numpy().astype(np.int32)
    for plain in (False, True):
        searcher = Searcher(model, plain)
        got, _ = searcher.gradient(image, integers, quality, 2)
        assert (got * wanted).sum() / np.sqrt(np.square(got).sum() * np.square(wanted).sum()) > 0.85
        exact = searcher.derivative(image, integers, quality, 2)
        assert np.square(exact - wanted).sum() < 0.01 * np.square(wanted).sum()


@pytest.mark.parametrize(
    ("height", "width", "quality"),
    [
        pytest.param(150, 123, 1, marks=pytest.mark.slow),
        (97, 200, 4.5),
        pytest.param(16, 16, 8, marks=pytest.mark.slow),
        pytest.param(1, 33, 6, marks=pytest.mark.slow),
    ],
)
def test_the_gradient_is_the_plain_one(height, width, quality):
    image = photo()[100 : 100 + height, 200 : 200 + width]
    model = ModelFile(SHIPPED)
    fast, plain = Searcher(model, reference=False), Searcher(model, reference=True)
    _, y = latents(model.config, -(-height // 16), -(-width // 16), seed=height)
    y[0, 0, :5] = 300  # beyond 0 and 1, so that pixels are clamped
    wanted, answers = plain.gradient(image, y, quality, 1)
    seen = [fast.gradient(image, y, quality, threads) for threads in (1, 2, 3)]
    for got, answer in seen:
        assert np.array_equal(got, wanted)
        assert np.array_equal(answer, answers)
        assert got.shape == y.shape
        assert answer.shape == y.shape[:2]
    wanted = plain.derivative(image, y, quality, 1)
    for threads in (1, 2, 3):
        assert np.array_equal(fast.derivative(image, y, quality, threads), wanted)
    curvature = fast.curvature(quality)
    assert np.array_equal(fast.interaction(curvature), plain.interaction(curvature))


def test_local_gains_are_those_of_automatic_differentiation(monkeypatch):
    """With nothing of the mean gains left, the adjoint is, to its bits, the derivative of g_s whose inverse GDNs multiply by constants."""
    import torch
    import torch.nn.functional as F

    from jahp_fast.export.model import dequantise
    from jahp_fast.models import registry
    from jahp_fast.models.layers import GDN, DeconvByRow
    from jahp_fast.search import adjoint

    monkeypatch.setattr(adjoint, "LOCAL", 1.0)
    model = ModelFile(SHIPPED)
    image = np.ascontiguousarray(photo()[64:160, 128:240])
    net = registry.from_state_dict(dequantise(SHIPPED)[1])
    quality, row = 3, torch.tensor([2])
    integers = Codec(quality=quality).decode_latents(Codec(quality=quality).encode(image)).y.transpose(1, 2, 0).copy()
    noise = np.random.default_rng(0).integers(-25, 26, image.shape)  # so that errors are large beside the rounding of pixels
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    symbols = torch.from_numpy(integers).float().permute(2, 0, 1)[None].requires_grad_(True)
    x, squares = symbols * net.inv_gain[2].exp()[:, None, None], []
    for layer in net.g_s:
        if isinstance(layer, GDN):
            beta, gamma = layer.values()
            factor = F.conv2d(x * x, gamma[:, :, None, None], beta).sqrt().detach()
            mean = torch.from_numpy(model.search[ROOTS[len(squares)]][2] * np.sqrt(norm_unit(layer, model, len(squares))))
            squares.append((factor / mean[:, None, None]).square().mean(1, keepdim=True))
            x = x * factor
        else:
            x = layer(x, row) if isinstance(layer, DeconvByRow) else layer(x)
    x8 = (x.detach()[0].permute(1, 2, 0).clamp(0, 1) * 255).round()
    error = ((x8 - torch.from_numpy(image.copy()).float()) / 255).permute(2, 0, 1)[None]
    (wanted,) = torch.autograd.grad(x, symbols, error)
    answer = torch.stack([F.avg_pool2d(s, 2 << i)[0, 0] for i, s in enumerate(squares)]).prod(0)
    for plain in (False, True):
        got, answers = Searcher(model, plain).gradient(image, integers, quality, 1)
        difference = got - wanted[0].permute(1, 2, 0).numpy()
        assert np.sqrt(np.square(difference).mean()) < 0.06 * float(wanted.square().mean().sqrt())
        np.testing.assert_allclose(answers, answer.detach().numpy(), rtol=0.03)


def norm_unit(gdn, model, level):
    """(N,) what a unit of the norms of g_s's GDN is worth: real beta over integer beta."""
    beta, _ = gdn.values()
    return beta.detach().numpy() / model.read_transforms(f"g_s.{2 * level + 1}.beta")[f"g_s.{2 * level + 1}.beta"]


def test_steps_have_to_earn_their_margin(monkeypatch):
    model = ModelFile(SHIPPED)
    image = photo()[128:224, 256:384]
    searcher = Searcher(model, reference=False)
    z, y = latents(model.config, 6, 8)
    steps = []
    for margin in (0.0, 2.5, 1e9):
        monkeypatch.setattr(greedy, "MARGIN", margin)
        steps.append(int((searcher.stepped(image, (z, y), 4, 1.0, 1) != y).sum()))
    assert steps[0] > steps[1] > 0 == steps[2]


@pytest.mark.slow
def test_sensitivities_are_those_of_each_row(monkeypatch):
    import torch

    from jahp_fast.export import sensitivity
    from jahp_fast.export.calibration import calibrate
    from jahp_fast.models.layers import GDN
    from jahp_fast.models.registry import build

    torch.manual_seed(0)
    model = build("mbt2018", 6, 5, 3).eval()
    with torch.no_grad():
        for parameter in model.g_s.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        for row, factor in ((0, 0.5), (1, 1.0), (2, 1.5)):
            model.get_submodule(f"g_s.6.{row}").weight.mul_(factor)
    calibration = calibrate(model, [photo()[:16, :32], photo()[100:116, 200:232]])
    monkeypatch.setattr(sensitivity, "_PROBES", 600)
    units = {f"g_s.{i}": np.full(6, 1e-6) for i in (1, 3, 5)} | {"g_s": np.ones(5)}
    got = sensitivity.sensitivities(model, calibration, units)
    exact, jacobian = [], partial(torch.autograd.functional.jacobian, vectorize=True)
    for row in range(3):
        latents = [y.round() * model.inv_gain[row].detach().exp()[:, None, None] for y in calibration.y[row::3]]
        columns = [jacobian(partial(_g_s, model, row), y).flatten(0, 3) for y in latents]
        exact.append(sum(c.square().sum(0)[0].mean((1, 2)) for c in columns) / len(columns))
        for i in range(3):
            means = []
            for y in latents:
                x = _g_s(model, row, y, upto=2 * i + 1)
                means.append((model.g_s[2 * i + 1](x) / x).detach().square().mean((0, 2, 3)))
            assert isinstance(model.g_s[2 * i + 1], GDN)
            np.testing.assert_allclose(got[ROOTS[i]][row] * 1e-3, (sum(means) / len(means)).sqrt(), rtol=2e-3)
    exact = torch.stack(exact)
    assert bool((exact[2] > exact[1]).all())
    assert bool((exact[1] > exact[0]).all())
    np.testing.assert_allclose(got[CURVATURE], torch.maximum(exact, exact[1]), rtol=0.1)  # got by random probes
    assert np.array_equal(got[CURVATURE][0], got[CURVATURE][1])


def _g_s(model, row, y, upto=7):
    import torch

    from jahp_fast.models.layers import DeconvByRow

    for layer in model.g_s[:upto]:
        y = layer(y, torch.tensor([row])) if isinstance(layer, DeconvByRow) else layer(y)
    return y


def cost(codec, image, quality, **options):
    """What the search minimises, in bits a pixel, of a real file."""
    data = codec.encode(image, **options)
    error = np.square(codec.decode(data).astype(np.float64) - image).mean()
    return trade_off(quality) * error + 8 * len(data) / (image.shape[0] * image.shape[1])


@pytest.mark.parametrize("quality", [1, 4.5, 8])
def test_effort_1_pays_on_real_files(quality):
    image = photo()[128:320, 256:512]
    codec = Codec(quality=quality)
    assert cost(codec, image, quality, effort=1) < 0.995 * cost(codec, image, quality)
    assert codec.encode(image, effort=1) == codec.encode(image, effort=1) != codec.encode(image)
    assert jahp_fast.info(codec.encode(image, effort=1)).quality == quality


def test_effort_2_pays_more_and_is_the_same_on_any_number_of_threads():
    image = photo()[128:384, 256:512]
    codec = Codec(quality=4)
    assert cost(codec, image, 4, effort=2) < cost(codec, image, 4, effort=1) * 0.98
    assert codec.encode(image, effort=2) == Codec(quality=4, threads=3).encode(image, effort=2)


@pytest.mark.parametrize("quality", [1.5, 7])
def test_effort_2_is_the_same_with_every_instruction_set_and_plain(quality, monkeypatch):
    image = photo()[128:161, 256:301]
    wanted = Codec(quality=quality, backend="reference").encode(image, effort=2)
    assert wanted != Codec(quality=quality).encode(image)
    for isa in _native.isa_names():
        monkeypatch.setenv("JAHP_FAST_ISA", isa)
        greedy._searcher.cache_clear()  # its nets are of one instruction set
        assert Codec(quality=quality).encode(image, effort=2) == wanted, isa
    greedy._searcher.cache_clear()


def test_progress_counts_the_rounds_of_each_quality_that_is_tried(photo_crop):
    seen = []
    image = photo_crop[:32, :32]
    for effort in (0, 1):
        Codec().encode(image, effort=effort, progress=lambda *said: seen.append(said))
    assert seen == []
    Codec().encode(image, effort=2, progress=lambda *said: seen.append(said))
    once = [(k, 18) for k in range(1, 19)]
    assert seen == once
    Codec().encode(image, effort=2, target_bpp=1.0, progress=lambda *said: seen.append(said))
    assert seen == once * (len(seen) // 18)
    assert len(seen) > 2 * 18


def test_latents_beyond_all_symbols_are_the_images_fault():
    searcher = Searcher(ModelFile(SHIPPED), reference=False)
    start, z = np.zeros((1, 1, 192), np.float32), np.zeros((1, 1, 64), np.int32)
    for wrong in (32768.0, np.nan):
        start[0, 0, 5] = wrong
        with pytest.raises(UnsupportedImage, match="a latent is beyond 32767 or not a number"):
            descended(searcher, photo()[:16, :16], (start, z), 4.0, SCHEDULES[2], 1.0, 1)


@pytest.mark.parametrize("name", ["tiny", "tiny-mean", "tiny-factorized"])
@pytest.mark.parametrize("effort", [1, 2])
def test_every_architecture_of_form_a(tiny_models, photo_crop, name, effort):
    image = photo_crop[:50, :70]
    codec = Codec(name, models=[tiny_models[name]])
    assert codec.decode(codec.encode(image, effort=effort)).shape == image.shape
    assert len(codec.encode(image, effort=effort, max_bytes=100_000)) <= 100_000


def test_qualities_of_a_model_may_lie_apart(tmp_path, photo_crop):
    import torch

    from jahp_fast.constants import BY_ROW
    from jahp_fast.export.state import export_state
    from jahp_fast.models import registry

    torch.manual_seed(0)
    model = registry.build("mbt2018", 8, 12, rows=3)
    with torch.no_grad():
        model.gain.copy_(torch.linspace(3, 6, 3)[:, None].expand(3, 12))
        model.inv_gain.copy_(-model.gain)
        for i in BY_ROW:
            for row, layer in enumerate(model.g_s[i].children()):
                layer.weight.mul_(1 + row)
    export_state(model.state_dict(), tmp_path / "apart.safetensors", photos=[photo_crop], qualities=[1, 3, 8])
    image = photo_crop[:48, :64]
    codec = Codec("apart", quality=5.5, models=[tmp_path / "apart.safetensors"])
    data = codec.encode(image, effort=2)
    searcher = Searcher(ModelFile(tmp_path / "apart.safetensors"), reference=False)
    # What the search descends on is what the file's decoder does.
    y = np.ascontiguousarray(codec.decode_latents(data).y.transpose(1, 2, 0))
    errors = np.concatenate(list(searcher._errors(image, y, 5.5, 1)))
    assert np.array_equal(image + errors[:48, :64], codec.decode(data))
    low, high = searcher.curvature(3.0) / np.exp(2 * -4.5), searcher.curvature(8.0) / np.exp(2 * -6.0)
    np.testing.assert_allclose(searcher.curvature(5.5) / np.exp(2 * -5.25), (low + high) / 2, rtol=1e-4)


@pytest.mark.slow
def test_effort_3_pays_more(tmp_path):
    """What it gains where all symbols are coded; and skipping brings the shipped model below that at each effort."""
    path = tmp_path / "full.safetensors"
    path.write_bytes(library.by_name("mbt2018").path.read_bytes())
    replace_entropy(path, {"scale.skip": np.zeros(8, np.int32)})
    full, codec = Codec("full", quality=7, models=[path]), Codec(quality=7)
    for top, left in ((128, 256), (0, 0)):
        image = photo()[top : top + 128, left : left + 128]
        nearest, less, found = (cost(full, image, 7, effort=effort) for effort in (0, 2, 3))
        assert found < less * 0.998
        assert found < nearest * 0.965
        assert cost(codec, image, 7) < nearest
        assert cost(codec, image, 7, effort=3) < found
    assert codec.encode(image, effort=3) == Codec(quality=7, threads=2).encode(image, effort=3)


@pytest.mark.parametrize("effort", [1, 2])
def test_flat_pictures_are_not_worse_for_a_search(effort):
    """Equal neighbours are free, of which the search knows nothing: by bits and weighed errors its file is never worse than effort 0's."""
    for seed, kind in enumerate(("flat", "chart", "pixelart")):
        image = synthetic.picture(kind, seed, (160, 160))
        for quality in (2, 8):
            codec = Codec(quality=quality, threads=2)
            costs = []
            for data in (codec.encode(image), codec.encode(image, effort=effort)):
                errors = np.square(codec.decode(data).astype(np.int64) - image).sum()
                costs.append(trade_off(quality) * errors / 3 + 8 * len(data))
            assert costs[1] <= costs[0]
