# SPDX-License-Identifier: Apache-2.0
"""Transforms in bfloat16 from Python. csrc/tests/test_matmul_bf16.cpp compares the products with the oracle, bit for bit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from builders import photo

from jahp_fast import Codec, UsageError, _native

needs_bf16 = pytest.mark.skipif(not _native.has_bf16(), reason="this CPU lacks AVX512-BF16")


@pytest.fixture
def image():
    return np.ascontiguousarray(photo()[100:260, 200:408])


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@needs_bf16
def test_the_loss_is_small_and_latents_stay_exact(image):
    exact, bf16 = Codec(quality=6), Codec(quality=6, bf16=True)
    data = exact.encode(image)
    want, got = exact.decode(data), bf16.decode(data)
    assert np.abs(want.astype(int) - got).max() <= 8
    assert not np.array_equal(want, got)  # or it would be the same net
    assert psnr(image, got) > psnr(image, want) - 0.1
    assert np.array_equal(exact.decode_latents(data).y, bf16.decode_latents(data).y)
    other = bf16.encode(image)
    assert psnr(image, exact.decode(other)) > psnr(image, want) - 0.1
    assert abs(len(other) - len(data)) < 0.02 * len(data)


@needs_bf16
def test_threads_strips_and_batches_change_no_pixel(image):
    one, two = (Codec(quality=3, bf16=True, threads=n) for n in (1, 2))
    data = one.encode(image)
    assert two.encode(image) == data
    pixels = one.decode(data)
    assert np.array_equal(two.decode(data), pixels)
    assert np.array_equal(np.concatenate(list(two.decode_rows(data))), pixels)
    assert np.array_equal(two.decode_batch([data, data])[1], pixels)


@needs_bf16
def test_a_lower_instruction_set_is_refused(monkeypatch):
    monkeypatch.setenv("JAHP_FAST_ISA", "avx2")
    with pytest.raises(UsageError, match="held at avx2"):
        Codec(bf16=True)


@needs_bf16
def test_command(tmp_path, image):
    from PIL import Image

    Image.fromarray(image).save(tmp_path / "a.png")
    for command in (["encode", "a.png", "a.jahp"], ["decode", "--bf16", "a.jahp", "b.png"]):
        subprocess.run([sys.executable, "-m", "jahp_fast.cli", *command], cwd=tmp_path, check=True)
    got = np.asarray(Image.open(tmp_path / "b.png"))
    assert np.array_equal(got, Codec(bf16=True).decode((tmp_path / "a.jahp").read_bytes()))


@pytest.mark.skipif(_native.has_bf16(), reason="this CPU has AVX512-BF16")
def test_a_cpu_without_it_refuses():
    with pytest.raises(UsageError, match="this CPU lacks"):
        Codec(bf16=True)


def test_it_is_for_native_nets_on_a_cpu():
    with pytest.raises(UsageError, match="bf16 needs the backend native"):
        Codec(backend="reference", bf16=True)
