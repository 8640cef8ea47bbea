# SPDX-License-Identifier: Apache-2.0
"""Files of a wanted size: the search against an exhaustive one, real files, and rate and PSNR over the steps of quality."""

import itertools
import math

import numpy as np
import pytest
from builders import photo

import jahp_fast
from jahp_fast import Codec
from jahp_fast.cli import main
from jahp_fast.errors import MissingExtra, UnsupportedImage, UsageError
from jahp_fast.search.rate_control import BEST_PSNR, PSNR, SSIMULACRA2, Goal, ScoreGoal, begin_at, fit, fit_score, goal_of, psnr_of

CODES = (20, 160)


class Encoder:
    """Sizes by code alone; counts what is asked for."""

    def __init__(self, size):
        self.size, self.calls, self.trims = size, [], []

    def encode(self, code):
        self.calls.append(code)
        return bytes(round(self.size(code)))

    def trim(self, code, rate):
        self.trims.append((code, rate))
        return bytes(round(self.size(code) * (1 - 0.1 * math.atan(rate / 4))))


def smooth(code):
    return 9000 * math.exp(0.0137 * (code - 20) + 0.05 * math.sin(code / 30))


def bent(code):
    return 3000 + (code - 20) ** 3 / 50


@pytest.mark.parametrize("size", [smooth, bent])
@pytest.mark.parametrize("start", [20, 77, 160])
def test_the_best_step_is_found_in_few_passes(size, start):
    sizes = {code: round(size(code)) for code in range(20, 161)}
    for most in np.geomspace(sizes[20], sizes[160], 23).round():
        encoder = Encoder(size)
        data = fit(encoder.encode, None, CODES, start, Goal(most, most))
        assert len(data) <= most
        best = max(s for s in sizes.values() if s <= most)
        assert len(data) == best or len(data) >= most * math.exp(-0.004)
        assert len(encoder.calls) == len(set(encoder.calls)) <= (6 if size is smooth else 14)


def test_a_target_may_be_passed_but_never_the_most():
    encoder = Encoder(lambda code: 1000 * 1.1 ** (code - 20))
    assert len(fit(encoder.encode, None, CODES, 40, Goal(1190, math.inf))) == 1210
    assert len(fit(encoder.encode, None, CODES, 40, Goal(1190, 1200))) == 1100
    data = fit(encoder.encode, encoder.trim, CODES, 40, Goal(1190, 1200))
    assert 1190 * 0.98 <= len(data) <= 1200
    assert {code for code, _ in encoder.trims} == {22}


def test_what_cannot_be_had():
    encoder = Encoder(smooth)
    with pytest.raises(UsageError, match=r"8000 bytes are too few .* at quality 1, the lowest, it takes 9"):
        fit(encoder.encode, encoder.trim, CODES, 80, Goal(8000, 8000))
    with pytest.raises(UsageError, match="too few"):
        fit(encoder.encode, encoder.trim, CODES, 80, Goal(8000, math.inf))
    assert len(fit(encoder.encode, encoder.trim, CODES, 80, Goal(1e6, 1e6))) == round(smooth(160))  # the best there is


def test_what_is_asked_for():
    assert goal_of(None, None, 100) is None
    assert goal_of(500, None, 1000) == Goal(500, 500)
    assert goal_of(None, 0.5, 1600) == Goal(100, math.inf)
    assert goal_of(90, 0.5, 1600) == Goal(90, 90)
    assert goal_of(120, 0.5, 1600) == Goal(100, 120)
    for wrong in (0, -1, 2.5):
        with pytest.raises(UsageError, match="max_bytes"):
            goal_of(wrong, None, 100)
    for wrong in (0, -1, math.nan, math.inf):
        with pytest.raises(UsageError, match="target_bpp"):
            goal_of(None, wrong, 100)


def test_a_psnr_is_asked_for_alone():
    assert goal_of(None, None, 100, 33.5) == ScoreGoal(PSNR, 33.5)
    for others in ((500, None), (None, 0.5)):
        with pytest.raises(UsageError, match="target_psnr goes with neither max_bytes nor target_bpp"):
            goal_of(*others, 100, 33.5)
    for wrong in (0, -1, 100, math.nan, math.inf, True, "33"):
        with pytest.raises(UsageError, match="target_psnr"):
            goal_of(None, None, 100, wrong)
        with pytest.raises(UsageError, match="target_ssimulacra2"):
            goal_of(None, None, 100, None, wrong)
    assert goal_of(None, None, 100, None, 70) == ScoreGoal(SSIMULACRA2, 70.0)
    with pytest.raises(UsageError, match="do not go together"):
        goal_of(None, None, 100, 33, 70)


