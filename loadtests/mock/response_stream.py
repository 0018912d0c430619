"""One response on its way out: event by event at the exact times of its plan."""

from __future__ import annotations

import asyncio
import heapq
import select
import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from loadtests.mock import mock_response
from loadtests.mock.mock_process import SentRecord
from loadtests.mock.mock_response import CompletionParameters, MockResponse, ResponsePlan

FAILURE = "the mock server fails on request"
NS_PER_S = 1e9


class PreciseSelector(selectors.EpollSelector):
    """epoll rounds a wait up to whole milliseconds; select on the epoll itself knows microseconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait with microsecond precision, then return what is ready."""
        if timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def precise_loop() -> asyncio.SelectorEventLoop:
    """An event loop whose timers have microsecond precision."""
    return asyncio.SelectorEventLoop(PreciseSelector())


class PreciseTimer:
    """Runs acts when they are due, in order, with one timer of the loop for all of them.

    The loop's own timers are compared in Python, several times for each one that is set.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._acts: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0

    def at(self, mono_ns: int, act: Callable[[], None]) -> None:
        """Run a function at a time of the monotonic clock, ns."""
        self._count += 1
        heapq.heappush(self._acts, (mono_ns, self._count, act))
        self._arm()

    def _arm(self) -> None:
        if not self._acts:
            return
        due_ns = self._acts[0][0]
        if self._timer is not None:
            if self._timer_ns <= due_ns:
                return
            self._timer.cancel()
        self._timer_ns = due_ns
        self._timer = self._loop.call_at(due_ns / NS_PER_S, self._run)

    def _run(self) -> None:
        # What falls due meanwhile waits for the next turn: new requests must be read, too.
        now_ns = time.monotonic_ns()
        while self._acts and self._acts[0][0] <= now_ns:
            heapq.heappop(self._acts)[2]()
        self._timer = None
        self._arm()


@dataclass(frozen=True, slots=True)
class ResponseOrder:
    """What is to be answered, how, and since when (monotonic, ns)."""

    id: str
    connection: int
    parameters: CompletionParameters
    response: MockResponse
    plan: ResponsePlan
    received_ns: int


@dataclass(frozen=True, slots=True)
class ResponseOutput:
    """The callbacks through which a response is sent."""

    timer: PreciseTimer
    send: Callable[[bytes], None]
    log: Callable[[SentRecord], None]
    ended: Callable[[], None]
    """The answer is over and the connection can take the next request."""
    hang_up: Callable[[], None]
    """The answer is over and so is the connection."""


@dataclass(slots=True)
class ResponseStream:
    """Sends one response by its plan, and writes its line in the log."""

    order: ResponseOrder
    output: ResponseOutput
    blocked: int = 0
    _step: int = 0
    _tokens_sent: int = 0
    """Tokens of each choice sent so far."""
    _due_ns: list[int] = field(default_factory=list)
    _sent_ns: list[int] = field(default_factory=list)
    _event_tokens: list[int] = field(default_factory=list)
    _over: bool = False

    def begin(self) -> None:
        """Schedule the first step."""
        if self.order.plan.end == "http_error":
            self._at_step(0, self._send_error)
        elif self.order.parameters.stream:
            self._at_step(0, self._send_step)
        else:
            self._at_step(len(self.order.plan.offsets_ns) - 1, self._send_whole)

    def leave(self) -> None:
        """The client is gone, or has to go."""
        self._log_end(left=True)

    def _at_step(self, step: int, act: Callable[[], None]) -> None:
        self._step = step
        self.output.timer.at(self._due(), lambda: None if self._over else act())

    def _due(self) -> int:
        return self.order.received_ns + self.order.plan.offsets_ns[self._step]

    def _send_error(self) -> None:
        self.output.send(mock_response.response(500, mock_response.error(500, FAILURE)))
        self._finish(self.output.ended)

    def _send_whole(self) -> None:
        parameters, plan = self.order.parameters, self.order.plan
        if plan.is_complete:
            self._note(parameters.tokens * parameters.choices)
            self.output.send(self.order.response.whole())
            self._finish(self.output.ended)
        elif plan.end != "hang":
            self._finish(self.output.hang_up)

    def _send_step(self) -> None:
        plan, parameters = self.order.plan, self.order.parameters
        count = plan.step_tokens[self._step]
        begin, self._tokens_sent = self._tokens_sent, self._tokens_sent + count
        last = plan.is_complete and self._tokens_sent == parameters.tokens
        parts = [] if self._step else [mock_response.STREAM_HEAD]
        for choice in range(parameters.choices):
            parts.append(self.order.response.event(choice, begin, self._tokens_sent, last=last))
            self._note(count)
        if self._step + 1 < len(plan.offsets_ns):
            self.output.send(b"".join(parts))
            self._at_step(self._step + 1, self._send_step)
        else:
            self._send_end(parts)

    def _send_end(self, parts: list[bytes]) -> None:
        """The last step, and how the stream ends behind it."""
        match self.order.plan.end:
            case "truncated":
                parts.append(mock_response.STREAM_END)
            case "error_event":
                parts.append(mock_response.error_event(FAILURE))
            case "whole" | "pause":
                parts.append(self.order.response.close())
            case _:
                pass
        self.output.send(b"".join(parts))
        if self.order.plan.end != "hang":
            self._finish(self.output.hang_up if self.order.plan.end == "cut" else self.output.ended)

    def _note(self, tokens: int) -> None:
        """The next event is just about to be sent."""
        self._due_ns.append(self._due())
        self._sent_ns.append(time.monotonic_ns())
        self._event_tokens.append(tokens)

    def _finish(self, then: Callable[[], None]) -> None:
        self._log_end(left=False)
        then()

    def _log_end(self, *, left: bool) -> None:
        if self._over:
            return
        self._over = True
        record = SentRecord(
            id=self.order.id,
            connection=self.order.connection,
            prompt_tokens=self.order.parameters.prompt_tokens,
            received_ns=self.order.received_ns,
            due_ns=self._due_ns,
            sent_ns=self._sent_ns,
            event_tokens=self._event_tokens,
            end=self.order.plan.end,
            end_ns=time.monotonic_ns(),
            left=left,
            blocked=self.blocked,
        )
        self.output.log(record)
