"""The table of releases in the page about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from packaging.version import Version

from kvchaos.report.markdown import markdown_table, replace_between
from kvchaos.report.summary import cell
from tests.server.sweep.row import KnownBug, Row, bug_behind

MARK = "<!-- releases -->"
HEADINGS = (
    "vLLM",
    "generation",
    "torch",
    "start, s",
    "`baseline-offload`",
    "misses",
    "failed loads",
    "flips",
    "contract",
    "all, s",
    "word",
)
FAULTS = ("miss", "load-failure", "flip")
NOTHING = "-"


def write_row(row: Row, folder: Path) -> None:
    """Keep a row, in place of an older one of the release."""
    folder.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(row), indent=1)
    (folder / f"{row.release}.json").write_bytes(text + b"\n")


def read_rows(folder: Path) -> list[Row]:
    """All rows that are kept, oldest release first."""
    rows = [msgspec.json.decode(path.read_bytes(), type=Row) for path in folder.glob("*.json")]
    return sorted(rows, key=lambda row: Version(row.release))


def into_page(page: str, rows: Sequence[Row]) -> str:
    """The page with the table between its marks. Raises ValueError when a mark is missing."""
    days = sorted({row.day for row in rows})
    words = Counter(row.colour for row in rows)
    head = f"{', '.join(f'{count} {word}' for word, count in words.items())}; "
    head += f"{' to '.join(days[:1] + days[1:][-1:])}.\n\n"
    told = "".join(f"- {line}\n" for line in (*_bugs(rows), *_unexplained(rows)))
    return replace_between(
        page, MARK, head + markdown_table(HEADINGS, map(_cells, rows)) + (told and f"\n{told}")
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.release,
        row.generation or NOTHING,
        row.torch or NOTHING,
        NOTHING if row.start_s is None else f"{row.start_s:.0f}",
        cell(row.baseline or NOTHING),
        *(str(row.fired.get(fault, 0)) for fault in FAULTS),
        row.contract or NOTHING,
        str(row.seconds),
        row.colour,
    )


def _bugs(rows: Sequence[Row]) -> Iterator[str]:
    """One line a listed bug that showed itself, with its releases."""
    releases: dict[KnownBug, list[str]] = {}
    for row in rows:
        for bug in filter(None, {bug_behind(row.release, trouble) for trouble in row.troubles}):
            releases.setdefault(bug, []).append(row.release)
    for bug, seen in releases.items():
        oracles = ", ".join(sorted(bug.oracles))
        yield cell(f"{bug.issue}, {bug.what}: {oracles} of {bug.scenario} on {', '.join(seen)}")


def _unexplained(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        for trouble in row.troubles:
            if bug_behind(row.release, trouble) is None:
                yield cell(f"{row.release}, {trouble}")
