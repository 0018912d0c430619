"""An answer must be read as the same whole, and never as more, wherever the network cuts it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.connections.response_arrivals import ResponseParser

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Reading:
    """What a parser says of an answer."""

    status: int | None
    body: bytes
    whole: bool
    keeps_alive: bool
    failure: str | None


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def read(parser: ResponseParser, *pieces: bytes) -> Reading:
    """One after the other."""
    body = b""
    parser.begin()
    for piece in pieces:
        parser.feed([piece])
        body += b"".join(parser.pieces)
        if parser.failure or parser.whole:
            break
    return reading(parser, body)


def reading(parser: ResponseParser, body: bytes) -> Reading:
    failure = str(parser.failure) if parser.failure else None
    return Reading(parser.status, body, parser.whole, parser.keeps_alive, failure)


def cut(content: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(at % (len(content) + 1) for at in cuts), len(content)]
    return [content[begin:end] for begin, end in pairwise(edges) if begin < end]


WHOLE = Reading(200, b"data: a\n\ndata: b\n\n", whole=True, keeps_alive=True, failure=None)
ANSWER = CHUNKED + chunk(b"data: a\n\n") + chunk(b"data: b\n\n") + b"0\r\n\r\n"


@given(st.lists(st.integers(min_value=0, max_value=500), max_size=20))
def test_chunked_answer_is_parsed_at_any_split(cuts: list[int]) -> None:
    assert read(ResponseParser(), *cut(ANSWER, cuts)) == WHOLE


@given(cuts=st.lists(st.integers(min_value=0, max_value=500), max_size=20), together=st.integers(1, 5))
def test_parser_gives_equal_results_for_batched_and_single_pieces(cuts: list[int], together: int) -> None:
    pieces = cut(ANSWER, cuts)
    one_by_one, at_once = ResponseParser(), ResponseParser()
    expected = [end for piece in pieces for end in one_by_one.feed([piece])]
    body, ends = b"", []
    for begin in range(0, len(pieces), together):
        ends += at_once.feed(pieces[begin : begin + together])
        body += b"".join(at_once.pieces)
    assert ends == expected
    assert ends[-1] == len(WHOLE.body)
    assert reading(at_once, body) == WHOLE


def test_bytes_before_a_parse_failure_are_returned() -> None:
    parser = ResponseParser()
    ends = parser.feed([CHUNKED, chunk(b"data: a\n\n"), b"no length\r\n", chunk(b"data: b\n\n")])
    assert ends == [0, 9, 9]
    assert b"".join(parser.pieces) == b"data: a\n\n"
    assert parser.failure is not None


def test_connection_closed_after_a_complete_answer_keeps_it_complete() -> None:
    parser = ResponseParser()
    parser.feed([ANSWER, b""])
    assert (parser.whole, parser.failure, parser.keeps_alive) == (True, None, False)


def test_the_headers_are_those_of_the_answer_itself() -> None:
    parser = ResponseParser()
    parser.feed([b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" + ANSWER])
    assert parser.headers == [(b"content-type", b"text/event-stream"), (b"transfer-encoding", b"chunked")]


def test_answer_is_parsed_byte_by_byte() -> None:
    assert read(ResponseParser(), *(ANSWER[at : at + 1] for at in range(len(ANSWER)))) == WHOLE


def test_event_may_span_chunks_and_a_chunk_may_contain_many() -> None:
    spread = CHUNKED + b"".join(chunk(bytes([byte])) for byte in WHOLE.body) + b"0\r\n\r\n"
    together = CHUNKED + chunk(WHOLE.body) + b"0\r\n\r\n"
    assert read(ResponseParser(), spread) == read(ResponseParser(), together) == WHOLE


def test_extensions_of_chunks_and_trailers_are_no_part_of_the_body() -> None:
    answer = CHUNKED + b"9;name=value\r\ndata: a\n\n\r\n9\r\ndata: b\n\n\r\n0\r\ntrailer: x\r\n\r\n"
    assert read(ResponseParser(), answer) == WHOLE


def test_consecutive_answers_are_parsed_on_one_connection() -> None:
    parser = ResponseParser()
    short = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}"
    assert read(parser, ANSWER) == WHOLE
    assert read(parser, short) == Reading(400, b"{}", whole=True, keeps_alive=True, failure=None)
    assert read(parser, ANSWER) == WHOLE


@pytest.mark.parametrize("end", range(1, len(ANSWER)))
def test_truncated_answer_is_incomplete(end: int) -> None:
    reading = read(ResponseParser(), ANSWER[:end], b"")
    assert not reading.whole
    assert not reading.keeps_alive
    assert reading.failure is not None
    assert reading.status == (None if end < len(CHUNKED) else 200)


def test_a_body_without_length_lasts_until_the_connection_is_closed() -> None:
    reading = read(ResponseParser(), HEAD + b"\r\ndata: a\n\n", b"data: b\n\n", b"")
    assert (reading.body, reading.whole, reading.keeps_alive) == (WHOLE.body, True, False)


def test_connection_close_header_prevents_reuse() -> None:
    closing = CHUNKED.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    reading = read(ResponseParser(), ANSWER.replace(CHUNKED, closing))
    assert (reading.body, reading.whole, reading.keeps_alive) == (WHOLE.body, True, False)


def test_informational_response_is_not_the_answer() -> None:
    assert read(ResponseParser(), b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", ANSWER) == WHOLE


def test_surplus_bytes_are_not_the_next_answer() -> None:
    reading = read(ResponseParser(), ANSWER + b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n")
    assert (reading.status, reading.whole, reading.keeps_alive) == (200, True, False)


def test_bytes_other_than_http_fail_after_the_preceding_answer() -> None:
    reading = read(ResponseParser(), CHUNKED + chunk(b"data: a\n\n") + b"not a length\r\n")
    assert (reading.status, reading.body, reading.whole) == (200, b"data: a\n\n", False)
    assert reading.failure is not None
    assert reading.failure.startswith("no HTTP: ")
    assert read(ResponseParser(), b"SSH-2.0-OpenSSH\r\n").status is None


def test_an_answer_in_another_protocol_is_a_failure() -> None:
    upgrade = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
    assert read(ResponseParser(), upgrade).failure is not None
