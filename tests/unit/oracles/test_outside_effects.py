"""A fault from outside is believed by what scrapes and clients show, not by its injector's word."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from history.events import PhaseEnd, PhaseStart, Timed, stored
from history.metrics import MetricLog
from history.protocol.evidence import FaultReverted
from history.reader import History
from history.records import Event, Evidence, FaultEvent, FaultRecord, RequestRecord, ScrapeLine
from oracles.effects.checks import missing_effect
from tests.support.synthetic_records import MS, START_NS, fault, good_request, make_plan

PHASE_END = PhaseEnd(phase="chaos", sent=9, ok=9, failed=0, reason="done")


def line(event: FaultEvent, ms: int, kind: str = "pause", n: int = 3, /, **evidence: object) -> FaultRecord:
    """A line of the conductor's journal, so many milliseconds after the begin of the phase."""
    return FaultRecord(
        t_ns=START_NS + ms * MS,
        mono_ns=0,
        role="outside",
        pid=5,
        event=event,
        fault="f1",
        kind=kind,
        site="answered",
        n=n,
        request=None,
        evidence=_evidence(evidence),
    )


def reverted(ms: int, kind: str = "pause", n: int = 3, /, *, lifted_ms: int) -> FaultRecord:
    """The line that a fault was undone from `lifted_ms` on."""
    note = FaultReverted(lifted_ns=START_NS + lifted_ms * MS)
    return line("note", ms, kind, n, **msgspec.to_builtins(note))


def _evidence(given: dict[str, object]) -> Evidence:
    return {name: value for name, value in given.items() if isinstance(value, (int, float, str, list))}


def scrape(ms: int, took_ms: int = 1, error: str | None = None) -> ScrapeLine:
    return ScrapeLine(
        t_ns=START_NS + ms * MS,
        mono_ns=0,
        took_us=took_ms * 1000,
        incarnation=None if error else 1.0,
        new=[],
        changed={},
        gone=[],
        error=error,
    )


def request_at(start_ms: int, *tokens_ms: int) -> RequestRecord:
    """A request with tokens at these times, all of them after the begin of the phase."""
    record = good_request(f"chaos-{start_ms}", "p", "chaos", START_NS + start_ms * MS)
    chunks = [(ms - start_ms) * 1000 for ms in tokens_ms]
    return structs.replace(record, first_us=chunks[0], chunk_us=chunks, end_us=chunks[-1] + 1000)


@dataclass(frozen=True)
class EffectCase:
    """What is known of a phase of 10 s, in milliseconds from its begin."""

    journal: tuple[FaultRecord, ...]
    scrapes: tuple[ScrapeLine, ...]
    requests: tuple[RequestRecord, ...]
    container_events: tuple[Event, ...] = ()
    """Of containers and the server's lives."""
    prometheus: tuple[ScrapeLine, ...] = ()

    def doubt(self, kind: str = "pause") -> str | None:
        """Why it may have had no consequence, by its short name."""
        fired = [one for one in self.journal if one.event == "fired"]
        doubt = missing_effect(self.history(kind), fault(kind), fired, {"chaos"})
        return None if doubt is None else doubt.kind

    def history(self, kind: str) -> History:
        return History(
            run_dir=Path("runs/synthetic"),
            plan=make_plan(faults=(fault(kind),)),
            requests=list(self.requests),
            faults=list(self.journal),
            ledger=[],
            events=[
                stored(Timed(START_NS, 0, PhaseStart(phase="chaos", role="chaos", requests=9))),
                stored(Timed(START_NS + 10_000 * MS, 0, PHASE_END)),
                *self.container_events,
            ],
            metrics=MetricLog.from_lines(self.scrapes),
            log=[],
            prometheus=MetricLog.from_lines(self.prometheus),
        )


PAUSED = EffectCase(
    # The conductor was late to write down both.
    journal=(
        line("fired", 2300, struck_ns=START_NS + 2000 * MS, pids=[7, 8]),
        reverted(5600, lifted_ms=5000),
    ),
    # One was answered when the server went on, another was given up before.
    scrapes=(scrape(1800), scrape(2100, error="timed out"), scrape(4200, took_ms=900), scrape(5300)),
    requests=(request_at(500, 1000, 1990, 5100, 5200), request_at(4000, 5300)),
)


def test_pause_is_effective_when_scrapes_and_tokens_stop() -> None:
    assert PAUSED.doubt() is None


def test_token_sent_before_a_pause_may_arrive_in_it() -> None:
    assert replace(PAUSED, requests=(request_at(500, 1000, 2200, 5100),)).doubt() is None


@pytest.mark.parametrize(
    ("changed", "doubt"),
    [
        (replace(PAUSED, scrapes=(scrape(1800), scrape(3000), scrape(5300))), "scrape-answered"),
        (replace(PAUSED, scrapes=(scrape(1800), scrape(5300))), "not-scraped"),
        (replace(PAUSED, requests=(request_at(500, 1000, 3000, 5100),)), "token-meanwhile"),
        (replace(PAUSED, requests=(request_at(500, 1000), request_at(4000, 5300))), "no-request"),
        (replace(PAUSED, journal=PAUSED.journal[:1]), "strike-unseen"),
        (
            replace(PAUSED, journal=(PAUSED.journal[0], reverted(5600, "pause", 4, lifted_ms=5000))),
            "strike-unseen",
        ),
    ],
    ids=["scraped", "never scraped", "tokens", "idle", "no end", "another's end"],
)
def test_pause_with_answers_meanwhile_is_not_effective(changed: EffectCase, doubt: str) -> None:
    assert changed.doubt() == doubt
