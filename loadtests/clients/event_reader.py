"""From the body of a stream to its response: splits it into events, and adds these up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, repeat

from loadtests.clients.completion_request import Sink
from loadtests.clients.event_decoder import DONE, Event, TokenRun, decode, extend, plain_events, sizes
from loadtests.clients.in_flight_request import InFlightRequest
from loadtests.connections.response_arrivals import Abandoned, RxTimestamps

LINE_END = re.compile(b"\r\n|\r|\n")


class EventReader:
    """Reads the events of one stream. Events in the form that servers send take the fast path; from the first
    other one on, it reads line by line."""

    def __init__(self, arrivals: RxTimestamps) -> None:
        self._arrivals = arrivals
        self._rest = b""
        self._lines: LineReader | None = None

    def read(self, piece: bytes) -> Iterable[tuple[bytes, int]]:
        """The data of each event that ends in this piece of the body, and when it was there (monotonic, ns).

        Raises UnicodeDecodeError.
        """
        if self._lines is not None:
            return self._by_line(self._lines, piece)
        arrived = self._rest + piece
        found = plain_events(arrived)
        if found is None:
            self._lines, self._rest = LineReader(), b""
            return self._by_line(self._lines, arrived)
        events, self._rest = found
        return zip(events, self._arrivals.of(sizes(events)), strict=True)

    def end(self) -> None:
        """The body is over; what is left is no event. Raises UnicodeDecodeError."""
        lines = self._lines or LineReader()
        for _ in lines.read(self._rest):
            continue
        lines.end()

    def _by_line(self, lines: LineReader, piece: bytes) -> Iterable[tuple[bytes, int]]:
        return zip(lines.read(piece), repeat(self._arrivals.last_ns))


class LineReader:
    """Server-sent events in full: comments, other fields, data of several lines, any ends of lines.

    Where the standard and the openai client differ it does as the openai client, so that both record alike.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False
        self._event = ""
        self._data: list[str] = []
        self._id = ""
        self._retry: int | None = None

    def read(self, piece: bytes) -> Iterator[bytes]:
        """The data of each event that ends in this piece. Raises UnicodeDecodeError."""
        if self._after_cr and piece.startswith(b"\n"):
            piece, self._after_cr = piece[1:], False
        if piece:
            self._after_cr = piece.endswith(b"\r")
        *lines, self._rest = LINE_END.split(self._rest + piece)
        for line in lines:
            if line:
                self._take(line.decode())
            elif self._event or self._data or self._id or self._retry is not None:
                yield "\n".join(self._data).encode()
                # The id is for all events that follow.
                self._event, self._data, self._retry = "", [], None

    def end(self) -> None:
        """Nothing more comes. Raises UnicodeDecodeError."""
        self._rest.decode()

    def _take(self, line: str) -> None:
        # A comment has no name before its colon, and so is no field.
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry":
                try:
                    self._retry = int(value)
                except ValueError:
                    return


class EventConsumer:
    """Consumes the events of one stream. Mid-stream events take the fast path until the first other one."""

    def __init__(self, in_flight: InFlightRequest, sink: Sink) -> None:
        self._in_flight = in_flight
        self._sink = sink
        self._leave_after = in_flight.leave_after
        self._in_mid_stream = self._leave_after is None and in_flight.answer.is_plain

    def take(self, events: Iterable[Event]) -> bool:
        """Events that were read together; False: the last of all was among them.

        Raises what `decode` and `StreamedResponse.take` raise, and Abandoned.
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
