"""Adds the events of a stream to its response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from loadtests.clients.event_decoder import DONE, decode
from loadtests.clients.fast_decoder import Event, TokenRun, extend
from loadtests.clients.in_flight_request import InFlightRequest
from loadtests.failures import Abandoned
from loadtests.job import Sink


class EventConsumer:
    """Consumes the events of one stream. Mid-stream events take the fast path until the first other one."""

    def __init__(self, in_flight: InFlightRequest, sink: Sink) -> None:
        self._in_flight = in_flight
        self._sink = sink
        self._leave_after = in_flight.leave_after
        self._in_mid_stream = self._leave_after is None and in_flight.answer.is_plain

    def take(self, events: Iterable[Event]) -> bool:
        """Events that were read together; False: the last of all was among them.

        Raises what `decode` and `Answer.take` raise, and Abandoned.
        """
        if self._in_mid_stream:
            other = self._take_run(events := iter(events))
            if other is None:
                return True
            self._in_mid_stream = False
            events = chain((other,), events)
        return self._take_any(events)

    def _take_run(self, events: Iterator[Event]) -> Event | None:
        """Events in mid-stream; gives the first other one."""
        run = TokenRun()
        try:
            return extend(run, events)
        finally:
            if run.chunk_tokens:
                self._sink.tokens(self._in_flight.answer.take_run(run, self._in_flight.start_mono_ns))

    def _take_any(self, events: Iterable[Event]) -> bool:
        in_flight, answer, count = self._in_flight, self._in_flight.answer, 0
        try:
            for data, arrived_ns in events:
                if data.startswith(DONE):
                    return False
                count += answer.take(decode(data), in_flight.at_us(arrived_ns))
                if self._leave_after is not None and answer.tokens >= self._leave_after:
                    raise Abandoned
        finally:
            if count:
                self._sink.tokens(count)
        return True
