"""One answer on its way out, event by event as its script says."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from loadtests.mock import wire
from loadtests.mock.asked import Asked
from loadtests.mock.clockwork import Clockwork
from loadtests.mock.script import Script
from loadtests.mock.sent import SentRecord

FAILURE = "the mock server was told to fail"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be answered, how, and since when (monotonic, ns)."""

    id: str
    connection: int
    asked: Asked
    answer: wire.Answer
    script: Script
    received_ns: int


@dataclass(frozen=True, slots=True)
class Way:
    """How an answer gets out."""

    clockwork: Clockwork
    send: Callable[[bytes], None]
    log: Callable[[SentRecord], None]
    ended: Callable[[], None]
    """The answer is over and the connection can take the next request."""
    hang_up: Callable[[], None]
    """The answer is over and so is the connection."""


@dataclass(slots=True)
class Stream:
    order: Order
    way: Way
    blocked: int = 0
    _step: int = 0
    _place: int = 0
    """Tokens of each choice sent so far."""
    _due_ns: list[int] = field(default_factory=list)
    _sent_ns: list[int] = field(default_factory=list)
    _event_tokens: list[int] = field(default_factory=list)
    _over: bool = False

    def begin(self) -> None:
        if self.order.script.end == "http_error":
            self._at_step(0, self._send_error)
        elif self.order.asked.stream:
            self._at_step(0, self._send_step)
        else:
            self._at_step(len(self.order.script.offsets_ns) - 1, self._send_whole)

    def leave(self) -> None:
        """The client is gone, or has to go."""
        self._close_books(left=True)

    def _at_step(self, step: int, act: Callable[[], None]) -> None:
        self._step = step
        self.way.clockwork.at(self._due(), lambda: None if self._over else act())

    def _due(self) -> int:
        return self.order.received_ns + self.order.script.offsets_ns[self._step]

    def _send_error(self) -> None:
        self.way.send(wire.response(500, wire.error(500, FAILURE)))
        self._finish(self.way.ended)

    def _send_whole(self) -> None:
        asked, script = self.order.asked, self.order.script
        if script.is_complete:
            self._note(asked.tokens * asked.choices)
            self.way.send(self.order.answer.whole())
            self._finish(self.way.ended)
        elif script.end != "hang":
            self._finish(self.way.hang_up)

    def _send_step(self) -> None:
        script, asked = self.order.script, self.order.asked
        count = script.step_tokens[self._step]
        begin, self._place = self._place, self._place + count
        last = script.is_complete and self._place == asked.tokens
        parts = [] if self._step else [wire.STREAM_HEAD]
        for choice in range(asked.choices):
            parts.append(self.order.answer.event(choice, begin, self._place, last=last))
            self._note(count)
        if self._step + 1 < len(script.offsets_ns):
            self.way.send(b"".join(parts))
            self._at_step(self._step + 1, self._send_step)
        else:
            self._send_end(parts)

    def _send_end(self, parts: list[bytes]) -> None:
        """The last step, and how the stream ends behind it."""
        match self.order.script.end:
            case "truncated":
                parts.append(wire.STREAM_END)
            case "error_event":
                parts.append(wire.error_event(FAILURE))
            case "whole" | "pause":
                parts.append(self.order.answer.close())
            case _:
                pass
        self.way.send(b"".join(parts))
        if self.order.script.end != "hang":
            self._finish(self.way.hang_up if self.order.script.end == "cut" else self.way.ended)

    def _note(self, tokens: int) -> None:
        """The next event is just about to be sent."""
        self._due_ns.append(self._due())
        self._sent_ns.append(time.monotonic_ns())
        self._event_tokens.append(tokens)

    def _finish(self, then: Callable[[], None]) -> None:
        self._close_books(left=False)
        then()

    def _close_books(self, *, left: bool) -> None:
        if self._over:
            return
        self._over = True
        record = SentRecord(
            id=self.order.id,
            connection=self.order.connection,
            prompt_tokens=self.order.asked.prompt_tokens,
            received_ns=self.order.received_ns,
            due_ns=self._due_ns,
            sent_ns=self._sent_ns,
            event_tokens=self._event_tokens,
            end=self.order.script.end,
            end_ns=time.monotonic_ns(),
            left=left,
            blocked=self.blocked,
        )
        self.way.log(record)
