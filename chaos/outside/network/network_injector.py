"""Network faults, applied by the proxy."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from chaos.outside.injector import ActiveFault, DueInjection
from chaos.outside.network.proxy_control import (
    CutCommand,
    DelayCommand,
    LoseCommand,
    ProxyClient,
    ProxyCommand,
    ProxyEffect,
    ProxyFailed,
    ReadSlowlyCommand,
    RevertCommand,
    StallCommand,
)
from chaos.outside.outside_kinds import NETWORK_KINDS


class NetworkInjector:
    """Applies all network faults."""

    kinds = tuple(kind.name for kind in NETWORK_KINDS)

    def __init__(self, proxy: ProxyClient) -> None:
        self._proxy = proxy

    def unsupported_reason(self, kind: str) -> str | None:
        return None

    def prepare(self, strike: DueInjection) -> ActiveFault:
        return _NetworkFault(self._proxy, command_for(strike))


class _NetworkFault:
    """A network fault, from its command to the proxy to the command that ends it."""

    def __init__(self, proxy: ProxyClient, command: ProxyCommand) -> None:
        self._proxy = proxy
        self._command = command

    def apply(self) -> None:
        self._proxy.send(self._command)

    def verify(self) -> ProxyEffect | None:
        return self._reported("struck")

    def revert(self) -> None:
        # When the proxy has ended, its faults have ended too.
        with suppress(ProxyFailed):
            self._proxy.send(RevertCommand(strike=self._command.strike))

    def reverted(self) -> ProxyEffect | None:
        return self._reported("undone")

    def _reported(self, event: Literal["struck", "undone"]) -> ProxyEffect | None:
        report = self._proxy.report(event, self._command.strike)
        return None if report is None else report.effect


def command_for(strike: DueInjection) -> ProxyCommand:
    """The proxy's command for an injection. Raises ValueError for an unknown kind."""
    name, seed, given = f"{strike.fault}/{strike.n}", strike.seed, strike.params
    match strike.kind:
        case "network_cut":
            return CutCommand(strike=name)
        case "network_stall":
            return StallCommand(strike=name)
        case "network_latency":
            up_ms, down_ms, jitter_ms = (float(given[each]) for each in ("up_ms", "down_ms", "jitter_ms"))
            return DelayCommand(strike=name, seed=seed, up_ms=up_ms, down_ms=down_ms, jitter_ms=jitter_ms)
        case "network_loss":
            share, again_ms = float(given["share"]), float(given["again_ms"])
            return LoseCommand(strike=name, seed=seed, share=share, again_ms=again_ms)
        case "slow_reader":
            requests, bytes_per_s = int(given["requests"]), float(given["bytes_per_s"])
            return ReadSlowlyCommand(strike=name, requests=requests, bytes_per_s=bytes_per_s)
        case _:
            raise ValueError(strike.kind)
