"""Our ways through a stream must lead to exactly what the openai client's own way leads to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Self

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.clients.event_decoder import (
    DONE,
    Chunk,
    ErrorEvent,
    EventReader,
    MalformedChunk,
    chunk_of,
    decode,
)
from loadtests.clients.openai_stream import CONNECTION, ChunkStream
from loadtests.connections.response_arrivals import RxTimestamps

TOKEN = {"choices": [{"index": 0, "text": "é", "token_ids": [195], "logprobs": {"token_logprobs": [-0.5]}}]}
USAGE: dict[str, Any] = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}, "error": None}
EVENTS = [
    json.dumps(TOKEN, ensure_ascii=False).encode(),
    json.dumps(TOKEN | {"unknown": [{}]}).encode(),
    json.dumps(USAGE).encode(),
    b"[DONE]",
    b"[DONE] and more",
    b'{"error": {"message": "EngineCore died", "code": 500}}',
    b'{"error": {"message": 5}}',
    b'{"error": "all is lost", "choices": []}',
    b'{"error": {}, "choices": []}',
    b'{"choices": [], "usage": null, "error": 0}',
    b'{"choices": "none"}',
    b'{"choices": [{"index": 0, "text": "a", "logprobs": {"token_logprobs": [NaN]}}]}',
    b'{"choices": [{"index": "0"}]}',
    b'{"choices": [{"index": 0, "text": "\xff"}]}',
    b'{"choices": [}',
    b"{not json",
    b"null",
    b"5",
    b"",
]
FRAMES = [
    b"data: %b\n\n",
    b"data:%b\n\n",
    b"data:  %b\n\n",
    b"data: %b\r\n\r\n",
    b"data: %b\r\r",
    b"data: %b\n\n\n\n",
    b": a comment\n\ndata: %b\n\n",
    b": a comment\ndata: %b\n\n",
    b"event: message\ndata: %b\n\n",
    b"data: %b\nid: 5\n\n",
    b"retry: 5\n\ndata: %b\n\n",
    b"data: \ndata: %b\n\n",
    b"data: %b",
    b"data: %b\n",
]
HEADERS = {"content-type": "text/event-stream"}


@dataclass(frozen=True)
class Outcome:
    """What a reader of the stream lives through."""

    chunks: list[tuple[Chunk, int]]
    """Each with the count of pieces that had arrived by then: none is told later than it could be, nor said
    to have arrived at another time."""
    failure: type[BaseException] | None
    detail: str
    body: object


class Body(httpx2.SyncByteStream):
    """A body that arrives in pieces, then ends or breaks."""

    def __init__(self, pieces: list[bytes], *, breaks: bool) -> None:
        self._pieces = pieces
        self._breaks = breaks
        self.closed = False
        self.taken = 0
        self.arrivals = RxTimestamps(0)

    def __iter__(self) -> Iterator[bytes]:
        ends = accumulate(map(len, self._pieces))
        for piece, end in zip(self._pieces, ends, strict=True):
            self.taken += 1
            self.arrivals.add([end], [self.taken])
            yield piece
        if self._breaks:
            raise httpx2.RemoteProtocolError("peer closed connection")

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader() as made:
        yield made


class Reader:
    """An openai client whose next response is given to it."""

    def __init__(self) -> None:
        self._body = Body([], breaks=False)
        self._api = openai.OpenAI(
            base_url="http://127.0.0.1:1/v1",
            api_key="none",
            max_retries=0,
            http_client=httpx2.Client(transport=httpx2.MockTransport(self._respond)),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()

    def _respond(self, _: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=HEADERS, stream=self._body, extensions={CONNECTION: self._body})

    def all(self, content: bytes, cuts: list[int], *, breaks: bool) -> tuple[Outcome, Outcome, Outcome]:
        """The openai client's own way, ours within it, and that of the lean client, over the same pieces."""
        edges = [0, *sorted(cut % (len(content) + 1) for cut in cuts), len(content)]
        pieces = [content[begin:end] for begin, end in pairwise(edges) if begin < end]
        own = self._live_through(openai.Stream[object], Body(pieces, breaks=breaks))
        within = self._live_through(ChunkStream, Body(pieces, breaks=breaks))
        return own, within, lean(pieces, breaks=breaks)

    def _live_through(self, stream_cls: type[openai.Stream[Any]], body: Body) -> Outcome:
        """Read all of a body as the load client does."""
        self._body = body
        chunks: list[tuple[Chunk, int]] = []
        failure: BaseException | None = None
        try:
            stream = self._api.post("/completions", cast_to=object, stream=True, stream_cls=stream_cls)
            with stream:
                for event in stream:
                    if isinstance(stream, ChunkStream):
                        assert stream.arrived_ns == body.taken
                    chunks.append((_chunk(event), body.taken))
        except openai.APIConnectionError as error:
            failure = error.__cause__
        except (openai.APIError, httpx2.RequestError, MalformedChunk, ValueError) as error:
            failure = error
        assert body.closed
        return Outcome(
            chunks=chunks,
            failure=None if failure is None else type(failure),
            detail=str(failure),
            body=getattr(failure, "body", None),
        )


