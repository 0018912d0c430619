"""Are the answers still the right ones? Compared with the golden ones, else with each other.

Bit for bit, unless the plan says that this build of the server is not exact. Then logprobs must be equal
within the plan's tolerance, and tokens as well, up to where two were so near that either could come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from history.events import PhaseEnd
from history.reader import History
from history.records import RequestRecord
from history.verdict import OracleResult, phase, request
from oracles.answer_comparison import Compared, Comparison, Partners, alone_text, compared, partners
from oracles.answer_markers import MarkedAnswers, marked_answers, marker_text
from oracles.findings import REQUESTS, Findings, Oracle, Rule

NAME = "answers"
TELLING = 4
"""First tokens with their logprobs that identify an answer. A model that is sure of its tokens gives equal
logprobs to different ones, so logprobs alone do not."""
LEAST_SHARE = 0.05
"""Least share of the planned answers that must be compared with golden ones. In some scenarios, faults and
aborts prevent most comparisons, in others prompts without a golden answer do."""
NOT_COMPARED = "no answer could be compared with a golden one"
NOT_GOLDEN = Rule(
    "answers/not-golden",
    "An answer has the tokens, logprobs and finish reason of the golden answer to its prompt.",
    "arithmetic",
    (REQUESTS,),
    NOT_COMPARED,
)
NOT_REPEATED = Rule(
    "answers/not-repeated",
    "An answer without a golden one has those of the first answer to its prompt.",
    "arithmetic",
    (REQUESTS,),
    NOT_COMPARED,
)
FOREIGN = Rule(
    "answers/foreign",
    "No answer begins like the answer to another prompt, or with a marker of another prefix.",
    "arithmetic",
    (REQUESTS,),
    f"{NOT_COMPARED}, and no prompt asks for a marker",
)
RULES = (NOT_GOLDEN, NOT_REPEATED, FOREIGN)


def judge(history: History) -> OracleResult:
    """Judge token ids and logprobs of every good answer against the golden answer, bit for bit.

    Logprobs of the prompt count where they were requested. Text alone misses most damage: one flipped bit in
    a cached block changes nearly every logprob and hardly any token. Answers to prompts that ask for a marker
    are judged without golden answers, too.
    """
    found = Findings(NAME)
    comparisons = compared(history)
    found.checked = comparisons.with_golden + comparisons.with_others
    marked = marked_answers(history)
    if comparisons.different:
        owners = _owners(history)
        for comparison in comparisons.different:
            _violation(comparison, owners, marked, found)
    _foreign_markers(history, comparisons, marked, found)
    if not comparisons.with_golden:
        found.gap("no-golden-answer", NOT_COMPARED)
    else:
        _few(history, comparisons.with_golden, found)
        _few_of_a_phase(partners(history), found)
    equal = (
        f"{comparisons.with_golden} answers equal the golden answers, "
        f"{comparisons.with_others} more equal the first answer to their prompt"
    )
    alone = sum(each.alone for each in partners(history))
    return found.result(
        equal
        + _bound(history.plan.logprob_tolerance, comparisons.ties)
        + alone_text(partners(history))
        + marker_text(marked),
        with_golden=comparisons.with_golden,
        with_others=comparisons.with_others,
        ties=comparisons.ties,
        tolerance=history.plan.logprob_tolerance,
        **({"alone": alone} if alone else {}),
        **({"marked": marked.answers, "own_marker": marked.own} if marked.answers else {}),
    )


def _few(history: History, compared: int, found: Findings) -> None:
    """A share of the requests whose workload has golden answers was compared, not only a few."""
    scenario = history.plan.scenario
    golden = {spec.workload for spec in scenario.phases if spec.role == "golden"}
    whole = {event.data.phase for event in history.events_of(PhaseEnd) if event.data.reason == "done"}
    planned = sum(
        spec.requests
        for spec in scenario.phases
        if spec.role != "golden" and spec.workload in golden and spec.name in whole
    )
    if compared < LEAST_SHARE * planned:
        text = f"only {compared} of {planned} planned answers could be compared with a golden one"
        found.gap("few-compared", text, figures={"compared": compared, "planned": planned})


def _few_of_a_phase(phases: Iterable[Partners], found: Findings) -> None:
    """Where a workload has golden answers, each phase that sends it was compared with them."""
    for each in phases:
        if each.is_promised and each.with_golden < LEAST_SHARE * each.answers:
            text = (
                f"phase {each.phase}: only {each.with_golden} of {each.answers} answers have a golden answer"
            )
            figures = {"compared": each.with_golden, "answers": each.answers}
            found.gap("few-compared-in-phase", text, phase(each.phase), figures=figures)


def _bound(tolerance: float, ties: int) -> str:
    """How equal is meant, where it is not bit for bit."""
    if not tolerance:
        return ""
    text = f"; equal means within {tolerance:g}, since sums of this build depend on the batch"
    return f"{text}; {ties} are equal up to a tie" if ties else text


Beginning = tuple[tuple[float, ...], tuple[float, ...]]
"""The first tokens of an answer, where the server sends them, and their logprobs."""
Owners = Mapping[Beginning, set[str]]
"""Whose answer it is, by its beginning: the prompts that were answered so."""


def _owners(history: History) -> Owners:
    owners: dict[Beginning, set[str]] = {}
    for record in history.requests:
        if record.outcome == "ok" and len(record.logprobs) >= TELLING:
            owners.setdefault(_beginning(record), set()).add(record.prompt_id)
    return owners


def _beginning(record: RequestRecord) -> Beginning:
    return tuple(record.token_ids[:TELLING]), tuple(record.logprobs[:TELLING])


def _violation(comparison: Comparison, owners: Owners, marked: MarkedAnswers, found: Findings) -> None:
    record = comparison.record
    text = (
        f"the answer to request {record.id} ({record.phase}, prompt {record.prompt_id}) "
        f"differs from {comparison.standard.id} {comparison.difference}"
    )
    rule = NOT_GOLDEN if comparison.golden else NOT_REPEATED
    foreign = sorted(owners.get(_beginning(record), set()) - {record.prompt_id})
    if record.id in marked.foreign:
        rule = FOREIGN
        text += f"; it begins with the marker of prompt {marked.foreign[record.id]}"
    elif foreign:
        rule = FOREIGN
        text += f"; it begins like the answer to prompt {foreign[0]}"
    figures = comparison.difference.figures if comparison.difference is not None else {}
    found.violation(rule, request(record.id), text, figures=figures, phase=record.phase, t_ns=record.start_ns)


def _foreign_markers(history: History, comparisons: Compared, marked: MarkedAnswers, found: Findings) -> None:
    """Answers with the marker of another prompt that no comparison found different."""
    different = {comparison.record.id for comparison in comparisons.different}
    for record in history.requests:
        prompt = marked.foreign.get(record.id)
        if prompt is not None and record.id not in different:
            text = (
                f"the answer to request {record.id} ({record.phase}, prompt {record.prompt_id}) "
                f"begins with the marker of prompt {prompt}"
            )
            found.violation(FOREIGN, request(record.id), text, phase=record.phase, t_ns=record.start_ns)


ORACLE = Oracle(
    NAME, "answers equal the golden ones, bit for bit where the build allows", (REQUESTS,), judge, RULES
)
