# SPDX-License-Identifier: Apache-2.0
"""update, compress and decompress of the models, and the two operators under them."""

import copy
import io
import struct

import numpy as np
import pytest
import torch
from builders import ARCHITECTURES, random_latents

from jahp_fast import _native, backends
from jahp_fast.backends.device import DeviceResult, check
from jahp_fast.backends.status import STATUS
from jahp_fast.entropy import checksum
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import DeviceError, FormatError, JahpError, ModelError, UsageError
from jahp_fast.export.state import export_state
from jahp_fast.models import compressible, ops, registry


def fresh(architecture="mbt2018", rows=8, seed=0):
    """A model with random weights and latents of a few units."""
    torch.manual_seed(seed)
    model = registry.build(architecture, 8, 12, rows=rows).eval()
    with torch.no_grad():
        model.gain.copy_(torch.linspace(3, 6, rows)[:, None].expand(rows, 12))
        model.inv_gain.copy_(-model.gain)
    return model


@pytest.fixture(scope="module")
def x(photo_crop):
    """(3, 3, 48, 80) in [0, 1]: three views of the photo; 48 and 80 are no multiples of 64."""
    views = [photo_crop[a : a + 48, b : b + 80] for a, b in ((0, 0), (20, 30), (40, 48))]
    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def model(x):
    net = fresh()
    net.update(x)
    return net


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batch_comes_back_as_forward_says(architecture, x):
    """Form A: ŷ is round(y), so decompress gives forward's x_hat; each string stands for itself; its size is near the estimate."""
    model = fresh(architecture)
    model.update(x)
    out = model.compress(x, q=6)
    assert out["shape"] == torch.Size([3, 5])
    assert [len(s) for s in out["strings"]] == [3]
    x_hat = model.decompress(out["strings"], out["shape"])["x_hat"]
    with torch.no_grad():
        want = model(x, torch.full((3,), 6))
    assert torch.allclose(x_hat, want.x_hat.clamp(0, 1), atol=1e-5)
    for i, string in enumerate(out["strings"][0]):
        alone = model.decompress([[string]], out["shape"])["x_hat"]
        assert torch.allclose(alone, x_hat[i : i + 1], atol=1e-5)
        bits = float(want.y_bits[i] + want.z_bits[i])
        assert abs(8 * len(string) - bits) < 0.03 * bits + 8 * 15  # prefix, escapes' count and a lane are 15 bytes
    assert model.compress(x[1:2], q=6)["strings"][0] == [out["strings"][0][1]]


def test_latents_are_those_of_the_plain_backend(model, x):
    """The payload in a string is the format's: the NumPy decoder gets round(y) out of it."""
    out = model.compress(x, q=7)
    lanes, code, said = compressible.PREFIX.unpack_from(out["strings"][0][2])
    assert (code, compressible.PREFIX.size) == (140, 7)
    payload = out["strings"][0][2][7:]
    z, y, _ = backends.load("reference", model._coder.file).decode(payload, StreamLayout(3, 5, 1 << lanes), 1)
    with torch.no_grad():
        want = model.analysis(x[2:], torch.tensor([7]))
    assert np.array_equal(y, want[0].round().permute(1, 2, 0).int().numpy())
    assert np.array_equal(z, model.hyper_analysis(want)[0].round().permute(1, 2, 0).int().detach().numpy())
    assert np.abs(y).max() > 2
    assert _native.symbol_checksum(z, y) == said


@pytest.mark.parametrize(("form", "bits"), [("A", 8), ("B", 8), ("B", 16)])
def test_other_forms(form, bits, x):
    """In form B the decoder's ŷ is the encoder's, within half a step of y."""
    model = fresh()
    model.update(list(x), form=form, activation_bits=bits)
    assert (model._coder.config.form, model._coder.config.activation_bits) == (form, bits)
    out = model.compress(x, q=5)
    x_hat = model.decompress(**out)["x_hat"]
    with torch.no_grad():
        plain = model(x, torch.full((3,), 5)).x_hat.clamp(0, 1)
    assert float((x_hat - plain).abs().max()) < (1e-5 if form == "A" else 0.2)
    assert not torch.equal(x_hat, plain) or form == "A"


