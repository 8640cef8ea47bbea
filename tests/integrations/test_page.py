# SPDX-License-Identifier: Apache-2.0
"""The page of examples/serve.py in headless Chromium: `make browser`. Screenshots go to JAHP_SCREENSHOTS where that names a folder."""

import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
from browser import chromium, find_chromium
from builders import photo
from load_test import server
from PIL import Image

import jahp_fast

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed (Debian: chromium)")]
CODED = "document.getElementById('status').textContent.startsWith('Drag') && !document.getElementById('viewer').classList.contains('busy')"
READY = f"{CODED} && document.getElementById('psnr').textContent.endsWith('dB')"


@pytest.fixture(scope="module")
def browser():
    with server("--pixels", "1000000") as (url, _), chromium() as page:
        yield page, url
        assert len(page.complaints) == 2, page.complaints  # the two refusals, and no error of the page's own
        assert all("status of 4" in complaint for complaint in page.complaints), page.complaints
        assert {r.split("/")[2] for r in page.requests if r.startswith("http")} == {url.split("/")[2]}  # nothing from elsewhere


def text(page, identifier):
    return page.evaluate(f"document.getElementById('{identifier}').textContent")


def shot(page, name):
    """The screenshot as an array; kept for people where they ask for it."""
    data = page.screenshot()
    if folder := os.environ.get("JAHP_SCREENSHOTS"):
        Path(folder, f"{name}.png").write_bytes(data)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def box(page, identifier):
    return page.evaluate(f"(b => [b.left, b.top, b.width, b.height])(document.getElementById('{identifier}').getBoundingClientRect())")


def expected(pixels, quality):
    """Bytes of the file, and PSNR of what comes back."""
    codec = jahp_fast.Codec(quality=quality, threads=1)
    data = codec.encode(pixels)
    error = np.square(codec.decode(data).astype(float) - pixels).mean()
    return len(data), 10 * np.log10(255**2 / error)


@pytest.mark.parametrize(("width", "height", "dark"), [(1280, 900, False), (360, 740, True)])
def test_the_sample_is_shown_with_its_figures(browser, width, height, dark):
    page, url = browser
    page.open(url, width, height, dark)
    page.wait_for(READY)
    size, psnr = expected(photo(), 4)
    assert text(page, "bytes-after").startswith(f"{size / 1000:.1f} kB")
    assert text(page, "shape") == "768 × 512"
    assert float(text(page, "psnr").split()[0]) == pytest.approx(psnr, abs=0.011)
    assert float(text(page, "bpp")) == pytest.approx(8 * size / (768 * 512), abs=0.001)
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out
    pixels = shot(page, f"sample-{width}{'-dark' if dark else ''}")
    assert pixels.shape[1] == width
    left, top, wide, high = map(round, box(page, "viewer"))
    assert pixels[top : top + high, left : left + wide].std() > 20  # a photo, not an empty frame
    assert (pixels[5, 5].mean() < 60) == dark


def test_the_divider_by_mouse_and_by_keys(browser):
    page, url = browser
    page.open(url, 1280, 900)
    page.wait_for(READY)
    order = []
    for _ in range(4):
        page.key("Tab")
        order.append(page.evaluate("document.activeElement.id"))
        if order[-1] == "quality":
            page.key("ArrowRight")
    assert order == ["file", "sample", "quality", "handle"]
    page.wait_for(f"{READY} && document.getElementById('decoded').alt.includes('quality 4.25 ')")
    assert text(page, "quality-value") == "4.25"
    assert text(page, "bytes-after").startswith(f"{expected(photo(), 4.25)[0] / 1000:.1f} kB")
    outline = page.evaluate("getComputedStyle(document.getElementById('handle')).outlineStyle")
    assert outline == "solid"
    left, top, wide, high = box(page, "viewer")
    page.drag(left + wide / 2, top + high / 2, left + wide / 4, top + high / 2)
    now = "Number(document.getElementById('handle').getAttribute('aria-valuenow'))"
    assert page.evaluate(now) == 25
    clip = "getComputedStyle(document.getElementById('decoded')).clipPath"
    assert page.evaluate(clip) == "inset(0px 0px 0px 25%)"
    page.evaluate("document.getElementById('handle').focus()")
    for key, value in (("ArrowRight", 27), ("ArrowLeft", 25), ("PageUp", 35), ("Home", 0), ("ArrowLeft", 0), ("End", 100)):
        page.key(key)
        assert page.evaluate(now) == value, key
    assert page.evaluate("document.getElementById('handle').getAttribute('aria-valuetext')") == "100 % original, 0 % decoded"


