# SPDX-License-Identifier: Apache-2.0
"""Photos to train on, as archives small enough to travel: what a machine without a network is given.

    python benchmarks/gpu/pack_photos.py PHOTOS packed [--mib 55] [--parts 1] [--quality 90]

Writes packed/photos-0.tar and so on. All held-out photos go into the first, with held_out.txt; then photos to train on, in the order of
the SHA-256 of their names, so that fewer of them are a fair sample. Files of JPEG go as they are, unless --quality makes them smaller;
others become JPEG of that quality, or of 95. `gpu_train.py --photos packed/photos-0.tar` takes them.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from jahp_fast.errors import JahpError, UsageError
from jahp_fast.files.pictures import library_errors
from jahp_fast.system.atomic import write_atomically
from jahp_fast.train.data import HELD_OUT_LIST, find_photos

BLOCK = 512
"""Of a tar file: a member is its head and its data, each in whole blocks."""
JPEG = (".jpg", ".jpeg")


def content(path: Path, quality: int | None) -> bytes:
    """The file, or a JPEG of it. Raises UnsupportedImage."""
    if path.suffix.lower() in JPEG and quality is None:
        return path.read_bytes()
    out = io.BytesIO()
    with library_errors(f"{path} cannot be read as a photo"), Image.open(path) as image:
        image.convert("RGB").save(out, "JPEG", quality=quality or 95)
    return min(out.getvalue(), path.read_bytes(), key=len) if path.suffix.lower() in JPEG else out.getvalue()


def named(path: Path) -> str:
    """As an archive calls it."""
    return path.name if path.suffix.lower() in JPEG else f"{path.stem}.jpg"


def size(data: bytes) -> int:
    return BLOCK - -len(data) // BLOCK * BLOCK


def pack(photos: Path, out: Path, most: int, parts: int, quality: int | None) -> list[tuple[Path, int]]:
    """Writes the archives, each at most `most` bytes; (path, photos) of each. Raises JahpError."""
    split = find_photos([photos])
    by_hash = sorted(split.train, key=lambda p: hashlib.sha256(p.name.encode()).digest())
    packed_names = [named(p) for p in (*split.held_out, *split.train)]
    twice = {name for name, count in Counter(packed_names).items() if count > 1}
    if twice:
        raise UsageError(f"several photos would be called {min(twice)} in an archive: rename all but one")
    # No list would mean another split on the other side: there always is one.
    names = [named(p) for p in split.held_out]
    first = [(HELD_OUT_LIST, "\n".join([*names, ""]).encode())] + [
        (n, content(p, quality)) for n, p in zip(names, split.held_out, strict=True)
    ]
    todo, archives = iter(by_hash), []
    waiting: tuple[str, bytes] | None = None
    for part in range(parts):
        members, room = (first if part == 0 else []), most - 2 * BLOCK - 20 * BLOCK
        room -= sum(size(data) for _, data in members)
        if room < 0:
            raise UsageError(f"the {len(names)} held-out photos alone take more than --mib allows")
        members = list(members)
        while True:
            if waiting is None:
                path = next(todo, None)
                if path is None:
                    break
                waiting = named(path), content(path, quality)
            if size(waiting[1]) > room:
                break
            members.append(waiting)
            room -= size(waiting[1])
            waiting = None
        if not members:
            break
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in members:
                head = tarfile.TarInfo(name)
                head.size = len(data)
                tar.addfile(head, io.BytesIO(data))
        target = out / f"photos-{part}.tar"
        write_atomically(target, archive.getvalue(), force=True)
        archives.append((target, sum(name != HELD_OUT_LIST for name, _ in members)))
    return archives


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="pack_photos.py", description="Pack photos to train on into archives of a size.")
    parser.add_argument("photos", type=Path, help="folder, searched in depth; held_out.txt as for jahp train")
    parser.add_argument("out", type=Path, help="folder for photos-0.tar ...; made if missing")
    parser.add_argument("--mib", type=float, default=55.0, help="most of an archive (default 55)")
    parser.add_argument("--parts", type=int, default=1, help="archives at most (default 1)")
    parser.add_argument("--quality", type=int, choices=range(50, 101), metavar="Q", help="of JPEG, 50 to 100 (default: JPEGs as they are)")
    args = parser.parse_args(arguments)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        for path, count in pack(args.photos, args.out, round(args.mib * 2**20), args.parts, args.quality):
            print(f"{path}: {count} photos, {path.stat().st_size / 2**20:.1f} MiB")
    except JahpError as error:
        print(f"pack_photos: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
