"""The history of the nights: a folder with three files of JSON lines, to which each night appends.

A night counts once its line is in `nights.jsonl`, which is written last. What a killed writer left before
that is left out, and removed by the next writer.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from kvchaos.errors import UsageError
from kvchaos.json_lines import append_json_lines, read_json_lines
from kvchaos.nightly.decision import Decision
from kvchaos.nightly.night_records import ChangeLine, Night, NightPoint
from kvchaos.servers.installation import exclusive

NIGHTS = "nights.jsonl"
POINTS = "points.jsonl"
CHANGES = "changes.jsonl"
LOCK = ".lock"
DIGITS = 6
"""Decimals of slowdowns, and significant digits of figures: a year stays below 50 MB."""
L = TypeVar("L", Night, NightPoint, ChangeLine)

_nights = msgspec.json.Decoder(Night)
_points = msgspec.json.Decoder(NightPoint)
_changes = msgspec.json.Decoder(ChangeLine)


class NightKey(msgspec.Struct):
    """The night that a line belongs to; its other keys do not matter."""

    night: str


_keys = msgspec.json.Decoder(NightKey)


@dataclass(frozen=True)
class NightHistory:
    """All nights in order of time, with their points and changes."""

    nights: Sequence[Night] = ()
    by_series: Mapping[str, Sequence[NightPoint]] = field(default_factory=dict)
    """Points in order of time."""
    by_night: Mapping[str, Sequence[NightPoint]] = field(default_factory=dict)
    """Points in the order of the file."""
    changes: Sequence[ChangeLine] = ()
    """In the order of the file."""
    left_out: Sequence[str] = ()
    """Lines that do not count: for each file how many, and why."""


def night_history(
    nights: Sequence[Night],
    points: Sequence[NightPoint],
    changes: Sequence[ChangeLine],
    left_out: Sequence[str] = (),
) -> NightHistory:
    """Index the points. All of them must belong to one of the nights."""
    by_series: dict[str, list[NightPoint]] = defaultdict(list)
    by_night: dict[str, list[NightPoint]] = {each.night: [] for each in nights}
    for point in points:
        by_series[point.series].append(point)
        by_night[point.night].append(point)
    for found in by_series.values():
        found.sort(key=lambda point: point.night)
    in_order = sorted(nights, key=lambda each: each.night)
    return NightHistory(in_order, dict(by_series), by_night, changes, left_out)


def read_nights(folder: Path) -> NightHistory:
    """The history in a folder; empty where there is none yet. Raises UsageError with file, line and problem.

    The nights are read first, so that all points of each are there while another process appends.
    """
    nights, cut_nights = _read(folder / NIGHTS, _nights)
    points, cut_points = _read(folder / POINTS, _points)
    changes, cut_changes = _read(folder / CHANGES, _changes)
    known = {each.night for each in nights}
    _check_unique(folder / NIGHTS, [each.night for each in nights])
    _check_unique(folder / POINTS, [f"{each.night} {each.series}" for each in points])
    kept_points = [point for point in points if point.night in known]
    kept_changes = [line for line in changes if line.night in known]
    _check_opened(folder / CHANGES, changes, known)
    left_out = [*cut_nights, *cut_points, *cut_changes]
    left_out += _orphans(POINTS, len(points) - len(kept_points))
    left_out += _orphans(CHANGES, len(changes) - len(kept_changes))
    return night_history(nights, kept_points, kept_changes, left_out)


def _read(path: Path, decoder: msgspec.json.Decoder[L]) -> tuple[list[L], list[str]]:
    """The lines of a file, and a report about a last one that is incomplete."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    whole, newline, rest = content.rpartition(b"\n")
    cut = [f"{path.name}: the last line is incomplete"] if rest else []
    if not newline:
        return [], cut
    try:
        return decoder.decode_lines(whole), cut
    except msgspec.MsgspecError:
        return read_json_lines(path, decoder), cut  # line by line, to name the broken one


def _orphans(name: str, count: int) -> list[str]:
    return [f"{name}: {count} lines of nights that are not in {NIGHTS}"] if count else []