def test_what_is_left_and_right_of_the_divider(browser):
    """At quality 1 the two halves of the screenshot are the original and the decoded picture, pixel for pixel."""
    page, url = browser
    page.open(url, 1280, 900)
    page.wait_for(READY)
    page.evaluate("(q => { q.value = 1; q.dispatchEvent(new Event('input')); q.dispatchEvent(new Event('change')); })"
                  "(document.getElementById('quality'))")  # fmt: skip
    page.wait_for(f"{READY} && document.getElementById('decoded').alt.includes('quality 1 ')")
    assert text(page, "quality-value") == "1.00"
    size, _ = expected(photo(), 1)
    assert text(page, "bytes-after").startswith(f"{size / 1000:.1f} kB")
    page.evaluate("document.getElementById('viewer').style.cssText += 'width: 768px; max-width: 768px; border-radius: 0'")
    left, top, _, _ = map(round, box(page, "viewer"))
    codec = jahp_fast.Codec(quality=1, threads=1)
    decoded = codec.decode(codec.encode(photo())).astype(int)
    below = slice(330, 500)  # badges lie above, and the divider's knob in the middle
    for _ in range(20):  # on a busy machine the first frames are not drawn in full
        shown = shot(page, "quality-1")[top : top + 512, left : left + 768].astype(int)
        if np.abs(shown[below, 430:740] - decoded[below, 430:740]).mean() < 0.5:
            break
        time.sleep(0.1)
    assert np.abs(shown[below, 30:340] - photo()[below, 30:340]).mean() < 0.5
    assert np.abs(shown[below, 430:740] - decoded[below, 430:740]).mean() < 0.5
    assert np.abs(shown[below, 430:740] - photo()[below, 430:740]).mean() > 2


def test_another_picture_and_refusals(browser, tmp_path):
    page, url = browser
    page.open(url, 1280, 900)
    page.wait_for(READY)
    tall = photo()[:500, 200:500]
    Image.fromarray(tall).save(tmp_path / "tall.png")
    page.choose_file("#file", str(tmp_path / "tall.png"))
    page.wait_for(f"{READY} && document.getElementById('shape').textContent === '300 × 500'")
    left, _, wide, high = box(page, "viewer")
    assert wide / high == pytest.approx(0.6, rel=0.01)
    assert left + wide / 2 == pytest.approx(640, abs=1)
    assert high <= 0.71 * 900
    assert page.evaluate("document.getElementById('save-jahp').download") == "tall.jahp"
    saved = page.evaluate("fetch(document.getElementById('save-jahp').href).then(r => r.arrayBuffer()).then(b => b.byteLength)")
    assert saved == expected(tall, 4)[0]
    shot(page, "tall")
    Image.new("RGB", (1200, 1000)).save(tmp_path / "large.png")
    page.choose_file("#file", str(tmp_path / "large.png"))
    page.wait_for("document.getElementById('status').classList.contains('bad')")
    assert text(page, "status") == "Not coded: 1200 x 1000 pixels are more than 1000000"
    assert page.evaluate("document.getElementById('save-jahp').getBoundingClientRect().width") == 0
    assert page.evaluate("getComputedStyle(document.getElementById('handle')).visibility") == "hidden"  # nothing is decoded
    shot(page, "refused")
    (tmp_path / "none.png").write_bytes(b"no picture")
    page.choose_file("#file", str(tmp_path / "none.png"))
    page.wait_for("document.getElementById('status').textContent.includes('not an image of a format')")
    page.evaluate("document.getElementById('sample').click()")
    page.wait_for(f"{READY} && document.getElementById('shape').textContent === '768 × 512'")
