# SPDX-License-Identifier: Apache-2.0
"""The checksum of the symbols in torch, for tensors that lie on a device; `_native.symbol_checksum` is the CPU's."""

from __future__ import annotations

import torch
from torch import Tensor


def symbol_checksums(z: Tensor, y: Tensor) -> Tensor:
    """(B,) int64: docs/reference/format.md, "Checksum of the symbols", of z (B, ...) and y (B, ...) int32, on their
    device, without waiting."""
    values = torch.cat([z.flatten(1), y.flatten(1)], 1)
    h = torch.arange(values.shape[1], dtype=torch.int32, device=values.device) * _signed(0x9E3779B1) + values * _signed(0x85EBCA77)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        h = (h ^ (h >> shift & (1 << 32 - shift) - 1)) * _signed(factor)
    return (h ^ (h >> 15 & (1 << 17) - 1)).sum(1, dtype=torch.int64) & 0xFFFFFFFF


def _signed(word: int) -> int:
    """The 32-bit word as int32: products wrap alike."""
    return word - (1 << 32) if word >> 31 else word
