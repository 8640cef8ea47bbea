# SPDX-License-Identifier: Apache-2.0
"""What several test files build: random integer models, random latents, photos, and the repair of a mutated stream's CRC."""

from __future__ import annotations

import importlib.util
import struct
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from jahp_fast import _native
from jahp_fast.entropy.copies import ABOVE, LEFT
from jahp_fast.entropy.integer_net import PARAMETER_LIMIT
from jahp_fast.entropy.model_file import ModelConfig, ModelFile, save_model
from jahp_fast.export.model import SCALE_BITS, multiplier
from jahp_fast.export.tables import Row, gaussian_row, pack_rows

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "jahp_fast" / "weights" / "mbt2018.safetensors"


@dataclass(frozen=True)
class Case:
    """The part of a ModelConfig that chooses code paths."""

    architecture: str
    form: str = "A"
    activation_bits: int = 8
    prob_bits: int = 15

    @property
    def has_means(self) -> bool:
        return self.architecture not in ("bmshj2018-factorized", "bmshj2018-hyperprior")

    def __str__(self) -> str:
        return f"{self.architecture}-{self.form}-a{self.activation_bits}-p{self.prob_bits}"


ARCHITECTURES = ("bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean", "mbt2018-context", "mbt2018")
CASES = [
    case
    for architecture in ARCHITECTURES
    for form in "AB"
    for activation_bits in (8, 16)
    for prob_bits in (15, 16)
    if (case := Case(architecture, form, activation_bits, prob_bits)).has_means or form == "A"
]
TINY = {
    "tiny": Case("mbt2018"),
    "tiny-b16": Case("mbt2018", "B", 16, 16),
    "tiny-mean": Case("mbt2018-mean"),
    "tiny-factorized": Case("bmshj2018-factorized"),
}


DEPENDENCIES = ("numpy", "PIL", "safetensors")
"""Modules that the package needs where it neither trains nor uses a GPU."""


