"""Removes parts of the evidence of a run: files, phases, halves, single records, metrics, journals."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

from history import layout
from history.events import EvidenceCounted
from history.strict_yaml import dump_yaml, parse_yaml

Files = dict[str, bytes]


def remove_part(files: Files, chance: Random) -> None:
    """Remove one part; nothing where there is no such part."""
    chance.choice(PARTS)(files, chance)


def _file(files: Files, chance: Random) -> None:
    del files[chance.choice(_evidence(files))]


def _half(files: Files, chance: Random) -> None:
    name = chance.choice(_evidence(files))
    lines = files[name].splitlines(keepends=True)
    middle = len(lines) // 2
    kept = chance.choice((lines[:middle], lines[middle:], lines[::2], lines[1::2]))
    files[name] = b"".join(kept)


def _some_lines(files: Files, chance: Random) -> None:
    name, share = chance.choice(_evidence(files)), chance.random()
    lines = files[name].splitlines(keepends=True)
    files[name] = b"".join(line for line in lines if chance.random() > share)


def _one_line(files: Files, chance: Random) -> None:
    name = chance.choice(_evidence(files))
    lines = files[name].splitlines(keepends=True)
    if lines:
        del lines[chance.randrange(len(lines))]
    files[name] = b"".join(lines)


def _metrics(files: Files, chance: Random) -> None:
    for name in chance.choice(((layout.METRICS,), (layout.METRICS, layout.PROMETHEUS))):
        files.pop(name, None)


def _journals(files: Files, chance: Random) -> None:
    start = f"{layout.CONTROL}/{chance.choice(('faults-', 'ledger-'))}"
    for name in [name for name in files if name.startswith(start)]:
        del files[name]


def _phase(files: Files, chance: Random) -> None:
    """A phase from all files, from some, or also from the plan."""
    phases = _windows(files)
    phase = chance.choice(sorted(phases))
    names = _records(files)
    if chance.random() < 0.5:
        names = chance.sample(names, chance.randint(1, len(names)))
    for name in names:
        lines = files[name].splitlines(keepends=True)
        files[name] = b"".join(line for line in lines if not _is_of(line, phase, phases[phase]))
    if chance.random() < 0.3:
        _forget_phase(files, phase)


def _forget_phase(files: Files, phase: str) -> None:
    plan = parse_yaml(files[layout.PLAN].decode(), layout.PLAN)
    assert isinstance(plan, dict)
    scenario = plan["scenario"]
    assert isinstance(scenario, dict)
    phases = scenario["phases"]
    assert isinstance(phases, list)
    scenario["phases"] = [each for each in phases if isinstance(each, dict) and each["name"] != phase]
    files[layout.PLAN] = dump_yaml(plan).encode()


def _note(files: Files, chance: Random) -> None:
    """The note of what there was, and half of something with it."""
    lines = files[layout.EVENTS].splitlines(keepends=True)
    files[layout.EVENTS] = b"".join(
        line for line in lines if f'"{EvidenceCounted.kind}"'.encode() not in line
    )
    if chance.random() < 0.5:
        _half(files, chance)


def _evidence(files: Files) -> list[str]:
    """The files that judging reads, and that hold anything."""
    names = [name for name in _records(files) if files[name]]
    return sorted({*names, layout.PLAN, layout.SERVER_LOG}.intersection(files))


def _records(files: Files) -> list[str]:
    return sorted(name for name in files if name.endswith(".jsonl"))


def _windows(files: Files) -> dict[str, tuple[int, int]]:
    """Begin and end of each phase, ns."""
    begun: dict[str, int] = {}
    windows: dict[str, tuple[int, int]] = {}
    for line in files[layout.EVENTS].splitlines():
        event = json.loads(line)
        if event["kind"] == "phase_start":
            begun[event["data"]["phase"]] = event["t_ns"]
        elif event["kind"] == "phase_end":
            name = event["data"]["phase"]
            windows[name] = begun[name], event["t_ns"]
    return windows


def _is_of(line: bytes, phase: str, window: tuple[int, int]) -> bool:
    record = json.loads(line)
    if "phase" in record:
        return bool(record["phase"] == phase)
    first, last = window
    return first <= int(record.get("t_ns", record.get("start_ns", 0))) <= last


PARTS: tuple[Callable[[Files, Random], None], ...] = (
    *(_file, _half, _half, _some_lines, _one_line, _metrics, _journals, _phase, _phase, _note),
)
