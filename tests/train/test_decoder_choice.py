# SPDX-License-Identifier: Apache-2.0
"""benchmarks/decoder_choice.py: pictures of two decoders are told apart, and two variants learn what one cannot."""

import argparse
import importlib
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from builders import ROOT, photo
from PIL import Image

from jahp_fast.models.layers import GDN

SCRIPT = ROOT / "benchmarks" / "decoder_choice.py"


@pytest.fixture
def bench(monkeypatch):
    module = importlib.import_module("decoder_choice")
    monkeypatch.setattr(module, "CUT", 64)
    return module


def two_decoders(bench, pictures=24, channels=8):
    """What reaches a decoder's last layers, the pictures that one of two made of it, by turns, and the decoder between them."""
    random = torch.Generator().manual_seed(5)
    gdn = GDN(channels, inverse=True)
    shapes = (channels, channels, 5, 5), (channels,), (channels, 3, 5, 5), (3,)
    between = [0.1 * torch.randn(shape, generator=random) for shape in shapes]
    aside = [0.04 * torch.randn(shape, generator=random) for shape in shapes]
    aside[2] *= 0.5
    decoders = [[a + sign * b for a, b in zip(between, aside, strict=True)] for sign in (1, -1)]
    h = [torch.randn(channels, 16, 16, generator=random).half() for _ in range(pictures)]
    with torch.no_grad():
        made = [bench.decode(one[None].float(), decoders[k % 2], gdn)[0] for k, one in enumerate(h)]
    x = [((one / 4 + 0.5).clamp(0, 1) * 255).round().byte() for one in made]
    begin = [t.clone() for t in between]
    begin[2], begin[3] = begin[2] / 4, begin[3] / 4 + 0.5
    return bench.Seen("train", x, h, 1.0), begin, gdn


def test_pictures_of_two_decoders_are_told_apart(bench):
    data, begin, gdn = two_decoders(bench)
    found = bench.groups(data, begin, gdn, 2, np.random.default_rng(0))
    assert (found == np.arange(24) % 2).all() or (found != np.arange(24) % 2).all()


def test_two_variants_learn_what_one_cannot(bench):
    data, begin, gdn = two_decoders(bench)
    settings = argparse.Namespace(steps=(3, 18), lr=2e-2, seed=0)
    made = bench.finish(data, begin, gdn, [2], settings)
    one, *two = [bench.errors_of_training(data, layers, gdn) for layers in (*made[1], *made[2])]
    assert np.minimum(*two).mean() < one.mean() - 3
    # Held-out pictures are judged by the same errors: whole squares, of 8-bit values.
    judged = bench.judged([data], begin, made, gdn, 32)["train"]
    assert judged["2"][1] > judged["1"][1] + 2
    assert judged["2 by block"][1] >= judged["2"][1]
    pixels = 64 * 64
    assert [judged[kind][0] for kind in ("shipped", "1", "2", "2 by block")] == pytest.approx([1, 1, 1 + 1 / pixels, 1 + 4 / pixels])


def test_psnr_takes_the_best_variant_of_a_picture_or_of_each_block(bench):
    errors = [(np.array([4.0, 9.0]), np.array([8.0, 3.0]))]
    assert bench.psnr(errors, False) == pytest.approx(10 * math.log10(255**2 / 11))
    assert bench.psnr(errors, True) == pytest.approx(10 * math.log10(255**2 / 7))


def test_the_report_compares_with_both_anchors(bench, capsys):
    rates = {"2": 0.25, "4": 0.5, "6": 1.0, "8": 2.0}
    # 6 dB a doubling: 0.6 dB more are a tenth of a doubling less, 6.70 %, and 0.3 dB half of that, 3.41 %.
    results = {
        q: {"photos": {"shipped": [b, 6 * math.log2(b)], "1": [b, 6 * math.log2(b) + 0.3], "2": [b, 6 * math.log2(b) + 0.6]}}
        for q, b in rates.items()
    }
    bench.report(results)
    rows = capsys.readouterr().out.splitlines()
    assert "| 1 | +0.300 | +0.300 | +0.300 | +0.300 | -3.41 % | +0.00 % |" in rows
    assert "| 2 | +0.600 | +0.600 | +0.600 | +0.600 | -6.70 % | -3.41 % |" in rows
    results["4"]["photos"]["3"] = [0.5, -5.5]  # one quality alone has it
    bench.report(results)
    assert "| 3 |  | +0.500 |  |  | -5.61 % | -2.28 % |" in capsys.readouterr().out.splitlines()


@pytest.mark.slow
def test_a_small_run(tmp_path):
    folders = {name: tmp_path / name for name in ("photos", "tiles", "tiles/held_out")}
    for k, folder in enumerate(folders.values()):
        folder.mkdir()
        for i in range(6):
            Image.fromarray(photo()[32 * k : 32 * k + 160, 64 * i : 64 * i + 160]).save(folder / f"{i}.png")
    (folders["photos"] / "held_out.txt").write_text("0.png 5.png")
    command = [sys.executable, SCRIPT, "--photos", folders["photos"], "--tiles", folders["tiles"], "--out", tmp_path / "out.json"]
    command += ["--qualities", "3", "--variants", "2", "--every", "1", "--steps", "1", "3", "--block", "128"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "quality 3, 10 pictures to train on" in out
    results = json.loads((tmp_path / "out.json").read_text())["3"]
    assert list(results) == ["photos", "tiles"]
    for kinds in results.values():
        assert 0.01 < kinds["shipped"][0] < 3
        assert 25 < kinds["shipped"][1] < 45
        assert all(abs(psnr - kinds["shipped"][1]) < 0.5 for _, psnr in kinds.values())
