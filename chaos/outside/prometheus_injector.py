"""Kills Prometheus during a run, and restarts it with its data."""

from __future__ import annotations

from typing import Protocol

from chaos.outside.injector import ActiveFault, DueInjection, TargetNotRunning
from history.protocol.outside import PrometheusKilled, PrometheusRuns


class PrometheusService(Protocol):
    """A Prometheus, wherever it runs."""

    def runs(self) -> bool: ...

    def kill(self) -> None:
        """SIGKILL; no-op when it has ended."""
        ...

    def revive(self) -> None:
        """Start it again, if it has ended."""
        ...


class PrometheusInjector:
    """Applies faults to one Prometheus."""

    kinds = ("prometheus_kill",)

    def __init__(self, service: PrometheusService) -> None:
        self._service = service

    def unsupported_reason(self, kind: str) -> str | None:
        return None

    def prepare(self, injection: DueInjection) -> ActiveFault:
        return _Killed(self._service)


class _Killed:
    """Killed until it is restarted."""

    def __init__(self, service: PrometheusService) -> None:
        self._service = service
        self._reverting = False

    def apply(self) -> None:
        if not self._service.runs():
            raise TargetNotRunning("Prometheus does not run")
        self._service.kill()

    def verify(self) -> PrometheusKilled | None:
        """It does not run any more."""
        return None if self._reverting or self._service.runs() else PrometheusKilled(signal="SIGKILL")

    def revert(self) -> None:
        """A dead process needs no reversal; only `reverted` restarts it."""
        self._reverting = True

    def reverted(self) -> PrometheusRuns | None:
        if not self._reverting:
            return None
        self._service.revive()
        return PrometheusRuns(runs=True) if self._service.runs() else None
