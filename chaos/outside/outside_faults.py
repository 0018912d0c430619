"""Executes the fault schedule of a phase: applies due faults, journals the evidence, reverts what is over.

Nothing here blocks: the conductor calls `tick` about ten times a second while load runs, and after
`revert` calls `healed` until it returns True.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from chaos.fault_catalogue import defaults
from chaos.inside.trigger_decisions import fires
from chaos.outside.injector import (
    ANSWERED,
    SECOND,
    SENT,
    ActiveFault,
    DueInjection,
    InjectionRefused,
    Injector,
)
from chaos.outside.outside_kinds import KINDS
from history import records
from history.jsonl import LineWriter
from history.protocol import evidence
from history.protocol.evidence import Evidence, FaultReverted, as_stored
from history.protocol.schedule import Value
from history.records import FaultEvent, FaultRecord
from history.scenario import FaultSpec


@dataclass(frozen=True, slots=True)
class InvocationCounts:
    """The progress of a phase."""

    sent: int
    answered: int
    seconds: float
    """Since it began."""

    def invocations_at(self, site: str) -> int:
        """Number of invocations at a site so far.

        Invocation n of site `second` is n seconds after the start of the phase.
        """
        return {SENT: self.sent, ANSWERED: self.answered, SECOND: math.floor(self.seconds) + 1}[site]


@dataclass
class ArmedOutsideFault:
    """An armed fault, with the invocations that it has counted."""

    spec: FaultSpec
    seed: int
    invocations: int = 0
    struck: int = 0
    params: dict[str, Value] = field(init=False)
    site: str = field(init=False)

    def __post_init__(self) -> None:
        self.params = {**defaults(KINDS[self.spec.kind].parameters), **self.spec.params}
        self.site = str(self.params["trigger_on"])
        self._trigger = self.spec.trigger.as_armed()

    def due(self, progress: InvocationCounts) -> Iterator[DueInjection]:
        """The injections at the new invocations. The caller increments `struck` for each that it applies."""
        while self.invocations < progress.invocations_at(self.site):
            n, self.invocations = self.invocations, self.invocations + 1
            if not self._trigger.spent(self.struck) and fires(
                self._trigger, self.seed, self.spec.id, self.site, n
            ):
                yield DueInjection(self.spec.id, self.spec.kind, self.site, n, self.params, self.seed)


ROLE = "outside"


class OutsideJournal:
    """Writes `faults-outside-<pid>.jsonl`. Raises OSError when a line cannot be written."""

    def __init__(self, control: Path) -> None:
        self._pid = os.getpid()
        self._writer = LineWriter(control / f"faults-{ROLE}-{self._pid}.jsonl")

    def of_injection(
        self, event: Literal["fired", "refused"], injection: DueInjection, evidence: Evidence
    ) -> None:
        """Write that an injection fired or was refused, with evidence."""
        self._write(event, injection.fault, injection.kind, injection.site, injection.n, as_stored(evidence))

    def reverted(self, injection: DueInjection, note: FaultReverted, shown: Evidence) -> None:
        """An injection is reverted, with the evidence."""
        evidence = {**msgspec.to_builtins(note), **as_stored(shown)}
        self._write("note", injection.fault, injection.kind, injection.site, injection.n, evidence)

    def of_fault(
        self,
        event: Literal["armed", "healed"],
        fault: FaultSpec,
        evidence: Evidence,
        *,
        site: str | None = None,
        n: int | None = None,
    ) -> None:
        """armed, or healed after `n` invocations at its site."""
        self._write(event, fault.id, fault.kind, site, n, as_stored(evidence))

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _write(
        self,
        event: FaultEvent,
        fault: str,
        kind: str,
        site: str | None,
        n: int | None,
        evidence: records.Evidence,
    ) -> None:
        self._writer.write(
            FaultRecord(
                t_ns=time.time_ns(),
                mono_ns=time.monotonic_ns(),
                role=ROLE,
                pid=self._pid,
                event=event,
                fault=fault,
                kind=kind,
                site=site,
                n=n,
                request=None,
                evidence=evidence,
            )
        )


@dataclass
class _InjectionInForce:
    """An injection that is not reverted yet."""

    injection: DueInjection
    active_fault: ActiveFault
    began: float
    """When it was applied, by the injected clock."""
    begun_ns: int = field(default_factory=time.time_ns)
    """Wall clock time before it was applied."""
    struck_ns: int = 0
    """Wall clock time when it was applied."""
    lifted_ns: int | None = None
    """Wall clock time at which its reversal began."""
    verified: bool = False

    @property
    def until(self) -> float:
        return self.began + float(self.injection.params["duration_s"])

    @property
    def is_over(self) -> bool:
        """Whether it has ended by itself."""
        return self.verified and KINDS[self.injection.kind].ends_alone


class OutsideFaults:
    """The faults from outside of one run; to be called from one thread.

    OSError: the journal cannot be written, or a target fails to respond. Then `close` still reverts all the
    others.
    """

    def __init__(
        self,
        injectors: Sequence[Injector],
        journal: OutsideJournal,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._by_kind = {kind: injector for injector in injectors for kind in injector.kinds}
        self._journal = journal
        self._clock = clock
        self._armed: list[ArmedOutsideFault] = []
        self._in_force: list[_InjectionInForce] = []
        self._fired = 0

    def unsupported_reasons(self, faults: Sequence[FaultSpec]) -> list[str]:
        """Why faults are not supported here, a line each."""
        found = []
        for fault in faults:
            injector = self._by_kind.get(fault.kind)
            why = (
                "this stack cannot apply it" if injector is None else injector.unsupported_reason(fault.kind)
            )
            if why is not None:
                found.append(f"{fault.id} ({fault.kind}): {why}")
        return found

    def arm(self, seed: int, faults: Sequence[FaultSpec]) -> None:
        """Arm faults. Earlier ones must be healed."""
        if self._armed or self._in_force:
            raise RuntimeError("earlier faults are still in force")
        self._fired = 0
        for spec in faults:
            fault = ArmedOutsideFault(spec, seed)
            self._journal.of_fault("armed", spec, evidence.Armed(), site=fault.site)
            self._armed.append(fault)

    def tick(self, progress: InvocationCounts) -> None:
        """Apply what is due, verify what is active, revert what is over."""
        for fault in self._armed:
            for injection in fault.due(progress):
                self._inject(fault, injection)
        now = self._clock()
        for one in self._in_force:
            if now >= one.until or one.is_over:
                self._revert(one)
        self._poll()

    def revert(self) -> None:
        """Begin to revert everything, the latest injection first; a failure does not stop the others."""
        with ExitStack() as each:
            for one in self._in_force:
                each.callback(self._revert, one)

    def healed(self) -> bool:
        """Whether everything is reverted; if so, journals it for each fault."""
        self._poll()
        if self._in_force:
            return False
        for fault in self._armed:
            healed = evidence.Healed(reason="conductor", fired=fault.struck)
            self._journal.of_fault("healed", fault.spec, healed, site=fault.site, n=fault.invocations)
        self._armed = []
        return True

    def fired(self) -> int:
        """How many injections took effect since the last arming."""
        return self._fired

    def is_lethal(self) -> bool:
        """Whether an active fault ends the server."""
        return any(KINDS[one.injection.kind].lethal for one in self._in_force)

    def revert_timeout_s(self) -> float:
        """How long reverting the active faults may take, without the conductor's own work for it."""
        given = (
            one.injection.params.get(name, 0) for one in self._in_force for name in ("duration_s", "grace_s")
        )
        return sum(map(float, given))

    def close(self) -> None:
        """Revert everything that can be reverted at once. Idempotent."""
        with ExitStack() as each:
            each.callback(self._journal.close)
            for one in self._in_force:
                each.callback(one.active_fault.revert)

    def _inject(self, fault: ArmedOutsideFault, injection: DueInjection) -> None:
        if self._excludes(injection):
            self._journal.of_injection("refused", injection, evidence.Refused(reason="still-in-force"))
            return
        # Recorded before it is applied, so that `close` finds it whatever happens in between.
        one = _InjectionInForce(injection, self._by_kind[injection.kind].prepare(injection), self._clock())
        self._in_force.append(one)
        try:
            one.active_fault.apply()
        except InjectionRefused as refusal:
            self._in_force.remove(one)
            refused = evidence.Refused(reason="target", detail=str(refusal))
            self._journal.of_injection("refused", injection, refused)
            return
        one.began, one.struck_ns = self._clock(), time.time_ns()
        fault.struck += 1

    def _excludes(self, injection: DueInjection) -> bool:
        """Whether an earlier injection of this fault is active and excludes this one."""
        if KINDS[injection.kind].ends_alone:
            return False
        return any(one.injection.fault == injection.fault for one in self._in_force)

    def _poll(self) -> None:
        """Journal new evidence of the active faults, and drop those that are reverted."""
        for one in list(self._in_force):
            if not one.verified:
                self._verify(one)
            if one.lifted_ns is not None and (undone := one.active_fault.reverted()) is not None:
                self._in_force.remove(one)
                self._journal.reverted(one.injection, FaultReverted(lifted_ns=one.lifted_ns), undone)

    def _verify(self, one: _InjectionInForce) -> None:
        proof = one.active_fault.verify()
        if proof is not None:
            one.verified = True
            self._fired += 1
            dated = replace(proof, begun_ns=one.begun_ns, struck_ns=one.struck_ns)
            self._journal.of_injection("fired", one.injection, dated)

    def _revert(self, one: _InjectionInForce) -> None:
        if one.lifted_ns is not None:
            return
        if not one.verified:
            self._verify(one)
        one.lifted_ns = time.time_ns()
        one.active_fault.revert()
