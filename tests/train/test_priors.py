# SPDX-License-Identifier: Apache-2.0
"""The five models and the registry: dataflow against slow loops, keys against CompressAI's, states from elsewhere."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from jahp_fast.constants import BY_ROW, LAMBDAS
from jahp_fast.errors import ModelError, UnknownModel, UsageError
from jahp_fast.models.layers import rows_at
from jahp_fast.models.priors import lambda_ladder
from jahp_fast.models.registry import ARCHITECTURES, build, from_state_dict, model_info

HYPER = [n for n in ARCHITECTURES if n not in ("bmshj2018-factorized", "mbt2018-context")]


def seeded(name: str, N: int = 6, M: int = 9, rows: int = 3):
    torch.manual_seed(7)
    model = build(name, N, M, rows).double().eval()
    with torch.no_grad():
        by_row = [p for i in BY_ROW for p in model.g_s[i].parameters()] if rows > 1 else []
        for p in [model.gain, model.inv_gain, *by_row]:
            p.add_(torch.randn_like(p) * 0.1)
        model.gain.add_(1.5)  # latents of a few steps, not all zero
    return model


def transform_keys(N: int, M: int) -> dict[str, tuple[int, ...]]:
    keys: dict[str, tuple[int, ...]] = {}
    for i in (1, 3, 5):
        keys |= {f"{g}.{i}.{p}": (N,) if p == "beta" else (N, N) for g in ("g_a", "g_s") for p in ("beta", "gamma")}
    for i, (a, b) in zip((0, 2, 4, 6), ((3, N), (N, N), (N, N), (N, M)), strict=True):
        keys |= {f"g_a.{i}.weight": (b, a, 5, 5), f"g_a.{i}.bias": (b,)}
    for i, (a, b) in zip((0, 2, 4, 6), ((M, N), (N, N), (N, N), (N, 3)), strict=True):
        keys |= {f"g_s.{i}.weight": (a, b, 5, 5), f"g_s.{i}.bias": (b,)}
    return keys


def bottleneck_keys(channels: int) -> dict[str, tuple[int, ...]]:
    e = "entropy_bottleneck"
    keys: dict[str, tuple[int, ...]] = {f"{e}.quantiles": (channels, 1, 3)}
    for i, (a, b) in enumerate(((1, 3), (3, 3), (3, 3), (3, 3), (3, 1))):
        keys |= {f"{e}.matrices.{i}": (channels, b, a), f"{e}.biases.{i}": (channels, b, 1)}
        if i < 4:
            keys[f"{e}.factors.{i}"] = (channels, b, 1)
    return keys


def layer_keys(layers: dict[str, tuple[int, ...]], out_dim: int = 0) -> dict[str, tuple[int, ...]]:
    return {f"{k}.weight": s for k, s in layers.items()} | {
        f"{k}.bias": (s[1] if k in ("h_s.0", "h_s.2") else s[out_dim],) for k, s in layers.items()
    }


def compressai_keys(name: str, N: int, M: int) -> dict[str, tuple[int, ...]]:
    """What CompressAI's class of that model stores, derived buffers left out; `mbt2018-context` has no twin there."""
    keys = transform_keys(N, M)
    h_a = {"h_a.0": (N, M, 3, 3), "h_a.2": (N, N, 5, 5), "h_a.4": (N, N, 5, 5)}
    wide = {"h_s.0": (N, M, 5, 5), "h_s.2": (M, 3 * M // 2, 5, 5), "h_s.4": (2 * M, 3 * M // 2, 3, 3)}
    context = {
        "context_prediction": (2 * M, M, 5, 5),
        "entropy_parameters.0": (10 * M // 3, (4 if name == "mbt2018" else 2) * M, 1, 1),
        "entropy_parameters.2": (8 * M // 3, 10 * M // 3, 1, 1),
        "entropy_parameters.4": (2 * M, 8 * M // 3, 1, 1),
    }
    mask = {"context_prediction.mask": (2 * M, M, 5, 5)}
    if name == "bmshj2018-factorized":
        return keys | bottleneck_keys(M)
    if name == "bmshj2018-hyperprior":
        narrow = {"h_s.0": (N, N, 5, 5), "h_s.2": (N, N, 5, 5), "h_s.4": (M, N, 3, 3)}
        return keys | bottleneck_keys(N) | layer_keys(h_a | narrow)
    if name == "mbt2018-mean":
        return keys | bottleneck_keys(N) | layer_keys(h_a | wide)
    if name == "mbt2018-context":
        return keys | layer_keys(context) | mask
    return keys | bottleneck_keys(N) | layer_keys(h_a | wide | context) | mask


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_state_dict_keys_are_compressais(name):
    one = build(name, 4, 6, 1).state_dict()
    keys = compressai_keys(name, 4, 6)
    assert {k: tuple(v.shape) for k, v in one.items()} == keys | {"gain": (1, 6), "inv_gain": (1, 6)}
    two = build(name, 4, 6, 2).state_dict()
    for layer, kind in itertools.product(BY_ROW, ("weight", "bias")):
        shape = keys.pop(f"g_s.{layer}.{kind}")
        keys |= {f"g_s.{layer}.{row}.{kind}": shape for row in range(2)}
    assert {k: tuple(v.shape) for k, v in two.items()} == keys | {"gain": (2, 6), "inv_gain": (2, 6)}


def test_published_parameter_counts():
    """14.13 M at 192/192 and 25.50 M at 192/320 with the 13 masked taps in, which are not counted here; the gains are ours."""
    for M, published in ((192, 14.13e6), (320, 25.50e6)):
        masked, gains = 13 * 2 * M * M, 2 * M
        assert model_info(build("mbt2018", 192, M, 1)).parameters + masked - gains == pytest.approx(published, rel=4e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", [(48, 80), (16, 16), (64, 144)])
def test_sizes_and_sums(name, size):
    model = seeded(name)
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.inference_mode():
        out = model(x, torch.tensor([0, 2]))
    assert out.x_hat.shape == x.shape
    assert out.bpp.shape == (2,)
    assert torch.allclose(out.bpp * size[0] * size[1], out.y_bits + out.z_bits)
    assert bool((out.z_bits == 0).all()) != (name in HYPER)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_forward_is_made_of_the_public_pieces(name):
    """What a codec does step by step, rounding in between, gives forward's x_hat in evaluation mode."""
    model = seeded(name)
    x = torch.rand(1, 3, 48, 32, dtype=torch.float64)
    with torch.inference_mode():
        q = torch.tensor([1.25], dtype=torch.float64)
        want = model(x, q)
        y = model.analysis(x, q)
        y_hat = y.round()
        assert torch.allclose(model.synthesis(y_hat, q), want.x_hat)
        assert float(y_hat.abs().max()) >= 1
        if name in HYPER:
            assert model.hyper_analysis(y).shape == (1, 6, 1, 1)
            bits = -model.entropy_bottleneck.likelihood(model.hyper_analysis(y).round()).log2().sum()
            assert float(bits) == pytest.approx(float(want.z_bits))


def leaky(v):
    return torch.where(v < 0, 0.01 * v, v)


def test_joint_model_against_a_pixel_loop():
    """The bits of every latent, in decoding order, out of h_s and the 12 causal taps around it."""
    model = seeded("mbt2018", N=4, M=6)
    x = torch.rand(1, 3, 80, 96, dtype=torch.float64)
    with torch.inference_mode():
        total = float(model(x, torch.tensor([2])).y_bits)
        y = model.analysis(x, torch.tensor([2]))
        y_hat, z_hat = y.round()[0], model.hyper_analysis(y).round()
        h = F.conv_transpose2d(z_hat, model.h_s[0].weight, model.h_s[0].bias, 2, 2, 1)
        h = F.conv_transpose2d(leaky(h), model.h_s[2].weight, model.h_s[2].bias, 2, 2, 1)
        h = F.conv2d(leaky(h), model.h_s[4].weight, model.h_s[4].bias, padding=1)[0]
        weight, bias = model.context_prediction.weight, model.context_prediction.bias
        layers = [(model.entropy_parameters[i].weight[:, :, 0, 0], model.entropy_parameters[i].bias) for i in (0, 2, 4)]
        bits = 0.0
        for r in range(5):
            for c in range(6):
                context = bias.clone()
                for i in range(12):
                    dr, dc = i // 5 - 2, i % 5 - 2
                    if r + dr >= 0 and 0 <= c + dc < 6:
                        context += weight[:, :, dr + 2, dc + 2] @ y_hat[:, r + dr, c + dc]
                v = torch.cat((h[:, r, c], context))
                for i, (w, b) in enumerate(layers):
                    v = w @ v + b
                    v = leaky(v) if i < 2 else v
                for symbol, scale, mean in zip(y_hat[:, r, c].tolist(), v[:6].tolist(), v[6:].tolist(), strict=True):
                    s = max(scale, 0.11) * math.sqrt(2)
                    # From the tail, as the difference of two complementary error functions.
                    d = abs(symbol - mean)
                    p = 0.5 * (math.erfc((d - 0.5) / s) - math.erfc((d + 0.5) / s))
                    bits -= math.log2(max(p, 1e-9))
    assert total == pytest.approx(bits, rel=1e-9)


@pytest.mark.parametrize("name", ["mbt2018", "mbt2018-context"])
def test_distribution_is_causal(name):
    model = seeded(name)
    y = torch.randn(1, 9, 5, 6, dtype=torch.float64).round()
    z = (torch.zeros(1, 6, 2, 2, dtype=torch.float64),) if name == "mbt2018" else ()
    with torch.inference_mode():
        before = torch.cat(model.distribution(y, *z), 1)
        y[0, :, 2, 3] += 3
        changed = (torch.cat(model.distribution(y, *z), 1) != before).any(1)[0]
    assert not bool(changed[:2].any())
    assert changed[2].tolist() == [False, False, False, False, True, True]
    assert bool(changed[3, 1:].all())


def test_training_uses_noise_and_passes_gradients_through_rounding():
    model = build("mbt2018", 6, 9, 2)
    x = torch.rand(2, 3, 32, 32)
    a, b = model(x, torch.tensor([0, 1])), model(x, torch.tensor([0, 1]))
    assert not torch.equal(a.bpp, b.bpp)
    assert torch.equal(a.x_hat, b.x_hat)  # g_s sees the rounded latents, without noise
    (a.x_hat - x).square().mean().backward()
    assert model.g_a[0].weight.grad is not None
    assert float(model.g_a[0].weight.grad.abs().max()) > 0
    assert model.entropy_parameters[0].weight.grad is None


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_bf16_stays_near_float(name):
    torch.manual_seed(3)
    model = build(name, 8, 12).eval()
    x, q = torch.rand(1, 3, 32, 48), torch.tensor([7])
    with torch.inference_mode():
        exact = model(x, q)
        model.bf16 = True
        rough = model(x, q)
    assert rough.x_hat.dtype == rough.bpp.dtype == torch.float32
    assert torch.allclose(exact.x_hat, rough.x_hat, atol=0.05)
    assert float(rough.bpp) == pytest.approx(float(exact.bpp), rel=0.1)


def test_gains_interpolate_geometrically():
    rows = torch.tensor([[0.0, 1.0], [2.0, 5.0], [4.0, 5.0]])
    assert rows_at(rows, torch.tensor([0.5]))[0].exp().tolist() == pytest.approx([math.e, math.e**3])
    assert rows_at(rows, torch.tensor([2, 0])).tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert rows_at(rows, torch.tensor([1.75])).tolist() == [[3.5, 5.0]]
    assert rows_at(rows[:1], torch.tensor([0.0])).tolist() == [[0.0, 1.0]]
    assert rows_at(rows.reshape(3, 2, 1), torch.tensor([1.75])).tolist() == [[[3.5], [5.0]]]


def test_lambda_ladder():
    assert lambda_ladder(8).tolist() == pytest.approx(LAMBDAS)
    assert lambda_ladder(1).tolist() == pytest.approx([0.013])
    assert lambda_ladder(3).tolist() == pytest.approx([0.0018, 0.018, 0.18], rel=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_state_round_trip_in_float16(name):
    """Half floats, {"state_dict"}, DataParallel's prefix, CompressAI's old names and derived buffers, all at once."""
    model = build(name, 4, 6, 5)
    state = {}
    for key, value in model.state_dict().items():
        for new, old in (("matrices.", "_matrix"), ("biases.", "_bias"), ("factors.", "_factor")):
            key = key.replace(f"entropy_bottleneck.{new}", f"entropy_bottleneck.{old}")  # noqa: PLW2901
        state[f"module.{key}"] = value.half()
    state |= {"module.g_a.1.beta_reparam.pedestal": torch.ones(1), "module.entropy_bottleneck._offset": torch.zeros(0).int()}
    state |= {"module.gaussian_conditional._quantized_cdf": torch.zeros(0).int()}
    again = from_state_dict({"epoch": 3, "state_dict": state})
    assert (again.architecture, again.N, again.M, again.rows, again.training) == (name, 4, 6, 5, False)
    for key, value in again.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, model.state_dict()[key].half().float()), key


def test_state_without_gain_gets_one_row_of_ones():
    state = build("mbt2018-mean", 4, 6, rows=1).state_dict()
    del state["gain"], state["inv_gain"]
    model = from_state_dict(state)
    assert model.rows == 1
    assert float(model.gain.detach().abs().max()) == 0


def test_state_without_layers_by_row():
    """Each row gets the common one; and all rows of a layer are there, or none."""
    state = seeded("mbt2018").state_dict()
    names = [f"g_s.{i}.{kind}" for i in BY_ROW for kind in ("weight", "bias")]
    common = {key: value for key, value in state.items() if not key.startswith(("g_s.4.", "g_s.6."))}
    common |= {name: state[name[:5] + ".1" + name[5:]] for name in names}
    model = from_state_dict(common)
    for name in names:
        for row in range(3):
            assert torch.equal(model.get_parameter(f"{name[:5]}.{row}{name[5:]}"), common[name].float())
    with pytest.raises(ModelError, match=r"missing g_s\.6\.2\.weight"):
        from_state_dict({key: value for key, value in state.items() if key != "g_s.6.2.weight"})


def test_each_row_has_layers_of_its_own():
    """A model of one row with another's layers does the same as that row; between rows they are mixed."""
    many, one = seeded("mbt2018"), build("mbt2018", 6, 9, 1).double().eval()
    x = torch.rand(3, 3, 32, 48, dtype=torch.float64)
    q = torch.tensor([2.0, 0.0, 0.25], dtype=torch.float64)
    with torch.no_grad():
        wanted = many(x, q)
        for i, row in enumerate(q):
            state = {key: value for key, value in many.state_dict().items() if not key.startswith(("g_s.4.", "g_s.6."))}
            low, share = int(row), float(row) % 1
            for layer, kind in itertools.product(BY_ROW, ("weight", "bias")):
                a, b = (many.get_parameter(f"g_s.{layer}.{min(n, 2)}.{kind}") for n in (low, low + 1))
                state[f"g_s.{layer}.{kind}"] = (1 - share) * a + share * b
            for table in ("gain", "inv_gain"):
                state[table] = rows_at(state[table], row[None])
            one.load_state_dict(state)
            got = one(x[i : i + 1], torch.tensor([0]))
            assert torch.allclose(got.x_hat[0], wanted.x_hat[i])
            assert torch.allclose(got.bpp[0], wanted.bpp[i])
            y_hat = torch.randint(-3, 4, (2, 9, 2, 3)).double()
            assert torch.allclose(many.synthesis(y_hat, row[None]), one.synthesis(y_hat, torch.tensor([0])))


def spoil(state, how):
    if how == "missing":
        del state["h_s.2.bias"]
    elif how == "unexpected":
        state["h_s.6.bias"] = torch.zeros(3)
    elif how == "shape":
        state["h_a.2.bias"] = torch.zeros(5)
    elif how == "nan":
        state["g_s.2.bias"] = torch.full((4,), math.nan)
    elif how == "mask":
        state["context_prediction.mask"] = torch.ones(12, 6, 5, 5)
    elif how == "number":
        state["g_s.2.bias"] = 3
    elif how == "twice":
        state["entropy_bottleneck._bias0"] = state["entropy_bottleneck.biases.0"]
    elif how == "foreign":
        state["conv.weight"] = state.pop("g_a.0.weight")
    return state


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "missing h_s.2.bias"),
        ("unexpected", "unexpected h_s.6.bias"),
        ("shape", r"h_a.2.bias is \(5,\) where \(4,\) is needed"),
        ("nan", "g_s.2.bias is not finite"),
        ("mask", "not mask A"),
        ("number", "g_s.2.bias in the state dict is a int"),
        ("twice", "entropy_bottleneck.biases.0 twice"),
        ("foreign", "not a model of the mbt2018 family"),
    ],
)
def test_bad_states_are_named(how, message):
    state = spoil(build("mbt2018", 4, 6).state_dict(), how)
    with pytest.raises(ModelError, match=message):
        from_state_dict(state)


def test_bad_arguments():
    with pytest.raises(UnknownModel, match="'cheng2020'; there are bmshj2018-factorized"):
        build("cheng2020", 4, 6)
    with pytest.raises(UsageError, match="must be positive"):
        build("mbt2018", 0, 6)
    with pytest.raises(UsageError, match=r"multiples of 16, not \(1, 3, 40, 32\)"):
        build("mbt2018", 4, 6)(torch.rand(1, 3, 40, 32), torch.tensor([0]))
    for name in ("bmshj2018-factorized", "mbt2018-context"):
        with pytest.raises(UsageError, match="no hyperprior"):
            build(name, 4, 6).hyper_analysis(torch.zeros(1, 6, 4, 4))
