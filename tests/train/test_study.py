# SPDX-License-Identifier: Apache-2.0
"""The study: its distributions, its entropy models, its verdicts, and a whole one on tiny photos."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from jahp_fast.cli import main
from jahp_fast.errors import UsageError
from jahp_fast.models.layers import gaussian_likelihood
from jahp_fast.models.registry import build
from jahp_fast.study import report
from jahp_fast.study.distributions import CUMULATIVES, DISTRIBUTIONS
from jahp_fast.study.latents import Cached
from jahp_fast.study.prior import BASE, FACTORS, LatentPrior, Variant, variants
from jahp_fast.study.run import Outcome, steps_within, train_prior


def values_of(name: str, scale: float, mean: float) -> torch.Tensor:
    """Parameters (1, K, 1, 1, 1) of one distribution; the mixture's components are the same and its weights arbitrary."""
    distribution = DISTRIBUTIONS[name]
    n = distribution.scales
    parts = [scale] * n + [mean] * (n if distribution.values > 1 else 0) + [0.1 * i for i in range(distribution.values - 2 * n)]
    return torch.tensor(parts, dtype=torch.float64).reshape(1, -1, 1, 1, 1)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize(("scale", "mean"), [(0.11, 0.0), (0.7, 0.3), (6.0, -2.4)])
def test_probabilities_of_all_integers_sum_to_one(name: str, scale: float, mean: float) -> None:
    y = torch.arange(-400, 401, dtype=torch.float64).reshape(1, 1, 1, -1)
    p = DISTRIBUTIONS[name].likelihood(y, values_of(name, scale, mean).expand(-1, -1, -1, -1, 801))
    assert p.sum().item() == pytest.approx(1, abs=2e-6)
    assert p.min() > 0


@pytest.mark.parametrize("name", CUMULATIVES)
def test_standard_deviation_is_the_scale(name: str) -> None:
    y = torch.arange(-500, 501, dtype=torch.float64).reshape(1, 1, 1, -1)
    p = DISTRIBUTIONS[name].likelihood(y, values_of(name, 40.0, 0.0).expand(-1, -1, -1, -1, 1001))
    assert (p * y * y).sum().sqrt().item() == pytest.approx(40, rel=1e-2)


def test_gaussian_is_that_of_the_models() -> None:
    y = torch.randn(2, 3, 4, 4) * 3
    parameters = torch.stack([torch.rand(2, 3, 4, 4) * 4, torch.randn(2, 3, 4, 4)], 1)
    expected = gaussian_likelihood(y, parameters[:, 0], parameters[:, 1])
    torch.testing.assert_close(DISTRIBUTIONS["gaussian"].likelihood(y, parameters), expected)


def test_each_variant_differs_from_the_base_in_one_factor() -> None:
    for factor, family in FACTORS.items():
        for variant in family:
            changed = {f.name for f in dataclasses.fields(Variant) if getattr(variant, f.name) != getattr(BASE, f.name)} - {"name"}
            assert changed <= ({"context", "hyperprior", "distribution"} if factor == "models" else {factor})
    assert len({v.name for v in variants()}) == len(variants())


@pytest.mark.parametrize("variant", variants(), ids=lambda v: v.name)
def test_bits_are_finite_and_reach_every_weight(variant: Variant) -> None:
    torch.manual_seed(0)
    prior = LatentPrior(variant, 8, torch.full((12,), 4.0))
    y = torch.randn(2, 12, 8, 8) * 4
    y_bits, z_bits = prior(y)
    assert y_bits.shape == z_bits.shape == (2,)
    assert bool((z_bits > 0).all()) == variant.hyperprior
    (y_bits.sum() + z_bits.sum()).backward()
    unreached = [n for n, p in prior.named_parameters() if p.grad is None and not n.endswith("quantiles")]
    assert not unreached
    assert all(bool(p.grad.isfinite().all()) for p in prior.parameters() if p.grad is not None)