def test_q_is_in_the_string(model, x):
    strings = [model.compress(x[:1], q)["strings"][0][0] for q in (0, 2.5, 2.52, 3, 7)]
    assert [compressible.PREFIX.unpack_from(s)[1] for s in strings] == [0, 50, 50, 60, 140]
    assert strings[1] == strings[2]
    assert strings[3] == model.compress(x[:1])["strings"][0][0]
    both = model.decompress([[strings[0], strings[4]]], (3, 5))["x_hat"]
    for i, s in ((0, strings[0]), (1, strings[4])):
        assert torch.allclose(both[i], model.decompress([[s]], (3, 5))["x_hat"][0], atol=1e-5)
    single = fresh(rows=1)
    single.update(x)
    assert compressible.PREFIX.unpack_from(single.compress(x)["strings"][0][0])[1] == 0
    many = fresh(rows=12)
    many.update(x)
    strings = many.compress(x, q=11)["strings"]
    assert compressible.PREFIX.unpack_from(strings[0][0])[1] == 220
    assert many.decompress(strings, (3, 5))["x_hat"].shape == x.shape
    for q in (-0.1, 7.1, 100):
        with pytest.raises(UsageError, match="q must be 0 to 7"):
            model.compress(x, q)


def test_calibration_takes_tensors_and_arrays(model, x, photo_crop):
    key = model._coder.key
    again = fresh()
    again.update(list(x))
    assert again._coder.key == key
    again.update([photo_crop[a : a + 48, b : b + 80].copy() for a, b in ((0, 0), (20, 30), (40, 48))])
    assert again._coder.key == key
    for wrong in ([x.int()], [x[0, 0]], [photo_crop[:, :, 0]], [photo_crop.astype(float)], ["photo.png"], []):
        with pytest.raises(UsageError, match="calibration"):
            fresh().update(wrong)
    for arguments in ({}, {"images": x, "file": "m.safetensors"}):
        with pytest.raises(UsageError, match="calibration images, or file="):
            fresh().update(**arguments)
    with pytest.raises(UsageError, match="activation_bits 8 or 16"):
        fresh().update(x, activation_bits=4)


def test_a_file_carries_the_integers(tmp_path, model, x, photo_crop):
    path = tmp_path / "m.safetensors"
    export_state(model.state_dict(), path, photos=[photo_crop])
    here, there = fresh(), fresh()
    here.update(file=path)
    there.update(file=str(path))
    out = here.compress(x)
    assert torch.equal(there.decompress(**out)["x_hat"], here.decompress(**out)["x_hat"])
    with pytest.raises(FormatError):
        model.decompress(**out)  # other integers: 16-bit activations
    with pytest.raises(ModelError, match=r"is mbt2018 with N = 8, M = 12; this is mbt2018-mean"):
        fresh("mbt2018-mean").update(file=path)


def test_the_coder_follows_the_weights(x):
    model = fresh()
    with pytest.raises(UsageError, match=r"call update\(images\) first"):
        model.compress(x)
    with pytest.raises(UsageError, match=r"call update\(images\) first"):
        model.decompress([[b"x"]], (3, 5))
    model.update(x)
    keys = set(model.state_dict())
    assert keys == set(fresh().state_dict())
    out = model.compress(x)
    want = model.decompress(**out)["x_hat"]
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    for twin in (copy.deepcopy(model), torch.load(buffer, weights_only=False), model.to("cpu")):
        assert torch.equal(twin.decompress(**out)["x_hat"], want)
    model.load_state_dict(model.state_dict())  # written anew, with the same values
    assert torch.equal(model.decompress(**out)["x_hat"], want)
    with torch.no_grad():
        model.g_s[0].bias.add_(0.125)  # not in the entropy path
    assert not torch.equal(model.decompress(**out)["x_hat"], want)
    with torch.no_grad():
        model.entropy_parameters[2].bias[0].add_(1.0)
    for call in (lambda: model.compress(x), lambda: model.decompress(**out)):
        with pytest.raises(UsageError, match="changed since update"):
            call()


