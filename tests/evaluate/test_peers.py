# SPDX-License-Identifier: Apache-2.0
"""benchmarks/peers/peers.py without CompressAI: its checks and arguments, and the calibrated load on a small model of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import peers
import peers_calibrate
import peers_env
import peers_ours
import pytest
import torch
from PIL import Image

from jahp_fast.errors import UsageError
from jahp_fast.models.registry import build

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_only_takes_each_name_once_and_refuses_others() -> None:
    assert peers.measurements("latent, latent") == ["latent"]
    with pytest.raises(UsageError, match="'whole', 'x'"):
        peers.measurements("latent,whole,x")
    with pytest.raises(UsageError, match="''"):
        peers.measurements("")


@pytest.mark.parametrize(
    ("ours", "theirs", "fair"), [(1050, 1000, True), (950, 1000, True), (1051, 1000, False), (949, 1000, False), (0, 0, False)]
)
def test_payloads_must_be_within_five_per_cent(ours: int, theirs: int, fair: bool) -> None:
    if fair:
        peers_ours.check_payload(ours, theirs)
    else:
        with pytest.raises(peers_env.PeersError, match=rf"our {ours} bytes .* CompressAI's {theirs}"):
            peers_ours.check_payload(ours, theirs)


def test_latents_may_differ_in_a_hundredth_by_one() -> None:
    theirs = np.random.default_rng(1).integers(-25, 26, (8, 25, 20)).astype(np.int16)
    ours = theirs.astype(np.int32)
    peers_ours.check_latents(ours, theirs)
    ours[0, :2] += 1
    peers_ours.check_latents(ours, theirs)
    ours[0, 2, 0] += 1
    with pytest.raises(peers_env.PeersError, match=r"1\.0[23]%.*by up to 1"):
        peers_ours.check_latents(ours, theirs)
    ours = theirs.astype(np.int32)
    ours[3, 3, 3] -= 2
    with pytest.raises(peers_env.PeersError, match="by up to 2"):
        peers_ours.check_latents(ours, theirs)
    with pytest.raises(peers_env.PeersError, match=r"\(8, 25, 19\)"):
        peers_ours.check_latents(ours[:, :, 1:], theirs)


def test_times_are_summed_up_by_median_and_extremes() -> None:
    line = peers.Times([3.0, 1.0, 50.0, 2.0], [4.0, 4.0, 6.0, 6.0]).line("A")
    assert line.split() == ["A", "2.500", "1.000", "to", "50.000", "5.000", "4"]


def test_a_photo_that_cannot_be_compared_is_named(tmp_path: Path) -> None:
    odd = tmp_path / "odd.png"
    Image.new("RGB", (128, 100)).save(odd)
    cases = {odd: "128x100", tmp_path / "none.png": "No such file", tmp_path: "directory", Path(__file__): "identify"}
    for path, why in cases.items():
        with pytest.raises(UsageError, match=why):
            peers.check_photo(path)


def test_bad_arguments_end_in_one_line_and_status_1(tmp_path: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, str(BENCHMARKS / "peers" / "peers.py"), *arguments]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    done = command("--only", "speed")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "peers.py: --only knows latent, transforms, full, not 'speed'\n")
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "thesis.tex").write_text("years of work")
    done = command("--make-env", "--env", str(stranger))
    assert done.returncode == 1
    assert done.stderr == f"peers.py: {stranger} is not empty and not a virtual environment; name another folder with --env\n"
    assert [p.name for p in stranger.iterdir()] == ["thesis.tex"]


def test_an_environment_of_another_recipe_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = peers_env.env_python(tmp_path)
    python.parent.mkdir()
    python.touch()
    assert not peers_env.is_made(tmp_path)
    (tmp_path / peers_env.STAMP).write_text(peers_env.recipe_digest() + "\n")
    assert peers_env.is_made(tmp_path)
    monkeypatch.setenv("TORCH", "torch==9.9")
    assert not peers_env.is_made(tmp_path)


def test_a_worker_that_dies_is_reported(tmp_path: Path) -> None:
    script = tmp_path / "python"  # an interpreter in which nothing can be imported
    script.write_text("#!/bin/sh\nread line\nexit 7\n")
    script.chmod(0o755)
    with peers.Worker(script, 1) as worker, pytest.raises(peers_env.PeersError, match="'hello' with status 7"):
        worker.ask("hello")


def photo_tensor() -> torch.Tensor:
    """(1, 3, 192, 256): smooth ramps with texture and an edge, in [0, 1]."""
    row, column = torch.meshgrid(torch.linspace(0, 1, 192), torch.linspace(0, 1, 256), indexing="ij")
    texture = 0.15 * torch.sin(90 * row * column) + 0.05 * torch.randn(192, 256, generator=torch.Generator().manual_seed(5))
    base = 0.5 * row + 0.3 * (column > 0.6) + texture
    return torch.stack((base, base * 0.7 + 0.2 * column, 0.8 - base)).clamp(0, 1)[None]


@pytest.fixture(scope="module")
def calibrated() -> tuple[Any, peers_calibrate.Calibration]:
    model = build("mbt2018", 12, 24, rows=1).eval()
    with torch.no_grad():
        model.gain.zero_()
        model.inv_gain.zero_()
    return model, peers_calibrate.calibrate(model, photo_tensor(), bpp=0.12)


def test_calibration_reaches_its_rate_and_its_range(calibrated: tuple[Any, peers_calibrate.Calibration]) -> None:
    model, reached = calibrated
    x = photo_tensor()
    assert reached.bpp == pytest.approx(0.12, rel=0.01)
    with torch.inference_mode():
        y = model.g_a(x)
        z = torch.round(model.h_a(y))
        # The model's own forward, which knows nothing of the calibration's arithmetic.
        coded = model(x, torch.tensor([0]))
    assert float(y.abs().max()) == pytest.approx(25, rel=0.02)
    assert float(coded.y_bits) == pytest.approx(reached.y_bits, rel=0.01)
    assert float(coded.z_bits) == pytest.approx(reached.z_bits, rel=0.05)  # few symbols: one tipped over by float16 shows
    deviations = y.std(dim=(0, 2, 3)).sort().values
    assert float(deviations[-1] / deviations[0]) > 10
    with torch.inference_mode():
        hidden = model.context_prediction(torch.round(y))
    assert 0.8 < float(hidden.std()) < 1.2
    assert float((z != 0).float().mean()) < 0.6


def test_calibrated_means_follow_the_latents(calibrated: tuple[Any, peers_calibrate.Calibration]) -> None:
    model, _ = calibrated
    with torch.inference_mode():
        y = model.g_a(photo_tensor())
        hyper = model.h_s(torch.round(model.h_a(y)))[:, :, : y.shape[2], : y.shape[3]]
        scales, means = model.entropy_parameters(torch.cat((hyper, model.context_prediction(torch.round(y))), 1)).chunk(2, 1)
    loud = y.std(dim=(0, 2, 3)) > 1
    assert loud.any()
    assert float(((y - means).square().mean((0, 2, 3)) / y.square().mean((0, 2, 3)))[loud].max()) < 0.9
    assert float(((y - means) / scales.clamp_min(0.11)).abs().max()) < 8  # no escapes


def test_calibration_depends_on_its_seed_alone() -> None:
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(heads))  # the initialisation must not matter
        model = build("mbt2018", 8, 12, rows=1).eval()
        peers_calibrate.calibrate(model, photo_tensor(), bpp=0.08, seed=seed, tolerance=0.05)
        heads.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_calibration_refuses_what_it_cannot_do() -> None:
    model = build("mbt2018", 8, 12, rows=1).eval()
    with pytest.raises(ValueError, match="multiples of 64"):
        peers_calibrate.calibrate(model, torch.zeros(1, 3, 64, 100), bpp=0.1)
    with pytest.raises(RuntimeError, match="no decay of the channels gives 40 bpp"):
        peers_calibrate.calibrate(model, photo_tensor(), bpp=40)
