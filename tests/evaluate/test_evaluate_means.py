# SPDX-License-Identifier: Apache-2.0
"""What `jahp eval` makes of its rows: means without nan, curves over common images, plots; and damaged tables."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from jahp_fast.errors import UsageError
from jahp_fast.evaluate import curves, pictures, report, results


def row(codec: str, setting: int, image: str, **figures: float) -> results.Row:
    """Of rate 0.1, 0.2, 0.4 ... and 30, 32, 34 ... dB."""
    given = {
        "bpp": 0.1 * 2**setting,
        "psnr": 30.0 + 2 * setting,
        "ms_ssim": math.nan,
        "ssimulacra2": math.nan,
    } | figures
    return results.Row(codec, f"q={setting}", image, 1, **given, encode_s=0, decode_s=0, key=f"{codec}{setting}{image}")


def curve(codec: str, image: str, factor: float, **figures: float) -> list[results.Row]:
    return [row(codec, s, image, bpp=factor * 0.1 * 2**s, **figures) for s in range(5)]


def test_nan_is_left_out_of_means_and_infinity_is_not() -> None:
    (mean,) = results.means([
        row("c", 0, "a", bpp=1.0, ms_ssim=0.9, ssimulacra2=50.0), row("c", 0, "b", bpp=3.0, ssimulacra2=70.0),
        row("c", 0, "d", bpp=8.0, psnr=math.inf),
    ])  # fmt: skip
    assert (mean.images, mean.bpp, mean.psnr) == (3, 4.0, math.inf)
    assert (mean.ms_ssim, mean.ms_ssim_images, mean.ms_ssim_bpp) == (0.9, 1, 1.0)
    assert (mean.ssimulacra2, mean.ssimulacra2_images, mean.ssimulacra2_bpp) == (60.0, 2, 2.0)
    text = report.markdown([row("c", 0, "a", ms_ssim=0.9), row("c", 0, "b", psnr=math.inf)], images="2 images.",
                           descriptions={"c": "one"}, ours=[], machine="a machine", plotted=False)  # fmt: skip
    assert "| c | q=0 | 2 | 1 | 0.1000 | ∞ | 0.9000 (1) | 10.00 | - |" in text
    (none,) = results.means([row("c", 0, "a")])
    assert math.isnan(none.ms_ssim)
    assert none.ms_ssim_images == 0


def test_a_curve_has_the_rate_of_the_images_of_its_metric() -> None:
    """Image b, which takes a hundred times the bits, has no MS-SSIM: the BD-rate by MS-SSIM is that of image a."""
    quality = {s: 1 - 10 ** (-(10 + s) / 10) for s in range(5)}
    rows = [row(codec, s, "a", bpp=factor * 2**s, ms_ssim=quality[s]) for codec, factor in (("x", 1), ("y", 2)) for s in range(5)]
    rows += [row(codec, s, "b", bpp=factor * 2**s) for codec, factor in (("x", 300), ("y", 100)) for s in range(5)]
    (points,), images = curves.curves(rows, ["y"], "ms_ssim")
    assert images == 1
    assert points[0] == (pytest.approx(2.0), pytest.approx(10.0))
    compared = curves.compare(rows, "x", "y", "ms_ssim")
    assert compared.images == 1
    assert not isinstance(compared.rate, str)
    assert compared.rate.percent == pytest.approx(100)
    ((_, psnr, ms_ssim),) = report.bd_rows(rows, "y", ["x"])
    assert psnr.startswith("-")
    assert ms_ssim == "+100.0 % (10.0 to 14.0 dB; 1 of 2 images)"


def test_codecs_are_compared_on_the_images_that_both_have() -> None:
    """x failed on image b at one setting: neither its curve nor the other's holds b, also against a published one."""
    rows = [*curve("x", "a", 1), *curve("x", "b", 100)[:-1], *curve("y", "a", 1.5), *curve("y", "b", 7)]
    compared = curves.compare(rows, "x", "y", "psnr")
    assert not isinstance(compared.rate, str)
    assert (compared.rate.percent, compared.images) == (pytest.approx(50), 1)
    assert pictures.image_rows(rows, "y", ["x"]) == [["a", "+50.0 %"], ["b", "-93.0 %"]]
    published = curves.Published("p", "psnr", tuple((0.1 * 2**s, 30.0 + 2 * s) for s in range(5)))
    ((_, rate),) = report.bd_rows(rows, "x", [], [published])
    assert rate == "+0.0 % (30.0 to 38.0 dB; 1 of 2 images)"
    nothing = curves.compare([*curve("x", "a", 1), *curve("y", "b", 1)], "x", "y", "psnr")
    assert "at least 4 points" in str(nothing.rate)