def test_damaged_strings(model, x):
    out = model.compress(x, q=7)
    (good,), shape = out["strings"], out["shape"]

    def refused(what, *strings, size=shape, error=FormatError):
        with pytest.raises(error, match=what):
            model.decompress([list(strings)], size)

    refused("image 1: payload ends", good[0], good[1][:-1])
    refused("image 1: a string of 6 bytes is too short", good[0], good[1][:6])
    refused("left over", good[0] + b"\0")
    refused("2\\^7 lanes", b"\x07" + good[0][1:])
    refused("q = 7.05", good[0][:1] + struct.pack("<H", 141) + good[0][3:])
    refused("image 2: the checksum", good[0], good[1], good[2][:3] + bytes([good[2][3] ^ 1]) + good[2][4:])
    refused("too short for 4000 x 3000", good[0], size=(3000, 4000))
    refused("0 x 5|5 x 0", good[0], size=(0, 5), error=UsageError)
    for strings in ([], [[]], [good, good]):
        with pytest.raises(UsageError, match="as compress returns"):
            model.decompress(strings, shape)
    rng = np.random.default_rng(0)
    for _ in range(200):  # a change anywhere is noticed, or changes nothing but q
        data = bytearray(good[0])
        at = int(rng.integers(3, len(data)))
        data[at] ^= int(rng.integers(1, 256))
        with pytest.raises(FormatError):
            model.decompress([[bytes(data)]], shape)


def test_wrong_images(model):
    with pytest.raises(UsageError, match="multiples of 16"):
        model.compress(torch.zeros(1, 3, 17, 16))
    with pytest.raises(UsageError, match="not a number"):
        model.compress(torch.full((1, 3, 16, 16), float("nan")))
    with pytest.raises(UsageError, match=r"beyond 2\^30"):
        model.compress(torch.full((1, 3, 16, 16), 1e20))


@pytest.fixture
def latents(model):
    """z and y of two images, 5 x 7 latents."""
    pairs = [random_latents(model._coder.file, 5, 7, seed) for seed in (1, 2)]
    z, y = (torch.from_numpy(np.stack(a)) for a in zip(*pairs, strict=True))
    return z, y


def test_operators_pass_torchs_own_checks(model, latents):
    z, y = latents
    key = model._coder.key
    payload, sizes, y_hat = torch.ops.jahp_fast.encode_latents(z, y, [0] * len(y), key)
    assert torch.equal(y_hat, y)
    assert payload.dtype == torch.uint8
    assert int(sizes[:, 0].sum()) == len(payload)
    arguments = (payload, sizes[:, 0].tolist(), sizes[:, 1].tolist(), [0, 0], key, 5, 7)
    back = torch.ops.jahp_fast.decode_latents(*arguments)
    assert torch.equal(back[0], z)
    assert torch.equal(back[1], y)
    for operator, sample in ((ops.encode_latents, (z, y, [0, 0], key)), (ops.decode_latents, arguments)):
        done = torch.library.opcheck(operator, sample)
        assert set(done.values()) == {"SUCCESS"}, done


def test_operators_stand_in_compiled_graphs(model, latents):
    z, y = latents
    key = model._coder.key

    def round_trip(z, y):
        payload, _, y_hat = torch.ops.jahp_fast.encode_latents(z, y * 1, [0] * len(y), key)
        return payload.sum(dtype=torch.int64), y_hat + 1

    def tail(payload, sizes, lanes):
        _, y = torch.ops.jahp_fast.decode_latents(payload, sizes, lanes, [0, 0], key, 5, 7)
        return y.float().sum((1, 2)) * 2

    payload, sizes, _ = ops.encode_latents(z, y, [0] * len(y), key)
    arguments = (payload, sizes[:, 0].tolist(), sizes[:, 1].tolist())
    total, plus = torch.compile(round_trip, fullgraph=True, backend="aot_eager")(z, y)
    assert int(total) == int(payload.sum(dtype=torch.int64))
    assert torch.equal(plus, y + 1)
    assert torch.equal(torch.compile(tail, fullgraph=True, backend="aot_eager")(*arguments), tail(*arguments))


