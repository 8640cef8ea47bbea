# SPDX-License-Identifier: Apache-2.0
"""What an environment holds that has NumPy, Pillow and safetensors beside the package, and no torch.

The package's files are linked into a folder beside these three, and Python started without any other site-packages; the wheel itself is
installed and tried by check_packages.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
from builders import DEPENDENCIES, ROOT, link_packages, size_of
from PIL import Image

from jahp_fast import Codec, _native


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder for PYTHONPATH."""
    folder = tmp_path_factory.mktemp("site")
    link_packages(folder, DEPENDENCIES)
    package = folder / "jahp_fast"
    package.mkdir()
    extension = Path(_native.__file__)
    for path in [*(ROOT / "jahp_fast").iterdir(), extension]:
        if path.name != "__pycache__":
            (package / path.name).symlink_to(path)
    (package / "kernels").symlink_to(ROOT / "kernels")
    return folder


@pytest.fixture
def python(site, tmp_path):
    """Runs Python with these arguments in an empty folder; returns the finished process."""

    def run(*arguments, **options):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-S", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, **options)

    return run


def test_there_is_no_torch(python):
    done = python("-c", "import torch")
    assert "No module named 'torch'" in done.stderr


def test_encode_and_decode(python, tmp_path, photo_crop):
    photo_crop = photo_crop[:40, :56]
    Image.fromarray(photo_crop).save(tmp_path / "photo.png")
    for command in (["encode", "photo.png", "photo.jahp"], ["decode", "photo.jahp", "back.png"], ["models", "--verify"],
                    ["decode", "photo.jahp", "reference.png", "--backend", "reference"]):  # fmt: skip
        done = python("-m", "jahp_fast.cli", *command)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    codec = Codec()
    assert (tmp_path / "photo.jahp").read_bytes() == codec.encode(photo_crop)
    decoded = codec.decode((tmp_path / "photo.jahp").read_bytes())
    with Image.open(tmp_path / "back.png") as back, Image.open(tmp_path / "reference.png") as reference:
        assert np.array_equal(np.asarray(back), decoded)
        assert np.abs(np.asarray(reference).astype(int) - decoded).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "what", "extra"),
    [
        (["train", "--photos", ".", "--work", ".", "--minutes", "1"], "training or exporting a model", "train"),
        (["export", "a.pt", "b.safetensors", "--photos", "."], "training or exporting a model", "train"),
        (["decode", "a.jahp", "b.png", "--device", "cuda"], "device 'cuda'", "torch"),
        (["encode", "a.png", "b.jahp", "--device", "cuda:1"], "device 'cuda:1'", "torch"),
    ],
)
def test_what_needs_torch_says_so(python, tmp_path, arguments, what, extra):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.jahp").write_bytes(b"")
    done = python("-m", "jahp_fast.cli", *arguments)
    assert done.returncode == 1
    assert done.stderr == f"jahp: {what} needs torch, which is not installed: pip install 'jahp_fast[{extra}]'\n"


def test_what_needs_torch_in_python(python):
    program = """
import json, sys, numpy as np, jahp_fast
said = []
codec = jahp_fast.Codec()
data = codec.encode(np.zeros((16, 16, 3), np.uint8))
for call in (lambda: codec.decode_tensor(data), lambda: __import__("jahp_fast.models.registry"), lambda: jahp_fast.Codec(device="cuda")):
    try:
        call()
    except jahp_fast.MissingExtra as error:
        assert isinstance(error, ImportError)
        said.append(str(error))
print(json.dumps(said))
"""
    done = python("-c", program)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for message, what in zip(said, ("decode_tensor", "jahp_fast.models", "device 'cuda'"), strict=True):
        assert message == f"{what} needs torch, which is not installed: pip install 'jahp_fast[torch]'"


def test_neither_import_nor_commands_load_torch(tmp_path, photo_crop):
    """Where torch is installed, too. Decoding loads nothing of the encoder, either. CPU seconds, since the machine may be busy."""
    data = Codec().encode(photo_crop[:20, :20])
    (tmp_path / "a.jahp").write_bytes(data)
    program = """
import sys, time
start = time.process_time()
import jahp_fast
print(time.process_time() - start)
assert not {"numpy", "PIL", "safetensors"} & set(sys.modules)
from jahp_fast.cli import main
assert main(["decode", "a.jahp", "b.png"]) == 0
encoders = ("jahp_fast.encoding", "jahp_fast.search", "jahp_fast.transforms.reference", "jahp_fast.entropy.reference")
assert not [name for name in sys.modules if name.startswith(encoders)]
assert main(["encode", "b.png", "c.jahp"]) == 0
heavy = {"torch", "triton", "matplotlib", "numpy.random", "numpy.fft", "numpy.testing"} & set(sys.modules)
assert not heavy, heavy
"""
    seconds = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        seconds.append(float(done.stdout))
    assert min(seconds) < 0.06, seconds


def test_size():
    """Beside NumPy and Pillow, 60 MB are allowed; the CUDA extension, which few builds have, does not count."""
    own = size_of(ROOT / "jahp_fast") + size_of(ROOT / "kernels") + Path(_native.__file__).stat().st_size
    assert own + size_of(Path(safetensors.__file__).parent) < 60e6
