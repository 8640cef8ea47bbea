# SPDX-License-Identifier: Apache-2.0
"""What the world does to a process: full disks, closed pipes, little memory, an end in the middle, other writers, files that change."""

import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from builders import ROOT, photo, with_crc
from PIL import Image

from jahp_fast import Codec, FormatError
from jahp_fast.entropy.model_file import ModelFile, save_model
from jahp_fast.errors import ModelError
from jahp_fast.files import container

JAHP = (sys.executable, "-m", "jahp_fast.cli")
PHOTO = ROOT / "examples" / "photo.png"
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def encoded():
    return Codec().encode(photo())


@pytest.fixture
def folder(tmp_path, encoded):
    """photo.jahp, and an older file under each name that is written."""
    (tmp_path / "photo.jahp").write_bytes(encoded)
    for name in ("out.jahp", "out.png", "out.bmp"):
        (tmp_path / name).write_bytes(b"older")
    return tmp_path


COMMANDS = {
    "encode": ["encode", PHOTO, "out.jahp"],
    "decode by rows": ["decode", "photo.jahp", "out.png"],
    "decode at once": ["decode", "photo.jahp", "out.bmp"],
}


def jahp(arguments, folder, **options):
    options = {"capture_output": True, "text": True, "timeout": 60, "cwd": folder} | options
    return subprocess.run([*JAHP, *map(str, arguments)], check=False, **options)


def assert_refused(done):
    """Exit status 1 and one line that says why."""
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines), lines[0][:6] if lines else "") == (1, 1, "jahp: "), done.stderr[-2000:]


def assert_untouched(folder, arguments):
    assert (folder / arguments[-1]).read_bytes() == b"older"
    assert not list(folder.glob(".*.tmp"))


def limit(what, value):
    return lambda: resource.setrlimit(what, (value, value))


# Disks and pipes


@pytest.mark.parametrize("command", COMMANDS)
def test_disk_that_is_full(folder, command):
    """A file may have 4 KB, as on a disk that has no more."""
    done = jahp(COMMANDS[command], folder, preexec_fn=limit(resource.RLIMIT_FSIZE, 4096))
    assert_refused(done)
    assert "cannot write out" in done.stderr
    assert_untouched(folder, COMMANDS[command])


@pytest.mark.parametrize("arguments", [["encode", PHOTO, "-"], ["decode", "photo.jahp", "-"], ["info", "photo.jahp"], ["models"]])
def test_standard_output_that_is_full_or_that_nobody_reads(folder, arguments):
    with open("/dev/full", "w") as full:
        done = jahp(arguments, folder, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert_refused(done)
    assert "No space left" in done.stderr
    reader, writer = os.pipe()
    os.close(reader)
    done = jahp(arguments, folder, capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert_refused(done)
    assert "Broken pipe" in done.stderr


def test_standard_streams_that_are_closed(folder):
    for arguments, number, what in (["decode", "photo.jahp", "-"], 1, "output"), (["decode", "-", "out.png"], 0, "input"):
        done = jahp(arguments, folder, stdin=None, capture_output=False, stderr=subprocess.PIPE, preexec_fn=lambda n=number: os.close(n))
        assert_refused(done)
        assert f"standard {what}: it is closed" in done.stderr
    assert_untouched(folder, ["out.png"])


def test_targets_that_cannot_be_written(folder):
    (folder / "sub" / "photo.jahp").mkdir(parents=True)
    for target in ("/proc/out.jahp", "sub", "out.jahp/out.jahp"):
        assert_refused(jahp(["encode", PHOTO, target], folder))
    if os.geteuid() != 0:  # who may everything is not kept out
        (folder / "sub").chmod(0o500)
        assert_refused(jahp(["encode", PHOTO, "sub/out.jahp"], folder))
    assert not list(folder.rglob(".*.tmp"))


def test_killed_at_every_stage(folder):
    """A file appears whole or not at all, whenever the process dies."""
    for arguments, wait in (COMMANDS["encode"], 0.05), (COMMANDS["decode by rows"], 0.0):
        began = time.monotonic()
        assert jahp(arguments, folder).returncode == 0
        seconds, good = time.monotonic() - began, (folder / arguments[-1]).read_bytes()
        for moment in np.linspace(wait, seconds, 4):
            (folder / arguments[-1]).write_bytes(b"older")
            process = subprocess.Popen([*JAHP, *map(str, arguments)], cwd=folder, stderr=subprocess.DEVNULL)
            time.sleep(moment)
            process.kill()
            process.wait()
            assert (folder / arguments[-1]).read_bytes() in (b"older", good)


def test_several_writers_of_one_name(folder):
    """The file is the whole of one of them."""
    codecs = [Codec(quality=q) for q in (2, 5, 8)]
    whole = [c.encode(photo()[:200, :200]) for c in codecs]
    image = folder / "crop.png"
    Image.fromarray(photo()[:200, :200]).save(image)
    commands = [[*JAHP, "encode", str(image), "one.jahp", "-q", str(c.quality)] for c in codecs]
    writers = [subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE) for command in commands]
    while any(w.poll() is None for w in writers):
        if (folder / "one.jahp").exists():
            assert (folder / "one.jahp").read_bytes() in whole
        time.sleep(0.005)
    assert [w.communicate()[1] for w in writers] == [b""] * 3
    assert (folder / "one.jahp").read_bytes() in whole
    assert not list(folder.glob(".*.tmp"))


# Memory


def test_little_memory(folder, encoded):
    """Whatever the limit: the right file, or one line. Below the first, the interpreter and NumPy do not get as far as this program."""
    wanted = None
    seen = set()
    for megabytes in (130, 150, 300, 600):
        done = jahp(["decode", "photo.jahp", "out.png", "--threads", "1"], folder,
                    preexec_fn=limit(resource.RLIMIT_AS, megabytes * MEGABYTE), env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})  # fmt: skip
        seen.add(done.returncode)
        if done.returncode == 0:
            pixels = np.asarray(Image.open(folder / "out.png"))
            wanted = Codec().decode(encoded) if wanted is None else wanted
            assert np.array_equal(pixels, wanted)
            (folder / "out.png").write_bytes(b"older")
        elif "jahp: " in done.stderr:
            assert_refused(done)
        else:
            assert megabytes == 130, done.stderr[-2000:]
        assert_untouched(folder, ["out.png"])
    assert seen == {0, 1}


