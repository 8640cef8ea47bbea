# SPDX-License-Identifier: Apache-2.0
"""Makes the golden models and streams of this folder: what every later release must decode to the same latents.

    python tests/golden/make_golden.py

Models are random integers, a few KB each, without transforms; streams cover every architecture, form, activation width, table
precision, number of lanes, skipping, padding, grey, alpha and metadata. golden.json holds SHA-256 digests of z and y (int32,
little-endian, channels first). Run it again only when the format itself changes, and say so in the changelog.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from support import CASES, Case, random_latents, random_model  # noqa: E402  (needs the path above)

from jahp_fast import _native, container  # noqa: E402
from jahp_fast.backends.reference import ReferenceBackend  # noqa: E402
from jahp_fast.entropy.model_file import ModelFile  # noqa: E402
from jahp_fast.entropy.reference import StreamLayout  # noqa: E402
from jahp_fast.image import pack_alpha  # noqa: E402

SIZES = ((1, 1), (17, 31), (100, 37), (333, 20), (64, 64), (1500, 1), (5, 200))
LANES = (1, 2, 4, 8, 16, 32, 64)


def digest(array: np.ndarray) -> str:
    """SHA-256 of int32, little-endian, C order."""
    return hashlib.sha256(np.ascontiguousarray(array, "<i4").tobytes()).hexdigest()


def golden_models() -> dict[str, ModelFile]:
    cases = [c for c in CASES if c.prob_bits == 15] + [Case("mbt2018", "A", 8, 16), Case("mbt2018", "B", 16, 16)]
    models = {}
    for seed, case in enumerate(cases):
        path = HERE / f"{case}.safetensors"
        models[path.stem] = random_model(path, case, seed=1000 + seed, N=5, M=7, z_bits=seed % 3)
    models["wide"] = random_model(HERE / "wide.safetensors", Case("bmshj2018-factorized"), seed=2000, M=70)
    models["saturated"] = random_model(HERE / "saturated.safetensors", Case("mbt2018"), seed=2001, N=4, M=6, mode="saturated")
    models["edge"] = random_model(HERE / "edge.safetensors", Case("mbt2018", "A", 16), seed=2002, N=4, M=6, mode="edge")
    return models


def write(name: str, model: ModelFile, width: int, height: int, lanes: int, skip: int = 0, mode: str = "RGB", chunks=None,
          empty: bool = False) -> dict[str, object]:  # fmt: skip
    """One stream of random latents, or with `empty` of zeros; returns its entry of golden.json."""
    h, w = -(-height // 16), -(-width // 16)
    z, y = random_latents(model, h, w, seed=len(name), wild=0.0 if skip else 0.01)
    if empty:
        z, y = np.zeros_like(z), np.zeros_like(y)
    layout = StreamLayout(h, w, lanes, skip, container.min_payload_bytes(width, height))
    payload, seen, lanes = ReferenceBackend(model).encode(z, y, layout, 1)[:3]
    stream = container.Stream(width, height, mode, 4.5, model.id, lanes, skip, _native.symbol_checksum(z, seen), payload, chunks or {})
    (HERE / f"{name}.jahp").write_bytes(container.pack(stream))
    return {
        "model": model.path.stem,
        "shape": [int(seen.shape[2]), h, w],
        "y": digest(seen.transpose(2, 0, 1)),
        "z": digest(z.transpose(2, 0, 1)) if model.config.hyper_latents else None,
    }


def main() -> None:
    for old in (*HERE.glob("*.jahp"), *HERE.glob("*.safetensors")):
        old.unlink()
    models = golden_models()
    entries = {}
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
    entries["padded"] = write("padded", context, 1024, 512, 1, skip=255, empty=True)
    (HERE / "golden.json").write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n")
    print(f"{len(models)} models, {len(entries)} streams, {sum(p.stat().st_size for p in HERE.iterdir() if p.is_file())} bytes")


if __name__ == "__main__":
    main()
