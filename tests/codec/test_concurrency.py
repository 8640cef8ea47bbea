# SPDX-License-Identifier: Apache-2.0
"""What goes on at the same time: signals in the middle of the core, forks, many threads on one codec, and load for a while."""

import gc
import os
import resource
import signal
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from builders import SHIPPED, Case, photo, random_latents, random_model, with_crc

from jahp_fast import Codec, JahpError, _native, library
from jahp_fast.backends.native import NativeBackend
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.pipelines.shared import shared


@pytest.fixture(scope="module")
def encoded():
    return Codec().encode(photo())


class Interrupted(Exception):
    pass


@pytest.fixture
def slow_latents(tmp_path):
    """Two seconds of work for the scalar kernels in single calls of the core: a model, latents and a payload."""
    model = random_model(tmp_path / "wide.safetensors", Case("mbt2018"), seed=1, N=32, M=96)
    z, y = random_latents(model, 64, 64, seed=2, wild=0)
    payload = NativeBackend(model).encode(z, y, StreamLayout(64, 64, 1), 2)[0]
    scalar = _native.EntropyModel(model.config.as_native(), model.entropy, "scalar")
    return {
        "decode": lambda: scalar.decode(payload, 64, 64, 1, 0, 0, 1),
        "rows": lambda: scalar.start_decode(payload, 64, 64, 1, 0, 0, 1, b"", 0, (0, 64), (0, 64)).finish(),
        "encode": lambda: scalar.encode(z, y, 1, 0, 0, 1),
        "symbols": lambda: scalar.symbols(z, y, 1),
    }


@pytest.mark.alone
@pytest.mark.parametrize("what", ["decode", "rows", "encode", "symbols"])
def test_signals_are_heard_within_a_fifth_of_a_second(slow_latents, what):
    """Ctrl-C in the middle of one long call of the core; an alarm stands for it, so that the test run lives on."""
    call, heard = slow_latents[what], []

    def handler(*_):
        heard.append(time.monotonic())
        raise Interrupted

    old = signal.signal(signal.SIGALRM, handler)
    try:
        delays = []
        for _ in range(3):
            sent = time.monotonic() + 0.1
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(Interrupted):
                call()
            delays.append(time.monotonic() - sent)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert min(delays) < 0.2, delays
    assert len(heard) == 3


def test_fork_after_threads(encoded):
    """A child that is forked while the parent's threads have worked decodes and encodes as well as its parent."""
    codec = Codec(threads=3)
    with ThreadPoolExecutor(3) as pool:
        wanted = next(iter(pool.map(codec.decode, [encoded] * 3)))
    stream = codec.encode(wanted)
    child = os.fork()
    if child == 0:
        same = np.array_equal(codec.decode(encoded), wanted) and codec.encode(wanted) == stream
        os._exit(0 if same else 1)
    deadline = time.monotonic() + 30
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended[0] == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended == (child, 0)


def test_32_threads_share_a_codec(encoded):
    codec = Codec(threads=2)
    crops = [photo()[i : i + 40 + i, : 60 + i] for i in range(32)]
    streams = [codec.encode(c) for c in crops]
    pixels = [codec.decode(s) for s in streams]
    barrier, fresh = threading.Barrier(32), Codec(threads=2)

    def work(i):
        barrier.wait()
        for _ in range(3):
            assert fresh.encode(crops[i]) == streams[i]
            assert np.array_equal(fresh.decode(streams[i]), pixels[i])
            with pytest.raises(JahpError):
                fresh.decode(streams[i][:-1])

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(work, range(32))) == [None] * 32


@pytest.mark.skipif(sysconfig.get_config_var("Py_GIL_DISABLED") != 1, reason="Python has its lock")
def test_the_extension_leaves_the_interpreter_without_its_lock():
    assert not sys._is_gil_enabled()


@pytest.mark.parametrize("again", [0, 1])
def test_16_threads_hammer_one_codec(again):
    """Every kind of call at once, on a codec that has loaded nothing yet; each gives what it gives alone."""
    picture = photo()[:96, 40:200]
    calls = [
        lambda codec: codec.encode(picture),
        lambda codec: codec.encode(picture, max_error=1),
        lambda codec: codec.encode(picture, max_bytes=900),
        lambda codec: codec.decode(data).tobytes(),
        lambda codec: codec.decode(data, region=(10, 20, 60, 40)).tobytes(),
        lambda codec: codec.decode(data, scale=4).tobytes(),
        lambda codec: b"".join(rows.tobytes() for rows in codec.decode_rows(data)),
        lambda codec: b"".join(codec.encode_batch([picture, picture[:50]])),
    ]
    data = Codec(threads=1).encode(picture)
    wanted = [call(Codec(threads=1)) for call in calls]
    shared.cache_clear()
    library._load.cache_clear()
    codec, barrier = Codec(threads=2), threading.Barrier(16)

    def work(i):
        barrier.wait()
        return all(calls[k % 8](codec) == wanted[k % 8] for k in range(i, i + 8))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(16)))


def load_for(seconds):
    """Mixed work by four threads for so long; returns kilobytes in use and open files, before and after, and the calls made."""
    codec, codecs = Codec(threads=2), [Codec(quality=q, threads=1) for q in (1, 4.5, 8)]
    crops = [photo()[: 64 * i, : 96 * i] for i in (1, 2, 3)]
    streams = [c.encode(x) for c in codecs for x in crops]
    calls = 0
    lock, stop = threading.Lock(), time.monotonic() + seconds

    def work(seed):
        nonlocal calls
        rng = np.random.default_rng(seed)
        while time.monotonic() < stop:
            kind, data, crop = int(rng.integers(7)), streams[int(rng.integers(9))], crops[int(rng.integers(3))]
            if kind == 0:
                codecs[int(rng.integers(3))].encode(crop)
            elif kind == 1:
                codec.decode(data)
            elif kind == 2:
                codec.decode_latents(data)
            elif kind == 3:
                blocks = codec.decode_rows(data)
                next(blocks)  # and the rest is given up
            elif kind == 4:
                damaged = bytearray(data)
                damaged[44 + int(rng.integers(len(data) - 44))] ^= 1
                with pytest.raises(JahpError):
                    codec.decode(with_crc(bytes(damaged)))
            elif kind == 5:
                Codec("mbt2018", quality=float(rng.integers(20, 161)) / 20, models=[SHIPPED])
            else:
                codec.encode_batch(crops[:2])
            with lock:
                calls += 1

    def state():
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() // 1024, len(os.listdir("/proc/self/fd")), threading.active_count()

    def run(until):
        nonlocal stop
        stop = time.monotonic() + until
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))

    run(min(5.0, seconds / 4))  # caches and the allocator's arenas fill
    before, calls = state(), 0
    run(seconds)
    return before, state(), calls


def check_load(seconds):
    before, after, calls = load_for(seconds)
    print(f"{calls} calls in {seconds} s: {before[0]} KB before, {after[0]} KB after, {after[1]} open files")
    assert calls > 5 * seconds
    assert after[0] - before[0] < 40 * 1024
    assert after[1:] == before[1:]


def test_load_leaves_nothing_behind():
    check_load(5)


@pytest.mark.slow
def test_ten_minutes_of_load_leave_nothing_behind():
    check_load(600)
