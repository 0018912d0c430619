"""Did each request end as it must: as its workload lets it, and refused where no server can serve it?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from history.events import PhaseEnd
from history.protocol.outside import NO_STATUS, WrongRequestsSent
from history.reader import History
from history.records import ABANDONED, FaultRecord, RequestRecord
from history.verdict import fault, phase, request
from oracles.findings import FAULTS, REQUESTS, Findings, Rule

LEAVING = frozenset({"abort_mix"})
"""Kinds of workloads whose clients abort on purpose."""
STOPPING = frozenset({"parameter_mix"})
"""Kinds of workloads with stop conditions. All others are sent with `ignore_eos`."""
NOT_REFUSED = Rule(
    "outcomes/malformed-not-refused",
    "A request that no server can serve is answered with a status from 400 to 499.",
    "HTTP and the OpenAI API",
    (FAULTS,),
)
FALSE_STOP = Rule(
    "outcomes/false-stop",
    "An answer ends with finish reason stop only in workloads with stop conditions, since others ignore EOS.",
    "HTTP and the OpenAI API",
    (REQUESTS,),
)
PARTIAL_BLOCK = Rule(
    "outcomes/partial-block",
    "The cached tokens of an answer are whole blocks of its prompt, or the whole prompt but its last token.",
    "vLLM source",
    (REQUESTS,),
    "the usage has no cached tokens, or the server is not started by the suite",
)
RULES = (NOT_REFUSED, FALSE_STOP, PARTIAL_BLOCK)


def judge_endings(history: History, found: Findings) -> None:
    """No false stop, no cached part of a block, and no abort in a workload without aborts."""
    scenario = history.plan.scenario
    kinds = {spec.name: scenario.workloads[spec.workload].kind for spec in scenario.phases}
    # An attached server has blocks of its own size.
    size = scenario.server.block_size if history.plan.starts_server else None
    for record in history.requests:
        kind = kinds.get(record.phase)
        if record.outcome == "ok" and record.finish_reason == "stop" and kind not in (None, *STOPPING):
            text = (
                f"request {record.id} ({record.phase}) ended with finish reason stop without a stop condition"
            )
            _violation(found, FALSE_STOP, record, text, {"tokens": len(record.token_ids)})
        if size is not None:
            _cached(record, size, found)
    _left(history, kinds, found)


def _cached(record: RequestRecord, size: int, found: Findings) -> None:
    cached = record.usage.cached_tokens if record.usage is not None else None
    # Fewer than none, or more than the prompt has, is for the accounting to say.
    if cached is None or not 0 <= cached <= record.prompt_tokens:
        return
    if cached % size and cached != record.prompt_tokens - 1:
        text = (
            f"request {record.id} ({record.phase}) has {cached} cached tokens of {record.prompt_tokens} "
            f"prompt tokens, which is no multiple of the block size, {size}"
        )
        figures = {"cached": cached, "prompt": record.prompt_tokens, "block": size}
        _violation(found, PARTIAL_BLOCK, record, text, figures)


def _violation(
    found: Findings, rule: Rule, record: RequestRecord, text: str, figures: Mapping[str, int]
) -> None:
    found.violation(rule, request(record.id), text, figures=figures, phase=record.phase, t_ns=record.start_ns)


def _left(history: History, kinds: Mapping[str, str], found: Findings) -> None:
    """Clients leave on purpose in some workloads; the load is stopped where a phase is cut short."""
    whole = {event.data.phase for event in history.events_of(PhaseEnd) if event.data.reason == "done"}
    counts: dict[str, int] = {}
    for record in _aborted(history):
        kind = kinds.get(record.phase)
        abandoned = record.error is None or record.error.kind == ABANDONED
        allowed = kind in LEAVING if abandoned else record.phase not in whole
        if kind is not None and not allowed:
            counts[record.phase] = counts.get(record.phase, 0) + 1
    for name, count in counts.items():
        text = f"phase {name}: {count} requests were aborted, but clients of its workload abort none"
        found.gap("aborted-for-no-reason", text, phase(name), figures={"requests": count})


def _aborted(history: History) -> Iterator[RequestRecord]:
    return (record for record in history.requests if record.outcome == "aborted")


WRONG_REQUESTS = ("malformed_request", "oversized_request")
UNANSWERED = frozenset({"cut_short"})
"""Forms whose client does not stay for an answer."""
MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class WrongRequest:
    """One such request."""

    form: str
    status: int
    body: str
    """Begin of the answer."""


def judge_refusals(history: History, found: Findings) -> int:
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
    """Whether an HTTP status blames the request: 4xx."""
    return 400 <= status < 500


def wrong_requests(line: FaultRecord) -> Iterator[WrongRequest]:
    """What a strike sent, and what came back."""
    sent = line.firing
    if isinstance(sent, WrongRequestsSent):
        for form, status, body in zip(sent.forms, sent.statuses, sent.bodies, strict=True):
            yield WrongRequest(form, status, body)


def _answer_text(line: FaultRecord, each: WrongRequest) -> str:
    if each.status == NO_STATUS:
        return f"the server did not answer {line.kind} {each.form}"
    return f"the server answered {line.kind} {each.form} with status {each.status}: {each.body[:MAX_TEXT]}"
