"""Arms and heals the faults of a run, those inside the server and those from outside, together."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from chaos.control_plane import LEASE_S, ControlPlane
from chaos.fault_catalogue import KINDS, is_outside
from chaos.inside.fault_kind import CONTRACT_VIOLATING
from chaos.inside.inside_kinds import KINDS as INSIDE_KINDS
from chaos.outside.injector import CLIENT, NETWORK, PROMETHEUS, SERVER, Injector
from chaos.outside.outside_faults import InvocationCounts, OutsideFaults, OutsideJournal
from chaos.outside.outside_kinds import TargetInjector
from chaos.outside.raw_requests import ClientTarget
from history import layout
from history.events import FaultsArmed, FaultsHealed, HealedBy, PrefixCacheReset
from history.phase_spec import PhaseSpec
from history.plan import RunPlan
from history.records import CROWD
from history.scenario import FaultSpec
from kvchaos.conductor import server_state
from kvchaos.conductor.event_log import EventLog
from kvchaos.conductor.server_lifecycle import ServerLifecycle
from kvchaos.errors import UsageError
from kvchaos.polling import wait_until
from kvchaos.prometheus.run_monitor import ManagedPrometheus
from kvchaos.prometheus.scraper import Scraper
from kvchaos.stacks.network import NetworkProxy
from kvchaos.stacks.server_files import ServerFiles
from kvchaos.stacks.stack import Stack
from loadtests.messages import Progress


@dataclass(frozen=True, slots=True)
class FaultTargets:
    """What the faults from outside can be applied to in a run."""

    stack: Stack
    lifecycle: ServerLifecycle
    network: NetworkProxy | None
    """What the load goes through, if anything."""
    prometheus: ManagedPrometheus | None
    """The Prometheus of the run, if any."""


def outside_faults(plan: RunPlan, run_dir: Path, targets: FaultTargets) -> OutsideFaults | None:
    """None where the plan has no fault from outside."""
    if not outside_of(plan.scenario.faults):
        return None
    control = run_dir / layout.CONTROL
    control.mkdir(mode=0o755, exist_ok=True)
    return OutsideFaults(list(_injectors(plan, run_dir, targets)), OutsideJournal(control))


def outside_of(faults: tuple[FaultSpec, ...]) -> tuple[FaultSpec, ...]:
    """The faults that are applied from outside the server."""
    return tuple(fault for fault in faults if is_outside(fault.kind))


def inside_of(faults: tuple[FaultSpec, ...]) -> tuple[FaultSpec, ...]:
    """The faults that are applied inside the server."""
    return tuple(fault for fault in faults if not is_outside(fault.kind))


def reached(progress: Progress, seconds: float) -> InvocationCounts:
    """The progress of a phase, `seconds` after its start."""
    return InvocationCounts(sent=progress.sent, answered=progress.ok, seconds=seconds)


def _injectors(plan: RunPlan, run_dir: Path, targets: FaultTargets) -> Iterator[Injector]:
    port, settings = urlsplit(plan.base_url).port, plan.scenario.server
    if port is not None:
        records = run_dir / layout.requests_file(CROWD)
        clients = ClientTarget(port, plan.model_name, settings.max_model_len, settings.block_size, records)
        yield TargetInjector(CLIENT, clients)
    if targets.network is not None:
        yield TargetInjector(NETWORK, targets.network.handle)
    if targets.prometheus is not None:
        yield TargetInjector(PROMETHEUS, targets.prometheus)
    if (target := targets.stack.fault_target(targets.lifecycle)) is not None:
        yield TargetInjector(SERVER, target, plan.stack)


CONFIRM_S = 5.0
POLL_S = 0.05


class RunAborted(UsageError):
    """The run could not be carried out, for a reason that is not the server's."""


class LeaseLost(RunAborted):
    """The conductor could not renew the lease of its faults in time, so that they ended by themselves."""


