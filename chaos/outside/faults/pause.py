"""The fault `pause`: all processes of the server are stopped, by signals or by the engine of containers."""

from __future__ import annotations

from chaos.inside.fault_kind import CONFORMING
from chaos.outside.injector import EVERYWHERE, SERVER, TRIGGER_ON, OutsideKind, duration_s
from history.fired_fault import Doubt, FiredFault
from history.protocol.outside import Continued, Paused

IN_PIPES_NS = 250_000_000
"""What the server had sent before still comes in for so long."""


def _stood_still(case: FiredFault) -> Doubt | None:
    """While the server stood still no scrape was answered and no token came, though both were waited for."""
    for record in case.fired:
        during = case.window(record)
        struck_ns, until_ns = during.begin_ns, during.end_ns
        if until_ns is None:
            return case.doubt(
                "strike-unseen", f"no lines have begin and end of the injection at invocation {record.n}"
            )
        since_ns = struck_ns + IN_PIPES_NS
        log = case.history.metrics
        if not log.tried_within(since_ns, until_ns):
            return case.doubt("not-scraped", "the server was not scraped meanwhile")
        if answered := log.answered_within(since_ns, until_ns):
            return case.doubt(
                "scrape-answered", f"{answered} scrapes were answered meanwhile", {"scrapes": answered}
            )
        if not case.in_flight_at(struck_ns):
            return case.doubt("no-request", "no request was in flight")
        if any(since_ns < t_ns < until_ns for t_ns in case.tokens_ns()):
            return case.doubt("token-meanwhile", "tokens arrived meanwhile")
    return None


FAULTS = (
    OutsideKind(
        name="pause",
        target=SERVER,
        contract=CONFORMING,
        effect="all processes of the server are stopped",
        evidence="processes, all in state T; of a container its state",
        consequence="no scrape is answered and no token arrives while they are stopped",
        heals="when their states show that they run",
        parameters={"trigger_on": TRIGGER_ON, "duration_s": duration_s(3.0, "until they run again")},
        stacks=EVERYWHERE,
        firing=Paused,
        reverted=Continued,
        inject=lambda injection, target: target.pause(),
        check=_stood_still,
    ),
)
