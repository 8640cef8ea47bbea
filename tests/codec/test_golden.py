# SPDX-License-Identifier: Apache-2.0
"""Streams of this and earlier releases decode to the latents that they always had (made by golden/make_golden.py)."""

import hashlib
import json
from functools import cache
from pathlib import Path

import golden_pictures as pictures
import numpy as np
import pytest

from jahp_fast import Codec, JahpError, _native
from jahp_fast.backends.native import NativeBackend
from jahp_fast.entropy import reference
from jahp_fast.entropy.integer_net import IntegerLayer
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import FormatError
from jahp_fast.files import container
from jahp_fast.files.alpha import unpack_alpha
from jahp_fast.pipelines.entropy_path import layout_of

GOLDEN = Path(__file__).parents[1] / "golden"
ENTRIES = json.loads((GOLDEN / "golden.json").read_text())
INVALID = json.loads((GOLDEN / "invalid" / "invalid.json").read_text())


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array, "<i4").tobytes()).hexdigest()


@cache
def codec(backend):
    return Codec("mbt2018-A-a8-p15", backend=backend, threads=2, models=sorted(GOLDEN.glob("*.safetensors")))


def parts(name):
    """The stream, its model and its layout."""
    stream = container.unpack((GOLDEN / f"{name}.jahp").read_bytes())
    model = ModelFile(GOLDEN / f"{ENTRIES[name]['model']}.safetensors")
    return stream, model, layout_of(stream, model)


@pytest.mark.parametrize("name", sorted(ENTRIES))
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_latents(backend, name):
    entry = ENTRIES[name]
    latents = codec(backend).decode_latents((GOLDEN / f"{name}.jahp").read_bytes())
    assert list(latents.y.shape) == entry["shape"]
    assert digest(latents.y) == entry["y"]
    assert (None if latents.z is None else digest(latents.z)) == entry["z"]


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_encoding_the_latents_gives_the_payload_again(name):
    stream, model, layout = parts(name)
    backend = NativeBackend(model)
    z, y, _ = backend.decode(stream.payload, layout, 1)
    assert backend.encode(z, y, layout, 3)[0] == stream.payload


PICTURED = sorted(name for name, entry in ENTRIES.items() if "pixels" in entry)


@pytest.mark.parametrize("name", PICTURED)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_pixels(backend, name):
    data = (GOLDEN / f"{name}.jahp").read_bytes()
    shown = codec(backend).decode(data, dtype=np.uint8)
    if "alpha" in ENTRIES[name]:
        shown = shown[:, :, :3]
    assert hashlib.sha256(np.ascontiguousarray(shown).tobytes()).hexdigest() == ENTRIES[name]["pixels"]
    assert name == "pictures-0" or len(np.unique(shown)) > 50


@pytest.mark.parametrize("name", sorted(name for name, entry in ENTRIES.items() if "deep" in entry))
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_deep_pixels(backend, name):
    shown = codec(backend).decode((GOLDEN / f"{name}.jahp").read_bytes())
    assert shown.dtype == np.uint16
    assert hashlib.sha256(shown.astype("<u2").tobytes()).hexdigest() == ENTRIES[name]["deep"]


@pytest.mark.parametrize("isa", _native.isa_names())
def test_pictures_give_their_files(isa, monkeypatch):
    """One picture, one file."""
    monkeypatch.setenv("JAHP_FAST_ISA", isa)
    for i, (model, height, width, channels, quality) in enumerate(pictures.PICTURES):
        encoder = Codec(model, quality, models=[GOLDEN / f"{model}.safetensors"], drawings=False)
        assert encoder.encode(pictures.picture(i, height, width, channels)) == (GOLDEN / f"{model}-{i}.jahp").read_bytes()
    for i, (height, width, channels, depth) in enumerate(pictures.DEEP):
        encoder = Codec("pictures", 5.05 + i, models=[GOLDEN / "pictures.safetensors"])
        deep = pictures.deep_picture(i, height, width, channels, depth)
        assert encoder.encode(deep, depth=depth) == (GOLDEN / f"pictures-deep-{i}.jahp").read_bytes()


