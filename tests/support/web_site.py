# SPDX-License-Identifier: Apache-2.0
"""The package web/ as `make web` leaves it, for tests: where its parts are, and a static server for a browser."""

from __future__ import annotations

import contextlib
import functools
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
WASM = WEB / "dist" / "jahp.wasm"
WASM_THREADS = WEB / "dist" / "jahp-threads.wasm"
MAX_PIXELS = 2**25
"""What a browser decodes and encodes at most."""

built = pytest.mark.skipif(not WASM.is_file(), reason="web/dist is not built: make web")
node = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")


def with_memory(wasm: bytes, pages: int) -> bytes:
    """The module with a memory of at most so many pages of 64 KiB."""
    at = 8
    while wasm[at] != 5:  # the memory section
        size, at = number(wasm, at + 1)
        at += size
    _, at = number(wasm, at + 1)
    assert wasm[at : at + 2] == b"\1\1"  # one memory, with a maximum
    _, begin = number(wasm, at + 2)
    _, end = number(wasm, begin)
    padded = bytes((pages >> 7 * i & 127) | (128 if i < end - begin - 1 else 0) for i in range(end - begin))
    return wasm[:begin] + padded + wasm[end:]


def number(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128, and where it ends."""
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


class _Handler(SimpleHTTPRequestHandler):
    """Files of web/, of tests/web below /tests/, of `folders` below their names, and what `instead` has for an address."""

    folders: dict[str, Path]
    instead: dict[str, bytes]
    isolated: bool
    asked: list[str]

    def __init__(self, folders: dict[str, Path], instead: dict[str, bytes], isolated: bool, asked: list[str], *args: Any) -> None:
        self.folders, self.instead, self.isolated, self.asked = folders, instead, isolated, asked
        super().__init__(*args, directory=str(WEB))

    def translate_path(self, path: str) -> str:
        first, _, rest = path.split("?", maxsplit=1)[0].removeprefix("/").partition("/")
        return str(self.folders[first] / rest) if first in self.folders else super().translate_path(path)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path not in self.instead:
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(self.path))
        self.send_header("Content-Length", str(len(self.instead[self.path])))
        self.end_headers()
        self.wfile.write(self.instead[self.path])
        return None

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")  # what is asked for again comes here again
        if self.isolated:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


@contextlib.contextmanager
def site(
    folders: dict[str, Path] | None = None, instead: dict[str, bytes] | None = None, *, isolated: bool = False
) -> Iterator[tuple[str, list[str]]]:
    """Its address, and what it has been asked for; it ends with the block. Pages may be isolated from other origins."""
    asked: list[str] = []
    handler = functools.partial(_Handler, {"tests": ROOT / "tests" / "web", **(folders or {})}, instead or {}, isolated, asked)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