def lying_header(data, width, height):
    return with_crc(data[:16] + struct.pack("<II", width, height) + data[24:])


def test_memory_is_bounded_by_the_length_of_the_file(encoded, tmp_path):
    """Headers of 2^31 pixels on 17 KB are refused before anything is allocated, those within the bound with what the bound allows."""
    codec = Codec(max_pixels=1 << 40)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for width, height in ((1 << 16, 1 << 15), (1 << 24, 1 << 7), (1 << 24, 1 << 24), (1 << 31, 1), (46341, 46341)):
        for call in (codec.decode, codec.decode_latents, codec.decode_rows, container.unpack):
            with pytest.raises(FormatError, match="pixels"):
                call(lying_header(encoded, width, height))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024
    with pytest.raises(FormatError, match="max_pixels"):
        Codec(max_pixels=768 * 512 - 1).decode(encoded)
    # As many pixels as 16 bytes of payload may claim: latents are allocated before the payload's end is met.
    payload = struct.pack("<I", 0) + struct.pack("<I", 1 << 16) + bytes(8)
    least = container.pack(container.Stream(512, 512, "RGB", 4.0, bytes.fromhex(codec.model_id), 1, 0, 0, payload, {}))
    with pytest.raises(FormatError, match=r"payload|symbol|lane|escape"):
        codec.decode(least)
    with pytest.raises(FormatError, match="16 bytes of payload"):
        codec.decode(lying_header(least, 512, 513))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024


def test_memory_of_a_decode_is_what_the_security_page_says(tmp_path):
    (tmp_path / "large.jahp").write_bytes(Codec().encode(np.tile(photo(), (2, 2, 1))))
    program = """if True:
        import jahp_fast
        def peak():
            return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
        data, codec = open("large.jahp", "rb").read(), jahp_fast.Codec(threads=2)
        before = peak()
        pixels = codec.decode(data)
        print((peak() - before) * 1024 / pixels[..., 0].size)
    """
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert 1 < float(done.stdout) < 32


def test_images_that_are_bombs(tmp_path):
    """A PNG of a few KB that Pillow would blow up to 400 megapixels: its limit is ours."""
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))
    done = jahp(["encode", "bomb.png", "out.jahp"], tmp_path, preexec_fn=limit(resource.RLIMIT_AS, 1000 * MEGABYTE))
    assert_refused(done)
    assert "decompression bomb" in done.stderr


# Signals


def cpu_seconds(pid):
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_ctrl_c_of_the_command(folder):
    """One line, exit status 1, and the older file as it was."""
    Image.fromarray(np.tile(photo(), (8, 8, 1))).save(folder / "large.bmp")
    heeding = ["env", "--default-signal=INT"]  # what a shell runs in the background ignores the signal, and so do its children
    command = [*heeding, *JAHP, "encode", "large.bmp", "out.jahp"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and cpu_seconds(process.pid) < 1.0:  # its start takes a third of that, the whole picture several times
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (1, "jahp: interrupted\n")
    assert_untouched(folder, ["out.jahp"])


def test_ctrl_c_while_modules_load(tmp_path):
    """The signal comes when NumPy is about to be loaded."""
    (tmp_path / "numpy.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    command = [sys.executable, "-c", "import sys; from jahp_fast.__main__ import main; sys.exit(main())", "info", "none.jahp"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(["env", "--default-signal=INT", *command], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "jahp: interrupted\n")


# Model files that change under a codec


def test_a_model_file_that_is_replaced_removed_or_overwritten(tiny_models, tmp_path, photo_crop):
    """Weights are those of the file that was opened, or there is an error: never those of another."""
    path = tmp_path / "tiny.safetensors"
    other = ModelFile(tiny_models["tiny"])
    transforms = {name: -array if name.endswith("weight") else array for name, array in other.read_transforms("").items()}
    save_model(tmp_path / "other", other.config, other.entropy, transforms, {})
    wanted = Codec("tiny", models=[tiny_models["tiny"]]).encode(photo_crop)

    def codec():
        shutil.copy(tiny_models["tiny"], path)
        os.utime(path, ns=(time.time_ns(), time.time_ns()))
        return Codec("tiny", models=[path])

    def use(codec):
        return codec.decode(codec.encode(photo_crop))

    replaced = codec()
    os.replace(tmp_path / "other", path)
    assert replaced.encode(photo_crop) == wanted
    removed = codec()
    path.unlink()
    assert removed.encode(photo_crop) == wanted
    cut = codec()
    os.truncate(path, path.stat().st_size // 4)  # what transforms need comes first in a model file
    with pytest.raises(ModelError, match="ends early"):
        use(cut)
    path.unlink()
    overwritten = codec()
    raw = bytearray(path.read_bytes())
    middle = slice(len(raw) // 4, len(raw))
    raw[middle] = bytes(len(raw[middle]))
    with open(path, "r+b") as file:
        file.write(raw)
    with pytest.raises(ModelError, match="does not match the manifest"):
        use(overwritten)
