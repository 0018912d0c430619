"""The faults of a run, those inside the server and those from outside: armed together, healed together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from chaos.arming import LEASE_S, ControlPlane
from chaos.catalogue import KINDS
from chaos.inside.faults import KINDS as INSIDE_KINDS
from chaos.inside.kind import HOSTILE
from history import layout
from history.events import Armed, Healed, HealedBy, PrefixCacheReset
from history.plan import FaultSpec, PhaseSpec, RunPlan
from kvchaos.conductor import server_state
from kvchaos.conductor.events import EventLog
from kvchaos.conductor.outside import Targets, inside_of, outside_faults, outside_of, reached
from kvchaos.errors import UsageError
from kvchaos.prometheus.scraper import Scraper
from kvchaos.stacks.server_files import ServerFiles
from loadtests.messages import Progress

CONFIRM_S = 5.0
POLL_S = 0.05


class RunFailed(UsageError):
    """The run could not be carried out, for a reason that is not the server's."""


class LeaseLost(RunFailed):
    """The conductor could not renew the lease of its faults in time, so that they ended by themselves."""


class Arms:
    """Each fault counts as armed or healed only when its journal says so."""

    def __init__(
        self,
        plan: RunPlan,
        run_dir: Path,
        targets: Targets,
        files: ServerFiles,
        scraper: Scraper,
        events: EventLog,
    ) -> None:
        self._plan = plan
        self._files = files
        self._stack = targets.stack
        self._lives = targets.lives
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
        """Phases whose faults nobody was seen to end."""

    def check_stack(self) -> None:
        """Before anything starts: a fault that cannot be had on this stack would leave the run in doubt."""
        if self._outside is None:
            return
        obstacles = self._outside.obstacles(outside_of(self._plan.scenario.faults))
        if obstacles:
            raise RunFailed(f"faults of this scenario cannot be had on this stack: {'; '.join(obstacles)}")

    def check_server(self) -> None:
        """Before any load: the same of a fault that this server can never be struck by."""
        faults = inside_of(self._plan.scenario.faults)
        if self._control is None or not (lost := self._control.unreachable(faults)):
            return
        told = ", ".join(f"{fault.id} ({fault.kind}, {INSIDE_KINDS[fault.kind].releases})" for fault in lost)
        raise RunFailed(
            f"vLLM {self._plan.versions.vllm} offers no place for faults of this scenario: {told}"
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
        self._events.write(Armed(phase=phase.name, faults=[fault.id for fault in faults]))

    def keep_alive(self) -> None:
        """Say that the conductor still lives; to be called several times within LEASE_S."""
        if self._network is not None and (died := self._network.failure()) is not None:
            raise RunFailed(died)
        if self._control is None:
            return
        silent_s = self._control.renew()
        if self._armed and silent_s > LEASE_S:
            raise LeaseLost(
                f"this machine left the conductor no processor for {silent_s:.1f} s, "
                "and the faults ended by themselves"
            )

    def tick(self, progress: Progress) -> None:
        """Carry out what is due from outside, by what the phase has seen so far."""
        if self._outside is not None and self._armed:
            self._outside.tick(reached(progress, time.monotonic() - self._armed_at))

    def fired(self) -> int | None:
        """How many times any fault has struck; None while none is armed."""
        if not self._armed:
            return None
        if self._control is not None:
            return self._control.fired()  # The journals of both lie in one folder.
        return self._outside.fired() if self._outside is not None else None

    def take_the_server(self) -> bool:
        """Whether a strike is in force that the server is to end of."""
        return self._outside is not None and self._outside.takes_the_server()

    def heal(self, phase: PhaseSpec, meanwhile: Callable[[], None]) -> None:
        """End the faults and undo what outlives them; `meanwhile` is done about ten times a second."""
        if not self._armed:
            return
        faults, self._armed = self._armed, ()
        began = time.time_ns()
        # First from outside: a server that stands still cannot confirm anything.
        undone = self._undone(meanwhile)
        inside = inside_of(faults)
        lives = self._healed_inside(inside, began)
        # A dead server has no fault left in it.
        gone = not self._stack.alive()
        if not (undone and lives):
            self.unhealed.append(phase.name)
        by = _confirmed_by(undone=undone, journals=lives, gone=gone)
        ids = [fault.id for fault in faults]
        self._events.write(Healed(phase=phase.name, faults=ids, confirmed=by != "nobody", by=by))
        if lives and not gone and any(KINDS[fault.kind].contract == HOSTILE for fault in inside):
            server_state.settle(self._scraper, self._plan.scenario.limits.drain_s)
            probe = server_state.reset_prefix_cache(self._plan.base_url, self._files.log)
            self._events.write(PrefixCacheReset(ok=probe.ok, answer=probe.answer, detail=probe.detail))

    def close(self) -> None:
        """Undo everything, on every way out. Safe to repeat."""
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
            raise RunFailed("the server refuses the faults: " + "; ".join(refusals))
        raise RunFailed(
            f"the server did not take the faults within {CONFIRM_S:g} s; "
            f"see the journals in {self._control.path}"
        )

    def _undone(self, meanwhile: Callable[[], None]) -> bool:
        """Undo what is in force from outside; whether that was seen in time."""
        if self._outside is None:
            return True
        to_be_revived = self._outside.takes_the_server()
        patience_s = CONFIRM_S + self._outside.patience_s()
        if to_be_revived:
            patience_s += self._plan.scenario.limits.ready_s
        deadline = time.monotonic() + patience_s
        self._outside.lift()
        while not self._outside.healed():
            if time.monotonic() > deadline or self._lives.died_young():
                if to_be_revived:
                    self._lives.note_never_ready()
                return False
            meanwhile()
            time.sleep(POLL_S)
        return True

    def _healed_inside(self, faults: Sequence[FaultSpec], since_ns: int) -> bool:
        if self._control is None:
            return True
        self._control.heal()
        return self._confirmed("healed", faults, since_ns)

    def _confirmed(self, event: str, faults: Sequence[FaultSpec], since_ns: int) -> bool:
        deadline = time.monotonic() + CONFIRM_S
        while self._control is not None and not self._control.confirmed(event, faults, since_ns):
            if time.monotonic() > deadline or not self._stack.alive():
                return False
            if event == "armed" and self._control.refusals(faults, since_ns):
                return False
            time.sleep(POLL_S)
        return True


def _confirmed_by(*, undone: bool, journals: bool, gone: bool) -> HealedBy:
    """Whether faults from outside are undone, and who says that those inside the server have ended."""
    if not undone or not (journals or gone):
        return "nobody"
    return "journal" if journals else "server-exit"
