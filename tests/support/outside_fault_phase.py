"""A phase with faults from outside, its records in milliseconds from its begin."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import structs

from history.events import PhaseEnd, PhaseStart, Timed, stored
from history.metrics import MetricLog
from history.protocol.evidence import FaultReverted, RequestAbandoned
from history.reader import History
from history.records import (
    Evidence,
    FaultEvent,
    FaultRecord,
    Outcome,
    RequestError,
    RequestRecord,
    Whole,
)
from oracles.effects.checks import missing_effect
from tests.support.synthetic_records import MS, START_NS, fault, good_request, make_plan

PHASE_END = PhaseEnd(phase="chaos", sent=9, ok=9, failed=0, reason="done")
PHASE_MS = 10_000
Given = Whole | float | str | list[Whole | str]


def at(ms: float) -> int:
    """Nanoseconds of a time in milliseconds after the start of the phase."""
    return START_NS + int(ms * MS)


def answered(name: str, start_ms: int, *tokens_ms: int) -> RequestRecord:
    """A request that got tokens at these times and then its end."""
    record = good_request(name, "p", "chaos", at(start_ms))
    chunks = [(ms - start_ms) * 1000 for ms in tokens_ms]
    return structs.replace(record, first_us=chunks[0], chunk_us=chunks, end_us=chunks[-1] + 1000)


def failed(
    name: str,
    start_ms: int,
    end_ms: int,
    kind: str = "ReadError",
    *,
    status: int | None = 200,
    outcome: Outcome = "error",
) -> RequestRecord:
    """The record of a request that ended with a client error."""
    record = good_request(name, "p", "chaos", at(start_ms))
    error = RequestError(kind=kind, status=status, message="gone")
    return structs.replace(
        record,
        outcome=outcome,
        error=error,
        status=status,
        end_us=(end_ms - start_ms) * 1000,
        first_us=None,
        chunk_us=[],
        chunk_tokens=[],
        token_ids=[],
        logprobs=[],
    )


@dataclass
class Struck:
    """Strikes of one kind, and what came of them."""

    kind: str
    requests: list[RequestRecord]
    journal: list[FaultRecord] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def strike(self, begin_ms: int, /, n: int = 3, **evidence: Given) -> None:
        """One that the conductor noted a little late."""
        self._note("fired", begin_ms + 90, n, {"struck_ns": at(begin_ms), **evidence})

    def undo(self, end_ms: int, /, n: int = 3, **evidence: Given) -> None:
        reverted = msgspec.to_builtins(FaultReverted(lifted_ns=at(end_ms)))
        self._note("note", end_ms + 90, n, {**reverted, **evidence})

    def give_up(self, *requests: str, state: str = "queued") -> None:
        """The server says that it gave them up."""
        for request in requests:
            note = RequestAbandoned(computed=0, answered=0)
            line = self._line("note", 5000, None, msgspec.to_builtins(note))
            reported = structs.replace(line, role="scheduler", fault=None, kind=None, states=[state])
            self.journal.append(structs.replace(reported, request=f"cmpl-{request}-0-ab12"))

    def doubt(self) -> str | None:
        """Why the strikes may have had no consequence, by its short name."""
        fired = [line for line in self.journal if line.event == "fired"]
        doubt = missing_effect(self.history(), fault(self.kind), fired, {"chaos"})
        return None if doubt is None else doubt.kind

    def history(self) -> History:
        return History(
            run_dir=Path("runs/synthetic"),
            plan=make_plan(faults=(fault(self.kind),)),
            requests=list(self.requests),
            faults=list(self.journal),
            ledger=[],
            events=[
                stored(Timed(START_NS, 0, PhaseStart(phase="chaos", role="chaos", requests=9))),
                stored(Timed(at(PHASE_MS), 0, PHASE_END)),
            ],
            metrics=MetricLog.from_lines([]),
            log=list(self.log),
        )

    def _note(self, event: FaultEvent, ms: int, n: int, evidence: dict[str, Given]) -> None:
        self.journal.append(self._line(event, ms, n, dict(evidence)))

    def _line(self, event: FaultEvent, ms: int, n: int | None, evidence: Evidence) -> FaultRecord:
        return FaultRecord(
            t_ns=at(ms),
            mono_ns=0,
            role="outside",
            pid=5,
            event=event,
            fault="f1",
            kind=self.kind,
            site="answered",
            n=n,
            request=None,
            evidence=evidence,
        )
