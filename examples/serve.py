# SPDX-License-Identifier: Apache-2.0
"""The codec as a service with FastAPI and uvicorn, within limits; and a page that shows what it does to a picture.

    pip install jahp_fast fastapi uvicorn
    python examples/serve.py --port 8000

    curl --data-binary @photo.png 'http://127.0.0.1:8000/encode?quality=4' -o photo.jahp
    curl --data-binary @photo.jahp http://127.0.0.1:8000/decode -o back.png
    curl --data-binary @photo.jahp 'http://127.0.0.1:8000/thumbnail?side=128' -o small.png

    POST /encode?quality=4   PNG, JPEG, WebP, TIFF, GIF, BMP or PPM -> a .jahp file
    POST /decode             a .jahp file -> PNG
    POST /thumbnail?side=128 a .jahp file -> PNG of at most so many pixels a side, made without decoding all of it
    GET  /metrics            for Prometheus
    GET  /health             whether it runs, and with which model
    GET  /                   the page

What a picture loses (16 bits, further frames, colours that no ICC profile describes) stands in the header Jahp-Loss of the answer.
A refusal is JSON, {"error": a class, "message": what was wrong}: 408 the body came too slowly, 413 too many bytes or pixels, 422 not what
can be coded, 503 all places taken (come again after Retry-After), 504 the answer took too long.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import threading
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from serve_metrics import Metrics
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import jahp_fast
from jahp_fast.errors import JahpError, LossWarning
from jahp_fast.files import pictures
from jahp_fast.files.view import SCALES
from jahp_fast.local import codec_for, settings
from jahp_fast.system.parallel import available_cores

HERE = Path(__file__).parent
PAGE = HERE.parent / "web" / "demo"
JAHP_TYPE = "image/jahp"
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM")  # Pillow reads others by starting programs
POLICY = "default-src 'none'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; connect-src 'self' blob:"
CONNECTIONS = 512
LARGEST_THUMBNAIL = 1024
NO_CLIENT = 499  # by custom, where the client has gone
LINGER_S = 0.5
"""A refused body is taken and thrown away for so long: a client that is still sending would see a broken connection, and no answer."""


@dataclass(frozen=True)
class Limits:
    """What a request may take.

    Attributes:
        body_bytes: of a request.
        pixels: of an image, known from its header.
        seconds: from a request's first byte to its answer.
        workers: images at a time, one thread each.
        queue: requests that may wait beyond those; memory is bounded by (workers + queue) bodies and `workers` images.
    """

    body_bytes: int = 1 << 25
    pixels: int = 1 << 26
    seconds: float = 20.0
    workers: int = available_cores()
    queue: int = 16


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status, self.error, self.message = status, error, message

    def response(self) -> Response:
        """As JSON. Where a body may be left unread the connection ends, so that nobody waits for it to be taken."""
        headers = {"Connection": "close"} if self.status in (408, 413, 503) else {}
        if self.status == 503:
            headers["Retry-After"] = "1"
        return JSONResponse({"error": self.error, "message": self.message}, self.status, headers)


class Losses(threading.local):
    """The LossWarnings of the work that this thread does. Python's own way to catch warnings is not for several threads at a time."""

    said: list[str] | None = None

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Inside, every warning of all threads comes here first."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", LossWarning)
            show = warnings.showwarning

            def take(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
                if self.said is None or not issubclass(category, LossWarning):
                    show(message, category, *place, **more)
                else:
                    self.said.append(" ".join(str(message).split()))

            warnings.showwarning = take
            yield

    def of(self, work: Callable[[bytes], bytes], body: bytes) -> tuple[bytes, list[str]]:
        """What `work` makes of `body`, and what it has lost."""
        self.said = []
        try:
            made = work(body)
            return made, list(dict.fromkeys(self.said))
        finally:
            self.said = None


LOSSES = Losses()


class Service:
    """Places for requests, and threads that do the work. All methods run on the event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.metrics = limits, Metrics()
        self._taken = 0
        self._pool = ThreadPoolExecutor(limits.workers, "codec")

    def close(self) -> None:
        """Waits for the work that has begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def answer(self, operation: str, request: Request, work: Callable[[bytes], bytes], media_type: str) -> Response:
        """The answer to a request, whatever it is; counted."""
        started, error, status, sizes = time.monotonic(), "InternalError", 500, [0, 0]
        try:
            made, lost = await self._made(request, work, sizes)
            error, status, sizes[1] = "", 200, len(made)
            headers = {"Jahp-Loss": "; ".join(lost).encode("ascii", "replace").decode()} if lost else {}
            return Response(made, headers=headers, media_type=media_type)
        except Refused as e:
            error, status = e.error, e.status
            await self._linger(request)
            return e.response()
        finally:
            self.metrics.count(operation, status, error, time.monotonic() - started, sizes[0], sizes[1])

    async def _made(self, request: Request, work: Callable[[bytes], bytes], sizes: list[int]) -> tuple[bytes, list[str]]:
        """Raises Refused. A place is held until the work itself has ended, also where its client has been told that it takes too long."""
        limits = self.limits
        if self._taken >= limits.workers + limits.queue:
            raise Refused(503, "Busy", f"all {limits.workers + limits.queue} places are taken")
        self._take(1)
        job: Future[tuple[bytes, list[str]]] | None = None
        try:
            async with asyncio.timeout(limits.seconds):
                body = await self._body(request, sizes)
                loop = asyncio.get_running_loop()
                job = self._pool.submit(LOSSES.of, work, body)
                job.add_done_callback(lambda _: loop.call_soon_threadsafe(self._take, -1))
                return await asyncio.wrap_future(job)  # where time is up work that has not begun is taken back
        except TimeoutError:
            if job is None:
                raise Refused(408, "SlowBody", f"the request's body did not come within {limits.seconds:g} s") from None
            raise Refused(504, "TimedOut", f"no answer within {limits.seconds:g} s") from None
        except ClientDisconnect:
            raise Refused(NO_CLIENT, "Disconnected", "the client has gone") from None
        except JahpError as e:
            raise Refused(422, type(e).__name__, str(e)) from None
        except MemoryError:
            raise Refused(503, "MemoryError", "not enough memory") from None
        finally:
            if job is None:
                self._take(-1)

    async def _linger(self, request: Request) -> None:
        left = self.limits.body_bytes
        if "expect" in request.headers:
            return  # the client waits for leave to send
        with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):  # the last one where the body has been taken already
            async with asyncio.timeout(LINGER_S):
                async for part in request.stream():
                    left -= len(part)
                    if left < 0:
                        return

    def _take(self, places: int) -> None:
        self._taken += places
        self.metrics.places = self._taken

    async def _body(self, request: Request, sizes: list[int]) -> bytes:
        most = self.limits.body_bytes
        refusal = Refused(413, "TooManyBytes", f"a request may have {most} bytes")
        said = request.headers.get("content-length", "")
        if said.isdigit() and int(said) > most:
            raise refusal
        body = bytearray()
        async for part in request.stream():
            sizes[0] += len(part)
            if sizes[0] > most:
                raise refusal
            body += part
        return bytes(body)


