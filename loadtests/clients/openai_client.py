"""The reference client: streaming completions through the openai client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import httpx2
import openai

from history.records import ERROR_EVENT
from loadtests.clients.chunks import Chunk, MalformedChunk
from loadtests.clients.completion import is_streamed, path_of
from loadtests.clients.completion_client import DRAIN_S, CompletionClient
from loadtests.clients.in_flight_request import InFlightRequest
from loadtests.clients.openai_stream import ChunkStream
from loadtests.connections.connection import Connection
from loadtests.connections.transport import CONNECTION, Transport
from loadtests.failures import Abandoned, RequestFailure
from loadtests.job import Sink


class OpenAIClient(CompletionClient):
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
        self._api.close()

    def send(self, in_flight: InFlightRequest, sink: Sink) -> None:
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
    """Exceptions of the openai client and of its HTTP library, told in our own words."""
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
