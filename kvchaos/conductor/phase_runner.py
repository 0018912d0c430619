"""Runs one phase: arms its faults, sends its load, monitors the server, heals; and keeps the run going."""

from __future__ import annotations

import time

from history import events, layout
from history.phase_spec import PhaseSpec
from kvchaos.conductor import server_state
from kvchaos.conductor.run_parts import RunParts, RunSetup
from kvchaos.conductor.server_monitor import Incident
from loadtests.messages import Progress


class LoadGeneratorLost(Exception):
    """A load worker died or fell silent in mid-run: the other records are whole, and prove nothing."""


class Upkeep:
    """Keeps the faults armed and the history complete, and detects a lost load generator."""

    def __init__(self, setup: RunSetup, parts: RunParts) -> None:
        self._stack = setup.stack
        self._files = setup.files
        self._stall_s = setup.limits.stall_s
        self._parts = parts

    def tick(self) -> None:
        """Renew the lease, collect the server's files, refresh the process registry, sample resources.

        Raises LoadGeneratorLost, RunAborted, or OSError when the history cannot be written.
        """
        parts = self._parts
        parts.faults.keep_alive()
        self._files.collect()
        parts.monitor.observe()
        self.record_container_events()
        parts.resources.sample_if_due()
        parts.scraper.failure()
        failures = parts.load.failures()
        if failures:
            raise LoadGeneratorLost("; ".join(failures))

    def record_container_events(self) -> None:
        """Write the new events of the containers."""
        for action in self._stack.container_events():
            self._parts.events.write(action)

    def check_load(self) -> None:
        """A load generator that reports nothing any more is broken; that says nothing about the server.

        Raises LoadGeneratorLost.
        """
        load = self._parts.load
        silence = load.silence()
        if silence.seconds > self._stall_s:
            raise LoadGeneratorLost(
                f"{load.name(silence.worker)} has not reported for {silence.seconds:.1f} s; "
                f"see {layout.LOADER_LOG}"
            )


TICK_S = 0.1
STOP_GRACE_S = 10.0
LAST_REQUESTS_S = 5.0
"""Between the failure of the last requests of a phase and the exit of the server that caused it."""


class PhaseRunner:
    """Runs the phases of a plan, one at a time."""

    def __init__(self, setup: RunSetup, parts: RunParts, upkeep: Upkeep) -> None:
        self._limits = setup.limits
        self._display = setup.display
        self._parts = parts
        self._upkeep = upkeep

    def run(self, phase: PhaseSpec) -> Incident | None:
        """Returns the incident that ended the phase early, if any. Raises LoadGeneratorLost, RunAborted."""
        parts = self._parts
        self._display.phase_start(phase)
        settled: bool | None = server_state.settle(parts.scraper, self._limits.drain_s)
        parts.events.write(
            events.PhaseStart(phase=phase.name, role=phase.role, requests=phase.requests, settled=settled)
        )
        if phase.role == "chaos":
            parts.faults.arm(phase)
        parts.load.start_phase(phase)
        incident = self._watch_load()
        progress = parts.load.progress()
        fired = parts.faults.fired()
        for _ in parts.faults.heal(phase):
            self._upkeep.tick()
        incident = incident or parts.monitor.exited()
        if incident is None:
            settled = server_state.settle(parts.scraper, self._limits.drain_s)
            parts.resources.sample_now()
        else:
            settled = None
            # It may never settle, but the accounting needs a scrape from after the last request.
            parts.scraper.scrape_now()
        self._record_end(phase, progress, incident, settled)
        self._display.phase_end(progress, fired)
        return incident

    def _record_end(
        self, phase: PhaseSpec, progress: Progress, incident: Incident | None, settled: bool | None
    ) -> None:
        self._parts.events.write(
            events.PhaseEnd(
                phase=phase.name,
                sent=progress.sent,
                ok=progress.ok,
                failed=progress.failed + progress.aborted,
                reason=incident.reason if incident else "done",
                settled=settled,
            )
        )

    def _watch_load(self) -> Incident | None:
        """Watch over a phase until its load has ended, by itself or because of an incident."""
        parts = self._parts
        incident: Incident | None = None
        give_up_at = float("inf")
        while not parts.load.done():
            time.sleep(TICK_S)
            self._upkeep.tick()
            progress = parts.load.progress()
            parts.faults.tick(progress)
            self._display.phase(progress, parts.faults.fired())
            self._upkeep.check_load()
            if incident is None and (incident := self._check_server(progress)):
                self._record_incident(incident)
                parts.load.stop_phase(incident.reason)
                give_up_at = time.monotonic() + STOP_GRACE_S
            if time.monotonic() > give_up_at:
                raise LoadGeneratorLost("the load generator did not stop; see " + layout.LOADER_LOG)
        return incident or self._exit_after_load()

    def _check_server(self, progress: Progress) -> Incident | None:
        """The incident at this moment, if any. A server that a fault has ended is to be restarted."""
        incident = self._parts.monitor.check(progress)
        if incident is not None and incident.exit_code is not None and self._parts.faults.server_is_down():
            self._parts.lifecycle.record_exit()
            return None
        return incident

    def _exit_after_load(self) -> Incident | None:
        """A server that dies takes its last requests along: the load may be over first."""
        parts = self._parts
        if parts.faults.server_is_down():
            return None
        progress = parts.load.progress()
        if progress.failed:
            parts.monitor.wait_for_exit(self._limits.stall_s if progress.ok == 0 else LAST_REQUESTS_S)
        incident = parts.monitor.check(progress)
        if incident is not None:
            self._record_incident(incident)
        return incident

    def _record_incident(self, incident: Incident) -> None:
        if incident.exit_code is not None:
            self._parts.lifecycle.record_exit()
            return
        gauges = server_state.gauges(self._parts.scraper.latest())
        self._parts.events.write(
            events.ServerStalled(
                seconds=round(incident.seconds, 3),
                running=gauges.running,
                waiting=gauges.waiting,
                detail=incident.detail,
            )
        )
