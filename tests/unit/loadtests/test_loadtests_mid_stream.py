"""The short way for events in mid-stream must add up to what the way for all events adds up to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.clients.completion_request import Job
from loadtests.clients.event_decoder import DONE, ErrorEvent, Event, MalformedChunk, TokenRun, decode, extend
from loadtests.clients.in_flight_request import EventConsumer, InFlightRequest, StreamedResponse
from loadtests.workloads.workload import Prompt
from tests.fakes.notes import Notes

Take = Callable[[Iterable[Event]], bool]

START_NS = 10**9
FIRST_NS = START_NS + 1_500
"""When the first event had arrived; the others 1 us after one another."""
PROMPT = Prompt(prompt_id="p", token_ids=(1, 2), max_tokens=8)
CHOICE: dict[str, Any] = {
    "index": 0,
    "text": "ab",
    "logprobs": {"token_logprobs": [-0.5, -1], "top_logprobs": [{"a": -0.5, "c": -1.5}, {"b": -1}]},
    "finish_reason": None,
    "token_ids": [7, 8],
}
TOKENS: dict[str, Any] = {"id": "cmpl-1", "choices": [CHOICE], "usage": None}
CHAT = {"delta": {"content": "a"}, "token_ids": [9], "logprobs": {"content": [{"logprob": -2.0}]}}
OTHERS: list[Any] = [
    {"choices": [CHOICE | {"finish_reason": "length"}]},
    {"choices": [CHOICE | {"index": 1}]},
    {"choices": [CHOICE | {"index": -1}]},
    {"choices": [CHOICE | {"token_ids": []}]},
    {"choices": [CHOICE | {"token_ids": None}]},
    {"choices": [CHOICE | {"token_ids": [7.5]}]},
    {"choices": [CHOICE | {"logprobs": None}]},
    {"choices": [CHOICE | {"logprobs": {"token_logprobs": [None]}}]},
    {"choices": [CHOICE | {"logprobs": {"token_logprobs": [-1.0], "content": [{"logprob": -3.0}]}}]},
    {"choices": [CHOICE | {"prompt_logprobs": [None, {"2": {"logprob": -1.0}}]}]},
    {"choices": [CHOICE], "prompt_logprobs": [None, {"2": {"logprob": -1.0}}]},
    {"choices": [CHOICE], "usage": {"prompt_tokens": 2, "completion_tokens": 2}},
    {"choices": [CHOICE], "error": {"message": "EngineCore died"}},
    {"choices": [CHOICE], "error": 0},
    {"choices": [CHOICE, CHOICE]},
    {"choices": [CHAT]},
    {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
    {"choices": []},
    {"choices": None},
    [],
]
PLAIN = json.dumps(TOKENS).encode()
EVENTS = [json.dumps(other).encode() for other in OTHERS] + [DONE, b"{", b'{"choices": [{"text": "\xff"}]}']


def attempt(choices: int, *, with_margins: bool) -> InFlightRequest:
    job = Job(id="a", prompt=PROMPT, phase="load", worker=0, scheduled_ns=0)
    answer = StreamedResponse(choices, prompt=PROMPT.token_ids, with_margins=with_margins)
    return InFlightRequest(job, None, answer, start_ns=0, start_mono_ns=START_NS, end_us=0)


def timed(events: Sequence[bytes]) -> list[Event]:
    return [(event, FIRST_NS + 1000 * index) for index, event in enumerate(events)]


def fast_path(in_flight: InFlightRequest, sink: Notes) -> Take:
    return EventConsumer(in_flight, sink).take


def full_decode(in_flight: InFlightRequest, sink: Notes) -> Take:
    def take(events: Iterable[Event]) -> bool:
        for data, arrived_ns in events:
            if data.startswith(DONE):
                return False
            sink.tokens(in_flight.answer.take(decode(data), in_flight.at_us(arrived_ns)))
        return True

    return take


def outcome(
    path: Callable[[InFlightRequest, Notes], Take],
    in_flight: InFlightRequest,
    batches: Sequence[Sequence[Event]],
) -> object:
    """All that is kept of a stream that was read in batches."""
    sink, failure, goes_on = Notes(), "", True
    take = path(in_flight, sink)
    try:
        for batch in batches:
            goes_on = goes_on and take(batch)
    except (ErrorEvent, MalformedChunk, ValueError) as error:
        failure = repr(error)
    return in_flight.record(), sum(sink.token_counts), goes_on, failure


@given(
    events=st.lists(st.just(PLAIN) | st.just(PLAIN) | st.sampled_from(EVENTS), max_size=8),
    cut=st.integers(min_value=0, max_value=8),
    choices=st.sampled_from((1, 1, 2)),
    with_margins=st.booleans(),
)
def test_fast_path_and_full_decode_give_equal_records(
    events: list[bytes], cut: int, choices: int, *, with_margins: bool
) -> None:
    batches = [timed(events)[:cut], timed(events)[cut:]]
    short = outcome(fast_path, attempt(choices, with_margins=with_margins), batches)
    long = outcome(full_decode, attempt(choices, with_margins=with_margins), batches)
    assert short == long


@pytest.mark.parametrize("other", EVENTS)
def test_irregular_event_ends_the_fast_path_and_is_kept(other: bytes) -> None:
    left = iter(timed([PLAIN, other, PLAIN]))
    run = TokenRun()
    stopped_at = extend(run, left)
    assert (run.token_ids, run.logprobs, run.chunk_tokens) == ([7, 8], [-0.5, -1.0], [2])
    assert stopped_at == (other, FIRST_NS + 1000)
    assert list(left) == [(PLAIN, FIRST_NS + 2000)]


def test_tokens_before_undecodable_bytes_are_kept() -> None:
    def broken() -> Iterator[Event]:
        yield from timed([PLAIN, PLAIN])
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    sink = Notes()
    in_flight = attempt(1, with_margins=False)
    with pytest.raises(UnicodeDecodeError):
        EventConsumer(in_flight, sink).take(broken())
    assert (in_flight.answer.token_ids, sink.token_counts) == ([7, 8, 7, 8], [4])


def test_events_read_together_are_reported_as_one_token_count() -> None:
    sink = Notes()
    in_flight = attempt(1, with_margins=False)
    assert EventConsumer(in_flight, sink).take(timed([PLAIN] * 3))
    assert sink.token_counts == [6]
    assert (in_flight.answer.first_us, in_flight.answer.chunk_us) == (1, [1, 2, 3])
