# SPDX-License-Identifier: Apache-2.0
"""Pages: their blocks run or say why not, no command hides from that, links lead somewhere, and the site builds where its tool is."""

import re
import subprocess
import tomllib
import unicodedata
from itertools import pairwise

import pytest
from doc_blocks import COMMAND, EXECUTED, ROOT, blocks, indented_commands, pages, prepare, run_page

PAGES = pages()
RUN_ELSEWHERE = ("README.md",)  # test_readme.py, which looks at what is left behind
MOST_NOT_RUN = 30
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def runnable(page):
    return any(block.language in EXECUTED and not block.reason for block in blocks(page))


@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page) and page not in RUN_ELSEWHERE])
def test_blocks_run(page, tmp_path, photo_crop, monkeypatch):
    prepare(tmp_path, photo_crop, monkeypatch)
    assert run_page(page)


@pytest.mark.parametrize("page", PAGES)
def test_no_command_hides(page):
    for block in blocks(page):
        assert block.language in {*EXECUTED, "text", "json", "hexdump", "c", "js"}, f"{page} line {block.line}: language {block.language!r}"
        assert block.language in EXECUTED or not COMMAND.search(block.code), f"{page} line {block.line} has commands, and runs none"
    assert indented_commands(page) == []


def test_few_blocks_do_not_run_and_all_say_why():
    experiments = [page for page in PAGES if page.startswith("docs/lab/")]  # none runs here: each is a measurement
    reasons = [block for page in PAGES if page not in experiments for block in blocks(page) if block.reason]
    assert all(len(block.reason) > 10 and block.language in EXECUTED for block in reasons)
    assert len(reasons) <= MOST_NOT_RUN


