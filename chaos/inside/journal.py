"""What the module did, line by line: one file a role and process, bounded, never in the server's way."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

MAX_BYTES = 64 << 20
RESERVE_BYTES = 1 << 20
"""Kept for the proofs of strikes under way and for what ends the faults."""

Evidence = dict[str, bool | int | float | str | list[int] | list[str] | None]


class Journal:
    """Appends JSON Lines to `faults-<role>-<pid>.jsonl` in the control directory.

    A write that fails (a full disk) or would pass the bound closes the journal for good. The engine
    strikes only while it `has_room`, since no fault may happen without its evidence.
    """

    def __init__(self, control: Path, role: str) -> None:
        self._role = role
        self._pid = os.getpid()
        self._written = 0
        path = control / f"faults-{role}-{self._pid}.jsonl"
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self.open = True

    @property
    def has_room(self) -> bool:
        """Whether the proof of one more fault surely fits, as far as the bound goes."""
        return self.open and self._written <= MAX_BYTES - RESERVE_BYTES

    def write(
        self,
        event: str,
        evidence: Evidence,
        *,
        fault: str | None = None,
        kind: str | None = None,
        site: str | None = None,
        n: int | None = None,
        request: str | None = None,
    ) -> bool:
        """Append a line; False when it could not be written."""
        if not self.open:
            return False
        line = {
            "v": 1,
            "t_ns": time.time_ns(),
            "mono_ns": time.monotonic_ns(),
            "role": self._role,
            "pid": self._pid,
            "event": event,
            "fault": fault,
            "kind": kind,
            "site": site,
            "n": n,
            "request": request,
            "evidence": evidence,
        }
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        if self._written + len(data) > MAX_BYTES:
            self.open = False
            return False
        try:
            done = os.write(self._fd, data)
        except OSError:
            self.open = False
            return False
        self._written += done
        self.open = done == len(data)
        return self.open
