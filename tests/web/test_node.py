# SPDX-License-Identifier: Apache-2.0
"""WebAssembly in Node.js: the files that the package writes, byte for byte, and its refusals. tests/library/test_damage.py has golden and
damaged files."""

import gzip
import json
import subprocess
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from builders import photo
from damaged_files import decoded
from web_site import MAX_PIXELS, ROOT, WASM, WASM_THREADS, WEB, built, node, with_memory

from jahp_fast import Codec, JahpError, library
from jahp_fast.train import synthetic

pytestmark = [built, node]
SHIPPED = library.by_name("mbt2018").path
WAYS = {
    "quality 4": {}, "quality 1": {"quality": 1}, "between qualities": {"quality": 6.35}, "a layer": {"quality": 10},
    "a bound": {"max_error": 2}, "lossless": {"max_error": 0}, "a size": {"max_bytes": 3000}, "too small a size": {"max_bytes": 40},
    "no such quality": {"quality": 13}, "no such bound": {"max_error": 40},
}  # fmt: skip
MODULES = {"one thread": (WASM, ()), "threads": (WASM_THREADS, ("1",)), "four threads": (WASM_THREADS, ("4",))}
JS = {"max_error": "maxError", "max_bytes": "maxBytes", "quality": "quality"}


def ran(script, *arguments, lines=(), wasm=WASM, before=""):
    """The script with these lines; `before` runs first, in each thread."""
    early = ["--import", f"data:text/javascript,{quote(before)}"]
    return subprocess.run(["node", *early, ROOT / "tests" / "web" / script, wasm, *arguments], input="".join(f"{line}\n" for line in lines),
                          capture_output=True, text=True, check=False, timeout=600)  # fmt: skip


