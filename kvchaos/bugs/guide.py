"""What somebody who runs a release needs to know of its bugs, as a part of a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import get_args

from packaging.version import Version

from kvchaos.bugs.bug_file import Impact, KnownBug
from kvchaos.report.markdown import cell_text, markdown_table, replace_between

MARK = "<!-- guide -->"
IMPACTS: tuple[Impact, ...] = get_args(Impact)
SEVERE: frozenset[Impact] = frozenset({"server ends", "requests hang", "wrong answers"})


def into_page(page: str, releases: Sequence[str], bugs: Sequence[KnownBug]) -> str:
    """The page with the guide between its marks; `releases`: oldest first. Raises ValueError when a mark is
    missing."""
    return replace_between(page, MARK, "".join(f"{line}\n" for line in _lines(releases, bugs)))


def _lines(releases: Sequence[str], bugs: Sequence[KnownBug]) -> Iterator[str]:
    groups = list(_groups(releases, bugs))
    headings = ("releases", *IMPACTS)
    yield markdown_table(headings, ((_span(each), *_counts(found)) for each, found in groups))
    yield _safest(groups)
    yield ""
    for each, found in reversed(groups):
        yield f"### {_span(each)}"
        yield ""
        severe = [bug for bug in found if _is_severe(bug)]
        for bug in sorted(severe, key=_severity):
            yield f"- {_item(bug, each)}"
        yield from _lesser([bug for bug in found if bug not in severe])
        yield ""


def _groups(releases: Sequence[str], bugs: Sequence[KnownBug]) -> Iterator[tuple[list[str], list[KnownBug]]]:
    """Releases that follow each other and have the same bugs."""

    def on(release: str) -> tuple[str, ...]:
        return tuple(bug.id for bug in bugs if bug.on(Version(release)))

    for names, group in groupby(releases, key=on):
        yield list(group), [bug for bug in bugs if bug.id in names]


def _span(releases: Sequence[str]) -> str:
    return releases[0] if len(releases) == 1 else f"{releases[0]} to {releases[-1]}"


def _counts(bugs: Sequence[KnownBug]) -> Iterator[str]:
    for impact in IMPACTS:
        count = sum(bug.guidance is not None and bug.guidance.impact == impact for bug in bugs)
        yield str(count) if count else "-"


def _safest(groups: Sequence[tuple[list[str], list[KnownBug]]]) -> str:
    """The releases with the fewest severe bugs, newest first."""
    counts = {_span(each): sum(map(_is_severe, found)) for each, found in groups}
    least = min(counts.values())
    spans = [span for span, count in counts.items() if count == least]
    return (
        f"The fewest bugs that end the server, hang requests or change answers ({least}): "
        f"{', '.join(spans[::-1])}. What is left of them on these is in their lists, with what to do."
    )


def _is_severe(bug: KnownBug) -> bool:
    """A bug without guidance counts: nobody has judged it yet."""
    return bug.guidance is None or bug.guidance.impact in SEVERE


def _severity(bug: KnownBug) -> int:
    return IMPACTS.index(bug.guidance.impact) if bug.guidance else len(IMPACTS)


def _item(bug: KnownBug, releases: Sequence[str]) -> str:
    """What happens, when, what to do, and whether it was reproduced on one of the releases."""
    found = {tested.release for tested in bug.tested if tested.result == "shows"}.intersection(releases)
    where = ", ".join(sorted(found, key=Version))
    evidence = f"reproduced on {where}" if found else "in its range, not reproduced there"
    if bug.guidance is None:
        return f"{cell_text(bug.title)} ({_linked(bug)}; {evidence})."
    guidance = bug.guidance
    return (
        f"**{guidance.impact}**: {cell_text(bug.title)} ({_linked(bug)}; {evidence}). When: {guidance.when} "
        f"Do: {guidance.advice}"
    )


def _lesser(bugs: Sequence[KnownBug]) -> Iterator[str]:
    """Those that end nothing and change no answer, on one line each impact."""
    for impact in IMPACTS:
        named = [
            f"{cell_text(bug.title)} ({_linked(bug)})"
            for bug in bugs
            if bug.guidance is not None and bug.guidance.impact == impact
        ]
        if named:
            yield f"- {impact}: {'; '.join(named)}."


def _linked(bug: KnownBug) -> str:
    return f"[{bug.id}]({bug.links[0]})" if bug.links else bug.id
