# SPDX-License-Identifier: Apache-2.0
"""Makes the golden models and streams of this folder: what every later release must decode to the same latents.

    PYTHONPATH=tests/support python tests/golden/make_golden.py

Models are random integers, a few KB each, without transforms but for those of golden_pictures.py. Streams cover every architecture,
form, activation width, table precision, number of lanes, skipping, copying, padding, grey, alpha
and metadata. golden.json holds SHA-256 digests
of z and y (int32, little-endian, channels first), of alpha, and of pixels. It adds what is missing and never writes a file that stands
here already; then run control_points.py.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import golden_pictures as pictures
import numpy as np
import subtle
from builders import CASES, Case, random_kinds, random_latents, random_model

from jahp_fast import Codec, _native
from jahp_fast.backends.reference import ReferenceBackend
from jahp_fast.entropy import copies
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.entropy.model_file import ModelFile, save_model
from jahp_fast.files import container
from jahp_fast.files.alpha import pack_alpha

HERE = Path(__file__).parent
SIZES = ((1, 1), (17, 31), (100, 37), (333, 20), (64, 64), (1500, 1), (5, 200))
LANES = (1, 2, 4, 8, 16, 32, 64)
KNOWN = json.loads((HERE / "golden.json").read_text())


def digest(array: np.ndarray) -> str:
    """SHA-256 of int32, little-endian, C order."""
    return hashlib.sha256(np.ascontiguousarray(array, "<i4").tobytes()).hexdigest()


def golden_models() -> dict[str, ModelFile]:
    cases = [c for c in CASES if c.prob_bits == 15] + [Case("mbt2018", "A", 8, 16), Case("mbt2018", "B", 16, 16)]
    wanted = {str(case): (case, {"seed": 1000 + seed, "N": 5, "M": 7, "z_bits": seed % 3}) for seed, case in enumerate(cases)}
    wanted |= {
        "wide": (Case("bmshj2018-factorized"), {"seed": 2000, "M": 70}),
        "saturated": (Case("mbt2018"), {"seed": 2001, "N": 4, "M": 6, "mode": "saturated"}),
        "edge": (Case("mbt2018", "A", 16), {"seed": 2002, "N": 4, "M": 6, "mode": "edge"}),
        "kernel-3": (Case("mbt2018", "A", 8), {"seed": 2003, "N": 3, "M": 5, "kernel": 3, "mean_bits": 0}),
        "kernel-7": (Case("mbt2018-context", "B", 16), {"seed": 2004, "M": 4, "kernel": 7, "mean_bits": 8}),
        "fractions-8": (Case("mbt2018-mean", "A", 16, 16), {"seed": 2005, "N": 3, "M": 4, "mean_bits": 8, "z_bits": 8}),
    }
    paths = {name: HERE / f"{name}.safetensors" for name in wanted}
    return {
        name: ModelFile(paths[name]) if paths[name].exists() else random_model(paths[name], case, **options)
        for name, (case, options) in wanted.items()
    }


def thresholds_met() -> ModelFile:
    """A model whose scales are constants: each equals a threshold, or lies one below it."""
    path = HERE / "thresholds.safetensors"
    if not path.exists():
        model = random_model(path, Case("mbt2018"), seed=2006, N=3, M=6)
        entropy = {name: array.copy() for name, array in model.entropy.items()}
        for part in ("mul_pos", "mul_neg"):
            entropy[f"entropy_parameters.4.{part}"][:6] = 0
        entropy["scale.thresholds"][:3] = 10, 300, 4000
        entropy["entropy_parameters.4.zero"][:6] = np.repeat(entropy["scale.thresholds"][:3], 2) - [0, 1] * 3
        save_model(path, model.config, entropy, {}, {})
    return ModelFile(path)


def rows_of_z() -> ModelFile:
    """A model whose z has other table rows at each of three qualities, those of the first at the end of the tables."""
    path = HERE / "rows-of-z.safetensors"
    if not path.exists():
        model = random_model(path, Case("mbt2018"), seed=2007, N=5, M=7)
        config = replace(model.config, qualities=(1.0, 2.95, 8.0))
        last = len(model.entropy["tables.low"]) - config.hyper_latents
        save_model(path, config, model.entropy | {"z_rows": np.array([last, 0, 3], np.int32)}, {}, {})
    return ModelFile(path)


def write(name: str, model: ModelFile, width: int, height: int, lanes: int, skip: int = 0, mode: str = "RGB", chunks=None,
          fill: int | None = None, quality: float = 4.5, wild: float = 0.01, copy: bool = False) -> dict[str, object]:  # fmt: skip
    """One stream of random latents, or of ±`fill`, unless it stands here; returns its entry of golden.json. copy: with copied positions."""
    if name in KNOWN:
        return KNOWN[name]
    h, w = -(-height // 16), -(-width // 16)
    z, y = random_latents(model, h, w, seed=len(name), wild=0.0 if skip else wild)
    if fill is not None:
        z, y = (np.where(np.arange(a.size).reshape(a.shape) % 2, fill, -fill).astype(np.int32) for a in (z, y))
    maps = b""
    if copy:
        maps = b"".join(random_kinds(a.shape[:2], seed).tobytes() for seed, a in enumerate((z, y)))
        for a, kinds in zip((z, y), copies.maps(maps, z, y), strict=True):
            for position in np.ndindex(a.shape[:2]):
                copies.apply(kinds, position, a)
        chunks = {container.COPIES: copies.pack(maps), **(chunks or {})}
    layout = StreamLayout(h, w, lanes, skip, container.min_payload_bytes(width, height), maps, model.z_row(quality))
    payload, seen, lanes = ReferenceBackend(model).encode(z, y, layout, 1)[:3]
    stream = container.Stream(width, height, mode, quality, model.id, lanes, skip, _native.symbol_checksum(z, seen), payload, chunks or {})
    return entry(name, model, container.pack(stream))


def write_picture(
    name: str, model: ModelFile, image: np.ndarray, quality: float, depth: int | None = None, **options: bool
) -> dict[str, object]:
    """The file of a picture, unless it stands here; returns its entry of golden.json."""
    codec = Codec(model.path.stem, quality, backend="reference", models=[model.path], drawings=False, **options)
    return KNOWN.get(name) or entry(name, model, codec.encode(image, depth=depth))


def entry(name: str, model: ModelFile, data: bytes) -> dict[str, object]:
    """Writes a stream; its entry of golden.json, with pixels where the model has transforms, and alpha where the stream has it."""
    (HERE / f"{name}.jahp").write_bytes(data)
    codec = Codec(model.path.stem, model.config.qualities[0], backend="reference", models=[model.path])
    latents, out = codec.decode_latents(data), {"model": model.path.stem}
    out |= {"shape": list(latents.y.shape), "y": digest(latents.y), "z": None if latents.z is None else digest(latents.z)}
    if model.path.stem in pictures.MODELS:
        shown, chunks = codec.decode(data, dtype=np.uint8), container.unpack(data).chunks
        if container.DEEP in chunks:
            out["deep"] = hashlib.sha256(codec.decode(data).astype("<u2").tobytes()).hexdigest()
        if b"ALPH" in chunks:
            out["alpha"] = hashlib.sha256(shown[:, :, -1].tobytes()).hexdigest()
            shown = shown[:, :, :3] if container.unpack(data).mode == "RGB" else shown[:, :, 0]
        out["pixels"] = hashlib.sha256(np.ascontiguousarray(shown).tobytes()).hexdigest()
    return out


def main() -> None:
    models = golden_models()
    entries = {}
    later = [models.pop(name) for name in ("kernel-3", "kernel-7", "fractions-8")]
    for i, (name, model) in enumerate(models.items()):
        width, height = SIZES[i % len(SIZES)]
        entries[name] = write(name, model, width, height, LANES[i % len(LANES)])
        if model.config.conditional and name not in ("saturated", "edge"):
            entries[f"{name}-skip"] = write(f"{name}-skip", model, 70, 50, LANES[-1 - i % len(LANES)], skip=1 + i % 4)
    joint, context, wide = models["mbt2018-A-a8-p15"], models["mbt2018-context-A-a8-p15"], models["wide"]
    for lanes in LANES:
        entries[f"lanes-{lanes}"] = write(f"lanes-{lanes}", wide, 33, 18, lanes)
    alpha = np.random.default_rng(5).integers(0, 256, (30, 40), dtype=np.uint8)
    chunks = {b"iccp": b"a profile", b"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0", b"xmp_": b"<x:xmpmeta/>", b"anci": b"to be ignored"}
    entries["large"] = write("large", joint, 320, 250, 2)
    entries["grey"] = write("grey", joint, 40, 30, 1, mode="L")
    entries["metadata"] = write("metadata", joint, 40, 30, 2, chunks=chunks)
    entries["alpha"] = write("alpha", joint, 40, 30, 4, chunks={b"ALPH": pack_alpha(alpha), **chunks})
    entries["alpha"]["alpha"] = hashlib.sha256(alpha.tobytes()).hexdigest()
    for model, (width, height), lanes, quality in zip(later, ((90, 70), (40, 120), (50, 65)), (4, 1, 2), (1.0, 8.0, 1.05), strict=True):
        name = model.path.stem
        entries[name] = write(name, model, width, height, lanes, quality=quality)
        entries[f"{name}-skip"] = write(f"{name}-skip", model, height, width, 8, skip=3, quality=quality)
    entries["grey-alpha"] = write("grey-alpha", joint, 40, 30, 1, mode="L", chunks={b"ALPH": pack_alpha(alpha[::-1])}, quality=7.95)
    entries["grey-alpha"]["alpha"] = hashlib.sha256(alpha[::-1].tobytes()).hexdigest()
    entries["limits"] = write("limits", models["mbt2018-A-a16-p15"], 20, 20, 2, fill=32767)
    entries["thresholds"] = write("thresholds", thresholds_met(), 60, 40, 2)
    entries["padded"] = write("padded", context, 1024, 512, 1, skip=255, fill=0)
    entries["factorized-skip"] = write("factorized-skip", models["bmshj2018-factorized-A-a8-p15"], 40, 20, 2, skip=7)
    for i, (model, height, width, channels, quality) in enumerate(pictures.PICTURES):
        entries[f"{model}-{i}"] = write_picture(
            f"{model}-{i}", pictures.model(HERE, model), pictures.picture(i, height, width, channels), quality
        )
    checked = pictures.picture(99, 45, 31, 4)
    entries["pictures-checked"] = write_picture("pictures-checked", pictures.model(HERE, "pictures"), checked, 2.0, pixel_checksum=True)
    for i, (height, width, channels, depth) in enumerate(pictures.DEEP):
        deep = pictures.deep_picture(i, height, width, channels, depth)
        codec_of = pictures.model(HERE, "pictures")
        entries[f"pictures-deep-{i}"] = write_picture(f"pictures-deep-{i}", codec_of, deep, 5.05 + i, depth=depth)
    name, model, height, width, quality = pictures.WILD
    entries[name] = write(name, pictures.model(HERE, model), width, height, 2, quality=quality, wild=0.5)
    copied = {"copies": "mbt2018-A-a8-p15", "copies-b": "mbt2018-B-a16-p15", "copies-mean": "mbt2018-mean-A-a8-p15",
              "copies-factorized": "bmshj2018-factorized-A-a8-p15"}  # fmt: skip
    for name, model_name in copied.items():
        entries[name] = write(name, models[model_name], 170, 140, 4, skip=2 if name == "copies-b" else 0, copy=True)
    for quality in (1.0, 1.95, 2.0, 5.45, 5.5, 8.0):
        entries[f"rows-of-z-{quality:g}"] = write(f"rows-of-z-{quality:g}", rows_of_z(), 90, 150, 2, quality=quality)
    for name in subtle.MODELS:
        entries[name] = write(name, subtle.model(HERE, name), 70, 50, 2)
    (HERE / "golden.json").write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n")
    models_here, size = len(list(HERE.glob("*.safetensors"))), sum(p.stat().st_size for p in HERE.iterdir() if p.is_file())
    print(f"{models_here} models, {len(entries)} streams, {len(entries) - len(KNOWN)} of them new, {size} bytes")


if __name__ == "__main__":
    main()
