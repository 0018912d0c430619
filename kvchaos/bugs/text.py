"""Known bugs for people: a table of all, all about one, and the page of the documentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from packaging.version import Version

from kvchaos.bugs.bug_file import KnownBug, Shows, Tested
from kvchaos.bugs.release_range import contains
from kvchaos.report.markdown import markdown_table, replace_between

MARK = "<!-- known bugs -->"
HEADINGS = ("bug", "releases", "what happens", "shows in")


def rows(bugs: Sequence[KnownBug]) -> Iterator[tuple[str, ...]]:
    """A row for each bug."""
    for bug in bugs:
        scenarios = dict.fromkeys(shows.scenario for shows in bug.shows)
        yield bug.id, bug.releases, bug.title, ", ".join(scenarios) or "no scenario"


def into_page(page: str, bugs: Sequence[KnownBug]) -> str:
    """The page with the table of all bugs. Raises ValueError when its mark is missing."""
    cells = ((_linked(bug), *row[1:]) for bug, row in zip(bugs, rows(bugs), strict=True))
    return replace_between(page, MARK, markdown_table(HEADINGS, cells))


def _linked(bug: KnownBug) -> str:
    return f"[{bug.id}]({bug.links[0]})" if bug.reference != bug.id else bug.id


def bug_lines(bug: KnownBug) -> Iterator[str]:
    """All about a bug, and the command that reproduces it."""
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
    yield f"reproduce: {command}" if command else "reproduce: no scenario shows it for certain"


def _shows(shows: Shows) -> str:
    where = shows.scenario if shows.releases is None else f"{shows.scenario} on {shows.releases}"
    parts = []
    if shows.always:
        parts.append(f"always {', '.join(shows.always)}")
    if shows.by_chance:
        parts.append(f"by chance {', '.join(shows.by_chance)}")
    parts += [f"{rule} of {', '.join(patterns)} alone" for rule, patterns in shows.subjects.items()]
    if shows.declared_by is not None:
        parts.append(f"as the declared effect of the fault {shows.declared_by}")
    if shows.hides:
        parts.append(f"instead of {', '.join(shows.hides)}")
    return f"{where}: {'; '.join(parts)}"


def _tested(tested: Tested) -> str:
    where = f" in {tested.scenario}" if tested.scenario else ""
    return f"{tested.release}: {tested.result}{where}" + (f" ({tested.note})" if tested.note else "")


def reproduce(bug: KnownBug) -> str | None:
    """A command that reproduces the bug: of the scenarios in the order of the file, those first in which it
    always shows, on the newest release. None: no scenario is known to show it."""
    certain = [shows for shows in bug.shows if shows.always]
    for shows in (*certain, *bug.shows):
        if shown := _shown_by(bug, shows):
            return f"kvchaos run {shows.scenario} --server {shown[0].release}"
    for tested in bug.tested[::-1]:
        if tested.scenario is not None and tested.result == "shows":
            return f"kvchaos run {tested.scenario} --server {tested.release}"
    return None


def _shown_by(bug: KnownBug, shows: Shows) -> list[Tested]:
    """The looks that saw the bug, on releases where it shows so: those by this scenario first, the newest
    first."""
    found = [tested for tested in bug.tested if tested.result == "shows" and _covers(shows, tested.release)]
    return sorted(
        found, key=lambda tested: (tested.scenario == shows.scenario, Version(tested.release)), reverse=True
    )


def _covers(shows: Shows, release: str) -> bool:
    return shows.releases is None or contains(shows.releases, Version(release))
