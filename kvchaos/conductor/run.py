"""One run from start to end. Whatever happens in between, faults are healed and processes ended."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path

from chaos.inside.ledger.book import QUIET_S
from history import events, layout
from history.evidence import count_lines
from history.lines import UnreadableRun
from history.plan import PhaseSpec, RunPlan
from history.seals import seal
from history.writer import LineWriter
from kvchaos.conductor import server_state
from kvchaos.conductor.arms import Arms, RunFailed
from kvchaos.conductor.canary import Canary
from kvchaos.conductor.events import EventLog
from kvchaos.conductor.handover import Handover, RunEnd
from kvchaos.conductor.lives import Lives
from kvchaos.conductor.outside import Targets
from kvchaos.conductor.watch import Trouble, Watch
from kvchaos.errors import UsageError
from kvchaos.interrupts import Interrupted
from kvchaos.prometheus.run_monitor import PrometheusMonitor
from kvchaos.prometheus.scraper import Scraper
from kvchaos.resources import ResourceSampler
from kvchaos.stacks.network import NetworkProxy
from kvchaos.stacks.server_files import ServerFiles
from kvchaos.stacks.stack import ServerNotReady, Stack
from kvchaos.terminal.display import Display
from loadtests.child import Starter
from loadtests.messages import Progress
from loadtests.processes import LoadProcesses

TICK_S = 0.1
LOADER_READY_S = 60.0
JOIN_S = 300.0
"""For people to start workers elsewhere."""
STOP_GRACE_S = 10.0
SHORT_CANARY_S = 5.0
"""For one that is sent while load runs and has to be watched."""
BOOKS_S = 3 * QUIET_S
"""The module in the server closes its books when nothing has changed for a while."""


class LoadLost(Exception):
    """A load worker died or fell silent in mid-run: what the others saw is whole, and proves nothing."""


class Run:
    """Conducts a resolved plan on a stack and writes the history. Judging comes after."""

    def __init__(
        self,
        plan: RunPlan,
        run_dir: Path,
        stack: Stack,
        display: Display,
        witness: PrometheusMonitor | None,
        network: NetworkProxy | None,
        starter: Starter,
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
        self._witness = witness
        self._heard = False
        self._events = EventLog(run_dir, witness.event if witness else None)
        self._canary = Canary(plan.base_url, plan.model_name, run_dir)
        self._metrics = LineWriter(run_dir / layout.METRICS)
        self._scraper = Scraper(plan.base_url, self._metrics)
        self._resources = ResourceSampler(stack, run_dir)
        self._load = LoadProcesses(
            run_dir,
            run_dir / layout.PLAN,
            plan.workers,
            run_dir / layout.LOADER_LOG,
            witness.report if witness else None,
            plan.join,
            starter,
        )
        self._files = files
        self._handover = handover
        self._drained = self._proved = False
        self._lives = Lives(stack, plan.base_url, files, self._events, self._ask)
        targets = Targets(stack, self._lives, network, witness.service if witness else None)
        self._arms = Arms(plan, run_dir, targets, files, self._scraper, self._events)
        self._watch = Watch(stack, self._limits.stall_s)
        self._stopped_at_line: int | None = None

    def conduct(self) -> None:
        """Carry out the plan. Returns also when the server or the load broke off: the history tells.

        Raises ServerNotReady, RunFailed, Interrupted, or OSError when the history cannot be written.
        """
        told = False
        try:
            self._boot()
            self._phases()
            self._finish()
            told = True
        except Interrupted as signal:
            self._events.write(events.InterruptedBy(signal=signal.signal))
            told = True
            raise
        except LoadLost as lost:
            self._events.write(events.RunFailed(reason=str(lost)))
            told = True
        except UsageError as error:
            self._events.write(events.RunFailed(reason=str(error)))
            told = True
            raise
        except UnreadableRun as error:  # A fault journal that the server wrote.
            self._events.write(events.RunFailed(reason=str(error)))
            told = True
            raise UsageError(str(error)) from error
        finally:
            try:
                if not told:
                    # Standard output may be gone, say. That is no word on the server.
                    reason = f"the conductor broke off: {sys.exception()!r}"
                    self._events.write(events.RunFailed(reason=reason))
            finally:
                self._tear_down()

    def _boot(self) -> None:
        self._arms.check_stack()
        kept = bool(self._plan.preceded_by)
        self._display.step("taking over the server" if kept else "starting the server")
        self._load.start()
        if self._witness is not None:
            self._witness.start()
        if kept:
            self._lives.take_over()
        else:
            self._lives.begin()
        try:
            self._lives.wait_ready(self._limits.ready_s)
        finally:
            self._tell_happenings()
        self._await_load()
        self._arms.check_server()
        self._scraper.start()
        # What a server counted before is not of this run.
        self._scraper.scrape_now()
        if self._witness is not None:
            self._witness.wait_ready()
        # The first request of a server's life warms it up, which some releases take their time for.
        if not self._send_canary(events.READY, self._limits.ready_s):
            raise ServerNotReady(
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
            raise RunFailed("; ".join(self._load.failures() or self._load.absent()))
        for worker, place in self._load.joined():
            self._events.write(events.LoadWorker(worker=worker, host=place.host, pid=place.pid))

    def _phases(self) -> None:
        for phase in self._plan.scenario.phases:
            if self._phase(phase) is not None:
                return
            self._send_canary(f"after {phase.name}", self._limits.canary_s)

    def _phase(self, phase: PhaseSpec) -> Trouble | None:
        self._display.phase_start(phase)
        settled: bool | None = server_state.settle(self._scraper, self._limits.drain_s)
        self._events.write(
            events.PhaseStart(phase=phase.name, role=phase.role, requests=phase.requests, settled=settled)
        )
        if phase.role == "chaos":
            self._arms.arm(phase)
        self._load.start_phase(phase)
        trouble = self._attend(phase)
        progress = self._load.progress()
        fired = self._arms.fired()
        self._arms.heal(phase, self._keep_alive)
        trouble = trouble or self._watch.gone()
        if trouble is None:
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
                reason=trouble.reason if trouble else "done",
                settled=settled,
            )
        )
        self._display.phase_end(progress, fired)
        return trouble

    def _attend(self, phase: PhaseSpec) -> Trouble | None:
        """Watch over a phase until its load has ended, by itself or because of trouble."""
        trouble: Trouble | None = None
        give_up_at = float("inf")
        while not self._load.done():
            time.sleep(TICK_S)
            self._keep_alive()
            progress = self._load.progress()
            self._arms.tick(progress)
            self._display.phase(progress, self._arms.fired())
            self._check_load()
            if trouble is None and (trouble := self._look(progress)):
                self._tell(trouble)
                self._load.stop_phase(trouble.reason)
                give_up_at = time.monotonic() + STOP_GRACE_S
            if time.monotonic() > give_up_at:
                raise LoadLost("the load generator did not stop; see " + layout.LOADER_LOG)
        return trouble or self._death_after_load()

    def _look(self, progress: Progress) -> Trouble | None:
        """What is wrong now, if anything. A server that a fault has ended is to be brought back."""
        trouble = self._watch.look(progress)
        if trouble is not None and trouble.exit_code is not None and self._arms.take_the_server():
            self._lives.note_end()
            return None
        return trouble

    def _death_after_load(self) -> Trouble | None:
        """A server that dies takes its last requests along: the load may be over first."""
        if self._arms.take_the_server():
            return None
        progress = self._load.progress()
        if progress.failed:
            self._watch.wait_for_death(self._limits.stall_s if progress.ok == 0 else 5.0)
        trouble = self._watch.look(progress)
        if trouble is not None:
            self._tell(trouble)
        return trouble

    def _tell(self, trouble: Trouble) -> None:
        if trouble.exit_code is not None:
            self._lives.note_end()
            return
        gauges = server_state.gauges(self._scraper.latest())
        self._events.write(
            events.Stall(
                seconds=round(trouble.seconds, 3),
                running=gauges.running,
                waiting=gauges.waiting,
                detail=trouble.detail,
            )
        )

    def _keep_alive(self) -> None:
        """What has to be done all the time: lease, record of processes, and hearing of failures."""
        self._arms.keep_alive()
        self._files.collect()
        self._watch.observe()
        self._tell_happenings()
        self._resources.sample_if_due()
        self._scraper.failure()
        failures = self._load.failures()
        if failures:
            raise LoadLost("; ".join(failures))

    def _tell_happenings(self) -> None:
        for happening in self._stack.happenings():
            self._events.write(happening)

    def _check_load(self) -> None:
        """A load generator that tells nothing any more is broken; that says nothing about the server."""
        silence = self._load.silence()
        if silence.seconds > self._limits.stall_s:
            raise LoadLost(
                f"{self._load.name(silence.worker)} has said nothing for {silence.seconds:.1f} s; "
                f"see {layout.LOADER_LOG}"
            )

    def _finish(self) -> None:
        """The last word on the server: does it answer, is it idle, does it hold anything?"""
        self._display.step("draining")
        begin = time.monotonic()
        # The gauges move on an engine step only: the canary makes one.
        self._send_canary(events.FINAL, self._limits.canary_s)
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
            probe = server_state.reset_prefix_cache(self._plan.base_url, self._files.log)
            self._events.write(events.LeakProbe(ok=probe.ok, answer=probe.answer, detail=probe.detail))
        if self._witness is not None:
            self._witness.catch_up()
        self._scraper.scrape_now()
        if self._plan.scenario.server.chaos:
            # What a server under way holds for a moment must not stand in its last books.
            time.sleep(BOOKS_S)
        if self._handover is not None:
            self._handover.empty_caches(self._plan.base_url, self._run_end())
            time.sleep(BOOKS_S)

    def _run_end(self) -> RunEnd:
        return RunEnd(
            run_dir=self._dir,
            samples=self._scraper.scrape_now(),
            starts=self._lives.count,
            unhealed=self._arms.unhealed,
            drained=self._drained,
            allowed_log_lines=[line.pattern for line in self._plan.scenario.allowed_log_lines],
        )

    def _ask(self, where: str) -> None:
        self._send_canary(where, SHORT_CANARY_S)

    def _send_canary(self, where: str, deadline_s: float) -> bool:
        sent = self._canary.send(deadline_s)
        status = server_state.health(self._plan.base_url)
        self._events.write(
            events.Canary(
                where=where, ok=sent.ok, seconds=sent.seconds, request=sent.request, error=sent.error
            )
        )
        self._events.write(events.Health(where=where, ok=status == HTTPStatus.OK, status=status))
        return sent.ok

    def _tear_down(self) -> None:
        """End everything; once more from the start when the signal comes now, since there is only one."""
        try:
            try:
                self._end_everything()
            except Interrupted:
                self._end_everything()
                raise
        finally:
            self._close_history()

    def _end_everything(self) -> None:
        """Each step even when the one before failed. Safe to repeat."""
        with ExitStack() as steps:
            # The last one first.
            if self._witness is not None:
                steps.callback(self._witness.stop)
            steps.callback(self._stop_server)
            steps.callback(self._scraper.stop)
            steps.callback(self._hear_witness)
            steps.callback(self._prove_clean)
            steps.callback(self._load.close)
            steps.callback(self._arms.close)

    def _hear_witness(self) -> None:
        if self._witness is None or self._heard:
            return
        heard = self._witness.collect()
        self._heard = True
        self._events.write(events.PrometheusRead(scrapes=heard.scrapes, error=heard.error))

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
        self._stack.stop()

    def _close_history(self) -> None:
        self._tell_happenings()
        self._files.collect()
        line = self._stopped_at_line
        if line is not None:
            code = self._stack.exit_code()
            self._events.write(events.ServerStop(how="SIGTERM", code=code, log_line=line))
        self._canary.close()
        self._metrics.close()
        self._resources.close()
        # The last event: all other files are as they will be judged.
        self._events.write(events.EvidenceCounted(lines=count_lines(self._dir)))
        self._events.close()
        seal(self._dir)
