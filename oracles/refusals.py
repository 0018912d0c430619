"""Was each request that no server can serve refused as such?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from history.protocol.outside import NO_STATUS, WrongRequestsSent
from history.reader import History
from history.records import FaultRecord
from history.verdict import fault
from oracles.findings import Findings
from oracles.inputs import FAULTS
from oracles.rule import Rule

WRONG_REQUESTS = ("malformed_request", "oversized_request")
UNANSWERED = frozenset({"cut_short"})
"""Forms whose client does not stay for an answer."""
MAX_TEXT = 200
NOT_REFUSED = Rule(
    "outcomes/malformed-not-refused",
    "A request that no server can serve is answered with a status from 400 to 499.",
    "HTTP and the OpenAI API",
    (FAULTS,),
)


@dataclass(frozen=True, slots=True)
class WrongRequest:
    """One such request."""

    form: str
    status: int
    body: str
    """Begin of the answer."""


def judge(history: History, found: Findings) -> int:
    """Each was answered with a status from 400 to 499. Returns how many there were."""
    count = 0
    for line in history.faults:
        if line.event != "fired" or line.kind not in WRONG_REQUESTS:
            continue
        for each in wrong_requests(line):
            count += 1
            if each.form not in UNANSWERED and not is_refusal(each.status):
                text = _answer_text(line, each)
                figures = {} if each.status == NO_STATUS else {"status": each.status}
                found.violation(NOT_REFUSED, fault(line.fault), text, figures=figures, t_ns=line.t_ns)
    found.checked += count
    return count


def is_refusal(status: int) -> bool:
    return 400 <= status < 500


def wrong_requests(line: FaultRecord) -> Iterator[WrongRequest]:
    """What a strike sent, and what came back."""
    sent = line.firing
    if isinstance(sent, WrongRequestsSent):
        for form, status, body in zip(sent.forms, sent.statuses, sent.bodies, strict=True):
            yield WrongRequest(form, status, body)


def _answer_text(line: FaultRecord, each: WrongRequest) -> str:
    if each.status == NO_STATUS:
        return f"{line.kind} {each.form}: no answer"
    return f"{line.kind} {each.form}: answered with status {each.status}: {each.body[:MAX_TEXT]}"
