# SPDX-License-Identifier: Apache-2.0
"""Model files: identity, verification, and every kind of damage ends in a ModelError."""

import copy
import gc
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from builders import SHIPPED, Case, random_model
from safetensors.numpy import load_file, save_file

from jahp_fast import Codec, JahpError
from jahp_fast.backends.native import NativeBackend
from jahp_fast.backends.reference import ReferenceBackend
from jahp_fast.entropy.model_file import ModelConfig, ModelFile, model_id, read_id, save_model, tensor_line
from jahp_fast.errors import ModelError
from jahp_fast.files import container

BACKENDS = (NativeBackend, ReferenceBackend)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return random_model(tmp_path_factory.mktemp("good") / "good.safetensors", Case("mbt2018"), seed=5)


def rebuilt(good, path, changes=None, without=(), config=None):
    """The good model with other tensors and a manifest that is true to them."""
    entropy = {k: v for k, v in (good.entropy | (changes or {})).items() if k not in without}
    save_model(path, config or good.config, entropy, {}, {})
    return path


def load_all(path):
    """Opens a file with everything that reads the entropy path."""
    file = ModelFile(path)
    for backend in BACKENDS:
        backend(file)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda file: pickle.loads(pickle.dumps(file))], ids=["copy", "pickle"])
def test_a_copy_holds_the_entropy_path_and_no_open_file(good, copied):
    file = ModelFile(SHIPPED)
    search = file.search
    twin = copied(file)
    assert (twin.id, twin.config) == (file.id, file.config)
    assert all(np.array_equal(twin.entropy[name], array) for name, array in file.entropy.items())
    with pytest.raises(ModelError, match=r"this copy of it holds the entropy path alone, not transform\.g_a\.0\.bias"):
        twin.read_transforms("g_a.0.bias")
    with pytest.raises(ModelError, match="entropy path alone"):
        twin.verify()
    del twin
    gc.collect()
    file.verify()  # its file is still open
    assert file.search is search


def test_reading_where_there_is_no_pread(good, monkeypatch):
    """As on Windows: threads share the file's position."""
    monkeypatch.delattr("os.pread")
    file = ModelFile(good.path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: file.verify(), range(40)))
    assert all(np.array_equal(file.entropy[name], array) for name, array in good.entropy.items())


def test_round_trip(good, tmp_path):
    path = rebuilt(good, tmp_path / "again.safetensors")
    again = ModelFile(path)
    assert again.id == good.id == read_id(path)
    assert again.config == good.config
    assert set(again.entropy) == set(good.entropy)
    assert all(np.array_equal(again.entropy[k], good.entropy[k]) for k in good.entropy)
    again.verify()


def test_the_id_is_the_manifest_s_hash(good):
    import hashlib

    lines = []
    for name, array in load_file(good.path).items():
        kind = {"uint8": "U8", "int8": "I8", "uint16": "U16", "int32": "I32"}[array.dtype.name]
        shape = "[" + ",".join(map(str, array.shape)) + "]"
        lines.append(f"{name} {kind} {shape} {hashlib.sha256(array.tobytes()).hexdigest()}\n")
    manifest = "".join(sorted(lines))
    assert manifest == good.manifest
    assert hashlib.sha256(manifest.encode()).digest()[:8] == good.id == model_id(manifest)


def test_the_id_names_every_value(good, tmp_path):
    ids = {good.id}
    for name, array in good.entropy.items():
        other = array.copy()
        other.flat[-1] += 1 if name != "h_s.0.weight" else -1
        ids.add(read_id(rebuilt(good, tmp_path / "other.safetensors", {name: other})))
    ids.add(read_id(rebuilt(good, tmp_path / "other.safetensors", config=replace(good.config, qualities=(1.0, 7.5)))))
    assert len(ids) == len(good.entropy) + 2


