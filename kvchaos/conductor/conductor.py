"""One run from start to end. Whatever happens in between, faults are healed and processes ended."""

from __future__ import annotations

from history import events, layout
from history.jsonl import UnreadableRun
from kvchaos.conductor.fault_controller import RunAborted
from kvchaos.conductor.final_checks import FinalChecks
from kvchaos.conductor.phase_runner import PhaseRunner
from kvchaos.conductor.run_parts import RunSetup, assemble
from kvchaos.conductor.shutdown import RunShutdown
from kvchaos.conductor.upkeep import LoadGeneratorLost, Upkeep
from kvchaos.errors import Interrupted, UsageError
from kvchaos.stacks.stack import ServerStartFailed

LOADER_READY_S = 60.0
JOIN_S = 300.0
"""For people to start workers elsewhere."""


class Conductor:
    """Conducts a resolved plan on a stack and writes the history. Judging comes after."""

    def __init__(self, setup: RunSetup) -> None:
        self._setup = setup
        self._parts = assemble(setup)
        self._upkeep = Upkeep(setup, self._parts)
        self._phases = PhaseRunner(setup, self._parts, self._upkeep)
        self._final_checks = FinalChecks(setup, self._parts)
        self._shutdown = RunShutdown(setup, self._parts, self._upkeep, self._final_checks)

    def conduct(self) -> None:
        """Carry out the plan. Returns also when the server or the load broke off: the history records it.

        Raises UsageError (ServerStartFailed and RunAborted among them), Interrupted, or OSError when the
        history cannot be written.
        """
        try:
            self._start()
            self._run_phases()
            self._final_checks.drain()
        except BaseException as error:
            self._record(error)
            if isinstance(error, LoadGeneratorLost):
                return
            if isinstance(error, UnreadableRun):  # A fault journal that the server wrote.
                raise UsageError(str(error)) from error
            raise
        finally:
            self._shutdown.run()

    def _record(self, error: BaseException) -> None:
        """Record why the run broke off, once. Raises OSError."""
        try:
            self._parts.events.write(_reason(error))
        except BaseException as failure:
            self._parts.events.write(_reason(failure))
            raise

    def _start(self) -> None:
        setup, parts = self._setup, self._parts
        parts.faults.check_stack()
        kept = bool(setup.plan.preceded_by)
        setup.display.step("taking over the server" if kept else "starting the server")
        parts.load.start()
        if setup.prometheus is not None:
            setup.prometheus.start()
        if kept:
            parts.lifecycle.adopt()
        else:
            parts.lifecycle.start()
        try:
            parts.lifecycle.wait_ready(setup.limits.ready_s)
        finally:
            self._upkeep.record_container_events()
        self._wait_for_load()
        parts.faults.check_server()
        parts.scraper.start()
        # What a server counted before is not of this run.
        parts.scraper.scrape_now()
        if setup.prometheus is not None:
            setup.prometheus.wait_ready()
        self._warm_up()
        if setup.handover is not None:
            setup.handover.before_load()

    def _wait_for_load(self) -> None:
        plan, load = self._setup.plan, self._parts.load
        if plan.join is not None:
            self._setup.display.step(
                f"{plan.workers} load workers are to join: kvchaos worker --master {plan.join}"
            )
        if not load.wait_ready(LOADER_READY_S if plan.join is None else JOIN_S):
            raise RunAborted("; ".join(load.failures() or load.absent()))
        for worker, process in load.joined():
            self._parts.events.write(events.LoadWorker(worker=worker, host=process.host, pid=process.pid))

    def _warm_up(self) -> None:
        """The first request of an incarnation warms the server up, which takes long on some releases."""
        if not self._parts.prober.probe(events.READY, self._setup.limits.ready_s):
            log = self._setup.run_dir / layout.SERVER_LOG
            raise ServerStartFailed(
                f"the server is up, but does not answer a request; see {log}",
                exit_code=self._setup.stack.exit_code(),
                tail=(),
            )

    def _run_phases(self) -> None:
        for phase in self._setup.plan.scenario.phases:
            if self._phases.run(phase) is not None:
                return
            self._parts.prober.probe(f"after {phase.name}", self._setup.limits.canary_s)


def _reason(error: BaseException) -> events.EventData:
    """The event that records an error which ended the run."""
    if isinstance(error, Interrupted):
        return events.InterruptedBy(signal=error.signal)
    if isinstance(error, (LoadGeneratorLost, UsageError, UnreadableRun)):
        return events.RunFailed(reason=str(error))
    # Standard output may be gone, for instance. That says nothing about the server.
    return events.RunFailed(reason=f"the conductor broke off: {error!r}")
