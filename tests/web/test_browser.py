# SPDX-License-Identifier: Apache-2.0
"""The codec and its page in headless Chromium, as `make web` built them: `make web-check`. Screenshots go to JAHP_SCREENSHOTS."""

import base64
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from browser import chromium, find_chromium
from builders import photo
from damaged_files import GOLDEN, MODELS, damaged_files, decoded, held_to
from doc_blocks import blocks
from PIL import Image, ImageCms
from web_site import MAX_PIXELS, ROOT, WASM, built, site, with_memory

import jahp_fast
from jahp_fast import Codec, JahpError, library

pytestmark = [pytest.mark.slow, built, pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed (Debian: chromium)")]
DIGESTS = ROOT / "build" / "wasm-threads" / "csrc" / "tests"
IDLE = "!document.getElementById('viewer').classList.contains('busy')"
READY = f"{IDLE} && document.getElementById('psnr').textContent.endsWith('dB')"
CODEC = 'const {Codec} = await import("/src/jahp.js"), codec = new Codec();'
REFUSED = f"{IDLE} && document.getElementById('status').classList.contains('bad')"


@pytest.fixture(scope="module", params=["one thread", "threads"])
def browser(request, tmp_path_factory):
    """Of a server that isolates pages from other origins, or does not: then there are no threads."""
    folder, threads = tmp_path_factory.mktemp("files"), request.param == "threads"
    folders = {"files": folder, "golden": GOLDEN, "weights": library.by_name("mbt2018").path.parent}
    with site(folders, isolated=threads) as (url, asked), chromium() as page:
        page.patience_s = 300
        page.asked = asked
        yield page, url, folder
        assert not page.complaints
        assert {r.split("/")[2] for r in page.requests if r.startswith("http")} == {url.split("/")[2]}  # nothing from elsewhere


@pytest.fixture
def page(browser):
    """The page with the sample photo coded."""
    page, url, _ = browser
    page.open(f"{url}/demo/", 1280, 900)
    page.wait_for(READY)
    return page


def text(page, identifier):
    return page.evaluate(f"document.getElementById('{identifier}').textContent")


def shot(page, name):
    data = page.screenshot()
    if folder := os.environ.get("JAHP_SCREENSHOTS"):
        Path(folder, f"web-{name}.png").write_bytes(data)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def drop(page, name, data):
    """What the page sees when a person drops a file on it."""
    page.evaluate(f"""(() => {{
      const bytes = Uint8Array.from(atob("{base64.b64encode(data).decode()}"), c => c.charCodeAt(0)), transfer = new DataTransfer();
      transfer.items.add(new File([bytes], {json.dumps(name)}));
      window.begun = false;  // a small file is done sooner than anybody looks
      const viewer = document.getElementById("viewer"), status = document.getElementById("status");
      const begun = new MutationObserver(() => {{
        window.begun ||= viewer.classList.contains("busy") || status.classList.contains("bad");
      }});
      for (const part of [viewer, status]) begun.observe(part, {{attributes: true, childList: true, characterData: true, subtree: true}});
      document.body.dispatchEvent(new DragEvent("drop", {{bubbles: true, cancelable: true, dataTransfer: transfer}}));
    }})()""")
    page.wait_for("window.begun")


def saved(page, identifier):
    """The bytes behind a link to save something."""
    coded = page.evaluate(f"""fetch(document.getElementById('{identifier}').href).then(r => r.blob()).then(blob => new Promise(resolve => {{
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result.split(",")[1]);
      reader.readAsDataURL(blob);
    }}))""")
    return base64.b64decode(coded)


def as_png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_the_sample_is_coded_as_the_package_does(page):
    file = Codec(threads=1).encode(photo())
    assert saved(page, "save-jahp") == file
    shown = np.asarray(Image.open(io.BytesIO(saved(page, "save-png"))).convert("RGB"))
    assert np.array_equal(shown, Codec(threads=1).decode(file))
    error = np.square(shown.astype(float) - photo()).mean()
    assert float(text(page, "psnr").split()[0]) == pytest.approx(10 * np.log10(255**2 / error), abs=0.011)
    assert text(page, "bytes-after").startswith(f"{len(file) / 1000:.1f} kB")
    assert page.evaluate("document.getElementById('save-jahp').download") == "photo.jahp"
    assert text(page, "loaded").endswith(" s")
    assert shot(page, "sample").std() > 20


def test_a_size_in_kilobytes(page):
    page.evaluate("(k => { k.value = 8; k.dispatchEvent(new Event('change')); })(document.getElementById('kilobytes'))")
    page.wait_for(f"{READY} && document.getElementById('decoded').alt.includes('at most 8 kB')")
    assert saved(page, "save-jahp") == Codec(threads=1).encode(photo(), max_bytes=8000)


def test_by_keys_alone(page):
    order = []
    for _ in range(5):
        page.key("Tab")
        order.append(page.evaluate("document.activeElement.id"))
    assert order == ["file", "sample", "kilobytes", "quality", "handle"]
    page.key("Home")
    assert page.evaluate("document.getElementById('handle').getAttribute('aria-valuetext')") == "0 % original, 100 % decoded"
    assert page.evaluate("document.getElementById('status').getAttribute('role')") == "status"
    assert page.evaluate("[...document.images].every(i => i.alt) && [...document.querySelectorAll('input')].every(i => i.labels.length)")


def test_on_a_phone(browser):
    page, url, _ = browser
    page.open(f"{url}/demo/", 360, 740, dark=True)
    page.wait_for(READY)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert shot(page, "phone")[5, 5].mean() < 60


def test_a_file_is_dropped_and_saved_as_png(page):
    alpha = np.dstack([photo()[:90, :120], np.full((90, 120), 200, np.uint8)])
    file = Codec(threads=1).encode(alpha)
    drop(page, "cut.jahp", file)
    page.wait_for(f"{IDLE} && document.getElementById('shape').textContent === '120 × 90'")
    assert text(page, "status") == "cut.jahp is decoded."
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(saved(page, "save-png")))), Codec(threads=1).decode(file))
    assert page.evaluate("document.getElementById('save-png').download") == "cut.decoded.png"
    assert page.evaluate("getComputedStyle(document.getElementById('handle')).visibility") == "hidden"
    shot(page, "dropped")


