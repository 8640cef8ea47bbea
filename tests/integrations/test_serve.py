# SPDX-License-Identifier: Apache-2.0
"""examples/serve.py: the real server on a free port of the loopback address, its answers, its limits, its end."""

import asyncio
import concurrent.futures
import io
import os
import re
import signal
import socket
import struct
import threading
import time
import zlib

import httpx
import numpy as np
import pytest
from builders import ROOT, photo
from fuzz_pictures import mutants, sample
from load_test import load, percentile, server
from PIL import Image
from serve_metrics import Metrics

import jahp_fast

BODY_BYTES, PIXELS, SECONDS = 300_000, 400_000, 15


def png(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png", **options)
    return out.getvalue()


def sample_of_16_bits():
    """A PNG of 16 x 8 pixels with 16 bits per channel, which Pillow does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(range(96))) * 8
    head = struct.pack(">IIBBBBB", 16, 8, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def client_of(url):
    return httpx.Client(base_url=url, trust_env=False, timeout=60)


@pytest.fixture(scope="module")
def running():
    """A server with small limits, and a client of it."""
    limits = {"--body-bytes": BODY_BYTES, "--pixels": PIXELS, "--seconds": SECONDS, "--workers": 2, "--queue": 2}
    with server(*(str(part) for pair in limits.items() for part in pair)) as (url, _), client_of(url) as client:
        yield client


@pytest.fixture
def tight():
    """A server with one worker and no queue, and one second for a request."""
    with server("--workers", "1", "--queue", "0", "--seconds", "1") as (url, _), client_of(url) as client:
        yield client


def metric(client, name, **labels):
    wanted = name + ("{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else "")
    values = [line.rsplit(" ", 1)[1] for line in client.get("/metrics").text.splitlines() if line.rsplit(" ", 1)[0] == wanted]
    return float(values[0]) if values else 0.0


def raw(client, head, body=b""):
    """A connection on which a request was begun by hand."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)
    connection.sendall(f"{head}\r\nHost: x\r\n".encode() + body)
    return connection


def answer(connection):
    """Status and the rest of what comes, to its end."""
    with connection:
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    return int(said.split()[1]), said


def test_there_and_back(running, photo_crop):
    codec = jahp_fast.Codec(quality=5.5, threads=1)
    coded = running.post("/encode", params={"quality": 5.5}, content=png(photo_crop))
    assert coded.status_code == 200
    assert coded.headers["content-type"] == "image/jahp"
    assert coded.content == codec.encode(photo_crop)
    back = running.post("/decode", content=coded.content)
    assert back.headers["content-type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(back.content))), codec.decode(coded.content))
    health = running.get("/health").json()
    assert health == {"status": "ok", "version": jahp_fast.__version__, "model": codec.model_id}
    page = running.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"https?://(?!www\.w3\.org)", page.text)  # nothing from elsewhere
    assert running.get("/photo.png").content == (ROOT / "examples" / "photo.png").read_bytes()


@pytest.mark.parametrize("side", [8, 30, 500])
def test_thumbnails_are_of_the_picture_s_proportions(running, photo_crop, side):
    codec = jahp_fast.Codec(threads=1)
    coded = codec.encode(photo_crop)
    answer = running.post("/thumbnail", params={"side": side}, content=coded)
    assert answer.headers["content-type"] == "image/png"
    small, wanted = Image.open(io.BytesIO(answer.content)), codec.decode_pil(coded)
    wanted.thumbnail((side, side))
    assert small.size == wanted.size
    assert np.abs(np.asarray(small).astype(int) - np.asarray(wanted)).mean() < 3


def test_refusals_say_what_was_wrong(running, photo_crop):
    coded = jahp_fast.encode(photo_crop)
    large = np.zeros((800, 800, 3), np.uint8)
    for path, body, status, error, message in (
        ("/encode", b"", 422, "UnsupportedImage", "no format|not an image"),
        ("/encode", b"not a picture", 422, "UnsupportedImage", "not an image of a format"),
        ("/encode", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", 422, "UnsupportedImage", "not an image of a format"),
        ("/encode", png(photo_crop)[:3000], 422, "UnsupportedImage", "cannot be|can be read|truncated"),
        ("/encode?quality=13", png(photo_crop), 422, "UsageError", "quality 13"),
        ("/encode?quality=high", png(photo_crop), 422, "UsageError", "quality: .*'high'"),
        ("/encode?quality=nan", png(photo_crop), 422, "UsageError", "quality"),
        ("/encode", png(large), 413, "TooManyPixels", "800 x 800 pixels are more than 400000"),
        ("/decode", jahp_fast.encode(large), 413, "TooManyPixels", "800 x 800 pixels are more than 400000"),
        ("/encode", bytes(BODY_BYTES + 1), 413, "TooManyBytes", "300000 bytes"),
        ("/thumbnail?side=0", coded, 422, "UsageError", "side must be 1 to 1024, not 0"),
        ("/thumbnail?side=9999", coded, 422, "UsageError", "side must be 1 to 1024, not 9999"),
        ("/thumbnail", jahp_fast.encode(large), 413, "TooManyPixels", "800 x 800 pixels are more than 400000"),
        ("/thumbnail", coded[:-1], 422, "FormatError", "its header speaks of"),
        ("/decode", b"", 422, "FormatError", "not a .jahp file"),
        ("/decode", coded[:-1], 422, "FormatError", "its header speaks of"),
        ("/decode", coded[:50] + bytes([coded[50] ^ 1]) + coded[51:], 422, "FormatError", "CRC-32C"),
    ):
        before = metric(running, "jahp_errors_total", operation=path[1:].split("?")[0], error=error)
        said = running.post(path, content=body)
        assert (said.status_code, said.json()["error"]) == (status, error), (path, said.text)
        assert re.search(message, said.json()["message"]), said.text
        if "high" not in path:  # refused before there is an operation
            assert metric(running, "jahp_errors_total", operation=path[1:].split("?")[0], error=error) == before + 1
    for method, path, status in (("GET", "/encode", 405), ("GET", "/nothing", 404)):
        said = running.request(method, path)
        assert (said.status_code, said.json()["error"]) == (status, "UsageError")
        assert "POST /encode" in said.json()["message"]


def test_losses_are_said_to_whom_they_concern(running, photo_crop):
    """Several at a time, each with its own."""
    frames, deep = io.BytesIO(), sample_of_16_bits()
    Image.fromarray(photo_crop).save(frames, "GIF", save_all=True, append_images=[Image.fromarray(photo_crop[::-1])])
    bodies = [(png(photo_crop), ""), (frames.getvalue(), "2 frames"), (deep, "8 bits per channel")] * 3
    said = {}
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        said = list(pool.map(lambda part: running.post("/encode", content=part[0]), bodies))
    for answer, (_, words) in zip(said, bodies, strict=True):
        assert answer.status_code == 200, answer.text
        assert (words in answer.headers["jahp-loss"]) if words else ("jahp-loss" not in answer.headers)


def test_damaged_pictures_are_refusals(running):
    """Mutants of every format that it takes: never an answer of 500."""
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM"):
        for data in mutants(sample(kind), int(os.environ.get("JAHP_MUTANTS", "8")), 5):
            said = running.post("/encode", content=data)
            assert said.status_code in (200, 413, 422), (kind, said.text)
            assert said.status_code == 200 or said.json()["message"]
    assert metric(running, "jahp_errors_total", operation="encode", error="InternalError") == 0


def test_a_body_that_is_too_large_is_refused_before_it_has_come(running):
    status, said = answer(raw(running, "POST /encode HTTP/1.1", f"Content-Length: {10 * BODY_BYTES}\r\n\r\n".encode()))
    assert status == 413
    assert b"TooManyBytes" in said
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    connection = raw(running, "POST /decode HTTP/1.1", b"Transfer-Encoding: chunked\r\n\r\n" + chunk * (BODY_BYTES // 65536 + 1))
    assert answer(connection)[0] == 413  # its end has not been sent


def test_metrics(running, photo_crop):
    body = png(photo_crop)
    names = [("requests_total", {"status": 200}), ("bytes_total", {"direction": "in"}), ("bytes_total", {"direction": "out"}),
             ("request_seconds_count", {}), ("request_seconds_bucket", {"le": "+Inf"})]  # fmt: skip

    def values():
        return [metric(running, f"jahp_{name}", operation="encode", **labels) for name, labels in names]

    before = values()
    coded = running.post("/encode", content=body).content
    grown = [after - b for after, b in zip(values(), before, strict=True)]
    assert grown == [1, len(body), len(coded), 1, 1]
    assert metric(running, "jahp_places_taken") == 0
    counts = Metrics()
    for seconds in (0.02, 0.3, 100.0):
        counts.count("decode", 200, "", seconds, 1, 2)
    buckets = re.findall(r'_bucket\{operation="decode",le="([^"]+)"\} (\d+)', counts.text())
    assert dict(buckets) == {"0.01": "0", "0.025": "1", "0.05": "1", "0.1": "1", "0.25": "1", "0.5": "2", "1": "2", "2.5": "2", "5": "2",
                             "10": "2", "20": "2", "+Inf": "3"}  # fmt: skip
    assert 'jahp_request_seconds_sum{operation="decode"} 100.32' in counts.text()


def test_load(running):
    """More connections than there are places: every answer is right, or 503 at once."""
    answers, times = asyncio.run(load(str(running.base_url), png(photo()[:256, :256]), 40, 8, 60))
    assert answers.total() == 40
    assert set(answers) <= {"encode 200", "decode 200", "encode 503", "decode 503"}
    assert answers["encode 200"] == len(times["encode"]) > 0
    assert answers["decode 200"] == len(times["decode"]) > 0
    assert metric(running, "jahp_places_taken") == 0
    assert [percentile([1, 2, 3, 4], p) for p in (1, 50, 51, 75, 100)] == [1, 2, 3, 3, 4]


def test_slow_bodies_time_out_and_full_places_are_refused(tight, photo_crop):
    client = tight
    slow = raw(client, "POST /encode HTTP/1.1", b"Content-Length: 1000\r\n\r\nhalf")  # takes the only place
    while metric(client, "jahp_places_taken") != 1:
        time.sleep(0.01)
    refused = client.post("/encode", content=bytes(20_000_000))  # more than sockets hold: the answer comes although it is not wanted
    assert (refused.status_code, refused.json()["error"], refused.headers["retry-after"]) == (503, "Busy", "1")
    status, said = answer(slow)
    assert status == 408
    assert b"SlowBody" in said
    assert client.post("/encode", content=png(photo_crop)).status_code == 200
    gone = raw(client, "POST /encode HTTP/1.1", b"Content-Length: 1000\r\n\r\nhalf")
    while metric(client, "jahp_places_taken") != 1:
        time.sleep(0.01)
    gone.close()
    while metric(client, "jahp_places_taken") != 0:
        time.sleep(0.01)
    assert metric(client, "jahp_errors_total", operation="encode", error="Disconnected") == 1


def test_work_that_takes_too_long_keeps_its_place(tight):
    client = tight
    body = png(np.tile(photo(), (6, 6, 1)), compress_level=1)  # seconds of work
    late = client.post("/encode", content=body)
    assert (late.status_code, late.json()["error"]) == (504, "TimedOut")
    assert client.post("/encode", content=body).status_code == 503  # the first one is still at work
    while metric(client, "jahp_places_taken") != 0:
        time.sleep(0.05)


def test_sigterm_answers_what_is_under_way():
    body = png(photo())
    with server("--workers", "1") as (url, process), client_of(url) as client:
        answers = []
        senders = [threading.Thread(target=lambda: answers.append(httpx.post(f"{url}/encode", content=body, timeout=60, trust_env=False)))
                   for _ in range(3)]  # fmt: skip
        for sender in senders:
            sender.start()
        while metric(client, "jahp_places_taken") != 3:
            assert not answers, "the work was done too soon"
            time.sleep(0.002)
        process.send_signal(signal.SIGTERM)
        for sender in senders:
            sender.join()
        assert [a.status_code for a in answers] == [200, 200, 200]
        assert {a.content for a in answers} == {jahp_fast.encode(photo())}
        assert process.wait(30) in (0, -signal.SIGTERM)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health", trust_env=False)
