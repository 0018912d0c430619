"""The control directory: the server reads the armed schedule there, and writes the journal of its faults.

An atomic rename delivers the schedule; the lease is the only other file that is read. What is written are
files of JSON Lines: their size is bounded, and a failed write never raises.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from chaos.inside import inside_kinds
from history.protocol.evidence import (
    SCHEMA_VERSION,
    Armed,
    Evidence,
    Firing,
    Healed,
    Loaded,
    Note,
    Refused,
)
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


def schedule_text(control: Path) -> str:
    """Read the schedule file. Raises BadControl when it is no schedule, OSError when it does not exist."""
    # Without blocking: opening a named pipe would block the watcher forever, and no fault could be healed.
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
    return BadControl(f"schedule is malformed: {problem}"[:MAX_REASON])


MAX_BYTES = 64 << 20


class LineFile:
    """Appends whole lines. A write that fails (a full disk) or would pass the bound closes it for good."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._closed = False
        self.open = True
        self.written = 0
        """Bytes."""

    def close(self) -> None:
        """Nothing can be written any more. Safe to repeat."""
        if not self._closed:
            self._closed = True
            self.open = False
            os.close(self._fd)

    def write(self, line: Mapping[str, object]) -> bool:
        """Append a line; False when it could not be written."""
        if not self.open:
            return False
        data = _encoded(line) + b"\n"
        if self.written + len(data) > MAX_BYTES:
            self.open = False
            return False
        try:
            done = os.write(self._fd, data)
        except OSError:
            self.open = False
            return False
        self.written += done
        self.open = done == len(data)
        return self.open


class RoleFile(LineFile):
    """The file `<name>-<role>-<pid>.jsonl` of this process; each line has time, role, pid and event."""

    def __init__(self, control: Path, name: str, role: str) -> None:
        self._role = role
        self._pid = os.getpid()
        super().__init__(control / f"{name}-{role}-{self._pid}.jsonl")

    def append(self, event: str, fields: Mapping[str, object]) -> bool:
        """Append a line; False when it could not be written."""
        stamp = {
            "v": SCHEMA_VERSION,
            "t_ns": time.time_ns(),
            "mono_ns": time.monotonic_ns(),
            "role": self._role,
            "pid": self._pid,
            "event": event,
        }
        return self.write({**stamp, **fields})


def _encoded(line: Mapping[str, object]) -> bytes:
    try:
        return msgspec.json.encode(line)
    except UnicodeEncodeError:
        # Half a surrogate pair in the id of a request: only the standard library escapes it.
        return json.dumps(msgspec.to_builtins(line), separators=(",", ":")).encode()


RESERVE_BYTES = 1 << 20
"""Reserved for the proofs of injections in progress and for the lines that end the faults."""

EVENTS: tuple[tuple[type[Evidence | Note], str], ...] = (
    (Firing, "fired"),
    (Note, "note"),
    (Loaded, "loaded"),
    (Armed, "armed"),
    (Healed, "healed"),
    (Refused, "refused"),
)
"""Events by the type of their evidence."""


class Journal:
    """Writes `faults-<role>-<pid>.jsonl` in the control directory.

    Faults fire only while it `has_room`: no fault may be applied without its evidence.
    """

    def __init__(self, control: Path, role: str) -> None:
        self._file = RoleFile(control, "faults", role)

    @property
    def open(self) -> bool:
        return self._file.open

    @property
    def has_room(self) -> bool:
        """Whether the proof of one more fault surely fits, as far as the bound goes."""
        return self._file.open and self._file.written <= MAX_BYTES - RESERVE_BYTES

    def close(self) -> None:
        self._file.close()

    def write(
        self,
        evidence: Evidence | Note,
        *,
        fault: str | None = None,
        kind: str | None = None,
        site: str | None = None,
        n: int | None = None,
        request: str | None = None,
        states: Sequence[str] = (),
    ) -> bool:
        """Append a line of the event that its evidence is of; False when it could not be written."""
        return self._file.append(
            next(event for kind, event in EVENTS if isinstance(evidence, kind)),
            {
                "fault": fault,
                "kind": kind,
                "site": site,
                "n": n,
                "request": request,
                "states": list(states) or None,
                "evidence": evidence,
            },
        )
