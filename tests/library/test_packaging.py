# SPDX-License-Identifier: Apache-2.0
"""libjahp as it is installed: a CMake consumer and one of pkg-config build the example, which decodes; and the guide's program runs."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import libjahp
import numpy as np
import pytest
from PIL import Image

from jahp_fast import Codec

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
C99 = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror")


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    libjahp.library()
    prefix = tmp_path_factory.mktemp("installed")
    run("cmake", "--install", libjahp.BUILT.parent, "--prefix", prefix, "--component", "library")
    return prefix


def pkg_config(installed, *options):
    (folder,) = {path.parent for path in installed.rglob("libjahp.pc")}
    return run("pkg-config", *options, "libjahp", env={**os.environ, "PKG_CONFIG_PATH": str(folder)}).split()


def library_path(installed):
    (folder,) = {path.parent for path in installed.rglob("libjahp.so")}
    return {**os.environ, "LD_LIBRARY_PATH": str(folder)}


def check_example(program, tmp_path, **options):
    """Grey, RGB and RGBA come out as the package decodes them; what is damaged leaves no picture and one line."""
    model = GOLDEN / "pictures.safetensors"
    for name in ("pictures-1", "pictures-2", "pictures-3", "layers/exact-alpha", "layers/residual-8.05"):
        out = tmp_path / "out.pnm"
        run(program, model, GOLDEN / f"{name}.jahp", out, **options)
        wanted = Codec("pictures", models=[model]).decode((GOLDEN / f"{name}.jahp").read_bytes())
        data = out.read_bytes()
        header = re.match(rb"P7\n.*?ENDHDR\n|P[56]\n\d+ \d+\n255\n", data, re.DOTALL)[0]
        assert data[len(header) :] == wanted.tobytes()
        if wanted.shape[2:] != (4,):  # of which Pillow reads no PAM
            assert np.array_equal(np.asarray(Image.open(out)), wanted)
        out.unlink()
    damaged = tmp_path / "damaged.jahp"
    damaged.write_bytes((GOLDEN / "pictures-2.jahp").read_bytes()[:-1])
    done = subprocess.run([program, model, damaged, tmp_path / "out.pnm"], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 1
    assert re.fullmatch(r"decode: file has \d+ bytes, but its header speaks of \d+\n", done.stderr)
    assert not (tmp_path / "out.pnm").exists()


def test_a_consumer_of_cmake(installed, tmp_path):
    run("cmake", "-S", ROOT / "examples" / "c", "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={installed}")
    run("cmake", "--build", tmp_path)
    for kind in ("shared", "static"):
        check_example(tmp_path / f"decode_{kind}", tmp_path)


@pytest.mark.skipif(shutil.which("pkg-config") is None, reason="there is no pkg-config")
def test_a_consumer_of_pkg_config(installed, tmp_path):
    source, program = ROOT / "examples" / "c" / "decode.c", tmp_path / "decode"
    run("gcc", *C99, source, "-o", program, *pkg_config(installed, "--cflags", "--libs"))
    check_example(program, tmp_path, env=library_path(installed))
    (archive,) = installed.rglob("libjahp.a")
    flags = [archive if flag == "-ljahp" else flag for flag in pkg_config(installed, "--cflags", "--libs", "--static")]
    run("gcc", *C99, source, "-o", program, *flags)
    check_example(program, tmp_path)


def test_the_guide(installed, tmp_path):
    """Its program is compiled as it stands, and codes a picture."""
    page = (ROOT / "docs" / "guide" / "c.md").read_text()
    (code,) = re.findall(r"^```c\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "guide.c").write_text(code)
    (header,) = {path.parent for path in installed.rglob("jahp.h")}
    (library,) = {path.parent for path in installed.rglob("libjahp.so")}
    run("gcc", *C99, f"-I{header}", tmp_path / "guide.c", f"-L{library}", "-ljahp", "-o", tmp_path / "guide")
    shutil.copy(ROOT / "jahp_fast" / "weights" / "mbt2018.safetensors", tmp_path)
    said = run(tmp_path / "guide", cwd=tmp_path, env=library_path(installed))
    assert re.fullmatch(r"\d+ bytes, 64 x 48 pixels\n", said)
