"""Did damage to the content of blocks have its effect: an answer that is not the golden one?"""

from __future__ import annotations

import re
from collections.abc import Callable

from history.records import RequestRecord
from oracles.answer_comparison import compared
from oracles.views.damage_spread import may_differ
from oracles.views.fired_fault import Doubt, FiredFault

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


DAMAGE_FAULT_CHECKS: dict[str, Callable[[FiredFault], Doubt | None]] = dict.fromkeys(
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
)
