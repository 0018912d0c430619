"""One run from start to end. Whatever happens in between, faults are healed and processes ended."""

from __future__ import annotations

import time
from contextlib import ExitStack

from chaos.inside.transfer_audit.audit_log import QUIET_S
from chaos.outside.injector import ForeignFaultFailed
from history import events, layout
from history.jsonl import UnreadableRun
from history.seals import count_lines, seal
from history.stack_capabilities import CAPABILITIES
from kvchaos.conductor import server_state
from kvchaos.conductor.fault_controller import RunAborted
from kvchaos.conductor.handover import RunEnd
from kvchaos.conductor.phase_runner import LoadGeneratorLost, PhaseRunner, Upkeep
from kvchaos.conductor.run_parts import RunParts, RunSetup, assemble
from kvchaos.errors import Interrupted, UsageError
from kvchaos.stacks.stack import ServerStartFailed

LOADER_READY_S = 60.0
JOIN_S = 300.0
"""Seconds for people to start workers on other machines."""


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

        Raises UsageError (ServerStartFailed and RunAborted among them), Interrupted, ForeignFaultFailed, or
        OSError when the history cannot be written.
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
        if plan.listen is not None:
            self._setup.display.step(
                f"{plan.workers} load workers are to join: kvchaos worker --master {plan.listen}"
            )
        if not load.wait_ready(LOADER_READY_S if plan.listen is None else JOIN_S):
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
            self._parts.prober.probe(f"after {phase.name}", self._setup.limits.probe_s)


def _reason(error: BaseException) -> events.EventData:
    """The event that records an error which ended the run."""
    if isinstance(error, Interrupted):
        return events.InterruptedBy(signal=error.signal)
    if isinstance(error, (LoadGeneratorLost, UsageError, UnreadableRun, ForeignFaultFailed)):
        return events.RunFailed(reason=str(error))
    # Standard output may be gone, for instance. That says nothing about the server.
    return events.RunFailed(reason=f"the conductor broke off: {error!r}")


LEDGER_QUIET_S = 3 * QUIET_S
"""The plug-in in the server writes its last balance when nothing has changed for a while."""


class FinalChecks:
    """Checks the final state of the server, and proves it clean for the next run."""

    def __init__(self, setup: RunSetup, parts: RunParts) -> None:
        self._setup = setup
        self._parts = parts
        self._drained = self._proved = False

    def drain(self) -> None:
        """Check after the last phase: the server answers, is idle, and has no block in use."""
        setup, parts = self._setup, self._parts
        setup.display.step("draining")
        begin = time.monotonic()
        # The gauges move on an engine step only: the probe causes one.
        parts.prober.probe(events.FINAL, setup.limits.probe_s)
        if not setup.stack.alive():
            return
        self._drained = server_state.settle(parts.scraper, setup.limits.drain_s)
        parts.resources.sample_now()
        self._record_drained(time.monotonic() - begin)
        if CAPABILITIES[setup.plan.stack].starts_server:  # The cache of another is not ours to drop.
            reset = server_state.reset_prefix_cache(setup.plan.base_url, setup.files.log)
            parts.events.write(events.LeakProbe(ok=reset.ok, answer=reset.answer, detail=reset.detail))
        if setup.prometheus is not None:
            setup.prometheus.catch_up()
        parts.scraper.scrape_now()
        if setup.plan.scenario.server.chaos:
            # What a busy server holds for a moment must not be part of its last balance.
            time.sleep(LEDGER_QUIET_S)
        if setup.handover is not None:
            setup.handover.empty_caches(setup.plan.base_url, self._run_end())
            time.sleep(LEDGER_QUIET_S)

    def prove_clean(self) -> None:
        """Record whether the server may serve the next run; once."""
        handover = self._setup.handover
        if handover is None or self._proved:
            return
        self._proved = True
        if self._setup.stack.alive():
            handover.prove(self._run_end())
        self._parts.events.write(events.CleanState(clean=handover.clean, objections=[*handover.objections]))

    def _record_drained(self, seconds: float) -> None:
        gauges = server_state.gauges(self._parts.scraper.latest())
        self._parts.events.write(
            events.Drained(
                ok=self._drained,
                seconds=round(seconds, 3),
                running=gauges.running,
                waiting=gauges.waiting,
                kv_usage=gauges.kv_usage,
            )
        )

    def _run_end(self) -> RunEnd:
        parts = self._parts
        return RunEnd(
            run_dir=self._setup.run_dir,
            samples=parts.scraper.scrape_now(),
            starts=parts.lifecycle.count,
            unhealed=parts.faults.unhealed,
            drained=self._drained,
            allowed_log_lines=[line.pattern for line in self._setup.plan.scenario.allowed_log_lines],
        )


class RunShutdown:
    """Each step is done even when the one before failed."""

    def __init__(self, setup: RunSetup, parts: RunParts, upkeep: Upkeep, final_checks: FinalChecks) -> None:
        self._setup = setup
        self._parts = parts
        self._upkeep = upkeep
        self._final_checks = final_checks
        self._prometheus_read = False
        self._stopped_at_line: int | None = None

    def run(self) -> None:
        """Stop everything; once more from the start when the signal comes now, since there is only one."""
        try:
            try:
                self._stop_everything()
            except Interrupted:
                self._stop_everything()
                raise
        finally:
            self._close_history()

    def _stop_everything(self) -> None:
        """Safe to repeat."""
        in_order = (
            self._parts.faults.close,
            self._parts.load.close,
            self._final_checks.prove_clean,
            self._read_prometheus,
            self._parts.scraper.stop,
            self._stop_server,
            self._stop_prometheus,
        )
        with ExitStack() as steps:
            for step in reversed(in_order):
                steps.callback(step)

    def _read_prometheus(self) -> None:
        if self._setup.prometheus is None or self._prometheus_read:
            return
        result = self._setup.prometheus.collect()
        self._prometheus_read = True
        self._parts.events.write(events.PrometheusRead(scrapes=result.scrapes, error=result.error))

    def _stop_prometheus(self) -> None:
        if self._setup.prometheus is not None:
            self._setup.prometheus.stop()

    def _stop_server(self) -> None:
        stack, handover = self._setup.stack, self._setup.handover
        if handover is not None and handover.clean:
            return
        if self._stopped_at_line is None and stack.alive():
            self._stopped_at_line = self._setup.files.log_lines()
        else:
            # It may have ended by itself after its load, when nothing waits for its exit any more.
            self._parts.lifecycle.record_exit()
        stack.stop()

    def _close_history(self) -> None:
        parts = self._parts
        self._upkeep.record_container_events()
        self._setup.files.collect()
        line = self._stopped_at_line
        if line is not None:
            code = self._setup.stack.exit_code()
            parts.events.write(events.ServerStop(how="SIGTERM", code=code, log_line=line))
        parts.prober.close()
        parts.metrics.close()
        parts.resources.close()
        if parts.gpus is not None:
            parts.gpus.close()
        # The last event: all other files are as they will be judged.
        parts.events.write(events.EvidenceCounted(lines=count_lines(self._setup.run_dir)))
        parts.events.close()
        seal(self._setup.run_dir)
