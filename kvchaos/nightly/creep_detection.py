"""The second net: change points over the history, by Apache Otava in an environment of its own.

A night compares with the control alone, so it never finds a creep of steps that are each too small for it.
Otava finds steps of any size; those since the last known change are added up here.
"""

from __future__ import annotations

import csv
import math
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from kvchaos.errors import UsageError
from kvchaos.nightly.creep_record import CreepFile, Suspicion
from kvchaos.nightly.night_store import NightHistory
from kvchaos.tools.otava import OTAVA

MAX_P = 1e-4
MAGNITUDE = math.log(1.03)
"""Least sum of the steps since the last known change."""
NIGHTS_AFTER = 3
"""Otava's test takes the deviation of few nights for too small, and that of one night for zero."""
LEAST_NIGHTS = 14
"""With fewer nights of one identity there is nothing to search."""
NEAR = 2
"""Nights between a change point and the known change that it shows."""
LIMIT_S = 600.0
GROUP = "all"


@dataclass(frozen=True, slots=True)
class CreepSeries:
    """The comparison nights of a watched series under its present identity."""

    key: str
    """Its name in Otava's files."""
    series: str
    nights: Sequence[str]
    slowdowns: Sequence[float]
    """Accepted slowdowns included, so that an acceptance is no step."""


class OtavaChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change point of one metric, as Otava writes it; the figures are texts."""

    metric: str
    index: int
    time: int
    forward_change_percent: str
    magnitude: str
    mean_before: str
    stddev_before: str
    mean_after: str
    stddev_after: str
    pvalue: str


class OtavaGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Change points at one time."""

    time: int
    attributes: dict[str, str]
    changes: list[OtavaChange]


_lines = msgspec.json.Decoder(dict[str, list[OtavaGroup]])


def creep_table(history: NightHistory) -> list[CreepSeries]:
    """The series that have enough nights to search."""
    compared = {night.night for night in history.nights if night.kind == "comparison"}
    found: list[CreepSeries] = []
    for series, points in history.by_series.items():
        rows = [
            (point.night, point.decision.slowdown + point.accepted)
            for point in points
            if point.night in compared
            and point.identity == points[-1].identity
            and point.decision is not None
            and point.decision.slowdown is not None
        ]
        if points[-1].role == "watch" and len(rows) >= LEAST_NIGHTS:
            nights, slowdowns = zip(*rows, strict=True)
            found.append(CreepSeries(f"s{len(found)}", series, nights, slowdowns))
    return found


def find_creep(history: NightHistory, otava: Path) -> CreepFile:
    """Search all watched series. Raises UsageError."""
    table = creep_table(history)
    night = history.nights[-1].night
    if not table:
        return CreepFile(night=night, tool=OTAVA.requirement)
    output = _run(table, otava)
    return CreepFile(night=night, tool=OTAVA.requirement, suspicions=suspicions(history, table, output))


def _run(table: Sequence[CreepSeries], otava: Path) -> str:
    """What Otava prints for the table."""
    with tempfile.TemporaryDirectory(prefix="kvchaos-creep-") as name:
        folder = Path(name)
        config = write_tables(table, folder)
        command = [str(otava), "analyze", GROUP, "--config-file", str(config), "--output", "json"]
        command += ["-P", f"{MAX_P:g}", "-M", "0", "--since", table[0].nights[0][:4] + "-01-01"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UsageError(f"{otava}: {error}; {OTAVA.how_to_get}") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise UsageError(f"{otava} ended with code {done.returncode}: {last}; {OTAVA.how_to_get}")
    return done.stdout


def write_tables(table: Sequence[CreepSeries], folder: Path) -> Path:
    """A CSV file for each series, and the configuration that names them; returns the path of that one."""
    tests = {}
    for each in table:
        path = folder / f"{each.key}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("time", "ratio"))
            writer.writerows(
                (night, f"{math.exp(slowdown):.6f}")
                for night, slowdown in zip(each.nights, each.slowdowns, strict=True)
            )
        tests[each.key] = {"type": "csv", "file": str(path), "time_column": "time", "metrics": ["ratio"]}
    config = folder / "otava.yaml"
    # JSON is YAML.
    config.write_bytes(msgspec.json.encode({"tests": tests, "test_groups": {GROUP: list(tests)}}))
    return config


def suspicions(history: NightHistory, table: Sequence[CreepSeries], output: str) -> list[Suspicion]:
    """The series that crept, by the output of Otava. Raises UsageError for an output of another form."""
    try:
        lines = _lines.decode_lines(output)
    except msgspec.MsgspecError as error:
        raise UsageError(f"the output of {OTAVA.requirement} is not as expected: {error}") from error
    found = {key: groups for line in lines for key, groups in line.items()}
    missing = [each.series for each in table if each.key not in found]
    if missing:
        raise UsageError(f"{OTAVA.requirement} did not analyze {missing[0]}")
    chains = (_chain(each, list(_change_points(found[each.key])), _known(history, each)) for each in table)
    return [
        suspicion
        for each, chain in zip(table, chains, strict=True)
        if (suspicion := _suspicion(each, chain)) is not None
    ]


def _change_points(groups: Sequence[OtavaGroup]) -> Iterator[OtavaChange]:
    for group in groups:
        yield from group.changes


def _known(history: NightHistory, each: CreepSeries) -> set[int]:
    """Nights of a series at which a change of it opened or was fixed, by number."""
    numbers = {night: number for number, night in enumerate(each.nights)}
    return {
        numbers[line.night]
        for change in history.changes
        if change.event == "opened" and each.series in change.series
        for line in history.changes
        if line.change == change.change and line.event in ("opened", "fixed") and line.night in numbers
    }


def _chain(each: CreepSeries, points: Sequence[OtavaChange], known: Collection[int]) -> list[OtavaChange]:
    """The change points since the last known change; those with too few nights after them do not count."""
    chain: list[OtavaChange] = []
    for point in points:
        if point.index > len(each.nights) - NIGHTS_AFTER:
            break
        chain = [] if any(abs(point.index - number) <= NEAR for number in known) else [*chain, point]
    return chain


def _suspicion(each: CreepSeries, chain: Sequence[OtavaChange]) -> Suspicion | None:
    if not chain:
        return None
    step = math.log(float(chain[-1].mean_after) / float(chain[0].mean_before))
    if abs(step) < MAGNITUDE:
        return None
    return Suspicion(
        series=each.series,
        night=f"{datetime.fromtimestamp(chain[0].time, UTC):%Y-%m-%dT%H:%M:%SZ}",
        slowdown=round(step, 6),
        p=max(float(point.pvalue) for point in chain),
    )
