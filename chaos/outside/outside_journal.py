"""The journal of the faults from outside, in the same format as the journals of the server's processes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

import msgspec

from chaos.outside.injector import DueInjection
from history import records
from history.jsonl import LineWriter
from history.protocol.evidence import Evidence, FaultReverted, as_stored
from history.records import FaultEvent, FaultRecord
from history.scenario import FaultSpec

ROLE = "outside"


class OutsideJournal:
    """Writes `faults-outside-<pid>.jsonl`. Raises OSError when a line cannot be written."""

    def __init__(self, control: Path) -> None:
        self._pid = os.getpid()
        self._writer = LineWriter(control / f"faults-{ROLE}-{self._pid}.jsonl")

    def of_injection(
        self, event: Literal["fired", "refused"], injection: DueInjection, evidence: Evidence
    ) -> None:
        self._write(event, injection.fault, injection.kind, injection.site, injection.n, as_stored(evidence))

    def reverted(self, injection: DueInjection, note: FaultReverted, shown: Evidence) -> None:
        """An injection is reverted, with the evidence."""
        evidence = {**msgspec.to_builtins(note), **as_stored(shown)}
        self._write("note", injection.fault, injection.kind, injection.site, injection.n, evidence)

    def of_fault(
        self,
        event: Literal["armed", "healed"],
        fault: FaultSpec,
        evidence: Evidence,
        *,
        site: str | None = None,
        n: int | None = None,
    ) -> None:
        """armed, or healed after `n` invocations at its site."""
        self._write(event, fault.id, fault.kind, site, n, as_stored(evidence))

    def close(self) -> None:
        self._writer.close()

    def _write(
        self,
        event: FaultEvent,
        fault: str,
        kind: str,
        site: str | None,
        n: int | None,
        evidence: records.Evidence,
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
