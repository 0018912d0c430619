"""Kinds that are applied only to runs that must prove that nothing failed.

Where a scenario expects a failure, or declares the effects of a fault, and these came, the run has shown what
it was made for: evidence that is lost then proves nothing wrong, and what follows from an engine that a fault
has ended or stopped is no finding of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.alterations.draft import Draft
from tests.alterations.kind import NotApplicable

PROVING = frozenset(
    {
        "events/canary-failed-between",
        "events/drain-failed",
        "events/drain-running",
        "events/drain-waiting",
        "events/drain-usage",
        "faults/no-evidence",
        "faults/other-request",
        "faults/other-site",
        "ledger/audited-less",
        "ledger/audited-none",
        "ledger/copy-open",
        "ledger/load-open",
        "ledger/loads-more",
        "ledger/store-open",
        "ledger/stores-more",
        "log/assertion",
        "log/decrement",
        "log/engine-dead",
        "log/traceback",
        "plan/phase-lost",
        "requests/aborted",
        "requests/cached-lost",
        "requests/deadline",
        "requests/prompt-tokens-both",
        "requests/reset",
        "requests/truncated",
        "resources/leader",
    }
)
"""Besides all kinds whose loss of evidence makes a run unknown."""


def proving(alter: Callable[[Draft], None]) -> Callable[[Draft], None]:
    """The alteration, for runs of which nothing is expected to fail."""

    def change(draft: Draft) -> None:
        if draft.plan["expectation"]["fail"] or draft.plan.get("effects"):
            raise NotApplicable
        alter(draft)

    return change
