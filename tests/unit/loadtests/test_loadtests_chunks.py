"""Events of both APIs add up to one answer, and what does not belong to it is refused, not taken in."""

from __future__ import annotations

import pytest

from loadtests.clients.event_decoder import MalformedChunk
from loadtests.clients.in_flight_request import StreamedResponse


def test_more_choices_than_requested_are_malformed() -> None:
    with pytest.raises(MalformedChunk, match="choice 1"):
        StreamedResponse().add({"choices": [{"index": 1, "text": "a"}]}, 0)


def whole(prompt_logprobs: object) -> dict[str, object]:
    choice = {"text": "a", "token_ids": [1], "finish_reason": "length", "prompt_logprobs": prompt_logprobs}
    return {"choices": [choice], "usage": {"prompt_tokens": 2, "completion_tokens": 1}}


def test_answer_without_prompt_logprobs_is_incomplete() -> None:
    answer = StreamedResponse(prompt=(7, 8))
    answer.add(whole(None), 0)
    (missing,) = answer.missing()
    assert "logprobs" in missing


@pytest.mark.parametrize(
    ("prompt_logprobs", "problem"),
    [
        ([None], "1 prompt"),
        ([None, {"9": {"logprob": -1.0}}], "'8'"),
        ([None, None], "'8'"),
    ],
)
def test_logprobs_of_another_prompt_are_malformed(prompt_logprobs: object, problem: str) -> None:
    with pytest.raises(MalformedChunk, match=problem):
        StreamedResponse(prompt=(7, 8)).add(whole(prompt_logprobs), 0)


def chat_event(*logprobs: float) -> dict[str, object]:
    token = {"logprob": logprobs[0], "top_logprobs": [{"logprob": each} for each in logprobs]}
    return {"choices": [{"delta": {"content": "a"}, "token_ids": [1], "logprobs": {"content": [token]}}]}


def test_chat_records_the_logprob_gap_to_the_next_token() -> None:
    answer = StreamedResponse(with_margins=True)
    for event in (chat_event(-2.0, -0.5, -2.0), chat_event(-1.0)):
        answer.add(event, 0)
    assert (answer.logprobs, answer.logprob_margins) == ([-2.0, -1.0], [1.5])


def test_chat_event_with_only_a_role_is_no_first_token() -> None:
    answer = StreamedResponse()
    answer.add({"choices": [{"delta": {"role": "assistant", "content": ""}}]}, 5)
    assert answer.first_us is None
    answer.add({"choices": [{"delta": {"content": "a"}}]}, 9)
    assert answer.first_us == 9


def tops(*logprobs: float) -> dict[str, object]:
    """One event with one token and the likeliest at its place."""
    top = {str(number): logprob for number, logprob in enumerate(logprobs)}
    shown = {"token_logprobs": [max(logprobs)], "top_logprobs": [top]}
    return {"choices": [{"text": "a", "token_ids": [1], "logprobs": shown}]}


def test_logprob_gap_is_recorded_only_when_requested() -> None:
    answer = StreamedResponse(with_margins=True)
    for event in (tops(-2.0, -0.5), tops(-1.0, -3.0, -1.25)):
        answer.add(event, 0)
    assert answer.logprob_margins == [1.5, 0.25]
    without = StreamedResponse()
    without.add(tops(-2.0, -0.5), 0)
    assert without.logprob_margins == []


def test_token_without_alternatives_has_no_logprob_gap() -> None:
    answer = StreamedResponse(with_margins=True)
    answer.add(tops(-2.0), 0)
    assert (answer.tokens, answer.logprob_margins) == (1, [])
