"""Prometheus dies in the midst of a run, and is started again on the data that it has."""

from __future__ import annotations

from typing import Protocol

from chaos.outside.injector import Hold, NotThere, Strike
from history.protocol.outside import PrometheusKilled, PrometheusRuns


class Service(Protocol):
    """A Prometheus, wherever it runs."""

    def runs(self) -> bool: ...

    def kill(self) -> None:
        """SIGKILL; to nobody when it has ended."""
        ...

    def revive(self) -> None:
        """Start it again, if it has ended."""
        ...


class PrometheusInjector:
    """Strikes on one Prometheus."""

    kinds = ("prometheus_kill",)

    def __init__(self, service: Service) -> None:
        self._service = service

    def obstacle(self, kind: str) -> str | None:
        return None

    def hold(self, strike: Strike) -> Hold:
        return _Killed(self._service)


class _Killed:
    """Until it is started again."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lifting = False

    def strike(self) -> None:
        if not self._service.runs():
            raise NotThere("Prometheus does not run")
        self._service.kill()

    def proof(self) -> PrometheusKilled | None:
        """It does not run any more."""
        return None if self._lifting or self._service.runs() else PrometheusKilled(signal="SIGKILL")

    def lift(self) -> None:
        """What is dead needs nothing undone; it is started again only as long as `lifted` is asked."""
        self._lifting = True

    def lifted(self) -> PrometheusRuns | None:
        if not self._lifting:
            return None
        self._service.revive()
        return PrometheusRuns(runs=True) if self._service.runs() else None
