"""The clients that a run can choose from: they send completions to the server and record each request."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import gevent
import httpx2
import msgspec
import openai

from history.records import ABANDONED, DEADLINE_EXCEEDED, ERROR_EVENT
from history.scenario import ClientKind
from loadtests.clients.completion_request import Job, Sink, body_of, is_streamed, path_of, refused
from loadtests.clients.event_decoder import Chunk, ErrorEvent, EventReader, MalformedChunk
from loadtests.clients.in_flight_request import EventConsumer, InFlightRequest, StreamedResponse
from loadtests.clients.openai_stream import CONNECTION, ChunkStream, Transport
from loadtests.connections.connection import Connection, Pool
from loadtests.connections.response_arrivals import Abandoned, RequestFailure
from loadtests.target import target_url

SERVED_MODEL = "tiny"
"""Name under which the server under test serves its model."""
HTTP_PORT = 80
DRAIN_S = 1.0
"""Seconds for the end of a body after its last event; a connection that takes longer is closed."""
OK = range(200, 300)


class CompletionClient(ABC):
    """Sends completions to one server. Greenlets may share it.

    What a request is given up for, and how each end is recorded, is the same in all clients.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        deadline_s: float,
        block_size: int | None = None,
        *,
        with_margins: bool = False,
        own_host: str | None = None,
    ) -> None:
        """Check that the address may receive load, without a connection.

        `block_size` is the server's, tokens; None when the records need no hash of first blocks.
        `with_margins`: record the logprob margins between the two likeliest tokens.

        Raises ValueError when the address is neither on this machine nor `own_host`, the conductor's.
        """
        self._url = target_url(base_url, own_host)
        address = urlsplit(self._url)
        self._netloc = address.netloc
        self._pool = Pool(address.hostname or "", address.port or HTTP_PORT)
        self._model = model
        self._deadline_s = deadline_s
        self._block_size = block_size
        self._with_margins = with_margins
        self._prepare()

    @abstractmethod
    def _prepare(self) -> None:
        """Make what all requests share, once the address is known."""

    def close(self) -> None:
        """Give up all connections."""
        self._pool.close()

    @abstractmethod
    def send(self, in_flight: InFlightRequest, sink: Sink) -> None:
        """Send one request and process its response, up to the end.

        Raises RequestFailure, MalformedChunk, Abandoned, and what the sink or gevent raise.
        """

    def complete(self, job: Job, sink: Sink) -> None:
        """Send one request and see it through to its end, within the deadline.

        The end goes to the sink as a record. A kill of the greenlet is recorded, then passed on.
        """
        prompt = job.prompt
        echoed_tokens = prompt.token_ids if prompt.sampling.prompt_logprobs is not None else ()
        answer = StreamedResponse(prompt.sampling.n, prompt=echoed_tokens, with_margins=self._with_margins)
        in_flight = InFlightRequest(job, self._block_size, answer)
        deadline = gevent.Timeout(self._deadline_s)
        patience_s = prompt.abort.after_s if prompt.abort else None
        try:
            # A timeout of None never fires.
            with deadline, gevent.Timeout(patience_s, Abandoned):
                self.send(in_flight, sink)
            in_flight.end_of_stream(in_flight.elapsed_us())
        except Abandoned:
            in_flight.abort(ABANDONED, f"given up on purpose after {in_flight.answer.tokens} tokens")
        except gevent.Timeout as fired:
            if fired is not deadline:
                raise
            in_flight.fail(DEADLINE_EXCEEDED, f"no complete answer within {self._deadline_s:g} s")
        except gevent.GreenletExit:
            in_flight.abort("StoppedEarly", "the load was stopped before the answer was complete")
            raise
        except RequestFailure as failure:
            in_flight.fail(failure.kind, str(failure))
        except MalformedChunk as error:
            in_flight.fail("MalformedChunk", str(error))
        finally:
            sink.ended(in_flight.record())

    def body(self, job: Job) -> dict[str, Any]:
        """What is sent, to be encoded as JSON."""
        return body_of(job.prompt, self._model, with_margins=self._with_margins)