def test_psnr_of_sums():
    assert psnr_of(0, 12) == BEST_PSNR
    assert psnr_of(12 * 255**2, 12) == 0
    assert psnr_of(3, 300) == pytest.approx(20 * math.log10(255) + 20)


@pytest.mark.parametrize("start", [20, 77, 160])
def test_the_step_of_the_nearest_psnr_is_found_in_few_passes(start):
    def psnr(code):
        return 28 + 0.064 * (code - 20) + 0.4 * math.sin(code / 30)

    for wanted in np.linspace(psnr(20), psnr(160), 23):
        calls = []

        def encode(code, calls=calls):
            calls.append(code)
            return bytes([code]), psnr(code)

        found = fit_score(encode, CODES, start, ScoreGoal(PSNR, float(wanted)))[0]
        best = min(abs(psnr(code) - wanted) for code in range(20, 161))
        assert abs(psnr(found) - wanted) <= max(best, 0.02) + 1e-9
        assert len(calls) == len(set(calls)) <= 6
    assert fit_score(encode, CODES, start, ScoreGoal(PSNR, 20.0)) == bytes([20])  # the lowest is better than that
    with pytest.raises(UsageError, match=r"target_psnr 45 dB is more than .* has 3\d\.\d\d dB at quality 8, the highest"):
        fit_score(encode, CODES, start, ScoreGoal(PSNR, 45.0))


@pytest.mark.parametrize("goal", [Goal(20000, 20000), ScoreGoal(PSNR, 33.0)])
def test_a_dear_search_begins_where_a_cheap_one_ends(goal):
    calls = []

    def offset(code):
        calls.append(code)
        return 0.064 * (code - 101) + 0.01 if isinstance(goal, ScoreGoal) else math.log(smooth(code) / goal.goal)

    best = min(range(20, 161), key=lambda code: abs(offset(code)))
    calls.clear()
    for start in (20, 80, 160):
        assert begin_at(offset, CODES, start, goal) == best
    assert len(calls) <= 3 * 6
    assert begin_at(lambda code: 1.0, CODES, 80, goal) == 20


@pytest.mark.parametrize("goal", [{"max_bytes": 1500}, {"target_psnr": 34.0}])
def test_efforts_of_rounds_take_few_qualities(goal, photo_crop):
    seen = []
    image = photo_crop[:64, :96]
    data = Codec(quality=2).encode(image, effort=2, progress=lambda done, of: seen.append(done == of), **goal)
    assert sum(seen) <= 4
    assert len(data) <= goal.get("max_bytes", 10**6)


@pytest.mark.parametrize("effort", [0, 1])
def test_real_pictures_of_a_psnr(effort, tmp_path):
    from PIL import Image

    from jahp_fast.evaluate.metrics import psnr

    image = photo()[100:356, 200:584]
    codec = Codec(quality=2)
    for wanted in (31.0, 34.5):
        data = codec.encode(image, effort=effort, target_psnr=wanted)
        assert abs(psnr(image, codec.decode(data)) - wanted) < 0.05
    grey = np.ascontiguousarray(image[:, :, 1])
    assert abs(psnr(grey, codec.decode(codec.encode(grey, effort=effort, target_psnr=33.0))) - 33) < 0.05
    alpha = np.dstack([image, image[:, :, :1]])
    assert abs(psnr(image, codec.decode(codec.encode(alpha, effort=effort, target_psnr=34.5))[:, :, :3]) - 34.5) < 0.05
    Image.fromarray(image).save(tmp_path / "a.png")
    options = ["--target-psnr", "34.5", "-q", "2", "--effort", str(effort)]
    assert main(["encode", str(tmp_path / "a.png"), str(tmp_path / "a.jahp"), *options]) == 0
    assert (tmp_path / "a.jahp").read_bytes() == data