def test_everything_is_covered():
    streams = {name: parts(name) for name in ENTRIES}
    assert {p.stem for p in GOLDEN.glob("*.jahp")} == set(ENTRIES)
    configs = [model.config for _, model, _ in streams.values()]
    for architecture in ("bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean", "mbt2018-context", "mbt2018"):
        forms = {(c.form, c.activation_bits) for c in configs if c.architecture == architecture}
        wanted = {("A", 8), ("A", 16)}
        if architecture not in ("bmshj2018-factorized", "bmshj2018-hyperprior"):
            wanted |= {("B", 8), ("B", 16)}
        assert wanted <= forms
    assert {c.prob_bits for c in configs} == {15, 16}
    assert {s.lanes for s, _, _ in streams.values()} == {1, 2, 4, 8, 16, 32, 64}
    assert {s.mode for s, _, _ in streams.values()} == {"RGB", "L"}
    assert len({s.skip for s, _, _ in streams.values()}) >= 4
    copied = [model.config for s, model, _ in streams.values() if container.COPIES in s.chunks]
    assert {c.form for c in copied} == {"A", "B"}
    assert len({c.architecture for c in copied}) >= 3
    assert {i.config.architecture for _, i, _ in (streams[name] for name in PICTURED)} >= {"mbt2018", "bmshj2018-factorized"}
    assert {streams[name][0].mode for name in PICTURED} == {"RGB", "L"}
    assert len({(s.width % 16, s.height % 16) for s, _, _ in streams.values()}) >= 6
    padded = streams["padded"][0]
    assert len(padded.payload) == container.min_payload_bytes(padded.width, padded.height)
    assert padded.payload.endswith(bytes(16))
    assert any(int.from_bytes(s.payload[:4], "little") > 0 for s, _, _ in streams.values())  # escapes


def test_chunks():
    stream, _, _ = parts("alpha")
    assert list(stream.chunks) == [b"ALPH", b"iccp", b"exif", b"xmp_", b"anci"]
    alpha = unpack_alpha(stream.chunks[b"ALPH"], stream.height, stream.width)
    assert hashlib.sha256(alpha.tobytes()).hexdigest() == ENTRIES["alpha"]["alpha"]
    assert parts("metadata")[0].chunks[b"xmp_"] == b"<x:xmpmeta/>"


@pytest.mark.parametrize("name", sorted(INVALID))
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_invalid_streams_are_refused(backend, name):
    """Each for the reason that golden/make_invalid.py gave it, in the words that it had then."""
    with pytest.raises(FormatError) as caught:
        codec(backend).decode_latents((GOLDEN / "invalid" / f"{name}.jahp").read_bytes())
    assert str(caught.value) == INVALID[name][backend]


def test_the_makers_would_write_the_same_again():
    """The invalid streams, made anew, do not differ by a byte."""
    import make_invalid

    for name, (source, _, make) in make_invalid.CASES.items():
        assert make(make_invalid.Source(source)) == (GOLDEN / "invalid" / f"{name}.jahp").read_bytes(), name


def changed(tensors, name):
    """The tensors with one number of one of them made another."""
    array = tensors[name].copy()
    if name.endswith(".weight"):
        at = np.unravel_index(np.argmax(np.abs(array[:, :, :1, :1].astype(int))), array[:, :, :1, :1].shape)
        array[at] = -array[at]
    elif name == "tables.starts":
        gaps = np.where(array[:-1] > 0, np.diff(array.astype(int)), 0)
        array[int(np.argmax(gaps))] += 1
    else:
        array.flat[0] += 1 << 20 if name.endswith("bias") else 1
    return tensors | {name: array}


@pytest.mark.parametrize(
    "tensor",
    ["h_s.0.weight", "h_s.2.weight", "h_s.4.weight", "context_prediction.weight", "entropy_parameters.0.weight", "z_offset",
     "entropy_parameters.2.weight", "entropy_parameters.4.weight", "entropy_parameters.4.bias", "h_s.4.zero", "entropy_parameters.2.shift",
     "tables.starts", "tables.low", "scale.row", "scale.drop", "context_input.shift"],
)  # fmt: skip
def test_a_decoder_with_one_other_number_fails(tensor):
    """The digests are worth something: a decoder that differs in one number of one tensor gives other latents, or an error."""
    stream, model, layout = parts("large")
    other = _native.EntropyModel(model.config.as_native(), changed(model.entropy, tensor))
    try:
        z, y, _ = other.decode(stream.payload, layout.height, layout.width, layout.lanes, layout.skip, layout.min_bytes, 1)
    except JahpError:
        return
    entry = ENTRIES["large"]
    assert (digest(z.transpose(2, 0, 1)), digest(y.transpose(2, 0, 1))) != (entry["z"], entry["y"])


@pytest.mark.parametrize("change", ["rounding", "order", "clamp"])
def test_a_decoder_of_other_arithmetic_fails(monkeypatch, change):
    stream, model, layout = parts("large")
    if change == "rounding":
        exact = IntegerLayer.requantise
        monkeypatch.setattr(IntegerLayer, "requantise", lambda self, p: exact(self, p - (1 << 7)))
    elif change == "order":
        straight = reference.wavefront
        monkeypatch.setattr(reference, "wavefront", lambda h, w, slope: (step[::-1] for step in straight(h, w, slope)))
    else:
        monkeypatch.setattr(reference.ReferenceModel, "context_input", lambda self, y: np.clip(y, -5, 5))
    try:
        z, y = reference.decode(reference.ReferenceModel(model), stream.payload, layout)
    except JahpError:
        return
    entry = ENTRIES["large"]
    assert (digest(z.transpose(2, 0, 1)), digest(y.transpose(2, 0, 1))) != (entry["z"], entry["y"])