def slug(heading):
    """As pymdownx.slugs makes it, lower case; GitHub's are the same."""
    text = re.sub(r"`|\*\*|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", unicodedata.normalize("NFC", text).strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    path = ROOT / page
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in LINK.findall(text):
        if "://" in target:
            assert re.fullmatch(r"https://[\w.-]+\.[a-z]+(/[\w./#~%+-]*)?", target), f"{page}: {target}"
            continue
        name, _, anchor = target.partition("#")
        found = path.parent / name if name else path
        assert found.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            named = re.findall(r'^<a id="([^"]+)"></a>$', found.read_text(), re.MULTILINE)
            assert anchor in {*map(slug, headings), *named}, f"{page}: {target}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith(("docs/guide/", "docs/reference/", "SECURITY"))])
def test_files_that_are_named_exist(page):
    for name in re.findall(r"\b((?:tests|benchmarks|examples|docs)/[\w/.-]+\.(?:py|md|json|toml))\b", (ROOT / page).read_text()):
        assert (ROOT / name).is_file(), f"{page}: {name}"


def test_the_command_line_page_is_what_the_parsers_say(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    import cli_page

    assert cli_page.PAGE.read_text() == cli_page.page(), "stale: run `python docs/site/cli_page.py`"


def test_the_command_line_page_has_each_argument(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    import argparse

    import cli_page

    parser = argparse.ArgumentParser()
    parser.add_argument("-q", "--quality", type=float, help="100 %% or a|b")
    parser.add_argument("--form", choices=("A", "B"), required=True)
    parser.add_argument("--fast", action="store_true", help="at once")
    parser.add_argument("files", metavar="FILE", nargs="+", help="pictures")
    assert list(cli_page.rows(parser)) == [
        "| `FILE ...` | pictures |",
        "| `-q QUALITY`, `--quality QUALITY` | 100 % or a\\|b |",
        "| `--form A or B` | (required) |",
        "| `--fast` | at once |",
    ]


CITED = re.compile(r"\bdocs/[\w./-]*\.(?:md|toml|svg|csv)\b")
TEXTS = (".py", ".pyi", ".cpp", ".hpp", ".cu", ".cuh", ".md", ".toml", ".txt", ".cmake", "Makefile", ".mk")
SOURCES = ("csrc", "jahp_fast", "kernels", "tests", "benchmarks", "tools", "examples", "docs", "Makefile", "checks.mk", "pyproject.toml")


def cited(text):
    """Pages that a source's words lead to."""
    return set(CITED.findall(text))


def test_citations_in_sources_lead_to_pages():
    listed = subprocess.run(["git", "ls-files", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no checkout of git: sources are not told apart from what was built")
    sources = [ROOT / name for name in listed.stdout.splitlines() if name.endswith(TEXTS) and (ROOT / name).is_file()]
    found = {(str(path.relative_to(ROOT)), page) for path in sources for page in cited(path.read_text(encoding="utf-8"))}
    assert found
    assert {(source, page) for source, page in found if not (ROOT / page).exists()} == set()
    gone = "docs/" + "gone.md"
    assert cited(f'see {gone} ("Tables") and docs/figures.toml.') == {gone, "docs/figures.toml"}


def test_pictures_are_there_and_small():
    named = {(page, name) for page in PAGES for name in re.findall(r'src(?:set)?="([^"]+)"', (ROOT / page).read_text())}
    assert named
    for page, name in named:
        assert (ROOT / page).parent.joinpath(name).is_file(), f"{page}: {name}"
    sizes = [path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()]
    assert max(sizes) < 250_000
    assert sum(sizes) < 500_000


def test_drawings_show_the_wavefront_and_the_card(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    import drawings

    from jahp_fast.entropy.reference import wavefront

    svg = drawings.wavefront()
    steps = list(wavefront(drawings.ROWS, drawings.COLUMNS, drawings.SLOPE))
    assert svg.count('<rect class="now"') == len(steps[drawings.STEP])
    assert svg.count('<rect class="done"') == sum(map(len, steps[: drawings.STEP]))
    assert svg.count('class="tap"') == 12
    page = (ROOT / "docs" / "reference" / "models.md").read_text()
    points = drawings.kodak(page)
    table = page[page.index("**Kodak**") : page.index("`mbt2018-ms-ssim`, likewise")]
    assert sum(map(len, points.values())) == 8 * len(drawings.CURVES) - table.count("| - ")
    assert len(points["mbt2018"]) == 8
    assert min(map(len, points.values())) > 4
    assert all(10 < psnr < 60 for curve in points.values() for _, psnr in curve)
    heights = sorted(float(y) for y in re.findall(r'class="start \w+" x="[0-9.]+" y="([0-9.]+)"', drawings.curves(points)))
    assert len(heights) == len(drawings.CURVES)
    assert min(below - above for above, below in pairwise(heights)) >= drawings.LABEL
    with pytest.raises(ValueError, match="no table"):
        drawings.kodak("nothing")


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path):
    tool = ROOT / ".venv-docs" / "bin" / "mkdocs"
    if not tool.exists():
        pytest.skip("no .venv-docs: `make docs` makes it")
    subprocess.run([tool, "build", "--strict", "--site-dir", tmp_path], cwd=ROOT, check=True, timeout=120)
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|link|iframe)[^>]+(?:src|href)="([^"]+)"', page.read_text())
        assert not [target for target in loaded if "://" in target or target.startswith("//")], page


def test_the_architecture_page_shows_the_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    wanted = [[name.strip().removeprefix("jahp_fast.") for name in re.split(r"[|:]", layer)] for layer in layers]
    page = (ROOT / "docs" / "internals" / "architecture.md").read_text().partition("## What may import what?")[2].partition("##")[0]
    rows = [re.findall(r"`([\w.]+)`", line) for line in page.splitlines() if line.startswith("| `")]
    assert rows == wanted
    rooms = {path.name for path in (ROOT / "jahp_fast").iterdir() if (path / "__init__.py").exists()}
    assert {name.split(".")[0] for row in rows for name in row} >= rooms
