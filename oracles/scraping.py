"""Could the server be scraped while it lived? Between failed scrapes anything may have happened."""

from __future__ import annotations

from history.reader import History
from oracles.findings import Findings
from oracles.views.incarnations import deaths, outage_at

MOST_FAILED = 0.1
"""Share of the scrapes. A server that a fault pauses fails one in fifty."""


def judge(history: History, found: Findings) -> None:
    """A gap where more scrapes failed than that; a server that has ended owes none."""
    if deaths(history):
        return
    failed = [
        failure
        for failure in history.metrics.failures
        if outage_at(history, failure.t_ns, failure.end_ns) is None
    ]
    tried = len(history.metrics) + len(failed)
    if len(failed) > MOST_FAILED * tried:
        text = f"{len(failed)} of {tried} scrapes failed while the server was up: {failed[0].error[:200]}"
        found.gap("scrapes-failed", text, figures={"failed": len(failed), "tried": tried})
