# SPDX-License-Identifier: Apache-2.0
"""Regions and scales through the C interface: the package's pixels, and its refusals, in its words."""

import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import libjahp
import numpy as np
import pytest
from builders import SHIPPED, photo

from jahp_fast import Codec, JahpError, _native, info
from jahp_fast.entropy.model_file import ModelFile, save_views
from jahp_fast.files import container, layers
from jahp_fast.transforms.small import AS_THEY_ARE, HEAD_SHIFTS

GOLDEN = Path(__file__).parents[1] / "golden"
MODELS = sorted(GOLDEN.glob("*.safetensors"))
STREAMS = sorted(path.relative_to(GOLDEN).as_posix() for path in GOLDEN.rglob("*.jahp"))
SCALES = (1, 2, 4, 8, 16)
OUTCOMES = libjahp.BUILT.parent / "csrc" / "tests" / "jahp_outcomes"


@cache
def models():
    return [libjahp.Model(path) for path in MODELS]


def drawn(seed, width, height, count):
    """Views of a picture of that size: (region, scale), with all of it, its corners and rectangles that are drawn."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        left, top = int(rng.integers(width)), int(rng.integers(height))
        region = left, top, int(rng.integers(1, width - left + 1)), int(rng.integers(1, height - top + 1))
        kinds = [None, (0, 0, width, height), (width - 1, height - 1, 1, 1), (0, height - 1, width, 1)]
        yield (kinds[number % 7] if number % 7 < len(kinds) else region), SCALES[int(rng.integers(len(SCALES)))]


def size_of(data):
    told = info(data)
    return told.width, told.height


def outcome(decode, *arguments):
    """Pixels, or class and text of a refusal."""
    try:
        return decode(*arguments)
    except JahpError as e:
        return type(e), str(e)


def held_to(data, of, threads, views, most=7):
    """The library is held to the package, whole and by rows; returns what came of each view."""
    codec = Codec(of[0].stem, ModelFile(of[0]).config.qualities[0], models=of, threads=threads)
    decoder = libjahp.Decoder([libjahp.Model(path) for path in of] if of is not MODELS else models(), threads=threads)
    found = []
    for region, scale in views:
        wanted = outcome(lambda data, *view: codec.decode(data, *view, dtype=None if view[1] > 1 else np.uint8), data, region, scale)
        library = outcome(decoder.decode, data, region, scale)
        if isinstance(wanted, tuple):
            assert wanted == library, (region, scale)
        else:
            assert np.array_equal(wanted, library), (region, scale)
            decoder.open(data)
            decoder.set_view(region, scale)
            told = decoder.info
            assert (told.view_width, told.view_height) == (wanted.shape[1], wanted.shape[0])
            assert told.pixels_size == wanted.size
            assert (told.width, told.height) == size_of(data)
            assert np.array_equal(np.concatenate(list(decoder.rows(most, gap=3))).reshape(wanted.shape), wanted)
        found.append(wanted)
    return found


@pytest.mark.parametrize("name", STREAMS)
def test_golden_streams(name):
    data = (GOLDEN / name).read_bytes()
    try:
        width, height = size_of(data)
    except JahpError:
        width, height = 60, 40  # it is not opened anyway
    held_to(data, MODELS, 1 + len(name) % 3, drawn(len(data), width, height, 8))


@pytest.mark.parametrize("name", ["pictures-3.jahp", "pictures-skip-8.jahp"])
def test_many_views(name):
    data = (GOLDEN / name).read_bytes()
    found = held_to(data, MODELS, 2, drawn(5, *size_of(data), 40))
    assert all(isinstance(pixels, np.ndarray) for pixels in found)


@cache
def deep_alpha():
    """A file of 16 bits with alpha that has lower bits."""
    pixels = np.random.default_rng(3).integers(0, 65536, (70, 51, 4), dtype=np.uint16)
    return Codec("pictures", 3, models=[GOLDEN / "pictures.safetensors"], threads=1).encode(pixels)


def test_regions_of_sixteen_bits():
    """Of deep files, of others, and of those with a layer; small pictures have 8 bits."""
    codec = Codec("pictures", 3, models=MODELS, threads=1)
    decoder = libjahp.Decoder(models(), sample_bits=16, threads=2)
    names = [name for name in STREAMS if name.startswith(("pictures", "layers"))]
    for data in [deep_alpha(), *((GOLDEN / name).read_bytes() for name in names)]:
        for region, _ in drawn(len(data), *size_of(data), 6):
            assert np.array_equal(decoder.decode(data, region), codec.decode(data, region, dtype=np.uint16))
    decoder.open(deep_alpha())
    for region in (None, (1, 2, 3, 4)):
        with libjahp.same_refusal(libjahp.errors.UsageError, "a picture at scale 4 has 8 bits: leave out JAHP_SAMPLE_BITS, or scale"):
            decoder.set_view(region, 4)


def test_grey_as_rgba():
    data = Codec("pictures", 3, models=MODELS, threads=1).encode(photo()[:50, :70, 0])
    for scale in SCALES:
        grey = libjahp.Decoder(models()).decode(data, (17, 3, 40, 41), scale)
        rgba = libjahp.Decoder(models(), channels=4).decode(data, (17, 3, 40, 41), scale)
        assert np.array_equal(rgba, np.dstack([grey, grey, grey, np.full_like(grey, 255)]))


LARGEST = (-32768, 32767)


@pytest.fixture(scope="module", params=["shipped", "drawn", "extreme", "one quality", "without the first"])
def headed(request, tmp_path_factory):
    """A model with heads."""
    if request.param == "shipped":
        return SHIPPED
    rng = np.random.default_rng(8)
    source = GOLDEN / ("pictures-b.safetensors" if request.param == "one quality" else "pictures.safetensors")
    model = ModelFile(source)
    rows, inner = len(model.config.qualities), model.read_transforms("g_s.2.weight")["g_s.2.weight"].shape[0]
    views = {}
    for scale, first in AS_THEY_ARE.items():
        if request.param == "without the first" and scale == 4:
            continue
        channels = [inner]
        for stage in range(3 - first):
            kept = np.sort(rng.choice(inner, inner - stage - 1, replace=False)).astype(np.uint16)
            views[f"{scale}.{stage}.kept"] = kept
            channels.append(len(kept))
        for stage, count in enumerate(channels):
            shape = rows, 3, count, 3, 3
            drawn_weights = rng.choice(LARGEST, shape) if request.param == "extreme" else rng.integers(-900, 900, shape)
            views[f"{scale}.{stage}.weight"] = drawn_weights.astype(np.int16)
            views[f"{scale}.{stage}.shift"] = rng.integers(HEAD_SHIFTS[0], HEAD_SHIFTS[1] + 1, 3).astype(np.uint8)
        views[f"{scale}.bias"] = rng.integers(0, 2**20, (rows, 3)).astype(np.int32)
    path = tmp_path_factory.mktemp("headed") / source.name
    shutil.copy(source, path)
    save_views(path, views)
    return path


@pytest.mark.parametrize("alpha", [False, True])
def test_models_with_heads(headed, alpha):
    model = ModelFile(headed)
    quality = (model.config.qualities[0] + model.config.qualities[-1]) / 2
    picture = photo()[100:217, 60:199]
    data = Codec(headed.stem, quality, models=[headed], threads=1).encode(np.dstack([picture, picture[:, :, 0]]) if alpha else picture)
    found = held_to(data, [headed], 2, [(None, scale) for scale in SCALES] + list(drawn(9, 139, 117, 24)), most=3)
    whole, at_four = found[0], found[2]
    assert at_four.shape[:2] == (30, 35)
    means = whole.astype(int)[:116, :136].reshape(29, 4, 34, 4, -1).sum((1, 3)) + 8 >> 4
    assert np.array_equal(at_four[:29, :34, :3], means[:, :, :3]) == ("view.4.0.weight" not in model.names)
    if alpha:
        assert np.array_equal(at_four[:29, :34, 3], means[:, :, 3])


def test_every_instruction_set(headed, monkeypatch):
    """The package's, whose are those of the library."""
    model = ModelFile(headed)
    data = Codec(headed.stem, model.config.qualities[0], models=[headed], threads=1).encode(photo()[:67, :81])
    library = [libjahp.Decoder([libjahp.Model(headed)]).decode(data, (5, 3, 60, 60), scale) for scale in SCALES]
    for isa in _native.isa_names():
        monkeypatch.setenv("JAHP_FAST_ISA", isa)
        codec = Codec(headed.stem, model.config.qualities[0], models=[headed], threads=3)
        for scale, pixels in zip(SCALES, library, strict=True):
            assert np.array_equal(codec.decode(data, (5, 3, 60, 60), scale), pixels), isa