def check_pixels(width: int, height: int, limit: int) -> None:
    """Raises Refused."""
    if width * height > limit:
        raise Refused(413, "TooManyPixels", f"{width} x {height} pixels are more than {limit}")


def encode(data: bytes, quality: float, pixels: int) -> bytes:
    """An image file -> a .jahp file. Raises Refused and JahpError."""
    codec = codec_for(settings(quality=quality))
    try:
        return codec.encode(pictures.read(data, "the body", FORMATS, pixels))
    except pictures.TooLarge as e:
        raise Refused(413, "TooManyPixels", str(e)) from None


def decode(data: bytes, pixels: int) -> bytes:
    """A .jahp file -> a PNG file. Raises Refused and JahpError."""
    header = jahp_fast.info(data)
    check_pixels(header.width, header.height, pixels)
    return pictures.saved(codec_for(settings()).decode_pil(data), "PNG", "the picture", {"compress_level": 1})


def thumbnail(data: bytes, side: int, pixels: int) -> bytes:
    """A .jahp file -> a PNG file of at most `side` pixels a side, of the picture's proportions. Raises Refused and JahpError."""
    if not 1 <= side <= LARGEST_THUMBNAIL:
        raise Refused(422, "UsageError", f"side must be 1 to {LARGEST_THUMBNAIL}, not {side}")
    header = jahp_fast.info(data)
    check_pixels(header.width, header.height, pixels)
    longer = max(header.width, header.height)
    scale = max(s for s in SCALES if s == 1 or longer >= s * side)
    small = codec_for(settings()).decode_pil(data, scale=scale)
    small.thumbnail((side, side))
    return pictures.saved(small, "PNG", "the picture", {"compress_level": 1})


