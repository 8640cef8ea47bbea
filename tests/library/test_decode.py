# SPDX-License-Identifier: Apache-2.0
"""libjahp decodes what the package decodes, to the same pixels, and refuses what it refuses, in the same words."""

import re
import subprocess
from functools import cache, partial
from pathlib import Path

import libjahp
import numpy as np
import pytest
from in_part import one_in

from jahp_fast import Codec, JahpError, info
from jahp_fast.errors import UnknownModel

GOLDEN = Path(__file__).parents[1] / "golden"
MODELS = sorted(GOLDEN.glob("*.safetensors"))
STREAMS = sorted(path.relative_to(GOLDEN).as_posix() for path in GOLDEN.rglob("*.jahp"))
PICTURED = [name for name in STREAMS if name.startswith(("pictures", "layers"))]


@cache
def models():
    return [libjahp.Model(path) for path in MODELS]


def package(threads, dtype=np.uint8):
    """Its decoding, of deeper files too."""
    return partial(Codec("mbt2018-A-a8-p15", models=MODELS, threads=threads).decode, dtype=dtype)


def outcome(decode, data):
    """Pixels, or class and text of a refusal."""
    try:
        return decode(data)
    except JahpError as e:
        return type(e), str(e)


def same(one, two):
    return np.array_equal(one, two) if isinstance(one, np.ndarray) else one == two


@pytest.mark.parametrize("threads", one_in(2, [3, 1]))
@pytest.mark.parametrize("name", STREAMS)
def test_golden_streams(name, threads):
    """Those without transforms end in the same error, behind the checksum of their symbols."""
    data = (GOLDEN / name).read_bytes()
    wanted = outcome(package(threads), data)
    library = outcome(libjahp.Decoder(models(), threads=threads).decode, data)
    assert same(wanted, library), (wanted, library)


def test_all_kinds_of_outcomes_are_among_them():
    found = [outcome(package(1), (GOLDEN / name).read_bytes()) for name in STREAMS]
    pixels = [one for one in found if isinstance(one, np.ndarray)]
    assert {one.shape[2:] for one in pixels} == {(), (3,), (4,)}
    texts = {one[1] for one in found if isinstance(one, tuple)}
    assert len(texts) > 30
    assert any("transform.g_s.2.weight is missing" in text for text in texts)


@pytest.mark.parametrize("name", STREAMS)
def test_sixteen_bits(name):
    """Of all files, whole and by rows into bytes that are not aligned; RGBA too."""
    data = (GOLDEN / name).read_bytes()
    decoder = libjahp.Decoder(models(), threads=2, sample_bits=16)
    wanted, library = outcome(package(2, np.uint16), data), outcome(decoder.decode, data)
    assert same(wanted, library), (wanted, library)
    if not isinstance(library, np.ndarray):
        return
    assert library.dtype == wanted.dtype == np.uint16
    decoder.open(data)
    assert decoder.info.pixels_size == wanted.nbytes
    assert np.array_equal(np.concatenate(list(decoder.rows(5, gap=3))).reshape(wanted.shape), wanted)
    rgba = libjahp.Decoder(models(), channels=4, sample_bits=16).decode(data)
    grey = np.repeat(wanted[:, :, None], 3, 2) if wanted.ndim == 2 else wanted[:, :, :3]
    assert np.array_equal(rgba[:, :, :3], grey)
    assert np.array_equal(rgba[:, :, 3], wanted[:, :, 3] if wanted.shape[2:] == (4,) else np.full(wanted.shape[:2], 65535))


@pytest.mark.parametrize("most", [1, 7, 1000])
@pytest.mark.parametrize("name", PICTURED)
def test_rows(name, most):
    """Any number at a time, into memory with gaps, is the whole; in RGBA too."""
    data = (GOLDEN / name).read_bytes()
    decoder = libjahp.Decoder(models(), threads=2)
    whole = decoder.decode(data)
    decoder.open(data)
    rows = np.concatenate(list(decoder.rows(most, gap=5)))
    assert np.array_equal(rows.reshape(whole.shape), whole)
    rgba = libjahp.Decoder(models(), channels=4).decode(data)
    rgb = np.repeat(whole[:, :, None], 3, 2) if whole.ndim == 2 else whole[:, :, :3]
    alpha = whole[:, :, 3] if whole.shape[2:] == (4,) else np.full(whole.shape[:2], 255)
    assert np.array_equal(rgba, np.dstack([rgb, alpha]))


@pytest.mark.parametrize("name", STREAMS)
def test_info(name):
    data = (GOLDEN / name).read_bytes()
    decoder = libjahp.Decoder()
    try:
        wanted = info(data)
    except JahpError as e:
        with libjahp.same_refusal(type(e), str(e)):
            decoder.open(data)
        return
    decoder.open(data)
    has = decoder.info
    assert (has.width, has.height, bool(has.grey), bool(has.alpha)) == (wanted.width, wanted.height, wanted.mode == "L", wanted.alpha)
    assert (has.quality or None, has.base_quality or None) == (wanted.quality, wanted.base_quality)
    assert has.depth == wanted.depth
    assert (has.model.decode(), has.lanes, has.skip, has.payload_size) == (wanted.model, wanted.lanes, wanted.skip, wanted.payload_bytes)
    assert (None if has.max_error < 0 else has.max_error) == wanted.max_error
    assert has.channels == (4 if wanted.alpha else 1 if wanted.mode == "L" else 3)
    assert has.pixels_size == wanted.width * wanted.height * has.channels
    for kind, size in wanted.chunks.items():
        chunk = decoder.chunk(kind)
        assert len(chunk) == size
        assert chunk in data
    assert decoder.chunk("none") == b""


def test_a_model_that_is_not_there():
    data = (GOLDEN / "pictures-0.jahp").read_bytes()
    with pytest.raises(UnknownModel) as caught:
        libjahp.Decoder(models()[:3]).decode(data)
    assert re.fullmatch(
        f"the stream was written by model {info(data).model}, which the decoder does not have; hand it over with jahp_decoder_add_model",
        str(caught.value),
    )


def test_the_header_says_what_is_exported(tmp_path):
    """Every function of it and no other name; by its C++ parts too."""
    libjahp.library()
    header = (Path(__file__).parents[2] / "csrc" / "include" / "jahp.h").read_text()
    declared = set(re.findall(r"^JAHP_API .*?\b(jahp_\w+)\(", header, re.MULTILINE))
    listed = subprocess.run(["nm", "-D", "--defined-only", libjahp.BUILT], capture_output=True, text=True, check=True).stdout
    assert {line.split()[-1] for line in listed.splitlines()} == declared
    assert len(declared) == 31
    for compiler in (["gcc", "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"], ["g++", "-std=c++20", "-Wall", "-Wextra", "-Werror"]):
        source = tmp_path / ("a.c" if compiler[0] == "gcc" else "a.cpp")
        source.write_text('#include "jahp.h"\nint main(void) { return jahp_version() == 0; }\n')
        include = Path(__file__).parents[2] / "csrc" / "include"
        subprocess.run([*compiler, "-I", include, "-c", source, "-o", tmp_path / "a.o"], check=True)


def test_versions():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert libjahp.library().jahp_version().decode() == project["version"]
    assert [libjahp.library().jahp_status_name(i).decode() for i in (0, 4, 9)] == ["JAHP_OK", "JAHP_IMAGE_ERROR", "unknown"]
    assert libjahp.BUILT.with_name(f"libjahp.so.{libjahp.library().jahp_abi_version()}").is_file()