def changed(views):
    """Tensors of heads that break a rule, by what is said of them."""
    yield "does not rise", views | {"8.1.kept": np.repeat(views["8.1.kept"][:1], 2)}
    yield "names a channel", views | {"8.0.kept": np.array([0, 8], np.uint16)}
    yield "is missing", {name: array for name, array in views.items() if name != "8.1.shift"}
    yield "is missing", {name: array for name, array in views.items() if name != "8.0.kept"}
    yield "has the shape", views | {"8.bias": views["8.bias"][:, :2]}
    yield "has the shape", views | {"8.2.weight": views["8.2.weight"][:, :, :1]}
    yield "has the shape", views | {"8.1.kept": views["8.1.kept"][:0]}
    yield "has the type", views | {"8.0.weight": views["8.0.weight"].astype(np.int32)}
    yield "has a shift that is not 8 to 14", views | {"8.2.shift": np.array([8, 14, 15], np.uint8)}
    yield "has a shift that is not 8 to 14", views | {"8.0.shift": np.array([7, 14, 8], np.uint8)}


@pytest.mark.parametrize("headed", ["drawn"], indirect=True)
def test_heads_that_break_a_rule(headed, tmp_path):
    data = Codec("pictures", 2, models=[headed], threads=1).encode(photo()[:40, :40])
    views = ModelFile(headed).read_views("")
    for number, (said, tensors) in enumerate(changed(views)):
        path = tmp_path / str(number) / "pictures.safetensors"
        path.parent.mkdir()
        shutil.copy(headed, path)
        save_views(path, tensors)
        found = held_to(data, [path], 1, [(None, 8), (None, 16), (None, 1), (None, 2)])
        assert said in found[0][1]
        assert found[0] == found[1]
        assert isinstance(found[2], np.ndarray)
    raw = headed.read_bytes()
    path = tmp_path / "pictures.safetensors"
    at = raw.index(views["4.0.weight"].tobytes())
    path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    found = held_to(data, [path], 1, [(None, scale) for scale in SCALES])
    assert [isinstance(one, np.ndarray) for one in found] == [True, True, False, True, True]
    assert "view.4.0.weight does not match the manifest" in found[2][1]


