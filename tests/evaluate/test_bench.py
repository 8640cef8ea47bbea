# SPDX-License-Identifier: Apache-2.0
"""`jahp bench` on tiny images: its table, its JSON file and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from builders import SHIPPED

from jahp_fast import cli
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.evaluate import bench


def test_sizes_crop_and_mirror() -> None:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert np.array_equal(bench.resized(image, "3x2"), image[:2, :3])
    grown = bench.resized(image, "9x4")
    assert grown.shape == (4, 9, 3)
    assert np.array_equal(grown[:, :6], image)
    assert np.array_equal(grown[:, 6:], image[:, 5:2:-1])
    for wrong in ("", "3", "3x", "x4", "0x4", "3x-4", "3x4x5"):
        with pytest.raises(Exception, match="is not like 1920x1080"):
            bench.resized(image, wrong)


def test_products_are_counted_by_the_masked_cells() -> None:
    file = ModelFile(SHIPPED)
    n, m = file.config.hyper_latents, file.config.latents
    assert n < m
    want = 12 * m * 2 * m + sum(file.entropy[f"entropy_parameters.{i}.weight"].size for i in (0, 2, 4))
    assert bench.context_macs(file, 7) == 7 * want


def test_parts_add_up_to_the_whole() -> None:
    laps = [{"load": 9.0, "latents": 0.5, "g_s": 1.0, "latents.h_s": 0.1, "latents.coder": 0.15}] * 2
    assert bench.with_rest(laps) == [{"g_s": 1.0, "latents.h_s": 0.1, "latents.coder": 0.15, "latents.rest": pytest.approx(0.25)}] * 2
    assert list(bench.stages(bench.with_rest(laps))) == ["latents.h_s", "latents.coder", "latents.rest", "g_s"]
    assert bench.total(laps) == pytest.approx(1.5 + 0.25)
    whole = [{"load": 9.0, "latents": 0.5, "g_s": 1.0}]  # what a device backend tells
    assert list(bench.stages(bench.with_rest(whole))) == ["latents", "g_s"]


@pytest.mark.alone
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_the_command_prints_and_writes(backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    assert cli.main(["bench", "--size", "48x33", "--rounds", "2", "--threads", "2", "--backend", backend, "--json", str(out)]) == 0
    text, figures = capsys.readouterr().out, json.loads(out.read_text())
    assert (figures["version"], figures["width"], figures["height"], figures["threads"], figures["rounds"]) == (1, 48, 33, 2, 2)
    assert (figures["backend"], figures["device"]) == (backend, "cpu")
    assert f"backend {backend} on cpu" in text
    assert figures["symbols"] == 3 * 3 * figures["M"] + figures["N"]
    assert set(figures["encode"]) == {"g_a", "h_a", "entropy"}
    assert all(0 <= s["min_s"] <= s["median_s"] <= s["max_s"] for way in ("encode", "decode") for s in figures[way].values())
    lines = [line for line in text.splitlines() if line.startswith("  ")]
    assert len(lines) == len(figures["encode"]) + len(figures["decode"]) + 2
    assert all("█" in line for line in lines if " all " not in line)
    if backend == "native":
        assert set(figures["decode"]) == {f"latents.{s}" for s in ("h_s", "ahead", "context", "coder", "rest")} | {"g_s"}
        assert figures["coder_ns_per_symbol"] > 0
        assert 0 < figures["context_macs_per_s"] < figures["peak_macs_per_s"]
        assert re.search(r"range decode: [\d.]+ ns a symbol", text)
    else:
        assert figures["coder_ns_per_symbol"] is figures["peak_macs_per_s"] is None


def test_bad_arguments_end_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--rounds", "0"], "must be at least 1"),
        (["--json", str(tmp_path / "no" / "x.json")], "no such folder"),
        (["--image", str(tmp_path / "none.png")], "none.png"),
        (["--model", str(tmp_path / "none.safetensors")], "none.safetensors"),
        (["--size", "big"], "'big' is not like"),
        (["--threads", "0", "--size", "16x16"], "threads must be 1 to 1024"),
    ):
        assert cli.main(["bench", *arguments]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
