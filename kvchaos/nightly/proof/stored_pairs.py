"""The stored pairs that `kvchaos nightly prove` judges the decision by: JSON lines, which only grow.

Four files lie in one folder. `mock-aa.jsonl` and `server-aa.jsonl` have nights of the control against itself,
on the mock server and on a real one. `mock-delayed.jsonl` has nights on which the candidate was slower by a
known step, and `mock-bisections.jsonl` has searches for a slow build. A night of `server-aa.jsonl` is a night
of a history on which the control was compared with itself. Its source is the release of the server, and its
series are the watched ones, SCENARIO/LOAD/FIGURE. It has no drawn noise and no delayed figure.

A night has the pairs of the screen, and those of a confirmation where a series needed one. A delayed night
has both always, so that its pairs can be resampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kvchaos.errors import UsageError
from kvchaos.json_lines import append_json_lines, read_json_lines
from kvchaos.nightly.night_records import Line, Night, NightId, NightPoint
from kvchaos.nightly.night_store import NightHistory

MOCK_AA, SERVER_AA = "mock-aa.jsonl", "server-aa.jsonl"
DELAYED, BISECTIONS = "mock-delayed.jsonl", "mock-bisections.jsonl"
DIGITS = 6
"""Of a stored slowdown, after the point."""
Count = Annotated[int, Meta(ge=0)]
SeriesSlowdowns = Mapping[str, list[float]]
NO_PAIRS: SeriesSlowdowns = MappingProxyType({})


class StoredNight(Line, frozen=True, kw_only=True):
    """The pairs of one night. Steps and slowdowns are logarithms of ratios."""

    v: Literal[1] = 1
    night: NightId
    source: str
    """`mock`, or the release of a real server."""
    delayed: str | None = None
    """The series whose times were longer; None: candidate and control are equal."""
    step: float = 0.0
    """By how much."""
    drawn_noise: float | None = None
    """Standard deviation of a run's median that the mock server drew, as a share."""
    least_steps: Mapping[str, float]
    """Of the series that may raise an alarm."""
    excluded: Count = 0
    """Runs that were repeated, since the machine was late."""
    load_average: float | None = None
    """Of the machine in the minute before the night ended; None: not known."""
    screen: SeriesSlowdowns
    """By series the slowdown of each pair."""
    confirm: SeriesSlowdowns = NO_PAIRS


class StoredProbe(Line, frozen=True, kw_only=True):
    """One block of pairs of two builds, each by its position."""

    control: Count
    candidate: Count
    slowdowns: list[float]


class StoredBisection(Line, frozen=True, kw_only=True):
    """One search for a slow build among builds of the mock server."""

    v: Literal[1] = 1
    night: NightId
    builds: Count
    """Builds after the reference, which has position 0."""
    slow_from: Count
    """The first slow build: what the search has to find."""
    delayed: str
    step: float
    drawn_noise: float
    found: Count | None = None
    """What it found; None: nothing, see `reason`."""
    confidence: float
    reason: str = ""
    built: list[Count]
    """Builds that it needed, besides both ends of the range."""
    excluded: Count = 0
    load_average: float
    probes: list[StoredProbe]


_nights = msgspec.json.Decoder(StoredNight)
_bisections = msgspec.json.Decoder(StoredBisection)


class StoredPairs(msgspec.Struct, frozen=True):
    """All that is stored in one folder."""

    mock_aa: list[StoredNight]
    server_aa: list[StoredNight]
    delayed: list[StoredNight]
    bisections: list[StoredBisection]


def read_pairs(folder: Path) -> StoredPairs:
    """A missing file is an empty one. Raises UsageError for a damaged file."""
    return StoredPairs(
        mock_aa=read_json_lines(folder / MOCK_AA, _nights),
        server_aa=read_json_lines(folder / SERVER_AA, _nights),
        delayed=read_json_lines(folder / DELAYED, _nights),
        bisections=read_json_lines(folder / BISECTIONS, _bisections),
    )


def append_pairs(path: Path, line: Line) -> None:
    """Add one line. Raises UsageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        append_json_lines(path, [line])
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def server_nights(history: NightHistory) -> list[StoredNight]:
    """The nights of a history on which the control was compared with itself, with their watched series."""
    return [
        _server_night(night, history.by_night[night.night])
        for night in history.nights
        if night.kind == "control" and history.by_night[night.night]
    ]


def _server_night(night: Night, points: Sequence[NightPoint]) -> StoredNight:
    watched = {point.series: point for point in points if point.least_step is not None}
    return StoredNight(
        night=night.night,
        source=night.control.vllm,
        least_steps={series: point.least_step or 0.0 for series, point in watched.items()},
        excluded=sum(len(measured.excluded) for measured in night.measured),
        screen={series: point.screen for series, point in watched.items()},
        confirm={series: point.confirm for series, point in watched.items() if point.confirm},
    )


def rounded(slowdowns: SeriesSlowdowns) -> dict[str, list[float]]:
    """Slowdowns with the digits of a stored one."""
    return {series: [round(each, DIGITS) for each in values] for series, values in slowdowns.items()}
