"""Did each request end as its workload lets it: abandoned, by a stop, with so many cached tokens?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from history.events import PhaseEnd
from history.reader import History
from history.records import ABANDONED, RequestRecord
from history.verdict import phase, request
from oracles.findings import Findings
from oracles.inputs import REQUESTS
from oracles.rule import Rule

LEAVING = frozenset({"abort_mix"})
"""Kinds of workloads whose clients leave on purpose,"""
STOPPING = frozenset({"parameter_mix"})
"""and those some of whose requests have stops. All others are sent with `ignore_eos`."""
FALSE_STOP = Rule(
    "outcomes/false-stop",
    "An answer ends for stop only in a workload whose requests have stops: the end token is to be ignored.",
    "HTTP and the OpenAI API",
    (REQUESTS,),
)
PARTIAL_BLOCK = Rule(
    "outcomes/partial-block",
    "The cached tokens of an answer are whole blocks of its prompt, or all of it but the last token.",
    "vLLM source",
    (REQUESTS,),
    "the usage has no cached tokens, or the server is not started by the suite",
)
RULES = (FALSE_STOP, PARTIAL_BLOCK)


def judge(history: History, found: Findings) -> None:
    """No false stop, no cached part of a block, and nobody left where nobody leaves."""
    scenario = history.plan.scenario
    kinds = {spec.name: scenario.workloads[spec.workload].kind for spec in scenario.phases}
    # An attached server has blocks of its own size.
    size = None if history.plan.stack == "attach" else scenario.server.block_size
    for record in history.requests:
        kind = kinds.get(record.phase)
        if record.outcome == "ok" and record.finish_reason == "stop" and kind not in (None, *STOPPING):
            text = f"request {record.id} ({record.phase}): ends for stop, which its workload does not have"
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
            f"request {record.id} ({record.phase}): {cached} cached of {record.prompt_tokens} prompt tokens "
            f"are no whole blocks of {size}"
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
        text = f"phase {name}: {count} requests were aborted, and no client of its workload leaves"
        found.gap("aborted-for-no-reason", text, phase(name), figures={"requests": count})


def _aborted(history: History) -> Iterator[RequestRecord]:
    return (record for record in history.requests if record.outcome == "aborted")
