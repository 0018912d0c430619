"""Links between the pages: each leads to a file and a heading that exist, and README leads to every page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from tests.support.source_tree import ROOT

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def pages() -> dict[str, str]:
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    return {
        path.relative_to(ROOT).as_posix(): FENCE.sub("", path.read_text(encoding="utf-8"))
        for path in sorted(paths)
    }


def links(page: str) -> Iterator[str]:
    """The targets of a page that are in this repository."""
    return (target for target in LINK.findall(page) if "://" not in target)


def anchors(page: str) -> set[str]:
    """The names by which the headings of a page can be linked to, as GitHub makes them."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(page))
    return {text.strip().replace(" ", "-") for text in plain}


def resolved(name: str, target: str) -> tuple[str, str]:
    """Path from the root and anchor of a link on a page."""
    path, _, anchor = target.partition("#")
    parts: list[str] = []
    for part in (PurePosixPath(name).parent / path if path else PurePosixPath(name)).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts), anchor


def broken(given: Mapping[str, str]) -> list[str]:
    """The links that lead nowhere, each with its page."""
    found = []
    for name, page in given.items():
        for target in links(page):
            path, anchor = resolved(name, target)
            known = path in given or (ROOT / path).exists()
            if not known or (anchor and anchor not in anchors(given.get(path, ""))):
                found.append(f"{name}: {target}")
    return found


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    assert broken(pages()) == []


def test_link_that_leads_nowhere_is_found() -> None:
    page = "# A page\n\n[a](docs/nowhere.md) [b](#a-page) [c](#no-such-heading)\n"
    assert broken({"PLANTED.md": page}) == ["PLANTED.md: docs/nowhere.md", "PLANTED.md: #no-such-heading"]


def test_readme_leads_to_every_page() -> None:
    targets = {resolved("README.md", target)[0] for target in links(pages()["README.md"])}
    assert [name for name in pages() if name.startswith("docs/") and name not in targets] == []
