"""Are the answers still the right ones? Compared with the golden ones, else with each other.

Bit for bit, unless the plan says that this build of the server is not exact. Then logprobs must be equal
within the plan's tolerance, and tokens as well, up to where two were so near that either could come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from history.columnar import Numbers
from history.events import PhaseEnd
from history.reader import History, per_history
from history.records import RequestRecord
from history.verdict import Figures, OracleResult, phase, request
from oracles.findings import Findings
from oracles.inputs import REQUESTS
from oracles.partners import Partners, alone_text, partners, whole_answers
from oracles.rule import Rule

NAME = "answers"
TELLING = 4
"""Logprobs that tell whose answer it is: no two prompts of ours share so many, bit for bit."""
LEAST_SHARE = 0.05
"""Of the planned answers, to be compared with golden ones. Faults and clients that leave take most of them in
some scenarios, and prompts without a golden answer in others."""
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
    "No answer begins as the answer to another prompt does.",
    "arithmetic",
    (REQUESTS,),
    NOT_COMPARED,
)
RULES = (NOT_GOLDEN, NOT_REPEATED, FOREIGN)


@dataclass(frozen=True, slots=True)
class Difference:
    """Where an answer is not what it must be."""

    text: str
    figures: Figures
    """`position`, or `prompt_position`, from 0, and the token and logprob that came and were due."""

    def __str__(self) -> str:
        return self.text


class Comparison(NamedTuple):
    """An answer beside the one of the same prompt that it must equal."""

    record: RequestRecord
    standard: RequestRecord
    golden: bool
    """Whether the standard is a golden answer; else it is the first answer to the prompt."""
    difference: Difference | None
    """The first place where they differ; None when they are equal, or part at a tie."""
    tie: bool
    """They part where the two likeliest tokens were as near as the tolerance is wide. What follows another
    token is another answer, and not compared."""


class Compared(NamedTuple):
    """All answers of a run that could be compared."""

    with_golden: int
    with_others: int
    ties: int
    """Of both."""
    different: list[Comparison]
    """Those that are not what they must be."""


def judge(history: History) -> OracleResult:
    """Token ids and logprobs of every good answer equal those of the golden answer, and so do the logprobs of
    the prompt where they were asked for. Text alone is blind to most damage: one flipped bit in a cached
    block moves nearly every logprob and hardly any token."""
    found = Findings(NAME)
    comparisons = compared(history)
    found.checked = comparisons.with_golden + comparisons.with_others
    if comparisons.different:
        owners = _owners(history)
        for comparison in comparisons.different:
            _violation(comparison, owners, found)
    if not comparisons.with_golden:
        found.gap("no-golden-answer", NOT_COMPARED)
    else:
        _few(history, comparisons.with_golden, found)
        _few_of_a_phase(partners(history), found)
    equal = (
        f"{comparisons.with_golden} answers equal the golden ones, "
        f"{comparisons.with_others} more their prompt's first"
    )
    alone = sum(each.alone for each in partners(history))
    return found.result(
        equal + _bound(history.plan.logprob_tolerance, comparisons.ties) + alone_text(partners(history)),
        with_golden=comparisons.with_golden,
        with_others=comparisons.with_others,
        ties=comparisons.ties,
        tolerance=history.plan.logprob_tolerance,
        **({"alone": alone} if alone else {}),
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
            text = f"phase {each.phase}: {each.with_golden} of {each.answers} answers have a golden one"
            figures = {"compared": each.with_golden, "answers": each.answers}
            found.gap("few-compared-in-phase", text, phase(each.phase), figures=figures)


def _bound(tolerance: float, ties: int) -> str:
    """How equal is meant, where it is not bit for bit."""
    if not tolerance:
        return ""
    text = f"; equal within {tolerance:g} (this build's sums depend on the batch)"
    return f"{text}, {ties} of them up to a tie" if ties else text


def compare(history: History) -> Iterator[Comparison]:
    """Every good answer beside the golden one of its prompt, else beside the prompt's first."""
    phases = {phase.name for phase in history.plan.scenario.phases if phase.role == "golden"}
    good = whole_answers(history)
    golden = _first_by_prompt(record for record in good if record.phase in phases)
    standards = _first_by_prompt(sorted(good, key=attrgetter("start_ns"))) | golden
    for record in good:
        standard = standards[record.prompt_id]
        if standard is not record:
            known = record.prompt_id in golden
            name = "golden" if known else "first"
            tolerance = history.plan.logprob_tolerance
            position = _first_difference(record, standard, tolerance)
            tie = position is not None and _is_tie(record, standard, position, tolerance)
            difference = None if position is None or tie else _difference_at(record, standard, name, position)
            difference = _prompt_difference(record, standard, name, tolerance) or difference
            if position is None and difference is None:
                difference = _other_end(record, standard, name)
            yield Comparison(record, standard, known, difference, tie)


@per_history
def compared(history: History) -> Compared:
    """How many of each sort, and those that differ."""
    counts: Counter[bool] = Counter()
    ties = 0
    different: list[Comparison] = []
    for comparison in compare(history):
        counts[comparison.golden] += 1
        ties += comparison.tie
        if comparison.difference is not None:
            different.append(comparison)
    return Compared(counts[True], counts[False], ties, different)


