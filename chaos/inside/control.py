"""The control directory: the armed schedule comes in by an atomic rename, nothing else is read."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from chaos.inside import faults
from chaos.inside.decide import Trigger
from chaos.inside.kind import Value
from chaos.inside.states import STATES

T = TypeVar("T")

SCHEDULE = "armed.json"
LEASE = "lease"
WAYS = ("probability", "nth", "every", "key_share")
"""Of choosing the arrivals that a fault strikes."""
MAX_SCHEDULE_BYTES = 1 << 20
MAX_REASON = 200
"""Characters of a message, so that a journal does not fill with what was wrong."""
FAULT_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class BadControl(Exception):
    """A control directory or schedule that is not to be trusted; the message says why."""


@dataclass(frozen=True)
class ArmedFault:
    """A fault as armed by the conductor."""

    id: str
    kind: str
    trigger: Trigger
    params: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Schedule:
    """What is armed now. `epoch` grows by one each time the conductor arms or heals."""

    epoch: int
    seed: int
    lease_s: float
    """Faults end by themselves when the conductor has not renewed its lease for so long."""
    faults: tuple[ArmedFault, ...]


EMPTY = Schedule(epoch=0, seed=0, lease_s=0.0, faults=())


def check_directory(control: Path) -> None:
    """Raises BadControl when the directory is missing or others may write to it."""
    try:
        mode = control.stat().st_mode
    except OSError as error:
        raise BadControl(f"control directory {control}: {error.strerror}") from error
    if not stat.S_ISDIR(mode):
        raise BadControl(f"control directory {control}: not a directory")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BadControl(f"control directory {control}: others can write to it; chmod go-w it")


def schedule_text(control: Path) -> str:
    """What lies there as the schedule. Raises BadControl when it cannot be one, OSError when it is gone."""
    # Without blocking: a pipe in its place would hold the reader for ever, and with it all healing.
    file = os.open(control / SCHEDULE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise BadControl("schedule is no plain file")
        if status.st_size > MAX_SCHEDULE_BYTES:
            raise BadControl(f"schedule of {status.st_size} bytes is too large")
        content = os.read(file, MAX_SCHEDULE_BYTES)
    finally:
        os.close(file)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BadControl(f"schedule is not UTF-8 text: {error}") from error


def parse_schedule(text: str) -> Schedule:
    """Read a schedule strictly. Raises BadControl."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadControl(f"schedule is not JSON: {error}") from error
    try:
        return _schedule(content)
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise BadControl(f"schedule is malformed: {error!r}"[:MAX_REASON]) from error


def _schedule(content: dict[str, object]) -> Schedule:
    _only(content, "v", "epoch", "seed", "lease_s", "faults")
    if content["v"] != 1:
        raise ValueError(f"schema version {content['v']!r}")
    entries = content["faults"]
    if not isinstance(entries, list):
        raise TypeError("faults is not a list")
    found = tuple(_fault(entry) for entry in entries)
    if len({fault.id for fault in found}) != len(found):
        raise ValueError("two faults have the same id")
    return Schedule(
        epoch=_whole(content["epoch"]),
        seed=_whole(content["seed"]),
        lease_s=_lease(content["lease_s"]),
        faults=found,
    )


def _fault(entry: dict[str, object]) -> ArmedFault:
    _only(entry, "id", "kind", "trigger", "params")
    name, kind, params = entry["id"], entry["kind"], entry["params"]
    if not isinstance(name, str) or not FAULT_ID.fullmatch(name):
        raise ValueError(f"not a fault's id: {name!r}")
    if not isinstance(kind, str) or not isinstance(params, dict):
        raise TypeError("kind or params")
    wrong = faults.problems(kind, params)
    if wrong:
        raise ValueError("; ".join(wrong))
    trigger = _trigger(entry["trigger"])
    if trigger.states and not faults.KINDS[kind].of_request:
        raise ValueError(f"{kind}: states do not go with it")
    return ArmedFault(
        id=name,
        kind=kind,
        trigger=trigger,
        params={**faults.defaults(kind), **params},
    )


def _trigger(entry: object) -> Trigger:
    if not isinstance(entry, dict):
        raise TypeError("trigger is not an object")
    _only(entry, "probability", "nth", "every", "offset", "key_share", "limit", "states")
    if sum(entry.get(way) is not None for way in WAYS) != 1:
        raise ValueError(f"exactly one of {', '.join(WAYS)}")
    return Trigger(
        probability=_optional(entry.get("probability"), _probability),
        nth=_optional(entry.get("nth"), _wholes),
        every=_optional(entry.get("every"), _positive),
        offset=_whole(entry.get("offset", 0)),
        key_share=_optional(entry.get("key_share"), _probability),
        limit=_optional(entry.get("limit"), _positive),
        states=_optional(entry.get("states"), _states),
    )


def _only(content: object, *keys: str) -> None:
    if not isinstance(content, dict):
        raise TypeError("not an object")
    unknown = sorted(set(content) - set(keys))
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}")


def _optional(value: object, convert: Callable[[object], T]) -> T | None:
    return None if value is None else convert(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"not a whole number: {value!r}")
    if not -(2**63) <= value < 2**63:
        # A journal with that number could not be read.
        raise ValueError(f"not a number of 64 bits: {str(value)[:24]}...")
    return value


def _wholes(value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise TypeError(f"not a list: {value!r}")
    return tuple(_whole(number) for number in value)


def _states(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise TypeError(f"not a list of states: {value!r}")
    for state in value:
        if state not in STATES:
            raise ValueError(f"no state of a request: {state!r}")
    return tuple(value)


def _positive(value: object) -> int:
    number = _whole(value)
    if number < 1:
        raise ValueError(f"not positive: {number}")
    return number


def _probability(value: object) -> float:
    number = _number(value)
    if not 0.0 < number <= 1.0:
        raise ValueError(f"not a probability: {number}")
    return number


def _lease(value: object) -> float:
    number = _number(value)
    if number < 0.0 or not math.isfinite(number):
        raise ValueError(f"not a lease: {number}")
    return number


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"not a number: {value!r}")
    return float(value)
