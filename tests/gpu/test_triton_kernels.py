# SPDX-License-Identifier: Apache-2.0
"""Triton kernels of the layers and of the table rows, one by one, against their plain versions and the NumPy oracle."""

import numpy as np
import pytest
import torch
from builders import random_layer

from jahp_fast.entropy.integer_net import PARAMETER_LIMIT, IntegerLayer
from jahp_fast.kernels.conv_i8 import conv_i8, conv_i8_reference
from jahp_fast.kernels.packing import LINE, PackedInput, PackedScales, pack_layer
from jahp_fast.kernels.requantise import requantise, requantise_reference
from jahp_fast.kernels.reveal import reveal, reveal_reference
from jahp_fast.kernels.symbol_rows import symbol_rows, symbol_rows_reference

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def on(array, dtype=np.int32):
    return torch.from_numpy(np.ascontiguousarray(array, dtype)).to(DEVICE)


def test_triton_requantise():
    rng = np.random.default_rng(0)
    mul = rng.choice([0, 1, 3, 2**30 + 1, 2**31 - 1], (2, 130))
    shift, zero = rng.integers(1, 63, 130), rng.choice([-4095, -1, 0, 1, 4095], 130)
    shift[:4] = 1, 31, 32, 62
    mul[:, 60:], shift[60:], zero[60:] = rng.integers(2**29, 2**31, (2, 70)), rng.integers(45, 56, 70), rng.integers(-9, 10, 70)
    rule = np.stack([*mul, shift, zero])
    total = rng.integers(-(2**31) + 1, 2**31, (9, 130)) >> rng.integers(0, 31, (9, 130))
    total[:5] = np.array([0, -1, 1, 2**31 - 1, -(2**31) + 1])[:, None]
    for limit in (127, 4095, PARAMETER_LIMIT):
        layer = IntegerLayer(np.zeros((130, 1, 1, 1), np.int8), np.zeros(130, np.int32), *rule, limit)
        want = layer.requantise(total.astype(np.float64))
        assert len(np.unique(want)) > 50
        assert np.array_equal(requantise_reference(on(total), on(rule), limit).cpu(), want)
        assert np.array_equal(requantise(on(total), on(rule), limit).cpu(), want)


def random_planes(rng, sizes, channels, limit, mode):
    """One plane a size, (h, w, channels); at mode "edge" at the limits alone."""
    if mode == "edge":
        return [rng.choice([-limit, limit], (h, w, channels)) for h, w in sizes]
    return [rng.integers(-limit, limit + 1, (h, w, channels)) for h, w in sizes]


