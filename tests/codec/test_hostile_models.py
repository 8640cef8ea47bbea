# SPDX-License-Identifier: Apache-2.0
"""Model files made to do harm: every one is refused as a ModelError, soon, and no sum of a model that is let in can leave 32 bits."""

import os
import resource
import time
from collections import defaultdict

import independent
import numpy as np
import pytest
from broken_models import HOSTILE
from builders import Case, random_latents, random_model
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jahp_fast import Codec, JahpError
from jahp_fast.backends.native import NativeBackend
from jahp_fast.backends.reference import ReferenceBackend
from jahp_fast.entropy import integer_net, reference
from jahp_fast.entropy.check import check_entropy
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.entropy.model_file import ModelFile, read_id, save_model, tensor_line
from jahp_fast.entropy.tensor_file import TensorFile
from jahp_fast.errors import ModelError
from jahp_fast.files import container


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files(tmp_path, what):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(HOSTILE[what])
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    for function in (TensorFile, read_id, ModelFile, lambda p: Codec("bad", models=[p])):
        with pytest.raises(ModelError) as caught:
            function(path)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600
    assert time.process_time() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_files_are_closed(tmp_path):
    open_files = len(os.listdir("/proc/self/fd"))
    for i, data in enumerate(HOSTILE.values()):
        path = tmp_path / f"{i}.safetensors"
        path.write_bytes(data)
        with pytest.raises(ModelError):
            TensorFile(path)
    random_model(tmp_path / "good.safetensors", Case("mbt2018-mean"), seed=1)
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_the_reader_and_safetensors_own_one_agree(tmp_path):
    """On good files tensor by tensor; on damaged ones nothing is read that safetensors refuses."""
    rng = np.random.default_rng(0)
    kinds = ("uint8", "int8", "uint16", "int32", "float16", "float32")
    arrays = {f"{kind}.{n}": rng.integers(0, 100, n).astype(kind) for kind in kinds for n in (0, 1, 7)}
    arrays |= {"scalar": np.array(3.0, np.float32), "cube": np.arange(24, dtype=np.int32).reshape(2, 3, 4)}
    good = save(arrays, {"a": "ü", "b": ""})
    path = tmp_path / "any.safetensors"
    path.write_bytes(good)
    mine = TensorFile(path)
    assert set(mine.names) == set(arrays)
    assert mine.metadata == {"a": "ü", "b": ""}
    for name, array in arrays.items():
        assert mine.read(name).dtype == array.dtype
        assert np.array_equal(mine.read(name), array)
    length = int.from_bytes(good[:8], "little")
    accepted = 0
    for _ in range(800):
        damaged = bytearray(good)
        for _ in range(int(rng.integers(1, 4))):
            damaged[int(rng.integers(8 + length))] = int(rng.choice([*b'0123456789{}[]",:', int(rng.integers(256))]))
        path.write_bytes(damaged)
        try:
            names = TensorFile(path).names
        except ModelError:
            continue
        accepted += 1
        try:
            with safe_open(path, framework="numpy") as theirs:
                assert set(theirs.keys()) == set(names)
        except SafetensorError as e:
            raise AssertionError(f"{bytes(damaged[8 : 8 + length])!r}: {e}") from None
    assert accepted > 20


# Manifests


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return random_model(tmp_path_factory.mktemp("good") / "good.safetensors", Case("mbt2018"), seed=5)


def tensors_of(model):
    return {"config": np.frombuffer(model.config.to_json(), np.uint8)} | {f"entropy.{name}": array for name, array in model.entropy.items()}


def manifest_of(tensors):
    return "".join(tensor_line(name, tensors[name]) + "\n" for name in sorted(tensors))