def test_training_sees_what_files_hold() -> None:
    """Where nothing has noise but the bits of z, those of y are the same in training and after it."""
    torch.manual_seed(0)
    prior = LatentPrior(BASE, 8, torch.full((12,), 4.0))
    y = torch.randn(2, 12, 8, 8) * 4
    with torch.no_grad():
        in_training, z_bits = prior(y)
        prior.eval()
        after, z_bits_after = prior(y)
    assert torch.equal(in_training, after)
    assert not torch.equal(z_bits, z_bits_after)


def test_fixed_distributions_are_learned() -> None:
    """What others are compared with must be as good as it can be: near the entropy of the values, after few steps."""
    values = (torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.7).half()
    counts = torch.stack([(values.float().round() == v).sum() for v in range(-4, 5)]).double()
    share = counts[counts > 0] / counts.sum()
    entropy = float(-(share * share.log2()).sum()) * 3 / 256  # three values for 256 pixels
    factorised = Variant("factorised", context=0, hyperprior=False)
    _, outcome = train_prior(factorised, 4, Cached(values, values), seed=0, steps=150)
    assert outcome.bpp == pytest.approx(entropy, rel=0.05)


def test_context_is_causal() -> None:
    """Bits of a position do not change with what comes after it: later values change the sum only by their own bits."""
    torch.manual_seed(0)
    prior = LatentPrior(Variant("causal", context=7, hyperprior=False), 8, torch.ones(6)).eval()
    seen: list[torch.Tensor] = []
    prior.entropy_parameters[4].register_forward_hook(lambda *a: seen.append(a[-1].detach()))
    y = torch.randint(-5, 6, (1, 6, 8, 8)).float()
    later = y.clone()
    later[:, :, 4, 3:] += 3
    later[:, :, 5:] -= 2
    prior(y)
    prior(later)
    before = torch.zeros(8, 8, dtype=torch.bool)
    before[:4], before[4, :4] = True, True
    torch.testing.assert_close(seen[0][..., before], seen[1][..., before], rtol=0, atol=0)
    assert not torch.equal(seen[0], seen[1])


def outcome(variant: str, seed: int, bpp: float) -> Outcome:
    return Outcome(variant, False, seed, 10, 100, bpp, 0.01, bpp, math.nan, math.nan, 0.1)


def test_savings_pair_seeds() -> None:
    runs = [outcome("joint", 0, 0.9), outcome("no context", 0, 1.0), outcome("joint", 1, 0.8), outcome("no context", 2, 1.0)]
    assert report.savings(runs, "no context", "joint") == [pytest.approx(10)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5.0, 5.5, 5.2], "holds"), ([-5.0, -5.5], "does not hold"), ([0.2, -0.1, 0.3], "the seeds do not tell"),
        ([1.0, 3.0], "the seeds do not tell"), ([0.4], "holds"),
    ],
)  # fmt: skip
def test_verdict(values: list[float], expected: str) -> None:
    assert report.verdict(values) == expected


def test_steps_share_the_time() -> None:
    assert steps_within(100, [0.1, 0.3]) == 250
    with pytest.raises(UsageError, match="too few minutes"):
        steps_within(1, [0.1, 0.3])


