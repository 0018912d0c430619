"""Streaming completions straight from the socket."""

from __future__ import annotations

import json
from collections.abc import Iterator

import gevent
import msgspec

from history.records import ERROR_EVENT
from loadtests.clients.chunks import MalformedChunk
from loadtests.clients.completion import is_streamed, path_of
from loadtests.clients.completion_client import DRAIN_S, CompletionClient
from loadtests.clients.error_mapping import refused
from loadtests.clients.event_consumer import EventConsumer
from loadtests.clients.event_decoder import ErrorEvent
from loadtests.clients.in_flight_request import InFlightRequest
from loadtests.clients.sse_reader import EventReader
from loadtests.connections.connection import Connection
from loadtests.failures import RequestFailure
from loadtests.job import Sink

OK = range(200, 300)


class LeanClient(CompletionClient):
    def _prepare(self) -> None:
        self._head = (
            f"POST /v1%s HTTP/1.1\r\nHost: {self._netloc}\r\n"
            "Content-Type: application/json\r\nX-Request-Id: %s\r\nContent-Length: %d\r\n\r\n"
        )

    def send(self, in_flight: InFlightRequest, sink: Sink) -> None:
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
    """Only behind the end of the body is the connection free again."""

    def read_on() -> None:
        for _ in pieces:
            continue

    if not connection.whole:
        gevent.with_timeout(DRAIN_S, read_on, timeout_value=None)
