# SPDX-License-Identifier: Apache-2.0
"""Whatever bytes come in through Python: a result or a JahpError, never another exception.

pytest tests/robustness/test_fuzz.py                                  # some thousand examples, always the same
pytest tests/robustness/test_fuzz.py --hypothesis-profile=long        # 2,000 of each kind, others each time
"""

import io
import json
import warnings

import numpy as np
import pytest
from builders import Case, random_latents, random_model, with_crc
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

import jahp_fast.integrations.pillow
from jahp_fast import Codec, FormatError, JahpError, _native
from jahp_fast.backends.native import NativeBackend
from jahp_fast.backends.reference import ReferenceBackend
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.entropy.model_file import ModelConfig, ModelFile, save_model, tensor_line
from jahp_fast.errors import ModelError
from jahp_fast.files import container


def examples(count):
    """So many, the same each time; with the profile "long" as many as that says."""
    long = settings.get_profile("long")
    return long if settings.get_current_profile_name() == "long" else settings(long, max_examples=count, derandomize=True)


CASES = [Case("mbt2018"), Case("mbt2018", "B", 16, 16), Case("mbt2018-mean"), Case("bmshj2018-factorized")]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    return [random_model(folder / f"{i}.safetensors", case, seed=i, N=3, M=4) for i, case in enumerate(CASES)]


@pytest.fixture(scope="module")
def codecs(models):
    files = [m.path for m in models]
    return [Codec("0", models=files, backend=backend, threads=1, max_pixels=1 << 16) for backend in ("native", "reference")]


def stream_of(model):
    z, y = random_latents(model, 2, 3, seed=1)
    payload, seen, lanes, _ = NativeBackend(model).encode(z, y, StreamLayout(2, 3, 2, 0, 1), 1)
    chunks = {b"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0", b"anci": b"x"}
    return container.Stream(40, 20, "RGB", 4.0, model.id, lanes, 0, _native.symbol_checksum(z, seen), payload, chunks)


@st.composite
def edits(draw):
    """(place as a share of the length, kind, byte) of changes to some bytes."""
    return draw(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(["set", "flip", "insert", "drop", "cut"]),
                                   st.integers(0, 255)), min_size=1, max_size=6))  # fmt: skip


def edited(data, changes):
    out = bytearray(data)
    for place, kind, byte in changes:
        at = int(place * len(out))
        if kind == "insert":
            out.insert(at, byte)
        elif kind == "cut":
            del out[at:]
        elif out and kind == "drop":
            del out[at]
        elif out:
            out[at] = byte if kind == "set" else out[at] ^ (1 << byte % 8)
    return bytes(out)


def checks_out(data):
    """A result or an error of the container; a result packs to the same bytes again."""
    try:
        stream = container.unpack(data)
    except FormatError:
        return None
    assert container.pack(stream) == data
    return stream


@examples(200)
@given(st.binary(max_size=200))
def test_any_bytes_as_a_file(data):
    for prefix in (b"", b"JAHP", b"JAHP\x01"):
        checks_out(prefix + data)
    if len(data) >= 44:
        checks_out(with_crc(b"JAHP\x01" + data[5:]))


CHUNK_TYPES = st.binary(min_size=4, max_size=4) | st.sampled_from(sorted(container.KNOWN_CHUNKS))


@examples(150)
@given(
    st.tuples(*[st.integers(0, 2**bits - 1) | st.sampled_from([0, 1, 2, 20, 160]) for bits in (8, 8, 8, 32, 32, 16, 16, 32)]),
    st.binary(max_size=60),
    st.lists(st.tuples(CHUNK_TYPES, st.binary(max_size=9)), max_size=3),
)
def test_any_fields_in_a_whole_file(models, codecs, fields, payload, chunks):
    """Lengths and checksums are true, all else is anything."""
    mode, lanes, skip, width, height, quality, reserved, checksum = fields
    tail = b"".join(kind + len(data).to_bytes(4, "little") + data for kind, data in chunks)
    header = b"JAHP\x01" + bytes([mode, lanes, skip]) + models[skip % len(models)].id
    for number, size in ((width, 4), (height, 4), (quality, 2), (reserved, 2), (len(payload), 4), (len(tail), 4), (checksum, 4), (0, 4)):
        header += number.to_bytes(size, "little")
    data = with_crc(header + payload + tail)
    checks_out(data)
    same_from_both(codecs, data)


