"""Does a fault on the blocks of one request harm another, which shares no block with it?"""

from __future__ import annotations

from collections.abc import Iterator

from history.reader import History
from history.records import RequestRecord
from history.verdict import Figures, OracleResult, request
from oracles.answer_comparison import compared
from oracles.findings import EVENTS, FAULTS, PROVENANCE, REQUESTS, Findings, Oracle, Rule
from oracles.strikes import Strikes, strikes_of, struck_lines
from oracles.views.damage_spread import may_differ
from oracles.views.incarnations import deaths
from oracles.views.timeline import end_ns

NAME = "blast-radius"
MAX_TEXT = 200
SHARES_NONE = "shares no block with a struck request"
READ_NOTHING = "read no damaged block"
UNKNOWN_BLOCKS = "the server died, or the records do not show which prompts share a block"
BYSTANDER_FAILED = Rule(
    "blast-radius/bystander-failed",
    "A request that shares no block with a struck request does not fail.",
    "plug-in contract",
    (FAULTS, REQUESTS, EVENTS),
    UNKNOWN_BLOCKS,
)
BYSTANDER_WRONG = Rule(
    "blast-radius/bystander-wrong-answer",
    "A request gets the right answer if it read no damaged block or, without a provenance log, if it shares "
    "no block with a struck request.",
    "plug-in contract",
    (FAULTS, PROVENANCE, REQUESTS, EVENTS),
    UNKNOWN_BLOCKS,
)
RULES = (BYSTANDER_FAILED, BYSTANDER_WRONG)


def judge(history: History) -> OracleResult:
    """Judge the bystanders of a fault: each must end without an error and with the right answer.

    A bystander was in flight at an injection, was not struck, and shares no block with a struck request.
    """
    found = Findings(NAME)
    fired = struck_lines(history)
    strikes = strikes_of(history, fired)
    if not strikes.named + strikes.nameless:
        found.checked += len(history.requests)
        return found.result("no fault struck a block, so no damage could spread", strikes=0)
    if deaths(history):
        found.gap("server-died", "the server died, and all requests in flight with it")
        return found.result("")
    size = history.plan.scenario.server.block_size
    if any(record.first_block is None and record.prompt_tokens >= size for record in history.requests):
        found.gap("blocks-unknown", "the records do not show which prompts share a block")
        return found.result("")
    bystanders = {record.id for record in _bystanders(history, strikes)}
    found.checked += strikes.named + strikes.nameless + len(bystanders)
    for record in history.requests:
        if record.id in bystanders and record.outcome == "error":
            _violation(found, BYSTANDER_FAILED, record, f"failed with {_error_text(record)}", {})
    affected = may_differ(history, fired)
    _wrong_answers(history, strikes, bystanders, affected, found)
    return found.result(
        _summary(strikes, len(bystanders)),
        **_affected_figures(history, affected),
        strikes=strikes.named + strikes.nameless,
        nameless=strikes.nameless,
        struck=len(strikes.requests),
        bystanders=len(bystanders),
    )


def _bystanders(history: History, strikes: Strikes) -> Iterator[RequestRecord]:
    """A prompt that, with its answer, never fills a block shares none."""
    size = history.plan.scenario.server.block_size
    for record in history.requests:
        alone = record.first_block is not None or record.prompt_tokens + record.max_tokens < size
        if alone and end_ns(record) >= strikes.first_ns and not strikes.can_have_touched(record):
            yield record


def _affected_figures(history: History, affected: set[str] | None) -> dict[str, int]:
    """How many requests read what was struck, and how many of their answers differ; by the log alone."""
    if affected is None:
        return {}
    different = [comparison.record.id for comparison in compared(history).different]
    return {"affected": len(affected), "affected_different": len(affected.intersection(different))}


def _wrong_answers(
    history: History, strikes: Strikes, bystanders: set[str], affected: set[str] | None, found: Findings
) -> None:
    for comparison in compared(history).different:
        record, standard = comparison.record, comparison.standard
        if affected is None:
            alone, why = record.id in bystanders and not strikes.can_have_touched(standard), SHARES_NONE
        else:
            alone = affected.isdisjoint((record.id, standard.id)) and end_ns(record) >= strikes.first_ns
            why = READ_NOTHING
        if alone:
            text = f"got a wrong answer, which differs from {standard.id} {comparison.difference}"
            figures = comparison.difference.figures if comparison.difference is not None else {}
            _violation(found, BYSTANDER_WRONG, record, text, figures, why)


def _violation(
    found: Findings, rule: Rule, record: RequestRecord, what: str, figures: Figures, why: str = SHARES_NONE
) -> None:
    text = f"request {record.id} ({record.phase}) {why}, but {what}"
    found.violation(rule, request(record.id), text, figures=figures, phase=record.phase, t_ns=record.start_ns)


def _error_text(record: RequestRecord) -> str:
    return f"{record.error.kind}: {record.error.message[:MAX_TEXT]}" if record.error else "no reason recorded"


def _summary(strikes: Strikes, bystanders: int) -> str:
    struck = f"{strikes.named} injections on {len(strikes.requests)} requests"
    if strikes.nameless:
        struck += f" and {strikes.nameless} that name no request"
    if not bystanders:
        return f"not applicable after {struck}: each other request may share a block with them"
    return f"{struck} affected none of {bystanders} other requests, which share no block with them"


ORACLE = Oracle(
    NAME,
    "a fault on the blocks of one request harms no other request",
    (FAULTS, REQUESTS, EVENTS),
    judge,
    RULES,
)
