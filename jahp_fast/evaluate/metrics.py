# SPDX-License-Identifier: Apache-2.0
"""Distortion of 8-bit images, and the average rate difference of two rate-distortion curves. NumPy alone.

Images are uint8 arrays of shape (H, W, 3) or (H, W); both arguments of a distortion have one shape. Arithmetic is float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import UsageError

PEAK = 255.0

# Wang, Simoncelli and Bovik, "Multiscale structural similarity for image quality assessment" (Asilomar 2003), section 3.2.
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_TAPS = 11
MS_SSIM_SIGMA = 1.5
# The 11-tap window must fit the image halved four times over; below this side MS-SSIM of five scales does not exist.
MS_SSIM_MIN_SIDE = (MS_SSIM_TAPS - 1) * 2 ** (len(MS_SSIM_WEIGHTS) - 1) + 1

BD_MIN_POINTS = 4


def check_pair(reference: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> None:
    """Raise UsageError unless both are uint8 images of one shape, (H, W, 3) or (H, W), with at least one pixel."""
    for name, image in (("reference", reference), ("decoded", decoded)):
        if image.dtype != np.uint8:
            raise UsageError(f"{name} image has dtype {image.dtype}: metrics are defined on uint8")
        if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or image.size == 0:
            raise UsageError(f"{name} image has shape {image.shape}: expected (H, W, 3) or (H, W), not empty")
    if reference.shape != decoded.shape:
        raise UsageError(f"images differ in shape: {reference.shape} and {decoded.shape}")


def mse(reference: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Mean squared error over all samples of all channels, in squared grey levels (0 to 65025)."""
    check_pair(reference, decoded)
    difference = reference.astype(np.int32) - decoded.astype(np.int32)
    return float(np.mean(np.square(difference), dtype=np.float64))