class FaultController:
    """Each fault counts as armed or healed only when its journal says so."""

    def __init__(
        self,
        plan: RunPlan,
        run_dir: Path,
        targets: FaultTargets,
        files: ServerFiles,
        scraper: Scraper,
        events: EventLog,
    ) -> None:
        self._plan = plan
        self._files = files
        self._stack = targets.stack
        self._lifecycle = targets.lifecycle
        self._scraper = scraper
        self._events = events
        self._control = (
            ControlPlane(files.control, run_dir / layout.CONTROL, files.collect)
            if plan.scenario.server.chaos
            else None
        )
        self._network = targets.network
        self._outside = outside_faults(plan, run_dir, targets)
        self._armed: tuple[FaultSpec, ...] = ()
        self._armed_at = 0.0
        self.unhealed: list[str] = []
        """Phases whose faults have no confirmed end."""

    def check_stack(self) -> None:
        """Refuse faults that this stack does not support, before anything starts."""
        if self._outside is None:
            return
        obstacles = self._outside.unsupported_reasons(outside_of(self._plan.scenario.faults))
        if obstacles:
            raise RunAborted(f"this stack does not support faults of this scenario: {'; '.join(obstacles)}")

    def check_server(self) -> None:
        """Refuse faults that this server can never reach, before any load."""
        faults = inside_of(self._plan.scenario.faults)
        if self._control is None or not (unsupported := self._control.unsupported_faults(faults)):
            return
        names = ", ".join(
            f"{fault.id} ({fault.kind}, {INSIDE_KINDS[fault.kind].releases})" for fault in unsupported
        )
        raise RunAborted(
            f"vLLM {self._plan.versions.vllm} offers no place for faults of this scenario: {names}"
        )

    def arm(self, phase: PhaseSpec) -> None:
        """Put the faults of a phase in force."""
        faults = self._plan.scenario.faults_in(phase.name)
        if not faults:
            return
        self._armed = faults
        self._arm_inside(inside_of(faults))
        if self._outside is not None:
            self._outside.arm(self._plan.seed, outside_of(faults))
        self._armed_at = time.monotonic()
        self._events.write(FaultsArmed(phase=phase.name, faults=[fault.id for fault in faults]))

    def keep_alive(self) -> None:
        """Renew the lease of the faults; to be called several times within LEASE_S."""
        if self._network is not None and (proxy_failure := self._network.failure()) is not None:
            raise RunAborted(proxy_failure)
        if self._control is None:
            return
        gap_s = self._control.renew()
        if self._armed and gap_s > LEASE_S:
            raise LeaseLost(
                f"the conductor got no processor time for {gap_s:.1f} s, and the faults ended by themselves"
            )

    def tick(self, progress: Progress) -> None:
        """Carry out the injections from outside that are due at this progress of the phase."""
        if self._outside is not None and self._armed:
            self._outside.tick(reached(progress, time.monotonic() - self._armed_at))

    def fired(self) -> int | None:
        """How many injections there were; None while no fault is armed."""
        if not self._armed:
            return None
        if self._control is not None:
            return self._control.fired()  # The journals of both lie in one folder.
        return self._outside.fired() if self._outside is not None else None

    def server_is_down(self) -> bool:
        """Whether an active fault ends the server on purpose."""
        return self._outside is not None and self._outside.is_lethal()

    def heal(self, phase: PhaseSpec) -> Iterator[None]:
        """End the faults and revert what outlives them.

        Iterate to the end: it yields about 20 times a second while it waits, so that the caller can keep the
        run going.
        """
        if not self._armed:
            return
        faults, self._armed = self._armed, ()
        began = time.time_ns()
        # First from outside: a server that stands still cannot confirm anything.
        reverted = yield from self._revert()
        inside = inside_of(faults)
        confirmed_inside = self._healed_inside(inside, began)
        # A dead server has no fault left in it.
        gone = not self._stack.alive()
        if not (reverted and confirmed_inside):
            self.unhealed.append(phase.name)
        by = _confirmed_by(reverted=reverted, journals=confirmed_inside, gone=gone)
        ids = [fault.id for fault in faults]
        self._events.write(FaultsHealed(phase=phase.name, faults=ids, confirmed=by != "nobody", by=by))
        if (
            confirmed_inside
            and not gone
            and any(KINDS[fault.kind].contract == CONTRACT_VIOLATING for fault in inside)
        ):
            server_state.settle(self._scraper, self._plan.scenario.limits.drain_s)
            reset = server_state.reset_prefix_cache(self._plan.base_url, self._files.log)
            self._events.write(PrefixCacheReset(ok=reset.ok, answer=reset.answer, detail=reset.detail))

    def close(self) -> None:
        """Revert all faults; to be called however the run ends. Safe to repeat."""
        try:
            if self._outside is not None:
                self._outside.close()
        finally:
            if self._control is not None:
                self._control.heal()

    def _arm_inside(self, faults: Sequence[FaultSpec]) -> None:
        if self._control is None or not faults:
            return
        began = time.time_ns()
        self._control.arm(self._plan.seed, faults)
        if self._confirmed("armed", faults, began):
            return
        refusals = self._control.refusals(faults, began)
        if refusals:
            raise RunAborted("the server refuses the faults: " + "; ".join(refusals))
        raise RunAborted(
            f"the server did not arm the faults within {CONFIRM_S:g} s; "
            f"see the journals in {self._control.path}"
        )

    def _revert(self) -> Generator[None, None, bool]:
        """Revert the active faults from outside. Returns whether that was confirmed in time."""
        if self._outside is None:
            return True
        restarts_server = self._outside.is_lethal()
        timeout_s = CONFIRM_S + self._outside.revert_timeout_s()
        if restarts_server:
            timeout_s += self._plan.scenario.limits.ready_s
        deadline = time.monotonic() + timeout_s
        self._outside.revert()
        while not self._outside.healed():
            if time.monotonic() > deadline or self._lifecycle.exited_before_ready():
                if restarts_server:
                    self._lifecycle.record_not_ready()
                return False
            yield
            time.sleep(POLL_S)
        return True

    def _healed_inside(self, faults: Sequence[FaultSpec], since_ns: int) -> bool:
        if self._control is None:
            return True
        self._control.heal()
        return self._confirmed("healed", faults, since_ns)

    def _confirmed(self, event: str, faults: Sequence[FaultSpec], since_ns: int) -> bool:
        control = self._control
        if control is None:
            return True

        def is_decided() -> bool:
            if control.confirmed(event, faults, since_ns) or not self._stack.alive():
                return True
            return event == "armed" and bool(control.refusals(faults, since_ns))

        wait_until(is_decided, CONFIRM_S, POLL_S)
        return control.confirmed(event, faults, since_ns)


def _confirmed_by(*, reverted: bool, journals: bool, gone: bool) -> HealedBy:
    """Who confirms that all faults have ended: the journals, or the exit of the server."""
    if not reverted or not (journals or gone):
        return "nobody"
    return "journal" if journals else "server-exit"