def _first_by_prompt(records: Iterable[RequestRecord]) -> dict[str, RequestRecord]:
    first: dict[str, RequestRecord] = {}
    for record in records:
        first.setdefault(record.prompt_id, record)
    return first


def _first_difference(record: RequestRecord, standard: RequestRecord, tolerance: float) -> int | None:
    unequal = (
        _first_unequal(record.token_ids, standard.token_ids, 0.0),
        _first_unequal(record.logprobs, standard.logprobs, tolerance),
    )
    return min((position for position in unequal if position is not None), default=None)


def _is_tie(record: RequestRecord, standard: RequestRecord, position: int, tolerance: float) -> bool:
    """Whether noise within the tolerance explains that another token came: in both answers the two likeliest
    ones were near each other, and the two that came were as likely."""
    pair = (record, standard)
    if not tolerance or any(len(one.gaps) != len(one.token_ids) for one in pair):
        return False
    if any(position >= len(one.token_ids) or one.gaps[position] > 2 * tolerance for one in pair):
        return False
    came, due = (one.logprobs[position] for one in pair)
    return record.token_ids[position] != standard.token_ids[position] and abs(came - due) <= tolerance


def _prompt_difference(
    record: RequestRecord, standard: RequestRecord, name: str, tolerance: float
) -> Difference | None:
    """The first token of the prompt whose logprob differs, where these were asked for."""
    one, other = record.prompt_logprobs, standard.prompt_logprobs
    position = _first_unequal(one, other, tolerance)
    if position is None:
        return None
    came, due = (
        repr(logprobs[position]) if position < len(logprobs) else "nothing" for logprobs in (one, other)
    )
    # The first token has none.
    figures: Figures = {"prompt_position": position + 1}
    figures |= _value("logprob", one, position) | _value("due_logprob", other, position)
    return Difference(f"at position {position + 1} of the prompt: logprob {came}, {name} {due}", figures)


def _other_end(record: RequestRecord, standard: RequestRecord, name: str) -> Difference | None:
    """The same tokens end for the same reason."""
    if record.finish_reason == standard.finish_reason:
        return None
    text = f"by its finish reason: {record.finish_reason}, {name} {standard.finish_reason}"
    return Difference(text, {"position": len(record.token_ids)})


def _difference_at(record: RequestRecord, standard: RequestRecord, name: str, position: int) -> Difference:
    figures: Figures = {"position": position}
    for prefix, answer in (("", record), ("due_", standard)):
        figures |= _value(f"{prefix}token", answer.token_ids, position)
        figures |= _value(f"{prefix}logprob", answer.logprobs, position)
    return Difference(
        f"at position {position}: {_at(record, position)}, {name} {_at(standard, position)}", figures
    )


def _value(name: str, values: Sequence[float], position: int) -> Figures:
    return {name: values[position]} if position < len(values) else {}


def _first_unequal(one: Sequence[float], other: Sequence[float], tolerance: float) -> int | None:
    if one is other and isinstance(one, Numbers):
        return None  # One answer, kept once when it was read. It holds no NaN, for which JSON has no number.
    for position, (left, right) in enumerate(zip(one, other, strict=False)):
        # Written so that a NaN is unequal to everything.
        if left != right and not abs(left - right) <= tolerance:
            return position
    return None if len(one) == len(other) else min(len(one), len(other))


def _at(record: RequestRecord, position: int) -> str:
    token = str(record.token_ids[position]) if position < len(record.token_ids) else "nothing"
    logprob = repr(record.logprobs[position]) if position < len(record.logprobs) else "nothing"
    return f"token {token} logprob {logprob}"


Owners = Mapping[tuple[float, ...], set[str]]
"""Whose answer it is, by the logprobs of its first tokens: the prompts that were answered so."""


def _owners(history: History) -> Owners:
    owners: dict[tuple[float, ...], set[str]] = {}
    for record in history.requests:
        if record.outcome == "ok" and len(record.logprobs) >= TELLING:
            owners.setdefault(_beginning(record), set()).add(record.prompt_id)
    return owners


def _beginning(record: RequestRecord) -> tuple[float, ...]:
    return tuple(record.logprobs[:TELLING])


def _violation(comparison: Comparison, owners: Owners, found: Findings) -> None:
    record = comparison.record
    text = (
        f"request {record.id} ({record.phase}), prompt {record.prompt_id}, "
        f"differs from {comparison.standard.id} {comparison.difference}"
    )
    rule = NOT_GOLDEN if comparison.golden else NOT_REPEATED
    foreign = sorted(owners.get(_beginning(record), set()) - {record.prompt_id})
    if foreign:
        rule = FOREIGN
        text += f"; it begins as the answer to another prompt does: {foreign[0]}"
    figures = comparison.difference.figures if comparison.difference is not None else {}
    found.violation(rule, request(record.id), text, figures=figures, phase=record.phase, t_ns=record.start_ns)
