# SPDX-License-Identifier: Apache-2.0
"""Hooks of mkdocs: pages out of the files in the root, links between all of them, and the pictures that a command can draw.

README.md stays the one home of what it says: its sections become pages. Of a link to a file that is no page the words remain. A line
`!drawing[NAME]` becomes that picture of drawings.py, inside the page, where its style reaches it, and {figure:RUN.NAME} that figure of
docs/figures.toml.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tools" / "figures")]
import drawings  # noqa: E402  (neighbours, not packages)
import figures  # noqa: E402

SECTIONS = {  # page: the beginning of a section's heading in README.md, and the page's own
    "install.md": ("Use 1", "Install and use"),
    "latency.md": ("Use 2", "Measure the latency of decoding"),
    "embed.md": ("Use 3", "Embed it in a pipeline"),
    "expect.md": ("What to expect", "What to expect"),
}
ROOT_PAGES = {
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
}
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
PICTURE = re.compile(r"^!drawing\[(\S+)\]$", re.MULTILINE)
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def sections(readme: str) -> dict[str, str]:
    """Page -> the text of its section of README.md. Raises PluginError where one is missing."""
    parts = {heading: body for heading, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL)}
    out = {}
    for page, (start, title) in SECTIONS.items():
        found = [body for heading, body in parts.items() if heading.startswith(start)]
        if len(found) != 1:
            raise PluginError(f"README.md has {len(found)} sections that begin with {start!r}")
        out[page] = f"# {title}\n{found[0]}"
    return out


def relinked(text: str, folder: str, here: str) -> str:
    """Links of a text that stands in `folder` of the repository, for the page `here` of the site; code is left alone."""

    def one(match: re.Match[str]) -> str:
        target, _, anchor = match[2].partition("#")
        if not target or "://" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if path == "README.md":
            page = "start.md"
        elif path in ROOT_PAGES:
            page = ROOT_PAGES[path]
        elif path.startswith("docs/"):
            page = path.removeprefix("docs/")
        elif (ROOT / path).exists():
            return match[1]
        else:
            raise PluginError(f"{here}: the link to {match[2]} leads nowhere")
        return f"[{match[1]}]({posixpath.relpath(page, posixpath.dirname(here) or '.')}{'#' + anchor if anchor else ''})"

    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(one, part) for part in parts)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    pages = {page: relinked(text, ".", page) for page, text in sections((ROOT / "README.md").read_text()).items()}
    for source, page in ROOT_PAGES.items():
        pages[page] = relinked((ROOT / source).read_text(), posixpath.dirname(source), page)
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    source = page.file.src_uri
    if page.file.generated_by:
        return markdown
    pictures = drawings.draw(ROOT)
    text = relinked(with_figures(markdown, source), posixpath.join("docs", posixpath.dirname(source)), source)
    return PICTURE.sub(lambda m: pictures[m[1]], text)


def with_figures(markdown: str, source: str) -> str:
    """The page with each {figure:RUN.NAME} as docs/figures.toml has it. Raises PluginError where that has no such figure."""
    try:
        return figures.filled(markdown, figures.read(ROOT / "docs" / "figures.toml"), source)
    except figures.FiguresError as error:
        raise PluginError(str(error)) from error
