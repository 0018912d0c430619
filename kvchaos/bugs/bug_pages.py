"""Known bugs for people: a table of all, all about one, and the guide to the bugs of each release."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import get_args

from packaging.version import Version

from kvchaos.bugs.bug_catalogue import Impact, KnownBug, Shows, Tested, contains
from kvchaos.report.text_tables import cell_text, markdown_table, replace_between

GUIDE_MARK = "<!-- guide -->"
IMPACTS: tuple[Impact, ...] = get_args(Impact)
SEVERE: frozenset[Impact] = frozenset({"server crashes", "requests hang", "wrong answers"})


ShownOn = Mapping[str, Collection[str]]
"""By id of a bug the releases on which a run of the matrix shows it."""


def insert_guide(
    page: str, releases: Sequence[str], bugs: Sequence[KnownBug], shown: ShownOn | None = None
) -> str:
    """The page with the guide between its marks; `releases`: oldest first.

    Raises ValueError when a mark is missing.
    """
    lines = _lines(releases, bugs, shown or {})
    return replace_between(page, GUIDE_MARK, "".join(f"{line}\n" for line in lines))


def _lines(releases: Sequence[str], bugs: Sequence[KnownBug], shown: ShownOn) -> Iterator[str]:
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
            yield f"- {_item(bug, each, shown)}"
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
        "The releases with the fewest bugs that crash the server, hang requests or change answers are "
        f"{', '.join(spans[::-1])}; each has {least} of them."
    )


def _is_severe(bug: KnownBug) -> bool:
    """A bug without guidance counts: its impact is not known yet."""
    return bug.guidance is None or bug.guidance.impact in SEVERE


def _severity(bug: KnownBug) -> int:
    return IMPACTS.index(bug.guidance.impact) if bug.guidance else len(IMPACTS)


def _item(bug: KnownBug, releases: Sequence[str], shown: ShownOn) -> str:
    """What happens, when, what to do, and whether it was reproduced on one of the releases."""
    tested = {each.release for each in bug.tested if each.result == "shows"}
    found = tested.union(shown.get(bug.id, ())).intersection(releases)
    where = ", ".join(sorted(found, key=Version))
    evidence = f"reproduced on {where}" if found else "in its range of releases, not reproduced"
    if bug.guidance is None:
        return f"{cell_text(bug.title)} ({_link(bug)}; {evidence})."
    guidance = bug.guidance
    return (
        f"**{guidance.impact}**: {cell_text(bug.title)} ({_link(bug)}; {evidence}). When: {guidance.when} "
        f"Do: {guidance.advice}"
    )


def _lesser(bugs: Sequence[KnownBug]) -> Iterator[str]:
    """Less severe bugs, one line for each impact."""
    for impact in IMPACTS:
        named = [
            f"{cell_text(bug.title)} ({_link(bug)})"
            for bug in bugs
            if bug.guidance is not None and bug.guidance.impact == impact
        ]
        if named:
            yield f"- {impact}: {'. '.join(named)}."


def _link(bug: KnownBug) -> str:
    return f"[{bug.id}]({bug.links[0]})" if bug.links else bug.id


TABLE_MARK = "<!-- known bugs -->"
HEADINGS = ("bug", "releases", "what happens", "shows in")


def rows(bugs: Sequence[KnownBug]) -> Iterator[tuple[str, ...]]:
    """A row for each bug."""
    for bug in bugs:
        scenarios = dict.fromkeys(shows.scenario for shows in bug.shows)
        yield bug.id, bug.releases, bug.title, ", ".join(scenarios) or "no scenario"


def insert_table(page: str, bugs: Sequence[KnownBug]) -> str:
    """The page with the table of all bugs. Raises ValueError when its mark is missing."""
    cells = ((_upstream_link(bug), *row[1:]) for bug, row in zip(bugs, rows(bugs), strict=True))
    return replace_between(page, TABLE_MARK, markdown_table(HEADINGS, cells))


def _upstream_link(bug: KnownBug) -> str:
    return f"[{bug.id}]({bug.links[0]})" if bug.reference != bug.id else bug.id


def bug_lines(bug: KnownBug) -> Iterator[str]:
    """All facts about a bug, and the command that reproduces it."""
    yield f"{bug.id}: {bug.title}"
    yield f"releases: {bug.releases}"
    yield from (f"link: {link}" for link in bug.links)
    yield f"mechanism: {bug.mechanism}"
    if bug.guidance is not None:
        yield f"impact: {bug.guidance.impact}"
        yield f"when: {bug.guidance.when}"
        yield f"do: {bug.guidance.advice}"
    yield from (f"signature: {signature}" for signature in bug.signatures)
    yield from (f"shows in {_shows(shows)}" for shows in bug.shows)
    yield from (f"tested: {_tested(tested)}" for tested in bug.tested)
    command = reproduce(bug)
    yield f"reproduce: {command}" if command else "reproduce: no scenario is sure to show it"


def _shows(shows: Shows) -> str:
    where = shows.scenario if shows.releases is None else f"{shows.scenario} on {shows.releases}"
    parts = []
    if shows.always:
        parts.append(f"always {', '.join(shows.always)}")
    if shows.by_chance:
        parts.append(f"by chance {', '.join(shows.by_chance)}")
    parts += [f"{rule} only on {', '.join(patterns)}" for rule, patterns in shows.subjects.items()]
    if shows.declared_by is not None:
        parts.append(f"as the declared effect of the fault {shows.declared_by}")
    if shows.hides:
        parts.append(f"mostly before {', '.join(shows.hides)} can show")
    return f"{where}: {'; '.join(parts)}"


def _tested(tested: Tested) -> str:
    where = f" in {tested.scenario}" if tested.scenario else ""
    return f"{tested.release}: {tested.result}{where}" + (f" ({tested.note})" if tested.note else "")


def reproduce(bug: KnownBug) -> str | None:
    """A command that reproduces the bug on the newest release; None when no scenario shows it.

    Scenarios in which the bug always shows come first, in the order of the file.
    """
    certain = [shows for shows in bug.shows if shows.always]
    for shows in (*certain, *bug.shows):
        if shown := _shown_by(bug, shows):
            return f"kvchaos run {shows.scenario} --server {shown[0].release}"
    for tested in bug.tested[::-1]:
        if tested.scenario is not None and tested.result == "shows":
            return f"kvchaos run {tested.scenario} --server {tested.release}"
    return None


def _shown_by(bug: KnownBug, shows: Shows) -> list[Tested]:
    """Tests that showed the bug: those by this scenario first, newest release first."""
    found = [tested for tested in bug.tested if tested.result == "shows" and _covers(shows, tested.release)]
    return sorted(
        found, key=lambda tested: (tested.scenario == shows.scenario, Version(tested.release)), reverse=True
    )


def _covers(shows: Shows, release: str) -> bool:
    return shows.releases is None or contains(shows.releases, Version(release))
