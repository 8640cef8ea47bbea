# SPDX-License-Identifier: Apache-2.0
"""`jahp demo`: the search for equal sizes, the tables, the page's content, and the whole command on a crop of its photo."""

import argparse
import base64
import io
import json
import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jahp_fast
from jahp_fast.errors import JahpError
from jahp_fast.evaluate import demo, page
from jahp_fast.evaluate.codecs import pillow_codec
from jahp_fast.evaluate.files import load_rgb
from jahp_fast.evaluate.metrics import psnr

ROOT = Path(__file__).resolve().parents[2]


def demo_photo() -> np.ndarray:
    with resources.as_file(resources.files("jahp_fast.evaluate") / "demo_photo.png") as path:
        return load_rgb(path)


@pytest.fixture(scope="module")
def crop() -> np.ndarray:
    """The eye of the red macaw: as small as MS-SSIM allows."""
    return np.ascontiguousarray(demo_photo()[100:262, 380:556])


def page_content(text: str) -> dict:
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(block)


def variant(image: np.ndarray, codec: str, setting: int) -> demo.Variant:
    coder = pillow_codec(codec)
    data = coder.encode(image, setting)
    return demo.variant_of(image, coder.label(setting), data, coder.decode(data))


def test_the_photo_is_packaged_with_its_licence():
    assert demo_photo().shape == (512, 768, 3)
    folder = resources.files("jahp_fast.evaluate")
    assert "unrestricted usage" in (folder / "demo_photo.txt").read_text()
    assert (folder / "demo_photo.png").read_bytes() == (ROOT / "examples" / "photo.png").read_bytes()


@pytest.mark.parametrize("name", ["jpeg420", "webp"])
@pytest.mark.parametrize("limit", [900, 1700, 4000, 9000])
def test_nearest_not_above_is_the_best_of_all(crop: np.ndarray, name: str, limit: int):
    coder, image = pillow_codec(name), crop[:80, :96]
    sizes = {q: len(coder.encode(image, q)) for q in range(1, 96)}
    fitting = [q for q, size in sizes.items() if size <= limit]
    quality, data = demo.nearest_not_above(coder, image, limit, 95)
    assert quality == max(fitting)
    assert len(data) == sizes[quality] <= limit


def test_nearest_not_above_gives_the_smallest_where_none_fits(crop: np.ndarray):
    coder = pillow_codec("jpeg420")
    assert demo.nearest_not_above(coder, crop, 10, 95) == (1, coder.encode(crop, 1))
    assert demo.nearest_not_above(coder, crop, 10**6, 95)[0] == 95


def test_tables_are_aligned_and_complete(crop: np.ndarray):
    variants = {"ours": variant(crop, "jpeg2000", 40), "jpeg": variant(crop, "jpeg420", 30), "webp": variant(crop, "webp", 30)}
    labels = [*demo.ENCODE_STAGES.values(), *demo.DECODE_STAGES.values()]
    levels = [demo.Level(2.0, variants, dict.fromkeys(labels, 0.0123))]
    lines = demo.figures_table(levels).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [line.split()[0] for line in lines] == ["codec", "mbt2018", "jpeg420", "webp"]
    assert lines[2].split()[1:4] == ["q=30", str(len(variants["jpeg"].data)), f"{variants['jpeg'].bpp:.3f}"]
    assert demo.stages_table(levels).splitlines()[1].split() == ["q=2"] + ["12.3"] * 5


def test_the_page_holds_the_files_and_loads_nothing(crop: np.ndarray):
    variants = {"ours": variant(crop, "jpeg2000", 40), "jpeg": variant(crop, "jpeg420", 30), "webp": variant(crop, "webp", 30)}
    labels = [*demo.ENCODE_STAGES.values(), *demo.DECODE_STAGES.values()]
    png = io.BytesIO()
    Image.fromarray(crop).save(png, "PNG")
    text = page.render(crop, png.getvalue(), [demo.Level(2.0, variants, dict.fromkeys(labels, 0.01))])
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(|<link|\ssrc=[\"'](?!data:)", text)
    assert "default-src 'none'" in text
    content = page_content(text)
    shown = content["levels"][0]["variants"]
    for name in ("jpeg", "webp"):
        assert base64.b64decode(shown[name]["src"].split(",")[1]) == variants[name].data
        assert shown[name]["bytes"] == len(variants[name].data)
    ours = Image.open(io.BytesIO(base64.b64decode(shown["ours"]["src"].split(",")[1])))
    assert np.array_equal(np.asarray(ours), variants["ours"].pixels)
    assert base64.b64decode(content["original"].split(",")[1]) == png.getvalue()


def test_data_cannot_close_the_script_element(crop: np.ndarray):
    hostile = demo.Variant("</script><b>", b"", crop, 1.0, 30.0, 0.9)
    variants = {"ours": hostile, "jpeg": hostile, "webp": hostile}
    text = page.render(crop, b"", [demo.Level(2.0, variants, {"g_a": 0.0})])
    assert page_content(text)["levels"][0]["variants"]["jpeg"]["detail"] == "</script><b>"


def test_the_command_on_a_crop(crop: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(demo, "load_rgb", lambda path: crop)
    monkeypatch.setattr(demo, "RUNS", 1)
    parser = argparse.ArgumentParser()
    demo.configure(parser)
    assert demo.run(parser.parse_args(["--out", str(tmp_path / "new" / "demo")])) == 0
    out = tmp_path / "new" / "demo"
    printed = capsys.readouterr().out
    assert f"page: {out / 'index.html'}" in printed
    levels = page_content((out / "index.html").read_text())["levels"]
    assert [level["quality"] for level in levels] == ["q=2", "q=4.5", "q=7"]
    sizes = [level["variants"]["ours"]["bytes"] for level in levels]
    assert sizes == sorted(sizes)
    for level, quality in zip(levels, ("2", "4.5", "7"), strict=True):
        ours = (out / f"photo-q{quality}.jahp").read_bytes()
        assert len(ours) == level["variants"]["ours"]["bytes"]
        assert f" {len(ours)} " in printed
        assert level["variants"]["ours"]["psnr"] == pytest.approx(psnr(crop, jahp_fast.decode(ours)), abs=0.05)
        for name, suffix in (("jpeg", "jpg"), ("webp", "webp")):
            data = (out / f"photo-q{quality}.{suffix}").read_bytes()
            assert len(data) <= len(ours) or level["variants"][name]["detail"] == "q=1"
        assert set(level["stages"]) == {"g_a", "h_a", "entropy", "h_s + context + range decode", "g_s"}
        assert all(seconds > 0 for seconds in level["stages"].values())


def test_an_unwritable_folder_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    parser = argparse.ArgumentParser()
    demo.configure(parser)
    with pytest.raises(JahpError, match="file"):
        demo.run(parser.parse_args(["--out", str(tmp_path / "file" / "demo")]))


def test_latents_of_another_encoding_are_told_apart(crop: np.ndarray):
    image = crop[:64, :64]
    codec, other = jahp_fast.Codec(quality=4.0), jahp_fast.Codec(quality=6.0)
    demo.check_latents(codec, image, codec.encode(image))
    with pytest.raises(JahpError, match="latents differ"):
        demo.check_latents(codec, image, other.encode(image))
    darker = image.copy()
    darker[:16, :16] //= 2
    with pytest.raises(JahpError, match="latents differ"):
        demo.check_latents(codec, image, codec.encode(darker))