def test_operators_refuse(model, latents):
    z, y = latents
    key = model._coder.key
    for a, b, what in (
        (z[:1], y, "this model's are"), (z, y[..., :5], "this model's are"), (z[:, :1], y, "this model's are"),
        (z[0], y[0], "latents must be"),
        (z.long(), y, "int32 on one device"), (z, y.float(), "int32 on one device"), (z, y[:, :0], "latents must be"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=what):
            ops.encode_latents(a, b, [0] * len(b), key)
    wild = y.clone()
    wild[1, 0, 0, 0] = 40000
    with pytest.raises(UsageError, match=r"image 1: .*40000"):
        ops.encode_latents(z, wild, [0] * len(wild), key)
    payload, sizes, _ = ops.encode_latents(z, y, [0] * len(y), key)
    n, lanes = sizes[:, 0].tolist(), sizes[:, 1].tolist()
    for arguments, what in (
        ((payload[:-1], n, lanes), "do not go together"), ((payload, n, lanes[:1]), "do not go together"),
        ((payload[:0], [], []), "do not go together"),
        ((payload, [-1, sum(n) + 1], lanes), "do not go together"), ((payload.int(), n, lanes), "must be uint8"),
        ((payload, n, [3, 1]), "3 lanes"), ((payload, n, [128, 1]), "128 lanes"),
    ):  # fmt: skip
        with pytest.raises(JahpError, match=what):
            ops.decode_latents(*arguments, [0] * len(arguments[1]), key, 5, 7)
    with pytest.raises(UsageError, match="1 rows of z do not go together"):
        ops.decode_latents(payload, n, lanes, [0], key, 5, 7)
    with pytest.raises(UsageError, match="2 images, but 3 rows of z"):
        ops.encode_latents(z, y, [0, 0, 0], key)
    for call in (
        lambda: ops.encode_latents(z, y, [0, 0], "0" * 16), lambda: ops.decode_latents(payload, n, lanes, [0, 0], "0" * 16, 5, 7)
    ):  # fmt: skip
        with pytest.raises(UsageError, match=r"no coder of model 0{16} is alive"):
            call()


class FakeDevice:
    """A device backend that works on the CPU: native results, with the status that a kernel would write."""

    name = "fake"

    def __init__(self, model: ModelFile, device: str) -> None:
        self.native = backends.load("native", model)

    def start_batch(self, payloads, layouts):
        results = []
        for payload, layout in zip(payloads, layouts, strict=True):
            status = torch.zeros(8, dtype=torch.int32)
            try:
                z, y = (torch.from_numpy(a) for a in self.native.decode(payload.numpy().tobytes(), layout, 1)[:2])
            except FormatError:
                status[:2] = torch.tensor([4, 77])
                z, y = torch.zeros(2, 2, 8, dtype=torch.int32), torch.zeros(layout.height, layout.width, 12, dtype=torch.int32)
            results.append(DeviceResult(z, y, status))
        return results


def test_kernel_for_gpus(model, latents, monkeypatch):
    """What runs for CUDA tensors, with a device backend in their place."""
    z, y = latents
    payload, sizes, _ = ops.encode_latents(z, y, [0] * len(y), model._coder.key)
    n, lanes = sizes[:, 0].tolist(), sizes[:, 1].tolist()
    monkeypatch.setitem(model._coder._backends, "cpu", FakeDevice(model._coder.file, "cuda:0"))
    got = ops._decode_on_device(payload, n, lanes, [0, 0], model._coder.key, 5, 7)
    assert torch.equal(got[0], z)
    assert torch.equal(got[1], y)
    broken = payload.clone()
    broken[-8:] ^= 0x55
    with pytest.raises(FormatError, match="image 1: the words end before symbol 77"):
        ops._decode_on_device(broken, n, lanes, [0, 0], model._coder.key, 5, 7)

    def exhausted(payloads, layouts):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr(model._coder._backends["cpu"], "start_batch", exhausted)
    with pytest.raises(DeviceError, match="2 images of 7 x 5 latents: not enough memory on the device: CUDA out of memory") as caught:
        ops._decode_on_device(payload, n, lanes, [0, 0], model._coder.key, 5, 7)
    assert caught.value.__context__.__traceback__ is None


def test_every_status_has_words():
    result = DeviceResult(*(torch.zeros(1, dtype=torch.int32),) * 2, torch.zeros(8, dtype=torch.int32))
    check(result)
    for code, text in STATUS.items():
        result.status[:2] = torch.tensor([code, 41])
        with pytest.raises(FormatError) as caught:
            check(result)
        assert str(caught.value) == text.replace("{detail}", "41")


def test_checksums_equal_the_cores(model):
    for seed, size in enumerate([(1, 1), (3, 5), (9, 4)]):
        z, y = random_latents(model._coder.file, *size, seed, wild=0.5)
        got = checksum.symbol_checksums(torch.from_numpy(z)[None], torch.from_numpy(y)[None])
        assert got.tolist() == [_native.symbol_checksum(z, y)]
