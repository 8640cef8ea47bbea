# SPDX-License-Identifier: Apache-2.0
"""The peers' environment: a virtual environment of its own, because CompressAI 1.2.8 wants numpy below 2 and would replace torch.

`make_env(folder)` creates it, or leaves it alone when it was already made from this very recipe.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from jahp_fast.errors import JahpError

HERE = Path(__file__).resolve().parent
DEFAULT_ENV = HERE.parents[1] / ".venv-peers"
STUBS = HERE / "peers_stub"  # on the workers' PYTHONPATH: a torchvision that CompressAI's imports are content with
STAMP = ".peers-recipe"

# numpy 1.26 has wheels for Python up to 3.12, compressai 1.2.8 for 3.11 alone (other versions compile it from source).
WITH_DEPENDENCIES = (
    "numpy==1.26.4",
    "scipy==1.17.1",
    "pandas==3.0.6",
    "matplotlib==3.11.2",
    "einops==0.8.2",
    "tqdm==4.70.1",
    "tomli==2.5.0",
    "requests==2.34.2",
    "safetensors==0.8.0",
    "pillow==13.0.0",
    "onnx==1.23.2",
    "onnxruntime==1.32.0",
    "openvino==2026.4.1",
    "pillow-jxl-plugin==1.3.8",
    "xxhash==4.1.0",
    "aiohttp==3.14.5",
    "jinja2==3.1.6",
    "psutil==7.2.2",
    "pyparsing==3.3.3",
    "fsspec==2026.9.0",
)
# Their declared dependencies would bring another torch and torchvision; what they import is in the list above.
WITHOUT_DEPENDENCIES = ("compressai==1.2.8", "pytorch-msssim==1.0.0", "torch-geometric==2.8.1")


class PeersError(JahpError):
    """The peers' environment or a worker in it failed; the message says in what step."""


def torch_requirement() -> str:
    """The torch to install: the environment variable TORCH, as in the Makefile, else the pinned release."""
    return os.environ.get("TORCH", "torch==2.13.0")


def recipe_digest() -> str:
    """Hex digest of everything that decides the environment's contents."""
    parts = (torch_requirement(), *WITH_DEPENDENCIES, "--no-deps", *WITHOUT_DEPENDENCIES)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def env_python(folder: Path) -> Path:
    """The interpreter of the environment in `folder`."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def is_made(folder: Path) -> bool:
    """Whether `folder` holds an environment that this recipe finished."""
    stamp = folder / STAMP
    return stamp.is_file() and stamp.read_text().strip() == recipe_digest() and env_python(folder).exists()


def _step(title: str, command: list[str]) -> None:
    print(f"peers' environment: {title} ...", file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        last = "\n".join(done.stdout.strip().splitlines()[-8:])
        raise PeersError(f"peers' environment: {title} failed with status {done.returncode}:\n{last}")


def make_env(folder: Path = DEFAULT_ENV) -> Path:
    """Make the environment in `folder` unless it is there already; returns its interpreter. About 1 minute and 1.3 GB.

    The stamp file is written last, so an interrupted installation is taken up again instead of being trusted.
    Raises PeersError with the end of pip's output when a step fails, or when `folder` is something else than an environment.
    """
    python = env_python(folder)
    if is_made(folder):
        return python
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file():
        raise PeersError(f"{folder} is not empty and not a virtual environment; name another folder with --env")
    if not python.exists():
        _step(f"creating {folder}", [sys.executable, "-m", "venv", str(folder)])
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    torch = torch_requirement()
    _step(f"installing {torch} and {len(WITH_DEPENDENCIES)} packages", [*pip, torch, *WITH_DEPENDENCIES])
    _step(f"installing {WITHOUT_DEPENDENCIES[0]}", [*pip, "--no-deps", *WITHOUT_DEPENDENCIES])
    check = subprocess.run(
        [str(python), "-c", "import compressai.models"], env=worker_environment(threads=1), capture_output=True, text=True, check=False
    )
    if check.returncode != 0:
        raise PeersError(f"peers' environment: compressai does not import:\n{check.stderr.strip()[-2000:]}")
    partial = folder / (STAMP + ".part")
    partial.write_text(recipe_digest() + "\n")
    os.replace(partial, folder / STAMP)
    return python


def worker_environment(threads: int) -> dict[str, str]:
    """Environment variables for a worker: the stubs importable, `threads` threads in every library that counts them."""
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment[name] = str(threads)
    # CompressAI's loop is thousands of tiny parallel regions: beside other programs OpenMP's spinning barriers made two threads 4 to
    # 7 times slower than one (35 s, not 8.6, at 192/192 and a load of 7). With parked threads they are equal.
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    environment["PYTHONPATH"] = str(STUBS)
    environment.pop("PYTHONHOME", None)
    return environment
