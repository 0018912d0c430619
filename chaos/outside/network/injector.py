"""Strikes on the network, carried out by the proxy."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from chaos.outside.injector import Hold, Strike
from chaos.outside.network.handle import Handle, ProxyFailed
from chaos.outside.network.kinds import NETWORK_KINDS
from chaos.outside.network.messages import Command, Cut, Delay, Effect, Lift, Lose, ReadSlowly, Stall


class NetworkInjector:
    """All that the proxy can do."""

    kinds = tuple(kind.name for kind in NETWORK_KINDS)

    def __init__(self, proxy: Handle) -> None:
        self._proxy = proxy

    def obstacle(self, kind: str) -> str | None:
        return None

    def hold(self, strike: Strike) -> Hold:
        return _OnTheLine(self._proxy, command_for(strike))


class _OnTheLine:
    """A strike from its command to the proxy to that of its end."""

    def __init__(self, proxy: Handle, command: Command) -> None:
        self._proxy = proxy
        self._command = command

    def strike(self) -> None:
        self._proxy.send(self._command)

    def proof(self) -> Effect | None:
        return self._told("struck")

    def lift(self) -> None:
        # With a proxy that is gone its strikes are gone, too.
        with suppress(ProxyFailed):
            self._proxy.send(Lift(strike=self._command.strike))

    def lifted(self) -> Effect | None:
        return self._told("undone")

    def _told(self, event: Literal["struck", "undone"]) -> Effect | None:
        report = self._proxy.report(event, self._command.strike)
        return None if report is None else report.effect


def command_for(strike: Strike) -> Command:
    """What the proxy is told. Raises ValueError for a kind that it does not know."""
    name, seed, given = f"{strike.fault}/{strike.n}", strike.seed, strike.params
    match strike.kind:
        case "network_cut":
            return Cut(strike=name)
        case "network_stall":
            return Stall(strike=name)
        case "network_latency":
            up_ms, down_ms, jitter_ms = (float(given[each]) for each in ("up_ms", "down_ms", "jitter_ms"))
            return Delay(strike=name, seed=seed, up_ms=up_ms, down_ms=down_ms, jitter_ms=jitter_ms)
        case "network_loss":
            share, again_ms = float(given["share"]), float(given["again_ms"])
            return Lose(strike=name, seed=seed, share=share, again_ms=again_ms)
        case "slow_reader":
            requests, bytes_per_s = int(given["requests"]), float(given["bytes_per_s"])
            return ReadSlowly(strike=name, requests=requests, bytes_per_s=bytes_per_s)
        case _:
            raise ValueError(strike.kind)
