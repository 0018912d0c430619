"""The fault `prometheus_kill`: Prometheus is killed during a run, and restarted with its data."""

from __future__ import annotations

from typing import Protocol

from chaos.inside.fault_kind import CONFORMING
from chaos.outside.injector import (
    CONTAINERS,
    PROMETHEUS,
    TRIGGER_ON,
    OutsideKind,
    TargetNotRunning,
    duration_s,
)
from history.fired_fault import Doubt, FiredFault
from history.protocol.outside import PrometheusKilled, PrometheusRuns


class PrometheusService(Protocol):
    """A Prometheus, wherever it runs."""

    def runs(self) -> bool:
        """Whether its process or container runs."""

    def kill(self) -> None:
        """SIGKILL; no-op when it has ended."""
        ...

    def revive(self) -> None:
        """Start it again, if it has ended."""
        ...


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


def _unseen(case: FiredFault) -> Doubt | None:
    """Prometheus has no scrape of that time, but some of before and after; and the suite has one."""
    scraped_ns = case.history.prometheus.times_ns
    for line in case.fired:
        during = case.window(line)
        if during.end_ns is None:
            return case.doubt("strike-unseen", f"no line has the end of the injection at invocation {line.n}")
        if not case.history.metrics.answered_within(during.begin_ns, during.end_ns):
            return case.doubt("suite-saw-nothing", "kvchaos scraped nothing meanwhile, either")
        if any(during.begin_ns < t_ns < during.end_ns for t_ns in scraped_ns):
            return case.doubt("prometheus-saw", "Prometheus scraped the server meanwhile")
        if not any(t_ns < during.begin_ns for t_ns in scraped_ns) or not any(
            t_ns > during.end_ns for t_ns in scraped_ns
        ):
            return case.doubt(
                "not-seen-around", "Prometheus did not scrape the server both before and after the injection"
            )
    return None


FAULTS = (
    OutsideKind(
        name="prometheus_kill",
        target=PROMETHEUS,
        contract=CONFORMING,
        effect="SIGKILL to Prometheus",
        evidence="its process has ended",
        consequence="Prometheus has no samples meanwhile; server and suite are not affected",
        heals="when it runs again, on the same data",
        parameters={"trigger_on": TRIGGER_ON, "duration_s": duration_s(4.0, "until it is started again")},
        stacks=CONTAINERS,
        firing=PrometheusKilled,
        reverted=PrometheusRuns,
        inject=lambda injection, target: _Killed(target),
        check=_unseen,
        silences=False,
    ),
)
