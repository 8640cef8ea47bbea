# SPDX-License-Identifier: Apache-2.0
"""Numbers of the model family that both the modules in torch and the codec without it go by."""

from __future__ import annotations

import math

import numpy as np

LAMBDAS = (0.0018, 0.0035, 0.0067, 0.013, 0.025, 0.0483, 0.0932, 0.18)
"""The paper's trade-offs, on 255^2 * MSE, quality 1 to 8."""
STRIDE = 16
"""Image pixels per latent, in each direction."""
HYPER_STRIDE = 64
"""Image pixels per hyper-latent."""
LAYER_BASE = 4.0
"""Above quality 8 a picture of this quality is coded, and a layer over it."""
SMOOTH_PIXELS = 64
"""Pictures whose payload of that quality has less than a byte for so many pixels get a finer one below their layer."""
MOST_QUALITY = 12.0
QUALITY_STEPS = 20
"""A file's quality is in steps of 1/20."""
GDN_PEDESTAL = 2.0**-36
GDN_BETA_MIN = 1e-6
"""GDN's parameters are stored as sqrt(value + pedestal); values are held at this (beta) and 0 (gamma) or above."""
BY_ROW = (4, 6)
"""The layers of g_s of which a model of several rows of gains has one for each."""


def trade_off(quality: float) -> float:
    """λ of a quality, 1 to 8: geometric between the paper's."""
    return float(np.exp(np.interp(quality, np.arange(1, 9), np.log(LAMBDAS))))


def layer_step(quality: float) -> int:
    """The quantiser's step, in sixteenths, of a quality above 8: 12 grey levels at quality 9, and 3/4 of that for each one more."""
    return round(192 * math.pow(0.75, quality - 9))


def smooth_base(quality: float) -> float:
    """The quality below the layer of a smooth picture (docs/lab/047-a-base-by-picture.md)."""
    return 7.0 if quality <= 10.5 else 5.0


def layer_quality(step: int) -> float:
    """The quality, in steps of 1/20, whose quantiser has the step, or the nearest to it."""
    return round(QUALITY_STEPS * (9 + float(np.log(step / 192) / np.log(0.75)))) / QUALITY_STEPS
