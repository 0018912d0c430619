"""One run from start to end. Whatever happens in between, faults are healed and processes ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from chaos.arming import LEASE_S, ControlPlane
from chaos.inside.faults import KINDS
from chaos.inside.kind import HOSTILE
from history import layout
from history.plan import FaultSpec, PhaseSpec, RunPlan
from history.writer import LineWriter
from kvchaos.conductor import server_state
from kvchaos.conductor.canary import Canary
from kvchaos.conductor.display import Display
from kvchaos.conductor.events import EventLog
from kvchaos.conductor.watch import Trouble, Watch
from kvchaos.errors import UsageError
from kvchaos.interrupts import Interrupted
from kvchaos.resources import ResourceSampler
from kvchaos.stacks.stack import ServerNotReady, Stack
from kvchaos.telemetry import Scraper
from loadtests.processes import LoadProcesses

TICK_S = 0.1
CONFIRM_S = 5.0
LOADER_READY_S = 60.0
STOP_GRACE_S = 10.0
FINAL = "final"


class RunFailed(UsageError):
    """The run could not be carried out, for a reason that is not the server's."""


class LoadLost(Exception):
    """A load worker died or fell silent in mid-run: what the others saw is whole, and proves nothing."""


class Run:
    """Conducts a resolved plan on a stack and writes the history. Judging comes after."""

    def __init__(self, plan: RunPlan, run_dir: Path, stack: Stack, display: Display) -> None:
        self._plan = plan
        self._dir = run_dir
        self._stack = stack
        self._display = display
        self._limits = plan.scenario.limits
        self._events = EventLog(run_dir)
        self._canary = Canary(plan.base_url, plan.model_name, run_dir)
        self._metrics = LineWriter(run_dir / layout.METRICS)
        self._scraper = Scraper(plan.base_url, self._metrics)
        self._resources = ResourceSampler(stack, run_dir)
        self._load = LoadProcesses(run_dir, run_dir / layout.PLAN, plan.workers, run_dir / layout.LOADER_LOG)
        self._control = ControlPlane(run_dir / layout.CONTROL) if plan.scenario.server.chaos else None
        self._watch = Watch(stack, self._limits.stall_s)
        self._armed: tuple[FaultSpec, ...] = ()
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
            self._events.write("interrupted", signal=signal.signal)
            told = True
            raise
        except LoadLost as lost:
            self._events.write("run_failed", reason=str(lost))
            told = True
        except UsageError as error:
            self._events.write("run_failed", reason=str(error))
            told = True
            raise
        finally:
            try:
                if not told:
                    # Standard output may be gone, say. That is no word on the server.
                    self._events.write("run_failed", reason=f"the conductor broke off: {sys.exception()!r}")
            finally:
                self._tear_down()

    def _boot(self) -> None:
        self._display.step("starting the server")
        begin = time.monotonic()
        self._load.start()
        self._stack.start()
        self._events.write("server_start", **self._stack.identity())
        self._stack.wait_ready(self._limits.ready_s)
        self._events.write("server_ready", seconds=round(time.monotonic() - begin, 3))
        if not self._load.wait_ready(LOADER_READY_S):
            raise RunFailed("; ".join(self._load.failures()) or "the load generator did not get ready")
        self._check_reach()
        self._scraper.start()
        # What a server counted before is not of this run.
        self._scraper.scrape_now()
        # The first request of a server's life warms it up, which some releases take their time for.
        if not self._send_canary("ready", self._limits.ready_s):
            raise ServerNotReady(
                f"the server is up, but does not answer a request; see {self._dir / layout.SERVER_LOG}",
                exit_code=self._stack.exit_code(),
                tail=(),
            )

    def _check_reach(self) -> None:
        """Before any load: a fault that this server can never be struck by would leave the run in doubt."""
        faults = self._plan.scenario.faults
        if self._control is None or not (lost := self._control.unreachable(faults)):
            return
        told = ", ".join(f"{fault.id} ({fault.kind}, {KINDS[fault.kind].releases})" for fault in lost)
        raise RunFailed(
            f"vLLM {self._plan.versions.vllm} offers no place for faults of this scenario: {told}"
        )

    def _phases(self) -> None:
        for phase in self._plan.scenario.phases:
            if self._phase(phase) is not None:
                return
            self._send_canary(f"after {phase.name}", self._limits.canary_s)

    def _phase(self, phase: PhaseSpec) -> Trouble | None:
        self._display.step(f"phase {phase.name} ({phase.role})")
        server_state.settle(self._scraper, self._limits.drain_s)
        self._events.write("phase_start", phase=phase.name, role=phase.role, requests=phase.requests)
        if phase.role == "chaos":
            self._arm(phase)
        self._load.start_phase(phase)
        trouble = self._attend(phase)
        progress = self._load.progress()
        fired = self._fired()
        if self._armed:
            self._heal(phase)
        if trouble is None:
            server_state.settle(self._scraper, self._limits.drain_s)
            self._resources.sample_now()
        else:
            # It may never settle, but ledgers need a scrape from after the last request.
            self._scraper.scrape_now()
        self._events.write(
            "phase_end",
            phase=phase.name,
            sent=progress.sent,
            ok=progress.ok,
            failed=progress.failed + progress.aborted,
            reason=trouble.reason if trouble else "done",
        )
        self._display.phase_end(progress, phase.requests, fired)
        return trouble

    def _attend(self, phase: PhaseSpec) -> Trouble | None:
        """Watch over a phase until its load has ended, by itself or because of trouble."""
        trouble: Trouble | None = None
        give_up_at = float("inf")
        while not self._load.done():
            time.sleep(TICK_S)
            self._keep_alive()
            progress = self._load.progress()
            self._display.phase(progress, phase.requests, self._fired())
            self._check_load()
            if trouble is None and (trouble := self._watch.look(progress)):
                self._tell(trouble)
                self._load.stop_phase(trouble.reason)
                give_up_at = time.monotonic() + STOP_GRACE_S
            if time.monotonic() > give_up_at:
                raise LoadLost("the load generator did not stop; see " + layout.LOADER_LOG)
        return trouble or self._death_after_load()

    def _death_after_load(self) -> Trouble | None:
        """A server that dies takes its last requests along: the load may be over first."""
        progress = self._load.progress()
        if progress.failed:
            self._watch.wait_for_death(self._limits.stall_s if progress.ok == 0 else 5.0)
        trouble = self._watch.look(progress)
        if trouble is not None:
            self._tell(trouble)
        return trouble

    def _tell(self, trouble: Trouble) -> None:
        if trouble.exit_code is not None:
            self._events.write("server_exit", code=trouble.exit_code)
            return
        gauges = server_state.gauges(self._scraper.latest())
        self._events.write(
            "stall",
            seconds=round(trouble.seconds, 3),
            running=gauges.running,
            waiting=gauges.waiting,
            detail=trouble.detail,
        )

    def _keep_alive(self) -> None:
        """What has to be done all the time: lease, record of processes, and hearing of failures."""
        if self._control is not None:
            silent_s = self._control.renew()
            if self._armed and silent_s > LEASE_S:
                raise RunFailed(
                    f"this machine left the conductor no processor for {silent_s:.1f} s, "
                    "and the faults ended by themselves"
                )
        self._watch.observe()
        self._resources.sample_if_due()
        self._scraper.failure()
        failures = self._load.failures()
        if failures:
            raise LoadLost("; ".join(failures))

    def _check_load(self) -> None:
        """A load generator that tells nothing any more is broken; that says nothing about the server."""
        silence = self._load.silence()
        if silence.seconds > self._limits.stall_s:
            raise LoadLost(
                f"load worker {silence.worker} has said nothing for {silence.seconds:.1f} s; "
                f"see {layout.LOADER_LOG}"
            )

    def _arm(self, phase: PhaseSpec) -> None:
        faults = self._plan.scenario.faults_in(phase.name)
        if self._control is None or not faults:
            return
        self._armed = faults
        began = time.time_ns()
        self._control.arm(self._plan.seed, faults)
        if not self._confirmed("armed", faults, began):
            refusals = self._control.refusals(faults, began)
            if refusals:
                raise RunFailed("the server refuses the faults: " + "; ".join(refusals))
            raise RunFailed(
                f"the server did not take the faults within {CONFIRM_S:g} s; "
                f"see the journals in {self._control.path}"
            )
        self._events.write("armed", phase=phase.name, faults=[fault.id for fault in faults])

    def _heal(self, phase: PhaseSpec) -> None:
        """End the faults and undo what outlives them."""
        if self._control is None:
            return
        faults, self._armed = self._armed, ()
        began = time.time_ns()
        self._control.heal()
        lives = self._confirmed("healed", faults, began)
        # A dead server has no fault left in it.
        gone = not self._stack.alive()
        self._events.write(
            "healed",
            phase=phase.name,
            faults=[fault.id for fault in faults],
            confirmed=lives or gone,
            by="journal" if lives else "the server's end" if gone else "nobody",
        )
        if lives and not gone and any(KINDS[fault.kind].contract == HOSTILE for fault in faults):
            server_state.settle(self._scraper, self._limits.drain_s)
            probe = server_state.reset_prefix_cache(self._plan.base_url, self._dir / layout.SERVER_LOG)
            self._events.write("prefix_cache_reset", ok=probe.ok, answer=probe.answer, detail=probe.detail)

    def _confirmed(self, event: str, faults: Sequence[FaultSpec], since_ns: int) -> bool:
        deadline = time.monotonic() + CONFIRM_S
        while self._control is not None and not self._control.confirmed(event, faults, since_ns):
            if time.monotonic() > deadline or not self._stack.alive():
                return False
            if event == "armed" and self._control.refusals(faults, since_ns):
                return False
            time.sleep(TICK_S / 2)
        return True

    def _fired(self) -> int | None:
        return self._control.fired() if self._control is not None and self._armed else None

    def _finish(self) -> None:
        """The last word on the server: does it answer, is it idle, does it hold anything?"""
        self._display.step("draining")
        begin = time.monotonic()
        # The gauges move on an engine step only: the canary makes one.
        self._send_canary(FINAL, self._limits.canary_s)
        if not self._stack.alive():
            return
        ok = server_state.settle(self._scraper, self._limits.drain_s)
        self._resources.sample_now()
        gauges = server_state.gauges(self._scraper.latest())
        self._events.write(
            "drained",
            ok=ok,
            seconds=round(time.monotonic() - begin, 3),
            running=gauges.running,
            waiting=gauges.waiting,
            kv_usage=gauges.kv_usage,
        )
        if self._plan.stack == "attach":
            # Its cache is not ours to drop.
            self._scraper.scrape_now()
            return
        probe = server_state.reset_prefix_cache(self._plan.base_url, self._dir / layout.SERVER_LOG)
        self._events.write("leak_probe", ok=probe.ok, answer=probe.answer, detail=probe.detail)
        self._scraper.scrape_now()

    def _send_canary(self, where: str, deadline_s: float) -> bool:
        sent = self._canary.send(deadline_s)
        status = server_state.health(self._plan.base_url)
        self._events.write(
            "canary", where=where, ok=sent.ok, seconds=sent.seconds, request=sent.request, error=sent.error
        )
        self._events.write("health", where=where, ok=status == 200, status=status)
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
        """Heal, end the load, end the server: each even when the one before failed. Safe to repeat."""
        try:
            if self._control is not None:
                self._control.heal()
        finally:
            try:
                self._load.close()
                self._scraper.stop()
            finally:
                self._stop_server()

    def _stop_server(self) -> None:
        if self._stopped_at_line is None and self._stack.alive():
            self._stopped_at_line = _line_count(self._dir / layout.SERVER_LOG)
        self._stack.stop()

    def _close_history(self) -> None:
        line = self._stopped_at_line
        if line is not None:
            self._events.write("server_stop", how="SIGTERM", code=self._stack.exit_code(), log_line=line)
        self._events.close()
        self._canary.close()
        self._metrics.close()
        self._resources.close()


def _line_count(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(1 for _ in file)