def psnr(reference: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(255^2 / MSE), the MSE being the mean of the channels'; inf for equal images."""
    error = mse(reference, decoded)
    return math.inf if error == 0.0 else 10.0 * math.log10(PEAK * PEAK / error)


def ms_ssim(reference: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Multi-scale structural similarity, 0 to 1: five scales, 11-tap Gaussian window of sigma 1.5, mean of the channels.

    Follows Wang et al. 2003 with the border and pooling rules of the `pytorch-msssim` package, which the field reports with:
    windows inside the image only, 2x2 means between scales with one zero row or column before an odd side, negative
    similarities clipped to zero. Returns nan where a side is below 161 pixels: fewer scales would give a number
    that cannot be compared with any other.
    """
    check_pair(reference, decoded)
    if min(reference.shape[:2]) < MS_SSIM_MIN_SIDE:
        return math.nan
    planes = [(reference, decoded)] if reference.ndim == 2 else [(reference[..., c], decoded[..., c]) for c in range(3)]
    return sum(_ms_ssim_plane(x.astype(np.float64), y.astype(np.float64)) for x, y in planes) / len(planes)


def ms_ssim_db(value: float) -> float:
    """MS-SSIM on a logarithmic scale, -10 log10(1 - value) in dB, on which curves are drawn; inf for 1, nan for nan."""
    return math.inf if value >= 1.0 else -10.0 * math.log10(1.0 - value)


def _ms_ssim_plane(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    result = 1.0
    last = len(MS_SSIM_WEIGHTS) - 1
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        luminance_contrast, contrast = _ssim_means(x, y)
        result *= max(luminance_contrast if scale == last else contrast, 0.0) ** weight
        if scale < last:
            x, y = _halve(x), _halve(y)
    return result


def _ssim_means(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Means over all window positions of SSIM and of its contrast-structure factor."""
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    mean_xy = mean_x * mean_y
    squares = mean_x * mean_x + mean_y * mean_y
    # The two variances enter only as their sum, so one filtering serves both.
    variances = _blur(x * x + y * y) - squares
    covariance = _blur(x * y) - mean_xy
    contrast = (2.0 * covariance + c2) / (variances + c2)
    luminance = (2.0 * mean_xy + c1) / (squares + c1)
    return float(np.mean(luminance * contrast)), float(np.mean(contrast))


def _blur(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Separable Gaussian of MS_SSIM_TAPS taps at every position where it fits: (H, W) -> (H - 10, W - 10)."""
    height, width = plane.shape[0] - 2 * _CENTRE, plane.shape[1] - 2 * _CENTRE
    rows = plane[_CENTRE : _CENTRE + height] * _WINDOW[_CENTRE]
    for k in range(_CENTRE):
        rows += (plane[k : k + height] + plane[2 * _CENTRE - k : 2 * _CENTRE - k + height]) * _WINDOW[k]
    total: NDArray[np.float64] = rows[:, _CENTRE : _CENTRE + width] * _WINDOW[_CENTRE]
    for k in range(_CENTRE):
        total += (rows[:, k : k + width] + rows[:, 2 * _CENTRE - k : 2 * _CENTRE - k + width]) * _WINDOW[k]
    return total


def _gaussian_window() -> NDArray[np.float64]:
    offsets = np.arange(MS_SSIM_TAPS) - MS_SSIM_TAPS // 2
    window = np.exp(-(offsets**2) / (2.0 * MS_SSIM_SIGMA**2))
    normalised: NDArray[np.float64] = window / window.sum()
    return normalised


_WINDOW = _gaussian_window()
_CENTRE = MS_SSIM_TAPS // 2


def _halve(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """2x2 means; an odd side first gets one zero row or column before it."""
    height, width = plane.shape
    plane = np.pad(plane, ((height % 2, 0), (width % 2, 0)))
    sums: NDArray[np.float64] = plane[0::2, 0::2] + plane[0::2, 1::2] + plane[1::2, 0::2] + plane[1::2, 1::2]
    return sums * 0.25


@dataclass(frozen=True)
class BDRate:
    """Average rate difference: `percent` more bits (negative: fewer) than the anchor, over qualities `low` to `high`."""

    percent: float
    low: float
    high: float


def bd_rate(anchor_rate: Sequence[float], anchor_quality: Sequence[float], rate: Sequence[float], quality: Sequence[float]) -> BDRate:
    """Bjontegaard's rate difference (VCEG-M33) of the second curve against the anchor, at equal quality.

    Log rate is interpolated as a function of quality by a monotone piecewise cubic (PCHIP, as in the JVET reports) through
    at least four points a curve; the mean difference over the qualities that both curves reach is returned as a percentage of
    the anchor's rate, with that range. Rates are positive, in any one unit; qualities are finite, in dB. Raises UsageError for
    fewer points, two points of one quality, or curves that do not overlap.
    """
    first, second = _curve("anchor", anchor_rate, anchor_quality), _curve("tested curve", rate, quality)
    low, high = max(first[0][0], second[0][0]), min(first[0][-1], second[0][-1])
    if not low < high:
        raise UsageError("no overlap: the two curves reach no quality in common")
    difference = (_integral(*second, low, high) - _integral(*first, low, high)) / (high - low)
    return BDRate(100.0 * math.expm1(difference), float(low), float(high))


def _curve(name: str, rate: Sequence[float], quality: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(quality ascending, log rate), checked."""
    x, r = np.asarray(quality, np.float64), np.asarray(rate, np.float64)
    if x.shape != r.shape or x.ndim != 1 or x.size < BD_MIN_POINTS:
        raise UsageError(f"{name}: BD-rate needs at least {BD_MIN_POINTS} points of rate and quality, got {r.size} and {x.size}")
    if not (np.isfinite(x).all() and np.isfinite(r).all() and (r > 0).all()):
        raise UsageError(f"{name}: BD-rate needs finite qualities and positive finite rates")
    order = np.argsort(x)
    x = x[order]
    if not (np.diff(x) > 0).all():
        raise UsageError(f"{name}: two points have the same quality")
    return x, np.log(r[order])


def _slopes(x: NDArray[np.float64], f: NDArray[np.float64]) -> NDArray[np.float64]:
    """PCHIP derivatives at the knots (Fritsch and Butland 1984; one-sided three-point formula at the ends)."""
    h, secant = np.diff(x), np.diff(f) / np.diff(x)
    slopes = np.zeros_like(x)
    left, right = 2.0 * h[1:] + h[:-1], h[1:] + 2.0 * h[:-1]
    # Where the secants change sign the slope stays 0; that keeps the interpolant free of overshoot.
    same = secant[:-1] * secant[1:] > 0
    slopes[1:-1][same] = (left + right)[same] / (left[same] / secant[:-1][same] + right[same] / secant[1:][same])
    slopes[0] = _end_slope(h[0], h[1], secant[0], secant[1])
    slopes[-1] = _end_slope(h[-1], h[-2], secant[-1], secant[-2])
    return slopes


def _end_slope(h0: float, h1: float, s0: float, s1: float) -> float:
    slope = ((2.0 * h0 + h1) * s0 - h0 * s1) / (h0 + h1)
    if slope * s0 <= 0:
        return 0.0
    return float(3.0 * s0 if s0 * s1 < 0 and abs(slope) > abs(3.0 * s0) else slope)


def _integral(x: NDArray[np.float64], f: NDArray[np.float64], low: float, high: float) -> float:
    """Integral of the PCHIP interpolant through (x, f) from low to high, both within [x[0], x[-1]]; exact, piece by piece."""
    d = _slopes(x, f)
    total = 0.0
    for i in range(x.size - 1):
        a, b, h = max(low, x[i]), min(high, x[i + 1]), x[i + 1] - x[i]
        if a < b:
            total += h * (
                _hermite_integral(f[i], f[i + 1], h * d[i], h * d[i + 1], (b - x[i]) / h)
                - _hermite_integral(f[i], f[i + 1], h * d[i], h * d[i + 1], (a - x[i]) / h)
            )
    return float(total)


def _hermite_integral(f0: float, f1: float, d0: float, d1: float, t: float) -> float:
    """Integral over 0..t of the cubic on [0, 1] with end values f0, f1 and end slopes d0, d1."""
    c2, c3 = 3.0 * (f1 - f0) - 2.0 * d0 - d1, 2.0 * (f0 - f1) + d0 + d1
    return t * (f0 + t * (d0 / 2.0 + t * (c2 / 3.0 + t * c3 / 4.0)))
