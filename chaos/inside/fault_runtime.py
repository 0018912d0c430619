"""The faults armed in one role (scheduler, worker): each injection point evaluates them here.

A thread waits for changes of the control directory, so that arming, healing and the end of a lease take
effect even while the server is idle. An injection point calls `evaluate`. While nothing is armed and no
ledger is kept, `rest` bypasses the wrappers of vLLM's objects.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from chaos.inside import control as control_files
from chaos.inside import inside_kinds
from chaos.inside.control import EMPTY, BadControl, ScheduleStatus
from chaos.inside.directory_watch import DirectoryWatch
from chaos.inside.fault_kind import WORKER, FaultKind
from chaos.inside.foreign_faults import ForeignInjection, is_foreign, raised
from chaos.inside.injection_points import InjectionPoint
from chaos.inside.journal_file import Journal, RoleFile
from chaos.inside.passthrough import Passthrough
from chaos.inside.transfer_audit.audit_log import SETTLE_EVERY_S, AuditLog
from chaos.inside.transfer_audit.provenance_log import ProvenanceLog
from chaos.inside.trigger_decisions import ArmedInsideFault, Injection
from history.protocol.evidence import (
    Armed,
    Evidence,
    Healed,
    HealReason,
    Loaded,
    Note,
    Refused,
)
from history.protocol.extensions import ForeignCode
from history.protocol.schedule import Schedule

logger = logging.getLogger("vllm.kvchaos")

POLL_S = 0.05
"""How often the control directory is read where the system grants no watch of it."""
LEASE_MARGIN_S = 0.001
NONE: Mapping[str, str] = {}


class StatesOf(Protocol):
    """Returns the states of a request; with `direction`, during a copy of the request in that direction."""

    def __call__(self, request: str, direction: str | None = None) -> tuple[str, ...]:
        """States of a request by its id; `direction` is load or store."""


def unknown(request: str, direction: str | None = None) -> tuple[str, ...]:
    """Nothing is known of any request."""
    return ()


class FaultRuntime:
    """The faults of one role. Injection points call `evaluate` on the server's own thread, one at a time."""

    def __init__(
        self,
        role: str,
        control: Path,
        generation: str,
        states_of: StatesOf = unknown,
        unsupported_kinds: Mapping[str, str] = NONE,
        provenance: ProvenanceLog | None = None,
        *,
        ledger: bool = False,
    ) -> None:
        """Begin without an armed fault.

        `unsupported_kinds` maps the kinds that this vLLM has no injection point for to the reason.
        `provenance` is the log of a scheduler in audit mode; the runtime closes it.
        `ledger`: whether the transfer audit is written; its wrappers then see every call.

        Raises BadControl when the control directory cannot be trusted.
        """
        control_files.check_directory(control)
        self.role = role
        self.worker_needs_states = False
        """Whether an armed fault of the worker filters by the states of requests."""
        self._states_of = states_of
        self._unsupported_kinds = unsupported_kinds
        self._control = control
        self._journal = Journal(control, role)
        self.audit = AuditLog(RoleFile(control, "ledger", role) if ledger else None)
        self.provenance = provenance
        self._schedule = EMPTY
        self._taken_status: ScheduleStatus | None = None
        self._armed: dict[str, list[ArmedInsideFault]] = {}
        self._kinds_at: dict[str, list[FaultKind]] = {}
        """The armed kinds of each site, in the order of the catalogue."""
        self._switching = threading.Lock()
        """Locked while faults are armed or wrappers are bypassed: no fault is armed behind a bypass."""
        self._passthroughs: list[Passthrough] = []
        self._raised: set[str] = set()
        """Kinds of other packages whose `observe` raised."""
        own = [
            each
            for each in inside_kinds.KINDS.values()
            if each.role == role and each.name not in unsupported_kinds
        ]
        sites, kinds = sorted({kind.site for kind in own}), sorted(kind.name for kind in own)
        self._journal.write(Loaded(generation=generation, sites=sites, kinds=kinds))
        self._closing = threading.Event()
        self._changes = DirectoryWatch(control, POLL_S)
        self._watcher = threading.Thread(target=self._watch, name=f"kvchaos-{role}", daemon=True)
        self._watcher.start()

    def evaluate(
        self,
        kind: str,
        *,
        request: str | None = None,
        direction: str | None = None,
        hook: str | None = None,
        key: bytes = b"",
    ) -> Injection | None:
        """Count an invocation of the injection point of `kind`; return an Injection when a fault fires.

        Each fault counts every invocation of its direction, hook and states, independently of other faults.
        When several fire at one invocation, the first is applied.
        """
        chosen: Injection | None = None
        group = self._armed.get(kind, ())
        states = self._states_of(request, direction) if group and request is not None else ()
        for armed in group:
            if direction is not None and armed.fault.params["direction"] not in (direction, "both"):
                continue
            if hook is not None and armed.fault.params["hook"] != hook:
                continue
            if not armed.fault.trigger.counts(states):
                continue
            n = armed.arrive(key.hex())
            if n is None:
                continue
            if not self._journal.has_room:
                armed.refused += 1
                continue
            made = ForeignInjection if is_foreign(kind) else Injection
            injection = made(self._journal, armed, n, request, states)
            if armed.fault.params["dry_run"]:
                injection.refused("dry-run")
            elif chosen is not None:
                injection.refused("other-fault")
            else:
                chosen = injection
        return chosen

    def inject(
        self,
        site: str,
        point: InjectionPoint,
        *,
        request: str | None = None,
        direction: str | None = None,
        hook: str | None = None,
        key: bytes = b"",
    ) -> None:
        """Apply the armed faults of a site to one invocation of it, until one decides what becomes of it."""
        kinds = self._kinds_at.get(site, ())
        for kind in kinds:
            injection = self.evaluate(kind.name, request=request, direction=direction, hook=hook, key=key)
            if injection is not None:
                injection.apply(kind.inject, point)
                if point.decided:
                    break
        for kind in kinds:
            if kind.observe is not None:
                self._observe(kind, kind.observe, point)

    def _observe(
        self, kind: FaultKind, observe: Callable[[InjectionPoint], None], point: InjectionPoint
    ) -> None:
        """Show a fault this invocation; one of another package that raises is shown no more of them."""
        if not is_foreign(kind.name):
            observe(point)
        elif kind.name not in self._raised:
            with ForeignCode() as code:
                observe(point)
            if code.error is not None:
                self._raised.add(kind.name)
                self._journal.write(raised(kind.name, code.error), kind=kind.name)

    def note(self, note: Note, request: str, states: Sequence[str] = ()) -> None:
        """Record what the server did with a request, as evidence of an earlier injection."""
        self._journal.write(note, request=request, states=states)

    def add_wrapper(self, wrapper: Passthrough) -> None:
        """A wrapper that `rest` bypasses and that every arming brings back."""
        self._passthroughs.append(wrapper)

    def rest(self) -> None:
        """Bypass all wrappers if nothing is armed and no work is left. The server's thread calls this."""
        if self._armed or self.audit.written:
            return
        with self._switching:
            if not self._armed and all(each.settled() for each in self._passthroughs):
                for each in self._passthroughs:
                    each.bypass()

    def armed(self, kind: str) -> bool:
        """Whether any fault of this kind is armed."""
        return kind in self._armed

    def armed_at(self, site: str) -> bool:
        """Whether any fault of this site is armed; otherwise it may skip its preparation."""
        return site in self._kinds_at

    def close(self) -> None:
        """Stop the watcher; nothing fires and nothing is journaled any more. Idempotent.

        The runtimes of a server exist as long as its process: this is for tests that create several.
        """
        if self._closing.is_set():
            return
        self._closing.set()
        self._changes.wake()
        self._watcher.join()
        self._changes.close()
        self._armed, self._kinds_at = {}, {}
        self._journal.close()
        self.audit.close()
        if self.provenance is not None:
            self.provenance.close()

    def _watch(self) -> None:
        while not self._closing.is_set():
            self._poll()
            self.audit.settle()
            self._changes.wait(self._until_due_s())

    def _until_due_s(self) -> float | None:
        """Seconds until the lease may have expired or a balance is due; None: nothing is due."""
        due = [SETTLE_EVERY_S] if self.audit.written else []
        if self._armed:
            left_s = self._schedule.lease_s - control_files.lease_age_s(self._control)
            due.append(max(0.0, left_s) + LEASE_MARGIN_S)
        return min(due, default=None)

    def _poll(self) -> None:
        """Load a new schedule, or end the faults when the conductor's lease has expired."""
        status = control_files.schedule_status(self._control)
        if status is None:
            self._taken_status = None
            self._take(EMPTY, "schedule-removed")
            return
        if status != self._taken_status:
            schedule = self._read()
            if control_files.schedule_status(self._control) != status:
                return  # Replaced while it was read: the watch reports that change, too.
            self._taken_status = status
            self._take(schedule or EMPTY, "conductor" if schedule else "schedule-refused")
        if self._armed and control_files.lease_age_s(self._control) > self._schedule.lease_s:
            self._take(EMPTY, "lease-expired")

    def _read(self) -> Schedule | None:
        """The schedule in force; None, and a line why, when it is refused."""
        try:
            control_files.check_directory(self._control)
            return control_files.parse_schedule(control_files.schedule_text(self._control))
        except (BadControl, OSError) as error:
            logger.warning("kvchaos: %s; nothing is armed", error)
            self._journal.write(Refused(reason="schedule-malformed", detail=str(error)))
            return None

    def _take(self, schedule: Schedule, reason: HealReason) -> None:
        old = [armed for group in self._armed.values() for armed in group]
        new: dict[str, list[ArmedInsideFault]] = {}
        own = [fault for fault in schedule.faults if inside_kinds.KINDS[fault.kind].role == self.role]
        for fault in own:
            if fault.kind not in self._unsupported_kinds:
                site = inside_kinds.KINDS[fault.kind].site
                new.setdefault(fault.kind, []).append(ArmedInsideFault(fault, schedule.seed, site))
        self._schedule = schedule
        self.worker_needs_states = any(
            fault.trigger.states and inside_kinds.KINDS[fault.kind].role == WORKER
            for fault in schedule.faults
        )
        self._switch(new)
        for armed in old:
            self._note(armed, Healed(reason=reason, fired=armed.struck - armed.refused), armed.arrivals)
        for group in new.values():
            for armed in group:
                self._note(armed, Armed(epoch=schedule.epoch))
        for fault in own:
            if fault.kind in self._unsupported_kinds:
                why = Refused(reason="unsupported", detail=self._unsupported_kinds[fault.kind])
                self._journal.write(why, fault=fault.id, kind=fault.kind)

    def _switch(self, armed: dict[str, list[ArmedInsideFault]]) -> None:
        """Put these faults in force instead of those before, and the wrappers where faults need them."""
        kinds_at: dict[str, list[FaultKind]] = {}
        for kind in inside_kinds.KINDS.values():
            if kind.name in armed:
                kinds_at.setdefault(kind.site, []).append(kind)
        with self._switching:
            if armed:
                for wrapper in self._passthroughs:
                    wrapper.intercept()
            # Each in one assignment: an invocation counts for the old faults, or for the new ones.
            self._armed, self._kinds_at = armed, kinds_at

    def _note(self, armed: ArmedInsideFault, evidence: Evidence, n: int | None = None) -> None:
        fault = armed.fault
        self._journal.write(evidence, fault=fault.id, kind=fault.kind, site=armed.site, n=n)
