# SPDX-License-Identifier: Apache-2.0
"""Locks of files: this system's, and the module's branch for Windows over byte-range locks of Linux in place of msvcrt's."""

import fcntl
import importlib.util
import os
import struct
import subprocess
import sys
from types import SimpleNamespace

import pytest

from jahp_fast.system import file_lock

F_OFD_SETLK = 37  # of Linux; not in Python 3.11's fcntl


def locking(fd, mode, count):
    """msvcrt.locking: `count` bytes from the file's position, for this opening of the file alone."""
    assert mode == 2  # LK_NBLCK
    at = os.lseek(fd, 0, os.SEEK_CUR)
    fcntl.fcntl(fd, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, at, count, 0))


@pytest.fixture(params=["here", "windows"])
def module(request, monkeypatch):
    if request.param == "here":
        return file_lock
    if not sys.platform.startswith("linux"):
        pytest.skip("byte-range locks of an open file are Linux's")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    spec = importlib.util.spec_from_file_location("file_lock_of_windows", file_lock.__file__)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_one_at_a_time(module, tmp_path):
    path = tmp_path / "pid"
    with path.open("a+", encoding="ascii") as first:
        assert module.try_lock(first)
        first.write("123\n")
        first.flush()
        with path.open("a+", encoding="ascii") as second:
            assert not module.try_lock(second)
            second.seek(0)
            assert second.read() == "123\n"
    with path.open("a+", encoding="ascii") as third:
        assert module.try_lock(third)
    assert path.stat().st_size == 4


def test_the_position_stays(module, tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"abcdef")
    with path.open("r+b", buffering=0) as f, path.open("r+b", buffering=0) as other:
        f.seek(2)
        assert module.try_lock(f)
        assert f.read(2) == b"cd"
        other.seek(3)
        assert not module.try_lock(other)
        assert other.read(2) == b"de"


def test_it_ends_with_its_process(tmp_path):
    path = tmp_path / "f"
    holder = (
        "import sys; from jahp_fast.system.file_lock import try_lock; f = open(sys.argv[1], 'a'); "
        "print(try_lock(f), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", holder, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
        with path.open("a", encoding="ascii") as f:
            assert not file_lock.try_lock(f)
            process.kill()
            process.wait()
            assert file_lock.try_lock(f)
