"""Packing must not change a record: what is told of it is what was measured, to the last bit."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from history.columnar import Numbers, Ragged, joined, packed, reals, wholes
from history.records import RequestRecord
from tests.support.synthetic_records import START_NS, good_request

TIMES = st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 10**6), max_size=6)
WHOLES = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 500), max_size=6)
LOGPROBS = st.lists(
    st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0]), max_size=6
)


def record(request_id: str = "a", prompt_id: str = "p", **changes: object) -> RequestRecord:
    return msgspec.structs.replace(good_request(request_id, prompt_id, "golden", START_NS), **changes)


def again(one: RequestRecord) -> RequestRecord:
    """The same content with no object in common."""
    return msgspec.json.decode(msgspec.json.encode(one), type=RequestRecord)


@given(st.lists(st.tuples(st.sampled_from("pqr"), TIMES, WHOLES, WHOLES, LOGPROBS), max_size=8))
def test_packed_record_equals_the_original(
    parts: list[tuple[str, list[int], list[int], list[int], list[float]]],
) -> None:
    records = [
        record(prompt_id=prompt, chunk_us=times, chunk_tokens=tokens, token_ids=token_ids, logprobs=logprobs)
        for prompt, times, tokens, token_ids, logprobs in parts
    ]
    small = packed(map(again, records))
    assert small == records
    for one, was in zip(small, records, strict=True):
        assert list(map(repr, one.logprobs)) == list(map(repr, was.logprobs))


def test_equal_answers_to_a_prompt_are_stored_once() -> None:
    first, second, other = packed([again(record("a")), again(record("b")), again(record("c", "q"))])
    assert first.logprobs is second.logprobs
    assert first.token_ids is second.token_ids
    assert first.usage is second.usage is other.usage
    assert first.logprobs == other.logprobs


def test_answer_that_differs_in_the_last_bit_is_stored_separately() -> None:
    logprobs = [-0.5, -0.25, -1.75, math.nextafter(-0.125, 0)]
    first, second = packed([again(record("a")), again(record("b", logprobs=logprobs))])
    assert first.logprobs != second.logprobs
    assert list(second.logprobs) == logprobs


@given(st.lists(TIMES | TIMES.map(lambda times: Numbers("q", times)), max_size=5))
def test_joined_integer_arrays_keep_their_order_for_any_type(parts: list[list[int]]) -> None:
    assert joined(parts).tolist() == [value for part in parts for value in part]


@given(st.lists(st.lists(st.integers(-50, 50), max_size=4), max_size=6))
def test_sums_and_falls_stay_within_their_sequence(parts: list[list[int]]) -> None:
    for stored in (parts, [Numbers("q", part) for part in parts]):
        ragged: Ragged = wholes(stored)
        assert ragged.sums().tolist() == [sum(part) for part in parts]
        falls = [later < earlier for part in parts for earlier, later in pairwise([*part[:1], *part])]
        assert ragged.falls().tolist() == falls


@given(st.lists(LOGPROBS | LOGPROBS.map(lambda values: Numbers("d", values)), max_size=5))
def test_joined_float_arrays_keep_their_order_for_any_type(parts: list[list[float]]) -> None:
    assert reals(parts).values.tolist() == [value for part in parts for value in part]


@pytest.mark.parametrize("values", [[1, 2], [2**40], [-1]])
def test_numbers_compare_equal_across_array_types(values: list[int]) -> None:
    assert Numbers("q", values) == values
    assert values == Numbers("q", values)
    assert Numbers("q", values) != [*values, 1]
    assert Numbers("I", [1]) == Numbers("q", [1])
