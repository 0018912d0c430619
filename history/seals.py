"""Lines and digest of each file that judging reads: noted when a run ends, compared when the run is judged.

A run that was altered, copied in part or cleaned up afterwards is never taken for the run that was measured.
Most of what is lost shows nowhere else: half of the samples of resources look like a shorter run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from history import layout
from history.events import EventData, EvidenceCounted, Timed, of_type
from history.jsonl import UnreadableRun, one_line, open_plain, read_lines
from history.records import Count, Event, Record

Sealed = Literal["sealed", "resealed", "unsealed", "broken"]
"""Sealed by the run, or later by `kvchaos reseal`; unsealed as in earlier versions; or a seal is broken."""
By = Literal["run", "reseal"]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class FileSeal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file as it was closed."""

    sha256: Digest
    size: Count
    """Bytes."""


class Seals(Record, frozen=True, kw_only=True):
    """The content of seals.json."""

    by: By
    files: dict[str, FileSeal]
    """Seals by the path in the run directory."""


class SealsV1(Seals, frozen=True, kw_only=True, tag=1):
    """The same in runs of schema version 1."""


@dataclass(frozen=True, slots=True)
class SealCheck:
    """What the comparison of a run directory with its seals gave."""

    state: Sealed = "unsealed"
    broken: tuple[str, ...] = ()
    """A message for each file that is not as it was sealed."""


NOT_SEALED = SealCheck()
ENCODER = msgspec.json.Encoder()
DECODER = msgspec.json.Decoder(Seals | SealsV1)


def seal(run_dir: Path, by: By = "run") -> None:
    """Write the seals of a run whose files are all closed. Raises OSError."""
    seals = Seals(by=by, files=_digests(run_dir))
    content = msgspec.json.format(ENCODER.encode(seals), indent=2)
    (run_dir / layout.SEALS).write_bytes(content + b"\n")


def reseal(run_dir: Path) -> int:
    """Seal a run that was altered on purpose, and count its lines again. Returns the number of files.

    Raises OSError, UnreadableRun.
    """
    recount(run_dir)
    seal(run_dir, "reseal")
    return len(evidence_files(run_dir))


def check(run_dir: Path) -> SealCheck:
    """Compare each file with its seal. Raises UnreadableRun."""
    path = run_dir / layout.SEALS
    try:
        with open_plain(path) as file:
            seals = DECODER.decode(file.read())
        broken = tuple(_other_content(seals.files, _digests(run_dir)))
    except FileNotFoundError:
        return NOT_SEALED
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableRun(f"{path}: {one_line(error)}") from error
    except OSError as error:
        raise UnreadableRun(f"{error.filename}: cannot be read: {error.strerror}") from error
    if broken:
        return SealCheck("broken", broken)
    return SealCheck("sealed" if seals.by == "run" else "resealed")


@contextmanager
def seals_beside(run_dir: Path) -> Iterator[Callable[[], SealCheck]]:
    """Begin to check the seals of a run that is being read; what is yielded waits for the end."""
    # hashlib lets other threads run while it computes.
    with ThreadPoolExecutor(1, "seals") as pool:
        yield pool.submit(check, run_dir).result


def _digests(run_dir: Path) -> dict[str, FileSeal]:
    return {path.relative_to(run_dir).as_posix(): _digest(path) for path in evidence_files(run_dir)}


def _digest(path: Path) -> FileSeal:
    digest, size = hashlib.sha256(), 0
    with open_plain(path) as file:
        for piece in iter(lambda: file.read(PIECE), b""):
            digest.update(piece)
            size += len(piece)
    return FileSeal(sha256=digest.hexdigest(), size=size)


def _other_content(sealed: dict[str, FileSeal], found: dict[str, FileSeal]) -> Iterator[str]:
    for name in sorted(sealed.keys() | found.keys()):
        before, now = sealed.get(name), found.get(name)
        if before == now:
            continue
        if before is None:
            what = "was not there when the run was sealed"
        elif now is None:
            what = "is missing"
        elif before.size != now.size:
            what = f"had {before.size} bytes when the run was sealed and has {now.size} now"
        else:
            what = "has another content than when the run was sealed"
        yield one_line(f"{name} {what}")


PATTERNS = (
    layout.PLAN,
    layout.EVENTS,
    layout.METRICS,
    layout.PROMETHEUS,
    layout.REQUESTS_GLOB,
    layout.CLIENT,
    layout.RESOURCES,
    layout.GPUS,
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
    return {path.relative_to(run_dir).as_posix(): _count(path) for path in evidence_files(run_dir)}


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
    counted = msgspec.structs.replace(events[last], data={**counts})
    lines = path.read_bytes().split(b"\n")[: len(events)]
    lines[last] = msgspec.json.encode(counted)  # The others stay as they are, of whatever version.
    path.write_bytes(b"\n".join([*lines, b""]))


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
    yield from _other_counts(expected, count_lines(run_dir))


def _other_counts(expected: Mapping[str, int], found: Mapping[str, int]) -> Iterator[str]:
    for name in sorted(expected.keys() | found.keys()):
        before, now = expected.get(name), found.get(name)
        if before == now:
            continue
        then = "was not there" if before is None else f"had {before} lines"
        is_now = "is missing" if now is None else f"has {now} lines"
        yield one_line(f"{name} {then} when the run ended and {is_now} now")


def _count(path: Path) -> int:
    with open_plain(path) as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(PIECE), b""))