def test_real_files(tmp_path):
    image = photo()[100:356, 200:584]
    codec = Codec(quality=2)
    pixels = image.shape[0] * image.shape[1]
    for bpp in (0.3, 0.7, 1.1):
        data = codec.encode(image, target_bpp=bpp)
        assert abs(8 * len(data) / pixels / bpp - 1) <= 0.02
        assert codec.decode(data).shape == image.shape
    data = codec.encode(image, max_bytes=6000)
    assert 6000 * 0.98 <= len(data) <= 6000
    quality = jahp_fast.info(data).quality
    assert data == Codec(quality=quality).encode(image)  # as if that quality had been asked for
    with pytest.raises(UsageError, match="500 bytes are too few"):
        codec.encode(image, max_bytes=500)
    from PIL import Image

    Image.fromarray(image).save(tmp_path / "a.png")
    assert main(["encode", str(tmp_path / "a.png"), str(tmp_path / "a.jahp"), "--max-bytes", "6000", "-q", "2"]) == 0
    assert (tmp_path / "a.jahp").read_bytes() == data


def test_small_images_are_trimmed():
    image = photo()[200:232, 300:348]
    steps = [len(Codec(quality=q / 20).encode(image)) for q in range(80, 100)]
    gaps = [(a + b) // 2 for a, b in itertools.pairwise(steps) if b > 1.06 * a]
    most = gaps[0] if gaps else steps[10] + 3
    data = Codec(quality=4).encode(image, max_bytes=most)
    assert most * 0.96 <= len(data) <= most
    assert Codec().decode(data).shape == image.shape


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "effort", "least_gain"),
    [
        pytest.param(np.s_[:, :], 0, 0.0, id="photo"),
        pytest.param(np.s_[128:384, 384:768], 0, 0.0, id="crop"),
        # Where hardly anything changes from place to place, a channel's latents all cross from one integer to the next at one step:
        # that once costs 0.026 dB here at effort 0, and 0.017 at effort 1.
        pytest.param(
            np.s_[:256, :384],
            0,
            -0.02,
            id="smooth-crop",
            marks=pytest.mark.xfail(raises=AssertionError, strict=True, reason="falls by 0.0255 dB at quality 2.45 with these weights"),
        ),
        pytest.param(
            np.s_[:256, :384],
            1,
            -0.005,
            id="smooth-crop-effort-1",
            marks=pytest.mark.xfail(raises=AssertionError, strict=True, reason="falls by 0.0169 dB at quality 2.5 with these weights"),
        ),
    ],
)
def test_rate_and_psnr_rise_with_every_step(part, effort, least_gain):
    image = photo()[part]
    size, quality = 0, 0.0
    for code in range(20, 161):
        codec = Codec(quality=code / 20)
        data = codec.encode(image, effort=effort)
        error = np.square(codec.decode(data).astype(np.float64) - image).mean()
        psnr = 10 * math.log10(255**2 / error)
        assert len(data) >= size
        assert psnr >= quality + least_gain
        size, quality = len(data), max(quality, psnr)


def test_real_pictures_of_what_the_eye_sees(tmp_path, monkeypatch):
    pytest.importorskip("ssimulacra2")
    from PIL import Image

    from jahp_fast.search import perceived

    image = photo()[100:356, 200:584]
    codec, passes = Codec(quality=2), []
    measure = perceived.ssimulacra2
    monkeypatch.setattr(perceived, "ssimulacra2", lambda *pair: passes.append(1) or measure(*pair))
    for effort, wanted in ((0, 60.0), (1, 75.0)):
        passes.clear()
        data = codec.encode(image, effort=effort, target_ssimulacra2=wanted)
        assert abs(measure(image, codec.decode(data)) - wanted) < 1
        assert len(passes) <= 8
    Image.fromarray(image).save(tmp_path / "a.png")
    options = ["--target-ssimulacra2", "75", "-q", "2", "--effort", "1"]
    assert main(["encode", str(tmp_path / "a.png"), str(tmp_path / "a.jahp"), *options]) == 0
    assert (tmp_path / "a.jahp").read_bytes() == data
    with pytest.raises(UsageError, match=r"target_ssimulacra2 99 is more than this model gives: this image has \d\d\.\d\d at quality 8"):
        codec.encode(image, target_ssimulacra2=99)
    with pytest.raises(UsageError, match="effort, max_bytes and targets are for qualities up to 8"):
        codec.encode(image, target_ssimulacra2=70, lossless=True)
    with pytest.raises(UnsupportedImage, match="8 x 20 pixels has no SSIMULACRA 2"):
        codec.encode(image[:20, :8], target_ssimulacra2=70)
    monkeypatch.setattr(perceived, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="jahp_fast\\[eval\\]"):
        codec.encode(image, target_ssimulacra2=70)