def link_packages(site: Path, modules: tuple[str, ...]) -> list[Path]:
    """Links to installed modules, and to the shared libraries that come beside them, made in the folder `site`."""
    links = []
    for module in modules:
        spec = importlib.util.find_spec(module)
        home = Path(spec.submodule_search_locations[0])
        library = {"PIL": "pillow"}.get(module, module)
        for folder in (home, home.with_name(f"{library}.libs")):
            if folder.is_dir():
                links.append(site / folder.name)
                links[-1].symlink_to(folder)
    return links


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder, or below what it links to, without compiled Python."""
    return sum(f.stat().st_size for f in folder.resolve().rglob("*") if f.is_file() and f.suffix != ".pyc")


def photo() -> np.ndarray:
    """(512, 768, 3) uint8."""
    from PIL import Image

    return np.asarray(Image.open(ROOT / "examples" / "photo.png").convert("RGB"))


@cache
def small_rows(mean_bits: int, prob_bits: int, fractions: bool) -> tuple[list[Row], list[int], list[int], list[int]]:
    """rows, first row, drop and threshold of six scales: every code path of tables.scale_table in a tenth of its size."""
    scales = (0.15, 0.4, 1.0, 2.5, 6.0, 15.0)
    thresholds = [round((a * b) ** 0.5 * 2**SCALE_BITS) for a, b in pairwise(scales)]
    rows: list[Row] = []
    first, drop = [], []
    for i, scale in enumerate(scales):
        bits = max(0, min(mean_bits, 3 - i)) if fractions else 0
        first.append(len(rows))
        drop.append(mean_bits - bits)
        rows += [gaussian_row((f + 0.5) / (1 << bits) if fractions else 0.0, scale, prob_bits) for f in range(1 << bits)]
    return rows, first, drop, thresholds


def random_layer(rng, name, outputs, inputs, kernel, in_limit, out_limit, out_rms, mode, taps=None):
    """Tensors of one integer layer whose outputs, for inputs spread over their range, have about `out_rms`.

    mode "saturated": fifty times as much, so that most outputs are clamped. mode "edge": weights of ±127, biases that take the
    sums to the very limit of 31 bits, multipliers of 0 and 2^31 - 1, shifts of 1 and 62, on some of the outputs; zero points of ±4095.
    """
    taps = kernel * kernel if taps is None else taps
    weight = rng.integers(-127, 128, (outputs, inputs, kernel, kernel)).astype(np.int8)
    spread = np.sqrt(inputs * taps) * 73 * in_limit / 3
    factor = out_rms / spread * (50 if mode == "saturated" else 1) * rng.uniform(0.5, 2, outputs)
    mul, shift = multiplier(factor)
    bias = np.rint(rng.normal(0, spread / 2, outputs)).astype(np.int64)
    mul_neg = np.rint(mul * rng.choice([0, 0.01, 0.5, 1.0], outputs)).astype(np.int32)
    if mode == "edge":
        some = rng.random(outputs) < 0.5
        weight[some] = np.where(rng.random(weight[some].shape) < 0.5, -127, 127)
        room = (1 << 31) - 1 - np.abs(weight.astype(np.int64)).sum((1, 2, 3)) * in_limit
        bias = np.where(some, room * rng.choice([-1, 1], outputs), bias)
        mul = np.where(some, rng.choice([0, 1, 2**31 - 1], outputs), mul).astype(np.int32)
        mul_neg = np.where(some, rng.choice([0, 1, 2**31 - 1], outputs), mul_neg).astype(np.int32)
        shift = np.where(some, rng.choice([1, 31, 62], outputs), shift).astype(np.int32)
    zero = rng.integers(-in_limit // 3, in_limit // 3 + 1, outputs) if mode != "edge" else rng.choice([-4095, 0, 4095], outputs)
    values = {"weight": weight, "bias": bias.astype(np.int32), "mul_pos": mul, "mul_neg": mul_neg, "shift": shift,
              "zero": zero.astype(np.int32)}  # fmt: skip
    return {f"{name}.{part}": array for part, array in values.items()}


def random_model(path, case, *, seed, N=8, M=12, mode="typical", kernel=5, mean_bits=6, z_bits=0, qualities=(1.0, 8.0)):
    """Writes a model file with random integer nets and no float tensors, and opens it."""
    rng = np.random.default_rng(seed)
    conditional = case.architecture != "bmshj2018-factorized"
    context = case.architecture in ("mbt2018-context", "mbt2018")
    hyper = N if case.architecture not in ("bmshj2018-factorized", "mbt2018-context") else 0
    config = ModelConfig(case.architecture, M, hyper, case.form, case.activation_bits, mean_bits, z_bits, case.prob_bits, qualities)
    limit = config.activation_limit
    parameters = 2 * M if config.means else M
    rows = [gaussian_row(float(rng.uniform(-1, 1)), float(np.exp(rng.uniform(-1, 2))), case.prob_bits)
            for _ in range(hyper + (0 if conditional else M))]  # fmt: skip
    tensors = {}

    def layer(name, outputs, inputs, kernel, taps=None):
        tensors.update(random_layer(rng, name, outputs, inputs, kernel, limit, limit, limit / 2, mode, taps))

    def last_layer(name, inputs, kernel):
        rms = np.concatenate([np.full(M, 3.0 * 2**SCALE_BITS), np.full(parameters - M, 4.0 * 2**mean_bits)])
        tensors.update(random_layer(rng, name, parameters, inputs, kernel, limit, PARAMETER_LIMIT, rms, mode))

    if hyper:
        layer("h_s.0", hyper, hyper, 5, 6)
        layer("h_s.2", M + 1, hyper, 5, 6)
        if context:
            layer("h_s.4", 2 * M, M + 1, 3)
        else:
            last_layer("h_s.4", M + 1, 3)
        tensors["z_offset"] = rng.integers(-(1 << z_bits) + 1, 1 << z_bits, hyper).astype(np.int32)
    if context:
        layer("context_prediction", 2 * M, M, kernel, kernel * kernel // 2)
        layer("entropy_parameters.0", M + 5, (4 if hyper else 2) * M, 1)
        layer("entropy_parameters.2", M + 3, M + 5, 1)
        last_layer("entropy_parameters.4", M + 3, 1)
        shift = rng.integers(0, 4, M) + config.frac_bits
        tensors |= {
            "context_input.mul": rng.integers(-32768, 32769, M).astype(np.int32) if mode == "edge" else np.full(M, 8, np.int32),
            "context_input.add": (1 << shift >> 1).astype(np.int32),
            "context_input.shift": rng.integers(0, 32, M).astype(np.int32) if mode == "edge" else shift.astype(np.int32),
        }
    if conditional:
        scale_rows, first, drop, thresholds = small_rows(mean_bits, case.prob_bits, case.form == "A" and config.means)
        tensors |= {
            "scale.row": np.array(first, np.int32) + np.int32(len(rows)),
            "scale.drop": np.array(drop, np.int32),
            "scale.thresholds": np.array(thresholds, np.int32),
        }
        rows += scale_rows
    save_model(path, config, tensors | pack_rows(rows), {}, {})
    return ModelFile(path)


def random_latents(model, height, width, seed, wild=0.02):
    """z and y of the model's shapes: mostly small, a share of `wild` anywhere in ±32767. In form B y has fractional bits."""
    rng = np.random.default_rng(seed)
    c = model.config
    hz, wz = (-(-height // 4), -(-width // 4)) if c.hyper_latents else (0, 0)

    def draw(shape, bits):
        values = np.rint(rng.laplace(0, 2.0 * (1 << bits), shape)).astype(np.int64)
        far = rng.random(shape) < wild
        values[far] = rng.integers(-32767 << bits, (32767 << bits) + 1, int(far.sum()))
        return values.astype(np.int32)

    return draw((hz, wz, c.hyper_latents), 0), draw((height, width, c.latents), c.frac_bits)


def random_kinds(size, seed):
    """A map of copied positions (entropy.copies), the kinds mixed."""
    rng = np.random.default_rng([7, seed])
    kinds = rng.integers(0, 3, size, dtype=np.uint8)
    kinds[rng.random(size) < 0.3] = 0
    kinds[:, :1][kinds[:, :1] == LEFT] = 0
    kinds[:1][kinds[:1] == ABOVE] = 0
    return kinds


def with_crc(data: bytes) -> bytes:
    """The stream with the CRC that its bytes demand, wherever they came from."""
    crc = _native.crc32c(data[44:], _native.crc32c(data[:40]))
    return data[:40] + struct.pack("<I", crc) + data[44:]
