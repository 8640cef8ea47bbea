# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of CompressAI: every naming of the keys, tables kept, medians, rate and pixels beside the float model, what is refused."""

import os
import re

import numpy as np
import pytest
import torch
from foreign import NAMINGS, Foreign, serial_latents, state_of, tiny

import jahp_fast
from jahp_fast.cli import main
from jahp_fast.compat.checkpoint import understood
from jahp_fast.compat.compressai import accelerate
from jahp_fast.compat.convert import convert
from jahp_fast.compat.report import report
from jahp_fast.compat.synthetic import dead_leaves
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import FormatError, ModelError, UsageError
from jahp_fast.export.model import SCALE_BITS, dequantise
from jahp_fast.models import registry
from jahp_fast.models.state_file import read_state

ARCHITECTURES = ("bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean", "mbt2018")


@pytest.fixture(scope="module")
def pictures():
    return [dead_leaves(seed, 128) for seed in range(2)]


def imported(model, tmp_path, pictures, tables=True):
    checkpoint = understood(state_of(model, tables))
    converted = convert(checkpoint, pictures)
    path = tmp_path / "imported.safetensors"
    converted.save(path)
    return checkpoint, converted, ModelFile(path)


@pytest.mark.parametrize("naming", NAMINGS)
def test_every_naming_gives_the_same_model(naming, tmp_path):
    state = {k: v.half().float() if v.is_floating_point() else v for k, v in state_of(tiny("mbt2018"), tables=True).items()}
    path = tmp_path / "checkpoint.pth.tar"
    torch.save(NAMINGS[naming](state), path)
    want, got = understood(state), understood(read_state(path))
    for name, tensor in want.model.state_dict().items():
        assert torch.equal(tensor, got.model.state_dict()[name]), name
    assert len(got.bottleneck.rows) == 8
    assert [row.low for row in got.gaussian.rows] == [row.low for row in want.gaussian.rows]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tables_are_kept_verbatim(architecture, tmp_path, pictures):
    model = tiny(architecture)
    _, converted, file = imported(model, tmp_path, pictures)
    state = state_of(model, tables=True)
    sizes, starts = file.entropy["tables.size"], file.entropy["tables.starts"]
    first = np.concatenate([[0], np.cumsum(sizes + 1)])
    at = 0
    for prefix in ("entropy_bottleneck", "gaussian_conditional"):
        if f"{prefix}._quantized_cdf" not in state:
            continue
        for cdf, n, low in zip(*(state[f"{prefix}.{k}"].numpy() for k in ("_quantized_cdf", "_cdf_length", "_offset")), strict=True):
            assert np.array_equal(starts[first[at] : first[at + 1]], cdf[: n - 1])
            assert file.entropy["tables.low"][at] == low
            at += 1
    assert at == len(sizes) - (architecture == "bmshj2018-factorized")  # which has the constant channel's row
    assert "kept verbatim" in converted.kept
    assert file.config.prob_bits == 16


def test_scales_choose_the_rows_that_compressai_chooses(tmp_path, pictures):
    _, _, file = imported(tiny("mbt2018-mean"), tmp_path, pictures)
    table = state_of(tiny("mbt2018-mean"), tables=True)["gaussian_conditional.scale_table"].double().numpy()
    random = np.random.default_rng(0).integers(0, 300 << SCALE_BITS, 5000)
    scaled = np.unique(np.concatenate([random, np.rint(table * 2**SCALE_BITS).astype(int)]))
    want = len(table) - 1 - (scaled[:, None] / 2**SCALE_BITS <= table[:-1]).sum(1)  # its build_indexes
    got = (file.entropy["scale.thresholds"] <= scaled[:, None]).sum(1)
    assert np.array_equal(got, want)
    assert np.array_equal(file.entropy["scale.row"], 8 + np.arange(64))