def test_lines_do_not_depend_on_memory_order():
    a = np.arange(12, dtype=np.int32).reshape(3, 4)
    assert tensor_line("a", a) == tensor_line("a", np.asfortranarray(a)) == tensor_line("a", a.astype(">i4"))
    assert tensor_line("a", a) != tensor_line("a", a.T)


def test_changed_tensors_are_noticed(good, tmp_path):
    """Tensors changed under an old manifest: the hash does not match, whichever it is."""
    tensors = load_file(good.path)
    metadata = {"jahp": "1", "manifest": good.manifest}
    for name in tensors:
        changed = tensors[name].copy()
        changed.flat[0] ^= 1
        path = tmp_path / "changed.safetensors"
        save_file(tensors | {name: changed}, path, metadata)
        with pytest.raises(ModelError, match=f"tensor {name} does not match the manifest"):
            ModelFile(path)
    for lie in ({k: v for k, v in tensors.items() if k != "entropy.tables.low"}, tensors | {"entropy.more": tensors["config"]}):
        save_file(lie, tmp_path / "lie.safetensors", metadata)
        with pytest.raises(ModelError, match="manifest does not list the tensors"):
            ModelFile(tmp_path / "lie.safetensors")


def test_other_tensors_are_verified_on_demand(good, tmp_path):
    path = tmp_path / "others.safetensors"
    search = {"search.curvature": np.ones(3, np.float32)}
    save_model(path, good.config, good.entropy, {"g_a.0.weight": np.ones(3, np.int16)}, {"unit": np.ones(2, np.float16)}, search)
    file = ModelFile(path)
    file.verify()
    assert file.read_transforms("g_a.")["g_a.0.weight"].tolist() == [1, 1, 1]
    assert (file.read_transforms("g_s."), list(file.search)) == ({}, ["search.curvature"])
    assert file.train["unit"].dtype == np.float32
    tensors = load_file(path)
    tensors["transform.g_a.0.weight"][1] = 2
    save_file(tensors, path, {"jahp": "1", "manifest": file.manifest})
    again = ModelFile(path)
    with pytest.raises(ModelError, match=r"tensor transform.g_a.0.weight does not match"):
        again.verify()


