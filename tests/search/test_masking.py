# SPDX-License-Identifier: Apache-2.0
"""The weights of tune="eye": against loops over pixels, what they do to a picture, the same file everywhere, and what is refused."""

import numpy as np
import pytest
from builders import SHIPPED, photo

from jahp_fast import Codec, _native
from jahp_fast.cli import main
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import UsageError
from jahp_fast.search import greedy, masking
from jahp_fast.search.greedy import Searcher
from jahp_fast.search.masking import Masking


def plain_weights(image, h, w):
    """(16 h, 16 w), pixel by pixel: the formula of the module's words."""
    height, width = image.shape[:2]
    out = np.zeros((16 * h, 16 * w))
    for y in range(16 * h):
        for x in range(16 * w):
            values = []
            for block_row in (y // 4 - 1, y // 4, y // 4 + 1):
                for block_column in (x // 4 - 1, x // 4, x // 4 + 1):
                    row, column = 4 * min(max(block_row, 0), 4 * h - 1), 4 * min(max(block_column, 0), 4 * w - 1)
                    for r in range(row, row + 4):
                        for c in range(column, column + 4):
                            red, green, blue = (int(v) for v in image[min(r, height - 1), min(c, width - 1)])
                            values.append((77 * red + 150 * green + 29 * blue) >> 8)
            out[y, x] = (1 + np.var(values) / masking.FLAT) ** (-3 / 8)
    return out


def plain_weighed(weights, errors):
    """What Masking.weighed says it gives, a pixel at a time, in float64."""
    out = weights[..., None] * errors
    for side in (4, 8, 16):
        for top in range(0, len(errors), side):
            for left in range(0, errors.shape[1], side):
                block = np.s_[top : top + side, left : left + side]
                out[block] += masking.COARSE * weights[block].mean() * errors[block].mean((0, 1))
    return out


@pytest.mark.parametrize(("height", "width"), [(48, 32), (37, 19), (1, 1)])
@pytest.mark.parametrize("kind", ["photo", "noise", "extremes"])
def test_weighed_errors_are_those_of_loops_over_pixels(kind, height, width):
    rng = np.random.default_rng(height)
    h, w = -(-height // 16), -(-width // 16)
    image = photo()[200 : 200 + height, 100 : 100 + width]
    errors = rng.integers(-20, 21, (16 * h, 16 * w, 3)).astype(np.int16)
    if kind == "noise":
        image = rng.integers(0, 256, image.shape).astype(np.uint8)
    if kind == "extremes":
        image = 255 * rng.integers(0, 2, image.shape).astype(np.uint8)
        errors = rng.choice(np.array([-255, 255], np.int16), errors.shape)
    weights = plain_weights(image, h, w)
    got = Masking(image, h, w)
    np.testing.assert_allclose(got.weighed(errors, 0), plain_weighed(weights, errors), rtol=1e-5, atol=1e-3)
    in_parts = [got.weighed(errors[top : top + 16], top) for top in range(0, 16 * h, 16)]
    assert np.array_equal(np.concatenate(in_parts), got.weighed(errors, 0))
    np.testing.assert_allclose(got.local(), weights.reshape(h, 16, w, 16).mean((1, 3)), rtol=1e-5)
    got.balance([errors[:16], errors[16:]])
    assert got.total([errors]) == pytest.approx(np.square(errors.astype(float)).sum(), rel=0.01)
    factor = np.square(errors.astype(float)).sum() / (plain_weighed(weights, errors) * errors).sum()
    np.testing.assert_allclose(got.weighed(errors, 0), factor * plain_weighed(weights, errors), rtol=0.01, atol=0.01)


def test_a_picture_without_errors_has_weights():
    got = Masking(np.zeros((16, 16, 3), np.uint8), 1, 1)
    got.balance([np.zeros((16, 16, 3), np.int16)])
    assert np.array_equal(got.local(), np.ones((1, 1), np.float32))


def test_the_derivative_is_the_plain_one_for_threads():
    image, model = photo()[100:150, 200:263], ModelFile(SHIPPED)
    y = np.rint(np.random.default_rng(0).normal(0, 2, (4, 4, 192))).astype(np.int32)
    plain, fast = (Searcher(model, reference) for reference in (True, False))
    weighed = plain.masking(image, y, 3.0, 1)

    def slope(searcher, threads):
        masked = searcher.masking(image, y, 3.0, threads)
        assert np.array_equal(masked.local(), weighed.local())
        return searcher.derivative(image, y, 3.0, threads, masked)

    wanted = slope(plain, 1)
    assert not np.array_equal(wanted, plain.derivative(image, y, 3.0, 1))
    for threads in (1, 3):
        assert np.array_equal(slope(fast, threads), wanted)


@pytest.mark.slow
def test_a_file_is_the_same_with_every_instruction_set_and_plain(monkeypatch):
    image = photo()[128:161, 256:301]
    wanted = Codec(quality=5, backend="reference").encode(image, effort=2, tune="eye")
    assert wanted != Codec(quality=5).encode(image, effort=2)
    for isa in _native.isa_names():
        monkeypatch.setenv("JAHP_FAST_ISA", isa)
        greedy._searcher.cache_clear()  # its nets are of one instruction set
        assert Codec(quality=5, threads=2).encode(image, effort=2, tune="eye") == wanted, isa
    greedy._searcher.cache_clear()


def test_errors_go_from_flat_areas_to_texture():
    rng = np.random.default_rng(1)
    image = np.zeros((64, 128, 3), np.uint8)
    image[:] = np.linspace(90, 130, 64)[:, None, None]  # a sky
    image[:, 64:] = np.clip(image[:, 64:] + rng.normal(0, 25, (64, 64, 1)), 0, 255)  # and grass
    codec, errors = Codec(quality=4), []
    for tune in (None, "eye"):
        decoded = codec.decode(codec.encode(image, effort=2, tune=tune)).astype(float)
        errors.append([np.square(decoded - image)[:, columns].mean() for columns in (np.s_[:56], np.s_[72:])])
    (sky, grass), (tuned_sky, tuned_grass) = errors
    assert tuned_sky < sky
    assert tuned_grass > grass


def test_a_flat_picture_never_costs_more_than_its_nearest_integers():
    image = np.full((96, 96, 3), 77, np.uint8)
    image[30:50, 40:60] = 200
    codec = Codec(quality=2)
    nearest = codec.encode(image)
    tuned = codec.encode(image, effort=2, tune="eye")
    assert len(tuned) <= len(nearest) + 8
    assert len(codec.encode(image, effort=2, tune="eye", max_bytes=len(nearest))) <= len(nearest)


def test_what_is_refused(photo_crop, tmp_path, capsys):
    codec = Codec()
    for effort in (0, 1):
        with pytest.raises(UsageError, match="give an effort of 2 or 3"):
            codec.encode(photo_crop, effort=effort, tune="eye")
    with pytest.raises(UsageError, match="tune must be 'eye', not 'ear'"):
        codec.encode(photo_crop, effort=2, tune="ear")
    with pytest.raises(UsageError, match="effort 0 alone"):
        Codec("mbt2018-ms-ssim").encode(photo_crop, effort=2, tune="eye")
    with pytest.raises(UsageError, match="leave them out with a bound"):
        codec.encode(photo_crop, effort=2, tune="eye", lossless=True)
    from PIL import Image

    Image.fromarray(photo_crop).save(tmp_path / "photo.png")
    out = tmp_path / "photo.jahp"
    assert main(["encode", str(tmp_path / "photo.png"), str(out), "--tune", "eye"]) == 1
    assert capsys.readouterr().err == "jahp: tune is of the encoder's search in rounds: give an effort of 2 or 3 with it\n"
    assert not out.exists()
    assert main(["encode", str(tmp_path / "photo.png"), str(out), "--tune", "eye", "--effort", "2"]) == 0
    assert out.read_bytes() == codec.encode(photo_crop, effort=2, tune="eye")
