# SPDX-License-Identifier: Apache-2.0
"""libjahp as it is installed: a CMake consumer and one of pkg-config build the example, which decodes; and the guide's program runs, on
Windows too."""

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
WINDOWS = ROOT / "build" / "windows"
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


def guide(folder):
    """Its program as it stands, and the model that it opens."""
    (code,) = re.findall(r"^```c\n(.*?)^```$", (ROOT / "docs" / "guide" / "c.md").read_text(), re.MULTILINE | re.DOTALL)
    (folder / "guide.c").write_text(code)
    shutil.copy(ROOT / "jahp_fast" / "weights" / "mbt2018.safetensors", folder)
    return folder / "guide.c"


def test_the_guide(installed, tmp_path):
    (header,) = {path.parent for path in installed.rglob("jahp.h")}
    (library,) = {path.parent for path in installed.rglob("libjahp.so")}
    run("gcc", *C99, f"-I{header}", guide(tmp_path), f"-L{library}", "-ljahp", "-o", tmp_path / "guide")
    said = run(tmp_path / "guide", cwd=tmp_path, env=library_path(installed))
    assert re.fullmatch(r"\d+ bytes, 64 x 48 pixels\n", said)


@pytest.mark.skipif(not (WINDOWS / "libjahp.dll").is_file() or shutil.which("wine") is None, reason="not built, or no Wine: make windows")
def test_the_guide_on_windows(tmp_path):
    """Against the DLL as it is installed, which has the functions of jahp.h and needs nothing but Windows; and against the archive."""
    run("cmake", "--install", WINDOWS, "--prefix", tmp_path, "--component", "library")
    dll, header, source = tmp_path / "bin" / "libjahp.dll", (ROOT / "csrc" / "include" / "jahp.h").read_text(), guide(tmp_path)
    tables = run("x86_64-w64-mingw32-objdump", "-p", dll)
    names = re.findall(r"^\s+\[ *\d+\] (?:\+base\[ *\d+\]  [0-9a-f]+ )?(\w+)$", tables, re.MULTILINE)
    assert set(names) == set(re.findall(r"^JAHP_API [\w *]*?(jahp_\w+)\(", header, re.MULTILINE))
    needed = {name.lower() for name in re.findall(r"DLL Name: (\S+)", tables)}
    assert needed <= {"kernel32.dll", "msvcrt.dll", "api-ms-win-core-synch-l1-2-0.dll"}
    compiler, include = "x86_64-w64-mingw32-gcc-posix", f"-I{tmp_path / 'include'}"
    run(compiler, *C99, include, source, f"-L{tmp_path / 'lib'}", "-ljahp", "-o", tmp_path / "bin" / "shared.exe")
    archive = [tmp_path / "lib" / "libjahp.a", "-static", "-lstdc++", "-lpthread", "-lsynchronization"]
    run(compiler, *C99, include, source, *archive, "-o", tmp_path / "static.exe")
    for program in (tmp_path / "bin" / "shared.exe", tmp_path / "static.exe"):
        said = run("wine", program, cwd=tmp_path, env={**os.environ, "WINEDEBUG": "-all"})
        assert re.fullmatch(r"\d+ bytes, 64 x 48 pixels\n", said)