def test_no_model_files_at_all(good, tmp_path):
    path = tmp_path / "bad.safetensors"
    whole = good.path.read_bytes()
    for content in (b"", b"\0" * 7, b"\xff" * 64, b"\x10\0\0\0\0\0\0\0{not json at all}", np.random.default_rng(0).bytes(5000)):
        path.write_bytes(content)
        with pytest.raises(ModelError):
            ModelFile(path)
    rng = np.random.default_rng(1)
    for n in (1, 8, 100, len(whole) // 2, len(whole) - 1, *rng.integers(0, len(whole), 20).tolist()):
        path.write_bytes(whole[:n])
        with pytest.raises(ModelError):
            ModelFile(path)
        with pytest.raises(JahpError):
            Codec("bad", models=[path])
    for at in rng.integers(0, len(whole), 300).tolist():
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(ModelError):
            ModelFile(path)
    for missing in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(ModelError):
            ModelFile(missing)
        with pytest.raises(ModelError):
            read_id(missing)
    save_file({"weight": np.zeros(3, np.float32)}, path)
    with pytest.raises(ModelError, match="not an exported jahp model"):
        ModelFile(path)


TENSORS = ["h_s.0.weight", "h_s.2.bias", "h_s.4.mul_pos", "h_s.0.mul_neg", "h_s.2.shift", "h_s.4.zero", "context_prediction.weight",
           "entropy_parameters.0.weight", "entropy_parameters.2.bias", "entropy_parameters.4.shift", "context_input.mul",
           "context_input.add", "context_input.shift", "z_offset", "tables.low", "tables.size", "tables.starts", "scale.row",
           "scale.drop", "scale.thresholds"]  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", TENSORS)
def test_missing_and_misshapen_tensors(good, tmp_path, name, backend):
    array = good.entropy[name]
    faults = {
        "missing": None,
        "wider type": array.astype(np.int32 if array.dtype != np.int32 else np.float32),
        "one element fewer": array[:-1],
        "one dimension more": array[None],
        "empty": array[:0],
    }
    path = tmp_path / "bad.safetensors"
    for fault, other in faults.items():
        rebuilt(good, path, None if other is None else {name: other}, without=(name,) if other is None else ())
        with pytest.raises(ModelError) as caught:
            backend(ModelFile(path))
        assert "\n" not in str(caught.value), fault


def extreme(array, index, value):
    out = array.copy()
    out.flat[index] = value
    return out


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "index", "value", "what"),
    [
        ("h_s.0.bias", 0, 2**31 - 1, "could overflow 32 bits"),
        ("context_prediction.bias", 1, -(2**31), "could overflow 32 bits"),
        ("entropy_parameters.4.bias", 2, 2**31 - 1, "could overflow 32 bits"),
        ("h_s.2.shift", 0, 0, "shift is not in 1..62"),
        ("h_s.2.shift", 0, 63, "shift is not in 1..62"),
        ("entropy_parameters.0.mul_pos", 0, -1, "multiplier is negative"),
        ("entropy_parameters.0.mul_neg", 3, -5, "multiplier is negative"),
        ("h_s.4.weight", 7, -128, "weight of -128"),
        ("h_s.4.zero", 0, 4096, "zero is not in -4095..4095"),
        ("context_input.mul", 0, 32769, r"context_input.mul is out of range"),
        ("context_input.shift", 0, 32, r"context_input.shift is out of range"),
        ("context_input.shift", 0, -1, r"context_input.shift is out of range"),
        ("z_offset", 0, 1 << 20, "z_offset is out of range"),
        ("tables.starts", 0, 1, "row 0: does not start at 0"),
        ("tables.starts", 2, 0, "row 0: starts do not rise"),
        ("tables.size", 0, 0, "row 0: size 0"),
        ("tables.low", 0, 65536, "row 0: low 65536"),
        ("scale.row", 0, -1, "scale row is outside of the tables"),
        ("scale.row", -1, 10_000, "scale row is outside of the tables"),
        ("scale.drop", 0, 7, "scale drop is not in"),
        ("scale.drop", 0, -1, "scale drop is not in"),
        ("scale.thresholds", 0, 2**31 - 1, "scale thresholds do not rise"),
    ],
)
def test_values_out_of_range(good, tmp_path, backend, name, index, value, what):
    path = rebuilt(good, tmp_path / "bad.safetensors", {name: extreme(good.entropy[name], index, value)})
    with pytest.raises(ModelError, match=what):
        backend(ModelFile(path))


@pytest.mark.parametrize("backend", BACKENDS)
def test_config_and_tensors_that_contradict_each_other(good, tmp_path, backend):
    for change in ({"latents": 11}, {"hyper_latents": 7}, {"latents": 13}, {"mean_bits": 3},
                   {"prob_bits": 16, "mean_bits": 2}, {"architecture": "bmshj2018-hyperprior"}):  # fmt: skip
        path = rebuilt(good, tmp_path / "bad.safetensors", config=replace(good.config, **change))
        with pytest.raises(ModelError):
            backend(ModelFile(path))


BAD_CONFIGS = [
    {"version": 2}, {"architecture": "vvc"}, {"architecture": ["mbt2018"]}, {"architecture": None}, {"form": "C"}, {"form": ["A"]},
    {"latents": "12"}, {"latents": 12.0}, {"latents": True}, {"latents": 0}, {"latents": 2**40}, {"latents": -1}, {"hyper_latents": -1},
    {"hyper_latents": 0}, {"hyper_latents": 2**31}, {"activation_bits": 12}, {"mean_bits": 9}, {"mean_bits": -1}, {"mean_bits": 2**70},
    {"z_bits": 9}, {"z_bits": -1}, {"prob_bits": 14}, {"prob_bits": 17}, {"qualities": []}, {"qualities": [1, 1]},
    {"qualities": [4, 2]}, {"qualities": [0.5]}, {"qualities": [9]}, {"qualities": ["1"]}, {"qualities": 4}, {"qualities": {"1": 2}},
    {"qualities": [float("nan")]}, {"qualities": [1, float("nan"), 8]}, {"qualities": [True]}, {"more": 1},
    {"architecture": "mbt2018-context"}, {"architecture": "bmshj2018-hyperprior", "form": "B"},
]  # fmt: skip


