"""The proxy: all links, and the strikes that are in force on them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from chaos.outside.network import messages
from chaos.outside.network.end import reset
from chaos.outside.network.impairments import Cut, Impairment, Latency, Loss, SlowReading, Stall, Tally
from chaos.outside.network.link import Address, Link
from chaos.outside.network.messages import Command, Effect, Event, Report

Moment = tuple[int, int]
"""By wall clock and monotonic clock, ns."""


class Proxy:
    """Passes bytes between clients and one server, as the commands have it."""

    def __init__(self, server: Address, tell: Callable[[Report], None]) -> None:
        self.in_force: list[Impairment] = []
        self._server = server
        self._tell = tell
        self._links: set[Link] = set()
        self._shown: set[str] = set()

    def connection(self) -> asyncio.BaseProtocol:
        """For a client that has just come."""
        for each in self.in_force:
            if isinstance(each, Cut):
                each.refused += 1
                return _Refused()
        link = Link(self, self._server)
        self._links.add(link)
        return link.accept()

    def begins(self, request: str) -> SlowReading | None:
        """A request begins; the fault by which its answer is read slowly, if one does."""
        slow = (each for each in self.in_force if isinstance(each, SlowReading))
        return next((each for each in slow if each.takes(request)), None)

    def closed(self, link: Link) -> None:
        self._links.discard(link)

    def obey(self, command: Command) -> None:
        if isinstance(command, messages.Lift):
            self._lift(command.strike)
            return
        impairment = _impairment(command)
        self.in_force.append(impairment)
        impairment.begin(self._links)
        self.look()

    def look(self) -> None:
        """Tell of the strikes that have taken effect since. To be called many times a second."""
        for each in self.in_force:
            strike = each.tally.strike
            if strike not in self._shown and each.shows():
                self._shown.add(strike)
                self._report("struck", strike, each.evidence(), _now())

    def listens(self, port: int) -> None:
        """Tell where clients can come."""
        t_ns, mono_ns = _now()
        self._tell(Report(t_ns=t_ns, mono_ns=mono_ns, event="listens", strike=None, port=port))

    def close(self) -> None:
        """Cut everything."""
        for link in list(self._links):
            link.cut()

    def _lift(self, strike: str) -> None:
        for each in [each for each in self.in_force if each.tally.strike == strike]:
            self.in_force.remove(each)
            lifted = _now()
            for link in list(self._links):
                link.relieve(each)
            self._report("undone", strike, each.evidence(), lifted)

    def _report(self, event: Event, strike: str, effect: Effect, moment: Moment) -> None:
        self._tell(messages.report(event, strike, effect, *moment))


def _now() -> Moment:
    return time.time_ns(), time.monotonic_ns()


class _Refused(asyncio.Protocol):
    """A connection that is reset as soon as it is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        reset(transport)


def _impairment(command: Command) -> Impairment:
    tally = Tally(command.strike, time.monotonic())
    match command:
        case messages.Cut():
            return Cut(tally)
        case messages.Stall():
            return Stall(tally)
        case messages.Delay(seed=seed, up_ms=up_ms, down_ms=down_ms, jitter_ms=jitter_ms):
            return Latency(tally, seed, up_ms, down_ms, jitter_ms)
        case messages.Lose(seed=seed, share=share, again_ms=again_ms):
            return Loss(tally, seed, share, again_ms)
        case messages.ReadSlowly(requests=requests, bytes_per_s=bytes_per_s):
            return SlowReading(tally, requests, bytes_per_s)
        case messages.Lift():
            raise ValueError(command)