def oracle(layer, kind, x, height, width):
    if kind == "transposed":
        return layer.transposed(x)
    if kind == "conv":
        return layer.convolve(x)[:height, :width]
    causal = layer.weight.copy()
    causal.reshape(*causal.shape[:2], -1)[:, :, causal.shape[2] ** 2 // 2 :] = 0
    return IntegerLayer(causal, layer.bias, layer.mul_pos, layer.mul_neg, layer.shift, layer.zero, layer.out_limit).convolve(x)


@pytest.mark.parametrize(("limit", "mode"), [(127, "typical"), (4095, "edge")])
@pytest.mark.parametrize(("kind", "kernel"), [("conv", 1), ("conv", 3), ("masked", 5), ("transposed", 5)])
def test_triton_conv(kind, kernel, limit, mode):
    """Two images in one launch, one of them a single position; 70 inputs take two lines of channels."""
    rng = np.random.default_rng(kernel + limit)
    inputs, outputs = (70, 3) if mode == "typical" else (3, 66)
    tensors = random_layer(rng, "x", outputs, inputs, kernel, limit, limit, limit / 2, mode)
    layer = IntegerLayer.from_tensors(tensors, "x", limit)
    packed = pack_layer(tensors, "x", limit, DEVICE, kind)
    sizes = [(1, 1), (4, 5)]
    images = random_planes(rng, sizes, inputs, limit, mode)
    grow = 2 if kind == "transposed" else 1
    shapes, first = [], 0
    for h, w in sizes:
        shapes.append((h, w, first, grow * h, grow * w, grow * grow * first))
        first += h * w
    dtype = torch.int8 if limit == 127 else torch.int16
    x = torch.zeros(first, packed.inputs, dtype=dtype, device=DEVICE)
    x[:, :inputs] = torch.from_numpy(np.concatenate([image.reshape(-1, inputs) for image in images])).to(dtype)
    out = torch.full((grow * grow * first, packed.outputs), 99, dtype=dtype, device=DEVICE)
    conv_i8(x, packed, out, on(shapes, np.int64), 20)
    for image, (h, w, at, rows, columns, target) in zip(images, shapes, strict=True):
        want = oracle(layer, kind, image, rows, columns)
        plain = conv_i8_reference(x[at : at + h * w].view(h, w, -1), packed, rows, columns)
        got = out[target : target + rows * columns].view(rows, columns, -1)
        assert np.array_equal(plain[..., :outputs].cpu(), want)
        assert torch.equal(got.int(), plain)
        assert not got[..., outputs:].any()


def test_triton_conv_crops_and_starts():
    """The output may be smaller than the input; sums may begin with what another layer left, and stay sums."""
    rng = np.random.default_rng(1)
    tensors = random_layer(rng, "x", 6, 4, 3, 127, 127, 60, "typical")
    packed = pack_layer(tensors, "x", 127, DEVICE, groups=2)
    x = torch.zeros(30, packed.inputs, dtype=torch.int8, device=DEVICE)
    x[:, :4] = on(rng.integers(-127, 128, (30, 4)), np.int8)
    start = on(rng.integers(-(2**20), 2**20, (12, packed.outputs)))
    shapes = on([[5, 6, 0, 3, 4, 0]], np.int64)
    raw = conv_i8(x, packed, torch.empty_like(start), shapes, 12, start=start, raw=True)
    assert torch.equal(raw, conv_i8_reference(x.view(5, 6, -1), packed, 3, 4, start.view(3, 4, -1), raw=True).view(12, -1))
    got = conv_i8(x, packed, torch.empty_like(start), shapes, 12)
    want = IntegerLayer.from_tensors(tensors, "x", 127).convolve(x[:, :4].cpu().numpy().reshape(5, 6, 4).astype(np.int64))[:3, :4]
    assert np.array_equal(got.view(3, 4, 2, LINE)[..., :3].reshape(3, 4, 6).cpu(), want)


def test_triton_reveal():
    rng = np.random.default_rng(2)
    values = rng.integers(-(32767 << 8), (32767 << 8) + 1, (19, 70))
    values[:2] = np.array([32767 << 8, -32767 << 8])[:, None]
    rule = PackedInput(
        on(rng.choice([-32768, -8, 8, 32768], 70)), on(rng.choice([-(2**31), 0, 2**31 - 1], 70)), on(rng.integers(0, 32, 70))
    )
    for limit, dtype in ((127, torch.int8), (4095, torch.int16)):
        got = reveal(on(values), rule, torch.full((19, 128), 99, dtype=dtype, device=DEVICE), limit)
        mul, add, shift = (part.cpu().numpy().astype(np.int64) for part in (rule.mul, rule.add, rule.shift))
        want = np.clip((values * mul + add) >> shift, -limit, limit)
        assert np.array_equal(reveal_reference(on(values), rule, limit).cpu(), want)
        assert np.array_equal(got[:, :70].cpu(), want)
        assert not got[:, 70:].any()


@pytest.mark.parametrize("scales", [1, 2, 64])
@pytest.mark.parametrize("form_b", [False, True])
def test_triton_symbol_rows(form_b, scales):
    rng = np.random.default_rng(scales)
    thresholds = np.sort(rng.integers(-50, 50, scales - 1))
    row, drop = rng.integers(0, 1000, scales), rng.integers(0, 7, scales)
    packed = PackedScales(on(np.append(thresholds, 0)), on(row), on(drop), scales - 1, (scales - 1).bit_length())
    images = [(2, 0, 0), (3, 2, scales // 2 + 1)]  # positions, first, skip
    scale, mean = rng.integers(-60, 60, (5, 300)), rng.integers(-PARAMETER_LIMIT, PARAMETER_LIMIT + 1, (5, 300))
    scale[0, :2], mean[1, :4] = (-PARAMETER_LIMIT, PARAMETER_LIMIT), (-1, 0, PARAMETER_LIMIT, -PARAMETER_LIMIT)
    features = np.zeros((5, 640), np.int32)
    features[:, :300], features[:, 320:620] = scale, mean
    for means in (True, False):
        rows, shifts = (torch.empty(5, 300, dtype=torch.int32, device=DEVICE) for _ in range(2))
        rule = {"mean_bits": 6, "form_b": form_b}
        symbol_rows(on(features), packed, on(images, np.int64), 3, **rule, means=means, rows=rows, shifts=shifts)
        used = mean if means else np.zeros_like(mean)
        index = np.searchsorted(thresholds, scale, side="right")
        for count, first, skip in images:
            part = slice(first, first + count)
            want_row, want_shift = row[index], used
            if not form_b:
                want_row, want_shift = want_row + ((used & 63) >> drop[index]), used >> 6
            skipped = index < skip
            want = np.where(skipped, -1, want_row)[part], np.where(skipped, used if form_b else (used + 32) >> 6, want_shift)[part]
            plain = symbol_rows_reference(on(scale[part]), on(used[part]), packed, skip, **rule)
            for got, expected, other in zip((rows[part], shifts[part]), want, plain, strict=True):
                assert np.array_equal(other.cpu(), expected)
                assert np.array_equal(got.cpu(), expected)
