"""A tolerance that is too small fails right answers, one that is too large hides wrong ones."""

from __future__ import annotations

import math

import msgspec
import pytest

from history.records import RequestRecord
from kvchaos.calibration.answer_differences import (
    LEAST_NATS,
    MOST_NATS,
    ROOM,
    AnswerDifferences,
    common_tokens,
    over_pairs,
    problem,
)
from tests.support.synthetic_records import good_request


def answer(tokens: list[int], logprobs: list[float], margins: list[float] | None = None) -> RequestRecord:
    return msgspec.structs.replace(
        good_request("chaos-1", "prompt-1", "chaos", 0),
        token_ids=tokens,
        logprobs=logprobs,
        logprob_margins=[1.0] * len(tokens) if margins is None else margins,
    )


def measured(one: RequestRecord, other: RequestRecord) -> AnswerDifferences:
    return over_pairs([(one, other)])


def test_equal_answers_need_no_tolerance() -> None:
    found = measured(answer([1, 2], [-0.5, -1.0]), answer([1, 2], [-0.5, -1.0]))
    assert (found.equal, found.diverged, found.tolerance) == (1, 0, 0.0)
    assert problem(found) is None


def test_tolerance_has_room_over_the_largest_difference() -> None:
    found = measured(answer([1, 2], [-0.5, -1.0]), answer([1, 2], [-0.5, -1.01]))
    assert found.equal == 0
    assert found.largest == pytest.approx(0.01)
    assert found.tolerance == pytest.approx(ROOM * 0.01)


def test_least_difference_gets_the_least_tolerance() -> None:
    assert measured(answer([1], [-0.5]), answer([1], [-0.5 - 1e-9])).tolerance == LEAST_NATS


def test_other_token_counts_by_the_lead_of_the_likeliest() -> None:
    one = answer([1, 2, 9], [-0.5, -1.0, -3.0], [2.0, 0.02, 1.0])
    other = answer([1, 3, 8], [-0.5, -1.004, -4.0], [2.0, 0.03, 1.0])
    found = measured(one, other)
    assert (found.diverged, found.margin) == (1, 0.03)
    assert found.changed == pytest.approx(0.004)
    assert found.tolerance == pytest.approx(ROOM * 0.015)
    assert common_tokens(one, other) == 1


def test_tokens_after_the_first_different_one_are_not_compared() -> None:
    one = answer([1, 2, 9], [-0.5, -1.0, -3.0], [1.0, 0.01, 1.0])
    other = answer([1, 3, 9], [-0.5, -1.0, -9.0], [1.0, 0.01, 1.0])
    assert measured(one, other).largest == 0.0


def test_wrong_token_where_the_likeliest_led_is_no_rounding() -> None:
    found = measured(answer([1, 2], [-0.5, -0.1]), answer([1, 3], [-0.5, -0.1], [1.0, 4.0]))
    assert found.tolerance > MOST_NATS
    assert problem(found) is not None


def test_other_length_or_missing_margins_are_no_rounding() -> None:
    shorter = measured(answer([1, 2], [-0.5, -0.1]), answer([1], [-0.5]))
    assert shorter.margin == math.inf
    unknown = measured(answer([1], [-0.5], []), answer([2], [-0.5], []))
    assert unknown.margin == math.inf
    assert problem(shorter) is not None
    assert problem(unknown) is not None


def test_logprob_that_is_no_number_is_no_rounding() -> None:
    found = measured(answer([1], [-0.5]), answer([1], [math.nan]))
    assert problem(found) is not None


def test_run_without_pairs_measures_nothing() -> None:
    assert problem(over_pairs([])) is not None