def _check_unique(path: Path, keys: Sequence[str]) -> None:
    if len(set(keys)) == len(keys):
        return
    known: set[str] = set()
    for number, key in enumerate(keys, start=1):
        if key in known:
            raise UsageError(f"{path}:{number}: {key} is there twice; remove one of the lines")
        known.add(key)


def _check_opened(path: Path, changes: Sequence[ChangeLine], known: Collection[str]) -> None:
    opened: set[str] = set()
    for number, line in enumerate(changes, start=1):
        if line.event == "opened":
            opened.add(line.change)
        elif line.night in known and line.change not in opened:
            raise UsageError(f"{path}:{number}: {line.change} is {line.event}, but was not opened before")


def rounded_slowdowns(slowdowns: Sequence[float]) -> list[float]:
    """The slowdowns as they are stored. Decide from these, so that stored pairs give the same decision."""
    return [round(each, DIGITS) for each in slowdowns]


def rounded_point(point: NightPoint) -> NightPoint:
    """The point as it is stored."""
    return replace(
        point,
        screen=rounded_slowdowns(point.screen),
        confirm=rounded_slowdowns(point.confirm),
        control=_significant(point.control),
        candidate=_significant(point.candidate),
        accepted=round(point.accepted, DIGITS),
        least_step=None if point.least_step is None else round(point.least_step, DIGITS),
        decision=None if point.decision is None else _rounded_decision(point.decision),
    )


def _rounded_decision(decision: Decision) -> Decision:
    values = {
        name: None if value is None else _significant(value)
        for name in ("slowdown", "low", "high", "screen_p", "confirm_p", "visible_step", "noise")
        for value in (getattr(decision, name),)
    }
    return replace(decision, **values)


def _significant(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def append_night(
    folder: Path, night: Night, points: Sequence[NightPoint], changes: Sequence[ChangeLine]
) -> None:
    """Append one night, whole or not at all. Raises UsageError; the same night twice is one, too."""
    if ({point.night for point in points} | {line.night for line in changes}) - {night.night}:
        raise ValueError(f"only lines of the night {night.night} can be appended with it")
    rounded = [rounded_point(point) for point in points]
    _check_points(folder / POINTS, rounded)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / LOCK, _wait):
            known = {each.night for each in read_nights(folder).nights}
            if night.night in known:
                raise UsageError(f"{folder / NIGHTS}: the night {night.night} is there already")
            _remove_remains(folder, known)
            append_json_lines(folder / POINTS, rounded)
            append_json_lines(folder / CHANGES, changes)
            append_json_lines(folder / NIGHTS, [night])
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from error


def _check_points(path: Path, points: Sequence[NightPoint]) -> None:
    """A point that could not be read again would make the whole history unreadable."""
    names = [point.series for point in points]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{path}: the series {double} was measured twice in one night")
    for point in points:
        try:
            _points.decode(msgspec.json.encode(point))
        except msgspec.MsgspecError as error:
            raise UsageError(f"{path}: {point.series} cannot be stored: {error}") from error


def append_changes(folder: Path, changes: Sequence[ChangeLine]) -> None:
    """Append events of changes to nights that are there. Raises UsageError."""
    try:
        with exclusive(folder / LOCK, _wait):
            known = {each.night for each in read_nights(folder).nights}
            for line in changes:
                if line.night not in known:
                    raise UsageError(f"{folder / NIGHTS}: there is no night {line.night}")
            _remove_remains(folder, known)
            append_json_lines(folder / CHANGES, changes)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from error


def _wait() -> None:
    """Another writer has the lock for less than a second, so nothing is reported."""


def _remove_remains(folder: Path, known: Collection[str]) -> None:
    """Cut what a killed writer left at the end of each file. Lines of known nights stay."""
    for name in (POINTS, CHANGES, NIGHTS):
        path = folder / name
        if not path.exists():
            continue
        content = path.read_bytes()
        end = content.rfind(b"\n") + 1
        while end:
            start = content.rfind(b"\n", 0, end - 1) + 1
            if _keys.decode(content[start:end]).night in known:
                break
            end = start
        if end < len(content):
            os.truncate(path, end)
