"""Carries out the schedule of a phase: strikes when it is due, writes down the proof, undoes what is over.

Nothing here waits: the conductor calls `tick` about ten times a second while load runs, and after
`lift` until `healed` says that all is undone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from msgspec.structs import replace

from chaos.outside.faults import KINDS
from chaos.outside.injector import Hold, Injector, Refused, Strike
from chaos.outside.journal import Journal
from chaos.outside.schedule import ArmedFault, Reached
from history.plan import FaultSpec
from history.protocol import evidence
from history.protocol.notes import FaultReverted


@dataclass
class _InForce:
    """A strike that has not been undone yet."""

    strike: Strike
    hold: Hold
    began: float
    """When it was carried out, by the engine's clock."""
    begun_ns: int = field(default_factory=time.time_ns)
    """Wall clock time before anything of it was done,"""
    struck_ns: int = 0
    """and when it was carried out."""
    lifted_ns: int | None = None
    """Wall clock time at which its undoing began."""
    proved: bool = False

    @property
    def until(self) -> float:
        return self.began + float(self.strike.params["for_s"])

    @property
    def is_over(self) -> bool:
        """Whether it has ended by itself."""
        return self.proved and KINDS[self.strike.kind].ends_alone


class OutsideFaults:
    """The faults from outside of one run. Call from one thread. OSError: the journal cannot be written, or
    a target does not obey; then `close` still undoes all the others."""

    def __init__(
        self,
        injectors: Sequence[Injector],
        journal: Journal,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._by_kind = {kind: injector for injector in injectors for kind in injector.kinds}
        self._journal = journal
        self._clock = clock
        self._armed: list[ArmedFault] = []
        self._in_force: list[_InForce] = []
        self._fired = 0

    def obstacles(self, faults: Sequence[FaultSpec]) -> list[str]:
        """Why faults cannot be had here, a line each."""
        found = []
        for fault in faults:
            injector = self._by_kind.get(fault.kind)
            why = "nothing here can carry it out" if injector is None else injector.obstacle(fault.kind)
            if why is not None:
                found.append(f"{fault.id} ({fault.kind}): {why}")
        return found

    def arm(self, seed: int, faults: Sequence[FaultSpec]) -> None:
        """Put faults in force from now on. Those before must be healed."""
        if self._armed or self._in_force:
            raise RuntimeError("the faults before are still in force")
        self._fired = 0
        for spec in faults:
            fault = ArmedFault(spec, seed)
            self._journal.of_fault("armed", spec, evidence.Armed(), site=fault.site)
            self._armed.append(fault)

    def tick(self, reached: Reached) -> None:
        """Strike what is due, look for proof, undo what is over."""
        for fault in self._armed:
            for strike in fault.due(reached):
                self._strike(fault, strike)
        now = self._clock()
        for one in self._in_force:
            if now >= one.until or one.is_over:
                self._lift(one)
        self._look()

    def lift(self) -> None:
        """Begin to undo everything, the last strike first; each even when another one cannot be undone."""
        with ExitStack() as each:
            for one in self._in_force:
                each.callback(self._lift, one)

    def healed(self) -> bool:
        """Whether all is undone that `lift` began to undo; the journal says so then for each fault."""
        self._look()
        if self._in_force:
            return False
        for fault in self._armed:
            healed = evidence.Healed(reason="conductor", fired=fault.struck)
            self._journal.of_fault("healed", fault.spec, healed, site=fault.site, n=fault.seen)
        self._armed = []
        return True

    def fired(self) -> int:
        """How many strikes took effect since the last arming."""
        return self._fired

    def takes_the_server(self) -> bool:
        """Whether a strike is in force that the server is to end of."""
        return any(KINDS[one.strike.kind].deadly for one in self._in_force)

    def patience_s(self) -> float:
        """How long what is in force may take to be undone, besides what the conductor has to do for it."""
        given = (one.strike.params.get(name, 0) for one in self._in_force for name in ("for_s", "grace_s"))
        return sum(map(float, given))

    def close(self) -> None:
        """Undo everything that can be undone at once. Safe to repeat."""
        with ExitStack() as each:
            each.callback(self._journal.close)
            for one in self._in_force:
                each.callback(one.hold.lift)

    def _strike(self, fault: ArmedFault, strike: Strike) -> None:
        if self._excludes(strike):
            self._journal.of_strike("refused", strike, evidence.Refused(reason="still-in-force"))
            return
        # First noted, then done: whatever happens in between, `close` finds it.
        one = _InForce(strike, self._by_kind[strike.kind].hold(strike), self._clock())
        self._in_force.append(one)
        try:
            one.hold.strike()
        except Refused as refusal:
            self._in_force.remove(one)
            refused = evidence.Refused(reason="target", detail=str(refusal))
            self._journal.of_strike("refused", strike, refused)
            return
        one.began, one.struck_ns = self._clock(), time.time_ns()
        fault.struck += 1

    def _excludes(self, strike: Strike) -> bool:
        """Whether a strike before this one is in force, and there cannot be two at once."""
        if KINDS[strike.kind].ends_alone:
            return False
        return any(one.strike.fault == strike.fault for one in self._in_force)

    def _look(self) -> None:
        """Write down what shows of the strikes in force, and forget those that are undone."""
        for one in list(self._in_force):
            if not one.proved:
                self._prove(one)
            if one.lifted_ns is not None and (undone := one.hold.lifted()) is not None:
                self._in_force.remove(one)
                self._journal.reverted(one.strike, FaultReverted(lifted_ns=one.lifted_ns), undone)

    def _prove(self, one: _InForce) -> None:
        proof = one.hold.proof()
        if proof is not None:
            one.proved = True
            self._fired += 1
            dated = replace(proof, begun_ns=one.begun_ns, struck_ns=one.struck_ns)
            self._journal.of_strike("fired", one.strike, dated)

    def _lift(self, one: _InForce) -> None:
        if one.lifted_ns is not None:
            return
        if not one.proved:
            self._prove(one)
        one.lifted_ns = time.time_ns()
        one.hold.lift()
