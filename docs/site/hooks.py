# SPDX-License-Identifier: Apache-2.0
"""Hooks of mkdocs: pages out of the files in the root, links between all of them, and the pictures that a command can draw.

Of a link to a file that is no page the words remain. A line `!drawing[NAME]` becomes that picture of drawings.py, inside the
page, where its style reaches it, and {figure:RUN.NAME} that figure of docs/figures.toml. A pattern in the navigation stands for
all pages that match it.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tools" / "figures")]
import drawings  # noqa: E402  (neighbours, not packages)
import figures  # noqa: E402

ROOT_PAGES = {
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
}
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
PICTURE = re.compile(r"^!drawing\[(\S+)\]$", re.MULTILINE)
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def relinked(text: str, folder: str, here: str) -> str:
    """Links of a text that stands in `folder` of the repository, for the page `here` of the site; code is left alone."""

    def one(match: re.Match[str]) -> str:
        target, _, anchor = match[2].partition("#")
        if not target or "://" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if path == "README.md":
            page = "guide/start.md"
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


def listed(nav: list[Any], docs: Path) -> list[Any]:
    """A navigation in which every pattern, such as `lab/*.md`, is the pages that match it; sections without any are left out."""
    out: list[Any] = []
    for entry in nav:
        if isinstance(entry, dict):
            ((title, pages),) = entry.items()
            inner = pages if isinstance(pages, str) else listed(pages, docs)
            out += [{title: inner}] if inner else []
        elif "*" in entry:
            out += sorted(str(path.relative_to(docs)) for path in docs.glob(entry))
        else:
            out.append(entry)
    return out


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.nav = listed(config.nav or [], ROOT / "docs")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, page in ROOT_PAGES.items():
        text = relinked((ROOT / source).read_text(), posixpath.dirname(source), page)
        files.append(File.generated(config, page, content=text))
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
