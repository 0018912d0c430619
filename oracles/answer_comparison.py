"""Compares each answer with the golden answer to its prompt, or with the prompt's first answer.

Shows where they differ, and which answers have no other to be compared with.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from history.columnar import Numbers
from history.reader import History, per_history
from history.records import PROBE, RequestRecord
from history.verdict import Figures


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference of an answer to what it must be."""

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
    """Comparisons with a tie."""
    different: list[Comparison]
    """Comparisons with a difference."""


def compare(history: History) -> Iterator[Comparison]:
    """Every good answer beside the golden one of its prompt, else beside the prompt's first."""
    phases = {phase.name for phase in history.plan.scenario.phases if phase.role == "golden"}
    good = whole_answers(history)
    golden = _first_by_prompt(record for record in good if record.phase in phases)
    standards = _first_by_prompt(sorted(good, key=attrgetter("start_ns"))) | golden
    for record in good:
        standard = standards[record.prompt_id]
        known = record.prompt_id in golden
        if standard is record:
            continue
        if _is_same(record, standard):
            yield Comparison(record, standard, known, None, tie=False)
        else:
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


def _is_same(record: RequestRecord, standard: RequestRecord) -> bool:
    """Whether both are one answer, kept once when it was read. It has no NaN: JSON has no number for it."""
    return (
        record.token_ids is standard.token_ids
        and record.logprobs is standard.logprobs
        and isinstance(record.token_ids, Numbers)
        and isinstance(record.logprobs, Numbers)
        and not record.prompt_logprobs
        and not standard.prompt_logprobs
        and record.finish_reason == standard.finish_reason
    )


def _first_difference(record: RequestRecord, standard: RequestRecord, tolerance: float) -> int | None:
    unequal = (
        _first_unequal(record.token_ids, standard.token_ids, 0.0),
        _first_unequal(record.logprobs, standard.logprobs, tolerance),
    )
    return min((position for position in unequal if position is not None), default=None)


def _is_tie(record: RequestRecord, standard: RequestRecord, position: int, tolerance: float) -> bool:
    """Whether noise within the tolerance explains that another token was chosen.

    In a tie the two likeliest tokens are close in both answers, and the chosen ones are as likely.
    """
    pair = (record, standard)
    if not tolerance or any(len(one.logprob_margins) != len(one.token_ids) for one in pair):
        return False
    if any(position >= len(one.token_ids) or one.logprob_margins[position] > 2 * tolerance for one in pair):
        return False
    came, due = (one.logprobs[position] for one in pair)
    return record.token_ids[position] != standard.token_ids[position] and abs(came - due) <= tolerance


def _prompt_difference(
    record: RequestRecord, standard: RequestRecord, name: str, tolerance: float
) -> Difference | None:
    """The first token of the prompt whose logprob differs, where these were requested."""
    one, other = record.prompt_logprobs, standard.prompt_logprobs
    position = _first_unequal(one, other, tolerance)
    if position is None:
        return None
    came, due = (
        repr(logprobs[position]) if position < len(logprobs) else "none" for logprobs in (one, other)
    )
    # The first token has none.
    figures: Figures = {"prompt_position": position + 1}
    figures |= _value("logprob", one, position) | _value("due_logprob", other, position)
    return Difference(
        f"in the logprob of prompt token {position + 1}: it is {came}, the {name} answer has {due}", figures
    )


def _other_end(record: RequestRecord, standard: RequestRecord, name: str) -> Difference | None:
    """The same tokens end for the same reason."""
    if record.finish_reason == standard.finish_reason:
        return None
    text = (
        f"in its finish reason: it is {record.finish_reason}, the {name} answer has {standard.finish_reason}"
    )
    return Difference(text, {"position": len(record.token_ids)})


def _difference_at(record: RequestRecord, standard: RequestRecord, name: str, position: int) -> Difference:
    figures: Figures = {"position": position}
    for prefix, answer in (("", record), ("due_", standard)):
        figures |= _value(f"{prefix}token", answer.token_ids, position)
        figures |= _value(f"{prefix}logprob", answer.logprobs, position)
    came, due = _at(record, position), _at(standard, position)
    return Difference(f"at position {position}: it has {came}, the {name} answer has {due}", figures)


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
    token = f"token {record.token_ids[position]}" if position < len(record.token_ids) else "no token"
    logprob = f"logprob {record.logprobs[position]!r}" if position < len(record.logprobs) else "no logprob"
    return f"{token} with {logprob}"


BROKEN_OFF = "abort"
"""The finish reason of an answer that the server broke off. Whether it may, another oracle says."""


@dataclass(frozen=True, slots=True)
class Partners:
    """The complete answers of a phase that is not golden, by prompt."""

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
    return [record for record in history.requests if is_whole(record) and record.phase != PROBE]


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
    return f"; not compared, since no other answer to their prompt came: {named}" if named else ""
