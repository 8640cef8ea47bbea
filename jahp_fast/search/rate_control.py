# SPDX-License-Identifier: Apache-2.0
"""Rate control: the quality at which an image's file has a wanted size, or its picture a wanted PSNR or SSIMULACRA 2.

Qualities are steps of 0.05, and the logarithm of a file's size is nearly linear in them, so a secant through the two nearest sizes
known finds the step in few encodings. Where one step changes the size by more than a file may miss its goal by (small images), the
symbols of the step above are trimmed: rounded nearer to their means, harder and harder, until the file is just small enough.
PSNR rises by about 0.06 dB a step, all but evenly, and SSIMULACRA 2 by half a point, so the same secant finds the step that comes
nearest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any, TypeVar

from jahp_fast.arguments import number, whole
from jahp_fast.constants import QUALITY_STEPS
from jahp_fast.errors import UsageError

TOLERANCE = 0.02
"""Share of the goal by which a file may miss it before its symbols are trimmed."""
_CLOSE = 0.004
"""A file this near to its goal ends the search: less than a third of what a step of quality changes."""
_SLOPE = 0.0135
"""Rise of the logarithm of the size from one step to the next, before two sizes are known: the shipped model's on its training photos."""
BEST_PSNR = 100.0
"""In dB, that of equal pictures too: no 8-bit picture that differs reaches it."""
_TRIMS = 6
File = TypeVar("File", bound=Sized)
"""Its length is the file's, in bytes."""
_HARDEST, _SOFTEST = 6.0, -6.0
"""Bounds of the trim: base-2 logarithms of the factor of the rate in what rounding minimises."""


@dataclass(frozen=True)
class Goal:
    """Sizes in bytes of a whole file. goal: as near to it as can be; most: never above it (infinity where only the bpp is wanted)."""

    goal: float
    most: float

    def badness(self, size: int) -> float:
        """How far a size is from the goal, in logarithms; infinite where it is not allowed."""
        return math.inf if size > self.most else abs(math.log(size / self.goal))


@dataclass(frozen=True)
class Score:
    """What a picture can be judged by, the more the better.

    Attributes:
        argument: of Codec.encode.
        unit: with the space before it.
        best: no picture that differs has more.
        close: a picture this near to its goal ends the search.
        slope: rise from one step of quality to the next, before two are known: the shipped model's on its training photos.
    """

    argument: str
    unit: str
    best: float
    close: float
    slope: float


PSNR = Score("target_psnr", " dB", BEST_PSNR, 0.02, 0.064)
"""Over all samples but alpha."""
SSIMULACRA2 = Score("target_ssimulacra2", "", 100.0, 0.2, 0.5)


@dataclass(frozen=True)
class ScoreGoal:
    """A score that a picture is to come near to."""

    score: Score
    wanted: float


def psnr_of(squares: int, samples: int) -> float:
    """In dB, at most BEST_PSNR, of the sum of so many samples' squared errors."""
    return min(BEST_PSNR, 10 * math.log10(255**2 * samples / squares)) if squares else BEST_PSNR


def goal_of(
    max_bytes: Any, target_bpp: Any, pixels: int, target_psnr: Any = None, target_ssimulacra2: Any = None
) -> Goal | ScoreGoal | None:
    """What the arguments of Codec.encode ask for an image of so many pixels; None if nothing. Raises UsageError for what is no size or
    score, and for more than one."""
    scores = [(s, value) for s, value in ((PSNR, target_psnr), (SSIMULACRA2, target_ssimulacra2)) if value is not None]
    if scores:
        (score, value), *more = scores
        if more:
            raise UsageError("target_psnr and target_ssimulacra2 do not go together: a file has one quality")
        if max_bytes is not None or target_bpp is not None:
            raise UsageError(f"{score.argument} goes with neither max_bytes nor target_bpp: a file has one quality")
        wanted = number(score.argument, value)
        if not 0 < wanted < score.best:
            raise UsageError(f"{score.argument} must lie between 0 and {score.best:g}{score.unit}, not {value!r}")
        return ScoreGoal(score, wanted)
    max_bytes = None if max_bytes is None else whole("max_bytes", max_bytes, 1)
    target_bpp = None if target_bpp is None else number("target_bpp", target_bpp)
    if target_bpp is not None and target_bpp <= 0:
        raise UsageError(f"target_bpp must be a positive number, not {target_bpp!r}")
    if max_bytes is None and target_bpp is None:
        return None
    most = math.inf if max_bytes is None else float(max_bytes)
    return Goal(most if target_bpp is None else min(most, target_bpp * pixels / 8), most)


def too_small(goal: Goal, lowest: int, size: int) -> UsageError:
    """What is said of a goal that the lowest quality misses by such a size."""
    return UsageError(
        f"{math.floor(goal.goal)} bytes are too few for this image: at quality {lowest / QUALITY_STEPS:g}, the lowest, it takes {size}"
    )


