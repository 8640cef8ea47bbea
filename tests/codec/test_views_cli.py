# SPDX-License-Identifier: Apache-2.0
"""Regions and scales on the command line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import photo
from PIL import Image

from jahp_fast import Codec
from jahp_fast.cli import main


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with photo.jahp, 56 x 40 pixels, and grey.jahp with alpha, in which the commands run; and a codec."""
    monkeypatch.chdir(tmp_path)
    codec = Codec(threads=1)
    picture = photo()[100:140, 200:256]
    Path("photo.jahp").write_bytes(codec.encode(picture))
    alpha = np.random.default_rng(2).integers(0, 256, (40, 56), dtype=np.uint8)
    Path("grey.jahp").write_bytes(codec.encode(Image.fromarray(np.dstack([picture[:, :, 0], alpha]), "LA")))
    return codec


@pytest.mark.parametrize("options", [{}, {"region": (3, 5, 20, 30)}, {"scale": 4}, {"region": (3, 5, 20, 30), "scale": 2}], ids=str)
@pytest.mark.parametrize("name", ["photo", "grey"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_decode_of_a_part_or_smaller(work, name, options, suffix):
    words = [w for k, v in options.items() for w in (f"--{k}", ",".join(map(str, v)) if k == "region" else str(v))]
    assert main(["decode", f"{name}.jahp", f"out{suffix}", "--threads", "1", *words]) == 0
    with Image.open(f"out{suffix}") as back:
        wanted = work.decode_pil(Path(f"{name}.jahp").read_bytes(), **options)
        assert back.size == wanted.size
        assert np.array_equal(np.asarray(back.convert("RGBA")), np.asarray(wanted.convert("RGBA")))


BAD = {
    "outside": (["--region", "40,0,17,5"], "region (40, 0, 17, 5) is not inside of the picture's 56 x 40 pixels"),
    "empty": (["--region", "4,0,0,5"], "a region of 0 x 5 pixels is empty"),
    "three": (["--region", "1,2,3"], "'1,2,3' is not LEFT,TOP,WIDTH,HEIGHT in whole pixels"),
    "fraction": (["--region", "1,2,3,4.5"], "is not LEFT,TOP,WIDTH,HEIGHT in whole pixels"),
    "scale": (["--scale", "3"], "scale must be 1, 2, 4, 8 or 16, not 3"),
}


@pytest.mark.parametrize("output", ["out.png", "out.webp", "-"])
@pytest.mark.parametrize(("words", "said"), BAD.values(), ids=BAD)
def test_what_there_is_not_is_one_line(work, capfdbinary, words, said, output):
    assert main(["decode", "photo.jahp", output, *words]) == 1
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert err.decode().startswith("jahp: ")
    assert said in err.decode()
    assert err.count(b"\n") == 1
    assert not Path(output).exists()


def test_standard_output(work):
    command = [sys.executable, "-m", "jahp_fast", "decode", "-", "-", "--scale", "8"]
    done = subprocess.run(command, input=Path("photo.jahp").read_bytes(), capture_output=True, check=True)
    Path("small.png").write_bytes(done.stdout)
    with Image.open("small.png") as image:
        assert image.size == (7, 5)
