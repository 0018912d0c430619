"""What is read of a stream, taken into the answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from loadtests.clients.attempt import Attempt
from loadtests.clients.decoding import DONE, decode
from loadtests.clients.mid_stream import Event, TokenRun, extend
from loadtests.failures import Abandoned
from loadtests.job import Sink


class Intake:
    """Of one stream. Events in mid-stream take the short way, until the first other one comes."""

    def __init__(self, attempt: Attempt, sink: Sink) -> None:
        self._attempt = attempt
        self._sink = sink
        self._leave_after = attempt.leave_after
        self._in_mid_stream = self._leave_after is None and attempt.answer.is_plain

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
                self._sink.tokens(self._attempt.answer.take_run(run, self._attempt.start_mono_ns))

    def _take_any(self, events: Iterable[Event]) -> bool:
        attempt, answer, count = self._attempt, self._attempt.answer, 0
        try:
            for data, arrived_ns in events:
                if data.startswith(DONE):
                    return False
                count += answer.take(decode(data), attempt.at_us(arrived_ns))
                if self._leave_after is not None and answer.tokens >= self._leave_after:
                    raise Abandoned
        finally:
            if count:
                self._sink.tokens(count)
        return True
