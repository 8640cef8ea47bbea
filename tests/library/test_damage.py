# SPDX-License-Identifier: Apache-2.0
"""Damaged files and models through the C interface, by a program in C99: refused when the package refuses them, in the same words.

The program is run as it is built, as tests/web/outcomes.mjs on WebAssembly, for Windows under Wine, and where `make sanitize` has built
it, under the address sanitizer, which ends it at a wrong access, and at its end where memory was not freed.
"""

import hashlib
import json
import os
import resource
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from broken_models import CONFIGS, HEADERS, HOSTILE, LATE, LINES, NAMES, Parts
from builders import Case, random_model, with_crc
from damaged_files import GOLDEN, MODELS, NAMES_OF, damaged_files, decoded, held_to, said, small_files, sum_of

from jahp_fast import Codec, JahpError
from jahp_fast.entropy.model_file import ModelFile, save_model
from jahp_fast.files import container

ROOT = Path(__file__).parents[2]
PROGRAMS = {name: ROOT / "build" / name / "csrc" / "tests" / "jahp_outcomes" for name in ("test", "sanitize")}
WASM = PROGRAMS["wasm"] = ROOT / "build" / "wasm" / "jahp.wasm"
WASM_THREADS = PROGRAMS["wasm, four threads"] = ROOT / "build" / "wasm-threads" / "jahp-threads.wasm"
IN_NODE = {WASM: "1", WASM_THREADS: "4"}
WINDOWS = PROGRAMS["windows"] = ROOT / "build" / "windows" / "csrc" / "tests" / "jahp_outcomes.exe"
HOW = {"test": "make library", "sanitize": "make sanitize", "wasm": "make web", "wasm, four threads": "make web", "windows": "make windows"}
SIZES = {"U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "I32": 4, "F32": 4}
EDGES = (0, 1, -1, 127, 128, 32767, 65535, 2**31 - 1, -(2**31), 1 << 22)


@pytest.fixture(params=PROGRAMS)
def program(request):
    path = PROGRAMS[request.param]
    if not path.is_file():
        pytest.skip(f"{path.name} is not built: {HOW[request.param]}")
    if path in IN_NODE and shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    if path == WINDOWS and shutil.which("wine") is None:
        pytest.skip("Wine is not installed")
    return path


def run(program, lines):
    """What the program says of each line."""
    if program in IN_NODE:
        command = ["node", ROOT / "tests" / "web" / "outcomes.mjs", program, IN_NODE[program]]
    else:
        command = ["wine", program] if program == WINDOWS else [program]
    quiet = {**os.environ, "WINEDEBUG": "-all", "LC_ALL": "C.UTF-8"}  # what Wine takes names of files for
    done = subprocess.run(
        command, input="".join(f"{line}\n" for line in lines), capture_output=True, encoding="utf-8", env=quiet, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_damaged_files(program, tmp_path):
    codec = Codec("mbt2018-A-a8-p15", models=MODELS, max_pixels=2**20, threads=1)
    lines, wanted = [f"M {path}" for path in MODELS], ["ok"] * len(MODELS)
    for number, data in enumerate(damaged_files(400)):
        (tmp_path / f"{number}.jahp").write_bytes(data)
        width, height = struct.unpack_from("<II", data.ljust(24, b"\0"), 16)
        if width * height > 2**20:
            continue  # the program leaves the limit as it is
        lines.append(f"D {tmp_path / f'{number}.jahp'}")
        wanted.append(decoded(codec, data))
    assert len(lines) > 300
    assert len({text.split(" ")[0] for text in wanted}) == 4
    assert len(set(wanted)) > 60
    held_to(run(program, lines), wanted)


def test_views_of_damaged_files(program, tmp_path):
    """Regions and scales, of which some are none, also of files that are whole: some of those have models without transforms."""
    codec, rng = Codec("mbt2018-A-a8-p15", models=MODELS, max_pixels=2**20, threads=1), np.random.default_rng(3)
    lines, wanted = [f"M {path}" for path in MODELS], ["ok"] * len(MODELS)
    for number, data in enumerate((*damaged_files(200), *small_files())):
        width, height = struct.unpack_from("<II", data.ljust(24, b"\0"), 16)
        if not 0 < width * height <= 2**20:
            continue
        (tmp_path / f"{number}.jahp").write_bytes(data)
        left, top = int(rng.integers(-(number % 9 == 0), width)), int(rng.integers(height))
        region = left, top, int(rng.integers(1, width - left + 1)), int(rng.integers(0, height - top + 1))
        scale = (1, 2, 4, 8, 16, 1, 5)[number % 7]
        lines.append(f"V {scale} {' '.join(map(str, region))} {tmp_path / f'{number}.jahp'}")
        wanted.append(decoded(codec, data, region, scale))
    assert {text.split(" ")[0] for text in wanted} == {"ok", *NAMES_OF.values()}
    assert len(set(wanted)) > 60
    held_to(run(program, lines), wanted)


def test_every_invalid_and_golden_file(program):
    codec = Codec("mbt2018-A-a8-p15", models=MODELS, threads=1)
    files = sorted(GOLDEN.rglob("*.jahp"))
    lines, wanted = [f"N {path}" for path in MODELS], ["ok"] * len(MODELS)
    for path in files:
        lines += [f"D {path}", f"V 4 0 0 0 0 {path}"]
        wanted += [decoded(codec, path.read_bytes()), decoded(codec, path.read_bytes(), None, 4)]
    held_to(run(program, lines), wanted)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    model = random_model(folder / "entropy.safetensors", Case("mbt2018"), seed=5)
    save_model(folder / "good.safetensors", model.config, model.entropy, {"g_s.0.bias": np.arange(12, dtype=np.int16)}, {})
    return folder / "good.safetensors"


def broken(good):
    """Name -> a file that breaks a rule."""
    for what, data in HOSTILE.items():
        yield what, data
    for what, (change, _) in CONFIGS.items():
        parts = Parts(good)
        parts.add("config", change(parts.bytes["config"]))
        yield f"config, {what}", parts.file()
    for what, (change, _) in HEADERS.items():
        parts = Parts(good)
        yield f"header, {what}", parts.file(change(parts.text()))
    for what, name in NAMES.items():
        parts = Parts(good)
        parts.add(name, b"x")
        yield f"name, {what}", parts.file()
    for what, change in LINES.items():
        parts = Parts(good)
        line = parts.line(LATE)
        yield f"line, {what}", parts.file(parts.text().replace(json.dumps(line)[1:-1].encode(), json.dumps(change(line))[1:-1].encode()))
    for name in ("entropy.z_rows", "entropy.scale.skip"):  # of the two qualities
        for what, value, dtype, shape in (("range", -1, "I32", [2]), ("shape", 0, "I32", [1]), ("type", 0, "I8", [2])):
            parts = Parts(good)
            parts.add(name, np.full(shape, value, {"I32": "<i4", "I8": "i1"}[dtype]).tobytes(), dtype, shape)
            yield f"{name}, {what}", parts.file()
    for dtype in ("F64", "BF16", "f32", "", "I8", "F16"):
        parts = Parts(good)
        parts.add(LATE, bytes(16), dtype, [16 // {"F64": 8, "BF16": 2, "I8": 1, "F16": 2}.get(dtype, 4)])
        yield f"dtype {dtype}", parts.file()


@pytest.mark.parametrize("letter", ["M", "N"])
def test_files_that_are_no_model(program, good, tmp_path, letter):
    """From a file and out of memory."""
    lines, wanted = [f"{letter} {good}"], ["ok"]
    for number, (what, data) in enumerate(broken(good)):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(data)
        with pytest.raises(JahpError) as caught:
            ModelFile(path)
        lines.append(f"{letter} {path}")
        wanted.append(said(caught.value))
        assert "\n" not in wanted[-1], what
    assert len(lines) > 150
    held_to(run(program, lines), wanted)


def test_names_in_any_script_and_of_any_length(program, good, tmp_path):
    if program in IN_NODE:
        pytest.skip("there are no files")
    paths = [tmp_path / "modèle 模型 🦜.safetensors", tmp_path.joinpath(*["deep" * 15] * 6) / "model.safetensors"]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(good, path)
    missing = tmp_path / "fehlt-é.safetensors"
    said_of = run(program, [f"M {path}" for path in [*paths, missing]])
    assert said_of == ["ok", "ok", f"JAHP_MODEL_ERROR cannot read the model file {missing}: No such file or directory"]


def test_paths_that_are_no_file(program, tmp_path):
    if program in IN_NODE:
        pytest.skip("there are no files")
    paths = [tmp_path, tmp_path / "none", tmp_path / "none" / "none"]
    wanted = []
    for path in paths:
        with pytest.raises(JahpError) as caught:
            ModelFile(path)
        wanted.append(said(caught.value))
    held_to(run(program, [f"M {path}" for path in paths]), wanted)


def changed_models(count):
    """Models with a tensor or two changed, and manifests that are true to them."""
    rng = np.random.default_rng(11)
    sources = [*sorted(GOLDEN.glob("pictures*.safetensors")), GOLDEN / "rows-of-z.safetensors"]
    for number in range(count):
        parts = Parts(sources[number % len(sources)])
        parts.metadata.pop("manifest")
        names = sorted(name for name in parts.header if name != "config")
        for name in rng.choice(names, int(rng.integers(1, 3)), replace=False):
            entry, data = parts.header[name], bytearray(parts.bytes[name])
            size, kind = SIZES[entry["dtype"]], int(rng.integers(6))
            if kind == 0:
                del parts.header[name], parts.bytes[name]
                continue
            if kind == 1:
                entry["dtype"] = str(rng.choice([dtype for dtype, of in SIZES.items() if of == size]))
            elif kind == 2:
                entry["shape"] = [*entry["shape"], 1] if rng.integers(2) else [len(data) // size]
            else:
                value = int(rng.choice([*EDGES, int(rng.integers(-(2**31), 2**31))]))
                at = int(rng.integers(len(data) // size)) * size
                end = len(data) if kind == 3 else at + size
                data[at:end] = (value % 256**size).to_bytes(size, "little") * ((end - at) // size)
                parts.bytes[name] = bytes(data)
        yield sources[number % len(sources)], parts.file()


def test_models_that_were_changed(program, tmp_path):
    """What is let in decodes a file that names it, to the same pixels or the same error."""
    streams = {}
    for path in sorted(GOLDEN.glob("*.jahp")):
        if path.stat().st_size < 3000:
            stream = container.unpack(path.read_bytes())
            streams.setdefault(stream.model, path.read_bytes())
    lines, wanted = [], []
    for number, (source, data) in enumerate(changed_models(250)):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(data)
        try:
            model = ModelFile(path)
        except JahpError as e:
            lines.append(f"{'MN'[number % 2]} {path}")
            wanted.append(said(e))
            continue
        file = bytearray(streams[ModelFile(source).id])
        file[8:16] = model.id
        path.with_suffix(".jahp").write_bytes(with_crc(bytes(file)))
        lines += [f"M {path}", f"D {path.with_suffix('.jahp')}", "X"]
        wanted += ["ok", decoded(Codec(path.stem, model.config.qualities[0], models=[path], threads=1), with_crc(bytes(file)))]
    assert {text.split(" ")[0] for text in wanted} == {"ok", "JAHP_FORMAT_ERROR", "JAHP_MODEL_ERROR"}
    assert len({hashlib.sha256(text.partition(": ")[2].encode()).digest() for text in wanted}) > 60
    held_to(run(program, lines), wanted)


def test_little_memory(tmp_path):
    """From too little to start to enough: the picture, or a status that says so; never an end of the process, or another picture."""
    program = PROGRAMS["test"]
    if not program.is_file():
        pytest.skip("jahp_outcomes is not built: make library")
    model, path = GOLDEN / "pictures.safetensors", tmp_path / "large.jahp"
    rows, columns = np.mgrid[:1500, :1000]
    pixels = np.stack([rows % 256, columns % 256, (rows + columns) // 8 % 256], 2).astype(np.uint8)
    codec = Codec("pictures", 8.0, models=[model], threads=1)
    path.write_bytes(codec.encode(pixels))
    wanted, said_of = sum_of(codec.decode(path.read_bytes())), []
    for megabytes in range(8, 120, 4):

        def bounded(megabytes=megabytes):
            resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

        done = subprocess.run([program], input=f"M {model}\nD {path}\n", capture_output=True, text=True, check=False, preexec_fn=bounded)
        if done.returncode in (2, 127):  # the program's own memory, or that of the loader
            continue
        assert done.returncode == 0, (megabytes, done.stderr)
        said_of.append(done.stdout.splitlines()[-1].partition(":")[0])
    assert set(said_of) == {wanted, "JAHP_NO_MEMORY there is not enough memory"}
