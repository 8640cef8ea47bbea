# SPDX-License-Identifier: Apache-2.0
"""Damaged pictures of every format through `jahp batch` and Pillow as whole programs: never a traceback or a lost worker.

JAHP_MUTANTS in the environment sets how many of each format are tried (default 4).
"""

import io
import json
import os
import subprocess
import sys
import warnings

import pytest
from fuzz_pictures import FORMATS, mutants, sample
from PIL import Image

import jahp_fast
from jahp_fast.integrations.pillow import UnwritableImage

EACH = int(os.environ.get("JAHP_MUTANTS", "4"))
ENDINGS = {kind: next(ending for ending, of in Image.registered_extensions().items() if of == kind) for kind in FORMATS
           if kind in Image.registered_extensions().values()}  # fmt: skip


def jahp(*words):
    return subprocess.run([sys.executable, "-m", "jahp_fast", *map(str, words)], check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A folder of damaged pictures, and the names in it."""
    folder = tmp_path_factory.mktemp("damaged")
    names = []
    for kind, ending in ENDINGS.items():
        for number, data in enumerate(mutants(sample(kind), EACH, seed=2)):
            names.append(f"{kind}-{number}{ending}")
            (folder / names[-1]).write_bytes(data)
    return folder, names


def test_batch_gives_each_a_file_or_a_line(damaged, tmp_path):
    source, names = damaged
    done = jahp("batch", "encode", source, tmp_path / "out", "--workers", 2)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    journal = {line["file"]: line for line in map(json.loads, (tmp_path / "out" / "jahp-batch.jsonl").read_text().splitlines())}
    made = {path.name for path in (tmp_path / "out").glob("*.jahp")}
    taken = {name for name in names if name.rsplit(".", 1)[0] + ".jahp" in made}
    assert taken | set(journal) == set(names)
    assert not taken & set(journal)
    assert taken
    for line in journal.values():
        assert line["error"] in ("UnsupportedImage", "TooLarge"), line
        assert "\n" not in line["message"]
    back = jahp("batch", "decode", tmp_path / "out", tmp_path / "back", "--to", "tif", "--workers", 2)
    assert back.returncode == 0, back.stderr


@pytest.mark.filterwarnings("ignore")  # Pillow's own, about damage
def test_pillow_saves_or_raises_what_it_says(damaged):
    source, names = damaged
    saved = 0
    for name in names:
        try:
            image = Image.open(io.BytesIO((source / name).read_bytes()))
            image.load()
        except Exception:  # Pillow's, before anything of ours has seen it
            continue
        try:
            image.save(io.BytesIO(), "JAHP")
            saved += 1
        except UnwritableImage:
            continue
    assert saved > 10


def test_pillow_opens_damaged_files_or_raises_what_it_says():
    """Of .jahp files with all kinds of chunks; what their CRC lets pass is damage behind it."""
    picture = Image.open(io.BytesIO(sample("JPEG"))).convert("RGBA")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = jahp_fast.encode(picture)
    opened = refused = 0
    for mutant in mutants(data, 50 * EACH, seed=3):
        try:
            with Image.open(io.BytesIO(mutant)) as image:
                image.load()
            opened += 1
        except (OSError, Image.DecompressionBombError):
            refused += 1
    assert refused > opened