@pytest.mark.parametrize("tables", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_payload_and_pixels_are_the_float_models(architecture, tables, tmp_path, pictures):
    # Untrained predictions make rates that mean nothing by themselves; rounding them to integers must not change them.
    said = report(*imported(tiny(architecture), tmp_path, pictures, tables), [dead_leaves(7, 512)])
    # With 16-bit tables a 32-bit state leaves a symbol's cost a few tenths of a per cent to chance.
    assert abs(said.excess) < 0.007
    assert abs(said.float_bytes / said.ideal_bytes - 1) < 0.02
    assert said.float_bytes > 3000
    assert abs(said.psnr - said.float_psnr) < 0.02
    assert "grey levels" in said.text()


def test_latents_are_those_of_the_serial_loop(tmp_path):
    model = tiny("mbt2018")
    picture = dead_leaves(7, 64)
    checkpoint, _, file = imported(model, tmp_path, [picture])
    codec = jahp_fast.Codec("mbt2018", models=[file.path])
    latents = codec.decode_latents(codec.encode(picture))
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    medians = torch.from_numpy(checkpoint.medians).float()[:, None, None]
    with torch.no_grad():
        symbols = (model.h_a(model.g_a(x)) - medians).round()
        assert np.array_equal(symbols[0].numpy(), latents.z)
        want = serial_latents(model, x, symbols + medians).numpy()
    got = latents.y * 2.0**-latents.frac_bits
    # A mean is off by 1/128 and what 13-bit activations add; a residual beside a half may then fall to the other side.
    assert np.median(np.abs(got - want)) < 1 / 64
    assert (np.abs(got - want) < 0.06).mean() > 0.97


def test_a_factorised_median_reaches_the_borders(tmp_path, pictures):
    model = tiny("bmshj2018-factorized")
    _, converted, _ = imported(model, tmp_path, pictures)
    x = torch.from_numpy(dead_leaves(3, 64)).permute(2, 0, 1)[None].float() / 255
    medians = model.entropy_bottleneck.medians[:, None, None]
    with torch.no_grad():
        want = model.g_s((model.g_a(x) - medians).round() + medians)
        latents = converted.model.g_a(x).round()
        assert torch.equal(latents[:, -1], torch.ones(1, 4, 4))
        torch.testing.assert_close(converted.model.g_s(latents), want, atol=1e-3, rtol=1e-4)
        wanted = model.entropy_bottleneck.likelihood(latents[:, :-1] + medians)
        torch.testing.assert_close(converted.model.entropy_bottleneck.likelihood(latents)[:, :-1], wanted)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_can_go_on_from_an_imported_file(architecture, tmp_path, pictures):
    model = tiny(architecture)
    _, converted, file = imported(model, tmp_path, pictures)
    name, state = dequantise(file.path)
    assert name == architecture
    again = registry.from_state_dict(state)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        y = model.g_a(x)
        if architecture != "bmshj2018-factorized":
            torch.testing.assert_close(again.hyper_analysis(y), model.hyper_analysis(y), atol=0.01, rtol=0)
        else:
            torch.testing.assert_close(again.g_a(x), converted.model.g_a(x), atol=0.005, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_accelerate(architecture, pictures):
    model = tiny(architecture)
    foreign = Foreign(model)
    assert accelerate(foreign, pictures) is foreign
    x = torch.from_numpy(np.stack([dead_leaves(7, 128), dead_leaves(8, 128)])).permute(0, 3, 1, 2).float() / 255
    out = foreign.compress(x)
    hyper = architecture != "bmshj2018-factorized"
    assert out["shape"] == ((2, 2) if hyper else (8, 8))
    assert [len(strings) for strings in out["strings"]] == [2, 2] if hyper else [2]
    x_hat = foreign.decompress(out["strings"], out["shape"])["x_hat"]
    assert x_hat.shape == x.shape
    medians = model.entropy_bottleneck.medians[:, None, None]
    with torch.no_grad():
        y = model.g_a(x)
        if architecture in ("bmshj2018-factorized", "bmshj2018-hyperprior"):
            y_hat = y.round() if hyper else (y - medians).round() + medians
            torch.testing.assert_close(x_hat, model.g_s(y_hat).clamp(0, 1), atol=1e-4, rtol=0)
        else:
            assert 0 < float((x_hat - model.g_s(y).clamp(0, 1)).abs().mean()) < 0.05
    damaged = [bytearray(s) for s in out["strings"][0]]
    damaged[1][3] ^= 1
    with pytest.raises(FormatError, match="image 1"):
        foreign.decompress([damaged, *out["strings"][1:]], out["shape"])
    with torch.no_grad():
        next(iter(model.entropy_bottleneck.parameters())).mul_(1.01)
    with pytest.raises(UsageError, match="call it again"):
        foreign.compress(x)


def test_accelerate_refuses(pictures):
    foreign = accelerate(Foreign(tiny("mbt2018-mean")), pictures)
    with pytest.raises(UsageError, match="multiples of 64"):
        foreign.compress(torch.rand(1, 3, 64, 80))
    out = foreign.compress(torch.rand(1, 3, 64, 64))
    with pytest.raises(UsageError, match="must be those"):
        foreign.decompress(out["strings"][:1], out["shape"])
    with pytest.raises(FormatError, match="too short"):
        foreign.decompress([[b"x"], [b""]], out["shape"])
    with pytest.raises(UsageError, match="calibration"):
        accelerate(Foreign(tiny("mbt2018-mean")), [np.zeros((4, 4))])


class _Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_no_code_of_a_checkpoint_runs(tmp_path):
    path, trap = tmp_path / "evil.pth.tar", tmp_path / "it ran"
    torch.save({"state_dict": state_of(tiny("mbt2018")), "args": _Payload(str(trap))}, path)
    with pytest.raises(ModelError, match="nothing in it was run"):
        read_state(path)
    assert not trap.exists()


def without(state, *names):
    return {k: v for k, v in state.items() if not k.startswith(names)}


REFUSED = {
    "no g_a": (lambda s: without(s, "g_a."), "no g_a.0.weight"),
    "a key is missing": (lambda s: without(s, "h_s.2.bias"), "missing h_s.2.bias"),
    "a key too many": (lambda s: s | {"h_s.9.weight": torch.ones(1)}, "unexpected h_s.9.weight"),
    "two models": (lambda s: {f"{p}.{k}": v for k, v in s.items() for p in "ab"}, "holds 2 models, under 'a.', 'b.'"),
    "cheng2020": (lambda s: {k.replace("g_a.0.", "g_a.0.conv1."): v for k, v in s.items()}, "cheng2020-anchor"),
    "own gains": (lambda s: s | {"gain": torch.zeros(8, 12), "inv_gain": torch.zeros(8, 12)}, "8 rows of gains"),
    "not a number": (lambda s: s | {"h_s.2.bias": torch.full((18,), torch.nan)}, "h_s.2.bias is not finite"),
    "tables without offsets": (lambda s: without(s, "gaussian_conditional._offset"), "no gaussian_conditional._offset"),
    "tables of other channels": (
        lambda s: s | {k: v[1:] for k, v in s.items() if re.search(r"bottleneck\._(quan|cdf|off)", k)}, "7 rows.*8 channels"),
    "a table that falls": (
        lambda s: s | {"gaussian_conditional._quantized_cdf": s["gaussian_conditional._quantized_cdf"].flip(1)}, "row 0: not a cumulative"),
    "scales that fall": (
        lambda s: s | {"gaussian_conditional.scale_table": s["gaussian_conditional.scale_table"].flip(0)}, "does not rise"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_named(case):
    change, message = REFUSED[case]
    with pytest.raises(ModelError, match=message):
        understood(change(state_of(tiny("mbt2018"), tables=True)))


def test_the_command(tmp_path, capsys, photo_crop):
    checkpoint, out = tmp_path / "checkpoint.pth.tar", tmp_path / "mine.safetensors"
    torch.save(state_of(tiny("mbt2018"), tables=True), checkpoint)
    assert main(["import-compressai", str(checkpoint), str(out), "-q", "3"]) == 0
    said = capsys.readouterr()
    assert "mbt2018, N = 8, M = 12, form B; factorised prior: kept verbatim, 8 rows, Gaussians: kept verbatim, 64 rows" in said.out
    assert re.search(r"4 pictures: float networks with these tables \d+ bytes, payload \d+ bytes \([+-]\d", said.out)
    assert "synthetic pictures" in said.err
    codec = jahp_fast.Codec("mine", quality=3, models=[out])
    assert codec.decode(codec.encode(photo_crop)).shape == photo_crop.shape
    (tmp_path / "broken.pth").write_bytes(b"no checkpoint")
    for arguments, message in (
        (["import-compressai", str(tmp_path / "none.pth"), str(out)], "cannot read"),
        (["import-compressai", str(tmp_path / "broken.pth"), str(out)], "broken.pth cannot be read"),
        (["import-compressai", str(checkpoint), str(tmp_path / "no" / "out")], "there is no folder"),
        (["import-compressai", str(checkpoint), str(out), "-q", "9"], "quality must be 1 to 8"),
    ):
        assert main(arguments) == 1
        assert message in capsys.readouterr().err
