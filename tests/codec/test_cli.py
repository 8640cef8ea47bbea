# SPDX-License-Identifier: Apache-2.0
"""The command line: exit status 0, or 1 with one line on standard error; files whole or not at all; stable JSON."""

import io
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jahp_fast
from jahp_fast import Codec
from jahp_fast.cli import main
from jahp_fast.errors import JahpError
from jahp_fast.system.atomic import write_atomically


def opened(path):
    """A PIL image, read whole, its file closed."""
    with Image.open(path) as image:
        image.load()
        return image


@pytest.fixture
def work(tmp_path, photo_crop, monkeypatch):
    """A folder with photo.png, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo_crop[:40, :56]).save("photo.png")
    return tmp_path


@pytest.fixture
def tiny(tiny_models):
    return str(tiny_models["tiny"])


def refused(capsys, *arguments):
    """Runs a command that must fail and returns its one line."""
    before = {p: p.read_bytes() for p in Path().iterdir() if p.is_file()}
    assert main([str(a) for a in arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jahp: ")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1, err
    assert {p: p.read_bytes() for p in Path().iterdir() if p.is_file()} == before
    return err


def test_rounds_of_a_search_are_counted_at_a_terminal(work, tiny, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, effort, wanted in ((Terminal(), "2", True), (Terminal(), "1", False), (io.StringIO(), "2", False)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert main(["encode", "photo.png", f"{effort}.jahp", "--effort", effort, "--model", tiny]) == 0
        said = stream.getvalue()
        assert ("\r\x1b[Kjahp: searching: round 1 of 18\r\x1b[Kjahp: searching: round 2 of 18" in said) == wanted
        assert said.endswith("round 18 of 18\r\x1b[K") if wanted else said == ""


def test_encode_decode(work, tiny, photo_crop, capsys):
    assert main(["encode", "photo.png", "photo.jahp", "-q", "5", "--model", tiny, "--threads", "1"]) == 0
    data = Path("photo.jahp").read_bytes()
    codec = Codec("tiny", 5, models=[tiny])
    assert data == codec.encode(photo_crop[:40, :56])
    assert main(["decode", "photo.jahp", "back.png", "--model", tiny]) == 0
    assert np.array_equal(np.asarray(opened("back.png")), codec.decode(data))
    assert main(["decode", "photo.jahp", "back2.png", "--model", tiny, "--backend", "reference"]) == 0
    assert Path("back2.png").read_bytes() == Path("back.png").read_bytes()
    assert main(["decode", "photo.jahp", "back.webp", "--model", tiny]) == 0
    assert opened("back.webp").size == (56, 40)
    assert capsys.readouterr() == ("", "")
    assert {p.name for p in work.iterdir()} == {"photo.png", "photo.jahp", "back.png", "back2.png", "back.webp"}


def test_metadata_survives(work, tiny):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    opened("photo.png").convert("RGBA").save("rich.png", icc_profile=b"a profile", exif=exif)
    assert main(["encode", "rich.png", "rich.jahp", "--model", tiny]) == 0
    assert main(["decode", "rich.jahp", "out.png", "--model", tiny]) == 0
    back = opened("out.png")
    assert back.mode == "RGBA"
    assert back.info["icc_profile"] == b"a profile"
    assert back.getexif()[0x010F] == "a camera"


def test_default_model(work):
    assert main(["encode", "photo.png", "photo.jahp"]) == 0
    said = jahp_fast.info(Path("photo.jahp").read_bytes())
    assert (said.width, said.height, said.quality) == (56, 40, 4.0)
    assert main(["decode", "photo.jahp", "back.png"]) == 0


def test_models_of_the_environment(work, tiny, monkeypatch, capsys):
    assert main(["encode", "photo.png", "photo.jahp", "--model", tiny]) == 0
    assert "is not in" in refused(capsys, "decode", "photo.jahp", "back.png")
    monkeypatch.setenv("JAHP_FAST_MODELS", str(Path(tiny).parent))
    assert main(["decode", "photo.jahp", "back.png"]) == 0


def test_an_existing_file_is_replaced(work, tiny):
    Path("out.jahp").write_bytes(b"old")
    assert main(["encode", "photo.png", "out.jahp", "--model", tiny]) == 0
    assert Path("out.jahp").read_bytes()[:4] == b"JAHP"


def test_bad_input_is_refused_in_one_line(work, tiny, capsys, photo_crop):
    main(["encode", "photo.png", "good.jahp", "--model", tiny])
    good = Path("good.jahp").read_bytes()
    Path("cut.jahp").write_bytes(good[:-5])
    Path("flipped.jahp").write_bytes(good[:60] + bytes([good[60] ^ 1]) + good[61:])
    Path("empty.jahp").write_bytes(b"")
    Path("text.png").write_text("this is no image")
    Path("cut.png").write_bytes(Path("photo.png").read_bytes()[:300])
    Image.fromarray(photo_crop[:8, :8]).convert("CMYK").save("cmyk.jpg")
    Image.fromarray(np.zeros((4, 4), np.float32)).save("float.tif")
    png = Path("photo.png").read_bytes()
    size = struct.pack(">II", 30_000, 30_000) + png[24:29]
    Path("bomb.png").write_bytes(png[:16] + size + struct.pack(">I", zlib.crc32(b"IHDR" + size)) + png[33:])
    Path("model.safetensors").write_bytes(Path(tiny).read_bytes()[:500])
    Path("old.jahp").write_bytes(b"old")
    Path("folder").mkdir()
    for words, arguments in {
        "header speaks of": ("decode", "cut.jahp", "old.jahp.png"),
        "CRC-32C does not match": ("decode", "flipped.jahp", "old.png"),
        "does not start with 'JAHP'": ("decode", "empty.jahp", "old.png"),
        "cannot read none.jahp: No such file": ("decode", "none.jahp", "old.png"),
        "Pillow knows no format": ("decode", "good.jahp", "old.xyz"),
        "cannot write none/old.png": ("decode", "good.jahp", "none/old.png"),
        "text.png is not an image": ("encode", "text.png", "old.jahp"),
        "cut.png is not an image": ("encode", "cut.png", "old.jahp"),
        "bomb.png is not an image that can be read.*900000000 pixels": ("encode", "bomb.png", "old.jahp"),
        "PIL mode CMYK": ("encode", "cmyk.jpg", "old.jahp"),
        "PIL mode F.*float": ("encode", "float.tif", "old.jahp"),
        "cannot read none.png": ("encode", "none.png", "old.jahp"),
        "cannot read folder": ("encode", "folder", "old.jahp"),
        "cannot write none/x.jahp": ("encode", "photo.png", "none/x.jahp"),
        "cannot write folder/": ("encode", "photo.png", "folder/photo.jahp/"),
        "quality 13 is not one": ("encode", "photo.png", "old.jahp", "-q", "13"),
        "up to 8: leave them out": ("encode", "photo.png", "old.jahp", "-q", "9", "--max-bytes", "900"),
        "ask for one of them": ("encode", "photo.png", "old.jahp", "--lossless", "--max-error", "1"),
        "max_error must be 0 to 255": ("encode", "photo.png", "old.jahp", "--max-error", "-1"),
        "-q has no say": ("encode", "photo.png", "old.jahp", "-q", "9", "--lossless"),
        "argument -q.*invalid float": ("encode", "photo.png", "old.jahp", "-q", "high"),
        "threads must be": ("encode", "photo.png", "old.jahp", "--threads", "0"),
        "backend 'fast' is unknown": ("encode", "photo.png", "old.jahp", "--backend", "fast"),
        "device 'gpu' is not supported": ("encode", "photo.png", "old.jahp", "--device", "gpu"),
        "backend 'cuda' needs device='cuda'": ("decode", "good.jahp", "out.png", "--backend", "cuda"),
        "no model is called 'some'": ("encode", "photo.png", "old.jahp", "--model", "some"),
        "cannot read the model file": ("encode", "photo.png", "old.jahp", "--model", "none.safetensors"),
        "not a safetensors file": ("encode", "photo.png", "old.jahp", "--model", "model.safetensors"),
        "cannot read nothing": ("info", "nothing"),
        "not a .jahp file": ("info", "photo.png"),
        "arguments are required: IN, OUT.jahp": ("encode",),
        "unrecognized arguments": ("info", "good.jahp", "more"),
        "invalid choice: 'compress'": ("compress", "photo.png"),
        "arguments are required: COMMAND": (),
    }.items():
        coding = arguments[:1] in (("decode",), ("encode",)) and len(arguments) >= 3
        line = refused(capsys, *arguments, *(("--model", tiny) if coding and "--model" not in arguments else ()))
        assert re.search(words, line), (arguments, line)


def test_a_failed_write_leaves_the_old_file(work, tiny, monkeypatch, capsys):
    Path("out.jahp").write_bytes(b"old")

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert "No space left on device" in refused(capsys, "encode", "photo.png", "out.jahp", "--model", tiny)
    assert sorted(p.name for p in work.iterdir()) == ["out.jahp", "photo.png"]


def test_write_atomically(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    with pytest.raises(JahpError, match=r"cannot write .*none/file: there is no folder .*none"):
        write_atomically(tmp_path / "none" / "file", b"")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def stream(data=b""):
    """Like sys.stdin or sys.stdout."""
    return io.TextIOWrapper(io.BytesIO(data))


def test_standard_input_and_output(work, tiny, monkeypatch):
    main(["encode", "photo.png", "photo.jahp", "--model", tiny])
    monkeypatch.setattr(sys, "stdin", stream(Path("photo.png").read_bytes()))
    monkeypatch.setattr(sys, "stdout", stream())
    assert main(["encode", "-", "-", "--model", tiny]) == 0
    data = sys.stdout.buffer.getvalue()
    assert data == Path("photo.jahp").read_bytes()
    monkeypatch.setattr(sys, "stdin", stream(data))
    monkeypatch.setattr(sys, "stdout", stream())
    assert main(["decode", "-", "-", "--model", tiny]) == 0
    image = Image.open(io.BytesIO(sys.stdout.buffer.getvalue()))
    assert (image.format, image.size) == ("PNG", (56, 40))


def test_info(work, tiny, capsys):
    main(["encode", "photo.png", "photo.jahp", "-q", "2.5", "--model", tiny])
    assert main(["info", "photo.jahp", "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert set(fields) == {"width", "height", "mode", "alpha", "quality", "model", "lanes", "skip", "bytes", "payload_bytes", "chunks",
                           "base_quality", "max_error", "depth", "backend", "device"}  # fmt: skip
    assert (fields["base_quality"], fields["max_error"]) == (None, None)
    assert (fields["backend"], fields["device"]) == ("native", "cpu")
    assert (fields["width"], fields["height"], fields["mode"], fields["quality"]) == (56, 40, "RGB", 2.5)
    assert fields["bytes"] == Path("photo.jahp").stat().st_size
    assert main(["info", "photo.jahp"]) == 0
    out = capsys.readouterr().out
    assert f"{8 * fields['bytes'] / (56 * 40):.4f}" in out
    assert fields["model"] in out
    assert "max error" not in out


def test_files_with_a_layer(work, tiny, photo_crop, capsys):
    main(["encode", "photo.png", "photo.jahp", "--lossless"])
    assert main(["info", "photo.jahp"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"max error +0\n", out)
    assert " quality" not in out
    main(["decode", "photo.jahp", "back.png"])
    assert np.array_equal(np.asarray(opened("back.png")), photo_crop[:40, :56])
    main(["encode", "photo.png", "near.jahp", "--max-error", "3"])
    main(["decode", "near.jahp", "near.png"])
    assert 0 < np.abs(np.asarray(opened("near.png")).astype(int) - photo_crop[:40, :56]).max() <= 3
    main(["encode", "photo.png", "fine.jahp", "-q", "10", "--model", tiny])
    assert main(["info", "fine.jahp", "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert (fields["quality"], fields["base_quality"]) == (10, 4)


def test_models(work, tiny, monkeypatch, capsys):
    monkeypatch.setenv("JAHP_FAST_MODELS", str(Path(tiny).parent))
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    keys = {"name", "architecture", "id", "latents", "qualities", "form", "activation_bits", "metric", "bytes", "path"}
    assert all(set(row) == keys for row in rows)
    by_name = {row["name"]: row for row in rows}
    assert {"tiny", "tiny-b16", "tiny-mean", "tiny-factorized", "mbt2018"} <= set(by_name)
    assert (by_name["mbt2018"]["metric"], by_name["mbt2018-ms-ssim"]["metric"]) == ("mse", "ms-ssim")
    assert by_name["tiny"]["qualities"] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (by_name["tiny-b16"]["form"], by_name["tiny-b16"]["activation_bits"], by_name["tiny"]["latents"]) == ("B", 16, 12)
    assert main(["models", "--verify"]) == 0
    out = capsys.readouterr().out
    assert out.count("verified") == len(rows)
    assert by_name["tiny"]["id"] in out


def test_models_verify_notices_damage(work, tiny, monkeypatch, capsys):
    Path("damaged").mkdir()
    data = bytearray(Path(tiny).read_bytes())
    data[-3] ^= 1
    Path("damaged/bad.safetensors").write_bytes(data)
    monkeypatch.setenv("JAHP_FAST_MODELS", "damaged")
    assert main(["models", "--verify"]) == 1
    said = capsys.readouterr()
    assert "does not match the manifest" in said.err
    assert said.err.count("\n") == 1
    assert "mbt2018" in said.out  # the others are verified all the same


def test_help_and_version(capsys):
    for arguments in (["--help"], ["encode", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
    assert jahp_fast.__version__ in capsys.readouterr().out


def test_as_a_program(work, tiny):
    """The installed command once as users run it: no traceback, and no torch for what needs none."""
    jahp = Path(sys.executable).with_name("jahp")
    assert subprocess.run([jahp, "encode", "photo.png", "photo.jahp", "--model", tiny], check=False).returncode == 0
    done = subprocess.run([jahp, "info", "photo.jahp", "--json"], capture_output=True, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout)["width"] == 56
    done = subprocess.run([jahp, "decode", "photo.png", "back.png"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "jahp: not a .jahp file: it does not start with 'JAHP'\n"
    assert not Path("back.png").exists()
    done = subprocess.run([sys.executable, "-m", "jahp_fast.cli", "encode"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_went_away(work, tiny):
    assert main(["encode", "photo.png", "photo.jahp", "--model", tiny]) == 0
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "jahp_fast.cli", "decode", "photo.jahp", "-", "--model", tiny]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert done.stderr == b"jahp: cannot write standard output: Broken pipe\n"
    assert done.returncode == 1
