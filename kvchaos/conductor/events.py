"""The run's own diary: events.jsonl."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from history import layout
from history.records import Event, Scalar
from history.writer import LineWriter


class EventLog:
    """Writes what happens, when it happens. Raises OSError when it cannot."""

    def __init__(self, run_dir: Path, tell: Callable[[Event], None] | None = None) -> None:
        """`tell` hears of each event."""
        self._writer = LineWriter(run_dir / layout.EVENTS)
        self._tell = tell

    def write(self, kind: str, **data: Scalar | list[int | str]) -> int:
        """Write an event; returns its wall clock time, ns."""
        now = time.time_ns()
        event = Event(t_ns=now, mono_ns=time.monotonic_ns(), kind=kind, data=data)
        self._writer.write(event)
        if self._tell is not None:
            self._tell(event)
        return now

    def close(self) -> None:
        self._writer.close()
