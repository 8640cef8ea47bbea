# SPDX-License-Identifier: Apache-2.0
"""Pages read easily, as far as that can be measured: columns, words of a sentence and of a paragraph, idioms, words in all.

Tables, code and the targets of links are free, but for idioms, which no table may have either.
"""

import re
from pathlib import Path

import pytest
from doc_blocks import ROOT

MOST_COLUMNS, SENTENCE_WORDS, PARAGRAPH_WORDS, USER_WORDS = 100, 40, 70, 8000
IDIOMS = (
    r"thousand million",
    r"at hand",
    r"(?:is|are|was|were) told of",
    r"stands? twice",
    r"(?:go|goes|gone|going|went) on from",
    r"(?:bits?|bytes?) a pixel",
    r"(?:ms|milliseconds|seconds|bytes|MB) a (?:megapixel|photo|image|picture|symbol|step|file)",
    r"(?:photos|images|pictures|crops|files|calls|symbols|streams|steps|answers|requests|[0-9]+) a (?:second|minute|hour)",
    r"(?:images|crops|photos|symbols) a (?:batch|step|launch)",
    r"what (?:it|they) (?:is|are) at",
    r"is of the mind",
    r"as good as never",
)
SPOKEN = re.compile(rf"\b(?:{'|'.join(IDIOMS)})\b", re.IGNORECASE)


def strict_pages() -> list[str]:
    folders = ("guide", "reference", "internals")
    found = [path for folder in folders for path in sorted((ROOT / "docs" / folder).rglob("*.md"))]
    root = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
    first = (*root, "benchmarks/README.md", "examples/README.md", "docs/index.md")
    return [*first, *(str(path.relative_to(ROOT)) for path in found)]


def without_code(text: str) -> str:
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """Paragraphs and lists: no code, tables, headings or HTML."""
    return re.sub(r"^(?: {4,}|\t| *<|\||#|:::|!\[|!drawing).*$", "", without_code(text), flags=re.MULTILINE)


def words(text: str) -> int:
    return sum(re.search(r"[^\W\d_]", word) is not None for word in text.split())


def long_lines(text: str) -> list[str]:
    return [line for line in prose(text).splitlines() if len(re.sub(r"\]\([^)]*\)", "]", line)) > MOST_COLUMNS]


def faults(text: str) -> list[str]:
    """What is hard to read in a page."""
    found = [f"{len(line)} columns: {line}" for line in long_lines(text)]
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", prose(text)):
        plain = " ".join(re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "code", paragraph)).split())
        if words(plain) > PARAGRAPH_WORDS:
            found.append(f"a paragraph of {words(plain)} words: {plain}")
        found += [
            f"a sentence of {words(sentence)} words: {sentence}"
            for sentence in re.split(r"(?<=[.?!])\s+", plain)
            if words(sentence) > SENTENCE_WORDS
        ]
    spoken = " ".join(re.sub(r"`[^`]*`", "code", without_code(text)).split())
    return found + [f"an idiom: {match[0]}" for match in SPOKEN.finditer(spoken)]


@pytest.mark.parametrize("page", strict_pages())
def test_page_reads_easily(page):
    assert faults((ROOT / page).read_text()) == []


@pytest.mark.parametrize(("page", "most"), [("README.md", 120), ("CONTRIBUTING.md", 90)])
def test_what_a_stranger_reads_first_is_short(page: str, most: int):
    assert len((ROOT / page).read_text().splitlines()) <= most


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "lab").glob("*.md")), ids=lambda path: path.name)
def test_lines_of_the_laboratory_fit(path: Path):
    assert long_lines(path.read_text()) == []


def test_a_user_reads_few_words():
    """README, the guide and what is looked up, but for the specification; the API's pages are made out of docstrings."""
    user = [page for page in strict_pages() if page.startswith(("README", "docs/guide", "docs/reference"))]
    pages = [page for page in user if page != "docs/reference/format.md"]
    counted = {page: words(without_code((ROOT / page).read_text())) for page in pages}
    assert sum(counted.values()) <= USER_WORDS, counted


WORD = "word " * 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x" * 101, "101 columns"),
        ("- " + "item " * 20, "columns"),
        ("[" + "word " * 20 + "x](y.md)", "columns"),
        (f"{WORD}\n" * 4 + "more.", "a sentence of 41 words"),
        (f"{WORD}\n{WORD}\n{WORD}end. " * 2 + "\n" + f"{WORD}\n{WORD}end.", "a paragraph of 83 words"),
        *((f"It takes {idiom}, so.", "an idiom") for idiom in (
            "two thousand million", "what is\nat hand", "is told of", "stands twice", "has gone on from", "0.2 bits a pixel",
            "3 ms a photo", "21 a second", "40 crops a second", "128 images a batch",
        )),
        ("| a | 12 bytes a pixel |", "an idiom"),
    ],
)  # fmt: skip
def test_what_is_hard_to_read_is_found(text, said):
    assert any(said in fault for fault in faults(text)), faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 100,
        "```sh\n" + "x" * 200 + "\n```",
        "| " + "word " * 100 + "|",
        f"A [link](https://example.org/{'x' * 100}) in a line.",
        "# " + "heading " * 14,
        f"{WORD}\n{WORD}\n{WORD}ends.\n{WORD}\n{WORD}\n{WORD}ends.",
        f"- {WORD}\n{WORD}\n{WORD}\n- {WORD}\n{WORD}\n{WORD}\n- {WORD}\n{WORD}\n",
        "`bits a pixel` is a name here; bits per pixel are meant.",
        "<!-- " + "comment " * 50 + " -->",
    ],
)
def test_what_is_free_is_not_found(text):
    assert faults(text) == []