def test_refusals_and_what_follows_them(page):
    file = bytearray(Codec(threads=1).encode(photo()[:64, :64]))
    file[-9] ^= 4
    with pytest.raises(JahpError) as caught:
        Codec(threads=1).decode(bytes(file))
    drop(page, "damaged.jahp", bytes(file))
    page.wait_for(REFUSED)
    assert text(page, "status") == f"Not decoded: {caught.value}"
    shot(page, "damaged")
    large = np.zeros((5000, 8000, 3), np.uint8)  # 40 megapixels
    with pytest.raises(JahpError) as caught:
        Codec(max_pixels=MAX_PIXELS).encode(large)
    drop(page, "large.png", as_png(large))
    page.wait_for(f"{REFUSED} && document.getElementById('status').textContent.includes('max_pixels')")
    assert text(page, "status") == f"Not coded: {caught.value}"
    drop(page, "none.png", b"no picture")
    page.wait_for(f"{REFUSED} && document.getElementById('status').textContent.includes('cannot read the picture')")
    page.evaluate("document.getElementById('sample').click()")
    page.wait_for(READY)


def test_stopping(page):
    drop(page, "tiled.png", as_png(np.tile(photo(), (3, 3, 1))))
    page.evaluate("document.getElementById('stop').click()")
    page.wait_for(f"{IDLE} && document.getElementById('status').textContent === 'Stopped.'")
    assert page.evaluate("document.getElementById('stop').hidden")
    page.evaluate("document.getElementById('sample').click()")
    page.wait_for(READY)


