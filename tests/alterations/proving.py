"""Kinds that are not applied to every run, since on some runs they prove nothing.

Lost evidence makes a run unknown only where the run must prove that nothing failed: where an expected failure
came, the run has shown what it was made for. What follows from an engine that a fault has ended or stopped is
no finding of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.alterations.draft import Draft
from tests.alterations.kind import UNKNOWN, NotApplicable

WITHOUT_EFFECTS = frozenset(
    {
        "events/probe-failed-between",
        "events/drain-failed",
        "events/drain-running",
        "events/drain-waiting",
        "events/drain-usage",
        "events/phase-stalled",
        "faults/other-request",
        "faults/other-site",
        "ledger/copy-open",
        "ledger/load-open",
        "ledger/loads-more",
        "ledger/store-open",
        "ledger/stores-more",
        "log/assertion",
        "log/decrement",
        "log/engine-dead",
        "log/traceback",
        "metrics/kv_offload_load_time_total/jump",
        "requests/deadline",
        "requests/http-503",
        "requests/prompt-tokens-both",
        "requests/reset",
        "requests/truncated",
    }
)
"""Not applied where a fault of the plan declares effects: it ends or stops the engine, or damages answers."""
GREEN_ONLY = frozenset({"plan/phase-lost", "requests/aborted", "requests/cached-lost", "resources/leader"})
"""Not applied where a failure is expected, either; besides all kinds whose loss of evidence makes a run
unknown."""


def limited(name: str, expects: tuple[str, ...], alter: Callable[[Draft], None]) -> Callable[[Draft], None]:
    """The alteration of a kind, for the runs on which it proves something."""
    is_green_only = expects == (UNKNOWN,) or name in GREEN_ONLY
    if not is_green_only and name not in WITHOUT_EFFECTS:
        return alter

    def change(draft: Draft) -> None:
        if draft.plan.get("effects") or (is_green_only and draft.plan["expectation"]["fail"]):
            raise NotApplicable
        alter(draft)

    return change