def test_a_lossless_point_is_no_point() -> None:
    rows = [*curve("x", "a", 1), row("x", 9, "a", psnr=math.inf), *curve("y", "a", 2)]
    assert len(curves.curves(rows, ["x"], "psnr")[0][0]) == 5
    assert report.bd_rows(rows, "y", ["x"])[0][1].startswith("+100.0 %")


def test_pictures_without_loss_do_not_take_the_curves_of_the_others() -> None:
    """b comes back as it was at all settings of y, and c at one of x, which costs x a point and no more."""
    a, b = [*curve("x", "a", 1), *curve("y", "a", 2)], [*curve("x", "b", 1), *curve("y", "b", 9, psnr=math.inf)]
    ((_, psnr),) = report.bd_rows([*a, *b], "y", ["x"])
    assert psnr == "+100.0 % (30.0 to 38.0 dB; 1 of 2 images)"
    assert curves.measured([*curve("y", "a", 2), *curve("y", "b", 9, psnr=math.inf)]) == ["psnr"]
    c = [*curve("x", "c", 1)[:-1], row("x", 4, "c", psnr=math.inf), *curve("y", "c", 2)]
    (x, y), images = curves.curves([*a, *c], ["x", "y"], "psnr")
    assert (len(x), len(y), images) == (4, 5, 2)


def test_a_panel_without_a_finite_figure_is_left_out() -> None:
    assert report.plot([row("x", 0, "a", psnr=math.inf)], "none") == "no figure is finite"
    assert isinstance(report.plot(curve("x", "a", 1), "PSNR alone"), bytes)


def test_names_in_legends_are_no_formulas() -> None:
    rows = [*curve(r"$\frac$", "a", 1), *curve("_hidden", "a", 2), *curve("中\udcff", "a", 2)]
    assert isinstance(report.plot(rows, "$_", [curves.Published("$x_", "psnr", ((0.1, 30), (0.2, 31)))]), bytes)


def test_damaged_results_and_published_points(tmp_path: Path) -> None:
    head = ",".join(results.RESULT_COLUMNS)
    for text in (
        f"{head}\na\rb,,\n",
        f"{head}\nx,q=1,a.png\n",
        f"{head}\n{'x' * 200_000},,\n",
        f"{head}\nx,y,a,z,1,1,1,1,1,1,k,\n",
    ):
        (tmp_path / "results.csv").write_text(text)
        with pytest.raises(UsageError, match=r"results\.csv: line \d+ is damaged"):
            results.read_results(tmp_path / "results.csv")
    (tmp_path / "results.csv").write_text(",".join(results.ROW_COLUMNS) + "\nx,q=1,a.png,5,1,30,nan,nan,0,0,k\n")
    assert results.read_results(tmp_path / "results.csv")["k"].bytes == 5, "a report from before there were errors in it"
    for text in (
        "codec\n1\r2,",
        "dataset,source,codec,metric,bpp,value\n" + "x" * 200_000,
        "source,codec,metric,bpp,value,dataset\na\n",
    ):
        (tmp_path / "published.csv").write_text(text)
        with pytest.raises(UsageError, match=r"published\.csv"):
            curves.read_published(tmp_path / "published.csv", "kodak")