def test_golden_and_damaged_files_come_to_what_they_do_in_the_package(browser):
    page, url, folder = browser
    codec = Codec("mbt2018-A-a8-p15", models=MODELS, max_pixels=2**28, threads=1)
    lines, wanted = [f"M {path}" for path in MODELS], ["ok"] * len(MODELS)
    for path in sorted(GOLDEN.rglob("*.jahp")):
        lines.append(f"D {path}")
        wanted.append(decoded(codec, path.read_bytes()))
    for number, data in enumerate(damaged_files(200)):
        if int.from_bytes(data[16:20], "little") * int.from_bytes(data[20:24], "little") <= 2**20:
            (folder / f"{number}.jahp").write_bytes(data)
            lines.append(f"D {folder / f'{number}.jahp'}")
            wanted.append(decoded(codec, data))
    page.open(f"{url}/demo/", 800, 600)
    page.wait_for(READY)
    isolated = page.evaluate("crossOriginIsolated")
    job = {"wasm": "/dist/jahp-threads.wasm", "threads": 4} if isolated else {"wasm": "/dist/jahp.wasm", "threads": 1}
    job |= {"lines": lines, "places": [(str(GOLDEN), "/golden"), (str(folder), "/files")]}
    told = page.evaluate(f"""new Promise((resolve, reject) => {{
      const worker = new Worker("/tests/worker.mjs", {{type: "module"}});
      worker.onmessage = ({{data}}) => {{ worker.terminate(); resolve(data); }};
      worker.onerror = reject;
      worker.postMessage({json.dumps(job)});
    }})""")
    held_to(told, wanted)


def test_elements_and_images(browser):
    page, url, folder = browser
    (folder / "photo.jahp").write_bytes(Codec(threads=1).encode(photo()[:80, :100]))
    (folder / "elements.html").write_text(
        '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/src/polyfill.js"></script>'
        '<img id="plain" src="photo.jahp" alt="a"><jahp-img id="own" src="photo.jahp" alt="b"></jahp-img>'
        '<jahp-img id="small" scale="8" src="photo.jahp" alt="c"></jahp-img><jahp-img id="odd" src="photo.jahp" scale="3"></jahp-img>'
        '<jahp-img id="none" src="elements.html" alt="what it shows"></jahp-img>')  # fmt: skip
    page.open(f"{url}/files/elements.html", 800, 600)
    for identifier, width in (("plain", 100), ("own", 100), ("small", 13)):
        page.wait_for(f"document.getElementById('{identifier}').naturalWidth === {width}")
    said = "document.getElementById('{}').shadowRoot.querySelector('[role=alert]')?.textContent === '{}'"
    page.wait_for(said.format("none", "what it shows"))
    page.wait_for(said.format("odd", "scale must be 1, 2, 4, 8 or 16, not 3"))
    page.evaluate("document.getElementById('small').scale = 4")
    page.wait_for("document.getElementById('small').naturalWidth === 25")
    shot(page, "elements")


