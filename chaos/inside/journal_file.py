"""The files of JSON Lines that the server writes in the control directory: among them the fault journal.

Their size is bounded, and a failed write never raises.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

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
        """Whether lines can still be written."""
        return self._file.open

    @property
    def has_room(self) -> bool:
        """Whether the proof of one more fault surely fits, as far as the bound goes."""
        return self._file.open and self._file.written <= MAX_BYTES - RESERVE_BYTES

    def close(self) -> None:
        """Close the file; lines after that are dropped."""
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