MANIFESTS = {
    "empty": lambda m: "",
    "without the last line feed": lambda m: m[:-1],
    "with an empty line": lambda m: m + "\n",
    "with a line twice": lambda m: m + m.splitlines(keepends=True)[-1],
    "in another order": lambda m: "".join(reversed(m.splitlines(keepends=True))),
    "with two spaces": lambda m: m.replace(" U8 ", "  U8 "),
    "with capital digits": lambda m: m[:-65] + m[-65:].upper(),
    "with carriage returns": lambda m: m.replace("\n", "\r\n"),
    "with another line separator": lambda m: m.replace("\n", "\u2028"),
    "of another hash": lambda m: m[:-3] + ("0" if m[-3] != "0" else "1") + m[-2:],
    "with another shape": lambda m: m.replace("[6,", "[06,").replace("[8]", "[8,1]"),
    "with a tensor that is not there": lambda m: m + "zzz U8 [0] e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n",
    "one of a hundred thousand lines": lambda m: m * 2_000,
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_hostile_manifests(good, tmp_path, what):
    tensors = tensors_of(good)
    path = tmp_path / "bad.safetensors"
    path.write_bytes(save(tensors, {"jahp": "1", "manifest": manifest_of(tensors)}))
    assert ModelFile(path).id == good.id
    path.write_bytes(save(tensors, {"jahp": "1", "manifest": MANIFESTS[what](manifest_of(tensors))}))
    with pytest.raises(ModelError, match=r"manifest|safetensors"):
        ModelFile(path)


def test_a_wrong_id_is_no_model_for_a_stream(good):
    """One changed number changes the id, and a stream of the other model is not decoded by this one."""
    stream = container.Stream(16, 16, "RGB", 4.0, bytes(8), 1, 0, 0, bytes(12), {})
    with pytest.raises(JahpError, match="0000000000000000"):
        Codec("good", models=[good.path]).decode(container.pack(stream))


# No sum leaves 32 bits


LAYERS = ("h_s.0", "h_s.2", "h_s.4", "context_prediction", "entropy_parameters.0", "entropy_parameters.2", "entropy_parameters.4")
LIMIT = 2**31 - 1


def at_the_limit(model):
    """Its tensors with every weight ±127, signs that let all products of positive inputs add up, and biases that take each
    output's sum to 2^31 - 1 or to its negative where all taps lie inside. Activations then are ±limit."""
    tensors, limit = dict(model.entropy), model.config.activation_limit
    signs = defaultdict(lambda: np.ones(1, int))
    for name in LAYERS:
        weight = tensors[f"{name}.weight"]
        outputs, inputs, k, _ = weight.shape
        into = np.ones(inputs, int)
        if name == "h_s.2":
            into = signs["h_s.0"]
        elif name == "h_s.4":
            into = signs["h_s.2"]
        elif name == "entropy_parameters.0":
            into = np.concatenate([signs["h_s.4"], signs["context_prediction"]])
        elif name != "context_prediction" and name.startswith("entropy"):
            into = signs[f"entropy_parameters.{int(name[-1]) - 2}"]
        signs[name] = np.where(np.arange(outputs) % 3 == 1, -1, 1)
        tensors[f"{name}.weight"] = np.broadcast_to(127 * np.outer(signs[name], into)[:, :, None, None], weight.shape).astype(np.int8)
        taps = {"h_s.0": 9, "h_s.2": 9, "context_prediction": k * k // 2}.get(name, k * k)
        tensors[f"{name}.bias"] = (signs[name] * (LIMIT - 127 * limit * inputs * taps)).astype(np.int32)
        last = name == "entropy_parameters.4"
        for part in ("mul_pos", "mul_neg"):
            tensors[f"{name}.{part}"] = np.full(outputs, 300 if last else LIMIT, np.int32)
        tensors[f"{name}.shift"] = np.full(outputs, 31, np.int32)
        tensors[f"{name}.zero"] = np.zeros(outputs, np.int32)
    tensors["z_offset"] = np.full_like(tensors["z_offset"], (1 << 20) - 1)
    m = model.config.latents
    tensors |= {"context_input.mul": np.full(m, 32768, np.int32), "context_input.add": np.full(m, LIMIT, np.int32),
                "context_input.shift": np.zeros(m, np.int32)}  # fmt: skip
    return tensors


@pytest.mark.parametrize("form", ["A", "B"])
@pytest.mark.parametrize("bits", [8, 16])
def test_sums_at_the_limit_are_right(tmp_path, monkeypatch, bits, form):
    """Weights, biases, multipliers and activations as large as they may be: every layer's sum reaches ±(2^31 - 1), the C++ core, the
    reference and the decoder of the page agree, and one more in any bias is refused."""
    model = random_model(tmp_path / "limit.safetensors", Case("mbt2018", form, bits), seed=11, N=3, M=4, z_bits=8, mean_bits=8)
    tensors = at_the_limit(model)
    save_model(model.path, model.config, tensors, {}, {})
    model = ModelFile(model.path)
    reached = defaultdict(int)
    exact = integer_net.IntegerLayer.requantise

    def watched(self, products):
        total = products.astype(np.int64) + self.bias
        reached[id(self.weight)] = max(reached[id(self.weight)], int(np.abs(total).max()))
        scaled = [int(t) * LIMIT for t in (total.max(), total.min())]
        assert all(abs(s) < 2**62 for s in scaled)
        return exact(self, products)

    h, w = 12, 13
    z, y = random_latents(model, h, w, seed=3, wild=0)
    z, y = np.full_like(z, 32767), np.full_like(y, 30_000 << model.config.frac_bits)
    layout = StreamLayout(h, w, 2)
    payload, seen, lanes, _ = NativeBackend(model).encode(z, y, layout, 2)
    monkeypatch.setattr(integer_net.IntegerLayer, "requantise", watched)
    slow = ReferenceBackend(model)
    assert slow.encode(z, y, layout, 1)[0] == payload
    read = slow.decode(payload, layout, 1)
    assert np.array_equal(read[1], seen)
    assert sorted(reached.values()) == [LIMIT] * len(LAYERS)
    read = NativeBackend(model).decode(payload, layout, 2)
    assert np.array_equal(read[0], z)
    assert np.array_equal(read[1], seen)
    stream = container.Stream(16 * w, 16 * h, "RGB", 4.0, model.id, lanes, 0, reference.symbol_checksum(z, seen), payload, {})
    z_read, y_read, _ = independent.decode(independent.parse(container.pack(stream)), independent.Model(model.path))
    assert np.array_equal(z_read, z)
    assert np.array_equal(y_read, seen)
    for name in LAYERS:
        more = tensors[f"{name}.bias"].copy()
        more[1] += np.sign(more[1])
        with pytest.raises(ModelError, match=rf"{name}: output 1 could overflow 32 bits"):
            check_entropy(model.config, tensors | {f"{name}.bias": more})