def test_parts_and_small_pictures(browser):
    """As the package decodes them, of a shipped model with its heads; as PNG files too."""
    page, url, folder = browser
    crop = photo()[:96, :128]
    file = Codec(threads=1).encode(np.dstack([crop, crop[:, :, 0] | 128]))
    (folder / "parts.jahp").write_bytes(file)
    page.open(f"{url}/demo/", 800, 600)
    page.wait_for(READY)
    views = [{"scale": 8}, {"scale": 2, "region": [3, 5, 60, 41]}, {"region": [100, 90, 28, 6]}, {"scale": 16}, {"scale": 4}]
    asked = [view | ({"region": dict(zip(("left", "top", "width", "height"), view["region"], strict=True))} if "region" in view else {})
             for view in views]  # fmt: skip
    told = page.evaluate(f"""(async () => {{
      {CODEC}
      const file = await (await fetch("/files/parts.jahp")).blob(), told = [];
      for (const view of {json.dumps(asked)}) {{
        const {{width, height}} = await codec.decode(file, view), png = new Uint8Array(await (await codec.png(file, view)).arrayBuffer());
        told.push([width, height, btoa(String.fromCharCode(...png))]);
      }}
      const said = promise => promise.then(() => "", error => `${{error.name}}: ${{error.message}}`);
      for (const view of [{{scale: 3}}, {{scale: 1.5}}, {{region: {{left: 0, top: 0, width: 129, height: 1}}}}, {{region: {{left: 0}}}}])
        told.push(await said(codec.decode(file, view)));
      codec.close();
      return told;
    }})()""")
    for view, (width, height, png) in zip(views, told, strict=False):
        wanted = Codec(threads=1).decode(file, **view)
        assert (height, width) == wanted.shape[:2]
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(png)))), wanted)
    assert told[len(views) :] == [
        "UsageError: scale must be 1, 2, 4, 8 or 16, not 3", "UsageError: scale must be a whole number, not 1.5",
        "UsageError: region (0, 0, 129, 1) is not inside of the picture's 128 x 96 pixels",
        "UsageError: region's top must be a whole number, not undefined",
    ]  # fmt: skip


def test_metadata_comes_along(browser):
    """An ICC profile, Exif and XMP, out of a file into `info` and into a PNG."""
    page, url, folder = browser
    picture, exif = Image.fromarray(photo()[:50, :60]), Image.Exif()
    exif[0x010E] = "two parrots"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    out = io.BytesIO()
    picture.save(out, "PNG", icc_profile=profile, exif=exif)
    tagged = Image.open(out)
    tagged.info["cicp"] = bytes((9, 16, 0, 1))
    file = Codec(threads=1).encode(tagged)
    (folder / "tagged.jahp").write_bytes(file)
    page.open(f"{url}/demo/", 800, 600)
    page.wait_for(READY)
    told, png = page.evaluate(f"""(async () => {{
      {CODEC}
      const file = await (await fetch("/files/tagged.jahp")).blob(), {{metadata, ...info}} = await codec.info(file);
      const bytes = new Uint8Array(await (await codec.png(file)).arrayBuffer());
      codec.close();
      return [{{...info, icc: metadata.icc.length, exif: metadata.exif.length}}, btoa(String.fromCharCode(...bytes))];
    }})()""")
    mine = jahp_fast.info(file)
    assert (told["width"], told["height"], told["quality"], told["channels"]) == (mine.width, mine.height, 4, 3)
    assert (told["model"], told["alpha"], told["grey"], told["maxError"]) == (library.by_name("mbt2018").id.hex(), False, False, None)
    assert (told["depth"], told["payloadSize"], told["baseQuality"]) == (8, mine.payload_bytes, 0)
    shown = Image.open(io.BytesIO(base64.b64decode(png)))
    assert shown.info["icc_profile"] == profile
    assert b"\0\0\0\4cICP\x09\x10\0\1" in base64.b64decode(png)
    assert shown.getexif()[0x010E] == "two parrots"
    assert (told["icc"], told["exif"]) == (len(profile), len(shown.info["exif"].removeprefix(b"Exif\0\0")))
    assert np.array_equal(np.asarray(shown.convert("RGB")), Codec(threads=1).decode(file))