def fit(
    encode: Callable[[int], File],
    trim: Callable[[int, float], File] | None,
    codes: tuple[int, int],
    start: int,
    goal: Goal,
) -> File:
    """The file that comes nearest to the goal.

    Args:
        encode: quality code (steps of 0.05) -> the file.
        trim: (code, factor of the rate) -> the file with symbols rounded by rate and distortion; None where a model cannot.
        codes: the lowest and the highest that the model has.
        start: the code to begin with.

    Returns:
        A file within TOLERANCE of the goal where steps and trimming reach it; the highest quality's if that is still smaller.

    Raises:
        UsageError: the lowest quality is more than TOLERANCE too big, or above goal.most.
    """
    lowest, highest = codes
    sizes: dict[int, int] = {}
    best: File | None = None
    badness = math.inf

    def consider(file: File) -> int:
        nonlocal best, badness
        if best is None or goal.badness(len(file)) < badness:
            best, badness = file, goal.badness(len(file))
        return len(file)

    code = min(max(start, lowest), highest)
    while code not in sizes:
        sizes[code] = consider(encode(code))
        if badness <= _CLOSE:
            break
        code = _next({c: math.log(size / goal.goal) for c, size in sizes.items()}, lowest, highest, _SLOPE)
    under = [c for c, size in sizes.items() if size <= goal.goal]
    if not under and (badness > math.log1p(TOLERANCE)):
        raise too_small(goal, lowest, sizes[lowest])
    above = [c for c, size in sizes.items() if size > goal.goal]
    if trim is not None and above and badness > math.log1p(TOLERANCE):
        soft, hard = _SOFTEST, _HARDEST
        for _ in range(_TRIMS):
            middle = (soft + hard) / 2
            if consider(trim(min(above), 2.0**middle)) > goal.goal:
                soft = middle
            else:
                hard = middle
            if badness <= math.log1p(TOLERANCE) / 2:
                break
    assert best is not None
    return best


def begin_at(offset: Callable[[int], float], codes: tuple[int, int], start: int, goal: Goal | ScoreGoal) -> int:
    """The code of the nearest offset, for a dearer search to begin with.

    Args:
        offset: quality code -> how far a file of it is above the goal, in logarithms or as its score counts.
        codes, start: as `fit` takes them.
    """
    offsets: dict[int, float] = {}
    code = min(max(start, codes[0]), codes[1])
    while code not in offsets:
        offsets[code] = offset(code)
        code = _next(offsets, *codes, goal.score.slope if isinstance(goal, ScoreGoal) else _SLOPE)
    return min(offsets, key=lambda c: (abs(offsets[c]), c))


def fit_score(encode: Callable[[int], tuple[File, float]], codes: tuple[int, int], start: int, goal: ScoreGoal) -> File:
    """The file whose score comes nearest to a wanted one; the lowest quality's if that is still better.

    Args:
        encode: quality code -> the file and its score.
        codes, start: as `fit` takes them.

    Raises:
        UsageError: the highest quality is worse by more than a step.
    """
    lowest, highest = codes
    best: tuple[tuple[float, int], File] | None = None
    offsets: dict[int, float] = {}
    code = min(max(start, lowest), highest)
    while code not in offsets:
        file, reached = encode(code)
        offsets[code] = reached - goal.wanted
        if best is None or (abs(offsets[code]), code) < best[0]:
            best = (abs(offsets[code]), code), file
        if abs(offsets[code]) <= goal.score.close:
            return file
        code = _next(offsets, lowest, highest, goal.score.slope)
    if offsets.get(highest, 0.0) < -goal.score.slope:
        raise UsageError(
            f"{goal.score.argument} {goal.wanted:g}{goal.score.unit} is more than this model gives: this image has "
            f"{goal.wanted + offsets[highest]:.2f}{goal.score.unit} at quality {highest / QUALITY_STEPS:g}, the highest"
        )
    assert best is not None
    return best[1]


def _next(offsets: dict[int, float], lowest: int, highest: int, slope: float) -> int:
    """The code to try next; one that is known when the search has ended. From the fifth on every other is a bisection.

    Args:
        offsets: by code, how far above the goal it came; rising.
        slope: of the offsets from one code to the next, before two are known.
    """
    passes = len(offsets)
    low = max((c for c, v in offsets.items() if v <= 0), default=None)
    high = min((c for c, v in offsets.items() if v > 0), default=None)
    if low is None or high is None:
        known = high if low is None else low
        assert known is not None
        ranked = sorted(offsets)
        if len(ranked) > 1 and offsets[ranked[-1]] > offsets[ranked[0]]:
            slope = (offsets[ranked[-1]] - offsets[ranked[0]]) / (ranked[-1] - ranked[0])
        step = math.ceil(abs(offsets[known]) / slope)
        return min(max(known + step if high is None else known - step, lowest), highest)
    if high - low <= 1:
        return low
    share = 0.5 if passes >= 4 and passes % 2 == 0 else -offsets[low] / (offsets[high] - offsets[low])
    return min(max(low + round(share * (high - low)), low + 1), high - 1)
