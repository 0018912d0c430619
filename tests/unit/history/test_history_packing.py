"""Packing must not change a record: what is told of it is what was measured, to the last bit."""

from __future__ import annotations

import math
import tempfile
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from history import layout, request_reader
from history.columnar import Numbers, Ragged, joined, reals, wholes
from history.jsonl import UnreadableRun
from history.records import RequestRecord
from history.request_reader import read_requests
from tests.support.synthetic_records import START_NS, good_request

TIMES = st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 10**6), max_size=6)
WHOLES = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 500), max_size=6)
LOGPROBS = st.lists(
    st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0]), max_size=6
)


def record(request_id: str = "a", prompt_id: str = "p", **changes: object) -> RequestRecord:
    return msgspec.structs.replace(good_request(request_id, prompt_id, "golden", START_NS), **changes)


def read_back(records: list[RequestRecord]) -> list[RequestRecord]:
    """What is read of a file with these records."""
    return read_text(b"".join(msgspec.json.encode(one) + b"\n" for one in records))


def read_text(lines: bytes) -> list[RequestRecord]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / layout.REQUESTS_GLOB.replace("*", "0")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(lines)
        return read_requests(Path(folder))


@given(st.lists(st.tuples(st.sampled_from("pqr"), TIMES, WHOLES, WHOLES, LOGPROBS), max_size=8))
def test_packed_record_equals_the_original(
    parts: list[tuple[str, list[int], list[int], list[int], list[float]]],
) -> None:
    records = [
        record(prompt_id=prompt, chunk_us=times, chunk_tokens=tokens, token_ids=token_ids, logprobs=logprobs)
        for prompt, times, tokens, token_ids, logprobs in parts
    ]
    small = read_back(records)
    assert small == records
    for one, was in zip(small, records, strict=True):
        assert list(map(repr, one.logprobs)) == list(map(repr, was.logprobs))


def test_equal_answers_to_a_prompt_are_stored_once() -> None:
    first, second, other = read_back([record("a"), record("b"), record("c", "q")])
    assert first.logprobs is second.logprobs
    assert first.token_ids is second.token_ids
    assert first.usage is second.usage is other.usage
    assert first.logprobs == other.logprobs


def test_answer_that_differs_in_the_last_bit_is_stored_separately() -> None:
    logprobs = [-0.5, -0.25, -1.75, math.nextafter(-0.125, 0)]
    first, second = read_back([record("a"), record("b", logprobs=logprobs)])
    assert first.logprobs != second.logprobs
    assert list(second.logprobs) == logprobs


def test_record_with_an_answer_read_before_is_not_equal_to_another_request() -> None:
    first, second = read_back([record("a"), record("b")])
    assert first != second
    assert second == record("b")
    assert record("b") == second


def test_answers_are_the_same_when_no_text_may_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [record("a"), record("b"), record("c", token_ids=[1, 2]), record("d", logprobs=[-0.0])]
    kept = read_back(records)
    monkeypatch.setattr(request_reader, "TEXT_BUDGET", 0)
    assert read_back(records) == kept == records


def test_spaces_between_numbers_make_no_other_answer() -> None:
    line = msgspec.json.encode(record("a")) + b"\n"
    first, second = read_text(line + line.replace(b",", b" , "))
    assert first == second
    assert first.token_ids is second.token_ids


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("token_ids", b'[1,"2"]'),
        ("token_ids", b"null"),
        ("token_ids", b"[1,99999999999999999999]"),
        ("logprobs", b"[true]"),
        ("logprobs", b'["\xff"]'),
        ("chunk_tokens", b"{}"),
        ("usage", b'{"prompt_tokens":1}'),
        ("usage", b'{"prompt_tokens":1,"completion_tokens":1,"other_tokens":1}'),
    ],
)
def test_invalid_long_field_is_reported_with_line_and_name(field: str, text: bytes) -> None:
    good = msgspec.json.encode(record("a"))
    value = msgspec.json.encode(getattr(record("a"), field))
    bad = good.replace(b'"%b":%b' % (field.encode(), value), b'"%b":%b' % (field.encode(), text))
    assert bad != good
    with pytest.raises(UnreadableRun, match=rf":2: .*{field}"):
        read_text(good + b"\n" + bad + b"\n")


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
