"""Did faults of the tier have their effect: misses, retries, refused stores, evictions, and wrong answers
where the content of blocks was damaged?
"""

from __future__ import annotations

import re
from collections.abc import Callable

from history.protocol.evidence import BlockStoredAgain
from history.records import RequestRecord
from oracles.answer_comparison import compared
from oracles.views.damage_spread import may_differ
from oracles.views.fired_fault import Doubt, FiredFault, log_lines, server_died, token_after

STORE_REFUSED = re.compile(r"cannot store")
"""0.18: "Request X: cannot store N blocks"; 0.32: "Request X: cannot store chunks"."""
ALLOCATION_FAILURES = "vllm:kv_offload_allocation_failure_total"


def _lookup_miss(case: FiredFault) -> Doubt | None:
    """By its usage, a request with an injected miss computed at least one whole block of its prompt."""
    size = case.history.plan.scenario.server.block_size
    reported = False
    for record in case.fired:
        for request in case.requests_of(record):
            if request.usage is None or request.usage.cached_tokens is None:
                continue
            reported = True
            # The last token is always computed, so a prompt's last full block counts up to there only.
            whole = (request.prompt_tokens - 1) // size * size
            if request.usage.cached_tokens <= whole - size:
                return None
    if reported:
        return Doubt(
            "cached-all-the-same", "every request that was struck had its blocks cached all the same"
        )
    return Doubt("no-usage", "no request that was struck tells its cached tokens")


def _requested_again(case: FiredFault) -> Doubt | None:
    """A request that was deferred got its first token afterwards: its blocks were looked up again."""
    for record in case.fired:
        if any(token_after(request, record.t_ns) for request in case.requests_of(record)):
            return None
    return Doubt("no-token-afterwards", "no request that was put off got a token afterwards")


def _store_refused(case: FiredFault) -> Doubt | None:
    """The server said, as often as it was refused, that it cannot store."""
    lines = log_lines(case, STORE_REFUSED)
    counted = max(lines, case.growth(ALLOCATION_FAILURES) or 0.0)
    if counted >= len(case.fired):
        return None
    return Doubt(
        "refusals-not-noticed", f"the server noticed {counted:g} refused stores", {"noticed": counted}
    )


def _no_room(case: FiredFault) -> Doubt | None:
    """A store found no room."""
    if log_lines(case, STORE_REFUSED) or (case.growth_to_the_end(ALLOCATION_FAILURES) or 0) > 0:
        return None
    return Doubt("no-store-refused", "no store was turned away")


def _stored_again(case: FiredFault) -> Doubt | None:
    """The server stored a block again that this fault had taken from the tier."""
    for line in case.history.faults:
        if line.fault == case.fault.id and isinstance(line.note, BlockStoredAgain):
            return None
    return Doubt("not-stored-again", "the server stored none of the lost blocks again")


NOT_A_NUMBER = re.compile(r"Out of range float values|got `null` - at `\$\.choices\[0\]\.logprobs")
"""What comes of a logprob that damage made infinite or not a number: an error of the server, or in a
stream a null that the client takes for no number."""


def is_not_a_number(record: RequestRecord) -> bool:
    """Whether a request failed because a logprob of its answer is no number."""
    return record.error is not None and NOT_A_NUMBER.search(record.error.message) is not None


def _damage(case: FiredFault) -> Doubt | None:
    """An answer of the phase, or of a later one that read the damaged block, is not the golden one."""
    start = min((phase.start_ns for phase in case.phases), default=0)
    different = [comparison.record for comparison in compared(case.history).different]
    broken = [record for record in case.history.requests if is_not_a_number(record)]
    affected = may_differ(case.history, case.fired)
    for record in (*different, *broken):
        if record.start_ns >= start and (affected is None or record.id in affected):
            return None
    if affected is not None and not affected:
        return Doubt("damage-not-read", "by the provenance log nobody read what was damaged")
    return Doubt("no-damage-shown", "no answer shows the damage")


TIER_FAULT_CHECKS: dict[str, Callable[[FiredFault], Doubt | None]] = {
    "lookup_miss": _lookup_miss,
    "lookup_retry": _requested_again,
    "store_refused": _store_refused,
    "tier_shrunk": _no_room,
    "evict": _stored_again,
    "store_failed": _stored_again,
    "over_report": server_died,
    "evict_after_hit": server_died,
    "manager_raises": server_died,
    **dict.fromkeys(
        (
            "bit_flip",
            "zero_block",
            "noise",
            "nan",
            "swap_blocks",
            "stale_block",
            "truncate_block",
            "shift_blocks",
        ),
        _damage,
    ),
}