@pytest.mark.parametrize("change", BAD_CONFIGS, ids=str)
def test_config_fields(good, tmp_path, change):
    fields = json.loads(good.config.to_json()) | change
    with pytest.raises(ModelError, match="config"):
        ModelConfig.from_json(json.dumps(fields).encode())


NOT_CONFIGS = [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b'{"version":1}', b"[" * 100_000]


@pytest.mark.parametrize("text", NOT_CONFIGS, ids=lambda t: str(t[:12]))
def test_config_is_no_json_or_no_object(text):
    with pytest.raises(ModelError, match="config"):
        ModelConfig.from_json(text)


def test_config_round_trip(good):
    assert ModelConfig.from_json(good.config.to_json()) == good.config


def test_a_model_without_config(good, tmp_path):
    tensors = {k: v for k, v in load_file(good.path).items() if k != "config"}
    manifest = "".join(tensor_line(k, tensors[k]) + "\n" for k in sorted(tensors))
    save_file(tensors, tmp_path / "bad.safetensors", {"jahp": "1", "manifest": manifest})
    with pytest.raises(ModelError, match="has no config"):
        ModelFile(tmp_path / "bad.safetensors")


def test_transforms_that_are_missing(good, tmp_path, photo_crop):
    """A model file with an entropy path but no transforms decodes latents; pixels are refused with a clear word."""
    path = rebuilt(good, tmp_path / "mute.safetensors")
    codec = Codec("mute", models=[path])
    with pytest.raises(ModelError, match="g_a"):
        codec.encode(photo_crop[:20, :20])


def test_transforms_of_the_wrong_shape(tiny_models, tmp_path, photo_crop):
    tiny = ModelFile(tiny_models["tiny"])
    transforms = tiny.read_transforms("")
    gain, weight = transforms["gain"], transforms["g_s.0.weight"]
    data = Codec("tiny", models=[tiny_models["tiny"]]).encode(photo_crop[:20, :20])
    for change, name in (
        ({"g_s.0.weight": weight[:-1]}, r"g_s.0.weight has the shape \(11, 8, 5, 5\); \(12, 8, 5, 5\) is needed"),
        ({"g_s.6.weight": weight}, r"g_s.6.weight has the shape \(12, 8, 5, 5\); \(8, 8, 3, 5, 5\) is needed"),
        ({"g_s.2.shift": transforms["g_s.2.bias"][:8]}, "g_s.2.shift has the type int32; uint8 is needed"),
        ({"inv_gain": gain[:, :-1]}, "inv_gain has"),
        ({"gain": gain[:3]}, "gain has"),
        ({"h_a.2.bias": gain}, "h_a.2.bias has"),
        ({"g_a.1.gamma": gain}, "g_a.1.gamma has"),
    ):
        save_model(tmp_path / "bad.safetensors", tiny.config, tiny.entropy, transforms | change, {})
        codec = Codec("bad", models=[tmp_path / "bad.safetensors"])
        stream = container.Stream(**{**container.unpack(data).__dict__, "model": bytes.fromhex(codec.model_id)})
        with pytest.raises(ModelError, match=name):
            codec.decode(container.pack(stream)) if "g_s" in name or "inv" in name else codec.encode(photo_crop[:20, :20])


def test_the_shipped_model_is_whole():
    file = ModelFile(SHIPPED)
    file.verify()
    assert file.config.architecture == "mbt2018"
    assert file.config.qualities == tuple(float(q) for q in range(1, 9))
    load_all(SHIPPED)