class LeanClient(CompletionClient):
    """Straight from the socket, with no HTTP client in between."""

    def _prepare(self) -> None:
        self._head = (
            f"POST /v1%s HTTP/1.1\r\nHost: {self._netloc}\r\n"
            "Content-Type: application/json\r\nX-Request-Id: %s\r\nContent-Length: %d\r\n\r\n"
        )

    def send(self, in_flight: InFlightRequest, sink: Sink) -> None:
        """Send a request and give the response to the sink. Raises RequestFailure."""
        connection = self._pool.take()
        try:
            connection.send(self._request(in_flight))
            in_flight.status = status = connection.head()
            if status not in OK:
                raise refused(status, b"".join(connection.body()))
            if is_streamed(in_flight.job.prompt):
                self._stream(connection, in_flight, sink)
            else:
                self._whole(connection, in_flight, sink)
        except ErrorEvent as error:
            raise RequestFailure(ERROR_EVENT, str(error)) from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise MalformedChunk(str(error)) from error
        finally:
            self._pool.give_back(connection)

    def _request(self, in_flight: InFlightRequest) -> bytes:
        job = in_flight.job
        body = msgspec.json.encode(self.body(job))
        return (self._head % (path_of(job.prompt), job.id, len(body))).encode() + body

    def _whole(self, connection: Connection, in_flight: InFlightRequest, sink: Sink) -> None:
        """An answer in one piece."""
        answer = json.loads(b"".join(connection.body()))
        at_us = in_flight.at_us(connection.arrivals.last_ns)
        sink.tokens(in_flight.answer.add(answer, at_us))
        in_flight.end_of_stream(at_us)

    def _stream(self, connection: Connection, in_flight: InFlightRequest, sink: Sink) -> None:
        reader, intake = EventReader(connection.arrivals), EventConsumer(in_flight, sink)
        connection.is_patient = in_flight.leave_after is None
        pieces = connection.body()
        for piece in pieces:
            if not intake.take(reader.read(piece)):
                in_flight.end_of_stream(in_flight.at_us(connection.arrivals.last_ns))
                _drain(connection, pieces)
                return
        reader.end()


def _drain(connection: Connection, pieces: Iterator[bytes]) -> None:
    """Read to the end of the body: only then is the connection free again."""

    def read_on() -> None:
        for _ in pieces:
            continue

    if not connection.whole:
        gevent.with_timeout(DRAIN_S, read_on, timeout_value=None)


class OpenAIClient(CompletionClient):
    """The reference: the openai client with its own requests, errors and streams."""

    def _prepare(self) -> None:
        self._api = openai.OpenAI(
            base_url=f"{self._url}/v1",
            api_key="none",
            # A retry inside the client would be a request that no record tells of.
            max_retries=0,
            # Each byte as it was sent has the moment that it arrived.
            default_headers={"Accept-Encoding": "identity"},
            http_client=openai.DefaultHttpxClient(
                transport=Transport(self._pool),
                timeout=None,
                # A proxy from the environment has no say about this machine.
                trust_env=False,
            ),
        )
        # The client asks child processes what machine this is, once; not within the first request.
        self._api.platform_headers()

    def close(self) -> None:
        """Close the client's connections."""
        self._api.close()

    def send(self, in_flight: InFlightRequest, sink: Sink) -> None:
        """Send a request and give the response to the sink. Raises RequestFailure."""
        with _error_of(in_flight):
            if is_streamed(in_flight.job.prompt):
                self._stream(in_flight, sink)
            else:
                self._whole(in_flight, sink)

    def _whole(self, in_flight: InFlightRequest, sink: Sink) -> None:
        """An answer in one piece."""
        response = self._api.post(
            path_of(in_flight.job.prompt),
            cast_to=httpx2.Response,
            body=self.body(in_flight.job),
            options={"headers": {"X-Request-Id": in_flight.job.id}},
        )
        in_flight.status = response.status_code
        at_us = in_flight.at_us(response.extensions[CONNECTION].arrivals.last_ns)
        sink.tokens(in_flight.answer.add(response.json(), at_us))
        in_flight.end_of_stream(at_us)

    def _stream(self, in_flight: InFlightRequest, sink: Sink) -> None:
        with self._api.post(
            path_of(in_flight.job.prompt),
            cast_to=Chunk,
            body=self.body(in_flight.job),
            options={"headers": {"X-Request-Id": in_flight.job.id}},
            stream=True,
            stream_cls=ChunkStream,
        ) as stream:
            in_flight.status = stream.response.status_code
            answer, leave_after = in_flight.answer, in_flight.leave_after
            connection: Connection = stream.response.extensions[CONNECTION]
            connection.is_patient = leave_after is None
            for chunk in stream:
                count = answer.take(chunk, in_flight.at_us(stream.arrived_ns))
                if count:
                    sink.tokens(count)
                if leave_after is not None and answer.tokens >= leave_after:
                    raise Abandoned
            in_flight.end_of_stream(in_flight.at_us(connection.arrivals.last_ns))
            gevent.with_timeout(DRAIN_S, stream.drain, timeout_value=None)


@contextmanager
def _error_of(in_flight: InFlightRequest) -> Iterator[None]:
    """Exceptions of the openai client and of its HTTP library, as failures of the record."""
    try:
        yield
    except openai.APIStatusError as error:
        in_flight.status = error.status_code
        raise RequestFailure(type(error).__name__, _body_message(error)) from error
    except openai.APIConnectionError as error:
        cause = error.__cause__ or error
        raise RequestFailure(type(cause).__name__, str(cause)) from error
    except openai.APIError as error:
        raise RequestFailure(ERROR_EVENT, _body_message(error)) from error
    except httpx2.RequestError as error:
        raise RequestFailure(type(error).__name__, str(error)) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MalformedChunk(str(error)) from error


def _body_message(error: openai.APIError) -> str:
    """The server's own words where it gave any."""
    if isinstance(error.body, dict) and isinstance(error.body.get("message"), str):
        return str(error.body["message"])
    return error.message


CLIENTS: dict[ClientKind, type[CompletionClient]] = {"openai": OpenAIClient, "lean": LeanClient}