def lean(pieces: list[bytes], *, breaks: bool) -> Outcome:
    """What the lean client makes of a body; it ends where a connection would have to be read on."""
    body = Body(pieces, breaks=False)
    reader = EventReader(body.arrivals)
    chunks: list[tuple[Chunk, int]] = []
    try:
        for piece in body:
            for data, arrived_ns in reader.read(piece):
                if data.startswith(DONE):
                    return Outcome(chunks, None, str(None), None)
                chunks.append((decode(data), arrived_ns))
        if breaks:
            return Outcome(chunks, httpx2.RemoteProtocolError, "peer closed connection", None)
        reader.end()
    except ErrorEvent as error:
        return Outcome(chunks, openai.APIError, str(error), error.body)
    except (MalformedChunk, ValueError) as error:
        return Outcome(chunks, type(error), str(error), None)
    return Outcome(chunks, None, str(None), None)


def _chunk(event: Any) -> Chunk:
    return event if isinstance(event, Chunk) else chunk_of(event)


frame = st.builds(lambda frame, event: frame % event, st.sampled_from(FRAMES), st.sampled_from(EVENTS))
plain = st.builds(lambda event: b"data: %b\n\n" % event, st.sampled_from(EVENTS[:3]))


@given(
    content=st.lists(plain | frame, max_size=8).map(b"".join),
    cuts=st.lists(st.integers(min_value=0, max_value=2000), max_size=12),
    breaks=st.booleans(),
)
def test_stream_is_decoded_like_the_openai_client(
    reader: Reader, content: bytes, cuts: list[int], breaks: bool
) -> None:
    own, within, lean = reader.all(content, cuts, breaks=breaks)
    assert repr(within) == repr(own)
    assert repr(lean) == repr(own)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("after", [b"", b"data: " + EVENTS[2] + b"\n\n"])
def test_each_event_is_decoded_alike_at_once_and_byte_by_byte(
    reader: Reader, event: bytes, frame: bytes, after: bytes
) -> None:
    content = b"data: " + EVENTS[0] + b"\n\n" + frame % event + after
    for cuts in ([], list(range(len(content)))):
        own, within, lean = reader.all(content, cuts, breaks=False)
        assert repr(within) == repr(own)
        assert repr(lean) == repr(own)


def test_stream_comparison_covers_chunks_and_failures(reader: Reader) -> None:
    good, *_ = reader.all(b"data: " + EVENTS[0] + b"\n\ndata: [DONE]\n\n", [], breaks=True)
    assert (len(good.chunks), good.failure) == (1, None)
    bad, *_ = reader.all(b"data: " + EVENTS[5] + b"\n\n", [], breaks=True)
    assert (bad.failure, bad.detail) == (openai.APIError, "EngineCore died")
    broken, *_ = reader.all(b"data: " + EVENTS[0] + b"\n\n", [], breaks=True)
    assert (len(broken.chunks), broken.failure) == (1, httpx2.RemoteProtocolError)
