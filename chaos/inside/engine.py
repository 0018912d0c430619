"""Decides, at every site, whether a fault strikes now; one engine a role (scheduler, worker).

A thread watches the control directory, so that arming, healing and the end of a lease take effect
even while the server has nothing to do. The sites only ask: with nothing armed that is one lookup
in an empty dictionary.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from chaos.inside import control as control_files
from chaos.inside import decide, faults
from chaos.inside.control import EMPTY, BadControl
from chaos.inside.journal import Journal
from chaos.inside.kind import WORKER
from chaos.inside.ledger.book import Ledger
from chaos.inside.ledger.provenance import ProvenanceLog
from history.protocol.evidence import (
    Armed,
    Evidence,
    Firing,
    Healed,
    HealReason,
    Loaded,
    RefusalReason,
    Refused,
)
from history.protocol.notes import Note
from history.protocol.schedule import ArmedFault, Schedule, Value

logger = logging.getLogger("vllm.kvchaos")

WATCH_PERIOD_S = 0.05
NONE: Mapping[str, str] = {}


class StatesOf(Protocol):
    """Says what a request does now, one of whose copies is at hand where a direction is given."""

    def __call__(self, request: str, direction: str | None = None) -> tuple[str, ...]: ...


def unknown(request: str, direction: str | None = None) -> tuple[str, ...]:
    """Nothing is known of any request."""
    return ()


class Strike:
    """One arrival that is struck. The site does the deed, then calls `fired` with the proof."""

    def __init__(
        self, journal: Journal, armed: _Armed, n: int, request: str | None, states: tuple[str, ...]
    ) -> None:
        self._journal = journal
        self._armed = armed
        self._n = n
        self._request = request
        self._states = states
        self._noted: set[type[Note]] = set()

    @property
    def params(self) -> dict[str, Value]:
        return self._armed.fault.params

    def draw(self, purpose: str) -> int:
        """A number in [0, 2**64) that belongs to this strike and purpose alone."""
        armed = self._armed
        return decide.draw(armed.seed, armed.fault.id, armed.site, self._n, purpose)

    def fired(self, proof: Firing, request: str | None = None) -> None:
        self._write(proof, request)

    def refused(self, reason: RefusalReason) -> None:
        self._armed.refused += 1
        self._write(Refused(reason=reason))

    def note(self, note: Note) -> None:
        """Write down what the server did later as a consequence; of each sort of note the first."""
        if type(note) not in self._noted:
            self._noted.add(type(note))
            self._write(note)

    def _write(self, evidence: Evidence | Note, request: str | None = None) -> None:
        self._journal.write(
            evidence,
            fault=self._armed.fault.id,
            kind=self._armed.fault.kind,
            site=self._armed.site,
            n=self._n,
            request=request or self._request,
            states=self._states,
        )


class _Armed:
    """An armed fault with its counts."""

    def __init__(self, fault: ArmedFault, seed: int) -> None:
        self.fault = fault
        self.seed = seed
        self.site = faults.KINDS[fault.kind].site
        self.arrivals = 0
        self.struck = 0
        self.refused = 0
        """Of those struck: the ones that no site was told of."""

    def arrive(self, key: str) -> int | None:
        """Count an arrival; its number when it is struck."""
        n = self.arrivals
        self.arrivals += 1
        trigger, fault = self.fault.trigger, self.fault.id
        if trigger.spent(self.struck):
            return None
        if not decide.strikes(trigger, self.seed, fault, self.site, n, key):
            return None
        self.struck += 1
        return n


class _Status(NamedTuple):
    """What tells one schedule file from another."""

    inode: int
    mtime_ns: int
    size: int
    """Bytes."""


class FaultEngine:
    """The faults of one role. Sites call `strike`; they run on the server's own thread, one at a time."""

    def __init__(
        self,
        role: str,
        control: Path,
        generation: str,
        states_of: StatesOf = unknown,
        unreachable: Mapping[str, str] = NONE,
        provenance: ProvenanceLog | None = None,
    ) -> None:
        """`unreachable` are the kinds that this vLLM offers no place for, each with the reason.
        `provenance` is the log of a scheduler in audit mode; the engine closes it.

        Raises BadControl when the control directory is not to be trusted.
        """
        control_files.check_directory(control)
        self.role = role
        self.worker_minds_states = False
        """Whether a fault of the worker is armed that minds the states of requests."""
        self._states_of = states_of
        self._unreachable = unreachable
        self._control = control
        self._journal = Journal(control, role)
        self.ledger = Ledger(control, role)
        self.provenance = provenance
        self._schedule = EMPTY
        self._seen: _Status | None = None
        self._armed: dict[str, list[_Armed]] = {}
        mine = [each for each in faults.KINDS.values() if each.role == role and each.name not in unreachable]
        sites, kinds = sorted({kind.site for kind in mine}), sorted(kind.name for kind in mine)
        self._journal.write(Loaded(generation=generation, sites=sites, kinds=kinds))
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name=f"kvchaos-{role}", daemon=True)
        self._watcher.start()

    def strike(
        self,
        kind: str,
        *,
        request: str | None = None,
        direction: str | None = None,
        hook: str | None = None,
        key: bytes = b"",
    ) -> Strike | None:
        """Count an arrival at the site of `kind`; the strike when a fault hits it, else None.

        Each fault counts every arrival of its direction, hook and states, so that none depends on the others.
        Of several that would strike the same arrival the first does.
        """
        chosen: Strike | None = None
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
            strike = Strike(self._journal, armed, n, request, states)
            if armed.fault.params["dry_run"]:
                strike.refused("dry-run")
            elif chosen is not None:
                strike.refused("other-fault")
            else:
                chosen = strike
        return chosen

    def note(self, note: Note, request: str, states: Sequence[str] = ()) -> None:
        """Write down what the server did with a request, as the sign of a fault that struck before."""
        self._journal.write(note, request=request, states=states)

    def armed(self, kind: str) -> bool:
        """Whether any fault of this kind is armed: a site need not prepare an arrival otherwise."""
        return kind in self._armed

    def close(self) -> None:
        """End the watch; nothing strikes and nothing is told any more. Safe to repeat.

        The engines of a server live as long as its process: this is for whoever makes many in one.
        """
        self._closing.set()
        self._watcher.join()
        self._armed = {}
        self._journal.close()
        self.ledger.close()
        if self.provenance is not None:
            self.provenance.close()

    def _watch(self) -> None:
        while True:
            self._look()
            self.ledger.settle()
            if self._closing.wait(WATCH_PERIOD_S):
                return

    def _look(self) -> None:
        """Take over a new schedule, or end the faults of a conductor that is gone."""
        seen = self._status()
        if seen is None:
            self._seen = None
            self._take(EMPTY, "schedule-removed")
            return
        if seen != self._seen:
            schedule = self._read()
            if self._status() != seen:
                return  # Replaced while it was read: the next look takes it, and only once.
            self._seen = seen
            self._take(schedule or EMPTY, "conductor" if schedule else "schedule-refused")
        if self._armed and self._lease_age() > self._schedule.lease_s:
            self._take(EMPTY, "lease-expired")

    def _status(self) -> _Status | None:
        try:
            status = (self._control / control_files.SCHEDULE).stat()
        except OSError:
            return None
        return _Status(status.st_ino, status.st_mtime_ns, status.st_size)

    def _read(self) -> Schedule | None:
        """The schedule in force; None, and a line why, when it is refused."""
        try:
            control_files.check_directory(self._control)
            return control_files.parse_schedule(control_files.schedule_text(self._control))
        except (BadControl, OSError) as error:
            logger.warning("kvchaos: %s; nothing is armed", error)
            self._journal.write(Refused(reason="schedule-malformed", detail=str(error)))
            return None

    def _lease_age(self) -> float:
        """Seconds since the conductor last renewed its lease."""
        try:
            return time.time() - (self._control / control_files.LEASE).stat().st_mtime
        except OSError:
            return float("inf")

    def _take(self, schedule: Schedule, reason: HealReason) -> None:
        old = [armed for group in self._armed.values() for armed in group]
        new: dict[str, list[_Armed]] = {}
        mine = [fault for fault in schedule.faults if faults.KINDS[fault.kind].role == self.role]
        for fault in mine:
            if fault.kind not in self._unreachable:
                new.setdefault(fault.kind, []).append(_Armed(fault, schedule.seed))
        self._schedule = schedule
        self.worker_minds_states = any(
            fault.trigger.states and faults.KINDS[fault.kind].role == WORKER for fault in schedule.faults
        )
        # One assignment: a site sees either the old faults or the new ones.
        self._armed = new
        for armed in old:
            self._note(armed, Healed(reason=reason, fired=armed.struck - armed.refused), armed.arrivals)
        for group in new.values():
            for armed in group:
                self._note(armed, Armed(epoch=schedule.epoch))
        for fault in mine:
            if fault.kind in self._unreachable:
                why = Refused(reason="unsupported", detail=self._unreachable[fault.kind])
                self._journal.write(why, fault=fault.id, kind=fault.kind)

    def _note(self, armed: _Armed, evidence: Evidence, n: int | None = None) -> None:
        fault = armed.fault
        self._journal.write(evidence, fault=fault.id, kind=fault.kind, site=armed.site, n=n)