def test_runs_survive_being_written(tmp_path: Path) -> None:
    runs = [outcome("joint", 0, 0.5), dataclasses.replace(outcome("factorised", 1, 0.75), joint=True, psnr=30.5, loss=1.25)]
    report.write_runs(tmp_path / "runs.csv", runs)
    again = report.read_runs(tmp_path / "runs.csv")
    assert [(o.variant, o.joint, o.seed, o.bpp) for o in again] == [("joint", False, 0, 0.5), ("factorised", True, 1, 0.75)]
    assert math.isnan(again[0].psnr)
    assert again[1].psnr == 30.5
    (tmp_path / "runs.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(UsageError, match="does not hold the runs"):
        report.read_runs(tmp_path / "runs.csv")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        coarse = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    (folder / "held_out.txt").write_text("".join(f"{i}.png\n" for i in range(4)), encoding="utf-8")
    return folder


def test_a_whole_study_and_going_on(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from jahp_fast.study import command, run

    monkeypatch.setattr(run, "FEWEST_STEPS", 2)
    monkeypatch.setattr(run, "TRIAL_STEPS", 1)
    monkeypatch.setattr(run, "steps_within", lambda *_: 2)
    kept = {v.name: v for v in variants() if v.name in ("joint", "factorised", "no context")}
    monkeypatch.setattr("jahp_fast.study.prior.variants", lambda _: list(kept.values()))
    torch.manual_seed(0)
    weights = tmp_path / "model.safetensors"
    save_file({k: v.contiguous() for k, v in build("mbt2018", 8, 12).state_dict().items()}, weights)
    out = tmp_path / "out"
    arguments = ["study", "--photos", str(photos), "--out", str(out), "--minutes", "1", "--model", str(weights), "--seeds", "2"]
    assert main(arguments) == 0
    runs = report.read_runs(out / "runs.csv")
    assert sorted((o.variant, o.joint, o.seed) for o in runs) == sorted(
        [(name, False, s) for name in kept for s in (0, 1)] + [(name, True, s) for name in ("joint", "factorised") for s in (0, 1)]
    )
    text = (out / "study.md").read_text("utf-8")
    assert "| context | no context |" in text
    assert "A context model beside the hyperprior" in text
    assert (out / "factors.png").stat().st_size > 1000

    report.write_runs(out / "runs.csv", [o for o in runs if not (o.joint and o.seed == 1)])  # as if it had been interrupted
    capsys.readouterr()
    assert main(arguments) == 0
    assert "9 of 10: joint, seed 1" in capsys.readouterr().out
    again = report.read_runs(out / "runs.csv")
    by_key = {(o.variant, o.joint, o.seed): o.loss for o in runs}
    for o in again:
        if o.joint and o.seed == 1:  # the prior was trained again from its seed
            assert o.loss == pytest.approx(by_key[o.variant, True, 1], rel=1e-4)
    assert command.JOINT_SHARE < 1

    kept_runs = (out / "runs.csv").read_bytes()
    for option, value, said in (("--minutes", "2", "minutes = 1.0, not 2.0"), ("--factors", "models", "factors = None, not models")):
        assert main([*arguments, option, value]) == 1
        assert said in capsys.readouterr().err
    save_file({k: v.contiguous() for k, v in build("mbt2018", 8, 12).state_dict().items()}, weights)  # other random weights
    assert main(arguments) == 1
    assert "model = model.safetensors, SHA-256" in capsys.readouterr().err
    assert (out / "runs.csv").read_bytes() == kept_runs
    (out / command.SETTINGS).write_text("[1", encoding="utf-8")
    assert main(arguments) == 1
    assert "does not hold the settings of a study" in capsys.readouterr().err


def test_a_study_of_some_factors(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jahp_fast.study import run

    monkeypatch.setattr(run, "TRIAL_STEPS", 1)
    weights, out = tmp_path / "model.safetensors", tmp_path / "out"
    save_file({k: v.contiguous() for k, v in build("mbt2018", 8, 12).state_dict().items()}, weights)
    arguments = ["study", "--photos", str(photos), "--out", str(out), "--minutes", "1", "--model", str(weights), "--seeds", "1"]
    assert main([*arguments, "--minutes", "0.0001", "--factors", "models"]) == 1  # too few for any run: that binds nobody
    monkeypatch.setattr(run, "steps_within", lambda *_: 2)
    assert main([*arguments, "--factors", "hyperprior,models"]) == 0
    names = {"factorised", "scale hyperprior", "no context", "no hyperprior", "joint"}
    assert {(o.variant, o.joint) for o in report.read_runs(out / "runs.csv")} == {(name, False) for name in names}
    text = (out / "study.md").read_text("utf-8")
    assert "--factors hyperprior,models" in text
    assert "| models | no context |" in text
    assert "| context |" not in text
    assert "with their transforms" not in text


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--quality", "9", "outside 1 to 8"),
        ("--seeds", "0", "--seeds must be 1"),
        ("--factors", "models,model", "'model' is unknown; there are context, distribution, hyperprior, models"),
    ],
)
def test_bad_arguments(tmp_path: Path, photos: Path, option: str, value: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--photos", str(photos), "--out", str(tmp_path / "o"), "--minutes", "1", option, value]) == 1
    assert said in capsys.readouterr().err
