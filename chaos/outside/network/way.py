"""One direction of a connection through the proxy: what came in at one end waits here until it may go out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from chaos.outside.network.impairments import Impairment, Tally

HELD_MOST = 1 << 20
"""Bytes. A sender that is further ahead is made to wait, as TCP does."""


class Mark(Enum):
    """What is no bytes and keeps its place among them."""

    END = "end"
    RESET = "reset"


@dataclass
class Piece:
    """What passes as it came in. Times are the event loop's, s."""

    what: bytes | Mark
    since: float
    due: float
    by: list[Tally]
    """Of those for whom it waits."""

    @property
    def size(self) -> int:
        return len(self.what) if isinstance(self.what, bytes) else 0

    def wait_for(self, tally: Tally, request: str | None) -> None:
        """Only bytes count."""
        if self.size:
            self.by.append(tally)
            tally.hold(request)


class Source(Protocol):
    def wait(self, why: str) -> None:
        """Read nothing more for now."""

    def go_on(self, why: str) -> None:
        """This is no reason any more to read nothing."""


class Sink(Protocol):
    def write(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    def reset(self) -> None: ...


class Way:
    """Keeps the order of what passes."""

    def __init__(
        self,
        direction: str,
        in_force: Sequence[Impairment],
        passed: Callable[[bytes | Mark], None],
    ) -> None:
        """`in_force` is the network's own list. `passed` hears of all that goes out."""
        self.direction = direction
        self.source: Source | None = None
        self.sink: Sink | None = None
        """None while there is nobody yet to pass anything to."""
        self._in_force = in_force
        self._passed = passed
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[Piece] = deque()
        self._held = 0
        self._timer: asyncio.TimerHandle | None = None

    def take(self, what: bytes | Mark, name: str | None) -> None:
        """Something came in, on behalf of a request."""
        now = self._loop.time()
        late_s, by = 0.0, []
        for impairment in self._in_force:
            delay_s = impairment.delay_s(self.direction)
            if delay_s is not None:
                late_s += delay_s
                by.append(impairment.tally)
        piece = Piece(what, now, now + late_s, [])
        for tally in by:
            piece.wait_for(tally, name)
        self._pieces.append(piece)
        self._held += piece.size
        self.pump()
        if self._held > HELD_MOST and self.source is not None:
            self.source.wait("held")

    def hold(self, tally: Tally, name: str | None) -> None:
        """What waits here already waits for this, too."""
        for piece in self._pieces:
            piece.wait_for(tally, name)

    def pump(self) -> None:
        """Pass on what may pass."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        while self._pieces and self.sink is not None and not any(each.stops for each in self._in_force):
            piece = self._pieces[0]
            if piece.due > now:
                self._timer = self._loop.call_at(piece.due, self.pump)
                return
            self._pieces.popleft()
            self._pass(piece, self.sink, now)
        if self.source is not None and self._held <= HELD_MOST // 2:
            self.source.go_on("held")

    def drop(self) -> int:
        """Lose what waits; how many bytes that was."""
        lost, self._held = self._held, 0
        self._pieces.clear()
        return lost

    def _pass(self, piece: Piece, sink: Sink, now: float) -> None:
        self._held -= piece.size
        for tally in piece.by:
            tally.release(piece.size, piece.since, now)
        match piece.what:
            case Mark.END:
                sink.end()
            case Mark.RESET:
                sink.reset()
            case data:
                sink.write(data)
        self._passed(piece.what)
