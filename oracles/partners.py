"""Which answers have another one to be compared with, phase by phase."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from history.reader import History, per_history
from history.records import CANARY, RequestRecord

BROKEN_OFF = "abort"
"""The finish reason of an answer that the server broke off. Whether it may, another oracle says."""


@dataclass(frozen=True, slots=True)
class Partners:
    """Of the whole answers of a phase that is not golden."""

    phase: str
    is_promised: bool
    """A golden phase sends the workload of this one, so that its answers have golden partners."""
    answers: int
    with_golden: int
    alone: int
    """No other answer to their prompt came."""


def is_whole(record: RequestRecord) -> bool:
    """Whether the answer can be compared: it ended well, and the server did not break it off."""
    return record.outcome == "ok" and record.finish_reason != BROKEN_OFF


def whole_answers(history: History) -> list[RequestRecord]:
    """All but those of the conductor's own requests."""
    return [record for record in history.requests if is_whole(record) and record.phase != CANARY]


@per_history
def partners(history: History) -> list[Partners]:
    """One for each phase of the plan that is not golden, in its order."""
    phases = history.plan.scenario.phases
    golden = {spec.name for spec in phases if spec.role == "golden"}
    promised = {spec.workload for spec in phases if spec.role == "golden"}
    answers = whole_answers(history)
    known = {record.prompt_id for record in answers if record.phase in golden}
    often = Counter(record.prompt_id for record in answers)
    by_phase: dict[str, list[RequestRecord]] = defaultdict(list)
    for record in answers:
        by_phase[record.phase].append(record)
    return [
        Partners(
            phase=spec.name,
            is_promised=spec.workload in promised,
            answers=len(by_phase[spec.name]),
            with_golden=sum(record.prompt_id in known for record in by_phase[spec.name]),
            alone=sum(often[record.prompt_id] == 1 for record in by_phase[spec.name]),
        )
        for spec in phases
        if spec.role != "golden"
    ]


def alone_text(found: Iterable[Partners]) -> str:
    """How many answers of which phases were compared with nothing; empty where all were."""
    named = ", ".join(f"{each.phase} {each.alone} of {each.answers}" for each in found if each.alone)
    return f"; compared with nothing, as no other answer to their prompt came: {named}" if named else ""