def make_app(limits: Limits) -> FastAPI:
    """The application."""
    service = Service(limits)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with LOSSES.heard():
            yield
            service.close()

    app = FastAPI(title="jahp_fast", version=jahp_fast.__version__, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(RequestValidationError)
    async def unreadable(_: Request, e: RequestValidationError) -> Response:
        first = e.errors()[0]
        return Refused(422, "UsageError", f"{first['loc'][-1]}: {first['msg']}, not {first.get('input')!r}").response()

    @app.exception_handler(HTTPException)
    async def nothing_here(_: Request, e: HTTPException) -> Response:
        there = "there are POST /encode, POST /decode, POST /thumbnail, GET /metrics and GET /health"
        return Refused(e.status_code, "UsageError", f"{e.detail}: {there}").response()

    @app.post("/encode")
    async def post_encode(request: Request, quality: float = 4.0) -> Response:
        return await service.answer("encode", request, lambda data: encode(data, quality, limits.pixels), JAHP_TYPE)

    @app.post("/decode")
    async def post_decode(request: Request) -> Response:
        return await service.answer("decode", request, lambda data: decode(data, limits.pixels), "image/png")

    @app.post("/thumbnail")
    async def post_thumbnail(request: Request, side: int = 128) -> Response:
        return await service.answer("thumbnail", request, lambda data: thumbnail(data, side, limits.pixels), "image/png")

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok", "version": jahp_fast.__version__, "model": codec_for(settings()).model_id}

    @app.get("/")
    async def page() -> Response:
        return FileResponse(PAGE / "index.html", headers={"Content-Security-Policy": POLICY})

    for path in (PAGE / "page.js", PAGE / "page.css", HERE / "coder.js", HERE / "photo.png"):
        app.get(f"/{path.name}")(served(path))

    return app


def served(path: Path) -> Callable[[], Awaitable[Response]]:
    """What answers with a file."""

    async def answer() -> Response:
        return FileResponse(path)

    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, default = parser.add_argument, Limits()
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=8000, help="0: any that is free; the first line of output says which")
    add("--body-bytes", type=int, default=default.body_bytes, help="of a request (default %(default)s)")
    add("--pixels", type=int, default=default.pixels, help="of an image (default %(default)s)")
    add("--seconds", type=float, default=default.seconds, help="until an answer (default %(default)s)")
    add("--workers", type=int, default=default.workers, help="images at a time (default: one a core)")
    add("--queue", type=int, default=default.queue, help="requests that may wait (default %(default)s)")
    args = parser.parse_args()
    if min(args.body_bytes, args.pixels, args.seconds, args.workers) <= 0 or args.queue < 0:
        parser.error("limits must be positive numbers")
    limits = Limits(args.body_bytes, args.pixels, args.seconds, args.workers, args.queue)
    codec_for(settings())  # a model that is missing is told of now
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((args.host, args.port))
        listener.listen(128)  # whoever reads the next line may connect
        print(f"http://{args.host}:{listener.getsockname()[1]}", flush=True)
        # What is under way at SIGTERM is answered first.
        grace = round(limits.seconds) + 1
        config = uvicorn.Config(make_app(limits), log_level="warning", limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=grace)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