BAD = {
    "scale 3": (None, 3), "scale 0": (None, 0), "scale -4": (None, -4), "scale 32": (None, 32), "both": ((0, 0, 0, 0), 5),
    "empty": ((3, 4, 0, 5), 1), "upside down": ((3, 4, 5, -5), 1), "left of it": ((-1, 4, 5, 5), 1), "above it": ((0, -1, 5, 5), 8),
    "too wide": ((0, 0, 18, 5), 1), "too low": ((0, 27, 5, 5), 2), "far": ((2**62, 0, 1, 1), 1), "huge": ((1, 1, 2**62, 2**63 - 1), 1),
    "far and huge": ((2**62, 2**62, 2**62, 2**62), 1),
}  # fmt: skip


@pytest.mark.parametrize(("region", "scale"), BAD.values(), ids=BAD)
def test_what_is_no_view(region, scale):
    """The view before stays."""
    data = (GOLDEN / "pictures-1.jahp").read_bytes()  # 17 x 31
    with pytest.raises(JahpError) as caught:
        Codec("pictures", 3, models=MODELS).decode(data, region, scale)
    decoder = libjahp.Decoder(models())
    wanted = decoder.decode(data, (1, 2, 8, 9))
    decoder.open(data)
    decoder.set_view((1, 2, 8, 9))
    with libjahp.same_refusal(type(caught.value), str(caught.value)):
        decoder.set_view(region, scale)
    assert np.array_equal(decoder.image()[:, :, 0], wanted)


def test_turns():
    """A view is of the open file, and until its first row."""
    data = (GOLDEN / "pictures-1.jahp").read_bytes()
    decoder = libjahp.Decoder(models())
    with pytest.raises(libjahp.errors.UsageError, match="no file is open"):
        decoder.set_view(None, 2)
    whole = decoder.decode(data)
    for _ in range(2):
        with pytest.raises(libjahp.errors.UsageError, match="have been decoded: open it anew"):
            decoder.set_view(None, 1)
        assert decoder.image().size == 0
    decoder.open(data)
    decoder.set_view((1, 1, 3, 3), 4)
    decoder.set_view((1, 1, 16, 30))
    next(decoder.rows(1))
    with pytest.raises(libjahp.errors.UsageError, match="have been decoded: open it anew"):
        decoder.set_view((1, 1, 16, 30))
    assert np.array_equal(decoder.image()[:, :, 0], whole[2:, 1:])
    assert np.array_equal(decoder.decode(data), whole)