def latents_or_none(codec, data):
    try:
        return codec.decode_latents(data)
    except JahpError:
        return None


def same_from_both(codecs, data):
    fast, slow = (latents_or_none(codec, data) for codec in codecs)
    assert (fast is None) == (slow is None)
    if fast is not None and slow is not None:
        assert np.array_equal(fast.y, slow.y)


@examples(150)
@given(st.integers(0, len(CASES) - 1), edits(), st.booleans())
def test_edited_streams(models, codecs, number, changes, only_payload):
    stream = stream_of(models[number])
    if only_payload:
        data = container.pack(container.Stream(**stream.__dict__ | {"payload": edited(stream.payload, changes) or b"\0"}))
    else:
        data = edited(container.pack(stream), changes)
        data = with_crc(data) if len(data) >= 44 else data
    same_from_both(codecs, data)


@examples(60)
@given(st.integers(0, len(CASES) - 1), edits(), st.booleans())
def test_edited_model_files(models, tmp_path_factory, number, changes, header_only):
    """Refused, or the very same integers."""
    data = models[number].path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    path = models[0].path.with_name("edited.safetensors")
    path.write_bytes(edited(data[:end], changes) + data[end:] if header_only else edited(data, changes))
    try:
        file = ModelFile(path)
        for backend in (NativeBackend, ReferenceBackend):
            backend(file)
    except ModelError:
        pass
    else:
        assert file.id == models[number].id
        assert all(np.array_equal(file.entropy[name], models[number].entropy[name]) for name in file.entropy)


@examples(80)
@given(st.data())
def test_models_of_other_numbers(models, data):
    """True manifests over any numbers: what the file's rules let in, both backends take or both refuse, and
    decode alike."""
    model = models[data.draw(st.integers(0, len(CASES) - 1))]
    tensors = {name: array.copy() for name, array in model.entropy.items()}
    for _ in range(data.draw(st.integers(1, 4))):
        array = tensors[data.draw(st.sampled_from(sorted(tensors)))]
        info = np.iinfo(array.dtype)
        value = st.sampled_from([int(info.min), int(info.max), 0, 1, 127]) | st.integers(int(info.min), int(info.max))
        array.flat[data.draw(st.integers(0, max(0, array.size - 1)))] = data.draw(value)
    path = model.path.with_name("numbers.safetensors")
    save_model(path, model.config, tensors, {}, {})
    try:
        file = ModelFile(path)
    except ModelError:  # one set of rules for all backends refuses it before any of them is made
        return
    backends = []
    for backend in (NativeBackend, ReferenceBackend):
        try:
            backends.append(backend(file))
        except ModelError:
            backends.append(None)
    assert (backends[0] is None) == (backends[1] is None)
    if backends[0] is None:
        return
    stream, results = stream_of(model), []
    for backend in backends:
        try:
            z, y, _ = backend.decode(stream.payload, StreamLayout(2, 3, stream.lanes, 0, 1), 1)
            results.append((z.tolist(), y.tolist()))
        except FormatError:
            results.append(None)
    assert results[0] == results[1]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
JSON = SCALARS | st.lists(SCALARS, max_size=3)


@examples(150)
@given(st.dictionaries(st.sampled_from([*ModelConfig.__dataclass_fields__, "version", "other"]), JSON, max_size=4))
def test_any_config(models, changes):
    fields = json.loads(models[0].config.to_json()) | changes
    try:
        config = ModelConfig.from_json(json.dumps(fields).encode())
    except ModelError:
        return
    assert ModelConfig.from_json(config.to_json()) == config


@examples(60)
@given(edits(), st.booleans())
def test_pillow(models, changes, repaired):
    """Image.open and load raise what Pillow's callers expect, whatever the bytes."""
    data = edited(container.pack(stream_of(models[0])), changes)
    data = with_crc(data) if repaired and len(data) >= 44 else data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data)) as image:
                assert image.format == jahp_fast.integrations.pillow.FORMAT
                image.load()
        except (UnidentifiedImageError, jahp_fast.integrations.pillow.UnreadableImage, Image.DecompressionBombError):
            pass


def test_manifest_lines_are_the_files(models):
    """What test_edited_model_files relies on: every integer stands under a hash."""
    lines = models[0].manifest.splitlines()
    assert lines[1:] == [tensor_line(f"entropy.{name}", array) for name, array in sorted(models[0].entropy.items())]
