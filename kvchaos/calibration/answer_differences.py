"""How far the answers to equal prompts differ in a run without faults. Pure.

Answers are compared up to their first different token: what follows is another text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from history.reader import History
from history.records import RequestRecord
from oracles.answer_comparison import compare

ROOM = 1.5
"""The tolerance over what was measured: a run of a night has far more answers than a calibration."""
LEAST_NATS = 1e-6
"""The tolerance where anything differed at all."""
MOST_NATS = 0.5
"""Rounding does not change a probability by half; a server that differs so much gives wrong answers."""


@dataclass(frozen=True, slots=True)
class AnswerDifferences:
    """Over all pairs of answers to one prompt."""

    pairs: int
    equal: int
    """Bit for bit."""
    largest: float
    """The largest difference of the logprob of an equal token, nats."""
    diverged: int
    """Pairs with a different token."""
    margin: float
    """Of those the largest lead of the likeliest token over the second, nats; infinite where unknown."""
    changed: float
    """Of those the largest difference between the logprobs of the chosen tokens, nats."""

    @property
    def tolerance(self) -> float:
        """The tolerance of logprobs that lets these answers be equal, nats."""
        needed = max(self.largest, self.margin / 2, self.changed)
        return round(max(ROOM * needed, LEAST_NATS), 9) if needed else 0.0


def answer_differences(history: History) -> AnswerDifferences:
    """Measure all answers of a run that have a partner."""
    pairs = [(comparison.record, comparison.standard) for comparison in compare(history)]
    return over_pairs(pairs)


def over_pairs(pairs: Iterable[tuple[RequestRecord, RequestRecord]]) -> AnswerDifferences:
    """Measure pairs of answers to equal prompts."""
    count = equal = diverged = 0
    largest = margin = changed = 0.0
    for one, other in pairs:
        count += 1
        common = common_tokens(one, other)
        differences = [
            distance(left, right)
            for left, right in zip(one.logprobs[:common], other.logprobs[:common], strict=True)
        ]
        largest = max(largest, *differences, 0.0)
        if common < max(len(one.token_ids), len(other.token_ids)):
            diverged += 1
            margin = max(margin, _margin(one, common), _margin(other, common))
            changed = max(changed, _changed(one, other, common))
        elif not any(differences):
            equal += 1
    return AnswerDifferences(count, equal, largest, diverged, margin, changed)


def problem(differences: AnswerDifferences) -> str | None:
    """Why these differences are no rounding, or None."""
    if differences.pairs == 0:
        return "no two answers to one prompt could be compared"
    if not differences.tolerance <= MOST_NATS:
        return (
            "equal prompts got answers that differ by more than rounding: "
            f"logprobs of equal tokens by up to {differences.largest:.3g}; "
            f"{differences.diverged} of {differences.pairs} pairs have another token, "
            f"where the likeliest led by up to {differences.margin:.3g}"
        )
    return None


def distance(left: float, right: float) -> float:
    """Between two logprobs, nats; infinite where one is no number."""
    apart = abs(left - right)
    return math.inf if math.isnan(apart) else apart


def common_tokens(one: RequestRecord, other: RequestRecord) -> int:
    """Number of equal tokens at the begin of two answers."""
    shorter = min(len(one.token_ids), len(other.token_ids))
    for position in range(shorter):
        if one.token_ids[position] != other.token_ids[position]:
            return position
    return shorter


def _margin(record: RequestRecord, position: int) -> float:
    """The lead of the likeliest token at a position."""
    if position >= len(record.token_ids) or len(record.logprob_margins) != len(record.token_ids):
        return math.inf
    return record.logprob_margins[position]


def _changed(one: RequestRecord, other: RequestRecord, position: int) -> float:
    """The difference between the logprobs of the tokens that two answers chose."""
    if position >= min(len(one.logprobs), len(other.logprobs)):
        return math.inf
    return distance(one.logprobs[position], other.logprobs[position])
