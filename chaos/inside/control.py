"""The control directory: the server reads the armed schedule there.

An atomic rename delivers the schedule; the lease is the only other file that is read.
"""

from __future__ import annotations

import math
import os
import stat
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from chaos.inside import inside_kinds
from history.protocol.schedule import ArmedFault, Schedule

SCHEDULE = "armed.json"
LEASE = "lease"
MAX_SCHEDULE_BYTES = 1 << 20
MAX_REASON = 200
"""Characters of a message, so that a journal does not fill with what was wrong."""

_schedules = msgspec.json.Decoder(Schedule)
"""Made at import: msgspec 0.22 crashes the process when two threads are the first to decode a type."""
EMPTY = Schedule(v=1, epoch=0, seed=0, lease_s=0.0, faults=())


class BadControl(Exception):
    """A control directory or schedule that cannot be trusted; the message gives the reason."""


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


class ScheduleStatus(NamedTuple):
    """Identifies a version of the schedule file."""

    inode: int
    mtime_ns: int
    size: int
    """Bytes."""


def schedule_status(control: Path) -> ScheduleStatus | None:
    """The version of the schedule file; None without one."""
    try:
        status = (control / SCHEDULE).stat()
    except OSError:
        return None
    return ScheduleStatus(status.st_ino, status.st_mtime_ns, status.st_size)


def lease_age_s(control: Path) -> float:
    """Seconds since the conductor last renewed its lease; infinite without one."""
    try:
        return time.time() - (control / LEASE).stat().st_mtime
    except OSError:
        return math.inf


def schedule_text(control: Path) -> str:
    """Read the schedule file. Raises BadControl when it is no schedule, OSError when it does not exist."""
    # Without blocking: opening a named pipe would block the watcher forever, and no fault could be healed.
    file = os.open(control / SCHEDULE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise BadControl("schedule is not a regular file")
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
    """Read a schedule strictly, with the defaults of all parameters filled in. Raises BadControl."""
    try:
        schedule = _schedules.decode(text)
    except msgspec.ValidationError as error:
        raise _malformed(error) from error
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise BadControl(f"schedule is not JSON: {error}"[:MAX_REASON]) from error
    if len({fault.id for fault in schedule.faults}) != len(schedule.faults):
        raise _malformed("two faults have the same id")
    return msgspec.structs.replace(schedule, faults=tuple(map(_whole, schedule.faults)))


def _whole(fault: ArmedFault) -> ArmedFault:
    """Fill in all parameters. Raises BadControl when the fault is inconsistent."""
    wrong = inside_kinds.problems(fault.kind, fault.params)
    if wrong:
        raise _malformed("; ".join(wrong))
    if fault.trigger.ways != 1:
        raise _malformed(f"{fault.id}: exactly one of probability, nth, every, key_share")
    if fault.trigger.states and not inside_kinds.KINDS[fault.kind].of_request:
        raise _malformed(f"{fault.kind}: states do not go with it")
    return msgspec.structs.replace(fault, params={**inside_kinds.defaults(fault.kind), **fault.params})


def _malformed(problem: object) -> BadControl:
    # In one line: the message quotes what it found.
    return BadControl(f"schedule is malformed: {' '.join(str(problem).split())}"[:MAX_REASON])
