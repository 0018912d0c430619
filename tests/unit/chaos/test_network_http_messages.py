"""Whose bytes are on a connection is known, however TCP cuts them into pieces."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from chaos.outside.network.http_message_tracker import HttpMessageTracker
from loadtests.mock import mock_response

BODY = b'{"prompt": [1, 2, 3]}'


def request(name: str, body: bytes = BODY) -> bytes:
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nX-Request-Id: {name}\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


def stream(events: int) -> bytes:
    return (
        mock_response.STREAM_HEAD
        + mock_response.chunk(b'{"choices":[]}') * events
        + mock_response.DONE
        + mock_response.STREAM_END
    )


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(bounds)]


@given(st.lists(st.integers(0, 10_000), max_size=12), st.integers(0, 3))
def test_request_is_open_from_its_head_to_the_last_answer_byte(cuts: list[int], events: int) -> None:
    begun: list[str] = []
    exchanges = HttpMessageTracker(begun.append)
    for name, answer in (
        ("a", stream(events)),
        ("b", mock_response.response(400, {"no": 1})),
        ("c", stream(events)),
    ):
        for piece in pieces(request(name), cuts):
            exchanges.request_bytes(piece)
        assert exchanges.open == name
        for piece in pieces(answer[:-1], cuts):
            exchanges.response_bytes(piece)
        assert exchanges.open == name
        exchanges.response_bytes(answer[-1:])
        assert exchanges.open is None
    assert begun == ["a", "b", "c"]


def test_answer_without_body_is_complete_after_its_head() -> None:
    exchanges = HttpMessageTracker(lambda _: None)
    exchanges.request_bytes(request("a"))
    exchanges.response_bytes(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert exchanges.open is None


def test_streamed_answer_without_events_is_complete_after_done() -> None:
    exchanges = HttpMessageTracker(lambda _: None)
    exchanges.request_bytes(request("a"))
    exchanges.response_bytes(mock_response.STREAM_HEAD + mock_response.STREAM_END)
    assert exchanges.open is None


def test_informational_response_does_not_end_a_request() -> None:
    exchanges = HttpMessageTracker(lambda _: None)
    exchanges.request_bytes(request("a"))
    exchanges.response_bytes(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert exchanges.open == "a"
    exchanges.response_bytes(mock_response.response(200, {}))
    assert exchanges.open is None


def test_end_mark_inside_a_chunk_does_not_end_a_response() -> None:
    exchanges = HttpMessageTracker(lambda _: None)
    exchanges.request_bytes(request("a"))
    exchanges.response_bytes(mock_response.STREAM_HEAD + b"20\r\n\r\n0\r\n\r\n")
    assert exchanges.open == "a"


def test_request_without_id_is_tracked_as_open() -> None:
    exchanges = HttpMessageTracker(lambda _: None)
    exchanges.request_bytes(b"GET /health HTTP/1.1\r\n\r\n")
    assert exchanges.open == ""


def test_bytes_other_than_http_open_no_request_and_are_dropped() -> None:
    begun: list[str] = []
    exchanges = HttpMessageTracker(begun.append)
    for _ in range(3):
        exchanges.request_bytes(b"x" * (64 << 10))
    exchanges.request_bytes(b"POST / HTTP/1.1\r\ncontent-length: one\r\n\r\n")
    assert exchanges.open is None
    assert begun == []


def test_invalid_content_length_stops_request_tracking() -> None:
    for length in (b"one", b"-1", b"9" * 30):
        begun: list[str] = []
        exchanges = HttpMessageTracker(begun.append)
        exchanges.request_bytes(
            b"POST / HTTP/1.1\r\nx-request-id: a\r\ncontent-length: " + length + b"\r\n\r\n"
        )
        exchanges.request_bytes(request("b"))
        assert begun == ["a"]
