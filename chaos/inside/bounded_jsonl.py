"""A file of JSON Lines: its size is bounded, and a failed write never raises."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

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
            "v": 1,
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
