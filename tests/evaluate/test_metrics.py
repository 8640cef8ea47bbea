# SPDX-License-Identifier: Apache-2.0
"""Metrics against slow formulas written out independently, and against recorded values of pytorch-msssim and SciPy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jahp_fast.errors import UsageError
from jahp_fast.evaluate import metrics


def formula_pair(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A textured image and a disturbed copy, from integer formulas, so that recorded values stay valid."""
    y, x = np.indices((height, width))
    reference = np.stack([(7 * x + 3 * y) % 256, (x * y // 9) % 256, (5 * x * x // 40 + y) % 256], -1).astype(np.uint8)
    disturbance = ((x * 13 + y * 7) % 31 - 15)[..., None]
    return reference, np.clip(reference.astype(int) + disturbance, 0, 255).astype(np.uint8)


def test_psnr_is_the_written_out_formula():
    reference, decoded = formula_pair(5, 7)
    total = sum((int(reference[i, j, c]) - int(decoded[i, j, c])) ** 2 for i in range(5) for j in range(7) for c in range(3))
    assert metrics.psnr(reference, decoded) == pytest.approx(10 * math.log10(255**2 / (total / 105)), abs=1e-12)


def test_psnr_extremes():
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert metrics.psnr(black, white) == 0.0
    assert metrics.psnr(white, white) == math.inf
    grey = np.full((3, 3), 10, np.uint8)
    assert metrics.psnr(grey, grey + 1) == pytest.approx(48.1308036, abs=1e-6)


def slow_ssim_plane(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """SSIM and contrast-structure means of a plane: two-dimensional window, weighted moments at each position."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = 6.5025, 58.5225
    similarity, contrast = [], []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            variance_a, variance_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            covariance = (window * (a - mean_a) * (b - mean_b)).sum()
            cs = (2 * covariance + c2) / (variance_a + variance_b + c2)
            contrast.append(cs)
            similarity.append(cs * (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1))
    return float(np.mean(similarity)), float(np.mean(contrast))


def slow_ms_ssim(x: np.ndarray, y: np.ndarray) -> float:
    result = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        similarity, contrast = slow_ssim_plane(x, y)
        result *= max(similarity if scale == 4 else contrast, 0.0) ** weight
        x, y = slow_halve(x), slow_halve(y)
    return result


def slow_halve(plane: np.ndarray) -> np.ndarray:
    height, width = plane.shape
    get = lambda i, j: plane[i, j] if i >= 0 and j >= 0 else 0.0  # noqa: E731
    top, left = -(height % 2), -(width % 2)
    return np.array([
        [sum(get(i + a, j + b) for a in (0, 1) for b in (0, 1)) / 4 for j in range(left, width - 1, 2)]
        for i in range(top, height - 1, 2)
    ])  # fmt: skip


def test_ms_ssim_against_the_slow_formula():
    reference, decoded = formula_pair(161, 170)
    expected = slow_ms_ssim(reference[..., 1].astype(float), decoded[..., 1].astype(float))
    assert metrics.ms_ssim(reference[..., 1], decoded[..., 1]) == pytest.approx(expected, abs=1e-10)


def test_ms_ssim_against_pytorch_msssim():
    # pytorch-msssim 1.0.0, ms_ssim(float64, data_range=255); it builds its window in float32, hence the tolerance.
    assert metrics.ms_ssim(*formula_pair(161, 170)) == pytest.approx(0.9938874914, abs=1e-6)


def test_ms_ssim_orders_and_bounds():
    reference, decoded = formula_pair(161, 161)
    noise = np.random.default_rng(1).integers(0, 256, reference.shape).astype(np.uint8)
    assert metrics.ms_ssim(reference, reference) == pytest.approx(1.0, abs=1e-12)
    assert metrics.ms_ssim(reference, noise) < metrics.ms_ssim(reference, decoded) < 1.0
    # Anticorrelated images have negative structure; it is clipped, not raised to a power.
    assert metrics.ms_ssim(noise, 255 - noise) == 0.0
    per_plane = [metrics.ms_ssim(reference[..., c], decoded[..., c]) for c in range(3)]
    assert metrics.ms_ssim(reference, decoded) == pytest.approx(sum(per_plane) / 3, abs=1e-12)


@pytest.mark.parametrize(("shape", "defined"), [((160, 400), False), ((400, 160), False), ((161, 161), True), ((1, 1), False)])
def test_ms_ssim_is_nan_below_161(shape: tuple[int, int], defined: bool):
    image = np.zeros((*shape, 3), np.uint8)
    assert math.isnan(metrics.ms_ssim(image, image)) is not defined


def test_ms_ssim_db():
    assert metrics.ms_ssim_db(0.99) == pytest.approx(20.0)
    assert metrics.ms_ssim_db(1.0) == math.inf
    assert math.isnan(metrics.ms_ssim_db(math.nan))


@pytest.mark.parametrize(
    ("reference", "decoded", "word"),
    [
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8), "differ in shape"),
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 3), np.uint8), "float32"),
        (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
        (np.zeros((0, 4), np.uint8), np.zeros((0, 4), np.uint8), "not empty"),
    ],
)
def test_bad_pairs_are_named(reference: np.ndarray, decoded: np.ndarray, word: str):
    for metric in (metrics.psnr, metrics.ms_ssim):
        with pytest.raises(UsageError, match=word):
            metric(reference, decoded)


ANCHOR = ([9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851])


def test_bd_rate_against_scipy():
    # scipy.interpolate.PchipInterpolator 1.17.1 on log rate, integrated over the overlap.
    result = metrics.bd_rate(*ANCHOR, [9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987])
    assert result.percent == pytest.approx(-4.4174853506, abs=1e-9)
    assert (result.low, result.high) == (34.987, 40.037)


@given(st.floats(0.2, 5.0))
def test_bd_rate_of_a_scaled_curve_is_the_scale(factor: float):
    rate, quality = ANCHOR
    result = metrics.bd_rate(rate, quality, [factor * r for r in rate], quality)
    assert result.percent == pytest.approx(100 * (factor - 1), abs=1e-8)
    assert (result.low, result.high) == (min(quality), max(quality))


def test_bd_rate_of_exponential_curves():
    # log rate = a + b q is reproduced exactly by the cubics, so the mean difference is the difference of lines in mid-overlap.
    first, second = np.array([26.0, 28.0, 31.0, 36.0]), np.array([29.0, 30.0, 33.0, 37.0, 40.0])
    result = metrics.bd_rate(np.exp(0.1 + 0.2 * first), first, np.exp(0.3 + 0.17 * second), second)
    assert result.percent == pytest.approx(100 * (math.exp(0.2 - 0.03 * 32.5) - 1), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_bd_rate_against_a_numerical_integral(seed: int):
    """The interpolant is rebuilt at 20,001 points from the Hermite basis, slopes by the textbook formula, and summed."""
    rng = np.random.default_rng(seed)
    curves = []
    for _ in range(2):
        quality = np.cumsum(rng.uniform(0.4, 3.0, rng.integers(4, 9))) + 28
        curves.append((np.exp(np.cumsum(rng.normal(0.3, 0.4, quality.size))), quality))
    result = metrics.bd_rate(*curves[0], *curves[1])
    grid = np.linspace(result.low, result.high, 20001)
    difference = slow_pchip(curves[1][1], np.log(curves[1][0]), grid) - slow_pchip(curves[0][1], np.log(curves[0][0]), grid)
    mean = (difference.sum() - (difference[0] + difference[-1]) / 2) / 20000
    assert math.log1p(result.percent / 100) == pytest.approx(mean, abs=1e-5)


def slow_pchip(x: np.ndarray, f: np.ndarray, at: np.ndarray) -> np.ndarray:
    n = len(x)
    h = [x[i + 1] - x[i] for i in range(n - 1)]
    s = [(f[i + 1] - f[i]) / h[i] for i in range(n - 1)]
    d = [0.0] * n
    for i in range(1, n - 1):
        if s[i - 1] * s[i] > 0:
            w1, w2 = 2 * h[i] + h[i - 1], h[i] + 2 * h[i - 1]
            d[i] = (w1 + w2) / (w1 / s[i - 1] + w2 / s[i])
    for end, (h0, h1, s0, s1) in {0: (h[0], h[1], s[0], s[1]), n - 1: (h[-1], h[-2], s[-1], s[-2])}.items():
        slope = ((2 * h0 + h1) * s0 - h0 * s1) / (h0 + h1)
        if np.sign(slope) != np.sign(s0):
            slope = 0.0
        elif np.sign(s0) != np.sign(s1) and abs(slope) > 3 * abs(s0):
            slope = 3 * s0
        d[end] = slope
    i = np.clip(np.searchsorted(x, at, "right") - 1, 0, n - 2)
    hi, d = np.array(h)[i], np.array(d)
    t = (at - x[i]) / hi
    return (
        (1 + 2 * t) * (1 - t) ** 2 * f[i] + t * (1 - t) ** 2 * hi * d[i]
        + t**2 * (3 - 2 * t) * f[i + 1] + t**2 * (t - 1) * hi * d[i + 1]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rate", "quality", "word"),
    [
        ([1, 2, 3], [30, 31, 32], "at least 4 points"),
        ([1, 2, 3, 4], [30, 31, 31, 32], "same quality"),
        ([1, 2, 3, 4], [50, 51, 52, 53], "no overlap"),
        ([0, 2, 3, 4], [35, 36, 37, 38], "positive"),
        ([1, 2, 3, 4], [35, 36, math.nan, 38], "finite"),
    ],
)
def test_bd_rate_refuses(rate: list[float], quality: list[float], word: str):
    with pytest.raises(UsageError, match=word):
        metrics.bd_rate(*ANCHOR, rate, quality)
