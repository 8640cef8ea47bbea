# SPDX-License-Identifier: Apache-2.0
"""The two transforms that CompressAI's own scripts name, working, so that its registry of transforms is not empty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy
import torch


class Compose:
    """Applies `transforms` one after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image


class ToTensor:
    """PIL RGB image or uint8 array (H, W, 3) -> float tensor (3, H, W) in [0, 1]."""

    def __call__(self, image: Any) -> torch.Tensor:
        array = numpy.array(image, dtype=numpy.uint8)
        return torch.from_numpy(array).permute(2, 0, 1).float().div(255)
