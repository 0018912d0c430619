"""The event log of a run: events.jsonl."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from history import layout
from history.events import EventData, Timed, stored
from history.jsonl import LineWriter


class EventLog:
    """Writes what happens, when it happens. Raises OSError when it cannot."""

    def __init__(self, run_dir: Path) -> None:
        self._writer = LineWriter(run_dir / layout.EVENTS)
        self._subscribers: list[Callable[[EventData], None]] = []

    def subscribe(self, subscriber: Callable[[EventData], None]) -> None:
        """`subscriber` gets each event after it is written."""
        self._subscribers.append(subscriber)

    def write(self, data: EventData) -> int:
        """Write what happened now; returns its wall clock time, ns."""
        event = Timed(time.time_ns(), time.monotonic_ns(), data)
        self._writer.write(stored(event))
        for subscriber in self._subscribers:
            subscriber(data)
        return event.t_ns

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
