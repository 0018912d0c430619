"""One run from start to end. Whatever happens in between, faults are healed and processes ended."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path

from chaos.inside.transfer_audit.audit_log import QUIET_S
from history import events, layout
from history.evidence_counts import count_lines
from history.lines import UnreadableRun
from history.plan import PhaseSpec, RunPlan
from history.seals import seal
from history.writer import LineWriter
from kvchaos.conductor import server_state
from kvchaos.conductor.event_log import EventLog
from kvchaos.conductor.fault_controller import FaultController, RunAborted
from kvchaos.conductor.fault_targets import FaultTargets
from kvchaos.conductor.handover import Handover, RunEnd
from kvchaos.conductor.probe_client import ProbeClient
from kvchaos.conductor.resource_sampler import ResourceSampler
from kvchaos.conductor.server_lifecycle import ServerLifecycle
from kvchaos.conductor.server_monitor import Incident, ServerMonitor
from kvchaos.errors import UsageError
from kvchaos.interrupts import Interrupted
from kvchaos.prometheus.run_monitor import PrometheusMonitor
from kvchaos.prometheus.scraper import Scraper
from kvchaos.stacks.network import NetworkProxy
from kvchaos.stacks.server_files import ServerFiles
from kvchaos.stacks.stack import ServerStartFailed, Stack
from kvchaos.terminal.display import Display
from loadtests.messages import Progress
from loadtests.processes import LoadProcesses
from loadtests.worker_process import ProcessStarter

TICK_S = 0.1
LOADER_READY_S = 60.0
JOIN_S = 300.0
"""For people to start workers elsewhere."""
STOP_GRACE_S = 10.0
SHORT_PROBE_S = 5.0
"""Of a probe that is sent while load runs and has to be watched."""
LEDGER_QUIET_S = 3 * QUIET_S
"""The plug-in in the server writes its last balance when nothing has changed for a while."""


class LoadGeneratorLost(Exception):
    """A load worker died or fell silent in mid-run: the other records are whole, and prove nothing."""


class Conductor:
    """Conducts a resolved plan on a stack and writes the history. Judging comes after."""

    def __init__(
        self,
        plan: RunPlan,
        run_dir: Path,
        stack: Stack,
        display: Display,
        prometheus: PrometheusMonitor | None,
        network: NetworkProxy | None,
        starter: ProcessStarter,
        files: ServerFiles,
        handover: Handover | None = None,
    ) -> None:
        """`network` is what the load goes through, if anything; `starter` starts the load's processes.

        With a `handover` the server stays up when the run is over and has proved it clean.
        """
        self._plan = plan
        self._dir = run_dir
        self._stack = stack
        self._display = display
        self._limits = plan.scenario.limits
        self._prometheus = prometheus
        self._metrics_collected = False
        self._events = EventLog(run_dir, prometheus.event if prometheus else None)
        self._probe_client = ProbeClient(plan.base_url, plan.model_name, run_dir)
        self._metrics = LineWriter(run_dir / layout.METRICS)
        self._scraper = Scraper(plan.base_url, self._metrics)
        self._resources = ResourceSampler(stack, run_dir)
        self._load = LoadProcesses(
            run_dir,
            run_dir / layout.PLAN,
            plan.workers,
            run_dir / layout.LOADER_LOG,
            prometheus.report if prometheus else None,
            plan.join,
            starter,
        )
        self._files = files
        self._handover = handover
        self._drained = self._proved = False
        self._lifecycle = ServerLifecycle(stack, plan.base_url, files, self._events, self._probe_briefly)
        targets = FaultTargets(stack, self._lifecycle, network, prometheus.service if prometheus else None)
        self._faults = FaultController(plan, run_dir, targets, files, self._scraper, self._events)
        self._monitor = ServerMonitor(stack, self._limits.stall_s)
        self._stopped_at_line: int | None = None

    def conduct(self) -> None:
        """Carry out the plan. Returns also when the server or the load broke off: the history records it.

        Raises ServerStartFailed, RunAborted, Interrupted, or OSError when the history cannot be written.
        """
        recorded = False
        try:
            self._boot()
            self._phases()
            self._finish()
            recorded = True
        except Interrupted as signal:
            self._events.write(events.InterruptedBy(signal=signal.signal))
            recorded = True
            raise
        except LoadGeneratorLost as lost:
            self._events.write(events.RunFailed(reason=str(lost)))
            recorded = True
        except UsageError as error:
            self._events.write(events.RunFailed(reason=str(error)))
            recorded = True
            raise
        except UnreadableRun as error:  # A fault journal that the server wrote.
            self._events.write(events.RunFailed(reason=str(error)))
            recorded = True
            raise UsageError(str(error)) from error
        finally:
            try:
                if not recorded:
                    # Standard output may be gone, for instance. That says nothing about the server.
                    reason = f"the conductor broke off: {sys.exception()!r}"
                    self._events.write(events.RunFailed(reason=reason))
            finally:
                self._tear_down()

    def _boot(self) -> None:
        self._faults.check_stack()
        kept = bool(self._plan.preceded_by)
        self._display.step("taking over the server" if kept else "starting the server")
        self._load.start()
        if self._prometheus is not None:
            self._prometheus.start()
        if kept:
            self._lifecycle.adopt()
        else:
            self._lifecycle.start()
        try:
            self._lifecycle.wait_ready(self._limits.ready_s)
        finally:
            self._record_container_events()
        self._await_load()
        self._faults.check_server()
        self._scraper.start()
        # What a server counted before is not of this run.
        self._scraper.scrape_now()
        if self._prometheus is not None:
            self._prometheus.wait_ready()
        # The first request of an incarnation warms the server up, which takes long on some releases.
        if not self._probe(events.READY, self._limits.ready_s):
            raise ServerStartFailed(
                f"the server is up, but does not answer a request; see {self._dir / layout.SERVER_LOG}",
                exit_code=self._stack.exit_code(),
                tail=(),
            )
        if self._handover is not None:
            self._handover.before_load()

    def _await_load(self) -> None:
        join = self._plan.join
        if join is not None:
            self._display.step(
                f"{self._plan.workers} load workers are to join: kvchaos worker --master {join}"
            )
        if not self._load.wait_ready(LOADER_READY_S if join is None else JOIN_S):
            raise RunAborted("; ".join(self._load.failures() or self._load.absent()))
        for worker, process in self._load.joined():
            self._events.write(events.LoadWorker(worker=worker, host=process.host, pid=process.pid))

    def _phases(self) -> None:
        for phase in self._plan.scenario.phases:
            if self._phase(phase) is not None:
                return
            self._probe(f"after {phase.name}", self._limits.canary_s)

    def _phase(self, phase: PhaseSpec) -> Incident | None:
        self._display.phase_start(phase)
        settled: bool | None = server_state.settle(self._scraper, self._limits.drain_s)
        self._events.write(
            events.PhaseStart(phase=phase.name, role=phase.role, requests=phase.requests, settled=settled)
        )
        if phase.role == "chaos":
            self._faults.arm(phase)
        self._load.start_phase(phase)
        incident = self._watch_load(phase)
        progress = self._load.progress()
        fired = self._faults.fired()
        self._faults.heal(phase, self._keep_alive)
        incident = incident or self._monitor.exited()
        if incident is None:
            settled = server_state.settle(self._scraper, self._limits.drain_s)
            self._resources.sample_now()
        else:
            settled = None
            # It may never settle, but ledgers need a scrape from after the last request.
            self._scraper.scrape_now()
        self._events.write(
            events.PhaseEnd(
                phase=phase.name,
                sent=progress.sent,
                ok=progress.ok,
                failed=progress.failed + progress.aborted,
                reason=incident.reason if incident else "done",
                settled=settled,
            )
        )
        self._display.phase_end(progress, fired)
        return incident

    def _watch_load(self, phase: PhaseSpec) -> Incident | None:
        """Watch over a phase until its load has ended, by itself or because of an incident."""
        incident: Incident | None = None
        give_up_at = float("inf")
        while not self._load.done():
            time.sleep(TICK_S)
            self._keep_alive()
            progress = self._load.progress()
            self._faults.tick(progress)
            self._display.phase(progress, self._faults.fired())
            self._check_load()
            if incident is None and (incident := self._check_server(progress)):
                self._record_incident(incident)
                self._load.stop_phase(incident.reason)
                give_up_at = time.monotonic() + STOP_GRACE_S
            if time.monotonic() > give_up_at:
                raise LoadGeneratorLost("the load generator did not stop; see " + layout.LOADER_LOG)
        return incident or self._exit_after_load()

    def _check_server(self, progress: Progress) -> Incident | None:
        """The incident at this moment, if any. A server that a fault has ended is to be restarted."""
        incident = self._monitor.check(progress)
        if incident is not None and incident.exit_code is not None and self._faults.server_is_down():
            self._lifecycle.record_exit()
            return None
        return incident

    def _exit_after_load(self) -> Incident | None:
        """A server that dies takes its last requests along: the load may be over first."""
        if self._faults.server_is_down():
            return None
        progress = self._load.progress()
        if progress.failed:
            self._monitor.wait_for_exit(self._limits.stall_s if progress.ok == 0 else 5.0)
        incident = self._monitor.check(progress)
        if incident is not None:
            self._record_incident(incident)
        return incident

    def _record_incident(self, incident: Incident) -> None:
        if incident.exit_code is not None:
            self._lifecycle.record_exit()
            return
        gauges = server_state.gauges(self._scraper.latest())
        self._events.write(
            events.ServerStalled(
                seconds=round(incident.seconds, 3),
                running=gauges.running,
                waiting=gauges.waiting,
                detail=incident.detail,
            )
        )

    def _keep_alive(self) -> None:
        """Done all the time: renew the lease, refresh the process registry, check for failures."""
        self._faults.keep_alive()
        self._files.collect()
        self._monitor.observe()
        self._record_container_events()
        self._resources.sample_if_due()
        self._scraper.failure()
        failures = self._load.failures()
        if failures:
            raise LoadGeneratorLost("; ".join(failures))

    def _record_container_events(self) -> None:
        for action in self._stack.container_events():
            self._events.write(action)

    def _check_load(self) -> None:
        """A load generator that reports nothing any more is broken; that says nothing about the server."""
        silence = self._load.silence()
        if silence.seconds > self._limits.stall_s:
            raise LoadGeneratorLost(
                f"{self._load.name(silence.worker)} has said nothing for {silence.seconds:.1f} s; "
                f"see {layout.LOADER_LOG}"
            )

    def _finish(self) -> None:
        """The final state of the server: does it answer, is it idle, does it still hold blocks?"""
        self._display.step("draining")
        begin = time.monotonic()
        # The gauges move on an engine step only: the probe causes one.
        self._probe(events.FINAL, self._limits.canary_s)
        if not self._stack.alive():
            return
        self._drained = ok = server_state.settle(self._scraper, self._limits.drain_s)
        self._resources.sample_now()
        gauges = server_state.gauges(self._scraper.latest())
        self._events.write(
            events.Drained(
                ok=ok,
                seconds=round(time.monotonic() - begin, 3),
                running=gauges.running,
                waiting=gauges.waiting,
                kv_usage=gauges.kv_usage,
            )
        )
        if self._plan.stack != "attach":  # Its cache is not ours to drop.
            reset = server_state.reset_prefix_cache(self._plan.base_url, self._files.log)
            self._events.write(events.LeakProbe(ok=reset.ok, answer=reset.answer, detail=reset.detail))
        if self._prometheus is not None:
            self._prometheus.catch_up()
        self._scraper.scrape_now()
        if self._plan.scenario.server.chaos:
            # What a busy server holds for a moment must not be part of its last balance.
            time.sleep(LEDGER_QUIET_S)
        if self._handover is not None:
            self._handover.empty_caches(self._plan.base_url, self._run_end())
            time.sleep(LEDGER_QUIET_S)

    def _run_end(self) -> RunEnd:
        return RunEnd(
            run_dir=self._dir,
            samples=self._scraper.scrape_now(),
            starts=self._lifecycle.count,
            unhealed=self._faults.unhealed,
            drained=self._drained,
            allowed_log_lines=[line.pattern for line in self._plan.scenario.allowed_log_lines],
        )

    def _probe_briefly(self, where: str) -> None:
        self._probe(where, SHORT_PROBE_S)

    def _probe(self, where: str, deadline_s: float) -> bool:
        result = self._probe_client.send(deadline_s)
        status = server_state.health(self._plan.base_url)
        self._events.write(
            events.ProbeSent(
                where=where, ok=result.ok, seconds=result.seconds, request=result.request, error=result.error
            )
        )
        self._events.write(events.HealthChecked(where=where, ok=status == HTTPStatus.OK, status=status))
        return result.ok

    def _tear_down(self) -> None:
        """End everything; once more from the start when the signal comes now, since there is only one."""
        try:
            try:
                self._stop_everything()
            except Interrupted:
                self._stop_everything()
                raise
        finally:
            self._close_history()

    def _stop_everything(self) -> None:
        """Each step even when the one before failed. Safe to repeat."""
        with ExitStack() as steps:
            # The last one first.
            if self._prometheus is not None:
                steps.callback(self._prometheus.stop)
            steps.callback(self._stop_server)
            steps.callback(self._scraper.stop)
            steps.callback(self._collect_prometheus)
            steps.callback(self._prove_clean)
            steps.callback(self._load.close)
            steps.callback(self._faults.close)

    def _collect_prometheus(self) -> None:
        if self._prometheus is None or self._metrics_collected:
            return
        read_result = self._prometheus.collect()
        self._metrics_collected = True
        self._events.write(events.PrometheusRead(scrapes=read_result.scrapes, error=read_result.error))

    def _prove_clean(self) -> None:
        """Whether the server may serve the next run; once."""
        handover = self._handover
        if handover is None or self._proved:
            return
        self._proved = True
        if self._stack.alive():
            handover.prove(self._run_end())
        self._events.write(events.CleanState(clean=handover.clean, objections=[*handover.objections]))

    def _stop_server(self) -> None:
        if self._handover is not None and self._handover.clean:
            return
        if self._stopped_at_line is None and self._stack.alive():
            self._stopped_at_line = self._files.log_lines()
        else:
            # It may have ended by itself after its load, when nothing waits for its exit any more.
            self._lifecycle.record_exit()
        self._stack.stop()

    def _close_history(self) -> None:
        self._record_container_events()
        self._files.collect()
        line = self._stopped_at_line
        if line is not None:
            code = self._stack.exit_code()
            self._events.write(events.ServerStop(how="SIGTERM", code=code, log_line=line))
        self._probe_client.close()
        self._metrics.close()
        self._resources.close()
        # The last event: all other files are as they will be judged.
        self._events.write(events.EvidenceCounted(lines=count_lines(self._dir)))
        self._events.close()
        seal(self._dir)