def test_calls_side_by_side_stopped_and_closed(browser):
    page, url, folder = browser
    crop = photo()[:96, :128]
    (folder / "crop.jahp").write_bytes(Codec(threads=1).encode(crop))
    (folder / "foreign.jahp").write_bytes((GOLDEN / "pictures-0.jahp").read_bytes())
    (folder / "crop.rgba").write_bytes(np.dstack([crop, np.full(crop.shape[:2], 255, np.uint8)]).tobytes())
    page.open(f"{url}/demo/", 800, 600)
    page.wait_for(READY)
    told = page.evaluate(f"""(async () => {{
      {CODEC}
      const of = async name => new Uint8Array(await (await fetch("/files/" + name)).arrayBuffer()), file = await of("crop.jahp");
      const said = promise => promise.then(result => result, error => `${{error.name}}: ${{error.message}}`);
      const queued = new AbortController(), running = new AbortController();
      const image = {{width: 128, height: 96, data: await of("crop.rgba")}};
      const all = [
        said(codec.encode(image, {{signal: running.signal}})), said(codec.decode(file)), said(codec.info(file, {{signal: queued.signal}})),
        said(codec.encode(image, {{model: "mbt2018-ms-ssim", quality: 2}})), said(codec.encode(image, {{model: "none"}})),
        said(codec.decode(await of("foreign.jahp"))), said(codec.decode("text")), said(codec.encode({{...image, width: 127}}))];
      queued.abort();
      running.abort();
      const [stopped, decoded, unasked, eye, ...errors] = await Promise.all(all), last = said(codec.decode(file));
      await new Promise(resolve => setTimeout(resolve, 0));
      codec.close();
      return [stopped, decoded.width, unasked, btoa(String.fromCharCode(...eye)), ...errors, await last, await said(codec.info(file))];
    }})()""")
    assert told[0].startswith("AbortError")
    assert told[1] == 128
    assert told[2].startswith("AbortError")
    assert base64.b64decode(told[3]) == Codec("mbt2018-ms-ssim", 2, threads=1).encode(crop)
    assert told[4] == "UsageError: there is no model none, only mbt2018, mbt2018-ms-ssim"
    assert told[5].startswith("UnknownModel: ")
    assert told[6] == "UsageError: a file is a Uint8Array, an ArrayBuffer or a Blob"
    assert told[7] == "UsageError: a picture of 127x96 has 48768 bytes of RGBA, not 49152"
    assert told[8:] == ["UsageError: the codec is closed"] * 2


def test_threads_are_there_where_a_page_may_have_them(browser):
    page, url, folder = browser
    (folder / "photo.jahp").write_bytes(Codec(threads=1).encode(photo()[:90, :122]))
    page.open(f"{url}/demo/", 800, 600)
    page.wait_for(READY)
    isolated = page.evaluate("crossOriginIsolated")
    del page.asked[:]
    told = page.evaluate("""(async () => {
      const {Codec} = await import("/src/jahp.js"), file = await (await fetch("/files/photo.jahp")).blob();
      for (const threads of [3, 1]) {
        const codec = new Codec({threads}), {width} = await codec.decode(file);
        if (width !== 122) throw new Error(`${width} columns`);
        codec.close();
      }
      try { new Codec({threads: 0}); } catch (error) { return `${error.name}: ${error.message}`; }
    })()""")
    assert told == "UsageError: threads must be 1 to 64, not 0"
    modules = [path for path in page.asked if path.endswith(".wasm")]
    assert modules == ["/dist/jahp-threads.wasm" if isolated else "/dist/jahp.wasm", "/dist/jahp.wasm"]


def test_no_threads_to_be_had(browser):
    """A browser that gives no shared memory decodes with one thread."""
    page, url, folder = browser
    (folder / "photo.jahp").write_bytes(Codec(threads=1).encode(photo()[:90, :122]))
    (folder / "worker.js").write_text(
        "const Memory = WebAssembly.Memory;\n"
        "WebAssembly.Memory = class { constructor(how) { if (how.shared) throw new RangeError('none'); return new Memory(how); } };\n"
        "import('/src/worker.js').then(() => postMessage('ready'));"
    )
    page.open(f"{url}/demo/", 800, 600)
    page.wait_for(READY)
    told = page.evaluate("""(async () => {
      const worker = new Worker("/files/worker.js", {type: "module"}), answer = () => new Promise(resolve => worker.onmessage = resolve);
      await answer();
      const data = new Uint8Array(await (await fetch("/files/photo.jahp")).arrayBuffer());
      worker.postMessage({kind: "decode", base: new URL("/dist/", location).href, threads: 4, data, options: {maxPixels: 2 ** 25}});
      const {data: {result, error}} = await answer();
      worker.terminate();
      return error ? error.message : [result.width, result.height];
    })()""")
    assert told == [122, 90]


