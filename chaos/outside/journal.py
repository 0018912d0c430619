"""What was done from outside, line by line, in the same form as the journals of the server's processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from chaos.outside.injector import Strike
from history.plan import FaultSpec
from history.records import Evidence, FaultEvent, FaultRecord
from history.writer import LineWriter

ROLE = "outside"


class Journal:
    """Writes `faults-outside-<pid>.jsonl`. Raises OSError when a line cannot be written."""

    def __init__(self, control: Path) -> None:
        self._pid = os.getpid()
        self._writer = LineWriter(control / f"faults-{ROLE}-{self._pid}.jsonl")

    def of_strike(self, event: FaultEvent, strike: Strike, evidence: Evidence) -> None:
        """fired, refused, or a note of how it ended."""
        self._write(event, strike.fault, strike.kind, strike.site, strike.n, evidence)

    def of_fault(
        self,
        event: FaultEvent,
        fault: FaultSpec,
        evidence: Evidence,
        *,
        site: str | None = None,
        n: int | None = None,
    ) -> None:
        """armed, or healed after `n` arrivals at its site."""
        self._write(event, fault.id, fault.kind, site, n, evidence)

    def close(self) -> None:
        self._writer.close()

    def _write(
        self,
        event: FaultEvent,
        fault: str,
        kind: str,
        site: str | None,
        n: int | None,
        evidence: Evidence,
    ) -> None:
        self._writer.write(
            FaultRecord(
                t_ns=time.time_ns(),
                mono_ns=time.monotonic_ns(),
                role=ROLE,
                pid=self._pid,
                event=event,
                fault=fault,
                kind=kind,
                site=site,
                n=n,
                request=None,
                evidence=evidence,
            )
        )
