"""How many lines each file of evidence has: noted when a run ends, compared when the run is judged.

Judging reads files that may be copied, cut or cleaned up in the meantime. Most of what is lost shows nowhere
else: half of the samples of resources look like a shorter run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from history import layout
from history.events import EventData, EvidenceCounted
from history.lines import one_line
from history.plain_file import open_plain
from history.timed import Timed, of_type

PATTERNS = (
    layout.PLAN,
    layout.EVENTS,
    layout.METRICS,
    layout.PROMETHEUS,
    layout.REQUESTS_GLOB,
    layout.CLIENT,
    layout.RESOURCES,
    layout.FAULTS_GLOB,
    layout.LEDGER_GLOB,
    layout.SERVER_LOG,
)
"""The files that judging reads."""
PIECE = 1 << 20


def count_lines(run_dir: Path) -> dict[str, int]:
    """Whole lines of each file of evidence that exists. Raises OSError."""
    found = {path for pattern in PATTERNS for path in run_dir.glob(pattern)}
    return {path.relative_to(run_dir).as_posix(): _lines(path) for path in sorted(found)}


def changes(run_dir: Path, events: Sequence[Timed[EventData]]) -> Iterator[str]:
    """What differs from what the run noted, a line for each file; nothing where it noted nothing.

    Raises OSError.
    """
    counted = of_type(events, EvidenceCounted)
    if not counted:
        return
    expected = dict(counted[-1].data.lines)
    if layout.EVENTS in expected:
        expected[layout.EVENTS] += 1  # The line that holds the counts.
    yield from _differences(expected, count_lines(run_dir))


def _differences(expected: Mapping[str, int], found: Mapping[str, int]) -> Iterator[str]:
    for name in sorted(expected.keys() | found.keys()):
        before, now = expected.get(name), found.get(name)
        if before == now:
            continue
        then = "was not there" if before is None else f"had {before} lines"
        is_now = "is missing" if now is None else f"has {now} lines"
        yield one_line(f"{name} {then} when the run ended and {is_now} now")


def _lines(path: Path) -> int:
    with open_plain(path) as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(PIECE), b""))
