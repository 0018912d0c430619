"""Firings of faults, counted as the journals grow."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from history import layout
from history.records import FaultRecord


class Firings:
    """Counts the firings in a run's journals. Each line is read once."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._decoder = msgspec.json.Decoder(FaultRecord)
        self._read: Counter[Path] = Counter()
        """Bytes of whole lines, by journal."""
        self._fired: Counter[tuple[str, str]] = Counter()

    def count(self) -> Counter[tuple[str, str]]:
        """Firings so far, by the fault's id and kind."""
        for path in self._run_dir.glob(layout.FAULTS_GLOB):
            with path.open("rb") as journal:
                journal.seek(self._read[path])
                new = journal.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read[path] += len(whole)
            for line in whole.splitlines():
                record = self._decoder.decode(line)
                if record.event == "fired":
                    self._fired[str(record.fault), str(record.kind)] += 1
        return self._fired
