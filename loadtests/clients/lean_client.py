"""Streaming completions straight from the socket."""

from __future__ import annotations

import json
from collections.abc import Iterator

import gevent
import msgspec

from history.records import ERROR_EVENT
from loadtests.clients.attempt import Attempt
from loadtests.clients.base import DRAIN_S, CompletionClient
from loadtests.clients.chunks import MalformedChunk
from loadtests.clients.completion import is_streamed, path_of
from loadtests.clients.decoding import ErrorEvent
from loadtests.clients.events import EventReader
from loadtests.clients.intake import Intake
from loadtests.clients.refusal import refused
from loadtests.connections.connection import Connection
from loadtests.failures import RequestFailed
from loadtests.job import Sink

OK = range(200, 300)


class LeanClient(CompletionClient):
    def _prepare(self) -> None:
        self._head = (
            f"POST /v1%s HTTP/1.1\r\nHost: {self._netloc}\r\n"
            "Content-Type: application/json\r\nX-Request-Id: %s\r\nContent-Length: %d\r\n\r\n"
        )

    def send(self, attempt: Attempt, sink: Sink) -> None:
        connection = self._pool.take()
        try:
            connection.send(self._request(attempt))
            attempt.status = status = connection.head()
            if status not in OK:
                raise refused(status, b"".join(connection.body()))
            if is_streamed(attempt.job.prompt):
                self._stream(connection, attempt, sink)
            else:
                self._whole(connection, attempt, sink)
        except ErrorEvent as error:
            raise RequestFailed(ERROR_EVENT, str(error)) from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise MalformedChunk(str(error)) from error
        finally:
            self._pool.give_back(connection)

    def _request(self, attempt: Attempt) -> bytes:
        job = attempt.job
        body = msgspec.json.encode(self.body(job))
        return (self._head % (path_of(job.prompt), job.id, len(body))).encode() + body

    def _whole(self, connection: Connection, attempt: Attempt, sink: Sink) -> None:
        """An answer in one piece."""
        answer = json.loads(b"".join(connection.body()))
        at_us = attempt.at_us(connection.arrivals.last_ns)
        sink.tokens(attempt.answer.add(answer, at_us))
        attempt.end_of_stream(at_us)

    def _stream(self, connection: Connection, attempt: Attempt, sink: Sink) -> None:
        reader, intake = EventReader(connection.arrivals), Intake(attempt, sink)
        connection.is_patient = attempt.leave_after is None
        pieces = connection.body()
        for piece in pieces:
            if not intake.take(reader.read(piece)):
                attempt.end_of_stream(attempt.at_us(connection.arrivals.last_ns))
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
