"""Firings of faults, counted as the journals grow."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from history import layout
from history.jsonl import GrowingFiles
from history.records import FaultRecord


class FiringCounter:
    """Counts the firings in a run's journals. Each line is read once."""

    def __init__(self, run_dir: Path) -> None:
        self._journals = GrowingFiles(run_dir, layout.FAULTS_GLOB, FaultRecord)
        self._fired: Counter[tuple[str, str]] = Counter()

    def count(self) -> Counter[tuple[str, str]]:
        """Firings so far, by the fault's id and kind. Raises UnreadableRun."""
        for record in self._journals.new():
            if record.event == "fired":
                self._fired[str(record.fault), str(record.kind)] += 1
        return self._fired