@pytest.mark.skipif(not (DIGESTS / "stream_digest_page.js").is_file(), reason="stream_digest_page is not built: make web-check")
@pytest.mark.parametrize("threads", ["1", "4"])
def test_numbered_streams(tmp_path, threads):
    """As many as JAHP_STREAMS says: what all other machines make of them, and take out of them."""
    streams = os.environ.get("JAHP_STREAMS", "40")
    recorded = [line.split() for line in (ROOT / "csrc" / "tests" / "stream_digest.golden").read_text().splitlines() if line[0] != "#"]
    (wanted,) = (result for first, count, result in recorded if (first, count) == ("0", streams))
    (tmp_path / "digest.html").write_text(
        '<!doctype html><link rel="icon" href="data:,"><script>var told = [], Module = '
        f'{{arguments: ["--streams", "{streams}", "--threads", "{threads}"], print: line => told.push(line)}};</script>'
        '<script src="/digests/stream_digest_page.js"></script>'
    )
    with site({"files": tmp_path, "digests": DIGESTS}, isolated=True) as (url, _), chromium() as page:
        page.patience_s = 600
        page.open(f"{url}/files/digest.html", 800, 600)
        page.wait_for("told.some(line => line.startsWith('all'))")
        told = page.evaluate("told")
        assert not page.complaints
    assert told[0].endswith(f" {threads} threads")
    assert told[-1].split()[::3] == ["all", wanted]


def test_the_guide(browser):
    page, url, folder = browser
    (code,) = [block.code for block in blocks("docs/guide/web.md") if block.language == "js"]
    (folder / "photo.jahp").write_bytes(Codec(threads=1).encode(photo()))
    (folder / "guide.html").write_text(
        '<!doctype html><link rel="icon" href="data:,"><script type="importmap">{"imports": {"jahp": "/src/jahp.js"}}</script>'
        f'<script type="module">{code}document.title = `${{small.length <= 6000}} ${{width}} ${{height}}`;</script>')  # fmt: skip
    page.open(f"{url}/files/guide.html", 800, 600)
    page.wait_for("document.title !== ''")
    assert page.evaluate("document.title") == "true 768 512"


def test_once_loaded_it_works_without_a_network():
    with chromium() as page:
        page.patience_s = 300
        with site() as (url, asked):
            page.open(f"{url}/demo/", 1280, 900)
            page.wait_for(READY)
            page.wait_for("navigator.serviceWorker.controller !== null")
            page.open(f"{url}/demo/?again", 1280, 900)  # now what is loaded is kept
            page.wait_for(READY)
        page.open(f"{url}/demo/?again", 1280, 900)
        page.wait_for(READY)
        assert page.evaluate("crossOriginIsolated")  # by the service worker alone
        assert "/dist/jahp-threads.wasm" in asked
        shot(page, "offline")


def test_memory_that_runs_out():
    """A module that may not take much: what is too large is refused in one sentence, and the next picture is coded."""
    with site(instead={"/dist/jahp.wasm": with_memory(WASM.read_bytes(), 700)}) as (url, _), chromium() as page:
        page.patience_s = 300
        page.open(f"{url}/demo/", 1280, 900)
        page.wait_for(READY)
        drop(page, "tiled.png", as_png(np.tile(photo(), (2, 2, 1))))
        page.wait_for(REFUSED)
        assert text(page, "status").startswith("Not coded: there is no memory for")
        shot(page, "memory")
        page.evaluate("document.getElementById('sample').click()")
        page.wait_for(READY)