@pytest.mark.parametrize("kind", ["residual", "exact", "colours", "overlay", "bounded", "grey"])
def test_layers_of_several_strips(monkeypatch, kind):
    """Damage is found in the strips that a region touches, and in no others."""
    picture = photo()[200:307, 300:391]
    rows, columns = np.mgrid[:107, :91]
    drawing = np.where(((rows // 20 + columns // 30) % 2)[:, :, None], (200, 30, 90), (10, 240, 255)).astype(np.uint8)
    alpha = np.random.default_rng(4).integers(0, 256, (107, 91, 1), dtype=np.uint8)
    page = drawing.copy()
    page[20:90, 25:80] = picture[20:90, 25:80]
    monkeypatch.setattr(layers, "_STRIP_PIXELS", 700)
    codec = Codec(quality=10, threads=2)
    data = {
        "residual": lambda: codec.encode(np.dstack([picture, alpha])),
        "exact": lambda: codec.encode(np.dstack([picture, alpha]), lossless=True),
        "colours": lambda: codec.encode(drawing, lossless=True),
        "overlay": lambda: Codec(quality=7).encode(np.dstack([page, alpha])),
        "bounded": lambda: codec.encode(picture, max_error=5),
        "grey": lambda: codec.encode(picture[:, :, 1]),
    }[kind]()  # fmt: skip
    views = list(drawn(2, 91, 107, 25))
    assert all(isinstance(one, np.ndarray) for one in held_to(data, [SHIPPED], 2, views))
    stream = container.unpack(data)
    layer = stream.layer
    assert layer.kind == {"bounded": "exact", "grey": "residual"}.get(kind, kind)
    strips = [strip[:-1] if i in (0, 4) else strip for i, strip in enumerate(layer.strips)]
    damaged = container.pack(replace(stream, chunks=stream.chunks | {container.LAYER: replace(layer, strips=strips).packed()}))
    assert {type(one) for one in held_to(damaged, [SHIPPED], 1, views)} == {np.ndarray, tuple}


def test_a_checksum_is_of_the_whole():
    """And damage of symbols, and of alpha below a region, is found."""
    codec = Codec(threads=1, pixel_checksum=True)
    data = codec.encode(np.dstack([photo()[:215, :187], photo()[:215, :187, 0]]))
    stream = container.unpack(data)
    views = [(None, 1), ((0, 0, 187, 215), 1), ((1, 2, 3, 4), 1), (None, 2), (None, 16)]
    wrong = container.pack(replace(stream, chunks=stream.chunks | {b"pcrc": bytes(4)}))
    assert [isinstance(one, tuple) for one in held_to(wrong, [SHIPPED], 1, views)] == [True, True, False, False, False]
    short = container.pack(replace(stream, chunks=stream.chunks | {b"ALPH": stream.chunks[b"ALPH"][:-9]}))
    for file in (container.pack(replace(stream, checksum=stream.checksum ^ 1)), short):
        assert all(isinstance(one, tuple) for one in held_to(file, [SHIPPED], 1, views))


@pytest.mark.slow
def test_large_pictures():
    """Whose latents are decoded while others go through the transforms; damage that lies below a region shows in place of its last row."""
    codec = Codec(threads=2, quality=2)
    data = codec.encode(np.tile(photo(), (5, 3, 1))[:2048, :2100])
    held_to(data, [SHIPPED], 2, [((300, 200, 333, 77), 1), ((0, 1990, 2100, 58), 1), ((1000, 0, 40, 2048), 8), (None, 16)], most=1000)
    stream = container.unpack(data)
    damaged = container.pack(replace(stream, checksum=stream.checksum ^ 1))
    decoder = libjahp.Decoder([libjahp.Model(SHIPPED)], threads=2)
    decoder.open(damaged)
    decoder.set_view((300, 200, 333, 1500))
    blocks = []
    with pytest.raises(libjahp.errors.FormatError, match="the checksum of the decoded symbols does not match"):
        blocks.extend(decoder.rows(5))
    assert 0 < sum(map(len, blocks)) < 1500


def test_memory_of_a_region_of_a_large_picture(tmp_path):
    """Its latents are 25 MB as an array, and its pixels as much; the activations that the entropy nets hold of them are 19 MB, and twice
    that where the machine multiplies no bytes."""
    if not OUTCOMES.is_file():
        pytest.skip("jahp_outcomes is not built: make library")
    codec, image = Codec(threads=1), np.tile(photo(), (4, 6, 1))[:2048, :4096]
    peaks = []
    for name, pixels, region in (("small", image[:64, :64], "0 0 64 64"), ("large", image, "2000 1000 64 64")):
        (tmp_path / name).write_bytes(codec.encode(pixels))
        with subprocess.Popen([OUTCOMES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            for line, said in ((f"M {SHIPPED}", "ok\n"), (f"V 1 {region} {tmp_path / name}", "ok 64 64 3 ")):
                process.stdin.write(f"{line}\n")
                process.stdin.flush()
                assert process.stdout.readline().startswith(said)
            status = Path(f"/proc/{process.pid}/status").read_text()  # getrusage() counts Python's own peak too
            peaks.append(int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6)
        assert process.returncode == 0
    words = _native.isa_names()[-1] == "avx2"
    assert 10 < peaks[1] - peaks[0] < 40 + 19 * words, peaks