def run(*what, **how):
    """What the script says of each line."""
    done = ran(*what, **how)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def pictures():
    crop = photo()[100:229, 300:497]
    alpha = np.dstack([crop, np.arange(crop[:, :, 0].size, dtype=np.uint64).reshape(crop.shape[:2]).astype(np.uint8) // 16 * 16])
    drawing, flat = synthetic.picture("text", 3, (60, 90)), np.full((30, 40, 3), (10, 200, 30), np.uint8)
    seen = np.dstack([drawing, np.where(drawing[:, :, 0] > 200, 0, 255).astype(np.uint8)])
    page = np.full((150, 200, 3), 255, np.uint8)
    page[40:60, 10:190], page[70:140, 60:150] = (drawing[20:40, :60].repeat(3, axis=1)), photo()[100:170, 300:390]
    return {
        "RGB": crop, "RGBA": alpha, "one pixel": crop[:1, :1], "a drawing": drawing, "a drawing and alpha": seen, "one colour": flat,
        "a page": page,
    }  # fmt: skip


def job(tmp_path, name, pixels, options):
    rgba = pixels if pixels.shape[2] == 4 else np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    (tmp_path / f"{name}.rgba").write_bytes(rgba.tobytes())
    return json.dumps({"pixels": str(tmp_path / f"{name}.rgba"), "width": pixels.shape[1], "height": pixels.shape[0],
                       "to": str(tmp_path / f"{name}.jahp"), "options": {JS[key]: value for key, value in options.items()}})  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_encoding_gives_the_packages_files(module, tmp_path):
    lines, wanted = [], []
    for picture, pixels in pictures().items():
        for way, options in WAYS.items():
            name = f"{picture}, {way}"
            lines.append(job(tmp_path, name, pixels, options))
            try:
                codec = Codec("mbt2018", options.get("quality", 4), threads=1)
                wanted.append((name, codec.encode(pixels, **{key: value for key, value in options.items() if key != "quality"})))
            except JahpError as e:
                wanted.append((name, f"{type(e).__name__} {e}"))
    wasm, threads = MODULES[module]
    said = run("encode.mjs", SHIPPED, *threads, lines=lines, wasm=wasm)
    for told, (name, want) in zip(said, wanted, strict=True):
        if isinstance(want, bytes):
            assert told == "ok", name
            assert (tmp_path / f"{name}.jahp").read_bytes() == want, name
        else:
            assert told == want, name
    assert {type(want) for _, want in wanted} == {bytes, str}


def test_what_a_page_loads_makes_small_pictures(tmp_path):
    """The first part of a model has the heads: pixels are the package's, and so is what is said of a view that there is not."""
    (tmp_path / "photo.jahp").write_bytes(Codec(threads=1).encode(photo()[:90, :122]))
    listed = json.loads((WEB / "dist" / "models" / "index.json").read_text())["models"]
    (tmp_path / "part.safetensors").write_bytes(gzip.decompress((WEB / "dist" / "models" / listed[0]["decode"]["file"]).read_bytes()))
    views = [(scale, *region) for scale in (1, 2, 4, 8, 16, 6) for region in ((0, 0, 0, 0), (30, 11, 50, 79), (30, 12, 50, 79))]
    lines = [f"V {' '.join(map(str, view))} {tmp_path / 'photo.jahp'}" for view in views]
    codec, data = Codec(threads=1), (tmp_path / "photo.jahp").read_bytes()
    wanted = [decoded(codec, data, region if region[2] else None, scale) for scale, *region in views]
    assert {text.split(" ")[0] for text in wanted} == {"ok", "JAHP_USAGE_ERROR"}
    for wasm, threads in MODULES.values():
        assert run("outcomes.mjs", *threads, lines=[f"M {tmp_path / 'part.safetensors'}", *lines], wasm=wasm) == ["ok", *wanted]


LITTLE = """
const grow = WebAssembly.Memory.prototype.grow;
WebAssembly.Memory.prototype.grow = function (pages) {
  if (pages > 0 && this.buffer.byteLength / 65536 + pages > PAGES) throw new RangeError("no more");
  return grow.call(this, pages);
};
"""


@pytest.mark.parametrize("module", MODULES)
def test_memory_that_runs_out_is_said_and_given_back(module, tmp_path):
    """A module with little memory refuses a photo, and decodes a small picture afterwards, as often as it is asked."""
    small, large = Codec(threads=1).encode(photo()[:64, :64]), Codec(threads=1).encode(np.tile(photo(), (2, 2, 1)))
    (tmp_path / "small.jahp").write_bytes(small)
    (tmp_path / "large.jahp").write_bytes(large)
    wasm, threads = MODULES[module]
    little, pages = tmp_path / "little.wasm", 560 if threads == ("4",) else 450  # the model takes most of it
    little.write_bytes(with_memory(WASM.read_bytes(), pages) if wasm == WASM else wasm.read_bytes())
    lines = [f"M {SHIPPED}", *[f"D {tmp_path / 'small.jahp'}", f"D {tmp_path / 'large.jahp'}"] * 3]
    said = run("outcomes.mjs", *threads, lines=lines, wasm=little, before=LITTLE.replace("PAGES", str(pages)))
    assert [line.split(" ")[0] for line in said] == ["ok", *["ok", "JAHP_NO_MEMORY"] * 3]
    assert len(set(said[1::2])) == 1
    assert said[2].split(" ", 1)[1]


def test_a_thread_that_fails_ends_the_call(tmp_path):
    """Nobody waits for ever: here none of the threads finds what it should run."""
    (tmp_path / "photo.jahp").write_bytes(Codec(threads=1).encode(photo()[:90, :122]))
    fault = """
    import {isMainThread} from "node:worker_threads";
    if (!isMainThread) WebAssembly.Table.prototype.get = () => { throw new Error("a fault"); };
    """
    lines = [f"M {SHIPPED}", f"D {tmp_path / 'photo.jahp'}"]
    done = ran("outcomes.mjs", "4", lines=lines, wasm=WASM_THREADS, before=fault)
    assert done.returncode == 1
    assert "RuntimeError: unreachable" in done.stderr
    assert ran("outcomes.mjs", "4", lines=lines, wasm=WASM_THREADS).returncode == 0


def test_memory_does_not_grow_call_by_call(tmp_path):
    """Stacks of threads are given back with them."""
    (tmp_path / "photo.jahp").write_bytes(Codec(threads=1).encode(photo()[:90, :122]))
    script = f"""
    import {{readFileSync}} from "node:fs";
    import {{Engine}} from "{WEB / "src" / "engine.js"}";
    const engine = await Engine.load(readFileSync("{WASM_THREADS}"), {{threads: 4}}), file = readFileSync("{tmp_path / "photo.jahp"}");
    engine.addModel(readFileSync("{SHIPPED}"), "mbt2018");
    for (let call = 0; call < 60; call++) {{
      engine.decode(file);
      console.log(engine.memory);
    }}
    engine.close();
    """
    done = subprocess.run(["node", "--input-type=module", "-e", script], capture_output=True, text=True, check=True, timeout=600)
    held = [int(line) for line in done.stdout.splitlines()]
    assert len(held) == 60
    assert held[-1] - held[3] < 2**20  # a stack takes as much


@pytest.mark.parametrize(("wasm", "threads", "said"), [
    (WASM, "2", "jahp.wasm has one thread: more are in jahp-threads.wasm"), (WASM_THREADS, "0", "threads must be 1 to 64, not 0"),
    (WASM_THREADS, "65", "threads must be 1 to 64, not 65"), (WASM_THREADS, "1.5", "threads must be 1 to 64, not 1.5"),
])  # fmt: skip
def test_threads_that_there_are_not(wasm, threads, said):
    done = ran("outcomes.mjs", threads, wasm=wasm)
    assert done.returncode == 1
    assert said in done.stderr


def test_pixels_beyond_the_bound_are_refused_before_memory_is_taken(tmp_path):
    flat = np.zeros((6000, 6000, 3), np.uint8)
    with pytest.raises(JahpError) as caught:
        Codec(max_pixels=MAX_PIXELS).encode(flat)
    (line,) = run(
        "encode.mjs", SHIPPED, lines=[json.dumps(json.loads(job(tmp_path, "none", flat[:1, :1], {})) | {"width": 6000, "height": 6000})]
    )
    assert line == f"{type(caught.value).__name__} {caught.value}"


def test_the_package_packs(tmp_path):
    """`npm pack` takes what the page needs, and no more than it should."""
    done = subprocess.run(["npm", "pack", "--json", "--pack-destination", tmp_path], cwd=WEB, capture_output=True, text=True, check=True)
    (pack,) = json.loads(done.stdout) if done.stdout.startswith("[") else json.loads(done.stdout).values()
    names = {file["path"] for file in pack["files"]}
    models = json.loads((WEB / "dist" / "models" / "index.json").read_text())["models"]
    assert names >= {
        "package.json",
        "dist/jahp.wasm",
        "dist/jahp-threads.wasm",
        "dist/models/index.json",
        "src/jahp.js",
        "src/jahp.d.ts",
        "src/worker.js",
        "src/thread.js",
    }
    assert names >= {f"dist/models/{model[part]['file']}" for model in models for part in ("decode", "encode")}
    assert all(Path(name).parts[0] in ("src", "dist", "package.json", "README.md", "LICENSE") for name in names)
    assert models[0]["name"] == "mbt2018"
    assert all(model["decode"]["bytes"] < 6e6 for model in models)
