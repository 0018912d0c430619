"""How many lines each file of evidence has: noted when a run ends, compared when the run is judged.

Judging reads files that may be copied, cut or cleaned up in the meantime. Most of what is lost shows nowhere
else: half of the samples of resources look like a shorter run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from history import layout
from history.events import EventData, EvidenceCounted
from history.lines import one_line, read_lines
from history.plain_file import open_plain
from history.records import Event
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
    layout.PROVENANCE_GLOB,
    layout.SERVER_LOG,
)
"""The files that judging reads."""
PIECE = 1 << 20


def evidence_files(run_dir: Path) -> list[Path]:
    """The files that judging reads and that exist, in order."""
    return sorted({path for pattern in PATTERNS for path in run_dir.glob(pattern)})


def count_lines(run_dir: Path) -> dict[str, int]:
    """Whole lines of each file of evidence that exists. Raises OSError."""
    return {path.relative_to(run_dir).as_posix(): _lines(path) for path in evidence_files(run_dir)}


def recount(run_dir: Path) -> None:
    """Let the events of an altered run count its lines as they are now, where they counted them before.

    Raises OSError, UnreadableRun.
    """
    path = run_dir / layout.EVENTS
    events = list(read_lines(path, Event))
    indexes = [index for index, event in enumerate(events) if event.kind == EvidenceCounted.kind]
    if not indexes:
        return
    last = indexes[-1]
    counts = count_lines(run_dir)
    counts[layout.EVENTS] = len(events) - 1  # Without the line that holds the counts.
    events[last] = msgspec.structs.replace(events[last], data={**counts})
    encoded = [msgspec.json.encode(event) + b"\n" for event in events]
    path.write_bytes(b"".join(encoded))


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
